package hosts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/pki"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

const keyHost = "hosts.host"

// requireHost lets only requests with a host's own token through; the host stands in the context.
func (a *API) requireHost(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		refused := &rest.StatusError{
			Code: http.StatusUnauthorized, Text: "This needs the host's own token: Authorization: Bearer <token>.",
			Header: http.Header{echo.HeaderWWWAuthenticate: {`Bearer realm="slipway hosts"`}},
		}
		token := bearer(c.Request().Header.Get(echo.HeaderAuthorization))
		if token == "" {
			return refused
		}
		h, err := a.store.HostByToken(c.Request().Context(), auth.HashToken(token))
		if fault.Is(err, fault.NotFound) {
			return refused
		}
		if err != nil {
			return fmt.Errorf("look a host's token up: %w", err)
		}
		if err := a.holds(c, h); err != nil {
			return err
		}
		if err := a.acquaint(c, h); err != nil {
			return err
		}
		c.Set(keyHost, h)
		return next(c)
	}
}

// holds refuses a token that somebody else shows than the host that it was given to, as far as certificates tell. One of the role
// control is that of a proxy before this API.
func (a *API) holds(c echo.Context, h models.Host) error {
	if !a.config.Certificates {
		return nil
	}
	why := "the connection has shown none: host.api_cert and host.api_key"
	if shown := c.Request().TLS; shown != nil && len(shown.PeerCertificates) > 0 {
		role, name := pki.Holder(shown.PeerCertificates[0])
		if role == pki.Control || role == pki.Host && name == h.Hostname {
			return nil
		}
		why = fmt.Sprintf("this is that of %q with the role %q", name, role)
	}
	rest.Logger(c).Warn("A host's token came without its certificate.", "host", h.Hostname, "reason", why, "from", c.Request().RemoteAddr)
	return fault.New(fault.Forbidden, "The token of host %s counts with that host's certificate alone: %s.", h.Hostname, why)
}

// acquaint refuses a host of another installation, and has it and the database tell each other how far the database is.
func (a *API) acquaint(c echo.Context, h models.Host) error {
	ctx := c.Request().Context()
	i, err := a.store.Installation(ctx)
	if err != nil {
		return err
	}
	c.Response().Header().Set(hostapi.HeaderInstallation, i.ID)
	if of := c.Request().Header.Get(hostapi.HeaderInstallation); of != "" && of != i.ID {
		return rest.Status(http.StatusMisdirectedRequest, "The state folder of host %s belongs to installation %s, and this API is that of installation %s: "+
			"correct host.api_url or host.state_dir; or give the folder to this installation: slipway host join", h.Hostname, of, i.ID)
	}
	holds, err := strconv.ParseInt(c.Request().Header.Get(hostapi.HeaderGeneration), 10, 64)
	if err != nil {
		holds = 0 // it has seen none, or is older than there are any
	}
	if i, err = a.store.HostHolds(ctx, h, holds); err != nil {
		return err
	}
	if !i.Restored() {
		c.Response().Header().Set(hostapi.HeaderGeneration, strconv.FormatInt(i.Generation, 10))
	}
	return nil
}

