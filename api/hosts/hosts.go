// Package hosts is Slipway's own API of its hypervisors. Operators (Keystone token, role admin) admit, watch, disable and
// forget hosts; a host (its own token, as a bearer) registers itself, reports that it lives, and fetches images. A host
// thereby needs no database and no credential that speaks for another host.
package hosts

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// Config of the hosts API. A zero field is what is said beside it, where something is.
type Config struct {
	HeartbeatInterval time.Duration // how often hosts are told to report
	DownAfter         time.Duration // silence after which a host counts as down
	// GivenUpAfter is the silence after which builds go on elsewhere, so that a host that reports again may hold what they
	// left: DownAfter.
	GivenUpAfter time.Duration
	DefaultZone  string // of a host that is admitted without one: "nova"
	// Keys are the control plane's, of which each host has its own.
	Keys         *payload.Keys
	Certificates bool // a host's token counts with that host's certificate alone
}

// API serves /hosts.
type API struct {
	store    *models.Store
	images   *images.Service
	servers  *servers.Service
	consoles *consoles.Service
	config   Config
	now      func() time.Time
}

// New makes the API; Mount puts it under a path.
func New(store *models.Store, images *images.Service, servers *servers.Service, consoles *consoles.Service, config Config) *API {
	if config.GivenUpAfter <= 0 {
		config.GivenUpAfter = config.DownAfter
	}
	if config.DefaultZone == "" {
		config.DefaultZone = "nova"
	}
	return &API{store: store, images: images, servers: servers, consoles: consoles, config: config, now: time.Now}
}

// Mount adds the routes to g, which is the group "/hosts". Echo prefers fixed path elements to parameters, so a host can
// not be named away by "self" or "images"; POST refuses these names all the same.
func (a *API) Mount(g *echo.Group) {
	fail := rest.Fail(rest.Plain)
	own := []echo.MiddlewareFunc{fail, a.requireHost}
	g.PUT("/self", a.register, append(own, rest.Expect(400, 403, 409))...)
	g.POST("/self/heartbeat", a.heartbeat, append(own, rest.Expect(400, 404))...)
	g.GET("/self/payload-keys", a.payloadKeys, own...)
	g.GET("/self/undo", a.undo, append(own, rest.Expect(400))...)
	g.GET("/self/guests", a.guests, own...)
	g.PUT("/self/guests", a.sightings, append(own, rest.Expect(400))...)
	g.POST("/self/resume", a.resume, append(own, rest.Expect(400))...)
	g.GET("/self/consoles/:session", a.console, append(own, rest.Expect(400, 403, 404, 426))...)
	g.GET("/self/metadata", a.metadata, append(own, rest.Expect(400, 404, 409))...)
	g.PUT("/self/ports/:id/password", a.keepPassword, append(own, rest.Expect(400, 404, 409))...)
	g.GET("/images/:id/file", a.imageFile, append(own, rest.Expect(404, 416))...)
	g.PUT("/images/:id/file", a.storeSnapshot, append(own, rest.Expect(400, 404, 409, 410, 413))...)
	g.HEAD("/images/:id/file", a.imageFile, append(own, rest.Expect(404, 416))...)

	admin := []echo.MiddlewareFunc{fail, rest.RequireToken(rest.Plain), rest.RequireAdmin}
	for _, root := range []string{"", "/"} {
		g.GET(root, a.list, append(admin, rest.Expect(403))...)
		g.POST(root, a.create, append(admin, rest.Expect(400, 403, 409))...)
	}
	g.GET("/:id", a.show, append(admin, rest.Expect(403, 404))...)
	g.PATCH("/:id", a.update, append(admin, rest.Expect(400, 403, 404, 409))...)
	g.DELETE("/:id", a.remove, append(admin, rest.Expect(403, 404, 409))...)
	g.POST("/:id/token", a.rotate, append(admin, rest.Expect(403, 404, 409))...)
	g.POST("/:id/forget", a.forget, append(admin, rest.Expect(400, 403, 404, 409))...)
	g.GET("/:id/forget", a.forgotten, append(admin, rest.Expect(403, 404))...)
	g.POST("/:id/drain", a.drain, append(admin, rest.Expect(400, 403, 404, 409))...)
	g.GET("/:id/drain", a.drained, append(admin, rest.Expect(403, 404))...)
	g.POST("/:id/drain/action", a.actOnDrain, append(admin, rest.Expect(400, 403, 404, 409))...)
	g.GET("/:id/network", a.network, append(admin, rest.Expect(403, 404))...)
	g.POST("/:id/adopt", a.adopt, append(admin, rest.Expect(400, 403, 404, 409))...)
}

