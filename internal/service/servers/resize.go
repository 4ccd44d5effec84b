package servers

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Resize has a server's guest made anew by another flavor; auto is OS-DCF:diskConfig, nil leaves what it was. It is accepted when it
// returns, and waits in VERIFY_RESIZE afterwards.
func (s Servers) Resize(ctx context.Context, v models.Server, action lifecycle.Action, flavorID string, auto *bool) error {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return err
	}
	flavor, err := s.flavor(ctx, flavorID)
	if err != nil {
		return err
	}
	if flavorID == v.FlavorID {
		return invalid("When resizing, instances must change flavor!")
	}
	q, err := s.Quota(ctx, v.ProjectID)
	if err != nil {
		return err
	}
	to := contract.Resize{Flavor: flavor, AutoDiskConfig: auto, Limits: contract.Quota{Instances: q.Instances, Cores: q.Cores, RAMMiB: q.RAMMiB}}
	return s.Act(ctx, v, action, contract.ActionArguments{Resize: &to})
}

// EndResize confirms or reverts what waits for that.
func (s Servers) EndResize(ctx context.Context, v models.Server, action lifecycle.Action) error {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return err
	}
	m, err := s.store.LastMigration(ctx, v.ID)
	if err == nil && m.Status != models.MigrationFinished {
		err = fault.New(fault.NotFound, "it has ended")
	}
	if err != nil {
		return fault.Absent(err, fault.Invalid, "Instance has not been resized.")
	}
	return s.Act(ctx, v, action, contract.ActionArguments{})
}

// resizeLook is how often Become looks how far a server is.
const resizeLook = 200 * time.Millisecond

// Become resizes a server that is off and confirms that, for whoever knows no waiting for a confirmation, and returns when it is done. Nothing
// is undone where the caller goes, or its process: whoever asks for the same again goes on with it. Unavailable where it takes longer
// than within.
func (s Servers) Become(ctx context.Context, v models.Server, resize, confirm lifecycle.Action, flavorID string, within time.Duration) error {
	late := time.After(within)
	// Each of the two is an action of its own, and has the id of a request.
	confirms := Servers{s.Service, s.caller}
	confirms.caller.RequestID = "req-" + uuid.NewString()
	begun := false
	for {
		var err error
		switch task := v.Task(); {
		case task == lifecycle.ResizePrep, task == lifecycle.ResizeMigrating, task == lifecycle.ResizeFinish, task == lifecycle.ResizeConfirming:
		case task != "":
			return v.Refuses(resize.Method, "task_state", task)
		case v.VMState == lifecycle.Stopped && v.FlavorID == flavorID:
			return nil
		case v.VMState == lifecycle.Stopped && begun:
			return notResized(v)
		case v.VMState == lifecycle.Stopped:
			begun, err = true, s.Resize(ctx, v, resize, flavorID, nil)
		case v.VMState == lifecycle.Resized && v.PowerState == lifecycle.Shutdown && v.FlavorID == flavorID:
			err = confirms.EndResize(ctx, v, confirm)
		default:
			return v.Refuses(resize.Method, "vm_state", string(v.VMState))
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(resizeLook):
		case <-late:
			return fault.New(fault.Unavailable, "Instance %s is still being resized: ask again for the same", v.ID)
		case <-ctx.Done():
			return ctx.Err()
		}
		if v, err = s.Get(ctx, v.ID); err != nil {
			return err
		}
	}
}

// notResized says why a server is what it was before.
func notResized(v models.Server) error {
	why := "it is what it was before"
	if v.Fault != nil {
		why = v.Fault.Message
	}
	return fault.New(fault.Conflict, "Instance %s was not resized: %s", v.ID, why)
}

// Arrived is how far a server's disks are that travel to another host, in percent; 0 where none do.
func (s Servers) Arrived(ctx context.Context, v models.Server) int {
	if v.Task() != lifecycle.ResizeMigrating {
		return 0
	}
	at, err := s.engine.Arrived(ctx, v.ID)
	if err != nil { // it is an extra
		s.config.Logger.Warn("no progress of a move", "server_id", v.ID, "request_id", s.caller.RequestID, "error", err.Error())
	}
	if at.Total <= 0 {
		return 0
	}
	return int(min(100*at.Bytes/at.Total, 100))
}

// Migrate has a server's guest made anew on another host, of its disks: on the one that is named, or with "" on any. It is accepted when it
// returns, and waits in VERIFY_RESIZE afterwards.
func (s Servers) Migrate(ctx context.Context, v models.Server, action lifecycle.Action, host string) error {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return err
	}
	if host != "" {
		h, err := s.store.HostByName(ctx, host)
		if err != nil {
			return fault.Absent(err, fault.Invalid, "Compute host %s could not be found.", host)
		}
		if v.HostID != nil && *v.HostID == h.ID {
			return invalid("Cannot migrate to the host where the server exists.")
		}
	}
	return s.Act(ctx, v, action, contract.ActionArguments{Resize: &contract.Resize{Flavor: contract.Flavor(v.Flavor), Migrates: true, Host: host}})
}
