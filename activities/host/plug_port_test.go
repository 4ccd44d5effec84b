package host

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

var switched = contract.Port{ID: "4f7a2a86-2f5e-4d43-8a51-7a8c2f1f0d01", MAC: "fa:16:3e:00:00:02", Bridge: "slw1", MTU: 1442, VIFType: contract.VIFOVS}

// plugStep stands beside the table, whose servers are on bridges.
var plugStep = step{"PlugPort", func(ctx context.Context, p *place) error {
	return p.PlugPort(ctx, contract.PlugPortInput{ServerID: server, Index: 1, Port: switched})
}, func(ctx context.Context, p *place) error {
	undo := undoIn
	undo.Index = 1
	return p.UnplugPort(ctx, undo)
}, nil}

// defineSwitched defines a domain with a NIC on a bridge and one in the switch.
func (p *place) defineSwitched(t *testing.T) {
	t.Helper()
	p.fetch(t)
	facts := p.facts("web")
	facts.Ports = append(facts.Ports, switched)
	in := facts.Domain()
	in.Facts = &facts
	require.NoError(t, p.DefineDomain(t.Context(), in))
}

func (p *place) plugged(t *testing.T) []hostnet.Plugged {
	t.Helper()
	all, err := p.o.Ports.List(t.Context())
	require.NoError(t, err)
	return all
}

var itsPort = []hostnet.Plugged{{ServerID: server, NIC: 1, PortID: switched.ID, Network: switched.NetworkID, MTU: switched.MTU, Tap: "tap4f7a2a86-2f", Up: true}}

func TestAPortIsPluggedAndUnpluggedAsOftenAsOneLikes(t *testing.T) {
	p := newPlace(t)
	before := p.world(t)
	require.NoError(t, plugStep.undo(t.Context(), p), "of what never happened")
	require.Equal(t, before, p.world(t))
	for range 2 {
		require.NoError(t, plugStep.do(t.Context(), p))
		require.Equal(t, itsPort, p.plugged(t))
	}
	require.NoError(t, p.UnplugPort(t.Context(), undoIn), "another NIC's")
	require.Equal(t, itsPort, p.plugged(t))
	for range 2 {
		require.NoError(t, plugStep.undo(t.Context(), p))
		require.Equal(t, before, p.world(t))
	}
}

// Whichever step or undo starts a guest or ends it, its ports go with it, since all of them do so in one place.
func TestAGuestsPortsArePluggedWhileItIsOnAndNoLonger(t *testing.T) {
	p := newPlace(t)
	ctx := t.Context()
	p.defineSwitched(t)
	nics := p.hyp.Snapshot()[server].Domain.NICs
	require.Equal(t, "br1", nics[0].Bridge)
	require.Empty(t, nics[0].Tap)
	require.Empty(t, nics[1].Bridge)
	require.Equal(t, "tap4f7a2a86-2f", nics[1].Tap)
	require.Empty(t, p.plugged(t))
	on := map[string]func() error{
		"start":    func() error { return p.StartDomain(ctx, contract.StartDomainInput{ServerID: server}) },
		"power on": func() error { return p.PowerOnDomain(ctx, undoIn) },
		"put back": func() error {
			return p.PutBackGuest(ctx, contract.PutBackGuestInput{ServerID: server, VMState: string(lifecycle.Active), PowerState: lifecycle.Running})
		},
	}
	off := map[string]func() error{
		"stop": func() error {
			return p.StopDomain(ctx, contract.StopDomainInput{ServerID: server, Timeout: time.Second})
		},
		"power off": func() error { return p.PowerOffDomain(ctx, undoIn) },
		"save":      func() error { return p.SaveDomain(ctx, contract.SaveDomainInput{ServerID: server}) },
		"suspend": func() error {
			return p.PutBackGuest(ctx, contract.PutBackGuestInput{ServerID: server, VMState: string(lifecycle.Suspended), PowerState: lifecycle.Shutdown})
		},
		"remake":  func() error { return p.RemakeDomain(ctx, contract.RemakeDomainInput{ServerID: server}) },
		"destroy": func() error { return p.DestroyDomain(ctx, undoIn) },
	}
	for name, turnOn := range on {
		for how, turnOff := range off {
			require.NoError(t, turnOn(), name)
			require.Equal(t, itsPort, p.plugged(t), name)
			require.NoError(t, turnOff(), how)
			require.Empty(t, p.plugged(t), how)
		}
	}
	require.NoError(t, on["start"]())
	require.NoError(t, p.UndefineDomain(ctx, undoIn))
	require.Empty(t, p.plugged(t))
	require.NoDirExists(t, filepath.Join(p.dir, server))
}

