package authz

import (
	"context"
	"fmt"
	"time"

	"go.temporal.io/server/api/historyservice/v1"
	"go.temporal.io/server/client"
	"go.temporal.io/server/common"
	"go.temporal.io/server/common/authorization"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/membership"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/testing/testhooks"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// noStreams has the services ask the history service for no stream. The frontend's AdminService passes the server's only one on, by
// which clusters copy workflows, and streams pass no authorizer and no interceptor of ours. There is one cluster here.
type noStreams struct{ client.FactoryProvider }

// NewFactory implements client.FactoryProvider.
func (p noStreams) NewFactory(rpc common.RPCFactory, monitor membership.Monitor, handler metrics.Handler, settings *dynamicconfig.Collection,
	hooks testhooks.TestHooks, shards int32, logger, throttled log.Logger) client.Factory {
	return historyWithoutStreams{p.FactoryProvider.NewFactory(rpc, monitor, handler, settings, hooks, shards, logger, throttled), logger}
}

type historyWithoutStreams struct {
	client.Factory
	logger log.Logger
}

// NewHistoryClientWithTimeout implements client.Factory.
func (f historyWithoutStreams) NewHistoryClientWithTimeout(timeout time.Duration) (historyservice.HistoryServiceClient, error) {
	c, err := f.Factory.NewHistoryClientWithTimeout(timeout)
	return withoutStreams{c, f.logger}, err
}

type withoutStreams struct {
	historyservice.HistoryServiceClient
	logger log.Logger
}

// StreamWorkflowReplicationMessages implements historyservice.HistoryServiceClient. The context is that of the frontend's caller.
func (c withoutStreams) StreamWorkflowReplicationMessages(ctx context.Context, _ ...grpc.CallOption) (historyservice.HistoryService_StreamWorkflowReplicationMessagesClient, error) {
	var caller Caller
	if shown := authorization.TLSInfoFromContext(ctx); shown != nil && len(shown.State.VerifiedChains) > 0 {
		caller = holder(shown.State.VerifiedChains[0][0])
	}
	err := status.Error(codes.PermissionDenied, fmt.Sprintf("%s may not call StreamWorkflowReplicationMessages: nobody may.", caller.at(ctx)))
	c.logger.Error("Authorization error", tag.Error(err))
	return nil, err
}
