package ovs

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/imds"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/pace"
)

// asked is an API that knows servers by "network address".
type asked struct {
	mu  sync.Mutex
	all map[string]metadata.Instance
}

func (t *asked) Metadata(_ context.Context, network string, at netip.Addr) (metadata.Instance, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.all[network+" "+at.String()]; ok {
		return i, nil
	}
	return metadata.Instance{}, fault.New(fault.NotFound, "none")
}

func (t *asked) SetPassword(_ context.Context, port, password string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for at, i := range t.all {
		if i.PortID == port {
			i.Password = password
			t.all[at] = i
		}
	}
	return nil
}

func (t *asked) password(port string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, i := range t.all {
		if i.PortID == port {
			return i.Password
		}
	}
	return ""
}

// asks is a request from within a guest; "" and 0 where it gets no answer in time.
func (g *guest) asks(t *testing.T, method, at, path, body string, headers ...string) (int, string) {
	t.Helper()
	client := http.Client{Timeout: g.patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, to string) (c net.Conn, err error) {
		err = netspace.Do(g.netns, func(*netlink.Handle) (err error) {
			c, err = (&net.Dialer{}).DialContext(ctx, "tcp", to)
			return err
		})
		return c, err
	}}}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://metadata"+path, strings.NewReader(body))
	require.NoError(t, err)
	r.URL.Host = at
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

// serviceV6 is where a guest finds the service with its interface by number, since names are looked up elsewhere.
func (g *guest) serviceV6(t *testing.T) (at string) {
	t.Helper()
	require.NoError(t, netspace.Do(g.netns, func(h *netlink.Handle) error {
		link, err := h.LinkByName("eth0")
		at = "[" + ids.MetadataV6 + "%" + strconv.Itoa(link.Attrs().Index) + "]"
		return err
	}))
	return at
}

func (g *guest) ip(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("ip", append([]string{"-n", filepath.Base(g.netns)}, args...)...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
}

// metadataHost is a host with the service, and two networks of the same range with a guest on each.
type metadataHost struct {
	*fabric
	*machine
	api      *asked
	networks [2]string
	ports    [2]hostnet.Port
	guests   [2]*guest
	bell     pace.Bell
	stop     func()
}

const (
	guestAt   = "10.0.0.11"
	serviceV4 = "169.254.169.254"
)

func newMetadataHost(t *testing.T) *metadataHost {
	f := newFabric(t)
	h := &metadataHost{fabric: f, machine: f.host("hv1", "192.0.2.1"), api: &asked{all: map[string]metadata.Instance{}}, bell: pace.NewBell()}
	for i := range h.networks {
		h.networks[i] = uuid.NewString()
		h.ports[i] = h.add(i, byte(i+1), guestAt, "")
		h.plug(t, h.ports[i])
		h.guests[i] = startGuest(t, h.machine, h.ports[i])
		require.Equal(t, guestAt+" 1442", h.guests[i].dhcp(t))
	}
	h.start(t)
	return h
}

// add makes a port of a server known to OVN, with its network, and to the API; security beside its own addresses is what it may send from, "-" all.
func (h *metadataHost) add(network int, n byte, address, security string) hostnet.Port {
	h.t.Helper()
	p := aPort(n)
	p.Network = h.networks[network]
	sw, service := "neutron-"+p.Network, ids.MetadataPort(p.Network)
	h.northbound("--may-exist", "ls-add", sw, "--", "--may-exist", "lsp-add", sw, service, "--", "lsp-set-type", service, "localport", "--",
		"lsp-set-addresses", service, ids.MetadataMAC+" "+ids.MetadataV4+" "+ids.MetadataV6, "--", "lsp-add", sw, p.ID)
	// As internal/sdn/ovn has it.
	options := h.northbound("create", "DHCP_Options", "cidr=10.0.0.0/24", `options="lease_time"="3600" "router"="10.0.0.1" "server_id"="10.0.0.1" "server_mac"="fa:16:3e:ff:ff:ff" "mtu"="1442" `+
		`"classless_static_route"="{169.254.169.254/32,0.0.0.0, 0.0.0.0/0,10.0.0.1}"`)
	h.northbound("lsp-set-dhcpv4-options", p.ID, options)
	own := p.MAC + " " + address + " fd00::" + strconv.Itoa(int(n))
	h.northbound("lsp-set-addresses", p.ID, own)
	switch security {
	case "-":
		h.northbound("lsp-set-addresses", p.ID, own, "unknown")
	case "":
		h.northbound("lsp-set-port-security", p.ID, own)
	default:
		h.northbound("lsp-set-port-security", p.ID, own, security)
	}
	h.api.mu.Lock()
	defer h.api.mu.Unlock()
	i := metadata.Instance{ServerID: p.ServerID, PortID: p.ID, MAC: p.MAC, Unguarded: security == "-",
		Metadata: contract.InstanceMetadata{ServerID: p.ServerID, Hostname: "guest" + strconv.Itoa(int(n)), Seed: []byte{n}}}
	h.api.all[p.Network+" "+address] = i
	h.api.all[p.Network+" fe80::f816:3eff:fe00:"+strconv.Itoa(int(n))] = i
	return p
}

func (h *metadataHost) plug(t *testing.T, p hostnet.Port) {
	t.Helper()
	require.NoError(t, h.machine.ports.Plug(t.Context(), p))
	within, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	require.NoError(t, h.machine.ports.Await(within, p))
}

// start runs the service until stop.
func (h *metadataHost) start(t *testing.T) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var runs sync.WaitGroup
	runs.Go(func() { imds.New(imds.Options{Source: h.api}).Run(ctx, h.machine.ports, h.bell) })
	h.stop = sync.OnceFunc(func() { cancel(); runs.Wait() })
	t.Cleanup(h.stop)
}

