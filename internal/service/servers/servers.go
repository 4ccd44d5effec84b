// Package servers is what a face may ask for of servers, whatever protocol it speaks: who may see one, what a request for one
// has to hold, what happens when one is built, acted upon and deleted. Caller in, fault out; the texts of faults are Nova's.
package servers

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// Engine changes servers (engine.Client). Submit answers nil once the build is accepted (the server's row exists) or the fault
// that refused it; it never waits for the build. Reserve is Submit for several servers, and answers how many. Delete answers
// once the delete is certain to happen, Reset once a state is certain to be set, Do once an action has begun (an awaited one:
// has ended), Adopt when a guest is a server, ForgetHost when a host is heard no more, DrainHost when
// one gets no servers any more. Drain is how far that is, and ActOnDrain an operator's word to it. Progress is that of a running build; it
// is empty, or NotFound, when none runs. Arrived is how far disks are that travel. Console, Diagnostics, Screenshot and TriggerCrashDump ask
// a server's host, HostNetwork a host: Unavailable when it does not answer.
type Engine interface {
	Submit(ctx context.Context, in contract.BootInput) error
	Reserve(ctx context.Context, in contract.ReserveInput) (admitted int, err error)
	Delete(ctx context.Context, in contract.DeleteInput) error
	Reset(ctx context.Context, in contract.ResetInput) error
	Progress(ctx context.Context, serverID string) ([]contract.StepProgress, error)
	Arrived(ctx context.Context, serverID string) (contract.TransferProgress, error)
	Console(ctx context.Context, in contract.ConsoleInput) (string, error)
	Diagnostics(ctx context.Context, in contract.GuestInput) (contract.Diagnostics, error)
	Screenshot(ctx context.Context, in contract.GuestInput) (contract.Screenshot, error)
	TriggerCrashDump(ctx context.Context, in contract.GuestInput) error
	Do(ctx context.Context, workflow string, in contract.ActionInput) error
	Adopt(ctx context.Context, in contract.AdoptInput) error
	ForgetHost(ctx context.Context, in contract.ForgetHostInput) error
	HostNetwork(ctx context.Context, in contract.HostNetworkInput) (contract.HostNetwork, error)
	DrainHost(ctx context.Context, in contract.DrainInput) error
	Drain(ctx context.Context, hostID string) (contract.DrainState, error)
	ActOnDrain(ctx context.Context, hostID string, act contract.DrainAct) error
}

// Config of the service. A zero field is what is said beside it, where something is.
type Config struct {
	// Quota is what a project gets that has no limits of its own; -1 is unlimited.
	Quota models.ProjectQuota
	// Placement is how the workers choose hosts, for who asks how they would.
	Placement placement.Settings
	// Networks is the service whose networks servers are on; nil is one with the defaults.
	Networks *networks.Service
	// MaxHosts is how many hosts a build may try.
	MaxHosts int
	// MaxCount is how many servers one request may ask for.
	MaxCount int
	// MaxLocalDisks is how many disks a server may map; 0 is 3, negative any number.
	MaxLocalDisks int
	// Deadlines travel with every build, action and delete.
	Deadlines contract.Deadlines
	// Reclaims has deletes deferred: a server that was built is stopped, and deleted later by somebody else.
	Reclaims bool
	// OffloadsAtOnce has shelved servers leave their hosts at once.
	OffloadsAtOnce bool
	// ForceConfigDrive gives every server a config drive, whatever its request says.
	ForceConfigDrive bool
	// Drive is how config drives are made; nil is by the defaults.
	Drive *contract.DriveOptions
	// Inject is how data is injected where there is no drive; nil is by the defaults.
	Inject *contract.InjectOptions
	// VendorData is what every guest is told.
	VendorData map[string]any
	// VendorServices are asked what else a guest is told; nil are none.
	VendorServices *contract.VendorServices
	// Keys open the specs of servers.
	Keys *payload.Keys
	// Logger is slog.Default().
	Logger *slog.Logger
}

// Service is the server service of one process.
type Service struct {
	store    *models.Store
	networks *networks.Service
	engine   Engine
	hosts    *placement.Hosts
	config   Config
}

// New makes the service.
func New(store *models.Store, engine Engine, config Config) *Service {
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Networks == nil {
		config.Networks = networks.New(store, networks.Config{})
	}
	return &Service{store: store, networks: config.Networks, engine: engine, hosts: placement.New(store, config.Placement), config: config}
}

