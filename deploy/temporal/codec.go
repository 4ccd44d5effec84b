package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"

	"github.com/slipway-cloud/slipway/deploy/temporal/authz"
)

// codecPath is where the Web UI offers the codec. Its pages ask …/decode.
const codecPath = "/codec"

const (
	codecBytes    = 8 << 20 // of a request, and of an answer: more than a page of a history, which the frontend bounds
	codecPatience = 30 * time.Second
)

func (o options) validateCodec() error {
	if o.CodecUpstream == "" {
		if o.Codec.any() {
			return errors.New("--codec-cert, --codec-key and --codec-ca do nothing without --codec-upstream")
		}
		return nil
	}
	upstream, err := url.Parse(o.CodecUpstream)
	callback, _ := url.Parse(o.UIOIDC.Callback)
	switch {
	case o.CodecEndpoint != "":
		return errors.New("--codec-endpoint and --codec-upstream: which one?")
	case !o.login():
		return errors.New("--codec-upstream decodes for who is logged in: it needs --ui-passwords or --ui-oidc-provider")
	case err != nil || upstream.Hostname() == "" || upstream.Scheme != "https" && upstream.Scheme != "http":
		return fmt.Errorf("--codec-upstream %s: want https://HOST:PORT/codec", o.CodecUpstream)
	case upstream.Scheme == "http" && upstream.Hostname() != "localhost" && !net.ParseIP(upstream.Hostname()).IsLoopback():
		return fmt.Errorf("--codec-upstream %s: what is decoded would pass other machines in clear: want https://", o.CodecUpstream)
	case upstream.Scheme == "http" && o.Codec.any():
		return errors.New("--codec-cert, --codec-key and --codec-ca do nothing with an http --codec-upstream")
	case upstream.Scheme == "https" && slices.Contains([]string{o.Codec.Cert, o.Codec.Key, o.Codec.CA}, ""):
		return errors.New("--codec-upstream with https needs --codec-cert, --codec-key and --codec-ca")
	case o.UIOIDC.any() && (callback == nil || callback.Scheme != "https"):
		return errors.New("--codec-upstream: the Web UI's pages send a token over https alone, and --ui-oidc-callback is where they are")
	}
	return nil
}

// codecForPages is where the UI's pages have payloads decoded.
func (o options) codecForPages() uiconfig.Codec {
	switch {
	case o.CodecUpstream == "":
		return uiconfig.Codec{Endpoint: o.CodecEndpoint}
	case o.UIOIDC.any():
		callback, _ := url.Parse(o.UIOIDC.Callback) // validated
		return uiconfig.Codec{Endpoint: callback.Scheme + "://" + callback.Host + codecPath, PassAccessToken: true}
	}
	return uiconfig.Codec{Endpoint: codecPath} // a browser shows its password by itself where the page comes from
}

func ofCodec(r *http.Request) bool {
	return r.URL.Path == codecPath || strings.HasPrefix(r.URL.Path, codecPath+"/")
}

// withCodec offers the codec of the api's operators' listener beside the UI. Who may ask the UI may ask it: it belongs behind the login.
func (o options) withCodec(ui http.Handler, logger log.Logger) (http.Handler, error) {
	upstream, err := url.Parse(o.CodecUpstream)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{ResponseHeaderTimeout: codecPatience, IdleConnTimeout: time.Minute}
	if upstream.Scheme == "https" {
		if transport.TLSClientConfig, err = o.Codec.client(logger); err != nil {
			return nil, err
		}
	}
	ownPages := http.NewCrossOriginProtection()
	ownPages.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		logger.Warn("A page of another origin asked the Web UI to decode", tag.Address(r.RemoteAddr), tag.NewStringTag("origin", r.Header.Get("Origin")))
		http.Error(w, "Payloads are decoded for the Web UI's own pages.", http.StatusForbidden)
	}))
	codec := ownPages.Handler(decodeOnly(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			// Who asks, and how that was shown, stays here.
			r.Out.URL, r.Out.Host, r.Out.Header = upstream.JoinPath("decode"), "", pick(r.In.Header, "Content-Type", "X-Namespace")
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header = pick(r.Header, "Content-Type") // no other origin may read it, whatever the api says of that
			r.Header.Set("Cache-Control", "no-store")
			r.Body = http.MaxBytesReader(nil, r.Body, codecBytes)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if errors.As(err, new(*http.MaxBytesError)) {
				http.Error(w, "That is too large.", http.StatusRequestEntityTooLarge)
				return
			}
			logger.Warn("Payloads are not decoded: the api's operators' listener does not answer", tag.Address(o.CodecUpstream), tag.Error(err))
			http.Error(w, "The codec does not answer.", http.StatusBadGateway)
		},
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ofCodec(r) {
			codec.ServeHTTP(w, r)
			return
		}
		ui.ServeHTTP(w, r)
	}), nil
}

// decodeOnly bounds what is asked, and for how long.
func decodeOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != codecPath+"/decode":
			http.NotFound(w, r)
			return
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "Payloads are decoded by POST.", http.StatusMethodNotAllowed)
			return
		}
		until := time.Now().Add(codecPatience)
		ctx, cancel := context.WithDeadline(r.Context(), until)
		defer cancel()
		connection := http.NewResponseController(w)
		if err := errors.Join(connection.SetReadDeadline(until), connection.SetWriteDeadline(until)); err != nil {
			http.Error(w, "This connection cannot be bounded.", http.StatusInternalServerError)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, codecBytes)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

func pick(from http.Header, names ...string) http.Header {
	to := http.Header{}
	for _, name := range names {
		if value := from.Get(name); value != "" {
			to.Set(name, value)
		}
	}
	return to
}

// client is the TLS towards a server. Its certificate is read again when it changes, the CA at a start.
func (f tlsFiles) client(logger log.Logger) (*tls.Config, error) {
	own := &certFiles{files: f}
	if _, err := own.get(nil); err != nil {
		return nil, err
	}
	roots, err := f.roots()
	if err != nil {
		return nil, err
	}
	revocations, err := authz.OpenRevocations(f.CA, "", logger)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own.get(nil) },
		VerifyConnection: func(state tls.ConnectionState) error {
			for _, chain := range state.VerifiedChains {
				if err := revocations.Check(chain); err != nil {
					return err
				}
			}
			return nil
		},
	}, nil
}