func TestAPortWhoseUndoWasGivenUpGoesWithTheDisk(t *testing.T) {
	p := newPlace(t)
	require.NoError(t, plugStep.do(t.Context(), p))
	require.NoError(t, p.RemoveDisk(t.Context(), undoIn))
	require.Empty(t, p.plugged(t))
	require.NoDirExists(t, filepath.Join(p.dir, server))
}

func TestAHostThatPlugsNothingIsNotForServersOfSuchNetworks(t *testing.T) {
	p := newPlace(t, func(o *Options, _ *store) { o.Ports = nil })
	err := plugStep.do(t.Context(), p)
	require.True(t, fault.Is(err, fault.HostUnfit), err)
	require.ErrorContains(t, err, "host.ovsdb")
	require.NoError(t, plugStep.undo(t.Context(), p))
	p.defineSwitched(t)
	require.True(t, fault.Is(p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}), fault.HostUnfit))
	require.NoError(t, p.UndefineDomain(t.Context(), undoIn))
}

// neverUp is a switch in which no port comes up, or which has stopped to answer.
type neverUp struct {
	hostnet.Ports
	away bool
}

func (n neverUp) Await(ctx context.Context, _ hostnet.Port) error {
	if n.away {
		return fault.New(fault.Unavailable, "The host's Open vSwitch does not answer")
	}
	<-ctx.Done()
	return fault.Wrap(fault.Unavailable, ctx.Err(), "Port is not up")
}

func TestAPortThatDoesNotComeUpMakesTheBuildLeaveOrIsWarnedOf(t *testing.T) {
	with := func(change func(*Options)) *place {
		return newPlace(t, func(o *Options, _ *store) {
			o.Ports, o.PlugPatience = neverUp{Ports: o.Ports}, 10*time.Millisecond
			change(o)
		})
	}
	err := plugStep.do(t.Context(), with(func(*Options) {}))
	require.True(t, fault.Is(err, fault.HostUnfit), err)
	require.NoError(t, plugStep.do(t.Context(), with(func(o *Options) { o.PlugFatal = false })))
	require.NoError(t, plugStep.do(t.Context(), with(func(o *Options) { o.PlugPatience = 0 })))
	err = plugStep.do(t.Context(), with(func(o *Options) { o.Ports = neverUp{Ports: o.Ports, away: true} }))
	require.True(t, fault.Is(err, fault.Unavailable), "tried again here: %v", err)
	ended, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the host stops"))
	err = plugStep.do(ended, with(func(o *Options) { o.PlugPatience = time.Hour }))
	require.True(t, fault.Is(err, fault.Unavailable), err)
}

func TestWhatIsPluggedIsSettledByTheGuestsThatRun(t *testing.T) {
	p := newPlace(t)
	ctx := t.Context()
	p.defineSwitched(t)
	require.NoError(t, p.StartDomain(ctx, contract.StartDomainInput{ServerID: server}))
	gone := hostnet.Port{ServerID: "0b8f7f3c-6f0e-4a8f-9a51-0d6c5a1f2b3c", ID: "aaaaaaaa-2f5e-4d43-8a51-7a8c2f1f0d01"}
	require.NoError(t, p.o.Ports.Plug(ctx, gone))
	require.NoError(t, p.SettlePorts(ctx))
	require.Equal(t, itsPort, p.plugged(t), "a guest that is gone has none")

	require.NoError(t, p.o.Ports.UnplugAll(ctx, server))
	require.NoError(t, p.o.Ports.Plug(ctx, hostnet.Port{ServerID: server, NIC: 7, ID: "bbbbbbbb-2f5e-4d43-8a51-7a8c2f1f0d01"}))
	require.NoError(t, p.SettlePorts(ctx))
	require.Equal(t, itsPort, p.plugged(t), "one that runs has all of its own, and no other")

	require.NoError(t, p.hyp.Destroy(ctx, server)) // the machine was started again
	require.NoError(t, p.SettlePorts(ctx))
	require.Empty(t, p.plugged(t))
	require.NoError(t, p.StartDomain(ctx, contract.StartDomainInput{ServerID: server}))
	require.Equal(t, itsPort, p.plugged(t))
}
