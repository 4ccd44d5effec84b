package e2e

import (
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workflows/actions"
)

var seed = flag.Uint64("seed", 1, "in the middle of which steps of actions processes are killed")

// tells prints of a guest its name, how often its disk was booted, which boot this is, and a number that grows for as long as its memory lasts.
const tells = `#!/bin/sh
read -r boots </var/lib/slipway-guest/boots
read -r boot </proc/sys/kernel/random/boot_id
(n=0; while sleep 1; do n=$((n + 1)); echo "slipway-guest: NAME $boots $boot $n"; done) >/dev/console 2>&1 </dev/null &
`

var told = regexp.MustCompile(`slipway-guest: (\S+) ([0-9]+) ([0-9a-f-]{36}) ([0-9]+)\r?\n`)

// midway is a server with a real guest, in the middle of whose action processes are killed.
type midway struct {
	action string
	ask    func(m *midway, round int) error
	done   string                // its status where the action has ended
	back   func(m *midway) error // makes it ACTIVE again from there; nil: it is
	id     string
	was    seen
}

// seen is what a guest tells.
type seen struct {
	name, boot  string
	boots, beat int
}

// TestKilledInTheMiddleOfAnActionTheActionEndsOrTheGuestOfBeforeIsThere kills worker, host and API with SIGKILL while three servers are in
// the middle of a rebuild, a rescue and a suspension: each action ends, done or given back, the audit finds nothing, and the guest is the
// one that its server tells of, with its disk and, where it was suspended, its memory.
func TestKilledInTheMiddleOfAnActionTheActionEndsOrTheGuestOfBeforeIsThere(t *testing.T) {
	r := newRig(t, system.Options{Faults: true, Settings: map[string]any{"build": map[string]any{"host_lost": "9s", "undo_patience": "10s"}}})
	guest := r.kernelRamdisk(t, r.demoImages)
	empty := r.upload(t, r.demoImages, images.CreateOpts{Name: "nothing", DiskFormat: "raw", ContainerFormat: "bare"}, "", noise(1<<20)...)
	script := func(name string) []byte { return []byte(strings.Replace(tells, "NAME", name, 1)) }
	all := []*midway{
		{action: "rebuild", done: "ACTIVE", ask: func(m *midway, round int) error {
			name := fmt.Sprintf("rebuild-%d", round)
			_, err := r.demo.Post(t.Context(), r.demo.ServiceURL("servers", m.id, "action"), map[string]any{"rebuild": map[string]any{ //nolint:bodyclose // gophercloud closes it
				"imageRef": guest, "name": name, "user_data": base64.StdEncoding.EncodeToString(script(name)),
			}}, nil, nil)
			return err
		}},
		{action: "rescue", done: "RESCUE", ask: func(m *midway, _ int) error {
			_, err := servers.Rescue(t.Context(), r.demo, m.id, servers.RescueOpts{RescueImageRef: empty}).Extract()
			return err
		}, back: func(m *midway) error { return servers.Unrescue(t.Context(), r.demo, m.id).ExtractErr() }},
		{action: "suspend", done: "SUSPENDED", ask: func(m *midway, _ int) error {
			return servers.Suspend(t.Context(), r.demo, m.id).ExtractErr()
		}, back: func(m *midway) error { return servers.Resume(t.Context(), r.demo, m.id).ExtractErr() }},
	}
	for _, m := range all {
		m.id = r.create(t, servers.CreateOpts{
			Name: m.action, ImageRef: guest, FlavorRef: r.flavor, Networks: r.on(), ConfigDrive: ptr(true), UserData: script(m.action),
		}).ID
	}
	for _, m := range all {
		r.active(t, m.id)
		m.was = r.sees(t, m.id, func(seen) bool { return true })
	}
	random := rand.New(rand.NewPCG(*seed, 0))
	for round, process := range []string{"worker", r.Hosts[0], "api"} {
		var rules []faultinject.Rule
		for _, m := range all {
			var steps []string
			ways := actions.Ways()
			way := ways[slices.IndexFunc(ways, func(w actions.Way) bool { return w.Name() == m.action })]
			for _, s := range way.Steps {
				if s.Name != contract.ResolveImage && s.Name != contract.BeginAction { // nothing was accepted
					steps = append(steps, s.Name)
				}
			}
			mode := []faultinject.Mode{faultinject.HoldBefore, faultinject.HoldAfter}[random.IntN(2)]
			rules = append(rules, faultinject.Rule{Step: steps[random.IntN(len(steps))], Server: m.id, Mode: mode, Times: 1})
			t.Logf("seed %d: %s is killed, %s: %s %s", *seed, process, m.action, mode, rules[len(rules)-1].Step)
		}
		held, err := r.Faults.Set(rules...)
		require.NoError(t, err)
		for _, m := range all {
			require.NoError(t, m.ask(m, round), m.action)
		}
		for i, m := range all {
			system.Eventually(t, buildPatience, func() (bool, string) {
				reached, err := r.Faults.Injected(held[i])
				return err == nil && len(reached) > 0, fmt.Sprintf("%s does not come to %s: %v %s", m.action, rules[i].Step, err, r.progress(m.id))
			})
		}
		r.Kill(process)
		require.NoError(t, r.Faults.Clear())
		now := map[*midway]*servers.Server{}
		for _, m := range all {
			r.idle(t, m.id)
			now[m] = r.settled(t, m.id)
			require.Contains(t, []string{m.done, "ACTIVE"}, now[m].Status, m.action)
			require.Empty(t, now[m].TaskState, m.action)
		}
		r.hostIsReady(t)
		out, errs, code := r.Slipway(t, "audit", "-o", "json")
		require.Zero(t, code, out+errs)
		for _, m := range all {
			if m.back != nil && now[m].Status == m.done {
				require.NoError(t, m.back(m), m.action)
			}
		}
		for _, m := range all {
			r.idle(t, m.id)
			s := r.active(t, m.id)
			was := m.was
			is := r.sees(t, m.id, func(is seen) bool { return is.name == s.Name && (is.boot != was.boot || is.beat > was.beat) })
			switch {
			case m.action == "suspend":
				require.Equal(t, was.boot, is.boot, "it has lost its memory")
			case s.Name != was.name:
				require.Equal(t, 1, is.boots, "it was rebuilt")
			case is.boot == was.boot:
				require.Equal(t, was.boots, is.boots, m.action)
			default:
				require.Equal(t, was.boots+1, is.boots, "%s: it has its own disk", m.action)
			}
			m.was = is
		}
	}
}

// sees waits until a server's guest tells what is awaited, and answers what it told last.
func (r *rig) sees(t *testing.T, id string, awaited func(seen) bool) (is seen) {
	t.Helper()
	system.Eventually(t, guestPatience, func() (bool, string) {
		text, err := servers.ShowConsoleOutput(t.Context(), r.demo, id, servers.ShowConsoleOutputOpts{}).Extract()
		if err != nil {
			return false, err.Error()
		}
		all := told.FindAllStringSubmatch(text, -1)
		if len(all) == 0 {
			return false, text
		}
		last := all[len(all)-1]
		is = seen{name: last[1], boot: last[3]}
		is.boots, err = strconv.Atoi(last[2])
		require.NoError(t, err)
		is.beat, err = strconv.Atoi(last[4])
		require.NoError(t, err)
		return awaited(is), text
	})
	return is
}
