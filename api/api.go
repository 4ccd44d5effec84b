// Package api assembles the HTTP API: one listener that speaks Keystone (at /), Nova (/compute), Glance (/image), Neutron
// (/network), EC2 (/ec2) and Slipway's own protocols for hosts (/hosts), operators (/builds, /audits, /image-orphans,
// /installation), requests for several servers (/reservations) and consoles (/console).
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-cloud/slipway/api/audit"
	"github.com/slipway-cloud/slipway/api/builds"
	"github.com/slipway-cloud/slipway/api/compute"
	consolesapi "github.com/slipway-cloud/slipway/api/consoles"
	"github.com/slipway-cloud/slipway/api/ec2"
	"github.com/slipway-cloud/slipway/api/hosts"
	"github.com/slipway-cloud/slipway/api/identity"
	"github.com/slipway-cloud/slipway/api/image"
	"github.com/slipway-cloud/slipway/api/installation"
	"github.com/slipway-cloud/slipway/api/network"
	"github.com/slipway-cloud/slipway/api/reservations"
	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/listener"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	people "github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
)

// Builds is what the API asks of the workflows: for users, and for operators.
type Builds interface {
	servers.Engine
	consoles.Engine
	builds.Builds
}

// Options of a Server. A zero field is what is said beside it, where something is.
type Options struct {
	Store  *models.Store
	Images *images.Service
	Builds Builds
	Audits audit.Audits        // none: what audits found is shown, and none can be started
	Engine installation.Engine // none: it is not shown to whom it belongs

	Identity identity.Config
	// External is who there is where another service issues the tokens, at IdentityURL; none: Slipway issues them.
	External    *people.External
	IdentityURL string
	Image       image.Config
	Servers     servers.Config
	Network     networks.Config
	Compute     compute.Config
	EC2         ec2.Config
	Hosts       hosts.Config
	Consoles    consoles.Config

	ConsolePage consolesapi.Config
	// PublicURL is how clients reach this API, for the catalog and links: the scheme and host of each request. Set it
	// behind a proxy.
	PublicURL string
	// Rules are what the operator's file says of the policy's; nil is nothing.
	Rules *policy.Rules
	// Addr is host:port to listen on. Listener, if given, is taken instead.
	Addr     string
	Listener net.Listener
	// TLS of the listener; without it that speaks plain HTTP.
	TLS *tls.Config
	// ShutdownTimeout is how long running requests may take to end at a stop. Uploads that take longer are cut off.
	ShutdownTimeout time.Duration

	Logger  *slog.Logger          // slog.Default()
	Metrics prometheus.Registerer // none: nothing is measured
}

// Timeouts that bound what a slow client can hold. Uploads and downloads replace the ones for whole bodies by deadlines
// for standing still (rest.IdleReader, rest.CopyIdle).
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
)

// Server is the API of one process.
type Server struct {
	options  Options
	echo     *echo.Echo
	consoles *consoles.Service
	draining atomic.Bool
}

