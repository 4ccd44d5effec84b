package control

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// defaultShutdown is Nova's shutdown_timeout, for images that say nothing.
const defaultShutdown = time.Minute

// BeginAction marks the server with the action's task and records the action; Conflict, in Nova's words, where the server is
// in a state in which it cannot be done.
func (a *Activities) BeginAction(ctx context.Context, in contract.ActionInput) (contract.BegunAction, error) {
	action, err := rowOf(in.Action)
	if err != nil {
		return contract.BegunAction{}, err
	}
	server, err := a.taking(ctx, contract.BeginAction, 0, "").BeginAction(ctx, in.ServerID, action, models.InstanceAction{
		ServerID: in.ServerID, RequestID: in.RequestID, Action: action.Method, UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: a.now(), AnswerBy: in.AnswerBy,
		OverLock: in.OverLock,
	})
	if err != nil {
		return contract.BegunAction{}, err
	}
	begun := contract.BegunAction{VMState: string(server.VMState), PowerState: server.PowerState}
	if action.NoHost {
		return begun, nil // and there is no guest that could shut down
	}
	if begun.Hostname, err = a.hostOf(ctx, server); err != nil {
		return begun, err
	}
	if begun.Source, err = a.store.KeptOn(ctx, in.ServerID); err != nil {
		return begun, err
	}
	begun.ShutdownTimeout, err = a.shutdownTimeout(ctx, server.ImageID)
	return begun, err
}

// hostOf is the host of a server's guest. One that is about to leave it is placed there no more, and holds its room: a worker that was killed
// does this step once more behind that.
func (a *Activities) hostOf(ctx context.Context, server models.Server) (string, error) {
	if server.Host != nil {
		return server.Host.Hostname, nil
	}
	held, err := a.store.Placements(ctx, server.ID)
	for _, room := range held {
		if err == nil && room.Role == models.PlacementActive {
			h, err := a.store.Host(ctx, room.HostID)
			return h.Hostname, err
		}
	}
	return "", err
}

// shutdownTimeout is what the image allows a guest to shut down, as long as it can be read.
func (a *Activities) shutdownTimeout(ctx context.Context, imageID string) (time.Duration, error) {
	image, err := a.store.Image(ctx, imageID)
	if fault.Is(err, fault.NotFound) {
		return defaultShutdown, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up how long the guest may take to shut down: %w", err)
	}
	if seconds, err := strconv.Atoi(image.Properties["os_shutdown_timeout"]); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, nil
	}
	return defaultShutdown, nil
}

// FinishAction puts the server into the state that the action ends in, with the steps as the action's events.
func (a *Activities) FinishAction(ctx context.Context, in contract.FinishActionInput) error {
	action, err := rowOf(in.Action)
	if err != nil {
		return err
	}
	if in.Mended {
		action.To, action.Power = lifecycle.Active, lifecycle.Running
	}
	if in.VMState != "" {
		action.To, action.Power = lifecycle.VMState(in.VMState), in.PowerState
	}
	return a.store.FinishAction(ctx, in.ServerID, in.RequestID, action, models.ActionEvents(in.Steps, contract.FinishAction, a.now()))
}

// FailAction makes the server what it was before the action, and keeps why.
func (a *Activities) FailAction(ctx context.Context, in contract.FailActionInput) error {
	if err := a.giveBack(ctx, "", contract.BeginAction, 0, ""); err != nil {
		return err
	}
	action, err := rowOf(in.Action)
	if err != nil {
		return err
	}
	was := models.Server{VMState: lifecycle.VMState(in.VMState), PowerState: in.PowerState}
	return a.store.FailAction(ctx, in.ServerID, in.RequestID, action, was, models.ServerFault{
		ServerID: in.ServerID, Code: in.Code, Message: in.Message, Details: in.Details,
	}, models.ActionEvents(in.Steps, "", a.now()))
}

// ResetState sets a server's state, whatever it was; one that is deleted or being deleted stays as it is. It answers the hosts on which
// the server has a guest that it has no use for any more.
func (a *Activities) ResetState(ctx context.Context, in contract.ResetStateInput) (left contract.LeftHosts, err error) {
	err = a.store.ResetServer(ctx, in.ServerID, lifecycle.VMState(in.VMState), in.Ended, models.InstanceAction{
		ServerID: in.ServerID, RequestID: in.RequestID, Action: "resetState", UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: a.now(),
	})
	if err != nil {
		return left, err
	}
	left.Hostnames, err = a.store.LeftHosts(ctx, in.ServerID)
	return left, err
}

func rowOf(name string) (lifecycle.Action, error) {
	action, ok := lifecycle.Find(name)
	if !ok {
		return action, fault.New(fault.Internal, "there is no action %s", name)
	}
	return action, nil
}
