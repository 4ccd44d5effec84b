package servers

import (
	"context"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Shelve has a server shut down and an image made of it, and where shelved servers leave their hosts at once, leave its own. kept and
// atOnce are the actions that do the one and the other.
func (s Servers) Shelve(ctx context.Context, v models.Server, kept, atOnce lifecycle.Action) error {
	action := kept
	if s.config.OffloadsAtOnce {
		action = atOnce
	}
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return err
	}
	return s.Act(ctx, v, action, contract.ActionArguments{Snapshot: &contract.Snapshot{
		ImageID: uuid.NewString(), Name: shelvedName(v.Name), ProjectID: s.caller.ProjectID, Roles: s.caller.Roles,
	}})
}

// shelvedName is Nova's name of the image, within what a name may be.
func shelvedName(name string) string {
	const most, end = 255, "-shelved"
	for utf8.RuneCountInString(name) > most-len(end) {
		_, last := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-last]
	}
	return name + end
}

// Target is where a server that has left its host is to be. Zone is nil where it is the one that was asked for before, and points to ""
// for any. Host is the only one that will do, for admins; "" is any.
type Target struct {
	Zone *string
	Host string
}

// Unshelve has a shelved server run again: where it is, by the action inPlace, or, where it has left its host, by the other on one that
// is chosen (nova/compute/api.py, unshelve).
func (s Servers) Unshelve(ctx context.Context, v models.Server, inPlace, anew lifecycle.Action, to Target) error {
	action := inPlace
	if v.VMState == lifecycle.ShelvedOffloaded {
		action = anew
	}
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return err
	}
	if v.VMState != lifecycle.ShelvedOffloaded {
		if to.Zone != nil || to.Host != "" {
			return fault.New(fault.Conflict, "Specifying an availability zone or a host when unshelving server \"%s\" with status \"%s\" is not supported. "+
				"The server status must be SHELVED_OFFLOADED.", v.ID, v.VMState)
		}
		return s.Act(ctx, v, action, contract.ActionArguments{})
	}
	zone := v.AvailabilityZone
	if to.Zone != nil {
		var err error
		if zone, err = s.zone(ctx, *to.Zone); err != nil {
			return err
		}
	}
	if to.Host != "" {
		if err := s.mayUnshelveTo(ctx, to.Host, zone); err != nil {
			return err
		}
	}
	return s.Act(ctx, v, action, contract.ActionArguments{Unshelve: &contract.Unshelve{Zone: to.Zone, Host: to.Host, MaxHosts: s.config.MaxHosts}})
}

func (s Servers) mayUnshelveTo(ctx context.Context, hostname, zone string) error {
	if !s.caller.Admin() {
		return fault.New(fault.Forbidden, "Policy doesn't allow %s to be performed.", lifecycle.UnshelveToHost)
	}
	h, err := s.store.HostByName(ctx, hostname)
	if err != nil {
		return fault.Absent(err, fault.Invalid, "Compute host %s could not be found.", hostname)
	}
	if zone != "" && h.AvailabilityZone != zone {
		return fault.New(fault.Conflict, "Host \"%s\" is not in the availability zone \"%s\".", hostname, zone)
	}
	return nil
}