// New assembles the API.
func New(o Options) (*Server, error) {
	switch {
	case o.Store == nil, o.Images == nil, o.Builds == nil:
		return nil, errors.New("api: the store, the image service and the builds are needed")
	}
	if o.PublicURL != "" {
		if u, err := url.Parse(o.PublicURL); err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" {
			return nil, fmt.Errorf("api: the public URL %q is not the address of an HTTP server", o.PublicURL)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	identities := people.New(o.Store, o.Servers.Keys, o.Rules.Lends()...)
	var tokens rest.Tokens = identities
	var keys ec2.Keys = identities
	if o.External != nil {
		tokens, keys = o.External, o.External
	}
	begin := rest.Options{Logger: o.Logger, PublicURL: o.PublicURL, Tokens: tokens, IdentityURL: o.IdentityURL, Rules: o.Rules}
	if o.Metrics != nil {
		m, err := newMetrics(o.Metrics)
		if err != nil {
			return nil, err
		}
		begin.Observe = m.observe
		if err := o.Metrics.Register(newBuildMetrics(o.Store, o.Builds, o.Logger)); err != nil {
			return nil, fmt.Errorf("register the metrics of builds: %w", err)
		}
		if err := o.Metrics.Register(audit.NewMetrics(o.Store, o.Logger)); err != nil {
			return nil, fmt.Errorf("register the metrics of audits: %w", err)
		}
		if err := o.Metrics.Register(installation.NewMetrics(o.Store, o.Logger)); err != nil {
			return nil, fmt.Errorf("register the metrics of the installation: %w", err)
		}
	}

	s := &Server{options: o, echo: echo.New()}
	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.Pre(rest.CanonicalPath, withoutSlashes, compute.OtherPaths)
	e.Use(rest.Parameters, styled, rest.Begin(begin), otherMethods(e))

	if o.External != nil {
		identity.MountElsewhere(e)
	} else {
		identity.New(o.Store, identities, o.Identity).Mount(e)
	}
	imageAPI := image.New(o.Store, o.Images, o.Image)
	imageAPI.Mount(e.Group("/image"))
	imageAPI.MountOrphans(e.Group("/image-orphans"))
	wiring := networks.New(o.Store, o.Network)
	o.Servers.Networks = wiring
	service := servers.New(o.Store, o.Builds, o.Servers)
	s.consoles = consoles.New(o.Store, o.Builds, o.Consoles)
	if o.Metrics != nil {
		if err := o.Metrics.Register(consolesapi.NewMetrics(s.consoles)); err != nil {
			return nil, fmt.Errorf("register the metrics of consoles: %w", err)
		}
	}
	consolesapi.New(s.consoles, o.ConsolePage).Mount(e.Group("/console"))
	computing := compute.New(o.Store, service, o.Images, s.consoles, o.Compute)
	computing.Mount(e.Group("/compute"))
	ec2.New(o.Store, keys, service, o.Images, wiring, o.Image.Importer(o.Store), o.EC2).Mount(e)
	network.New(o.Store, wiring).Mount(e.Group("/network"))
	hosts.New(o.Store, o.Images, service, s.consoles, o.Hosts).Mount(e.Group("/hosts"))
	builds.New(o.Store, o.Builds).Mount(e.Group("/builds"))
	reservations.New(o.Store).Mount(e.Group("/reservations"))
	computing.MountExplain(e.Group("/reservations"))
	installation.New(o.Store, o.Engine).Mount(e.Group("/installation"))
	audit.New(o.Store, o.Audits, o.Servers.Deadlines).Mount(e.Group("/audits"))

	e.GET("/healthz", s.alive)
	e.GET("/readyz", s.ready)
	return s, nil
}

// styled names the style of error bodies by path, for requests that reach no group (404, 405).
func styled(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		rest.SetStyle(c, styleOf(c.Request().URL))
		return next(c)
	}
}

// styleOf is whose words an address speaks.
func styleOf(u *url.URL) rest.Style {
	switch first, _, _ := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/"); first {
	case "compute":
		return rest.Nova
	case "image":
		return rest.Glance
	case "network":
		return rest.Neutron
	case "ec2":
		return rest.EC2
	case "console", "hosts", "builds", "audits", "installation", "reservations", "image-orphans", "healthz", "readyz":
		return rest.Plain
	}
	return rest.Keystone
}

// withoutSlashes takes the slashes from a path's end where the service that is spoken does: Keystone all of them (its
// URLNormalizingMiddleware), Neutron one (Pecan), and EC2's clients may or may not write one. To Nova and Glance it is another path (Routes).
func withoutSlashes(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		u := c.Request().URL
		root, bare := u.RawPath[:1], u.RawPath[1:]
		switch styleOf(u) {
		case rest.Keystone:
			bare = strings.TrimRight(bare, "/")
		case rest.Neutron, rest.EC2:
			bare = strings.TrimSuffix(bare, "/")
		}
		u.Path = strings.TrimSuffix(u.Path, u.RawPath[len(root+bare):])
		u.RawPath = root + bare
		return next(c)
	}
}

