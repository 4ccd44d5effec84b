// Package images is the image service: what Glance does between its API and its stores. An image is described, filled with
// bytes once, used, shared, and deleted; each concern is a layer of its own around one interface, Repository, and For puts
// them together for one caller.
//
// The layers and their order are Glance's (glance/gateway.py). Statuses, texts and limits follow glance/domain, glance/location,
// glance/quota, glance/notifier and glance/api/{policy,property_protections,authorization}.
package images

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/models"
)

// Repository is images as one caller has them. An image that is handed in is one that Get or List handed out, and as it was
// then it is judged. Save finds out when somebody came between; the others go by the row's state when they write.
//
// Errors are faults in Glance's words: NotFound for what the caller may not know of, Forbidden, Invalid, Conflict, and
// TooLarge for every limit.
type Repository interface {
	// Add makes an image, queued: its id, owner and visibility are chosen already.
	Add(ctx context.Context, draft models.Image) (models.Image, error)
	Get(ctx context.Context, id string) (models.Image, error)
	List(ctx context.Context, f models.ImageFilter) ([]models.Image, error)
	// Save changes the description.
	Save(ctx context.Context, was models.Image, change models.ImageUpdate) (models.Image, error)
	// Switch deactivates an image or makes it active again.
	Switch(ctx context.Context, was models.Image, to models.ImageStatus) (models.Image, error)
	Remove(ctx context.Context, was models.Image) error

	// Upload stores the bytes of a queued image, judges them in the same pass, and makes the image active. Whatever ends it
	// early leaves the image queued and no bytes.
	Upload(ctx context.Context, was models.Image, data Data) (models.Image, error)
	// Stage keeps bytes of a queued image, unjudged, until they are imported.
	Stage(ctx context.Context, was models.Image, data Data) (models.Image, error)
	// Open reads an image's bytes; length as in imagestore.Reader.
	Open(ctx context.Context, was models.Image, offset, length int64) (io.ReadCloser, error)
	// Drop removes the bytes from one of several stores.
	Drop(ctx context.Context, was models.Image, store string) error

	Members
}

// Members are the projects that a shared image is shared with. Glance's image members API.
type Members interface {
	// Members lists all that the caller may see, or only the one that is named.
	Members(ctx context.Context, of models.Image, project string) ([]models.ImageMember, error)
	Share(ctx context.Context, of models.Image, project string) (models.ImageMember, error)
	// Answer accepts or rejects what is shared, or makes it pending again.
	Answer(ctx context.Context, of models.Image, project, status string) (models.ImageMember, error)
	Unshare(ctx context.Context, of models.Image, project string) error
}

// Data is bytes on their way into a store.
type Data struct {
	Body   io.Reader
	Length int64  // as announced; -1 where nobody knows
	Store  string // "" is the default one

	// From is the status that the image has while its bytes come, "" for an upload by a client: saving. Task is the import
	// that brings them then; with Stays the image goes on importing when they have come, until every store has them.
	From  models.ImageStatus
	Task  string
	Stays bool
	// InPlace bytes lie in the store already, set aside: they are read and judged, and stay there.
	InPlace bool
	// Limits are the quota layer's.
	Limits Limits
}

// Limits of bytes; 0 is none.
type Limits struct {
	Image   int64 // one image
	Project int64 // all images of a project together

	used int64 // of Project, when the bytes began to come
}

// Caller is who asks.
type Caller struct {
	imagepolicy.Caller
	RequestID string
}

// Config of the service. A zero field is what is said beside it, where something is.
type Config struct {
	MaxBytes     int64                       // largest image (Glance's image_size_cap)
	ProjectBytes int64                       // of all images of a project (Glance's user_storage_quota): no limit
	Virtual      int64                       // largest disk inside an image: imageformat.MaxVirtualBytes
	Certificates imagesignature.Certificates // of signed images: none, so they are refused
	Protections  *imagepolicy.Protections    // of properties: none
	Quarantine   time.Duration               // how long bytes that no row knows are kept once they are set aside: for ever
	// MaySweep says why nothing may be removed now because the rows do not know it, from the named stores and altogether
	// (installation.Keeper): it always may.
	MaySweep func(ctx context.Context, stores ...string) error
}

// Service is the image service of one process.
type Service struct {
	rows   *models.Store
	stores *imagestore.Stores
	config Config
	log    *slog.Logger

	mu      sync.Mutex
	stopped map[string]bool // stores that hold too much that is not known
}

// New makes the service. log is for what no caller hears of.
func New(rows *models.Store, stores *imagestore.Stores, config Config, log *slog.Logger) *Service {
	if config.MaySweep == nil {
		config.MaySweep = func(context.Context, ...string) error { return nil }
	}
	if err := program.CanConfine(); err != nil {
		log.Warn("images are checked by what their headers say, and not by qemu-img", "reason", err)
	}
	return &Service{rows: rows, stores: stores, config: config, log: log, stopped: map[string]bool{}}
}

// Stores are where the bytes lie.
func (s *Service) Stores() *imagestore.Stores { return s.stores }

// For composes the service for one caller, from the inside out: each layer does its own and leaves the rest to the one
// below. A request passes them from the last to the first.
func (s *Service) For(caller Caller) Repository {
	var r Repository = &location{Service: s, notifier: notifier{caller}}
	r = &room{Repository: r, service: s, requestID: caller.RequestID}
	r = &quota{Repository: r, service: s}
	r = &policy{Repository: r, caller: caller.Caller}
	r = &protection{Repository: r, caller: caller.Caller, rules: s.config.Protections}
	r = &authorization{Repository: r, caller: caller.Caller, rows: s.rows}
	return r
}

// Internally composes the service for Slipway itself, which imports for a caller that was judged when it asked.
func (s *Service) Internally(caller Caller) Repository {
	var r Repository = &location{Service: s, notifier: notifier{caller}}
	r = &room{Repository: r, service: s, requestID: caller.RequestID}
	return &quota{Repository: r, service: s}
}