// Quota is a project's: what was set for it, for the class of all projects, or is configured.
func (s *Service) Quota(ctx context.Context, projectID string) (models.ProjectQuota, error) {
	q, err := s.store.Quota(ctx, projectID, s.config.Quota)
	if err != nil {
		return q, fmt.Errorf("read the quota of project %s: %w", projectID, err)
	}
	return q, nil
}

// DefaultQuota is that of a project for which nothing was set.
func (s *Service) DefaultQuota(ctx context.Context) (models.ProjectQuota, error) {
	return s.Quota(ctx, "")
}

// SetQuota sets some limits of a project, by Nova's names.
func (s *Service) SetQuota(ctx context.Context, projectID string, limits map[string]int) error {
	return s.store.SetQuota(ctx, projectID, limits, s.config.Quota)
}

// QuotaClass is what a class sets, over the configured defaults.
func (s *Service) QuotaClass(ctx context.Context, name string) (models.ProjectQuota, error) {
	return s.store.QuotaClass(ctx, name, s.config.Quota)
}

// Caller is who asks, and with which request.
type Caller struct {
	auth.Caller
	RequestID string
}

// Servers are those that a caller may see.
type Servers struct {
	*Service
	caller Caller
}

// For gives the service to a caller.
func (s *Service) For(caller Caller) Servers { return Servers{s, caller} }

// Get finds a server; another project's is as absent as one that never was.
func (s Servers) Get(ctx context.Context, id string) (models.Server, error) {
	return s.find(ctx, id, s.store.Server)
}

// GetEvenDeleted is Get, and finds deleted ones too.
func (s Servers) GetEvenDeleted(ctx context.Context, id string) (models.Server, error) {
	return s.find(ctx, id, s.store.ServerEvenDeleted)
}

func (s Servers) find(ctx context.Context, id string, get func(context.Context, string) (models.Server, error)) (models.Server, error) {
	absent := fault.New(fault.NotFound, "Instance %s could not be found.", id)
	if uuid.Validate(id) != nil {
		return models.Server{}, absent
	}
	v, err := get(ctx, id)
	if err != nil {
		return v, fault.Absent(err, fault.NotFound, "Instance %s could not be found.", id)
	}
	if !s.caller.Owns(v.ProjectID) {
		return models.Server{}, absent
	}
	return v, nil
}

// List lists the caller's servers that the filter selects; an admin's are those of all projects, or of the filter's.
func (s Servers) List(ctx context.Context, f models.ServerFilter) ([]models.Server, error) {
	if !s.caller.Admin() {
		if f.Deleted {
			return nil, fault.New(fault.Forbidden, "Only administrators may list deleted instances")
		}
		f.ProjectID = s.caller.ProjectID
	}
	return s.store.ListServers(ctx, f)
}

// JustAccepted are the servers of a reservation of the caller's that was accepted this moment: their rows and metadata.
func (s Servers) JustAccepted(ctx context.Context, made Accepted) ([]models.Server, error) {
	return s.store.JustRecorded(ctx, s.caller.ProjectID, made.ReservationID)
}

// Delete asks for a server's end. It is certain then, and not yet done: whoever locks the server afterwards comes too late. Where deletes
// are deferred, a server that was built is stopped instead, as an action: Conflict while something else is done to it.
func (s Servers) Delete(ctx context.Context, id string) error {
	v, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return s.end(ctx, v)
}

func (s Servers) end(ctx context.Context, v models.Server) error {
	if !s.config.Reclaims || v.LaunchedAt == nil || v.HostID == nil || v.Task() == lifecycle.Deleting {
		return s.Remove(ctx, v)
	}
	if v.VMState == lifecycle.SoftDeleted && v.TaskState == nil {
		return v.MayChange(s.caller.Admin())
	}
	return s.Act(ctx, v, lifecycle.SoftDelete(v.VMState), contract.ActionArguments{})
}

// Remove asks for the end of a server that was just read, at once.
func (s Servers) Remove(ctx context.Context, v models.Server) error {
	if err := v.MayChange(s.caller.Admin()); err != nil {
		return err
	}
	err := s.engine.Delete(ctx, contract.DeleteInput{
		ServerID: v.ID, ProjectID: v.ProjectID, UserID: s.caller.UserID, RequestID: s.caller.RequestID, Deadlines: s.config.Deadlines,
	})
	if err != nil {
		return fmt.Errorf("delete server %s: %w", v.ID, err)
	}
	// A build ends its step first, and its row says nothing of the delete until then.
	if err := s.store.NoteDelete(ctx, v.ID); err != nil {
		s.config.Logger.Warn("a delete that is certain is not noted", "server_id", v.ID, "request_id", s.caller.RequestID, "error", err.Error())
	}
	return nil
}
