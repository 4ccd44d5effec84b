// Package actions does every action to a server of a running system and fails each of its steps in every way. What it stands on
// is derived from the tables: a new action is covered by being there.
package actions

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workflows/actions"
	"github.com/slipway-cloud/slipway/workflows/run"
)

const patience = time.Minute

var (
	seed = flag.Uint64("seed", 1, "which of a step's faults are tried")
	only = flag.String("only", "", "of which actions the steps fail, by a regular expression of their names; \"\": of all")
	all  = flag.Bool("all", false, "try all of them")
)

// TestMain has many wait at once: most of what a fault takes is waiting.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

type rig struct {
	*system.System
	compute  *gophercloud.ServiceClient
	admin    *gophercloud.ServiceClient
	images   *gophercloud.ServiceClient
	temporal client.Client
	image    string
}

type way struct {
	name     string
	rule     faultinject.Rule
	succeeds bool
	rests    lifecycle.VMState // of a server that it was done to, where it does not succeed
}

// ways are what may happen to a step. Where it is repaired by another try the action succeeds; else the server is what it was.
var ways = []way{
	{"fails before its effect", faultinject.Rule{Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 1}, false, ""},
	{"fails after its effect", faultinject.Rule{Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1}, false, ""},
	{"is unfit after its effect", faultinject.Rule{Mode: faultinject.FailAfter, Kind: fault.HostUnfit, Times: 1}, false, ""},
	{"is unavailable for a moment", faultinject.Rule{Mode: faultinject.FailAfter, Kind: fault.Unavailable, Times: 2}, true, ""},
	{"is done twice", faultinject.Rule{Mode: faultinject.Twice, Times: 1}, true, ""},
}

// tried are the ways for the nth step of an action: one that it fails in and one that it is repaired after, in turns, so that a table of
// a few steps meets each; or all of them.
func tried(n int) (chosen []way) {
	for _, succeeds := range []bool{false, true} {
		var of []way
		for _, w := range ways {
			if w.succeeds == succeeds {
				of = append(of, w)
			}
		}
		if !*all {
			of = of[(n+int(*seed))%len(of):][:1]
		}
		chosen = append(chosen, of...)
	}
	return chosen
}

func TestEveryStepOfEveryActionMayFail(t *testing.T) {
	everyStep(t, "-1s", func(action string) bool { return action != shelveAtOnce })
	t.Run("where shelved servers leave their hosts at once", func(t *testing.T) {
		everyStep(t, "0s", func(action string) bool { return action == shelveAtOnce })
	})
}

// shelveAtOnce needs a system where shelved servers leave their hosts at once.
const shelveAtOnce = "shelve-at-once"

