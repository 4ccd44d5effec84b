package histories

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/test/system"
	"github.com/slipway-cloud/slipway/workflows/actions"
)

// shelveAtOnce needs a system where shelved servers leave their hosts at once.
const shelveAtOnce = "shelve-at-once"

func (sc *scenario) acts(t *testing.T, id string, a lifecycle.Action) error {
	as := sc.compute
	if a.Admin {
		as = sc.admin
	}
	return system.Ask(t, as, id, a)
}

func (sc *scenario) act(t *testing.T, id string, a lifecycle.Action) {
	require.NoError(t, sc.acts(t, id, a))
}

// in is a server in a state, on another host where it has moved.
func (sc *scenario) in(t *testing.T, state lifecycle.VMState, moved bool) string {
	id := sc.active(t)
	sc.closed(t, server(id)[0])
	for _, a := range system.Toward(t, state, moved) {
		sc.act(t, id, a)
		sc.ends(t, id, lifecycle.Status(a.To, ""))
		sc.closed(t, server(id)[0])
	}
	return id
}

// actions scenes: those of the tables' rows are derived from it.
func (sc *scenario) actions() []scene {
	stop, _ := lifecycle.Find("os-stop")
	remove := func(t *testing.T, id string) {
		require.NoError(t, servers.ForceDelete(t.Context(), sc.compute, id).ExtractErr())
	}
	reset := func(t *testing.T, id string) {
		action, _ := lifecycle.Find("os-resetState")
		require.NoError(t, system.Ask(t, sc.admin, id, action))
	}
	// during has a stop ended while it waits for its guest.
	during := func(t *testing.T, end func(*testing.T, string)) string {
		id := sc.in(t, lifecycle.Active, false)
		rules := sc.inject(t, faultinject.Rule{Step: contract.StopDomain, Mode: faultinject.HoldBefore, Times: 1})
		sc.act(t, id, stop)
		system.Eventually(t, patience, func() (bool, string) {
			calls, err := sc.s.Faults.Held(rules[0])
			return err == nil && len(calls) > 0, fmt.Sprintf("StopDomain is not held: %v", err)
		})
		end(t, id)
		require.NoError(t, sc.s.Faults.Release(rules[0]))
		return id
	}
	scenes := []scene{{"delete-during-os-stop", func(t *testing.T) []string {
		id := during(t, remove)
		sc.gone(t, id)
		return server(id)
	}}, {"os-resetState", func(t *testing.T) []string {
		id := sc.in(t, lifecycle.Active, false)
		reset(t, id)
		return server(sc.ends(t, id, "ERROR"))
	}}, {"os-resetState-during-os-stop", func(t *testing.T) []string {
		return server(sc.ends(t, during(t, reset), "ERROR"))
	}}}
	for _, way := range actions.Ways() {
		if way.Action.Name != shelveAtOnce {
			scenes = append(scenes, sc.acting(way)...)
		}
	}
	return scenes
}

// acting are the scenes of one way of an action: that it is done, and that each of its steps fails.
func (sc *scenario) acting(way actions.Way) []scene {
	a := way.Action
	scenes := []scene{{way.Name(), func(t *testing.T) []string {
		id := sc.in(t, a.From[0], way.Moved)
		sc.act(t, id, a)
		sc.ends(t, id, lifecycle.Status(cmp.Or(a.To, a.From[0]), ""))
		return server(id)
	}}}
	for _, step := range way.Steps {
		switch step.Name {
		case contract.BeginAction, contract.ResolveImage, contract.PlanResize, contract.CheckShelved, contract.PlanUnshelve: // nothing was accepted
			continue
		}
		scenes = append(scenes, scene{"fails-" + way.Name() + "-" + step.Name, func(t *testing.T) []string {
			id := sc.in(t, a.From[0], way.Moved)
			sc.inject(t, faultinject.Rule{Step: step.Name, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1})
			if err := sc.acts(t, id, a); !a.Awaited && step.Name != contract.RecordSnapshot { // whose image is forgotten
				require.NoError(t, err)
			}
			return server(id)
		}})
	}
	return scenes
}
