package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/dynamicconfig"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/postgresql"
	"go.temporal.io/server/common/primitives"
)

const (
	storeName           = "default"
	visibilityStoreName = "visibility"
	// clusterName is recorded in the databases; it can't change later.
	clusterName = "active"
	loopback    = "127.0.0.1"
)

// sql is the connection to one of the two databases. A Postgres host that is a path is the directory of a unix socket.
func (o options) sql(database string, maxConns int) *config.SQL {
	attrs := map[string]string{"sslmode": o.PostgresTLS}
	if o.PostgresRootCert != "" {
		attrs["sslrootcert"] = o.PostgresRootCert
	}
	host := o.PostgresHost
	if filepath.IsAbs(host) {
		// The server writes the address into the authority of a URL, where no path can stand; the parameters override it.
		attrs["host"], attrs["port"] = host, strconv.Itoa(o.PostgresPort)
		host = "localhost"
	}
	return &config.SQL{
		PluginName:        postgresql.PluginNamePGX,
		DatabaseName:      database,
		ConnectAddr:       fmt.Sprintf("%s:%d", host, o.PostgresPort),
		ConnectProtocol:   "tcp",
		ConnectAttributes: attrs,
		User:              o.PostgresUser,
		Password:          o.PostgresPassword,
		MaxConns:          maxConns,
		MaxIdleConns:      maxConns, // a connection closed when idle is a process of Postgres to fork in the next burst
		MaxConnLifetime:   time.Hour,
	}
}

