package models

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// The times of a row that exists before and after may differ.
var volatile = []string{"servers.updated_at", "ports.updated_at", "ports.revision"}

func TestDoingTwiceIsDoingOnceAndUndoingTwiceLeavesTheWorldAsItWas(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	v := w.record(t, "web")
	users, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID, Name: "mine"})
	require.NoError(t, err)
	port := func(r PortRequest) func() error {
		r.ServerID, r.ProjectID, r.Hostname = v.ID, "p1", "n1"
		return func() error { _, err := w.AllocatePort(ctx, r); return err }
	}
	for name, pair := range map[string]struct{ do, undo func() error }{
		"claim": {
			func() error {
				return w.ClaimQuota(ctx, Claim{ServerID: v.ID, ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, Limits{1, 1, 512})
			},
			func() error { return w.ReleaseClaim(ctx, v.ID) },
		},
		"allocation": {
			func() error {
				return w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 4, MemoryMiB: 4096, DiskGiB: 40}, "networking")
			},
			func() error { return w.ReleasePlacement(ctx, v.ID, "n1") },
		},
		"made port": {
			port(PortRequest{ID: "made", NetworkID: w.network.ID, Index: 0, Tag: "nic"}),
			func() error { return w.ReleasePort(ctx, v.ID, 0) },
		},
		"made port with an address": {
			port(PortRequest{ID: "made", NetworkID: w.network.ID, Index: 2, FixedIP: "10.0.0.77"}),
			func() error { return w.ReleasePort(ctx, v.ID, 2) },
		},
		"bound port": {
			port(PortRequest{PortID: users.ID, Index: 1, Tag: "nic"}),
			func() error { return w.ReleasePort(ctx, v.ID, 1) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.snapshot(t, volatile...)
			require.NoError(t, pair.undo(), "it never happened")
			require.Equal(t, before, w.snapshot(t, volatile...))
			require.NoError(t, pair.do())
			done := w.snapshot(t)
			require.NotEqual(t, before, w.snapshot(t, volatile...))
			require.NoError(t, pair.do())
			require.Equal(t, done, w.snapshot(t))
			require.NoError(t, pair.undo())
			require.Equal(t, before, w.snapshot(t, volatile...))
			require.NoError(t, pair.undo())
			require.Equal(t, before, w.snapshot(t, volatile...))
		})
	}
}

func TestAPortFollowsItsServerToTheNextHost(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	w.host(t, "n1", 4, 4096, 40)
	next := w.host(t, "n2", 4, 4096, 40)
	v := w.record(t, "web")
	users, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID})
	require.NoError(t, err)
	for _, r := range []PortRequest{{ID: "made", NetworkID: w.network.ID, Index: 0}, {PortID: users.ID, Index: 1}} {
		r.ServerID, r.ProjectID, r.Hostname = v.ID, "p1", "n1"
		first, err := w.AllocatePort(ctx, r)
		require.NoError(t, err)
		r.Hostname, r.TaskState = "n2", new("spawning")
		_, err = w.AllocatePort(ctx, r)
		require.NoError(t, err)
		moved, err := w.Port(ctx, first.ID)
		require.NoError(t, err)
		require.Equal(t, next.ID, *moved.HostID)
		require.Equal(t, first.FixedIPs, moved.FixedIPs)
		got, err := w.Server(ctx, v.ID)
		require.NoError(t, err)
		require.Equal(t, "spawning", *got.TaskState)
	}
}

func TestFiftyClaimsAtOnceAdmitExactlyTheLimit(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	errs := atOnce(50, func(i int) error {
		return w.ClaimQuota(ctx, Claim{ServerID: fmt.Sprint("s", i), ProjectID: "p1", Instances: 1, Cores: 2, RAMMiB: 100}, Limits{-1, 20, -1})
	})
	require.Equal(t, 10, succeeded(errs))
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.OverQuota, "Quota exceeded for cores: Requested 2, but already used 20 of 20 cores")
		}
	}
	u, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, Usage{Instances: 10, Cores: 20, RAMMiB: 1000}, u)
}

func TestARefusedClaimNamesEveryResourceInNovasWords(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	c := Claim{ServerID: "s1", ProjectID: "p1", Instances: 1, Cores: 8, RAMMiB: 4096}
	require.NoError(t, w.ClaimQuota(ctx, c, Limits{10, 10, 5120}))
	err := w.ClaimQuota(ctx, Claim{ServerID: "s2", ProjectID: "p1", Instances: 1, Cores: 4, RAMMiB: 8192}, Limits{10, 10, 5120})
	requireFault(t, err, fault.OverQuota, "Quota exceeded for cores, ram: Requested 4, 8192, but already used 8, 4096 of 10, 5120 cores, ram")
	require.NoError(t, w.ClaimQuota(ctx, c, Limits{0, 0, 0}), "the same claim holds although the limit is lower by now")
	c.Cores = 9
	requireFault(t, w.ClaimQuota(ctx, c, Limits{-1, -1, -1}), fault.Conflict, "Instance s1 has claimed quota already.")
	requireFault(t, w.ClaimQuota(ctx, Claim{ServerID: "s3", ProjectID: "none"}, Limits{-1, -1, -1}), fault.NotFound, "Could not find project: none.")
}

