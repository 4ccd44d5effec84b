package histories

import (
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
	stop := func(t *testing.T, id string) {
		require.NoError(t, servers.Stop(t.Context(), sc.compute, id).ExtractErr())
	}
	start := func(t *testing.T, id string) {
		require.NoError(t, servers.Start(t.Context(), sc.compute, id).ExtractErr())
	}
	running := func(t *testing.T) string {
		id := sc.active(t)
		sc.closed(t, server(id)[0])
		return id
	}
	off := func(t *testing.T) string {
		id := running(t)
		stop(t, id)
		sc.ends(t, id, "SHUTOFF")
		sc.closed(t, server(id)[0])
		return id
	}
	from := map[string]func(*testing.T) string{"os-stop": running, "os-start": off}
	does := map[string]func(*testing.T, string){"os-stop": stop, "os-start": start}
	scenes := []scene{{"delete-during-os-stop", func(t *testing.T) []string {
		id := running(t)
		rules := sc.inject(t, faultinject.Rule{Step: contract.StopDomain, Mode: faultinject.HoldBefore, Times: 1})
		stop(t, id)
		system.Eventually(t, patience, func() (bool, string) {
			calls, err := sc.s.Faults.Held(rules[0])
			return err == nil && len(calls) > 0, fmt.Sprintf("StopDomain is not held: %v", err)
		})
		require.NoError(t, servers.Delete(t.Context(), sc.compute, id).ExtractErr())
		require.NoError(t, sc.s.Faults.Release(rules[0]))
		sc.gone(t, id)
		return server(id)
	}}}
	for _, a := range lifecycle.Actions {
		scenes = append(scenes, scene{a.Name, func(t *testing.T) []string {
			id := from[a.Name](t)
			does[a.Name](t, id)
			sc.ends(t, id, lifecycle.Status(a.To))
			return server(id)
		}})
		for _, step := range actions.Tables()[a.Name][1:] {
			scenes = append(scenes, scene{"fails-" + a.Name + "-" + step.Name, func(t *testing.T) []string {
				id := from[a.Name](t)
				sc.inject(t, faultinject.Rule{Step: step.Name, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1})
				does[a.Name](t, id)
				return server(id)
			}})
		}
	}
	return scenes
}
