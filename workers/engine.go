package workers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/installation"
)

// PrepareEngine sees to it that the engine knows the search attributes: a workflow that sets one that it does not know stands
// still. Slipway's own engine has them; one that somebody else runs, or an older one, may lack some.
func PrepareEngine(ctx context.Context, c client.Client, namespace string) error {
	known, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("listing the search attributes of namespace %s: %w", namespace, err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	var names []string
	for _, name := range contract.SearchAttributes() {
		if _, ok := known.CustomAttributes[name]; !ok {
			missing[name] = enumspb.INDEXED_VALUE_TYPE_KEYWORD
			names = append(names, "--name "+name+" --type Keyword")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	}); err != nil {
		return fmt.Errorf("adding search attributes to the engine: %w (or do it by hand: temporal operator search-attribute create --namespace %s %s)",
			err, namespace, strings.Join(names, " "))
	}
	return nil
}

// Namespace is where Temporal keeps an installation's workflows: it says in its data whose they are. Installations that share
// a namespace differ in their control queues.
type Namespace struct {
	Temporal     client.Client
	Namespace    string
	ControlQueue string
}

var _ installation.Engine = Namespace{}

// Name implements installation.Engine.
func (n Namespace) Name() string {
	return fmt.Sprintf("Temporal's namespace %s with the control queue %s", n.Namespace, n.ControlQueue)
}

// Owner implements installation.Engine.
func (n Namespace) Owner(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	d, err := n.describe(ctx)
	if err != nil {
		return "", err
	}
	return d.GetNamespaceInfo().GetData()[ids.InstallationKey(n.ControlQueue)], nil
}

// SetOwner implements installation.Engine. Two that do so at once find out by reading again.
func (n Namespace) SetOwner(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	key := ids.InstallationKey(n.ControlQueue)
	_, err := n.Temporal.WorkflowService().UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: n.Namespace, UpdateInfo: &namespacepb.UpdateNamespaceInfo{Data: map[string]string{key: id}},
	})
	if err != nil {
		return fmt.Errorf("saying whose namespace %s is: %w (or do it by hand: temporal operator namespace update --namespace %s --data %s=%s)", n.Namespace, err, n.Namespace, key, id)
	}
	return nil
}

// What slipway-temporal says of itself in the namespace's data.
const (
	managedKey       = "slipway-managed"
	historyEventsKey = "slipway-history-events"
	historyBytesKey  = "slipway-history-bytes"
)

// Settings tells what holds in the namespace.
func (n Namespace) Settings(ctx context.Context) (s installation.EngineSettings, err error) {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	d, err := n.describe(ctx)
	if err != nil {
		return s, err
	}
	cluster, err := n.Temporal.WorkflowService().GetClusterInfo(ctx, &workflowservice.GetClusterInfoRequest{})
	if err != nil {
		return s, fmt.Errorf("asking what holds in namespace %s: %w", n.Namespace, err)
	}
	s.Retention, s.Visibility = d.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(), cluster.GetVisibilityStore()
	data := d.GetNamespaceInfo().GetData()
	s.HistoryEvents, _ = strconv.ParseInt(data[historyEventsKey], 10, 64)
	s.HistoryBytes, _ = strconv.ParseInt(data[historyBytesKey], 10, 64)
	return s, nil
}

// KeepRetention sets how long the namespace keeps what has ended, where that differs and the namespace is Slipway's own and no
// other installation's too. was is what it kept before; 0 where nothing was done.
func (n Namespace) KeepRetention(ctx context.Context, want time.Duration) (was time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, namespaceTimeout)
	defer cancel()
	d, err := n.describe(ctx)
	if err != nil {
		return 0, err
	}
	is, data := d.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration(), d.GetNamespaceInfo().GetData()
	if is == want || data[managedKey] != "yes" {
		return 0, nil
	}
	for key := range data {
		if strings.HasPrefix(key, ids.InstallationKey(contract.DefaultControlQueue)) && key != ids.InstallationKey(n.ControlQueue) {
			return 0, nil
		}
	}
	_, err = n.Temporal.WorkflowService().UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: n.Namespace, Config: &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: durationpb.New(want)},
	})
	if err != nil {
		return 0, fmt.Errorf("setting the retention of namespace %s: %w (or do it by hand: temporal operator namespace update --namespace %s --retention %s)", n.Namespace, err, n.Namespace, want)
	}
	return is, nil
}

func (n Namespace) describe(ctx context.Context) (*workflowservice.DescribeNamespaceResponse, error) {
	d, err := n.Temporal.WorkflowService().DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: n.Namespace})
	if err != nil {
		return nil, fmt.Errorf("asking what holds in namespace %s: %w", n.Namespace, err)
	}
	return d, nil
}

// namespaceTimeout bounds one question to Temporal's frontend.
const namespaceTimeout = 10 * time.Second