func TestFiftyAllocationsAtOnceNeverOvercommitAHost(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 100, 10240, 1000)
	servers := make([]Server, 50)
	for i := range servers {
		servers[i] = w.record(t, "s")
	}
	errs := atOnce(50, func(i int) error {
		return w.Place(ctx, Placement{ServerID: servers[i].ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 1000, DiskGiB: 1}, "networking")
	})
	require.Equal(t, 10, succeeded(errs))
	for i, err := range errs {
		v, e := w.Server(ctx, servers[i].ID)
		require.NoError(t, e)
		if err != nil {
			requireFault(t, err, fault.HostUnfit, "Host n1 has 240 MiB of memory left, 1000 are needed.")
			require.Nil(t, v.HostID)
			require.Equal(t, lifecycle.Scheduling, *v.TaskState)
			continue
		}
		require.Equal(t, h.ID, *v.HostID)
		require.Equal(t, "networking", *v.TaskState)
	}
	hosts, err := w.ListHosts(ctx)
	require.NoError(t, err)
	require.Len(t, hosts, 1)
	require.Equal(t, []int{10, 10, 10000, 10}, []int{hosts[0].Servers, hosts[0].UsedVCPUs, hosts[0].UsedMemoryMiB, hosts[0].UsedDiskGiB})
	require.Equal(t, []string{"x86_64"}, hosts[0].Architectures)
}

func TestAnAllocationIsRefusedForEachReason(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	h.CPURatio, h.RAMRatio, h.DiskRatio, h.ReservedMemoryMiB = 2, 1.5, 0.5, 1024
	h, err := w.RegisterHost(ctx, h)
	require.NoError(t, err)
	v := w.record(t, "s")
	try := func(vcpus, memory, disk int) error {
		return w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: vcpus, MemoryMiB: memory, DiskGiB: disk}, "networking")
	}
	requireFault(t, try(9, 1, 1), fault.HostUnfit, "Host n1 has 8 vCPUs left, 9 are needed.")
	requireFault(t, try(1, 4609, 1), fault.HostUnfit, "Host n1 has 4608 MiB of memory left, 4609 are needed.")
	requireFault(t, try(1, 1, 21), fault.HostUnfit, "Host n1 has 20 GiB of disk left, 21 are needed.")
	require.NoError(t, w.SetHostEnabled(ctx, h.ID, false, new("maintenance")))
	requireFault(t, try(1, 1, 1), fault.HostUnfit, "Host n1 is disabled.")
	require.NoError(t, w.SetHostEnabled(ctx, h.ID, true, nil))
	require.NoError(t, w.HeartbeatHost(ctx, h.ID, HostHeartbeat{Ready: false, NotReadyReason: new("libvirtd is down"), VCPUs: 4, MemoryMiB: 4096, DiskGiB: 40}, now()))
	requireFault(t, try(1, 1, 1), fault.HostUnfit, "Host n1 is not ready.")
	require.NoError(t, w.HeartbeatHost(ctx, h.ID, HostHeartbeat{Ready: true, VCPUs: 4, MemoryMiB: 4096, DiskGiB: 40}, now()))
	require.NoError(t, try(8, 4608, 20))
	requireFault(t, try(1, 1, 1), fault.Conflict, "Instance "+v.ID+" has another allocation on host n1 already.")
	requireFault(t, w.Place(ctx, Placement{ServerID: w.record(t, "x").ID, HostID: "h9"}, ""), fault.HostUnfit, "Host h9 is not registered any more.")
	requireFault(t, w.Place(ctx, Placement{ServerID: "none", HostID: h.ID}, ""), fault.NotFound, "Instance none could not be found.")
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: v.ID, PowerState: 1}))
	h2 := w.host(t, "n2", 4, 4096, 40)
	requireFault(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h2.ID}, ""), fault.Conflict,
		"Cannot 'allocate a host' instance "+v.ID+" while it is in vm_state active")
	requireFault(t, w.DeleteHost(ctx, h.ID), fault.Conflict,
		"Unable to delete compute host "+h.ID+" that is hosting instances. Delete the instances first.")
	require.NoError(t, w.DeleteHost(ctx, h2.ID))
	requireFault(t, w.DeleteHost(ctx, h2.ID), fault.NotFound, "Compute host "+h2.ID+" could not be found.")
}