// everyStep fails each step of some actions in a system where shelved servers leave their hosts after a time.
func everyStep(t *testing.T, offload string, does func(action string) bool) {
	r := &rig{System: system.Start(t, system.Options{Hosts: 2, Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"build": map[string]any{
			"host_unavailable": "5s", "undo_patience": "2s", "host_lost": "12s", "reclaim_interval": "24h", "shelved_offload_time": offload,
			"clean_before_use": "0s", // a host that a busy machine has kept silent takes what is moved there
		},
		"quota": map[string]any{"instances": -1, "cores": -1, "ram_mib": -1},
	}})}
	r.Flavor(t, "small", 64)
	r.Flavor(t, "larger", 128)
	r.temporal = r.Temporal()
	r.compute, r.admin = system.Compute(t, r.Demo()), system.Compute(t, r.Admin())
	r.images = system.Image(t, r.Demo())
	r.image = system.Upload(t, r.images, images.CreateOpts{Name: "raw", Properties: map[string]string{"hw_qemu_guest_agent": "yes"}}, strings.NewReader(strings.Repeat("x", 4096)))
	before := r.World(t)
	chosen := regexp.MustCompile(*only)
	ways := slices.DeleteFunc(actions.Ways(), func(w actions.Way) bool { return !does(w.Action.Name) || !chosen.MatchString(w.Name()) })
	for _, goes := range ways {
		t.Run("faults", func(t *testing.T) { // an action's servers are as many as the hosts have room for
			var trials []*way
			finished, final := false, false
			for n, step := range goes.Steps {
				done, rests := finished, goes.Action.From[0] // what is done behind the end does not fail the action
				if final {
					rests = goes.Action.To
				}
				finished, final = finished || step.Name == contract.FinishAction, final || step.Final
				unasked := step.Name == contract.RecordUnshelve // no availability zone is asked for, and it is not done
				for _, one := range tried(n) {
					elsewhere := goes.Action.NoHost && step.Scope == run.Placed && one.rule.Kind == fault.HostUnfit // it is done on the other host
					one.name, one.succeeds, one.rests = fmt.Sprintf("%s: %s %s", goes.Name(), step.Name, one.name), one.succeeds || done || elsewhere || unasked, rests
					one.rule.Step = step.Name
					trials = append(trials, &one)
				}
			}
			t.Run("servers", func(t *testing.T) {
				for _, one := range trials {
					t.Run(one.name, func(t *testing.T) {
						t.Parallel()
						one.rule.Server = r.in(t, goes)
					})
				}
			})
			var rules []faultinject.Rule
			for _, one := range trials {
				require.NotEmpty(t, one.rule.Server, one.name)
				rules = append(rules, one.rule)
			}
			_, err := r.Faults.Set(rules...)
			require.NoError(t, err)
			for _, one := range trials {
				t.Run(one.name, func(t *testing.T) {
					t.Parallel()
					r.fails(t, goes, one.rule.Server, one.succeeds, one.rests)
				})
			}
		})
		require.NoError(t, r.Faults.Clear())
	}
	// A process takes with it whatever is done there, so one dies after the other, once at each step with each of its undos,
	// before or after its effect, or at those of them that the seed says.
	t.Logf("seed %d, all: %t", *seed, *all)
	random, died := rand.New(rand.NewPCG(*seed, 0)), map[string]bool{}
	for _, goes := range ways {
		for _, step := range goes.Steps {
			at := step.Name + step.Undo + step.Where
			if died[at] {
				continue
			}
			died[at] = true
			modes := []faultinject.Mode{faultinject.KillBefore, faultinject.KillAfter}
			if !*all { // a third of the steps, each in one of both ways
				if random.IntN(3) > 0 {
					continue
				}
				modes = modes[random.IntN(2):][:1]
			}
			for _, mode := range modes {
				t.Run(fmt.Sprintf("%s: %s, %s", goes.Name(), step.Name, mode), func(t *testing.T) {
					t.Cleanup(func() {
						require.NoError(t, r.Faults.Clear())
						if step.Scope == run.Placed { // one that dies often is started again ever later
							for _, host := range r.Hosts {
								r.Stop(host)
								r.Restart(host)
							}
						}
					})
					id := r.in(t, goes)
					_, err := r.Faults.Set(faultinject.Rule{Step: step.Name, Server: id, Mode: mode, Times: 1})
					require.NoError(t, err)
					r.fails(t, goes, id, true, "")
				})
			}
		}
	}
	require.Equal(t, before, r.World(t), "nothing is left")
}

// fails does an action one step of which fails, to a server that is in the first of its states, and sees that one guest is the server's,
// where the server is, and that another runs nowhere. rests is the state that the server is in then, where the action does not succeed.
func (r *rig) fails(t *testing.T, goes actions.Way, id string, succeeds bool, rests lifecycle.VMState) {
	action, from := goes.Action, r.host(t, id)
	accepted := r.do(t, id, action)
	state := r.rests(t, id)
	if succeeds {
		require.True(t, accepted)
		require.Equal(t, cmp.Or(action.To, action.From[0]), state)
	} else {
		require.Equal(t, rests, state, "it is what it was, or what it has become for good")
	}
	at := r.host(t, id)
	moves := succeeds && goes.Moved && (action.To == lifecycle.Resized || action.Name == "revertResize")
	if from != "" && at != "" {
		require.Equal(t, moves, at != from, "it was on %s", from)
	}
	for _, host := range r.Hosts {
		want := guestOf(state)
		if host != at {
			want = hypervisor.ShutOff
			if !goes.Moved || state != lifecycle.Resized {
				want = hypervisor.Absent
			}
		}
		system.Eventually(t, patience, func() (bool, string) { // another host is cleaned by a workflow of its own
			is := r.guest(t, host, id)
			require.False(t, host != at && is == hypervisor.Running, "a second guest runs")
			_, err := os.Stat(filepath.Join(r.HostState(host), "instances", id))
			clean := want != hypervisor.Absent || errors.Is(err, fs.ErrNotExist)
			return is == want && clean, fmt.Sprintf("%s has a guest that is %s, of a server that is %s on %s; its folder: %v", host, is, state, at, err)
		})
	}
	r.gone(t, id)
}

