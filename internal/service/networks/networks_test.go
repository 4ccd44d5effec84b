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
	store, err := models.Open(t.Context(), testenv.Database(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	require.NoError(t, store.Migrate(t.Context()))
	project := func(name string) string {
		p, err := store.EnsureProject(t.Context(), models.Project{ID: uuid.NewString(), Name: name, DomainID: "default", Enabled: true})
		require.NoError(t, err)
		return p.ID
	}
	s := networks.New(store)
	as := func(project, role string) *networks.Repository {
		return s.For(auth.Caller{ProjectID: project, Roles: []string{role}})
	}
	a := asked{project: project("one"), other: project("two")}
	a.admin, a.stranger = as(project("ops"), "admin"), as(a.other, "member")
	a.member, a.reader, a.nobody = as(a.project, "member"), as(a.project, "reader"), as("", "member")
	return a
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
	n, err := a.member.CreateNetwork(ctx, models.Network{Name: "ours"})
	require.NoError(t, err)
	s, err := a.member.CreateSubnet(ctx, networks.NewSubnet{NetworkID: n.ID, CIDR: "10.5.0.0/24"})
	require.NoError(t, err)
	p, err := a.member.CreatePort(ctx, networks.NewPort{NetworkID: n.ID})
	require.NoError(t, err)

	_, err = a.stranger.Network(ctx, n.ID)
	refused(t, err, fault.NotFound, "NetworkNotFound")
	refused(t, a.stranger.DeleteNetwork(ctx, n.ID), fault.NotFound, "NetworkNotFound")
	_, err = a.stranger.CreateSubnet(ctx, networks.NewSubnet{NetworkID: n.ID, CIDR: "10.6.0.0/24"})
	refused(t, err, fault.NotFound, "NetworkNotFound")
	_, err = a.stranger.CreatePort(ctx, networks.NewPort{NetworkID: n.ID})
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
	_, err := a.member.CreateNetwork(ctx, models.Network{Shared: true})
	refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
	n, err := a.admin.CreateNetwork(ctx, models.Network{Shared: true, ProjectID: a.other})
	require.NoError(t, err)
	require.Equal(t, []any{a.other, networks.DefaultMTU}, []any{n.ProjectID, n.MTU})

	_, err = a.member.CreateSubnet(ctx, networks.NewSubnet{NetworkID: n.ID, CIDR: "10.5.0.0/24"})
	refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
	s, err := a.stranger.CreateSubnet(ctx, networks.NewSubnet{NetworkID: n.ID, CIDR: "10.5.0.0/24"})
	require.NoError(t, err)
	p, err := a.member.CreatePort(ctx, networks.NewPort{NetworkID: n.ID})
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
	n, err := a.member.CreateNetwork(ctx, models.Network{})
	require.NoError(t, err)
	_, createNetwork := a.reader.CreateNetwork(ctx, models.Network{})
	_, createSubnet := a.reader.CreateSubnet(ctx, networks.NewSubnet{NetworkID: n.ID, CIDR: "10.5.0.0/24"})
	_, createPort := a.reader.CreatePort(ctx, networks.NewPort{NetworkID: n.ID})
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
		{networks.NewSubnet{GatewayIP: new("10.5.0.9")}, new("10.5.0.9")},
		{networks.NewSubnet{NoGateway: true}, nil},
	} {
		n, err := a.member.CreateNetwork(ctx, models.Network{})
		require.NoError(t, err)
		tt.asked.NetworkID, tt.asked.CIDR = n.ID, "10.5.0.0/24"
		s, err := a.member.CreateSubnet(ctx, tt.asked)
		require.NoError(t, err)
		require.Equal(t, tt.want, s.GatewayIP)
	}
}

func TestAProjectHasItsOwnSecurityGroupAndQuota(t *testing.T) {
	a := ask(t)
	groups := a.member.SecurityGroups()
	require.Len(t, groups, 1)
	same, err := a.reader.SecurityGroup(groups[0].ID)
	require.NoError(t, err)
	require.Equal(t, groups[0], same)
	_, err = a.stranger.SecurityGroup(groups[0].ID)
	refused(t, err, fault.NotFound, "SecurityGroupNotFound")
	quota, err := a.admin.Quota(a.project)
	require.NoError(t, err)
	require.Equal(t, networks.Unlimited, quota["port"])
	_, err = a.stranger.Quota(a.project)
	refused(t, err, fault.Forbidden, "PolicyNotAuthorized")
}
