package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	uiapi "github.com/temporalio/ui-server/v2/server/api"
	uiauth "github.com/temporalio/ui-server/v2/server/auth"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/cors"
	"github.com/temporalio/ui-server/v2/server/csrf"
	"github.com/temporalio/ui-server/v2/server/headers"
	"github.com/temporalio/ui-server/v2/server/route"
	"github.com/temporalio/ui-server/v2/ui"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

func (o options) validateUI() error {
	switch {
	case (o.UI.Cert == "") != (o.UI.Key == ""):
		return errors.New("--ui-cert and --ui-key go together")
	case o.UIPasswords != "" && o.UIOIDC.any():
		return errors.New("--ui-passwords and --ui-oidc-provider: which one?")
	case o.UIOIDC.any() && (o.UIOIDC.Provider == "" || o.UIOIDC.ClientID == "" || o.UIOIDC.Callback == ""):
		return errors.New("--ui-oidc-provider, --ui-oidc-client-id and --ui-oidc-callback go together")
	case o.UIAddr != "" && !isLoopback(o.UIAddr) && (o.UI.Cert == "" || !o.login()):
		return fmt.Errorf("--ui %s can be reached from other machines: it needs TLS, --ui-cert and --ui-key, and a login, --ui-passwords or --ui-oidc-provider", o.UIAddr)
	}
	return nil
}

// login is whether the Web UI asks who looks.
func (o options) login() bool { return o.UIPasswords != "" || o.UIOIDC.any() }

func (o options) uiConfig() *uiconfig.Config {
	ip, port, _ := splitAddr(o.UIAddr) // validated
	var frontend uiconfig.TLS
	if o.guarded() {
		frontend = uiconfig.TLS{
			CertFile: o.UIClient.Cert, KeyFile: o.UIClient.Key, CaFile: o.Frontend.CA,
			EnableHostVerification: true, ServerName: o.serverName,
		}
	}
	return &uiconfig.Config{
		TLS:                 frontend,
		Auth:                o.UIOIDC.auth(),
		TemporalGRPCAddress: dialAddr(o.FrontendAddr),
		Host:                ip.String(),
		Port:                port,
		EnableUI:            true,
		DefaultNamespace:    o.Namespace,
		Codec:               o.codecForPages(),
		// Over plain HTTP, on loopback, a cookie marked secure would never be sent back and every query would fail on its CSRF
		// check.
		CORS:               uiconfig.CORS{CookieInsecure: o.UI.Cert == ""},
		NotifyOnNewVersion: false,
		HideLogs:           true,
		// The UI is for looking: its buttons are off, and it refuses the requests behind them, queries excepted. What it
		// started would claim no quota and check no rights; what it terminated or reset would leave allocations, ports and
		// files taken (docs/operations.md).
		DisableWriteActions: true,
	}
}

// uiHandler is the official UI as its own server puts it together (server.NewServer of ui-server 2.42), which keeps its
// handler to itself and speaks no TLS. Compare with it when its version changes.
func uiHandler(config *uiconfig.Config, logger log.Logger) (http.Handler, error) {
	provider, err := uiconfig.NewConfigProviderWithRefresh(config)
	if err != nil {
		return nil, err
	}
	assets, err := ui.Assets()
	if err == nil {
		assets, err = fs.Sub(assets, "local")
	}
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.Use(middleware.Recover(), middleware.Gzip(), cors.CORSMiddleware(cors.CORSConfig{
		AllowHeaders: []string{
			echo.HeaderOrigin, echo.HeaderContentType, echo.HeaderAccept, echo.HeaderXCSRFToken, echo.HeaderAuthorization,
			uiauth.AuthorizationExtrasHeader, "Caller-Type",
		},
		AllowCredentials: true, ConfigProvider: provider,
	}), middleware.Secure(), middleware.CSRFWithConfig(middleware.CSRFConfig{
		CookiePath: "/", CookieSameSite: http.SameSiteStrictMode, CookieSecure: !config.CORS.CookieInsecure,
		Skipper: csrf.SkipOnAuthorizationHeader,
	}))
	e.Pre(route.PublicPath(config.PublicPath))
	route.SetHealthRoute(e)
	forward := headers.WithForwardHeaders([]string{uiauth.AuthorizationExtrasHeader, "Caller-Type"})
	if err := route.SetAPIRoutes(e, provider, []uiapi.Middleware{forward}); err != nil {
		return nil, err
	}
	route.SetAuthRoutes(e, provider)
	if err := route.SetUIRoutes(e, config.PublicPath, assets); err != nil {
		return nil, err
	}
	route.SetRenderRoute(e, config.PublicPath)
	return readOnly(e, logger), nil
}

// queryPath is what the pages ask of a workflow by POST. A workflow's id is one element: its slashes are escaped.
var queryPath = regexp.MustCompile(`^/api/v1/namespaces/[^/]+/workflows/[^/]+/query/[^/]+$`)

// readOnly refuses what changes anything. The UI's own guard looks at the unescaped path, and its routes at the escaped one: it takes
// a batch operation for a query whose name says so.
func readOnly(next http.Handler, logger log.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
		default:
			if strings.HasPrefix(path, "/auth/") || r.Method == http.MethodPost && queryPath.MatchString(path) {
				break
			}
			logger.Warn("The Web UI only reads, and was asked for more", tag.NewStringTag("method", r.Method), tag.NewStringTag("path", path), tag.Address(r.RemoteAddr))
			http.Error(w, "The Web UI only reads.", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// startUI serves the Web UI until the returned function is called.
func startUI(ctx context.Context, o options, logger log.Logger) (stop func(), err error) {
	var login func(http.Handler) http.Handler
	if o.UIOIDC.any() { // first of all: the UI itself ends the process where its provider does not answer
		if login, err = o.UIOIDC.askToken(ctx, logger); err != nil {
			return nil, err
		}
	}
	handler, err := uiHandler(o.uiConfig(), logger)
	if err != nil {
		return nil, fmt.Errorf("assemble the Web UI: %w", err)
	}
	if o.CodecUpstream != "" {
		if handler, err = o.withCodec(handler, logger); err != nil {
			return nil, err
		}
	}
	if o.UIPasswords != "" {
		if handler, err = askPassword(o.UIPasswords, logger, handler); err != nil {
			return nil, err
		}
	}
	if login != nil {
		handler = login(handler)
	}
	listener, err := net.Listen("tcp", o.UIAddr)
	if err != nil {
		return nil, fmt.Errorf("serve the Web UI: %w", err)
	}
	if o.UI.Cert != "" {
		pair := &certFiles{files: o.UI}
		if _, err := pair.get(nil); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		listener = tls.NewListener(listener, &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get, NextProtos: []string{"h2", "http/1.1"}})
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("The Web UI has stopped", tag.Error(err))
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}