// undo answers whether the host may take away what it has of a server.
func (a *API) undo(c echo.Context) error {
	server := c.QueryParam("server")
	if uuid.Validate(server) != nil {
		return fault.New(fault.Invalid, "'%s' is no server's id.", server)
	}
	if err := a.store.MayUndo(c.Request().Context(), hostOf(c).ID, server); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func hostOf(c echo.Context) models.Host { return c.Get(keyHost).(models.Host) }

// Welcome is the answer to a registration, {"host": Welcome}.
type Welcome struct {
	ID                string  `json:"id"`
	Hostname          string  `json:"hostname"`
	AvailabilityZone  string  `json:"availability_zone"`
	HeartbeatInterval float64 `json:"heartbeat_interval"` // seconds
}

const capacityProperties = `
	"vcpus": {"type": "integer", "minimum": 0, "maximum": 1000000},
	"memory_mib": {"type": "integer", "minimum": 0, "maximum": 2147483647},
	"disk_gib": {"type": "integer", "minimum": 0, "maximum": 2147483647},
	"hypervisor_version": {"type": "integer", "minimum": 0, "maximum": 2147483647},
	"version": {"type": "string", "maxLength": 255},
	"ready": {"type": "boolean"},
	"trial": {
		"type": ["object", "null"], "required": ["at", "passed", "virt_type", "cpu", "accelerated", "since"], "additionalProperties": false,
		"properties": {
			"at": {"type": "string", "format": "date-time"}, "since": {"type": "string", "format": "date-time"},
			"passed": {"type": "boolean"}, "untried": {"type": "boolean"}, "accelerated": {"type": "boolean"},
			"virt_type": {"enum": ["kvm", "qemu"]}, "cpu": {"type": "string", "maxLength": 1024}, "reason": {"type": "string", "maxLength": 1024}
		}
	},
	"not_ready_reason": {"type": ["string", "null"], "maxLength": 1024}`

var registrationSchema = rest.Schema(`{
	"type": "object", "required": ["host"], "additionalProperties": false,
	"properties": {"host": {
		"type": "object", "required": ["hostname", "vcpus", "memory_mib", "disk_gib", "ready"], "additionalProperties": false,
		"properties": {
			"hostname": {"type": "string", "minLength": 1, "maxLength": 253},
			"hypervisor_type": {"type": "string", "maxLength": 64},
			"architectures": {"type": ["array", "null"], "maxItems": 64, "items": {"type": "string", "maxLength": 64}},
			"kvm": {"type": "boolean"},
			"uefi": {"type": "boolean"},
			"cpu_ratio": {"type": "number", "minimum": 0, "maximum": 1000},
			"ram_ratio": {"type": "number", "minimum": 0, "maximum": 1000},
			"disk_ratio": {"type": "number", "minimum": 0, "maximum": 1000},
			"reserved_memory_mib": {"type": "integer", "minimum": 0, "maximum": 2147483647},` + capacityProperties + `
		}
	}}
}`)

var heartbeatSchema = rest.Schema(`{
	"type": "object", "required": ["host"], "additionalProperties": false,
	"properties": {"host": {
		"type": "object", "required": ["ready", "vcpus", "memory_mib", "disk_gib"], "additionalProperties": false,
		"properties": {` + capacityProperties + `}
	}}
}`)

// register takes a host's description. Its id, zone and whether it is enabled stay the operator's.
func (a *API) register(c echo.Context) error {
	var body struct {
		Host hostapi.Report `json:"host"`
	}
	if err := rest.Bind(c, registrationSchema, &body); err != nil {
		return err
	}
	h, in := hostOf(c), body.Host
	if !strings.EqualFold(in.Hostname, h.Hostname) {
		return fault.New(fault.Forbidden, "This token is that of host %s, not of %s.", h.Hostname, in.Hostname)
	}
	err := a.reinstate(c, h, in.Trial)
	if err != nil {
		return err
	}
	now := a.now()
	h.VCPUs, h.MemoryMiB, h.DiskGiB = in.VCPUs, in.MemoryMiB, in.DiskGiB
	h.HypervisorType, h.HypervisorVersion, h.Architectures = in.HypervisorType, in.HypervisorVersion, in.Architectures
	h.KVM, h.UEFI, h.Trial = in.KVM, in.UEFI, in.Trial
	h.CPURatio, h.RAMRatio, h.DiskRatio = ratio(in.CPURatio), ratio(in.RAMRatio), ratio(in.DiskRatio)
	h.ReservedMemoryMiB, h.Version = in.ReservedMemoryMiB, in.Version
	h.Ready, h.NotReadyReason = in.Ready, reason(in.Ready, in.NotReadyReason)
	h.CertificateExpiresAt = certificateExpires(c)
	h.Address = reportsFrom(c)
	if h.Machine, err = machineOf(c); err != nil {
		return err
	}
	h.StartedAt, h.SeenAt = now, now
	h, err = a.store.RegisterHost(c.Request().Context(), h)
	if err != nil {
		return fmt.Errorf("register host %s: %w", in.Hostname, err)
	}
	rest.Logger(c).Info("host registered", "host", h.Hostname, "host_id", h.ID, "version", h.Version)
	return c.JSON(http.StatusOK, map[string]any{"host": Welcome{
		ID: h.ID, Hostname: h.Hostname, AvailabilityZone: h.AvailabilityZone,
		HeartbeatInterval: a.config.HeartbeatInterval.Seconds(),
	}})
}

// reportsFrom is the address of the host's end of the connection, or of what stands before this API.
func reportsFrom(c echo.Context) string {
	from, err := netip.ParseAddrPort(c.Request().RemoteAddr)
	if err != nil {
		return ""
	}
	return from.Addr().Unmap().WithZone("").String()
}

// machineOf is what a host tells of its machine; nil where it tells nothing. A listener takes no longer header than is good for it.
func machineOf(c echo.Context) (*hostapi.Machine, error) {
	text := c.Request().Header.Get(hostapi.HeaderMachine)
	if text == "" {
		return nil, nil
	}
	var m hostapi.Machine
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "The header %s is not what a machine is told with.", hostapi.HeaderMachine)
	}
	if m.CPU.Features == nil {
		m.CPU.Features = []string{}
	}
	return &m, nil
}

// certificateExpires is the host's word. The certificate of the connection, where the API asks for one, is among those that it tells of, and
// may be one that has been renewed since.
func certificateExpires(c echo.Context) *time.Time {
	end, err := time.Parse(time.RFC3339, c.Request().Header.Get(hostapi.HeaderCertificateExpires))
	if err != nil {
		return nil // it has none, or is older than the header
	}
	return &end
}

