package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// Network is what the networks of servers stand on. Every process needs the same engine.
type Network struct {
	Engine string `koanf:"engine" help:"what networks stand on: bridge (a bridge on each host, isolated from the other hosts), ovn, or fake (none, for load tests)"`

	OVNNB         string        `koanf:"ovn_nb" help:"OVN's Northbound database, which workers write: unix:/path, or ssl:HOST:6641; of a cluster all members, separated by commas"`
	OVNCert       string        `koanf:"ovn_cert" help:"file with the certificate that workers present to it"`
	OVNKey        string        `koanf:"ovn_key" help:"file with its key"`
	OVNCA         string        `koanf:"ovn_ca" help:"file with the CAs that the database's certificate has to be issued by; a crl.pem beside it is honoured; empty: the machine's"`
	OVNServerName string        `koanf:"ovn_server_name" help:"name in the database's certificate, of each member of a cluster; empty: the host of the first address"`
	Reconcile     time.Duration `koanf:"reconcile_every" help:"how often all networks are compared with what the engine has"`
}

// The engines.
const (
	EngineBridge = "bridge"
	EngineOVN    = "ovn"
	EngineFake   = "fake"
)

// VIFType is what ports are to their hosts.
func (n Network) VIFType() string {
	if n.Engine == EngineBridge {
		return contract.VIFBridge
	}
	return contract.VIFOVS
}

// Northbound lists the addresses of OVN's Northbound database.
func (n Network) Northbound() (all []string, err error) {
	for _, address := range list(n.OVNNB) {
		scheme, rest, _ := strings.Cut(address, ":")
		switch scheme {
		case "unix":
			if !strings.HasPrefix(rest, "/") {
				err = fmt.Errorf("network.ovn_nb: %q must be like unix:/path", address)
			}
		case "ssl", "tcp":
			if host, port, wrong := net.SplitHostPort(rest); wrong != nil || host == "" || port == "" {
				err = fmt.Errorf("network.ovn_nb: %q must be like %s:HOST:6641", address, scheme)
			}
		default:
			err = fmt.Errorf("network.ovn_nb: %q must be like ssl:HOST:6641 or unix:/path", address)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, address)
	}
	return all, nil
}

// TLS says whether a member of it is asked over TLS.
func (n Network) TLS() bool {
	for _, address := range list(n.OVNNB) {
		if strings.HasPrefix(address, "ssl:") {
			return true
		}
	}
	return false
}

func (n Network) check() error {
	if n.Engine != EngineBridge && n.Engine != EngineOVN && n.Engine != EngineFake {
		return fmt.Errorf("network.engine must be bridge, ovn or fake, not %q", n.Engine)
	}
	if _, err := n.Northbound(); err != nil {
		return err
	}
	for setting, value := range map[string]string{"ovn_cert": n.OVNCert, "ovn_key": n.OVNKey, "ovn_ca": n.OVNCA, "ovn_server_name": n.OVNServerName} {
		if value != "" && !n.TLS() {
			return fmt.Errorf("network.%s is of no use without an ssl: address in network.ovn_nb", setting)
		}
	}
	if (n.OVNCert == "") != (n.OVNKey == "") {
		return errors.New("network.ovn_cert and network.ovn_key go together: one of them is not set")
	}
	return nil
}

// inClear lists the members that are asked in clear, as Config.InClear does.
func (n Network) inClear() (found []string) {
	for _, address := range list(n.OVNNB) {
		if rest, tcp := strings.CutPrefix(address, "tcp:"); tcp && !localAddress(rest) {
			found = append(found, fmt.Sprintf("network.ovn_nb is %s, another machine, in clear: give ssl:%s, network.ovn_ca, network.ovn_cert and network.ovn_key", address, rest))
		}
	}
	return found
}