func (o options) serverConfig() *config.Config {
	frontendIP, frontendPort, _ := splitAddr(o.FrontendAddr) // validated
	service := func(ip string, port int) config.Service {
		return config.Service{RPC: config.RPC{GRPCPort: port, BindOnIP: ip}}
	}
	cfg := &config.Config{
		Persistence: config.Persistence{
			DefaultStore:     storeName,
			VisibilityStore:  visibilityStoreName,
			NumHistoryShards: int32(o.HistoryShards),
			DataStores: map[string]config.DataStore{
				storeName:           {SQL: o.sql(o.Database, 20)},
				visibilityStoreName: {SQL: o.sql(o.VisibilityDB, 5)},
			},
		},
		Global: config.Global{Membership: config.Membership{BroadcastAddress: loopback}},
		Services: map[string]config.Service{
			string(primitives.FrontendService): service(frontendIP.String(), frontendPort),
			string(primitives.HistoryService):  service(loopback, o.internal.history),
			string(primitives.MatchingService): service(loopback, o.internal.matching),
			string(primitives.WorkerService):   service(loopback, o.internal.worker),
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10,
			MasterClusterName:        clusterName,
			CurrentClusterName:       clusterName,
			ClusterInformation: map[string]cluster.ClusterInformation{
				clusterName: {Enabled: true, InitialFailoverVersion: 1, RPCAddress: dialAddr(o.FrontendAddr)},
			},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		PublicClient:        config.PublicClient{HostPort: dialAddr(o.FrontendAddr)},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
	}
	if o.guarded() {
		cfg.Services[string(primitives.InternalFrontendService)] = service(loopback, o.internal.frontend)
		cfg.PublicClient = config.PublicClient{} // its own workers ask the internal frontend
		cfg.Global.TLS = o.rootTLS()
	}
	if o.MetricsAddr != "" {
		cfg.Global.Metrics = &metrics.Config{Prometheus: &metrics.PrometheusConfig{
			Framework: metrics.FrameworkOpentelemetry, ListenAddress: o.MetricsAddr,
		}}
	}
	return cfg
}

// staticHosts names where each service is, so that no gossip ring runs: one process has no members to find.
func (o options) staticHosts() map[primitives.ServiceName]static.Hosts {
	local := func(port int) static.Hosts {
		return static.SingleLocalHost(loopback + ":" + strconv.Itoa(port))
	}
	hosts := map[primitives.ServiceName]static.Hosts{
		primitives.FrontendService: static.SingleLocalHost(dialAddr(o.FrontendAddr)),
		primitives.HistoryService:  local(o.internal.history),
		primitives.MatchingService: local(o.internal.matching),
		primitives.WorkerService:   local(o.internal.worker),
	}
	if o.guarded() {
		hosts[primitives.InternalFrontendService] = local(o.internal.frontend)
	}
	return hosts
}

// dynamicSettings are the server's knobs that differ from its defaults, which suit a fleet. None of them gives up
// durability: every transition is still committed to Postgres before it is acknowledged.
func dynamicSettings(o options) dynamicconfig.Client {
	return dynamicconfig.StaticClient{
		// A task queue of four partitions (the default) and few pollers lets a task wait in one partition while the
		// poller waits in another, until one of them is forwarded. One process can't spread partitions anyway.
		dynamicconfig.MatchingNumTaskqueueReadPartitions.Key():  1,
		dynamicconfig.MatchingNumTaskqueueWritePartitions.Key(): 1,

		// The readers of a shard's task queues may load 20 times a second by default, and each step of a chain of
		// activities needs a load of its own (one for the activity's task, one for the workflow's next task). A second
		// build on the same shard within a second used that up, and from there on each load waited 50 ms: the half
		// second that now and then fell on a build. Fleets need that brake, with thousands of shards on one database;
		// here the host-wide limit below is the brake.
		dynamicconfig.TransferProcessorMaxPollRPS.Key():   1000,
		dynamicconfig.TimerProcessorMaxPollRPS.Key():      1000,
		dynamicconfig.VisibilityProcessorMaxPollRPS.Key(): 1000,

		// An activity whose worker polls the workflow's own queue goes back with the answer to the workflow task,
		// which saves a round through matching.
		dynamicconfig.EnableActivityEagerExecution.Key(): true,
		dynamicconfig.EnableEagerWorkflowStart.Key():     true,
		// On by default in this version; stated because submissions stand on them (Update-with-Start).
		dynamicconfig.FrontendEnableUpdateWorkflowExecution.Key():              true,
		dynamicconfig.FrontendEnableUpdateWorkflowExecutionAsyncAccepted.Key(): true,
		// Worker build ids and deployments: a control plane's upgrade leaves running builds alone.
		dynamicconfig.EnableDeploymentVersions.Key():                   true,
		dynamicconfig.FrontendEnableWorkerVersioningWorkflowAPIs.Key(): true,

		// Requests a second. The defaults protect a fleet's members from one another and sit just under what a burst
		// of builds asks of one small machine, where being slow is the better answer than being refused.
		dynamicconfig.FrontendRPS.Key():                                  20000,
		dynamicconfig.FrontendMaxNamespaceRPSPerInstance.Key():           20000,
		dynamicconfig.FrontendMaxNamespaceVisibilityRPSPerInstance.Key(): 200,
		dynamicconfig.HistoryRPS.Key():                                   20000,
		dynamicconfig.MatchingRPS.Key():                                  20000,
		dynamicconfig.FrontendPersistenceMaxQPS.Key():                    20000,
		dynamicconfig.HistoryPersistenceMaxQPS.Key():                     20000,
		dynamicconfig.MatchingPersistenceMaxQPS.Key():                    20000,

		dynamicconfig.HistoryCountLimitError.Key(): o.HistoryEvents,
		dynamicconfig.HistoryCountLimitWarn.Key():  o.HistoryEvents / 5,
		dynamicconfig.HistorySizeLimitError.Key():  o.HistoryBytes,
		dynamicconfig.HistorySizeLimitWarn.Key():   o.HistoryBytes / 5,

		// The default cache holds 128,000 workflows: sized for a fleet, and more memory than a small machine has.
		dynamicconfig.HistoryCacheHostLevelMaxSize.Key(): 8192,

		// Who is refused is told why. It is about the caller itself, and never about what others have.
		dynamicconfig.ExposeAuthorizerErrors.Key(): true,

		// Nexus needs an HTTP port of the server, which nothing here uses.
		dynamicconfig.EnableNexus.Key(): false,

		// The project speaks to nobody but the deployment it belongs to.
		dynamicconfig.EnableServerVersionCheck.Key(): false,
	}
}
