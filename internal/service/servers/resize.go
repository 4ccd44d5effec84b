package servers

import (
	"context"

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
