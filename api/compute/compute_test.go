package compute_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/compute"
	"github.com/slipway-cloud/slipway/api/network"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// builds stands at the port to Temporal: it notes what was asked for and answers what a test wants.
type builds struct {
	mu        sync.Mutex
	submitted []contract.BootInput
	reserved  []contract.ReserveInput
	deleted   []contract.DeleteInput
	resets    []contract.ResetInput
	consoles  []contract.ConsoleInput
	opened    []contract.OpenConsoleInput
	actions   []contract.ActionInput
	do        func(contract.ActionInput) error
	steps     []contract.StepProgress
	arrived   contract.TransferProgress
	console   string
	guests    []contract.GuestInput
	found     contract.Diagnostics
	err       error
	during    func(contract.BootInput) // is done while a build is submitted
}

func (b *builds) Submit(_ context.Context, in contract.BootInput) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.submitted = append(b.submitted, in)
	if b.during != nil {
		b.during(in)
	}
	return b.err
}

func (b *builds) Reserve(_ context.Context, in contract.ReserveInput) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reserved = append(b.reserved, in)
	return in.Min, b.err
}

func (b *builds) Delete(_ context.Context, in contract.DeleteInput) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deleted = append(b.deleted, in)
	return b.err
}

func (b *builds) Reset(_ context.Context, in contract.ResetInput) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.resets = append(b.resets, in)
	return b.err
}

func (b *builds) Arrived(context.Context, string) (contract.TransferProgress, error) {
	return b.arrived, nil
}

func (b *builds) Progress(context.Context, string) ([]contract.StepProgress, error) {
	return b.steps, b.err
}

func (b *builds) Console(_ context.Context, in contract.ConsoleInput) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.consoles = append(b.consoles, in)
	return b.console, b.err
}

func (b *builds) Diagnostics(_ context.Context, in contract.GuestInput) (contract.Diagnostics, error) {
	return b.found, b.TriggerCrashDump(context.Background(), in)
}

func (b *builds) Screenshot(ctx context.Context, in contract.GuestInput) (contract.Screenshot, error) {
	return contract.Screenshot{}, b.TriggerCrashDump(ctx, in)
}

func (b *builds) TriggerCrashDump(_ context.Context, in contract.GuestInput) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.guests = append(b.guests, in)
	return b.err
}

func (b *builds) OpenConsole(_ context.Context, in contract.OpenConsoleInput) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, in)
	return b.err
}

func (b *builds) Adopt(context.Context, contract.AdoptInput) error { return b.err }

func (b *builds) ForgetHost(context.Context, contract.ForgetHostInput) error { return b.err }

func (b *builds) HostNetwork(context.Context, contract.HostNetworkInput) (contract.HostNetwork, error) {
	return contract.HostNetwork{}, b.err
}

func (b *builds) DrainHost(context.Context, contract.DrainInput) error { return b.err }

func (b *builds) Drain(context.Context, string) (contract.DrainState, error) {
	return contract.DrainState{}, b.err
}

func (b *builds) ActOnDrain(context.Context, string, contract.DrainAct) error { return b.err }

func (b *builds) Do(_ context.Context, workflow string, in contract.ActionInput) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.actions = append(b.actions, in)
	if b.do != nil {
		return b.do(in)
	}
	return b.err
}

// take is what was submitted since the last take.
func (b *builds) take() []contract.BootInput {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.submitted
	b.submitted = nil
	return s
}

// cloud is an API with a flavor, a host and three users: an admin, a member and a reader of one project, and a stranger.
type cloud struct {
	*apitest.Env
	builds                          *builds
	bytes                           *imagestore.Stores
	keys                            *payload.Keys
	admin, member, reader, stranger apitest.User
	flavor                          models.Flavor
	host                            models.Host
	image                           string
}

func newCloud(t testing.TB, change ...func(*servers.Config)) *cloud {
	t.Helper()
	return newCloudOn(t, networks.Bridge, change...)
}

