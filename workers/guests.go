package workers

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-cloud/slipway/activities/host"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/pace"
)

// Guests keeps the API's idea of a host's guests true: what changes without the API, because a guest shuts itself down or
// crashes, is told as soon as the hypervisor says so, and found out by looking where it did not. Nothing is done to a guest
// that runs and should not: whoever started it knows more.
type Guests struct {
	Hypervisor hypervisor.Hypervisor
	API        GuestsAPI
	Instances  string        // folder of the instances: a domain without one here belongs to another installation
	Resume     bool          // start the guests that should run whenever the hypervisor was away, at the start too
	Every      time.Duration // look also where nothing was heard; 0: only then
	Logger     *slog.Logger
}

// GuestsAPI is what Guests asks the API: Registration.
type GuestsAPI interface {
	// Resume has the guests of those of the servers started that should run.
	Resume(ctx context.Context, servers []string) error
	// Guests are those of this host's servers to which nothing is being done.
	Guests(ctx context.Context) ([]hostapi.Guest, error)
	// Saw tells how guests were found after Guests was asked.
	Saw(ctx context.Context, seen []hostapi.Sighting) error
}

// guestsRest is the pause after something failed.
const guestsRest = 5 * time.Second

// Run ends with ctx.
func (g *Guests) Run(ctx context.Context) error {
	connected, changed := make(chan struct{}, 1), make(chan struct{}, 1)
	watching := make(chan struct{})
	defer func() { <-watching }()
	go func() {
		defer close(watching)
		for ctx.Err() == nil {
			err := g.Hypervisor.Watch(ctx, func() { nudge(connected) }, func() { nudge(changed) })
			if ctx.Err() == nil {
				g.Logger.Debug("The hypervisor's events are not heard.", "error", err)
			}
			pace.Rest(ctx, guestsRest, nil)
		}
	}()
	var tick <-chan time.Time
	if g.Every > 0 {
		every := time.NewTicker(g.Every)
		defer every.Stop()
		tick = every.C
	}
	resume := false // what was asked for and did not succeed
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-connected:
			resume = g.Resume
		case <-changed:
		case <-tick:
		}
		for again := true; again; {
			var err error
			if resume {
				err = g.resume(ctx)
			}
			if err == nil {
				resume = false
				err = g.look(ctx)
			}
			if again = err != nil && ctx.Err() == nil; again {
				g.Logger.Warn("The API was not told how the guests are; trying again.", "error", err)
				pace.Rest(ctx, guestsRest, nil)
			}
		}
	}
}

// SettlePorts makes what is plugged on a host equal to what its guests need, once, as soon as what has to answer does.
func SettlePorts(ctx context.Context, activities *host.Activities, log *slog.Logger) error {
	for said := false; ; said = true {
		err := activities.SettlePorts(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		if !said {
			log.Warn("What is plugged on this host could not be settled; trying again.", "error", err)
		}
		pace.Rest(ctx, guestsRest, nil)
	}
}

// resume has those domains of this state folder started that are off and should run. A guest that shut itself down should not.
func (g *Guests) resume(ctx context.Context) error {
	domains, err := g.Hypervisor.List(ctx)
	if err != nil {
		return fmt.Errorf("look for guests that are off: %w", err)
	}
	var off []string
	for _, d := range domains {
		if (d.State == hypervisor.ShutOff || d.State == hypervisor.Crashed) && !d.ByItself && g.holds(d.UUID) {
			off = append(off, d.UUID)
		}
	}
	if len(off) == 0 {
		return nil
	}
	g.Logger.Info("Guests are off. Those that should run are started again.", "servers", off)
	return g.API.Resume(ctx, off)
}

// holds says whether a domain's instance folder lies here. One libvirtd may serve more than one installation.
func (g *Guests) holds(uuid string) bool {
	_, err := os.Stat(filepath.Join(g.Instances, uuid))
	return err == nil
}

// look compares what the API knows with the guests as they are, in this order: what is begun or ended after the question
// makes its answer too old to count.
func (g *Guests) look(ctx context.Context) error {
	known, err := g.API.Guests(ctx)
	if err != nil {
		return fmt.Errorf("ask the API for what it knows of the guests: %w", err)
	}
	domains, err := g.Hypervisor.List(ctx)
	if err != nil {
		return fmt.Errorf("look how the guests are: %w", err)
	}
	states, byGuest := map[string]int{}, map[string]bool{} // an absent one has no state
	for _, d := range domains {
		states[d.UUID], byGuest[d.UUID] = host.PowerState(d.State), d.ByGuest
	}
	var seen []hostapi.Sighting
	for _, k := range known {
		state := states[k.ServerID]
		down := state == lifecycle.Shutdown || state == lifecycle.Crashed
		if state == k.PowerState && !(down && k.Active) {
			continue
		}
		g.Logger.Info("A guest is not as the API knows it.", "server_id", k.ServerID, "power_state", state, "known_power_state", k.PowerState)
		seen = append(seen, hostapi.Sighting{
			ServerID: k.ServerID, AsOf: k.AsOf, PowerState: state, ByGuest: k.EndsAtShutdown && byGuest[k.ServerID],
		})
	}
	if len(seen) == 0 {
		return nil
	}
	return g.API.Saw(ctx, seen)
}
