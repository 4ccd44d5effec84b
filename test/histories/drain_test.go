package histories

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

// drains are the scenes of a drain: one that is refused, and one that is paused while a server moves, and has the next one's move fail.
func (sc *scenario) drains() []scene {
	drain := func(t *testing.T, hostname string, code int, arguments ...string) {
		t.Helper()
		_, errs, got := sc.s.Slipway(t, append([]string{"host", "drain", hostname}, arguments...)...)
		require.Equal(t, code, got, errs)
	}
	onOne := func(t *testing.T) (hostname, workflowID string) {
		hostname, other := sc.s.Hosts[0], sc.s.Hosts[1]
		enable := func(verb, host string) {
			_, errs, code := sc.s.Slipway(t, "host", verb, host)
			require.Zero(t, code, errs)
		}
		t.Cleanup(func() { enable("enable", hostname) })
		enable("disable", other)
		for range 2 {
			sc.closed(t, server(sc.active(t))[0])
		}
		enable("enable", other)
		h, err := sc.s.Store.HostByName(t.Context(), hostname)
		require.NoError(t, err)
		return hostname, ids.DrainWorkflow(h.ID)
	}
	return []scene{
		{"drain-host", func(t *testing.T) []string {
			hostname, id := onOne(t)
			rules := sc.inject(t, faultinject.Rule{Step: contract.ReceiveDisks, Mode: faultinject.HoldBefore, Times: 1},
				faultinject.Rule{Step: contract.ReceiveDisks, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1},
				faultinject.Rule{Step: contract.ConfirmResize, Mode: faultinject.FailBefore, Kind: fault.Internal, Times: 1})
			drain(t, hostname, 0, "--at-once", "1")
			system.Eventually(t, patience, func() (bool, string) {
				calls, err := sc.s.Faults.Held(rules[0])
				return err == nil && len(calls) > 0, fmt.Sprintf("ReceiveDisks is not held: %v", err)
			})
			drain(t, hostname, 0, "--pause")
			drain(t, hostname, 0, "--resume")
			require.NoError(t, sc.s.Faults.Release(rules[0]))
			drain(t, hostname, 1, "--status", "--wait")
			return []string{id}
		}},
		{"drain-host-refused", func(t *testing.T) []string {
			hostname, id := onOne(t)
			sc.inject(t, faultinject.Rule{Step: contract.BeginDrain, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1})
			drain(t, hostname, 1, "--at-once", "1")
			h, err := sc.s.Store.HostByName(t.Context(), hostname)
			require.NoError(t, err)
			require.True(t, h.Enabled)
			return []string{id}
		}},
	}
}
