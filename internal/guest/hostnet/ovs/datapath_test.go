package ovs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADatapathIsTakenThatGuestsCanRelyOn(t *testing.T) {
	tso := map[string]string{"userspace-tso-enable": "true"}
	for name, c := range map[string]struct {
		version string
		types   []string
		config  map[string]string
		bridge  string
		refused string
	}{
		"the kernel's":                          {"3.1.0", []string{"netdev", "system"}, nil, "system", ""},
		"the kernel's, by default":              {"3.1.0", []string{"netdev", "system"}, nil, "", ""},
		"the kernel's, which is not there":      {"3.5.0", []string{"netdev"}, tso, "system", "ovn-bridge-datapath-type=netdev"},
		"its own":                               {"3.5.0", []string{"netdev"}, tso, "netdev", ""},
		"its own, the first that does not fail": {"3.1.3", []string{"netdev"}, tso, "netdev", ""},
		"its own, of Debian 12":                 {"3.1.0", []string{"netdev"}, tso, "netdev", "3.1.3 or newer"},
		"its own, older":                        {"2.17.9", []string{"netdev"}, tso, "netdev", "3.1.3 or newer"},
		"its own, of a branch":                  {"3.1", []string{"netdev"}, tso, "netdev", "3.1.3 or newer"},
		"its own, a preview":                    {"3.6.90-abc", []string{"netdev"}, tso, "netdev", ""},
		"its own, without segmentation":         {"3.5.0", []string{"netdev"}, nil, "netdev", "userspace-tso-enable=true"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := choose(c.version, c.types, c.config, c.bridge)
			require.Equal(t, c.bridge == "netdev", d.Userspace)
			if c.refused == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.refused)
		})
	}
}