// A selection that its worker did not hear the end of runs again beside the first.
func TestSelectionsForOneServerAtOnceTakeOneHost(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	var hosts []Host
	for i := range 8 {
		hosts = append(hosts, w.host(t, fmt.Sprint("n", i), 4, 4096, 40))
	}
	v := w.record(t, "s")
	errs := atOnce(len(hosts), func(i int) error {
		return w.Place(ctx, Placement{ServerID: v.ID, HostID: hosts[i].ID, VCPUs: 1}, "networking")
	})
	require.Equal(t, 1, succeeded(errs))
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.Unavailable, "Instance "+v.ID+" has just been placed on another host.")
		}
	}
	held, err := w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, held, 1)
}

func TestAFailedHostsAllocationStaysWhileTheBuildMovesOn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h1, h2 := w.host(t, "n1", 4, 4096, 40), w.host(t, "n2", 4, 4096, 40)
	v := w.record(t, "s")
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h1.ID, VCPUs: 1}, "networking"))
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h2.ID, VCPUs: 1}, "networking", "n1"))
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "n1"))
	got, err := w.Server(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, h2.ID, *got.HostID)
	require.Equal(t, "networking", *got.TaskState, "the late undo on the first host changes nothing here")
	left, err := w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, h2.ID, left[0].HostID)
}

func TestSixtyFourBuildsAtOnceGetDistinctAddressesFromThePoolsStart(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	servers := make([]Server, 64)
	for i := range servers {
		servers[i] = w.record(t, "s")
	}
	ports := make([]Port, 64)
	for _, err := range atOnce(64, func(i int) (err error) {
		ports[i], err = w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), ServerID: servers[i].ID, ProjectID: "p1", NetworkID: w.network.ID, TaskState: new("spawning")})
		return err
	}) {
		require.NoError(t, err)
	}
	ips, macs := map[string]bool{}, map[string]bool{}
	for _, p := range ports {
		require.Len(t, p.FixedIPs, 1)
		ips[p.FixedIPs[0].IP], macs[p.MAC] = true, true
		require.Regexp(t, `^fa:16:3e(:[0-9a-f]{2}){3}$`, p.MAC)
		require.Equal(t, "private", p.Network.Name)
		require.Equal(t, "10.0.0.1", *p.Network.Subnets[0].GatewayIP)
	}
	require.Len(t, macs, 64)
	for i := range 64 {
		require.True(t, ips[fmt.Sprint("10.0.0.", 10+i)], "the lowest of them")
	}
	v, err := w.Server(ctx, servers[0].ID)
	require.NoError(t, err)
	require.Equal(t, "spawning", *v.TaskState)
}