// view is a host as operators see it.
type view struct {
	ID                string         `json:"id"`
	Hostname          string         `json:"hostname"`
	AvailabilityZone  string         `json:"availability_zone"`
	State             string         `json:"state"` // up or down, by an operator's word or the age of the last heartbeat
	Ready             bool           `json:"ready"` // it is up, says that its hypervisor works, and is not suspended
	NotReadyReason    *string        `json:"not_ready_reason"`
	Enabled           bool           `json:"enabled"`
	DisabledReason    *string        `json:"disabled_reason"`
	SeenAt            *string        `json:"seen_at"`
	StartedAt         *string        `json:"started_at"`
	CreatedAt         string         `json:"created_at"`
	BackAt            *string        `json:"back_at"` // when it last came back after builds had given it up
	HypervisorType    string         `json:"hypervisor_type"`
	HypervisorVersion int            `json:"hypervisor_version"`
	Architectures     []string       `json:"architectures"`
	KVM               bool           `json:"kvm"`   // by the trial
	Trial             *hostapi.Trial `json:"trial"` // null until the host has told of one
	UEFI              bool           `json:"uefi"`
	Version           string         `json:"version"`
	CertificateEnds   *string        `json:"certificate_expires_at"`   // the first of those that it serves or presents; null where it has none
	CertificateSoon   bool           `json:"certificate_expires_soon"` // or it has expired: somebody has to renew it
	VCPUs             int            `json:"vcpus"`
	MemoryMiB         int            `json:"memory_mib"`
	DiskGiB           int            `json:"disk_gib"`
	CPURatio          float64        `json:"cpu_ratio"`
	RAMRatio          float64        `json:"ram_ratio"`
	DiskRatio         float64        `json:"disk_ratio"`
	ReservedMemoryMiB int            `json:"reserved_memory_mib"`
	Servers           int            `json:"servers"`
	UsedVCPUs         int            `json:"used_vcpus"`
	UsedMemoryMiB     int            `json:"used_memory_mib"`
	UsedDiskGiB       int            `json:"used_disk_gib"`
	BuildFailures     int            `json:"build_failures"` // builds in a row that failed on it, by its own fault
	LastFailure       *string        `json:"last_failure"`   // which step, and what it said; also when builds have succeeded since
	LastFailureAt     *string        `json:"last_failure_at"`
	Suspended         bool           `json:"suspended"`       // too many of them: no new servers until its trial has passed
	TrialDueAt        *string        `json:"trial_due_at"`    // while it is suspended: when it is asked for a trial
	Leftovers         int            `json:"leftovers"`       // of its servers: those placed elsewhere or nowhere, of which something is left here
	Token             string         `json:"token,omitempty"` // only in the answer that made it
}

func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return rest.TimePtr(&t)
}