// host is where a server is; "" is nowhere.
func (r *rig) host(t *testing.T, id string) string {
	t.Helper()
	v, err := r.Store.Server(t.Context(), id)
	require.NoError(t, err)
	if v.Host == nil {
		return ""
	}
	return v.Host.Hostname
}

// in is a server in the first of an action's states, for one of its ways.
func (r *rig) in(t *testing.T, goes actions.Way) string {
	t.Helper()
	state := goes.Action.From[0]
	made, err := servers.Create(t.Context(), r.compute, servers.CreateOpts{Name: "web", ImageRef: r.image, FlavorRef: "small", Networks: "none", ConfigDrive: new(true)}, nil).Extract()
	require.NoError(t, err)
	require.Equal(t, lifecycle.Active, r.becomes(t, made.ID, lifecycle.Active))
	// A host that a busy machine has kept silent takes nothing until it is known to be clean: what finds none is asked for again.
	for _, a := range system.Toward(t, state, goes.Moved) {
		system.Eventually(t, patience, func() (bool, string) {
			require.True(t, r.do(t, made.ID, a))
			is := r.rests(t, made.ID)
			return is == a.To, fmt.Sprintf("%s: %s", a.Name, is)
		})
	}
	return made.ID
}

// do asks for an action, again while the process that would answer has just died; accepted is false where it was refused.
func (r *rig) do(t *testing.T, id string, action lifecycle.Action) (accepted bool) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		err := system.Ask(t, r.as(action), id, action)
		accepted = err == nil
		return err == nil || gophercloud.ResponseCodeIs(err, 500), fmt.Sprint(err)
	})
	return accepted
}

// as is the least of whoever may do an action.
func (r *rig) as(action lifecycle.Action) *gophercloud.ServiceClient {
	if action.Admin {
		return r.admin
	}
	return r.compute
}

func (r *rig) state(t *testing.T, id string) (state lifecycle.VMState, task string) {
	t.Helper()
	v, err := r.Store.Server(t.Context(), id)
	require.NoError(t, err)
	if v.TaskState != nil {
		task = *v.TaskState
	}
	return v.VMState, task
}

func (r *rig) becomes(t *testing.T, id string, state lifecycle.VMState) lifecycle.VMState {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		now, task := r.state(t, id)
		return now == state && task == "" || now == lifecycle.Error, fmt.Sprintf("%s, %s", now, task)
	})
	now, _ := r.state(t, id)
	return now
}

// rests is the state when nothing is done to the server any more.
func (r *rig) rests(t *testing.T, id string) (state lifecycle.VMState) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		d, err := r.temporal.DescribeWorkflow(t.Context(), ids.ServerWorkflow(id), "")
		require.NoError(t, err)
		var task string
		state, task = r.state(t, id)
		return task == "" && d.Status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, task + ", " + d.Status.String()
	})
	return state
}

// guestOf is how the guest of a server in a state is.
func guestOf(state lifecycle.VMState) hypervisor.State {
	switch state {
	case lifecycle.Active, lifecycle.Rescued, lifecycle.Resized:
		return hypervisor.Running
	case lifecycle.Paused:
		return hypervisor.Paused
	case lifecycle.ShelvedOffloaded:
		return hypervisor.Absent
	}
	return hypervisor.ShutOff
}

func (r *rig) guest(t *testing.T, host, id string) hypervisor.State {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.HostState(host), "fake", id+".json"))
	if errors.Is(err, fs.ErrNotExist) {
		return hypervisor.Absent
	}
	require.NoError(t, err)
	var domain fake.Record
	require.NoError(t, json.Unmarshal(text, &domain))
	return domain.State
}

// gone deletes a server, and the images that were made of it.
func (r *rig) gone(t *testing.T, id string) {
	t.Helper()
	pages, err := images.List(r.images, images.ListOpts{}).AllPages(t.Context())
	require.NoError(t, err)
	made, err := images.ExtractImages(pages)
	require.NoError(t, err)
	for _, image := range made {
		if image.Properties["instance_uuid"] == id {
			require.NoError(t, images.Delete(t.Context(), r.images, image.ID).ExtractErr())
		}
	}
	require.NoError(t, servers.ForceDelete(t.Context(), r.compute, id).ExtractErr())
	system.Eventually(t, patience, func() (bool, string) {
		_, err := r.Store.Server(t.Context(), id)
		return fault.Is(err, fault.NotFound), fmt.Sprint(err)
	})
}
