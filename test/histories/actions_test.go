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

// actions scenes: those of the tables' rows are derived from them.
func (sc *scenario) actions() []scene {
	ask := func(t *testing.T, id string, a lifecycle.Action) {
		as := sc.compute
		if a.Admin {
			as = sc.admin
		}
		require.NoError(t, system.Ask(t, as, id, a))
	}
	in := func(t *testing.T, state lifecycle.VMState, moved bool) string {
		id := sc.active(t)
		sc.closed(t, server(id)[0])
		if a, ok := system.Toward(t, state, moved); ok {
			ask(t, id, a)
			sc.ends(t, id, lifecycle.Status(state, ""))
			sc.closed(t, server(id)[0])
		}
		return id
	}
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
		id := in(t, lifecycle.Active, false)
		rules := sc.inject(t, faultinject.Rule{Step: contract.StopDomain, Mode: faultinject.HoldBefore, Times: 1})
		ask(t, id, stop)
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
		id := in(t, lifecycle.Active, false)
		reset(t, id)
		return server(sc.ends(t, id, "ERROR"))
	}}, {"os-resetState-during-os-stop", func(t *testing.T) []string {
		return server(sc.ends(t, during(t, reset), "ERROR"))
	}}}
	for _, way := range actions.Ways() {
		a := way.Action
		scenes = append(scenes, scene{way.Name(), func(t *testing.T) []string {
			id := in(t, a.From[0], way.Moved)
			ask(t, id, a)
			sc.ends(t, id, lifecycle.Status(cmp.Or(a.To, a.From[0]), ""))
			return server(id)
		}})
		for _, step := range way.Steps {
			if step.Name == contract.BeginAction || step.Name == contract.ResolveImage || step.Name == contract.PlanResize { // nothing was accepted
				continue
			}
			scenes = append(scenes, scene{"fails-" + way.Name() + "-" + step.Name, func(t *testing.T) []string {
				id := in(t, a.From[0], way.Moved)
				sc.inject(t, faultinject.Rule{Step: step.Name, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1})
				as := sc.compute
				if a.Admin {
					as = sc.admin
				}
				if err := system.Ask(t, as, id, a); !a.Awaited && step.Name != contract.RecordSnapshot { // whose image is forgotten
					require.NoError(t, err)
				}
				return server(id)
			}})
		}
	}
	return scenes
}
