package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/api"
	"github.com/slipway-cloud/slipway/api/compute"
	consolesapi "github.com/slipway-cloud/slipway/api/consoles"
	"github.com/slipway-cloud/slipway/api/ec2"
	"github.com/slipway-cloud/slipway/api/hosts"
	"github.com/slipway-cloud/slipway/api/identity"
	"github.com/slipway-cloud/slipway/api/image"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/workflows/boot"
)

func apiCommand() *cobra.Command {
	return role("api", "Serve the users' HTTP API",
		`Serves OpenStack's identity, compute, image and network APIs and the hosts' own, on one listener. Any number may run
behind a load balancer, on one database and one folder (or store) of images.`,
		[]string{"database", "temporal", "api", "identity", "images", "quota", "build", "network"}, runAPI)
}

func runAPI(ctx context.Context, c config.Config, log *slog.Logger) error {
	deadlines, err := deadlinesOf(c.Build)
	if err != nil {
		return err
	}
	certificates := tlsfile.New(log)
	secure, err := apiTLS(c.API, certificates)
	if err != nil {
		return err
	}
	store, err := openStore(ctx, c, log)
	if err != nil {
		return err
	}
	defer store.Close()
	external, err := openKeystone(ctx, c.Identity, store, certificates, log)
	if err != nil {
		return err
	}
	if external == nil {
		if err := bootstrap(ctx, store, c.API, c.Network); err != nil {
			return err
		}
	}
	keys, err := openKeys(ctx, c.Temporal, store)
	if err != nil {
		return err
	}
	temporal, err := dialTemporal(ctx, c.Temporal, payload.ControlConverter(keys), certificates, log)
	if err != nil {
		return err
	}
	defer temporal.Close()
	locks := store.Locks("image uploads")
	defer locks.Close()
	stores, err := imagestore.OpenStores(imageSettings(c.Images, imageLocks{locks}))
	if err != nil {
		return err
	}
	keeper, err := keepTogether(ctx, c, store, stores, temporal, log)
	if err != nil {
		return err
	}
	service, err := openImages(c.Images, store, stores, keeper, log)
	if err != nil {
		return err
	}

	web, err := c.Images.WebDownload()
	if err != nil {
		return err
	}
	builds := engine.NewClient(temporal, c.Temporal.ControlQueue).By(store.Now).Reads(payload.ControlConverter(keys))
	vendor, err := c.Build.VendorData()
	if err != nil {
		return err
	}
	services, err := c.Build.VendorServices()
	if err != nil {
		return err
	}
	rules, err := policy.LoadRules(c.API.PolicyFile)
	if err != nil {
		return fmt.Errorf("api.policy_file: %w", err)
	}
	for _, rule := range rules.All() {
		roles, _ := rules.Said(rule)
		log.Info("A rule of the policy asks for what the file says.", "rule", rule, "roles", roles)
	}
	metrics := prometheus.NewRegistry()
	server, err := api.New(api.Options{
		Store:  store,
		Images: service,
		Builds: builds,
		Audits: builds,
		Engine: keeper.Engine(),
		Image: image.Config{
			Idle: c.Images.Idle, Imports: builds, Web: web,
			ImportDeadline: c.Images.ImportDeadline, ImportPatience: c.Images.ImportPatience, UndoPatience: c.Build.UndoPatience, TaskTTL: c.Images.TaskTTL,
		},
		Identity:    identity.Config{TokenTTL: c.API.TokenTTL},
		External:    external,
		IdentityURL: identityURL(c.Identity),
		Servers: servers.Config{
			Keys:          keys,
			Quota:         quotaOf(c.Quota),
			Placement:     placementOf(c.Build),
			MaxHosts:      c.Build.MaxHosts,
			MaxCount:      c.Build.MaxCount,
			MaxLocalDisks: c.Build.MaxLocalDisks,
			Deadlines:     deadlines,
			Reclaims:      c.Build.ReclaimInterval > 0,
			Logger:        log,

			OffloadsAtOnce:   c.Build.ShelvedOffloadTime == 0,
			ForceConfigDrive: c.Build.ForceConfigDrive,
			VendorData:       vendor,
			VendorServices:   services,
			Drive:            &contract.DriveOptions{Format: c.Build.ConfigDriveFormat, SkipVersions: c.Build.SkipVersions(), Domain: c.Build.DHCPDomain},
			Inject:           &contract.InjectOptions{Partition: c.Build.InjectPartition, User: c.Build.InjectUser},
		},
		Network: networks.Config{
			Engine: c.Network.Engine, VIFType: c.Network.VIFType(), HostDownAfter: c.Build.HostDownAfter,
			Quota: models.NetworkQuota{
				models.QuotaNetworks: c.Quota.Networks, models.QuotaSubnets: c.Quota.Subnets, models.QuotaPorts: c.Quota.Ports,
				models.QuotaSecurityGroups: c.Quota.SecurityGroups, models.QuotaSecurityGroupRules: c.Quota.SecurityGroupRules,
				models.QuotaRouters: c.Quota.Routers, models.QuotaFloatingIPs: c.Quota.FloatingIPs,
			},
		},
		Compute:         compute.Config{HostDownAfter: c.Build.HostDownAfter},
		Hosts:           hosts.Config{Keys: keys, DownAfter: c.Build.HostDownAfter, GivenUpAfter: min(c.Build.HostLost, c.Build.HostDownAfter), HeartbeatInterval: c.Host.HeartbeatEvery, Certificates: secure != nil && secure.GetConfigForClient != nil},
		EC2:             ec2.Config{RequestsPerSecond: c.API.EC2Requests, RequestBurst: c.API.EC2Burst},
		Consoles:        consoles.Config{TokenTTL: c.API.ConsoleTokenTTL, Idle: c.API.ConsoleIdle, AdvertiseURL: c.API.AdvertiseURL, Logger: log},
		ConsolePage:     consolesapi.Config{Origins: c.API.Origins(), NoVNC: c.API.NoVNC},
		Addr:            c.API.Listen,
		TLS:             secure,
		PublicURL:       c.API.PublicURL,
		Rules:           rules,
		ShutdownTimeout: c.API.ShutdownTimeout,
		Logger:          log,
		Metrics:         metrics,
	})
	if err != nil {
		return err
	}
	codec := map[string]http.Handler{"/codec/": http.StripPrefix("/codec", payload.Handler(keys, c.Temporal.UIURL))}
	return serveOperator(ctx, c.Operator, certificates, metrics, codec, runBoth(keeper.Run, server.Run))
}