func (a *API) view(h models.HostUsage) view {
	state := "down"
	if !h.ForcedDown && a.now().Sub(h.SeenAt) <= a.config.DownAfter {
		state = "up"
	}
	ready, _ := h.CanTake()
	why := h.NotReadyReason
	switch {
	case h.ForcedDown:
		_, text := h.CanTake()
		why = &text
	case h.Ready && h.Suspended:
		text := fmt.Sprintf("%d builds in a row failed on it, the last at %s", h.BuildFailures, *h.LastFailure)
		why = &text
	}
	v := view{
		ID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone, State: state, Ready: ready && state == "up",
		NotReadyReason: why, Enabled: h.Enabled, DisabledReason: h.DisabledReason,
		SeenAt: moment(h.SeenAt), StartedAt: moment(h.StartedAt), CreatedAt: rest.Time(h.CreatedAt),
		HypervisorType: h.HypervisorType, HypervisorVersion: h.HypervisorVersion, Architectures: h.Architectures, KVM: h.KVM, Trial: h.Trial, UEFI: h.UEFI,
		Version: h.Version, CertificateEnds: rest.TimePtr(h.CertificateExpiresAt),
		CertificateSoon: h.CertificateExpiresAt != nil && h.CertificateExpiresAt.Sub(a.now()) < pki.ExpiresSoon,
		VCPUs:           h.VCPUs, MemoryMiB: h.MemoryMiB, DiskGiB: h.DiskGiB,
		CPURatio: h.CPURatio, RAMRatio: h.RAMRatio, DiskRatio: h.DiskRatio, ReservedMemoryMiB: h.ReservedMemoryMiB,
		Servers: h.Servers, UsedVCPUs: h.UsedVCPUs, UsedMemoryMiB: h.UsedMemoryMiB, UsedDiskGiB: h.UsedDiskGiB,
		BackAt: rest.TimePtr(h.BackAt), Leftovers: h.Leftovers,
		BuildFailures: h.BuildFailures, LastFailure: h.LastFailure, LastFailureAt: rest.TimePtr(h.LastFailureAt),
		Suspended: h.Suspended, TrialDueAt: rest.TimePtr(h.TrialDueAt),
	}
	if v.Architectures == nil {
		v.Architectures = []string{}
	}
	return v
}

func (a *API) list(c echo.Context) error {
	hosts, err := a.store.ListHosts(c.Request().Context())
	if err != nil {
		return fmt.Errorf("list the hosts: %w", err)
	}
	views := make([]view, len(hosts))
	for i, h := range hosts {
		views[i] = a.view(h)
	}
	return c.JSON(http.StatusOK, map[string]any{"hosts": views})
}

// find is the host that a route names, by id or hostname.
func (a *API) find(ctx context.Context, ref string) (models.HostUsage, error) {
	hosts, err := a.store.ListHosts(ctx)
	if err != nil {
		return models.HostUsage{}, fmt.Errorf("list the hosts: %w", err)
	}
	for _, h := range hosts {
		if h.ID == ref || h.Hostname == ref {
			return h, nil
		}
	}
	return models.HostUsage{}, fault.New(fault.NotFound, "Host %s could not be found.", ref)
}

func (a *API) show(c echo.Context) error {
	h, err := a.find(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"host": a.view(h)})
}

var createSchema = rest.Schema(`{
	"type": "object", "required": ["host"], "additionalProperties": false,
	"properties": {"host": {
		"type": "object", "required": ["hostname"], "additionalProperties": false,
		"properties": {
			"hostname": {"type": "string", "minLength": 1, "maxLength": 253},
			"availability_zone": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^:]*$"}
		}
	}}
}`)

// hostnameForm is a DNS name. A hostname names a task queue and, on the host, nothing else.
var hostnameForm = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

