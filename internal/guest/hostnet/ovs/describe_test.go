package ovs

import (
	"bufio"
	"maps"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

func TestAnOperatorIsToldWhatAChassisLacksAndWhatToDo(t *testing.T) {
	right := map[string]string{
		"system-id": "hv1", "ovn-remote": "ssl:ovn:6642", "ovn-encap-type": "geneve,vxlan", "ovn-encap-ip": "10.0.0.1", "ovn-bridge-mappings": "physnet1:br-ex",
	}
	for name, c := range map[string]struct {
		set    map[string]string
		bridge string // datapath of br-ex
		state  string
		noCtl  error
		fails  string
		says   string
	}{
		"all":                                 {},
		"another's name":                      {set: map[string]string{"system-id": "b3c"}, fails: "system-id", says: `it is "b3c" and the host's name is hv1`},
		"another encapsulation":               {set: map[string]string{"ovn-encap-type": "stt"}, fails: "encapsulation", says: "ovn-encap-type=geneve"},
		"no address":                          {set: map[string]string{"ovn-encap-ip": ""}, fails: "encapsulation", says: "ovn-encap-ip=ADDRESS"},
		"no Southbound":                       {set: map[string]string{"ovn-remote": ""}, fails: "controller", says: "ovn-remote="},
		"a Southbound that does not answer":   {state: "not connected", fails: "controller", says: "not connected at ssl:ovn:6642"},
		"no controller":                       {noCtl: os.ErrNotExist, fails: "controller", says: "not exist"},
		"a bridge that is not there":          {set: map[string]string{"ovn-bridge-mappings": "physnet1:br-ex,physnet2:br-2"}, fails: "mappings", says: "ovs-vsctl add-br br-2"},
		"a bridge of another datapath":        {bridge: "system", fails: "mappings", says: "ovs-vsctl set Bridge br-ex datapath_type=netdev"},
		"a mapping without a bridge":          {set: map[string]string{"ovn-bridge-mappings": "physnet1"}, fails: "mappings", says: "NETWORK:BRIDGE"},
		"no mappings, which a host may lack":  {set: map[string]string{"ovn-bridge-mappings": ""}},
		"a datapath that is not to be relied": {fails: "datapath", says: "3.1.3 or newer"},
	} {
		t.Run(name, func(t *testing.T) {
			is := chassis{version: "3.5.0", ids: maps.Clone(right), bridges: map[string]string{"br-int": "netdev", "br-ex": "netdev"}}
			maps.Copy(is.ids, c.set)
			if c.bridge != "" {
				is.bridges["br-ex"] = c.bridge
			}
			if c.state == "" {
				c.state = "connected"
			}
			if c.fails == "datapath" {
				is.version = "3.1.0"
			}
			path, unfit := choose(is.version, []string{"netdev"}, map[string]string{"userspace-tso-enable": "true"}, "netdev")
			var failing []contract.HostCheck
			for _, check := range is.checks("hv1", path, unfit, c.state, c.noCtl) {
				if !check.OK {
					failing = append(failing, check)
				}
			}
			if c.fails == "" {
				require.Empty(t, failing)
				return
			}
			require.Len(t, failing, 1)
			require.Equal(t, c.fails, failing[0].Name)
			require.Contains(t, failing[0].Text, c.says)
		})
	}
}

func TestTheControllerOfAPackageIsFoundBesideItsSwitch(t *testing.T) {
	dir := t.TempDir()
	endpoint := "unix:" + filepath.Join(dir, "openvswitch", "db.sock")
	_, err := controllerState(t.Context(), endpoint)
	require.ErrorContains(t, err, "ovn-controller does not run")

	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ovn"), 0o755))
	dead, err := net.Listen("unix", filepath.Join(dir, "ovn", "ovn-controller.11.ctl"))
	require.NoError(t, err)
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	require.NoError(t, dead.Close())
	_, err = controllerState(t.Context(), endpoint)
	require.ErrorContains(t, err, "ovn-controller does not answer")

	alive, err := net.Listen("unix", filepath.Join(dir, "ovn", "ovn-controller.22.ctl"))
	require.NoError(t, err)
	defer alive.Close()
	go func() {
		conn, err := alive.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if asked, _ := bufio.NewReader(conn).ReadString('\n'); asked != "" {
			_, _ = conn.Write([]byte(`{"id":0,"result":"not connected\n","error":null}`))
		}
	}()
	state, err := controllerState(t.Context(), endpoint)
	require.NoError(t, err)
	require.Equal(t, "not connected", state)
}
