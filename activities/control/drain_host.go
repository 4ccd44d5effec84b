package control

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

func drainOf(in contract.DrainInput) models.HostDrain {
	return models.HostDrain{HostID: in.HostID, RequestID: in.RequestID, AnswerBy: in.AnswerBy}
}

// BeginDrain has a host that is to be emptied get no servers any more. Conflict for one that does not answer: a guest that cannot be shut down
// there cannot be moved.
func (a *Activities) BeginDrain(ctx context.Context, in contract.DrainInput) error {
	h, err := a.store.Host(ctx, in.HostID)
	if err != nil {
		return err
	}
	if why := a.silent(h); why != "" {
		return fault.New(fault.Conflict, "Host %s cannot be drained: %s.", h.Hostname, why)
	}
	if err := a.taking(ctx, contract.BeginDrain, 0, "").BeginDrain(ctx, drainOf(in)); err != nil {
		return err
	}
	a.log.InfoContext(ctx, "host is drained", "host", in.Hostname, "host_id", in.HostID, "user_id", in.UserID, "zone", in.Zone, "at_once", in.AtOnce)
	return nil
}

// AbandonDrain has the host get servers again, where the drain was all that kept it from it.
func (a *Activities) AbandonDrain(ctx context.Context, in contract.DrainInput) error {
	if err := a.giveBack(ctx, "", contract.BeginDrain, 0, ""); err != nil {
		return err
	}
	return a.store.AbandonDrain(ctx, drainOf(in))
}

// silent is why nothing can be moved from a host now; "" where it answers.
func (a *Activities) silent(h models.Host) string {
	switch ago := a.now().Sub(h.SeenAt); {
	case h.ForcedDown:
		return "an operator has said that it is down"
	case ago > a.downAfter:
		return fmt.Sprintf("it is down: last heard of %s ago", ago.Round(time.Second))
	case !h.Ready:
		return strings.TrimSuffix("it is not ready: "+value(h.NotReadyReason), ": ")
	}
	return ""
}

// shownOfHost is how many servers of a host a look names that are not to be moved now.
const shownOfHost = 50

// LookToDrain finds what is on a host: what can be moved, by the row of the action, and why the rest cannot.
func (a *Activities) LookToDrain(ctx context.Context, in contract.LookToDrainInput) (found contract.DrainLook, err error) {
	h, err := a.store.Host(ctx, in.HostID)
	if err != nil {
		return found, err
	}
	found.Enabled, found.Silent = h.Enabled, a.silent(h)
	held, err := a.store.HeldOn(ctx, in.HostID)
	if err != nil {
		return found, err
	}
	migrate, err := rowOf("migrate")
	if err != nil {
		return found, err
	}
	except := map[string]bool{}
	for _, id := range in.Except {
		except[id] = true
	}
	found.More = map[string]int{}
	for _, v := range held {
		is, why := drainable(v, in.HostID, migrate)
		if except[v.ID] && is != hasLeft {
			delete(except, v.ID)
			continue
		}
		switch {
		case is == canMove && len(found.Move) < in.Limit:
			found.Move = append(found.Move, movable(v.Server))
		case is == canMove:
			found.Waiting++
		case is == isBusy:
			found.Busy = named(found.Busy, found.More, contract.DrainBusy, v.Server, why)
		case is == staysHere:
			found.Stays = named(found.Stays, found.More, contract.DrainStays, v.Server, why)
		case is == hasLeft:
			found.Leftovers++
		}
	}
	found.Gone = slices.Sorted(maps.Keys(except))
	return found, nil
}

// drainability is what a server on a host is to a drain.
type drainability int

const (
	canMove drainability = iota
	isBusy
	staysHere
	hasLeft
)

// drainable says what a server that holds room on a host is to its drain, and why it is not moved.
func drainable(v models.HeldRoom, hostID string, migrate lifecycle.Action) (drainability, string) {
	here := v.HostID != nil && *v.HostID == hostID
	refused := v.CanBegin(migrate, true) // an admin asks, whom no lock keeps out
	switch {
	case v.DeletedAt != nil:
		return hasLeft, ""
	case here && refused == nil:
		return canMove, ""
	case here && (v.TaskState != nil || v.VMState == lifecycle.Building):
		return isBusy, fault.Public(refused)
	case here:
		return staysHere, fault.Public(refused)
	case v.Role == models.PlacementResize:
		return isBusy, "It is on its way to this host."
	case v.Role == models.PlacementActive && v.VMState == lifecycle.Resized && v.TaskState != nil:
		return isBusy, fault.Public(refused)
	case v.Role == models.PlacementActive && v.VMState == lifecycle.Resized:
		return staysHere, "It has moved, and its guest of before is kept here until that is confirmed or reverted."
	}
	return hasLeft, ""
}

// named is a list with one more server, or the count of those that it does not name.
func named(list []contract.DrainServer, more map[string]int, kind string, v models.Server, why string) []contract.DrainServer {
	if len(list) == shownOfHost {
		more[kind]++
		return list
	}
	return append(list, contract.DrainServer{ServerID: v.ID, Name: v.Name, ProjectID: v.ProjectID, Why: why})
}

func movable(v models.Server) contract.MovableServer {
	return contract.MovableServer{
		ServerID: v.ID, Name: v.Name, ProjectID: v.ProjectID, Flavor: contract.Flavor(v.Flavor), MigrateBy: newRequest(), ConfirmBy: newRequest(),
	}
}

// AskMove says what became of a request to migrate a server. Of one that is gone nothing is left.
func (a *Activities) AskMove(ctx context.Context, in contract.AskMoveInput) (is contract.Move, err error) {
	is.ConfirmBy = newRequest()
	_, err = a.store.Action(ctx, in.ServerID, in.RequestID)
	if fault.Is(err, fault.NotFound) {
		return is, nil
	}
	if err != nil {
		return is, err
	}
	is.Begun = true
	m, err := a.store.LastMigration(ctx, in.ServerID)
	if fault.Is(err, fault.NotFound) || err == nil && m.RequestID != in.RequestID {
		return is, nil
	}
	if err != nil {
		return is, err
	}
	_, err = a.store.Server(ctx, in.ServerID)
	is.Waits, is.Confirmed = err == nil && m.Status == models.MigrationFinished, m.Status == models.MigrationConfirmed
	if fault.Is(err, fault.NotFound) {
		err = nil // it is deleted
	}
	return is, err
}
