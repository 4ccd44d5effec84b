package networks_test

import (
	"log/slog"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// asked is the service as five callers have it; the reader's project is the member's, and nobody has none.
type asked struct {
	admin, member, reader, stranger, nobody *networks.Repository
	project, other                          string
}

func ask(t *testing.T) asked {
	t.Helper()
	store, err := models.Open(t.Context(), testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	project := func(name string) string {
		p, err := store.EnsureProject(t.Context(), models.Project{ID: uuid.NewString(), Name: name, DomainID: "default", Enabled: true})
		require.NoError(t, err)
		return p.ID
	}
	s := networks.New(store, networks.Config{})
	as := func(project, role string) *networks.Repository {
		return s.For(auth.Caller{ProjectID: project, Roles: []string{role}})
	}
	a := asked{project: project("one"), other: project("two")}
	a.admin, a.stranger = as(project("ops"), "admin"), as(a.other, "member")
	a.member, a.reader, a.nobody = as(a.project, "member"), as(a.project, "reader"), as("", "member")
	return a
}

// one is the only one of those that were made; the zero where none was.
func one[T any](made []T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return made[0], nil
}

func network(n models.Network) networks.NewNetwork {
	n.MTU, n.AdminStateUp, n.PortSecurity = networks.DefaultMTU, true, true
	return networks.NewNetwork{Network: n}
}

func subnet(networkID, cidr string) networks.NewSubnet {
	return networks.NewSubnet{Subnet: models.Subnet{NetworkID: networkID, CIDR: cidr}}
}

func port(networkID string) networks.NewPort {
	return networks.NewPort{Port: models.Port{NetworkID: networkID, AdminStateUp: true, Grouped: true}}
}

// refused wants an error of the kind and with Neutron's name for it.
func refused(t *testing.T, err error, kind fault.Kind, exception string) {
	t.Helper()
	require.True(t, fault.Is(err, kind), "%v", err)
	var r *ipam.Refusal
	require.ErrorAs(t, err, &r)
	require.Equal(t, exception, r.Exception)
}

func ids[T any](of func(T) string, all []T) []string {
	list := []string{}
	for _, one := range all {
		list = append(list, of(one))
	}
	return list
}

func TestAnotherProjectsNetworkIsAsOneThatNeverWas(t *testing.T) {
	a, ctx := ask(t), t.Context()
	n, err := one(a.member.CreateNetworks(ctx, network(models.Network{Name: "ours"})))
	require.NoError(t, err)
	s, err := one(a.member.CreateSubnets(ctx, subnet(n.ID, "10.5.0.0/24")))
	require.NoError(t, err)
	p, err := one(a.member.CreatePorts(ctx, port(n.ID)))
	require.NoError(t, err)

	_, err = a.stranger.Network(ctx, n.ID)
	refused(t, err, fault.NotFound, "NetworkNotFound")
	refused(t, a.stranger.DeleteNetwork(ctx, n.ID), fault.NotFound, "NetworkNotFound")
	_, err = one(a.stranger.CreateSubnets(ctx, subnet(n.ID, "10.6.0.0/24")))
	refused(t, err, fault.NotFound, "NetworkNotFound")
	_, err = one(a.stranger.CreatePorts(ctx, port(n.ID)))
	refused(t, err, fault.NotFound, "NetworkNotFound")
	_, err = a.stranger.Subnet(ctx, s.ID)
	refused(t, err, fault.NotFound, "SubnetNotFound")
	refused(t, a.stranger.DeleteSubnet(ctx, s.ID), fault.NotFound, "SubnetNotFound")
	_, err = a.stranger.Port(ctx, p.ID)
	refused(t, err, fault.NotFound, "PortNotFound")
	refused(t, a.stranger.DeletePort(ctx, p.ID), fault.NotFound, "PortNotFound")

	found, err := a.stranger.Ports(ctx, models.PortFilter{ProjectID: a.project})
	require.NoError(t, err)
	require.Empty(t, found)
	for who, want := range map[*networks.Repository][]string{
		a.reader: {p.ID}, a.admin: {p.ID}, a.stranger: {}, a.nobody: {},
	} {
		found, err := who.Ports(ctx, models.PortFilter{})
		require.NoError(t, err)
		require.Equal(t, want, ids(func(p networks.Port) string { return p.ID }, found))
		require.Equal(t, who == a.admin, slices.ContainsFunc(found, func(p networks.Port) bool { return p.Host != nil }), "hosts are for admins")
	}
}

func TestASharedNetworkIsUsedByAllAndChangedByItsOwner(t *testing.T) {
	a, ctx := ask(t), t.Context()
	_, err := one(a.member.CreateNetworks(ctx, network(models.Network{Shared: true})))
	refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
	n, err := one(a.admin.CreateNetworks(ctx, network(models.Network{Shared: true, ProjectID: a.other})))
	require.NoError(t, err)
	require.Equal(t, []any{a.other, networks.DefaultMTU}, []any{n.ProjectID, n.MTU})

	_, err = one(a.member.CreateSubnets(ctx, subnet(n.ID, "10.5.0.0/24")))
	refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
	s, err := one(a.stranger.CreateSubnets(ctx, subnet(n.ID, "10.5.0.0/24")))
	require.NoError(t, err)
	p, err := one(a.member.CreatePorts(ctx, port(n.ID)))
	require.NoError(t, err)
	require.Equal(t, []any{a.project, "10.5.0.2"}, []any{p.ProjectID, p.FixedIPs[0].IP})

	refused(t, a.member.DeleteNetwork(ctx, n.ID), fault.Forbidden, "PolicyNotAuthorized")
	refused(t, a.member.DeleteSubnet(ctx, s.ID), fault.Forbidden, "PolicyNotAuthorized")
	refused(t, a.stranger.DeleteNetwork(ctx, n.ID), fault.Conflict, "NetworkInUse")
	refused(t, a.stranger.DeleteSubnet(ctx, s.ID), fault.Conflict, "SubnetInUse")
	require.NoError(t, a.member.DeletePort(ctx, p.ID))
	require.NoError(t, a.stranger.DeleteNetwork(ctx, n.ID))
}

func TestAReaderChangesNothing(t *testing.T) {
	a, ctx := ask(t), t.Context()
	n, err := one(a.member.CreateNetworks(ctx, network(models.Network{})))
	require.NoError(t, err)
	_, createNetwork := one(a.reader.CreateNetworks(ctx, network(models.Network{})))
	_, createSubnet := one(a.reader.CreateSubnets(ctx, subnet(n.ID, "10.5.0.0/24")))
	_, createPort := one(a.reader.CreatePorts(ctx, port(n.ID)))
	for _, err := range []error{
		createNetwork, createSubnet, createPort,
		a.reader.DeleteNetwork(ctx, n.ID), a.reader.DeleteSubnet(ctx, n.ID), a.reader.DeletePort(ctx, n.ID),
	} {
		refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
	}
}

func TestAListSaysWhenItsMarkerIsUnknown(t *testing.T) {
	a, ctx := ask(t), t.Context()
	_, err := a.member.Networks(ctx, models.NetworkFilter{Marker: "gone"})
	refused(t, err, fault.Invalid, "HTTPBadRequest")
	_, err = a.member.Subnets(ctx, models.SubnetFilter{Marker: "gone"})
	refused(t, err, fault.Invalid, "HTTPBadRequest")
	_, err = a.member.Ports(ctx, models.PortFilter{Marker: "gone"})
	refused(t, err, fault.Invalid, "HTTPBadRequest")
	require.Equal(t, "Invalid input for operation: marker gone not found.", fault.Public(err))
}

func TestAGatewayIsTheFirstAddressUnlessAnotherOrNoneIsAskedFor(t *testing.T) {
	a, ctx := ask(t), t.Context()
	for _, tt := range []struct {
		asked networks.NewSubnet
		want  *string
	}{
		{networks.NewSubnet{}, new("10.5.0.1")},
		{networks.NewSubnet{Gateway: new("10.5.0.9")}, new("10.5.0.9")},
		{networks.NewSubnet{NoGateway: true}, nil},
	} {
		n, err := one(a.member.CreateNetworks(ctx, network(models.Network{})))
		require.NoError(t, err)
		tt.asked.NetworkID, tt.asked.CIDR = n.ID, "10.5.0.0/24"
		s, err := one(a.member.CreateSubnets(ctx, tt.asked))
		require.NoError(t, err)
		require.Equal(t, tt.want, s.GatewayIP)
	}
}

func TestAProjectHasItsOwnSecurityGroupAndQuota(t *testing.T) {
	a := ask(t)
	groups, err := a.member.SecurityGroups(t.Context(), models.OwnedFilter{})
	require.NoError(t, err)
	require.Len(t, groups, 1)
	same, err := a.reader.SecurityGroup(t.Context(), groups[0].ID)
	require.NoError(t, err)
	require.Equal(t, groups[0], same)
	_, err = a.stranger.SecurityGroup(t.Context(), groups[0].ID)
	refused(t, err, fault.NotFound, "SecurityGroupNotFound")
	quota, err := a.admin.Quota(t.Context(), a.project)
	require.NoError(t, err)
	want := networks.DefaultQuota()
	delete(want, models.QuotaSecurityGroups) // nobody can make one
	delete(want, models.QuotaSecurityGroupRules)
	require.Equal(t, want, quota)
	_, err = a.stranger.Quota(t.Context(), a.project)
	refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
}
