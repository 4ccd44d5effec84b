// Package control holds the control plane's steps: database work that a `slipway worker` does. One file for each step,
// its do and its undo side by side. Activities answer plain faults; the worker turns them into Temporal's errors.
package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// Activities are the control plane's. Its methods are registered under the names in internal/contract.
type Activities struct {
	store    *models.Store
	builds   Builds
	images   *images.Service
	keys     *payload.Keys
	web      Web
	hosts    *placement.Hosts
	now      func() time.Time
	failures int
	log      *slog.Logger

	downAfter    time.Duration
	reclaimAfter time.Duration
	confirmAfter time.Duration
	resizeAway   bool
	offloadAfter time.Duration
	deadlines    contract.Deadlines
	vif          string
}

// Builds are the workflows of servers (engine.Client). Start begins the build of one that was reserved; it is success where a
// workflow of that server runs or has run, Internal when it is refused for good. ServersAt are those of which something runs that
// names a host. Delete ends a server, whatever is done to it. Reclaim begins a delete where nothing is done to the server, and is Conflict elsewhere. Do
// begins an action on it. EndUndos gives up what
// waits there for a host, and says whether anything works on the server.
type Builds interface {
	Start(ctx context.Context, in contract.BootInput) error
	Delete(ctx context.Context, in contract.DeleteInput) error
	Reclaim(ctx context.Context, in contract.DeleteInput) error
	Do(ctx context.Context, workflow string, in contract.ActionInput) error
	ServersAt(ctx context.Context, hostname string) (serverIDs []string, err error)
	EndUndos(ctx context.Context, serverID, hostname string, act contract.OperatorAct) (works bool, ended int, err error)
}

// Options of the control plane's activities.
type Options struct {
	Store  *models.Store
	Builds Builds
	Images *images.Service
	Keys   *payload.Keys // they seal the specs of servers
	Web    Web
	// Placement is how hosts are chosen.
	Placement placement.Settings
	// HostFailures is how many builds in a row may fail on a host by its own fault before it gets no new servers; 0: any.
	HostFailures int
	// ReclaimAfter is after what time servers are deleted whose delete was deferred, with Deadlines; 0: never.
	ReclaimAfter time.Duration
	// ConfirmAfter is after what time resizes are confirmed that nobody has confirmed or reverted, with Deadlines; 0: never.
	ConfirmAfter time.Duration
	// OffloadAfter is after what time shelved servers leave their hosts that are there all the same, with Deadlines; negative: never.
	OffloadAfter time.Duration
	Deadlines    contract.Deadlines
	// ResizeAway has a resize go to another host although its own has the room.
	ResizeAway bool
	// VIFType is what ports are to their hosts (contract.VIFBridge, contract.VIFOVS).
	VIFType string
	// Logger is told of what an image asks for and does not get; nil is the program's own.
	Logger *slog.Logger
}

// New makes the activities.
func New(o Options) *Activities {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return &Activities{
		store: o.Store, builds: o.Builds, images: o.Images, keys: o.Keys, web: o.Web, now: time.Now,
		hosts: placement.New(o.Store, o.Placement), downAfter: o.Placement.DownAfter, failures: o.HostFailures, log: o.Logger,
		reclaimAfter: o.ReclaimAfter, confirmAfter: o.ConfirmAfter, offloadAfter: o.OffloadAfter, deadlines: o.Deadlines, resizeAway: o.ResizeAway,
		vif: o.VIFType,
	}
}

// optional is nil for the empty string: NULL in the database.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
