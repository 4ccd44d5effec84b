package compute

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
)

func TestAFloatingIPIsShownBesideTheAddressThatItStandsFor(t *testing.T) {
	ports := []models.Port{{
		MAC: "fa:16:3e:00:00:01", Network: &models.Network{Name: "net"},
		FixedIPs: []models.FixedIP{{IP: "10.0.0.2"}, {IP: "fd00::2"}}, Floating: []models.Floats{{FixedIP: "10.0.0.2", IP: "198.51.100.9"}},
	}}
	entry := func(ip, kind string, version int) object {
		return object{"addr": ip, "version": version, "OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:01"}
	}
	require.Equal(t, object{"net": []object{entry("10.0.0.2", "fixed", 4), entry("198.51.100.9", "floating", 4), entry("fd00::2", "fixed", 6)}}, addresses(ports, true))
}