// otherMethods answers 405 where a path exists with another method. Echo does so only outside of groups: a group's
// middleware brings a catch-all route that hides it.
func otherMethods(e *echo.Echo) echo.MiddlewareFunc {
	matched := func(path string) bool { return path != "" && !strings.HasSuffix(path, "/*") }
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if matched(c.Path()) {
				return next(c)
			}
			var allowed []string
			for _, method := range methods {
				probe := e.NewContext(c.Request(), nil)
				e.Router().Find(method, echo.GetPath(c.Request()), probe)
				if matched(probe.Path()) && rest.OnePart(probe) && method != c.Request().Method {
					allowed = append(allowed, method)
				}
			}
			switch {
			case len(allowed) == 0 && c.Path() == "":
				return echo.ErrNotFound
			case len(allowed) == 0:
				return next(c)
			}
			err := rest.Status(http.StatusMethodNotAllowed, "The method specified is not allowed for this resource.")
			err.Header = http.Header{"Allow": {strings.Join(allowed, ", ")}}
			return err
		}
	}
}

// methods are those that the API's routes use.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
}

// Handler is the whole API.
func (s *Server) Handler() http.Handler { return s.echo }

// alive answers as long as the process does.
func (s *Server) alive(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok"})
}

// ready says whether requests belong here: 503 while the process drains, or while what it stands on does not answer.
func (s *Server) ready(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), 2*time.Second)
	defer cancel()
	status, problems, warnings := http.StatusOK, map[string]string{}, map[string]string{}
	if s.draining.Load() {
		problems["process"] = "stopping"
	}
	if err := s.options.Store.Ping(ctx); err != nil {
		rest.Logger(c).Warn("not ready", "part", "database", "error", err)
		problems["database"] = "does not answer"
	}
	if err := s.options.Images.Stores().Ready(ctx); imagestore.Full(err) {
		// Everything else is served, by this process as by any other.
		warnings["images"] = "the store is full: uploads are refused"
	} else if err != nil {
		rest.Logger(c).Warn("not ready", "part", "images", "error", err)
		problems["images"] = "cannot be stored"
	}
	word := "ready"
	if len(problems) > 0 {
		status, word = http.StatusServiceUnavailable, "not ready"
	}
	answer := map[string]any{"status": word, "problems": problems}
	if len(warnings) > 0 {
		answer["warnings"] = warnings
	}
	return c.JSON(status, answer)
}

// Run serves until ctx ends; then running requests end in peace, within the shutdown timeout. It returns nil after such a
// stop, and an error if the listener or the timeout failed.
func (s *Server) Run(ctx context.Context) error {
	o := s.options
	l := o.Listener
	if l == nil {
		var err error
		if l, err = listener.Open(ctx, "api.listen", o.Addr); err != nil {
			return err
		}
	}

	// Also over TLS: deadlines of uploads and early refusals are HTTP/1.1's.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	turnedAway := slog.LevelDebug
	if o.TLS != nil && o.TLS.GetConfigForClient != nil {
		turnedAway = slog.LevelInfo // whose certificate is refused, and why
	}
	server := &http.Server{
		Protocols: &protocols, Handler: tlsfile.Handler(o.TLS, o.Logger, s.echo), ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, TLSConfig: o.TLS, ErrorLog: slog.NewLogLogger(o.Logger.Handler(), turnedAway),
	}
	served := make(chan error, 1)
	go func() {
		if o.TLS != nil {
			served <- server.ServeTLS(l, "", "") // the certificate is the configuration's
			return
		}
		served <- server.Serve(l)
	}()
	o.Logger.Info("the API listens", "address", l.Addr().String())

	select {
	case err := <-served:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	o.Logger.Info("the API drains", "timeout", o.ShutdownTimeout)
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.ShutdownTimeout)
	defer cancel()
	s.consoles.Close() // whose connections the listener has given away
	err := server.Shutdown(deadline)
	if err != nil {
		// Cut-off uploads return their images to queued.
		err = errors.Join(fmt.Errorf("requests still ran after %s: %w", o.ShutdownTimeout, err), server.Close())
	}
	<-served
	return err
}
