package tlsfile

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Handler looks at a client's certificate with each request: a connection outlives one that expires or is revoked. listener is the TLS
// of the listener; one that asks for no certificates leaves next as it is.
func Handler(listener *tls.Config, log *slog.Logger, next http.Handler) http.Handler {
	if listener == nil || listener.GetConfigForClient == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			if err := still(listener, *r.TLS); err != nil {
				log.Warn("A certificate has ended while its holder was connected.",
					"subject", r.TLS.PeerCertificates[0].Subject.String(), "from", r.RemoteAddr, "error", err)
				w.Header().Set("Connection", "close")
				http.Error(w, fmt.Sprintf("This connection is not honoured any more: %v.", err), http.StatusForbidden)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// still says why a client would not be let in again with what it has shown.
func still(listener *tls.Config, shown tls.ConnectionState) error {
	if end := shown.PeerCertificates[0].NotAfter; time.Now().After(end) {
		return fmt.Errorf("the certificate has expired at %s", end.UTC().Format(time.RFC3339))
	}
	now, err := listener.GetConfigForClient(nil)
	if err != nil {
		return err
	}
	return now.VerifyConnection(shown)
}
