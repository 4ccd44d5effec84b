package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// searchAttributes are the fields by which builds are found in the Web UI and by `slipway audit`. They are a public
// format: a name that was once used keeps its type.
var searchAttributes = []string{
	"SlipwayProject", "SlipwayServer", "SlipwayHost", "SlipwayImage", "SlipwayPhase", "SlipwayReservation",
	"SlipwayOverdue",
}

// stepRetry is the pause between two tries of a step that the server, still starting or still spreading a change
// through its caches, does not grant yet. It offers no event to wait for.
const stepRetry = 50 * time.Millisecond

// prepareNamespace registers the namespace and the search attributes where they are missing, and returns when a
// client can use both.
func prepareNamespace(ctx context.Context, o options) error {
	addr, creds := dialAddr(o.FrontendAddr), insecure.NewCredentials()
	if o.guarded() {
		addr = o.internalFrontend()
		if o.Internode.any() {
			var err error
			if creds, err = o.Internode.clientCredentials(); err != nil {
				return err
			}
		}
	}
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
	if err != nil {
		return fmt.Errorf("connect to the frontend at %s: %w", addr, err)
	}
	defer conn.Close()
	workflows, operator := workflowservice.NewWorkflowServiceClient(conn), operatorservice.NewOperatorServiceClient(conn)

	steps := []struct {
		what string
		do   func() error
	}{
		{"register namespace " + o.Namespace, func() error {
			_, err := workflows.RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
				Namespace:                        o.Namespace,
				Description:                      "Builds of Slipway servers",
				WorkflowExecutionRetentionPeriod: durationpb.New(o.Retention),
			})
			if _, exists := errors.AsType[*serviceerror.NamespaceAlreadyExists](fromGRPC(err)); exists {
				return nil
			}
			return err
		}},
		{"say what holds in namespace " + o.Namespace, func() error { return describeItself(ctx, workflows, o) }},
		{"register the search attributes", func() error {
			have, err := operator.ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: o.Namespace})
			if err != nil {
				return err
			}
			missing, err := missingAttributes(have.GetCustomAttributes())
			if err != nil || len(missing) == 0 {
				return err
			}
			_, err = operator.AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
				Namespace: o.Namespace, SearchAttributes: missing,
			})
			return err
		}},
		{"query by search attribute", func() error {
			// Registered attributes become usable when each service has refreshed its view of the namespace.
			for _, name := range searchAttributes {
				_, err := workflows.CountWorkflowExecutions(ctx, &workflowservice.CountWorkflowExecutionsRequest{
					Namespace: o.Namespace, Query: name + " = 'none'",
				})
				if err != nil {
					return err
				}
			}
			return nil
		}},
	}
	for _, step := range steps {
		if err := retry(ctx, step.do); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// describeItself writes into the namespace's data what no question to a server tells. Workers set the retention of a namespace
// that says it is managed (workers.Namespace reads these).
func describeItself(ctx context.Context, workflows workflowservice.WorkflowServiceClient, o options) error {
	want := map[string]string{
		"slipway-managed": "yes", "slipway-history-events": strconv.Itoa(o.HistoryEvents), "slipway-history-bytes": strconv.Itoa(o.HistoryBytes),
	}
	is, err := workflows.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: o.Namespace})
	if err != nil {
		return err
	}
	for key, value := range want {
		if is.GetNamespaceInfo().GetData()[key] == value {
			delete(want, key)
		}
	}
	if len(want) == 0 {
		return nil
	}
	// What others have written into the data stays: it is merged.
	_, err = workflows.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: o.Namespace, UpdateInfo: &namespacepb.UpdateNamespaceInfo{Data: want},
	})
	return err
}

// errPermanent marks what no retry can mend.
var errPermanent = errors.New("needs an operator")

func missingAttributes(have map[string]enumspb.IndexedValueType) (map[string]enumspb.IndexedValueType, error) {
	missing := map[string]enumspb.IndexedValueType{}
	for _, name := range searchAttributes {
		switch have[name] {
		case enumspb.INDEXED_VALUE_TYPE_KEYWORD:
		case enumspb.INDEXED_VALUE_TYPE_UNSPECIFIED:
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
		default:
			return nil, fmt.Errorf("%w: search attribute %s exists with type %s, want Keyword", errPermanent, name, have[name])
		}
	}
	return missing, nil
}

func retry(ctx context.Context, do func() error) error {
	for {
		err := do()
		if err == nil || errors.Is(err, errPermanent) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(stepRetry):
		}
	}
}

// fromGRPC turns the status of a raw gRPC call into Temporal's typed error.
func fromGRPC(err error) error { return serviceerror.FromStatus(status.Convert(err)) }
