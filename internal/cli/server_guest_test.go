package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDiagnosticsArePrintedByTheirParts(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("GET /compute/v2.1/servers/1/diagnostics", 200, `{"state":"running","hypervisor":"kvm","uptime":60,"config_drive":true,
		"num_cpus":1,"num_disks":1,"num_nics":1,"memory_details":{"maximum":512,"used":256},"cpu_details":[{"id":0,"time":1234567890}],
		"disk_details":[{"read_requests":1,"read_bytes":512,"write_requests":2,"write_bytes":1024}],
		"nic_details":[{"mac_address":"fa:16:3e:00:00:01","rx_octets":1,"rx_packets":2,"rx_drop":3,"rx_errors":4,"tx_octets":5,"tx_packets":6,"tx_drop":7,"tx_errors":8}]}`)
	got := run(t, "server", "diagnostics", "web")
	require.Equal(t, 0, got.code, got.err)
	for _, line := range []string{"running", "\nvCPUs\n", "1234567890", "\ndisks\n", "1024", "\nnetwork interfaces\n", "fa:16:3e:00:00:01"} {
		require.Contains(t, got.out, line)
	}
	require.Contains(t, run(t, "server", "diagnostics", "web", "-o", "json").out, "\"time\": 1234567890")
}

func TestAPasswordIsReadFromStandardInputAndPrintedNowhere(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, "")
	got := runWith(t, t.Context(), " s3cret: \nand more\n", "server", "set-password", "web", "--debug")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "set the admin password of server web (1)\n")
	require.NotContains(t, got.out+got.err, "s3cret")
	require.JSONEq(t, `{"changePassword":{"adminPass":" s3cret: "}}`, a.made("POST /compute/v2.1/servers/1/action")[0].body)

	got = runWith(t, t.Context(), "\n", "server", "set-password", "web")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "the first line of standard input is empty")
}

func TestAGuestWithoutAnAgentIsToldInTheAPIsWords(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 409, `{"conflictingRequest":{"code":409,"message":"QEMU guest agent is not enabled"}}`)
	got := runWith(t, t.Context(), "x", "server", "set-password", "web")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "QEMU guest agent is not enabled")
}