// What every taken address knows of the next one holds, however takings and givings back cross.
func TestTheNextFreeAddressIsKnownAfterAddressesWereTakenAndGivenBackAtOnce(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	for _, err := range atOnce(12, func(i int) error {
		var last string
		for n := range 6 {
			p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID})
			if err != nil {
				return err
			}
			if last != "" && (n+i)%3 > 0 {
				if err := w.DeletePort(ctx, last); err != nil {
					return err
				}
			}
			last = p.ID
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	var wrong, taken int
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FILTER (WHERE f.free_after IS DISTINCT FROM
		CASE WHEN NOT EXISTS (SELECT FROM fixed_ips n WHERE n.subnet_id = f.subnet_id AND n.ip = f.ip + 1) THEN f.ip + 1 END), count(*) FROM fixed_ips f`).Scan(&wrong, &taken))
	require.Zero(t, wrong)
	require.Greater(t, taken, 12)
}

func TestAFullPoolIsRefusedAndAFreedAddressIsUsedAgain(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	small, err := w.EnsureNetwork(ctx, Network{ProjectID: "p1", Name: "small"},
		Subnet{CIDR: "192.168.0.0/29", Pools: []ipam.Pool{{Start: "192.168.0.1", End: "192.168.0.6"}}})
	require.NoError(t, err)
	// A gateway inside the pool, as older versions could store one, is never given away.
	require.NoError(t, w.exec(ctx, `UPDATE subnets SET gateway_ip = '192.168.0.3' WHERE network_id = $1`, small.ID))
	take := func(v Server) (string, error) {
		p, err := w.AllocatePort(ctx, PortRequest{ID: "port-" + v.ID, ServerID: v.ID, ProjectID: "p1", NetworkID: small.ID})
		if err != nil {
			return "", err
		}
		return p.FixedIPs[0].IP, nil
	}
	var servers []Server
	for _, want := range []string{"192.168.0.1", "192.168.0.2", "192.168.0.4", "192.168.0.5", "192.168.0.6"} {
		v := w.record(t, "s")
		servers = append(servers, v)
		got, err := take(v)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	late := w.record(t, "late")
	before := w.snapshot(t)
	_, err = take(late)
	requireFault(t, err, fault.Conflict, "No more IP addresses available on network "+small.ID+".")
	require.Equal(t, before, w.snapshot(t), "a refusal leaves nothing")
	for _, i := range []int{0, 3} {
		require.NoError(t, w.ReleasePort(ctx, servers[i].ID, 0))
	}
	got, err := take(late)
	require.NoError(t, err)
	require.Equal(t, "192.168.0.1", got)
	got, err = take(w.record(t, "later"))
	require.NoError(t, err)
	require.Equal(t, "192.168.0.5", got)
}

func TestARaceForOneFixedAddressHasOneWinner(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	servers := make([]Server, 20)
	for i := range servers {
		servers[i] = w.record(t, "s")
	}
	errs := atOnce(20, func(i int) error {
		_, err := w.AllocatePort(ctx, PortRequest{ID: "port-" + servers[i].ID, ServerID: servers[i].ID, ProjectID: "p1", NetworkID: w.network.ID, FixedIP: "10.0.0.200"})
		return err
	})
	require.Equal(t, 1, succeeded(errs))
	winner := servers[slices.Index(errs, nil)].ID
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.Conflict, "Fixed IP address 10.0.0.200 is already in use on instance "+winner+".")
		}
	}
}

func TestARaceForOnePortHasOneWinner(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID})
	require.NoError(t, err)
	servers := make([]Server, 20)
	for i := range servers {
		servers[i] = w.record(t, "s")
	}
	errs := atOnce(20, func(i int) error {
		_, err := w.AllocatePort(ctx, PortRequest{PortID: p.ID, ServerID: servers[i].ID, ProjectID: "p1"})
		return err
	})
	require.Equal(t, 1, succeeded(errs))
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.Conflict, "Port "+p.ID+" is still in use.")
		}
	}
	requireFault(t, w.DeletePort(ctx, p.ID), fault.Conflict,
		"Unable to complete operation on port "+p.ID+" for network "+p.NetworkID+". Port already has an attached device "+servers[slices.Index(errs, nil)].ID+".")
}

func TestAPortIsRefusedForEachReason(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	_, err := w.EnsureProject(ctx, Project{ID: "p2", Name: "other", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	bare, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "bare"})
	require.NoError(t, err)
	foreign, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID})
	require.NoError(t, err)
	v, active := w.record(t, "s"), w.record(t, "a")
	require.NoError(t, w.ActivateServer(ctx, Activation{ServerID: active.ID, PowerState: 1}))
	_, err = w.AllocatePort(ctx, PortRequest{ID: "first", ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, Index: 7})
	require.NoError(t, err)
	before := w.snapshot(t)
	for name, c := range map[string]struct {
		r    PortRequest
		kind fault.Kind
		text string
	}{
		"unknown network":   {PortRequest{ServerID: v.ID, ProjectID: "p1", NetworkID: "n9"}, fault.NotFound, "Network n9 could not be found."},
		"another's network": {PortRequest{ServerID: v.ID, ProjectID: "p2", NetworkID: w.network.ID}, fault.NotFound, "Network " + w.network.ID + " could not be found."},
		"unknown server":    {PortRequest{ServerID: "s9", ProjectID: "p1", NetworkID: w.network.ID}, fault.NotFound, "Instance s9 could not be found."},
		"server not in BUILD": {PortRequest{ServerID: active.ID, ProjectID: "p1", NetworkID: w.network.ID}, fault.Conflict,
			"Cannot 'allocate a port' instance " + active.ID + " while it is in vm_state active"},
		"no subnet": {PortRequest{ServerID: v.ID, ProjectID: "p1", NetworkID: bare.ID}, fault.Invalid,
			"Network " + bare.ID + " requires a subnet in order to boot instances on."},
		"address outside": {PortRequest{ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, FixedIP: "10.1.0.5"}, fault.Invalid,
			"IP address 10.1.0.5 is not a valid IP for any of the subnets on the specified network."},
		"no address": {PortRequest{ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, FixedIP: "ten"}, fault.Invalid, "Invalid input for fixed_ips. Reason: 'ten' is not a valid IP address."},
		"the broadcast address": {PortRequest{ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, FixedIP: "10.0.0.255"}, fault.Invalid,
			"IP address 10.0.0.255 is not a valid IP for any of the subnets on the specified network."},
		"unknown port":       {PortRequest{ServerID: v.ID, ProjectID: "p1", PortID: "x"}, fault.NotFound, "Port x could not be found."},
		"another's port":     {PortRequest{ServerID: v.ID, ProjectID: "p2", PortID: foreign.ID}, fault.NotFound, "Port " + foreign.ID + " could not be found."},
		"interface taken":    {PortRequest{ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID, Index: 7}, fault.Conflict, "Instance " + v.ID + " has another port on interface 7 already."},
		"bind, the same":     {PortRequest{ServerID: v.ID, ProjectID: "p1", PortID: foreign.ID, Index: 7}, fault.Conflict, "Instance " + v.ID + " has another port on interface 7 already."},
		"bind, not BUILD":    {PortRequest{ServerID: active.ID, ProjectID: "p1", PortID: foreign.ID}, fault.Conflict, "Cannot 'bind a port' instance " + active.ID + " while it is in vm_state active"},
		"port id used twice": {PortRequest{ID: "first", ServerID: active.ID, ProjectID: "p1", NetworkID: w.network.ID}, fault.Conflict, "Port first already exists."},
	} {
		t.Run(name, func(t *testing.T) {
			if c.r.ID == "" {
				c.r.ID = uuid.NewString()
			}
			_, err := w.AllocatePort(ctx, c.r)
			requireFault(t, err, c.kind, c.text)
			require.Equal(t, before, w.snapshot(t), "a refusal leaves nothing")
		})
	}
}

func TestAPortGetsAnAddressOfEachFamily(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	n, err := w.EnsureNetwork(ctx, Network{ProjectID: "p1", Name: "dual"},
		Subnet{CIDR: "10.1.0.0/30", GatewayIP: new("10.1.0.1")}, Subnet{CIDR: "10.2.0.0/24", GatewayIP: new("10.2.0.1")},
		Subnet{CIDR: "fd00::/64", GatewayIP: new("fd00::1"), DNSServers: []string{"fd00::53"}})
	require.NoError(t, err)
	for _, want := range [][]string{{"10.1.0.2", "fd00::2"}, {"10.2.0.2", "fd00::3"}} { // the first v4 subnet has one address
		p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID})
		require.NoError(t, err)
		require.Equal(t, want, []string{p.FixedIPs[0].IP, p.FixedIPs[1].IP})
	}
	p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID, MAC: "52-54-00-AB-CD-EF",
		FixedIPs: []FixedIP{{SubnetID: n.Subnets[1].ID}, {IP: "fd00:0::99"}}})
	require.NoError(t, err)
	require.Equal(t, "52:54:00:ab:cd:ef", p.MAC)
	require.Equal(t, []string{"10.2.0.3", "fd00::99"}, []string{p.FixedIPs[0].IP, p.FixedIPs[1].IP})
	_, err = w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID, MAC: "52:54:00:ab:cd:ef"})
	requireFault(t, err, fault.Conflict, "Unable to complete operation for network "+n.ID+". The mac address 52:54:00:ab:cd:ef is in use.")
	_, err = w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID, FixedIPs: []FixedIP{{SubnetID: w.network.Subnets[0].ID}}})
	requireFault(t, err, fault.Invalid, "Invalid input for operation: Failed to create port on network "+n.ID+
		", because fixed_ips included invalid subnet "+w.network.Subnets[0].ID+".")
}

func TestACollidingMACIsReplacedByTheNextOfThePort(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	candidates := ids.MACs("late")
	require.Len(t, candidates, 10)
	for _, m := range candidates[:3] {
		_, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID, MAC: m})
		require.NoError(t, err)
	}
	p, err := w.CreatePort(ctx, Port{ID: "late", ProjectID: "p1", NetworkID: w.network.ID})
	require.NoError(t, err)
	require.Equal(t, candidates[3], p.MAC)
}

func TestASubnetIsCompletedBeforeItIsStored(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	n, err := w.CreateNetwork(ctx, Network{ProjectID: "p1", Name: "narrow", MTU: 1279})
	require.NoError(t, err)
	sub, err := w.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "10.7.0.0/24", GatewayIP: new("10.7.0.254")})
	require.NoError(t, err)
	require.Equal(t, []ipam.Pool{{Start: "10.7.0.1", End: "10.7.0.253"}}, sub.Pools)
	before := w.snapshot(t)
	_, err = w.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "10.8.0.1/24"})
	requireFault(t, err, fault.Invalid, "Invalid input for cidr. Reason: '10.8.0.1/24' isn't a recognized IP subnet cidr, '10.8.0.0/24' is recommended.")
	_, err = w.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "fd00::/64"})
	requireFault(t, err, fault.Conflict, "MTU of "+n.ID+" is not valid, subnet requires a minimum of 1280")
	require.Equal(t, before, w.snapshot(t), "a refusal leaves nothing")
}

func TestAPortThatIsAskedForWithoutAnAddressHasNone(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID, IPAllocation: NoIPs})
	require.NoError(t, err)
	require.Empty(t, p.FixedIPs)
	require.Equal(t, NoIPs, p.IPAllocation)
	v := w.record(t, "s")
	bound, err := w.AllocatePort(ctx, PortRequest{ServerID: v.ID, ProjectID: "p1", PortID: p.ID})
	require.NoError(t, err)
	require.Empty(t, bound.FixedIPs)
	require.NoError(t, w.ReleasePort(ctx, v.ID, 0))
	p, err = w.Port(ctx, p.ID)
	require.NoError(t, err)
	require.Equal(t, NoIPs, p.IPAllocation, "it stays so when its server is gone")
}

func TestANetworkGoesWithItsSubnetsUnlessItHasPorts(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	before := w.snapshot(t)
	errs := atOnce(8, func(int) error {
		_, err := w.EnsureNetwork(ctx, Network{ProjectID: "p1", Name: "new"}, Subnet{CIDR: "10.9.0.0/24"})
		return err
	})
	require.Equal(t, 8, succeeded(errs), "%v", errs)
	all, err := w.ListNetworks(ctx, NetworkFilter{ProjectID: "p1", Match: []Match{{"name", []string{"new"}}}})
	require.NoError(t, err)
	require.Len(t, all, 1)
	n := all[0]
	require.Len(t, n.Subnets, 1)
	require.Equal(t, DefaultMTU, n.MTU)
	_, err = w.CreateSubnet(ctx, Subnet{NetworkID: n.ID, ProjectID: "p1", CIDR: "10.9.0.128/25"})
	requireFault(t, err, fault.Invalid, "Invalid input for operation: Requested subnet with cidr: 10.9.0.128/25 for network: "+n.ID+" overlaps with another subnet.")
	p, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: n.ID})
	require.NoError(t, err)
	requireFault(t, w.DeleteNetwork(ctx, n.ID), fault.Conflict,
		"Unable to complete operation on network "+n.ID+". There are one or more ports still in use on the network.")
	requireFault(t, w.DeleteSubnet(ctx, n.Subnets[0].ID), fault.Conflict,
		"Unable to complete operation on subnet "+n.Subnets[0].ID+": One or more ports have an IP allocation from this subnet.")

	found, err := w.ListPorts(ctx, PortFilter{ProjectID: "p1", IPs: []string{p.FixedIPs[0].IP}, NetworkIDs: []string{n.ID}, Match: []Match{{"mac_address", []string{p.MAC}}}})
	require.NoError(t, err)
	require.Equal(t, []Port{p}, found)
	_, err = w.ListPorts(ctx, PortFilter{IPs: []string{"x"}})
	require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)

	require.NoError(t, w.DeletePort(ctx, p.ID))
	requireFault(t, w.DeletePort(ctx, p.ID), fault.NotFound, "Port "+p.ID+" could not be found.")
	require.NoError(t, w.DeleteNetwork(ctx, n.ID))
	requireFault(t, w.DeleteNetwork(ctx, n.ID), fault.NotFound, "Network "+n.ID+" could not be found.")
	_, err = w.Subnet(ctx, n.Subnets[0].ID)
	requireFault(t, err, fault.NotFound, "Subnet "+n.Subnets[0].ID+" could not be found.")
	require.Equal(t, before, w.snapshot(t))
}

func TestAProjectSeesItsOwnAndSharedNetworks(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	_, err := w.EnsureProject(ctx, Project{ID: "p2", Name: "other", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	shared, err := w.EnsureNetwork(ctx, Network{ProjectID: "p1", Name: "public", Shared: true}, Subnet{CIDR: "10.5.0.0/24"})
	require.NoError(t, err)
	names := func(f NetworkFilter) (out []string) {
		all, err := w.ListNetworks(ctx, f)
		require.NoError(t, err)
		for _, n := range all {
			out = append(out, n.Name)
		}
		return out
	}
	require.Equal(t, []string{"private", "public"}, names(NetworkFilter{ProjectID: "p1"}))
	require.Equal(t, []string{"public"}, names(NetworkFilter{ProjectID: "p2"}))
	require.Equal(t, []string{"private"}, names(NetworkFilter{Admin: true, Match: []Match{{"shared", []string{"false"}}}}))
	_, err = w.ListNetworks(ctx, NetworkFilter{ProjectID: "p2", Marker: w.network.ID})
	requireFault(t, err, fault.Invalid, "marker ["+w.network.ID+"] not found")
	subnets, err := w.ListSubnets(ctx, SubnetFilter{ProjectID: "p2"})
	require.NoError(t, err)
	require.Len(t, subnets, 1)
	require.Equal(t, shared.ID, subnets[0].NetworkID)
	_, err = w.CreatePort(ctx, Port{ProjectID: "p2", NetworkID: shared.ID})
	require.NoError(t, err)
}

// takings are steps of a build, each on the store that it is given.
func (w *world) takings(t *testing.T) map[string]func(*Store) error {
	t.Helper()
	ctx := t.Context()
	h := w.host(t, "n1", 4, 4096, 40)
	v := w.record(t, "web")
	users, err := w.CreatePort(ctx, Port{ProjectID: "p1", NetworkID: w.network.ID})
	require.NoError(t, err)
	port := func(r PortRequest) func(*Store) error {
		r.ServerID, r.ProjectID, r.Hostname = v.ID, "p1", "n1"
		return func(s *Store) error { _, err := s.AllocatePort(ctx, r); return err }
	}
	other, action := w.server("other")
	begin := w.importOfAnImage(t)
	return map[string]func(*Store) error{
		"claim": func(s *Store) error {
			return s.ClaimQuota(ctx, Claim{ServerID: v.ID, ProjectID: "p1", Instances: 1}, Limits{-1, -1, -1})
		},
		"allocation": func(s *Store) error {
			return s.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1}, "networking")
		},
		"made port":  port(PortRequest{ID: "made", NetworkID: w.network.ID, Index: 0}),
		"bound port": port(PortRequest{PortID: users.ID, Index: 1}),
		"row":        func(s *Store) error { return s.RecordServer(ctx, other, action) },
		"import": func(s *Store) error {
			_, _, err := s.BeginImport(ctx, begin)
			return err
		},
		"servers": func(s *Store) error {
			first := uuid.NewString()
			a := action
			a.ServerID, a.RequestID = first, "req-"+first
			_, err := s.AdmitServers(ctx, Admission{
				Reservation: Reservation{ServerID: first, ID: "r-" + first[:8], ProjectID: "p1", UserID: "u1", MinCount: 1, MaxCount: 2},
				Server:      other, Limits: Limits{-1, -1, -1}, Claim: Claim{Instances: 1}, Action: a,
				Row: func(i, _ int) (string, string, string) {
					id := ids.ReservedServer(first, i)
					return id, fmt.Sprint("many-", i), fmt.Sprint("many-", i)
				},
			})
			return err
		},
	}
}

// importOfAnImage is the beginning of one.
func (w *world) importOfAnImage(t *testing.T) ImportBegin {
	t.Helper()
	raw, bare := "raw", "bare"
	i, err := w.CreateImage(t.Context(), Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "private", DiskFormat: &raw, ContainerFormat: &bare}, nil)
	require.NoError(t, err)
	return ImportBegin{
		Task:   ImageTask{ID: uuid.NewString(), ImageID: i.ID, OwnerID: "p1", UserID: "u1", RequestID: "req-import", Input: []byte(`{}`)},
		Method: contract.ImportWeb, Stores: []string{"hot"},
	}
}

func TestWhatARunHasGivenBackItCannotTakeAnyMore(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	for name, take := range w.takings(t) {
		t.Run(name, func(t *testing.T) {
			before := w.snapshot(t)
			given := Taking{Run: "run-1", Step: name}
			require.NoError(t, w.GiveBack(ctx, given))
			require.NoError(t, w.GiveBack(ctx, given), "twice is once")
			for _, hostname := range []string{"", "n1"} { // what is given back on any host is given back on each
				err := take(w.For(Taking{Run: "run-1", Step: name, Hostname: hostname}))
				require.Equal(t, fault.Conflict, fault.KindOf(err), "%v", err)
				require.Equal(t, before, w.snapshot(t))
			}
			require.NoError(t, take(w.For(Taking{Run: "run-2", Step: name})), "another run")
			require.NotEqual(t, before, w.snapshot(t))
		})
	}
	take := w.takings(t)["claim"]
	require.NoError(t, w.GiveBack(ctx, Taking{Run: "run-3", Step: "SelectHost", Hostname: "n1"}))
	require.NoError(t, w.GiveBack(ctx, Taking{Run: "run-3", Step: "AllocateNetwork", Index: 1}))
	for _, other := range []Taking{{Step: "SelectHost", Hostname: "n2"}, {Step: "AllocateNetwork"}, {Step: "ClaimQuota"}} {
		other.Run = "run-3"
		require.NoError(t, take(w.For(other)), "%+v", other)
	}
}

// A worker that is killed leaves its statement in Postgres, which waits for its lock and takes when it gets it.
func TestAnUndoWaitsForADoThatWaitsForItsLock(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	before := w.snapshot(t)
	blocker, err := w.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = blocker.Exec(ctx, lockProjectSQL, "p1")
	require.NoError(t, err)

	taking := Taking{Run: "run-1", Step: "ClaimQuota"}
	taken, undone := make(chan error, 1), make(chan error, 1)
	go func() {
		taken <- w.For(taking).ClaimQuota(ctx, Claim{ServerID: "s1", ProjectID: "p1", Instances: 1}, Limits{-1, -1, -1})
	}()
	w.waiting(t, 1)
	go func() {
		err := w.GiveBack(ctx, taking)
		undone <- errors.Join(err, w.ReleaseClaim(ctx, "s1"))
	}()
	w.waiting(t, 2)
	require.NoError(t, blocker.Rollback(ctx))
	require.NoError(t, <-taken)
	require.NoError(t, <-undone)
	require.Equal(t, before, w.snapshot(t))
}

func TestTheEndOfAnImportWaitsForItsBeginThatWaitsForTheImage(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	begin := w.importOfAnImage(t)
	blocker, err := w.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = blocker.Exec(ctx, "SELECT FROM images WHERE id = $1 FOR UPDATE", begin.Task.ImageID)
	require.NoError(t, err)

	taking := Taking{Run: "run-1", Step: contract.BeginImport}
	taken, undone := make(chan error, 1), make(chan error, 1)
	go func() {
		_, _, err := w.For(taking).BeginImport(ctx, begin)
		taken <- err
	}()
	w.waiting(t, 1)
	go func() {
		err := w.GiveBack(ctx, taking)
		_, _, ending := w.EndImport(ctx, ImportEnd{Task: begin.Task, Failed: begin.Stores, Message: "No.", Expires: now()})
		undone <- errors.Join(err, ending)
	}()
	w.waiting(t, 2)
	require.NoError(t, blocker.Rollback(ctx))
	require.NoError(t, <-taken)
	require.NoError(t, <-undone)
	i, err := w.Image(ctx, begin.Task.ImageID)
	require.NoError(t, err)
	require.Equal(t, ImageQueued, i.Status)
	require.NotContains(t, i.Properties, ImportTaskProperty)
}

// waiting returns when so many statements wait for a lock.
func (w *world) waiting(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waits int
		err := w.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity s USING (pid)
			WHERE NOT l.granted AND s.datname = current_database()`).Scan(&waits)
		return err == nil && waits == n
	}, time.Minute, 5*time.Millisecond)
}