// rows are the switch's of metadata services.
func (h *metadataHost) rows() []string {
	h.t.Helper()
	var all []string
	for _, name := range strings.Fields(h.vsctl(h.machine, "list-ports", "br-int")) {
		if strings.HasPrefix(name, "meta") {
			all = append(all, name)
		}
	}
	return all
}

func (h *metadataHost) links() (all []string) {
	h.t.Helper()
	require.NoError(h.t, netspace.Do(h.machine.netns, func(handle *netlink.Handle) error {
		links, err := handle.LinkList()
		for _, l := range links {
			if strings.HasPrefix(l.Attrs().Name, "meta") {
				all = append(all, l.Attrs().Name)
			}
		}
		return err
	}))
	return all
}

func TestEachGuestReadsItsOwnMetadata(t *testing.T) {
	h := newMetadataHost(t)
	const hostname = "/latest/meta-data/hostname"
	require.Eventually(t, func() bool {
		code, _ := h.guests[0].asks(t, "GET", serviceV4, hostname, "")
		other, _ := h.guests[1].asks(t, "GET", serviceV4, hostname, "")
		return code == 200 && other == 200
	}, 2*time.Minute, 50*time.Millisecond)
	for i, name := range []string{"guest1", "guest2"} {
		for _, forged := range [][]string{nil, {"X-Instance-ID", h.ports[1-i].ServerID}, {"X-OVN-Network-ID", h.networks[1-i]}, {"X-Real-IP", "10.0.0.12"}} {
			code, said := h.guests[i].asks(t, "GET", serviceV4, hostname, "", forged...)
			require.Equal(t, []any{200, name}, []any{code, said}, "%v", forged)
		}
		code, _ := h.guests[i].asks(t, "GET", serviceV4, hostname, "", "X-Forwarded-For", guestAt)
		require.Equal(t, 403, code)
		require.Eventually(t, func() bool { // its own link-local address has to be found to be free first
			code, said := h.guests[i].asks(t, "GET", h.guests[i].serviceV6(t), hostname, "")
			return code == 200 && said == name
		}, time.Minute, 50*time.Millisecond)
		code, _ = h.guests[i].asks(t, "POST", serviceV4, "/openstack/latest/password", "of "+name)
		require.Equal(t, 200, code)
		require.Equal(t, "of "+name, h.api.password(h.ports[i].ID))
	}
	require.Len(t, h.rows(), 2)

	// The host itself has neither the address nor a way to it.
	out, _ := exec.Command("ip", "netns", "exec", filepath.Base(h.machine.netns), "ip", "route", "get", serviceV4).CombinedOutput()
	require.NotContains(t, string(out), "local "+serviceV4)

	// With a network's last port goes its service, and with a stop all of it.
	require.NoError(t, h.machine.ports.UnplugAll(t.Context(), h.ports[1].ServerID))
	h.bell.Ring()
	require.Eventually(t, func() bool { return len(h.rows()) == 1 && len(h.links()) == 1 }, time.Minute, 50*time.Millisecond)
	code, said := h.guests[0].asks(t, "GET", serviceV4, hostname, "")
	require.Equal(t, []any{200, "guest1"}, []any{code, said})
	h.stop()
	require.Empty(t, h.rows())
	require.Eventually(t, func() bool { return len(h.links()) == 0 }, time.Minute, 50*time.Millisecond)

	// What a death leaves is a row without its interface: of a network that is here it is taken up, any other goes.
	h.vsctl(h.machine, "add-port", "br-int", ids.MetadataLink(h.networks[0]), "--", "set", "Interface", ids.MetadataLink(h.networks[0]),
		"external_ids:slipway-owner=/var/lib/hv1", "external_ids:slipway-metadata="+h.networks[0], "--", "set", "Port", ids.MetadataLink(h.networks[0]), "external_ids:slipway-owner=/var/lib/hv1")
	h.vsctl(h.machine, "add-port", "br-int", "metastale", "--", "set", "Interface", "metastale", "external_ids:slipway-owner=/var/lib/hv1", "external_ids:slipway-metadata="+uuid.NewString(),
		"--", "set", "Port", "metastale", "external_ids:slipway-owner=/var/lib/hv1")
	h.vsctl(h.machine, "add-port", "br-int", "metatheirs", "--", "set", "Interface", "metatheirs", "external_ids:slipway-owner=/var/lib/another", "external_ids:slipway-metadata="+uuid.NewString())
	h.start(t)
	require.Eventually(t, func() bool {
		code, said := h.guests[0].asks(t, "GET", serviceV4, hostname, "")
		return code == 200 && said == "guest1"
	}, 2*time.Minute, 50*time.Millisecond)
	require.ElementsMatch(t, []string{ids.MetadataLink(h.networks[0]), "metatheirs"}, h.rows())

	// What somebody takes away comes back.
	h.vsctl(h.machine, "del-port", ids.MetadataLink(h.networks[0]))
	require.NoError(t, exec.Command("ip", "-n", filepath.Base(h.machine.netns), "link", "del", ids.MetadataLink(h.networks[0])).Run())
	h.bell.Ring()
	require.Eventually(t, func() bool {
		code, said := h.guests[0].asks(t, "GET", serviceV4, hostname, "")
		return code == 200 && said == "guest1"
	}, 2*time.Minute, 50*time.Millisecond)
}

