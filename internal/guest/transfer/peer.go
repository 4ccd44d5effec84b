package transfer

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/pki"
)

var errNotThem = errors.New("the certificate is another's")

// Peer is the TLS towards one host. config verifies whom a certificate is of; here it has to be that host's, and say the role: a name
// alone could be any holder's.
func Peer(config *tls.Config, hostname string) *tls.Config {
	config = config.Clone()
	verify := config.VerifyConnection
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if verify != nil {
			if err := verify(s); err != nil {
				return err
			}
		}
		if role, name := pki.Holder(s.PeerCertificates[0]); role != pki.Host || name != hostname {
			return fmt.Errorf("%w: of %s %s, and host %s was asked", errNotThem, role, name, hostname)
		}
		return nil
	}
	return config
}
