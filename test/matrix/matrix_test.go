// Package matrix hits every step of the build table, every undo, every step of a delete, of a clean-up and of a
// reservation, and the hypervisor's port below them, with every kind of failure, in real processes on a real Temporal and
// Postgres, and holds after each that nothing leaked and nothing got stuck; and `slipway audit` holds it at the end. Its
// cases come from boot.Table() and the port's own methods: a new step is covered by being there.
//
//	go run ./internal/dev/testenv/with --parts postgres,temporal go test ./test/matrix -args -seed 7
//
// Some cases again: -run 'TestMatrix/case/build/BuildDisk_fails'.
package matrix

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/workflows/boot"
)

var (
	seed  = flag.Uint64("seed", 1, "order of the cases, and which variant of each is run")
	lanes = flag.Int("lanes", 8, "how many cases run at once, each in a Slipway of its own: most of them mostly wait")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(*lanes)); err != nil {
		panic(err)
	}
	code := m.Run()
	if made.path != "" {
		os.RemoveAll(filepath.Dir(made.path))
	}
	os.Exit(code)
}

// target is what a case hits: an activity, or a method of the hypervisor's port that one calls.
type target struct {
	name    string
	shown   string    // the activity that users and operators see fail
	row     boot.Step // the row that it does or undoes; none for MarkDeleting and RemoveServer
	onHost  bool
	repeats bool // done once for each NIC
}

// methods of the hypervisor's port that the table's rows come to, with the row whose do or undo calls them first.
var methods = map[string]string{
	"Define": contract.DefineDomain, "Start": contract.StartDomain, "Destroy": contract.StartDomain, "Undefine": contract.DefineDomain,
}

// without says which methods have no cases, and why.
var without = map[string]string{
	"Capabilities":    "only what a host reports of itself comes from it",
	"Trial":           "only what a host reports of itself comes from it",
	"List":            "only audits ask for it",
	"Folder":          "only audits ask for it",
	"Watch":           "only what a host reports of its guests comes from it",
	"State":           "no row of the build asks for it; test/actions fails the step that does",
	"Shutdown":        "no row of the build asks for it; test/actions fails the step that does",
	"Redefine":        "no row of the build asks for it; test/actions fails the step that does",
	"Suspend":         "no row of the build asks for it; test/actions fails the step that does",
	"Resume":          "no row of the build asks for it; test/actions fails the step that does",
	"Save":            "no row of the build asks for it; test/actions fails the step that does",
	"SetUserPassword": "no row of the build asks for it; test/actions fails the step that does",
	"Freeze":          "no row of the build asks for it; test/actions fails the step that does",
	"Thaw":            "no row of the build asks for it; test/actions fails the step that does",
	"BeginBackup":     "no row of the build asks for it; test/actions fails the step that does",
	"AwaitBackup":     "no row of the build asks for it; test/actions fails the step that does",
	"EndBackup":       "no row of the build asks for it; test/actions fails the step that does",
	"InjectNMI":       "it is asked beside the lock, and takes nothing",
	"OpenConsole":     "it is asked beside the lock, and takes nothing",
	"Diagnostics":     "it is asked beside the lock, and takes nothing",
	"Screenshot":      "it is asked beside the lock, and takes nothing",
	"Close":           "a process that ends",
}

// undoes says whether a method of the port takes away.
func (on target) undoes() bool {
	return on.name == "hypervisor.Destroy" || on.name == "hypervisor.Undefine"
}

// outlasts says whether an undo may go on in a clean-up, when the server's own workflow has ended: it is done on the host,
// or behind what is done there.
func (on target) outlasts() bool {
	return on.onHost || on.name == contract.ReleaseAllocation || on.name == contract.ReleaseNetwork
}

// trialCase is one case: a mode on a target.
type trialCase struct {
	name   string
	mode   string
	slow   bool // mostly waits for a timeout of the product: it begins first
	target target
	seed   uint64 // for its choices
	run    func(*trial)
}

// cases are all there are, in the order and with the choices of a seed.
func cases(seed uint64) []trialCase {
	var all []trialCase
	add := func(what string, on target, modes []mode) {
		for _, m := range modes {
			if m.hostOnly && !on.onHost || m.controlOnly && on.onHost {
				continue
			}
			all = append(all, trialCase{
				name: fmt.Sprintf("%s/%s %s", what, on.name, m.name), mode: what + ": " + m.name, slow: m.slow, target: on,
				seed: seed, run: m.run,
			})
		}
	}
	add("delete", target{name: contract.MarkDeleting, shown: contract.MarkDeleting}, deleteModes)
	for _, row := range boot.Table() {
		onHost := row.Scope == boot.OnHost
		add("build", target{name: row.Name, shown: row.Name, row: row, onHost: onHost, repeats: row.Counts != ""}, buildModes)
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			port := target{name: "hypervisor." + method, shown: row.Name, row: row, onHost: true}
			switch {
			case methods[method] != row.Name:
			case port.undoes():
				port.shown = row.Undo
				add("undo", port, portModes(undoModes))
				add("delete", port, portModes(deleteModes))
			default:
				add("build", port, portModes(buildModes))
			}
		}
		if row.Undo == "" {
			continue
		}
		undo := target{name: row.Undo, shown: row.Undo, row: row, onHost: onHost, repeats: row.Counts != ""}
		add("undo", undo, undoModes)
		add("skip", undo, skipModes)
		if undo.outlasts() && row.Undo != contract.UnplugPort { // what is left of a delete, which unplugs with the domain
			add("clean-up", undo, cleanUpModes)
		}
		if row.Undo != contract.FailServer && row.Undo != contract.UnplugPort { // a delete needs no fault
			add("delete", undo, deleteModes)
		}
	}
	add("delete", target{name: contract.RemoveServer, shown: contract.RemoveServer}, deleteModes)

	add("reserve", target{name: contract.ResolveImage}, reserveModes)
	add("reserve", target{name: contract.AdmitServers}, admitModes)
	add("reserve", target{name: contract.StartBuilds}, startModes)
	add("reserve", target{name: contract.DropServers}, dropModes)

	r := rand.New(rand.NewPCG(seed, 0))
	for i := range all {
		all[i].seed = r.Uint64()
	}
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b trialCase) int {
		rank := map[bool]int{true: 0, false: 1}
		return cmp.Compare(rank[a.slow], rank[b.slow])
	})
	return all
}

