package ovn

import (
	"context"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/sdntest"
)

// acls are the ACLs of a Port_Group by what they match, with their directions and actions.
func (c central) acls(t testing.TB, group string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, uuid := range strings.FieldsFunc(c.nbctl(t, "get", "Port_Group", group, "acls"), func(r rune) bool { return strings.ContainsRune("[], ", r) }) {
		said := strings.Split(c.nbctl(t, "--bare", "--columns=match,direction,action,priority", "list", "ACL", uuid), "\n")
		require.Len(t, said, 4)
		all[said[0]] = strings.Join(said[1:], " ")
	}
	return all
}

func TestGroupsAreACLs(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w, g := c.lead(t), sdntest.NewWorld(), sdntest.NewGroup()
	w.Port.Filtered, w.Port.Groups = true, []string{g.ID}
	require.NoError(t, e.Apply(ctx, append(w.All()[:3], sdntest.Grp(g), sdntest.At(w.Port))...))

	pg := groupName(g.ID)
	require.Equal(t, map[string]string{
		"outport == @" + pg + " && ip4": "to-lport allow-related 1002",
		"inport == @" + pg + " && ip6":  "from-lport allow-related 1002",
		"outport == @" + pg + " && ip4 && ip4.src == 198.51.100.0/24 && tcp && tcp.dst == 22":                       "to-lport allow-related 1002",
		"outport == @" + pg + " && ip4 && ip4.src == $" + pg + "_ip4 && udp && udp.dst >= 5000 && udp.dst <= 5010":  "to-lport allow-related 1002",
		"inport == @" + pg + " && ip6 && ip6.dst == 2001:db8::/64 && icmp6 && icmp6.type == 128 && icmp6.code == 0": "from-lport allow-related 1002",
		"outport == @" + pg + " && ip4 && icmp4 && icmp4.type == 8":                                                 "to-lport allow-related 1002",
		"inport == @" + pg + " && ip4 && ip.proto == 47":                                                            "from-lport allow-related 1002",
	}, c.acls(t, pg))
	drop := c.acls(t, filterName)
	require.Equal(t, "from-lport drop 1001", drop["inport == @neutron_pg_drop && ip"])
	require.Equal(t, "to-lport drop 1001", drop["outport == @neutron_pg_drop && ip"])
	require.Len(t, drop, len(filtering()))
	port := c.nbctl(t, "get", "Logical_Switch_Port", w.Port.ID, "_uuid")
	for _, group := range []string{pg, filterName} {
		require.Equal(t, "["+port+"]", c.nbctl(t, "get", "Port_Group", group, "ports"))
	}

	// What a change leaves as it was keeps its row, and connections with it.
	id := g.Rules[2].ID
	ssh := func() string {
		return c.nbctl(t, "--bare", "--columns=_uuid", "find", "ACL", "external_ids:slipway-id="+id)
	}
	before := ssh()
	g.Rules = append(g.Rules[1:3:3], sdn.Rule{ID: "00000000-0000-0000-0000-000000000001"})
	require.NoError(t, e.Apply(ctx, sdntest.Grp(g)))
	require.Equal(t, before, ssh())
	require.Len(t, c.acls(t, pg), 3)

	g.Stateless = true
	require.NoError(t, e.Apply(ctx, sdntest.Grp(g)))
	stateless := c.acls(t, pg)
	require.Equal(t, "from-lport allow-stateless 1002", stateless["inport == @"+pg+" && ip6"])
	require.Equal(t, "to-lport allow-stateless 1002", stateless["outport == @"+pg+" && ip6 && ip6.src == fe80::a9fe:a9fe && tcp && tcp.src == 80"])
	require.Len(t, stateless, 4, "what it may not ask is not answered")

	for _, d := range append(w.All(), sdntest.Grp(g)) {
		require.NoError(t, e.Apply(ctx, sdntest.No(d.Ref)))
	}
	require.Equal(t, "[]", c.nbctl(t, "get", "Port_Group", filterName, "ports"))
	require.Equal(t, filterName, c.nbctl(t, "--bare", "--columns=name", "list", "Port_Group"))
	require.Len(t, strings.Split(c.nbctl(t, "--bare", "--columns=_uuid", "list", "ACL"), "\n"), 2*len(filtering())-1, "no rule of a group that is gone")
}