// newCloudOn is one whose networks stand on an engine.
func newCloudOn(t testing.TB, engine string, change ...func(*servers.Config)) *cloud {
	t.Helper()
	keys := testenv.PayloadKeys(t)
	c := &cloud{builds: &builds{}, keys: keys, image: uuid.NewString()}
	var err error
	c.bytes, err = imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir()})
	require.NoError(t, err)
	c.Env = apitest.New(t, func(e *echo.Echo, store *models.Store) {
		d := config.Default()
		config := servers.Config{
			Keys: keys, MaxHosts: d.Build.MaxHosts, Placement: placement.Settings{DownAfter: d.Build.HostDownAfter}, MaxCount: d.Build.MaxCount, Deadlines: contract.DefaultDeadlines(),
			Quota: models.ProjectQuota{
				Instances: d.Quota.Instances, Cores: d.Quota.Cores, RAMMiB: d.Quota.RAMMiB, KeyPairs: d.Quota.KeyPairs, MetadataItems: d.Quota.MetadataItems,
				InjectedFiles: d.Quota.InjectedFiles, InjectedFileBytes: d.Quota.InjectedFileBytes, InjectedPathBytes: d.Quota.InjectedPathBytes,
				ServerGroups: d.Quota.ServerGroups, ServerGroupMembers: d.Quota.ServerGroupMembers,
			},
		}
		config.Networks = networks.New(store, networks.Config{Engine: engine})
		for _, f := range change {
			f(&config)
		}
		service := servers.New(store, c.builds, config)
		computing := compute.New(store, service, images.New(store, c.bytes, images.Config{MaxBytes: 1 << 30}, slog.New(slog.DiscardHandler)), consoles.New(store, c.builds, consoles.Config{}), compute.Config{HostDownAfter: d.Build.HostDownAfter})
		computing.Mount(e.Group("/compute"))
		computing.MountExplain(e.Group("/reservations"))
		network.New(store, config.Networks).Mount(e.Group("/network"))
	})
	c.admin, c.member = c.User(t, "one", "admin"), c.User(t, "one", "member")
	c.reader, c.stranger = c.User(t, "one", "reader"), c.User(t, "two", "member")
	ctx := context.Background()
	c.flavor, err = c.Store.CreateFlavor(ctx, models.Flavor{
		ID: "1", Name: "m1.tiny", VCPUs: 1, RAMMiB: 512, DiskGiB: 1, RxTxFactor: 1, Public: true, ExtraSpecs: map[string]string{"hw:x": "y"},
	})
	require.NoError(t, err)
	_, err = c.Store.CreateImage(ctx, models.Image{ID: c.image, OwnerID: c.admin.ProjectID, Visibility: "public", Properties: map[string]string{"os_type": "linux"}}, nil)
	require.NoError(t, err)
	now := time.Now()
	c.host, err = c.Store.RegisterHost(ctx, models.Host{
		ID: uuid.NewString(), Hostname: "hv1", AvailabilityZone: "nova", TokenHash: []byte("12345678901234567890123456789012"),
		HypervisorType: "QEMU", HypervisorVersion: 7002000, Architectures: []string{"x86_64"}, VCPUs: 4, MemoryMiB: 8192, DiskGiB: 100,
		CPURatio: 4, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, Version: "test", StartedAt: now, SeenAt: now, CreatedAt: now,
	})
	require.NoError(t, err)
	return c
}

const at96 = "2.96"

// nova sends a request to the compute API at a microversion.
func (c *cloud) nova(t testing.TB, u apitest.User, version, method, path string, body any, headers ...string) apitest.Answer {
	t.Helper()
	return c.Do(t, method, "/compute/v2.1"+path, u.Token, body, append(headers, "X-OpenStack-Nova-API-Version", version)...)
}

// network makes one with a subnet.
func (c *cloud) network(t testing.TB, owner apitest.User, name, cidr, pool, end string) models.Network {
	t.Helper()
	n, err := c.Store.EnsureNetwork(context.Background(), models.Network{ID: uuid.NewString(), ProjectID: owner.ProjectID, Name: name, MTU: 1500},
		models.Subnet{ID: uuid.NewString(), ProjectID: owner.ProjectID, CIDR: cidr, Pools: []ipam.Pool{{Start: pool, End: end}}, EnableDHCP: true})
	require.NoError(t, err)
	return n
}

// row records a server of the user's project, in BUILD.
func (c *cloud) row(t testing.TB, owner apitest.User, name string, created time.Time) models.Server {
	t.Helper()
	s := models.Server{
		ID: uuid.NewString(), ProjectID: owner.ProjectID, UserID: owner.UserID, Name: name, Hostname: servers.Hostname(name),
		ImageID: c.image, FlavorID: c.flavor.ID, ReservationID: "r-abcdefgh", ConfigDrive: true, CreatedAt: created, UpdatedAt: created,
		Flavor:   models.FlavorSnapshot{ID: c.flavor.ID, Name: c.flavor.Name, VCPUs: 1, RAMMiB: 512, DiskGiB: 1, ExtraSpecs: map[string]string{"hw:x": "y"}},
		Metadata: map[string]string{"role": "web"}, Tags: []string{"blue"}, AccessIPv4: "192.0.2.7", AutoDiskConfig: true,
	}
	require.NoError(t, c.Store.RecordServer(context.Background(), s, models.InstanceAction{
		ServerID: s.ID, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: owner.UserID, ProjectID: owner.ProjectID, StartedAt: created, UpdatedAt: created,
	}))
	return s
}

// place gives a server its host and a port, as its build would.
func (c *cloud) place(t testing.TB, s models.Server, n models.Network) models.Port {
	t.Helper()
	ctx := context.Background()
	require.NoError(t, c.Store.Place(ctx, models.Placement{ServerID: s.ID, HostID: c.host.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
	p, err := c.Store.AllocatePort(ctx, models.PortRequest{
		ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(s.ID)).String(), ServerID: s.ID, ProjectID: s.ProjectID, NetworkID: n.ID, Hostname: c.host.Hostname,
	})
	require.NoError(t, err)
	return p
}

// activate ends a build.
func (c *cloud) activate(t testing.TB, s models.Server, launched time.Time, events ...models.InstanceActionEvent) {
	t.Helper()
	actions, err := c.Store.Actions(context.Background(), s.ID)
	require.NoError(t, err)
	require.NoError(t, c.Store.ActivateServer(context.Background(), models.Activation{
		ServerID: s.ID, RequestID: actions[0].RequestID, Hostname: c.host.Hostname, PowerState: 1, LaunchedAt: launched, Events: events,
	}))
}

func indent(t *testing.T, body string) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, json.Indent(&b, []byte(body), "", "  "))
	return b.String() + "\n"
}