// Ports that may send from another's address are no other's, however they speak: with their own MAC, or with the other's, and with the
// host told by ARP that the address is theirs.
func TestNobodyReadsWhatIsForAnother(t *testing.T) {
	h := newMetadataHost(t)
	const hostname, victim = "/latest/meta-data/hostname", "guest1"
	require.Eventually(t, func() bool {
		code, said := h.guests[0].asks(t, "GET", serviceV4, hostname, "")
		return code == 200 && said == victim
	}, 2*time.Minute, 50*time.Millisecond)
	mac, err := net.ParseMAC(h.ports[0].MAC)
	require.NoError(t, err)
	// The strongest of them has a pair of each kind; the other no port security at all.
	for n, security := range map[byte]string{3: "fa:16:3e:00:00:03 " + guestAt + " 10.0.0.13", 4: "-"} {
		own := "10.0.0.1" + strconv.Itoa(int(n))
		p := h.add(0, n, own, security)
		if security != "-" {
			h.northbound("lsp-set-port-security", p.ID, security, h.ports[0].MAC+" "+guestAt)
		}
		h.plug(t, p)
		g := startGuest(t, h.machine, p)
		g.ip(t, "address", "add", own+"/24", "dev", "eth0")
		g.ip(t, "route", "add", serviceV4+"/32", "dev", "eth0", "src", own)
		want := []any{200, "guest" + strconv.Itoa(int(n))}
		if security == "-" {
			want = []any{404, ""}
		}
		require.Eventually(t, func() bool {
			code, said := g.asks(t, "GET", serviceV4, hostname, "")
			if code == 404 {
				require.Contains(t, said, "config drive")
				said = ""
			}
			return code == want[0] && said == want[1]
		}, time.Minute, 50*time.Millisecond, "as itself")

		g.ip(t, "address", "add", guestAt+"/24", "dev", "eth0")
		g.ip(t, "route", "replace", serviceV4+"/32", "dev", "eth0", "src", guestAt)
		g.patience = time.Second // mostly nothing comes
		poison := exec.Command("nsenter", "--net="+g.netns, "busybox", "sh", "-c", "while busybox arping -A -c 1 -w 1 -I eth0 "+guestAt+"; do :; done")
		require.NoError(t, poison.Start())
		for _, as := range []*net.HardwareAddr{nil, &mac} {
			g.as.Store(as)
			var tries sync.WaitGroup
			for _, method := range []string{"GET", "POST", "GET", "POST", "GET", "POST"} {
				path := map[string]string{"GET": hostname, "POST": "/openstack/latest/password"}[method]
				tries.Go(func() {
					code, said := g.asks(t, method, serviceV4, path, "forged")
					assert.NotEqual(t, 200, code, "%s of %v", said, as)
				})
			}
			tries.Wait()
		}
		_ = poison.Process.Kill()
		_ = poison.Wait()
		require.Empty(t, h.api.password(h.ports[0].ID))
		require.NoError(t, h.machine.ports.UnplugAll(t.Context(), p.ServerID))
	}
	require.Eventually(t, func() bool {
		code, said := h.guests[0].asks(t, "GET", serviceV4, hostname, "")
		return code == 200 && said == victim
	}, 2*time.Minute, 50*time.Millisecond, "and it reads its own still")
}