func TestWhatWasGivenBackLongAgoIsForgotten(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	require.NoError(t, w.GiveBack(ctx, Taking{Run: "old", Step: "ClaimQuota"}))
	_, err := w.pool.Exec(ctx, `UPDATE given_back SET at = at - interval '25 hours'`)
	require.NoError(t, err)
	require.NoError(t, w.GiveBack(ctx, Taking{Run: "new", Step: "ClaimQuota"}))
	var runs []string
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT array_agg(run_id) FROM given_back`).Scan(&runs))
	require.Equal(t, []string{"new"}, runs)
}

func TestAServerMayHoldRoomInTwoRolesOnOneHost(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	v := w.record(t, "s")
	held := Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 1024, DiskGiB: 10}
	require.NoError(t, w.Place(ctx, held, "networking"))
	second := held
	second.Role, second.VCPUs = "other", 4
	requireFault(t, w.Place(ctx, second, "networking"), fault.HostUnfit, "Host n1 has 3 vCPUs left, 4 are needed.")
	second.VCPUs = 2
	require.NoError(t, w.Place(ctx, second, "networking"))
	require.NoError(t, w.Place(ctx, second, "networking"))

	all, err := w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []string{ids.Placement(v.ID, h.ID, PlacementActive), ids.Placement(v.ID, h.ID, "other")}, []string{all[0].ID, all[1].ID})
	hosts, err := w.ListHosts(ctx)
	require.NoError(t, err)
	require.Equal(t, []int{3, 2048, 20}, []int{hosts[0].UsedVCPUs, hosts[0].UsedMemoryMiB, hosts[0].UsedDiskGiB}, "both are taken of the host")
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "n1"))
	all, err = w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, all)
}

// A process of the version before runs on while others are replaced.
func TestTheVersionBeforeTakesAndGivesBackRoom(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	v := w.record(t, "s")
	require.NoError(t, w.exec(ctx, `
WITH made AS (INSERT INTO allocations (server_id, host_id, vcpus, memory_mib, disk_gib, created_at)
    SELECT s.id, $2, 1, 512, 1, now() FROM servers s WHERE s.id = $1 RETURNING server_id)
UPDATE servers SET host_id = $2 WHERE id IN (SELECT server_id FROM made)`, v.ID, h.ID))
	require.NoError(t, w.exec(ctx, `UPDATE allocations SET failed_at = now() WHERE server_id = $1 AND host_id = $2`, v.ID, h.ID))
	all, err := w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, PlacementActive, all[0].Role)
	require.NotEmpty(t, all[0].ID)
	require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"), "it is the same")
	require.NoError(t, w.exec(ctx, `DELETE FROM allocations WHERE server_id = $1`, v.ID))
	all, err = w.Placements(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, all)
}