func TestWhatIsDoneToGroupsByHandIsPutRight(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w, g, other := c.lead(t), sdntest.NewWorld(), sdntest.NewGroup(), sdntest.NewGroup()
	w.Port.Filtered, w.Port.Groups = true, []string{g.ID}
	all := append(w.All()[:3], sdntest.Grp(g), sdntest.Grp(other), sdntest.At(w.Port))
	require.NoError(t, e.Apply(ctx, all...))
	differs := func(refs ...sdn.Ref) {
		t.Helper()
		require.Eventually(t, func() bool {
			got, err := e.Differing(ctx, all...)
			require.NoError(t, err)
			return len(got) == len(refs) && (len(refs) == 0 || got[0] == refs[0])
		}, time.Minute, 10*time.Millisecond)
	}
	repaired := func() {
		t.Helper()
		require.NoError(t, e.Apply(ctx, all...))
		differs()
	}
	port := c.nbctl(t, "get", "Logical_Switch_Port", w.Port.ID, "_uuid")

	c.nbctl(t, "clear", "Port_Group", groupName(g.ID), "ports")
	differs(sdntest.At(w.Port).Ref)
	repaired()
	c.nbctl(t, "add", "Port_Group", groupName(other.ID), "ports", port)
	differs(sdntest.Grp(other).Ref)
	repaired()
	require.Equal(t, "[]", c.nbctl(t, "get", "Port_Group", groupName(other.ID), "ports"))
	c.nbctl(t, "clear", "Port_Group", groupName(g.ID), "acls")
	differs(sdntest.Grp(g).Ref)
	repaired()
	c.nbctl(t, "destroy", "Port_Group", filterName)
	differs(sdntest.At(w.Port).Ref)
	repaired()
	require.Equal(t, "["+port+"]", c.nbctl(t, "get", "Port_Group", filterName, "ports"))
	require.Len(t, c.acls(t, filterName), len(filtering()))

	// What others have put into a group of Slipway's stays.
	c.nbctl(t, "ls-add", "theirs", "--", "lsp-add", "theirs", "theirs-1", "--", "--id=@p", "get", "Logical_Switch_Port", "theirs-1",
		"--", "add", "Port_Group", groupName(other.ID), "ports", "@p")
	c.nbctl(t, "--type=port-group", "acl-add", groupName(g.ID), "to-lport", "2000", "ip4.src == 203.0.113.9", "drop")
	g.Rules = g.Rules[:2]
	all[3] = sdntest.Grp(g)
	require.NoError(t, e.Apply(ctx, all...))
	require.Len(t, c.acls(t, groupName(g.ID)), 3)
	require.NotEqual(t, "[]", c.nbctl(t, "get", "Port_Group", groupName(other.ID), "ports"))
}

// What a group's thousand ports cost is paid once for a comparison, not once for each of its ports.
func TestAComparisonLooksAtAGroupsPortsOnce(t *testing.T) {
	ctx := context.Background()
	c := newCentral(t)
	e, w, g := c.lead(t), sdntest.NewWorld(), sdntest.NewGroup()
	all := []sdn.Desired{sdntest.Net(w.Network), sdntest.Grp(g)}
	const ours, theirs = 50, 1000
	for range ours {
		all = append(all, sdntest.At(sdn.Port{ID: uuid.NewString(), NetworkID: w.Network.ID, MAC: w.Port.MAC, Filtered: true, Groups: []string{g.ID}}))
	}
	require.NoError(t, e.Apply(ctx, all...))
	compare := func() int64 { // in bytes
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		differ, err := e.Differing(ctx, all...)
		runtime.ReadMemStats(&after)
		require.NoError(t, err)
		require.Empty(t, differ)
		return int64(after.TotalAlloc - before.TotalAlloc)
	}
	compare() // once for what is made once
	few := compare()
	add := []string{"ls-add", "theirs"}
	for i := range theirs {
		name := "p" + strconv.Itoa(i)
		add = append(add, "--", "lsp-add", "theirs", name, "--", "--id=@"+name, "get", "Logical_Switch_Port", name,
			"--", "add", "Port_Group", filterName, "ports", "@"+name)
	}
	c.nbctl(t, add...)
	require.Eventually(t, func() bool {
		groups, err := (&portGroups{engine: e}).of(filter)
		require.NoError(t, err)
		return len(groups) == 1 && len(groups[0].Ports) == ours+theirs
	}, time.Minute, 10*time.Millisecond)
	require.Less(t, compare()-few, int64(ours*theirs*8), "half of what a copy for each port would be, at the least")
}

// Who asks the metadata service by a stateless group's rule is answered, and nobody else: an answer to a connection that is tracked has to be, too.
func TestAStatelessGroupHearsTheMetadataServiceWhereItMayAsk(t *testing.T) {
	asks := func(r sdn.Rule) (heard []string) {
		r.Egress = true
		for _, a := range allows(sdn.Group{ID: "g", Stateless: true, Rules: []sdn.Rule{r}})[1:] {
			require.Equal(t, []any{toPort, "allow-stateless", allowPriority}, []any{a.direction, a.action, a.priority})
			heard = append(heard, a.match)
		}
		return heard
	}
	const v4 = "outport == @pg_g && ip4 && ip4.src == 169.254.169.254 && tcp && tcp.src == 80"
	for _, r := range []sdn.Rule{
		{}, {Protocol: new(6)}, {Protocol: new(6), First: new(80), Last: new(80)}, {From: netip.MustParsePrefix("0.0.0.0/0")},
		{Protocol: new(6), First: new(1), Last: new(1024), From: netip.MustParsePrefix("169.254.0.0/16")},
	} {
		require.Equal(t, []string{v4}, asks(r), "%+v", r)
	}
	for _, r := range []sdn.Rule{
		{Protocol: new(17)}, {Protocol: new(6), First: new(443), Last: new(443)}, {From: netip.MustParsePrefix("10.0.0.0/8")}, {FromGroup: "other"},
	} {
		require.Empty(t, asks(r), "%+v", r)
	}
	require.Equal(t, []string{"outport == @pg_g && ip6 && ip6.src == fe80::a9fe:a9fe && tcp && tcp.src == 80"}, asks(sdn.Rule{IPv6: true}))
	require.Len(t, allows(sdn.Group{ID: "g", Rules: []sdn.Rule{{Egress: true}}}), 1, "a stateful one lets answers in anyway")
	require.Len(t, allows(sdn.Group{ID: "g", Stateless: true, Rules: []sdn.Rule{{}}}), 1, "who may only be asked")
}