func (a *API) create(c echo.Context) error {
	var body struct {
		Host struct {
			Hostname         string `json:"hostname"`
			AvailabilityZone string `json:"availability_zone"`
		} `json:"host"`
	}
	if err := rest.Bind(c, createSchema, &body); err != nil {
		return err
	}
	in := body.Host
	if !hostnameForm.MatchString(in.Hostname) || in.Hostname == "self" || in.Hostname == "images" || uuid.Validate(in.Hostname) == nil {
		return fault.New(fault.Invalid, "Invalid hostname '%s': it must be a DNS name, and not self, images or a UUID.", in.Hostname)
	}
	if in.AvailabilityZone == "" {
		in.AvailabilityZone = a.config.DefaultZone
	}
	ctx := c.Request().Context()
	_, err := a.store.HostByName(ctx, in.Hostname)
	switch {
	case err == nil:
		return fault.New(fault.Conflict, "Host %s exists already. POST /hosts/%s/token gives it a new token.", in.Hostname, in.Hostname)
	case !fault.Is(err, fault.NotFound):
		return fmt.Errorf("look host %s up: %w", in.Hostname, err)
	}
	if err := a.nameIsClean(ctx, in.Hostname); err != nil {
		return err
	}
	token, hash := auth.NewToken()
	h, err := a.store.RegisterHost(ctx, models.Host{
		ID: uuid.NewString(), Hostname: in.Hostname, AvailabilityZone: in.AvailabilityZone, TokenHash: hash,
		Architectures: []string{}, CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, CreatedAt: a.now(),
	})
	if err != nil {
		return fmt.Errorf("admit host %s: %w", in.Hostname, err)
	}
	rest.Logger(c).Info("host admitted", "host", h.Hostname, "host_id", h.ID)
	v := a.view(models.HostUsage{Host: h})
	v.Token = token
	return c.JSON(http.StatusCreated, map[string]any{"host": v})
}

// rotate gives a host a new token; the old one ends at once.
func (a *API) rotate(c echo.Context) error {
	ctx := c.Request().Context()
	h, err := a.find(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	token, hash := auth.NewToken()
	if err := a.store.SetHostToken(ctx, h.ID, hash); err != nil {
		return fmt.Errorf("give host %s a new token: %w", h.Hostname, err)
	}
	rest.Logger(c).Info("host token rotated", "host", h.Hostname, "host_id", h.ID)
	v := a.view(h)
	v.Token = token
	return c.JSON(http.StatusOK, map[string]any{"host": v})
}

var updateSchema = rest.Schema(`{
	"type": "object", "required": ["host"], "additionalProperties": false,
	"properties": {"host": {
		"type": "object", "required": ["enabled"], "additionalProperties": false,
		"properties": {"enabled": {"type": "boolean"}, "disabled_reason": {"type": ["string", "null"], "maxLength": 255}}
	}}
}`)

func (a *API) update(c echo.Context) error {
	var body struct {
		Host struct {
			Enabled        bool    `json:"enabled"`
			DisabledReason *string `json:"disabled_reason"`
		} `json:"host"`
	}
	if err := rest.Bind(c, updateSchema, &body); err != nil {
		return err
	}
	if body.Host.Enabled && body.Host.DisabledReason != nil {
		return fault.New(fault.Invalid, "A disabled_reason goes with enabled false only.")
	}
	ctx := c.Request().Context()
	h, err := a.find(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := a.store.SetHostEnabled(ctx, h.ID, body.Host.Enabled, body.Host.DisabledReason); err != nil {
		return fmt.Errorf("set whether host %s takes servers: %w", h.Hostname, err)
	}
	if h, err = a.find(ctx, h.ID); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]any{"host": a.view(h)})
}

func (a *API) remove(c echo.Context) error {
	ctx := c.Request().Context()
	h, err := a.find(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err := a.store.DeleteHost(ctx, h.ID); err != nil {
		if fault.Is(err, fault.Conflict) {
			return fault.Wrap(fault.Conflict, err, "Host %s holds %d servers. Delete them first.", h.Hostname, h.Servers)
		}
		return fmt.Errorf("delete host %s: %w", h.Hostname, err)
	}
	rest.Logger(c).Info("host forgotten", "host", h.Hostname, "host_id", h.ID)
	return c.NoContent(http.StatusNoContent)
}

// bearer is the token of an Authorization header; "" for any other form.
func bearer(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
