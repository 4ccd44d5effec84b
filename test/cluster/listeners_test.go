package cluster

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/emptypb"
)

const hostOperators = "10.77.0.11:8777" // hv1's

// atTheListeners is what is tried at everything that listens, but for the frontend.
func (c *cluster) atTheListeners(p *parties) []attempt {
	const inClear = "400 Bad Request: Client sent an HTTP request to an HTTPS server."
	asOperator := "https://" + apiOperators
	workflowsPage := "https://" + webUI + "/api/v1/namespaces/" + namespace + "/workflows"
	login := func(password string) map[string]string {
		return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("ada:"+password))}
	}
	codec := map[string]any{"payloads": []any{}}
	return []attempt{
		p.plain.shakes("speaks in clear to the API", apiAddress, inClear, "api"),
		p.plain.shakes("speaks in clear to the operators' listener of the api", apiOperators, inClear, "api"),
		p.plain.shakes("speaks in clear to that of the worker", workerOperators, inClear, "worker"),
		p.plain.shakes("speaks in clear to that of a host", hostOperators, inClear, "hv1"),
		p.plain.shakes("speaks in clear to the Web UI", webUI, inClear, "temporal"),

		c.somebody("", "an old browser", c.street, older(c.ca.Client(), tls.VersionTLS11)).shakes("speaks TLS 1.1 to the API", apiAddress, "protocol version not supported", "api"),
		c.somebody("", "an older ada", c.street, older(p.ada.config, tls.VersionTLS12)).shakes("speaks TLS 1.2 to the operators' listener", apiOperators, "protocol version not supported", "api"),

		p.nobody.shakes("reads metrics of the api", apiOperators, "certificate required", "api"),
		p.nobody.shakes("reads metrics of the worker", workerOperators, "certificate required", "worker"),
		p.nobody.shakes("reads metrics of a host", hostOperators, "certificate required", "hv1"),
		p.nobody.gets("has the codec decrypt", http.MethodPost, asOperator+"/codec/decode", nil, codec, "certificate required", "api", "TLS handshake error from "+c.street.ip),
		p.stranger.shakes("shows the operators' listener a certificate of another CA", apiOperators, "unknown certificate authority", "api"),
		p.stranger.shakes("shows it to the API", apiAddress, "unknown certificate authority", "api"),
		p.expired.shakes("shows the operators' listener one that has expired", apiOperators, "expired certificate", "api", "certificate has expired or is not yet valid"),
		p.early.shakes("shows it one that is not valid yet", apiOperators, "expired certificate", "api", "certificate has expired or is not yet valid"),
		p.noRole.shakes("shows it one without a role", apiOperators, "bad certificate", "api", `has the role \"\"`),
		p.twoRoles.shakes("shows it one with two roles", apiOperators, "bad certificate", "api", `has the role \"\"`),
		p.roleInSAN.shakes("shows it one with its role among the names", apiOperators, "bad certificate", "api", `has the role \"\"`),
		p.hv3.shakes("reads metrics of the api", apiOperators, "bad certificate", "api", `\"hv3\" has the role \"host\"`),
		p.hv3.shakes("reads metrics of another host", hostOperators, "bad certificate", "hv1", `\"hv3\" has the role \"host\"`),
		p.hv3.gets("has the codec decrypt", http.MethodPost, asOperator+"/codec/decode", nil, codec, "bad certificate", "api", `\"hv3\" has the role \"host\"`),
		p.chassis.shakes("reads metrics of the api", apiOperators, "bad certificate", "api", `\"chassis-1\" has the role \"ovn-chassis\"`),
		p.ada.gets("reads metrics", http.MethodGet, asOperator+"/metrics", nil, nil, "200 OK", ""),
		p.ada.gets("has the codec decrypt", http.MethodPost, asOperator+"/codec/decode", nil, codec, "200 OK", ""),

		// Browsers ask without a login first, so that is in no log.
		p.nobody.gets("looks at workflows in the Web UI", http.MethodGet, workflowsPage, nil, nil, "401 Unauthorized", ""),
		p.nobody.gets("guesses a password", http.MethodGet, workflowsPage, login("guessed"), nil, "401 Unauthorized", "temporal", "A login to the Web UI was refused", c.street.ip),
		p.ada.gets("looks at workflows in the Web UI", http.MethodGet, workflowsPage, login(uiPassword), nil, "200 OK", ""),
		p.ada.gets("terminates one there", http.MethodPost, workflowsPage+"/server%2F1/terminate", login(uiPassword), map[string]any{}, "405 Method Not Allowed: The Web UI only reads.",
			"temporal", "The Web UI only reads", c.street.ip),

		// Who has a shell on Temporal's machine meets the frontend that asks nobody's role: by the services' own CA.
		c.onLoopback("nobody on Temporal's machine", c.internode.Client()),
		c.onLoopback("the control plane on Temporal's machine", p.control.config),
	}
}

func (c *cluster) onLoopback(who string, config *tls.Config) attempt {
	config = config.Clone()
	config.ServerName, config.RootCAs = "internode", c.internode.Client().RootCAs
	s := &somebody{name: who, machine: machine{ip: "127.0.0.1"}, engine: c.engine(c.control, "127.0.0.1:7236", config)}
	a := s.may("asks the internal frontend", workflows+"GetSystemInfo", &emptypb.Empty{})
	a.want, a.log, a.says = "Unavailable", "temporal", []string{"A connection was refused", "127.0.0.1"}
	return a
}

// listening is what a scan finds: what is beyond loopback is known, and what is on loopback is reached by nobody else.
func (c *cluster) listening(t *testing.T) {
	for process, want := range map[string][]string{
		"temporal": {frontend, webUI, apiAddress, apiOperators, workerOperators},
		"hv1":      {hostOperators},
	} {
		var open []string
		for _, at := range listenersBeside(t, c.processes[process].Pid()) {
			if !at.Addr().IsLoopback() {
				open = append(open, at.String())
				continue
			}
			require.Equal(t, "temporal", process, "a host listens on loopback")
			conn, err := c.street.dial(t.Context(), "tcp", net.JoinHostPort(controlIP, strconv.Itoa(int(at.Port()))))
			if err == nil {
				conn.Close()
			}
			require.ErrorContains(t, err, "connection refused", "%s is reached from elsewhere", at)
		}
		require.ElementsMatch(t, want, open, "what listens on the machine of %s", process)
	}
}

// listenersBeside are those of the machine that a process runs on: proc(5), /proc/net/tcp.
func listenersBeside(t *testing.T, pid int) (all []netip.AddrPort) {
	t.Helper()
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != "0A" {
				continue
			}
			at, word, _ := strings.Cut(fields[1], ":")
			ip, err := hex.DecodeString(at)
			require.NoError(t, err)
			for part := range slices.Chunk(ip, 4) { // each in the machine's own order of bytes
				slices.Reverse(part)
			}
			address, _ := netip.AddrFromSlice(ip)
			port, err := strconv.ParseUint(word, 16, 16)
			require.NoError(t, err)
			all = append(all, netip.AddrPortFrom(address.Unmap(), uint16(port)))
		}
	}
	return all
}