// ratio makes an absent ratio 1: nothing is given away twice.
func ratio(r float64) float64 {
	if r == 0 {
		return 1
	}
	return r
}

func reason(ready bool, text string) *string {
	if ready || text == "" {
		return nil
	}
	return &text
}

func (a *API) heartbeat(c echo.Context) error {
	var body struct {
		Host hostapi.Heartbeat `json:"host"`
	}
	if err := rest.Bind(c, heartbeatSchema, &body); err != nil {
		return err
	}
	h, in := hostOf(c), body.Host
	if err := a.reinstate(c, h, in.Trial); err != nil {
		return err
	}
	machine, err := machineOf(c)
	if err != nil {
		return err
	}
	err = a.store.HeartbeatHost(c.Request().Context(), h.ID, models.HostHeartbeat{
		Ready: in.Ready, NotReadyReason: reason(in.Ready, in.NotReadyReason), HypervisorVersion: in.HypervisorVersion,
		VCPUs: in.VCPUs, MemoryMiB: in.MemoryMiB, DiskGiB: in.DiskGiB, Version: in.Version, Trial: in.Trial,
		CertificateExpiresAt: certificateExpires(c), Address: reportsFrom(c), Machine: machine, GivenUpAfter: a.config.GivenUpAfter,
	}, a.now())
	if err != nil {
		return fmt.Errorf("record the heartbeat of host %s: %w", h.Hostname, err)
	}
	wanted, err := a.trialWanted(c, h, in.Trial)
	switch {
	case err != nil:
		return err
	case wanted:
		return c.JSON(http.StatusOK, map[string]any{"host": hostapi.Orders{TrialWanted: true}})
	}
	return c.NoContent(http.StatusNoContent)
}

// reinstate lets a suspended host take servers again, on probation, when it tells of a trial that it had not told of before and
// that has passed. Old and new are told apart by what was recorded, not by a clock: the host's may be wrong. So it comes
// before the trial is recorded, and a process that dies in between does it again.
func (a *API) reinstate(c echo.Context, h models.Host, told *hostapi.Trial) error {
	if !h.Suspended || told == nil || !told.Usable() || h.Trial != nil && told.At.Equal(h.Trial.At) {
		return nil
	}
	return a.endSuspension(c, h)
}

// trialWanted says whether a suspended host is to try itself now. One that tells of no trial, since it is of a version that
// makes none, comes back with the pauses alone.
func (a *API) trialWanted(c echo.Context, h models.Host, told *hostapi.Trial) (bool, error) {
	if !h.Suspended {
		return false, nil
	}
	wanted, err := a.store.TakeTrial(c.Request().Context(), h.ID, a.now())
	if err != nil {
		return false, fmt.Errorf("ask host %s for a trial: %w", h.Hostname, err)
	}
	if wanted && told == nil {
		return true, a.endSuspension(c, h)
	}
	return wanted, nil
}

func (a *API) endSuspension(c echo.Context, h models.Host) error {
	ended, err := a.store.EndSuspension(c.Request().Context(), h.ID)
	if err != nil {
		return fmt.Errorf("end the suspension of host %s: %w", h.Hostname, err)
	}
	if ended {
		rest.Logger(c).Info("host takes new servers again, on probation", "host", h.Hostname, "host_id", h.ID, "failures", h.BuildFailures)
	}
	return nil
}

// imageIdle is how long a host may leave a download unread, and an upload unwritten.
const imageIdle = time.Minute

// imageFile is an image's bytes for a host's cache, if a server that is placed there needs it: a host's token reaches nothing that
// was not given to that host. Any other image is as absent as one that never was.
func (a *API) imageFile(c echo.Context) error {
	id, host := c.Param("id"), hostOf(c)
	absent := fault.New(fault.NotFound, "Image %s could not be found.", id)
	if uuid.Validate(id) != nil {
		return absent
	}
	needs, err := a.store.HostNeedsImage(c.Request().Context(), host.ID, id)
	if err != nil {
		return err
	}
	if !needs {
		rest.Logger(c).Warn("A host asked for an image that no server on it needs.", "host", host.Hostname, "host_id", host.ID, "image_id", id)
		return absent
	}
	i, err := a.store.Image(c.Request().Context(), id)
	if err != nil {
		return err
	}
	if i.Status != models.ImageActive {
		return fault.New(fault.NotFound, "Image %s has no bytes: it is %s.", id, i.Status)
	}
	return rest.ServeImage(c, known{a.images}, i, imageIdle)
}

// known is the image service for a host, which asks again for what does not answer now, and for what is gone never.
type known struct{ *images.Service }

func (k known) Open(ctx context.Context, i models.Image, offset, length int64) (io.ReadCloser, error) {
	body, err := k.Service.Open(ctx, i, offset, length)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Wrap(fault.NotFound, err, "Image %s has no bytes.", i.ID)
	}
	return body, err
}
