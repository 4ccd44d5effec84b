package host

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// was are servers, with how the guest of each is.
var was = []struct {
	in    contract.PutBackGuestInput
	guest hypervisor.State
}{
	{contract.PutBackGuestInput{ServerID: server, VMState: "active", PowerState: lifecycle.Running}, hypervisor.Running},
	{contract.PutBackGuestInput{ServerID: server, VMState: "active", PowerState: lifecycle.PausedGuest}, hypervisor.Paused},
	{contract.PutBackGuestInput{ServerID: server, VMState: "paused", PowerState: lifecycle.PausedGuest}, hypervisor.Paused},
	{contract.PutBackGuestInput{ServerID: server, VMState: "suspended", PowerState: lifecycle.Shutdown}, hypervisor.ShutOff},
	{contract.PutBackGuestInput{ServerID: server, VMState: "stopped", PowerState: lifecycle.Shutdown}, hypervisor.ShutOff},
	{contract.PutBackGuestInput{ServerID: server, VMState: "error", PowerState: lifecycle.NoState}, hypervisor.ShutOff},
}

func TestAGuestIsPutBackFromWhateverAnActionMadeOfIt(t *testing.T) {
	p := built(t)
	h := p.hyp
	for _, w := range was {
		for name, made := range map[string]func(context.Context, string) error{
			"runs": h.Start, "stands": h.Suspend, "saved": h.Save, "off": h.Destroy,
		} {
			require.NoError(t, h.Redefine(t.Context(), func() hypervisor.Domain {
				require.NoError(t, h.Destroy(t.Context(), server))
				return h.Snapshot()[server].Domain
			}()))
			require.NoError(t, h.Start(t.Context(), server))
			require.NoError(t, made(t.Context(), server))
			for range 2 {
				require.NoError(t, p.PutBackGuest(t.Context(), w.in))
				got := h.Snapshot()[server]
				require.Equal(t, w.guest, got.State, "%s: %v", name, w.in)
			}
		}
	}
}

func TestPuttingBackKeepsWhatWasSaved(t *testing.T) {
	p := built(t)
	require.NoError(t, p.SaveDomain(t.Context(), contract.SaveDomainInput{ServerID: server}))
	for range 2 {
		require.NoError(t, p.PutBackGuest(t.Context(), was[3].in))
		require.True(t, p.hyp.Snapshot()[server].Saved)
	}
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	require.NoError(t, p.PutBackGuest(t.Context(), was[3].in))
	require.True(t, p.hyp.Snapshot()[server].Saved, "a resume that failed after it had started the guest")
}

func TestAGuestThatCannotBeStartedAgainStaysOffAndHoldsNobodyUp(t *testing.T) {
	p := built(t)
	for _, w := range was[:3] {
		require.NoError(t, p.hyp.Destroy(t.Context(), server))
		p.o.Hypervisor = unable{p.hyp, fault.New(fault.HostUnfit, "no memory")}
		require.NoError(t, p.PutBackGuest(t.Context(), w.in))
		require.Equal(t, hypervisor.ShutOff, p.hyp.Snapshot()[server].State)
		p.o.Hypervisor = unable{p.hyp, fault.Wrap(fault.Unavailable, errors.New("gone"), "libvirt does not answer")}
		require.Equal(t, fault.Unavailable, fault.KindOf(p.PutBackGuest(t.Context(), w.in)), "it is asked again")
	}
}

// unable starts nothing.
type unable struct {
	hypervisor.Hypervisor
	why error
}

func (u unable) Start(context.Context, string) error { return u.why }

func TestAGuestThatIsNotThereIsNotMade(t *testing.T) {
	p := newPlace(t)
	for _, w := range was {
		require.NoError(t, p.PutBackGuest(t.Context(), w.in))
	}
	require.Empty(t, p.hyp.Snapshot())
}

func TestAPauseStandsAndASuspendSavesAndBothMayBeDoneTwice(t *testing.T) {
	p := built(t)
	is := func(state hypervisor.State, saved bool) {
		t.Helper()
		got := p.hyp.Snapshot()[server]
		require.Equal(t, []any{state, saved}, []any{got.State, got.Saved})
	}
	for range 2 {
		require.NoError(t, p.PauseDomain(t.Context(), contract.PauseDomainInput{ServerID: server}))
		is(hypervisor.Paused, false)
	}
	for range 2 {
		require.NoError(t, p.UnpauseDomain(t.Context(), contract.UnpauseDomainInput{ServerID: server}))
		is(hypervisor.Running, false)
	}
	for range 2 {
		require.NoError(t, p.SaveDomain(t.Context(), contract.SaveDomainInput{ServerID: server}))
		is(hypervisor.ShutOff, true)
	}
	require.NoError(t, p.hyp.Start(t.Context(), server))
	require.NoError(t, p.hyp.PowerOff(server))
	require.Equal(t, fault.Conflict, fault.KindOf(p.SaveDomain(t.Context(), contract.SaveDomainInput{ServerID: server})), "there is nothing to save")
	require.Equal(t, fault.Conflict, fault.KindOf(p.PauseDomain(t.Context(), contract.PauseDomainInput{ServerID: server})))
}