// bootstrap makes the users, projects and network that a new installation needs; what is there stays.
func bootstrap(ctx context.Context, store *models.Store, c config.API, n config.Network) error {
	if c.AdminPassword != "" {
		if err := identity.Bootstrap(ctx, store, identity.DefaultBootstrap(c.AdminPassword, c.DemoPassword)); err != nil {
			return err
		}
	} else if has, err := store.HasAdmin(ctx); err != nil {
		return err
	} else if !has {
		return errors.New("there is no admin yet: set api.admin_password (SLIPWAY_API_ADMIN_PASSWORD) for the first start")
	}
	if c.DefaultNetwork == "" {
		return nil
	}
	project, err := store.ProjectByName(ctx, models.DefaultDomain, "admin")
	if fault.Is(err, fault.NotFound) {
		return nil // its admins have done without it since
	}
	if err != nil {
		return fmt.Errorf("making the default network: %w", err)
	}
	_, err = networks.New(store, networks.Config{Engine: n.Engine}).EnsureDefault(ctx, project.ID, "private", c.DefaultNetwork)
	return err
}

// deadlinesOf is what every build and delete takes along.
func deadlinesOf(b config.Build) (contract.Deadlines, error) {
	overrides, err := b.Steps()
	if err != nil {
		return contract.Deadlines{}, err
	}
	table := boot.Table()
	for name := range overrides {
		if !slices.ContainsFunc(table, func(s boot.Step) bool { return s.Name == name }) {
			return contract.Deadlines{}, fmt.Errorf("build.step_timeouts: %s is no step of a build: docs/build-steps.md lists them", name)
		}
	}
	return contract.Deadlines{
		HostLost: b.HostLost, HostUnavailable: b.HostUnavailable, UndoPatience: b.UndoPatience, Capacity: b.Capacity, Build: b.Deadline,
		Phases: map[contract.Phase]time.Duration{
			contract.PhaseScheduling: b.Scheduling, contract.PhaseNetworking: b.Networking,
			contract.PhaseSpawning: b.Spawning, contract.PhaseDeleting: b.Deleting,
		},
		Steps: overrides,
	}, nil
}

// quotaOf is what a project gets for which nothing was set.
func quotaOf(q config.Quota) models.ProjectQuota {
	return models.ProjectQuota{
		Instances: q.Instances, Cores: q.Cores, RAMMiB: q.RAMMiB, KeyPairs: q.KeyPairs, MetadataItems: q.MetadataItems,
		InjectedFiles: q.InjectedFiles, InjectedFileBytes: q.InjectedFileBytes, InjectedPathBytes: q.InjectedPathBytes,
		ServerGroups: q.ServerGroups, ServerGroupMembers: q.ServerGroupMembers,
	}
}