// pool of lanes. A case takes one and gives it back; one in which a case failed is not used again.
type pool struct {
	mu   sync.Mutex
	idle []*lane
}

func (p *pool) take(whole testing.TB) *lane {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		l := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return l
	}
	p.mu.Unlock()
	return newLane(whole)
}

func (p *pool) give(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, l)
}

// tally counts cases by mode and by how they ended.
type tally struct {
	mu   sync.Mutex
	ends map[string]map[end]int
	took map[string]time.Duration
}

func (c *tally) count(mode string, e end, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ends[mode] == nil {
		c.ends[mode] = map[end]int{}
	}
	c.ends[mode][e]++
	c.took[mode] += took
}

func (c *tally) String() string {
	var b strings.Builder
	sum, total := map[end]int{}, 0
	modes := []string{}
	for mode := range c.ends {
		modes = append(modes, mode)
	}
	slices.Sort(modes)
	for _, mode := range modes {
		fmt.Fprintf(&b, "\t%-40s", mode)
		n := 0
		for _, e := range ends {
			if of := c.ends[mode][e]; of > 0 {
				fmt.Fprintf(&b, " %d %s", of, e)
				n, sum[e], total = n+of, sum[e]+of, total+of
			}
		}
		fmt.Fprintf(&b, " (%s each)\n", (c.took[mode] / time.Duration(n)).Round(100*time.Millisecond))
	}
	fmt.Fprintf(&b, "\t%d cases:", total)
	for _, e := range ends {
		fmt.Fprintf(&b, " %d %s", sum[e], e)
	}
	return b.String()
}

func TestMatrix(t *testing.T) {
	all := cases(*seed)
	lanes, counts := &pool{}, &tally{ends: map[string]map[end]int{}, took: map[string]time.Duration{}}
	began := time.Now()
	t.Run("case", func(group *testing.T) {
		for _, c := range all {
			group.Run(c.name, func(one *testing.T) {
				one.Parallel()
				l := lanes.take(t)
				began := time.Now()
				r := rand.New(rand.NewPCG(c.seed, 1))
				tr := &trial{lane: l, t: one, target: c.target, random: r}
				tr.kind = []fault.Kind{fault.Internal, fault.HostUnfit, fault.Unavailable}[r.IntN(3)]
				if c.target.repeats {
					tr.index = ptr(r.IntN(nics))
				}
				tr.start()
				c.run(tr)
				counts.count(c.mode, tr.ended, time.Since(began))
				lanes.give(l)
			})
		}
	})
	t.Run("audit", func(group *testing.T) {
		for i, l := range lanes.idle {
			group.Run(strconv.Itoa(i+1), func(one *testing.T) {
				one.Parallel()
				code, found := l.audit(one)
				require.Empty(one, found, "after all of the lane's cases")
				require.Zero(one, code, "the exit status of slipway audit")
			})
		}
	})
	t.Logf("seed %d, %s, of %d cases, and %d lanes audited:\n%s", *seed, time.Since(began).Round(time.Second), len(all), len(lanes.idle), counts)
}

func TestEveryMethodOfThePortHasCasesOrAReasonWhyNot(t *testing.T) {
	port := reflect.TypeFor[hypervisor.Hypervisor]()
	for i := range port.NumMethod() {
		name := port.Method(i).Name
		_, cases := methods[name]
		_, reason := without[name]
		require.True(t, cases != reason, "%s: cases %v, a reason why not %v", name, cases, reason)
	}
	require.Equal(t, port.NumMethod(), len(methods)+len(without))
}

func TestWorldsDifferByWhatIsMoreAndByWhatIsLess(t *testing.T) {
	before := world{
		tables: map[string][]string{"claims": {}, "servers": {"other"}, "ports": {"other's"}},
		files:  map[string][]string{"hv1": {"instances"}},
	}
	now := world{
		tables: map[string][]string{"claims": {"one's"}, "servers": {"other", "one"}, "ports": {}},
		files:  map[string][]string{"hv1": {"instances", "instances/one"}},
	}
	require.Empty(t, before.unlike(before, ""))
	claim, port, file := "there is now in table claims: one's", "gone from table ports: other's", "there is now in the folder of hv1: instances/one"
	require.Equal(t, []string{port, claim, "there is now in table servers: one", file}, before.unlike(now, ""))
	require.Equal(t, []string{port, claim, file}, before.unlike(now, "one"), "a server's own row is no leak, what it holds is")
}

func TestASeedDecidesOrderAndChoices(t *testing.T) {
	plan := func(seed uint64) (said []string) {
		for _, c := range cases(seed) {
			said = append(said, fmt.Sprintf("%s %d", c.name, c.seed))
		}
		return said
	}
	require.Equal(t, plan(1), plan(1))
	require.NotEqual(t, plan(1), plan(2))
	require.Len(t, plan(2), len(plan(1)))
	names := map[string]bool{}
	for _, c := range cases(1) {
		require.False(t, names[c.name], "two cases are %q", c.name)
		names[c.name] = true
	}
}
