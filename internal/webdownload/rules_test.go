package webdownload

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func anyHost() Rules { return Rules{Hosts: []string{"*"}} }

func TestNothingIsImportedUntilHostsAreNamed(t *testing.T) {
	require.False(t, Rules{}.Enabled())
	require.False(t, Rules{DeniedHosts: []string{"evil.example.org"}}.Enabled())
	_, err := Rules{}.Check("https://images.example.org/disk.qcow2")
	require.True(t, fault.Is(err, fault.Invalid))
	require.Equal(t, "URI for web-download does not pass filtering: https://images.example.org/disk.qcow2: "+
		"this service does not import from the web.", fault.Public(err))
	require.True(t, anyHost().Enabled())
}

func TestAnAllowedURIComesBackInOneForm(t *testing.T) {
	for uri, want := range map[string]string{
		"http://images.example.org/disk.img":              "http://images.example.org/disk.img",
		"HTTPS://Images.Example.ORG/Disk.img?a=B&c=%2F#x": "https://images.example.org/Disk.img?a=B&c=%2F#x",
		"http://images.example.org":                       "http://images.example.org",
		"http://images.example.org?x":                     "http://images.example.org?x",
		"http://images.example.org:443/":                  "http://images.example.org:443/",
		"https://images.example.org:443/a@b:c":            "https://images.example.org:443/a@b:c",
		"https://images.example.org/a://b":                "https://images.example.org/a://b",
		"https://93.184.215.14/disk.img":                  "https://93.184.215.14/disk.img",
		"https://[2606:2800:21F:0:0:0:0:1]/disk.img":      "https://[2606:2800:21f::1]/disk.img",
		"https://[2606:2800:21f::1]:443/disk.img":         "https://[2606:2800:21f::1]:443/disk.img",
		"https://xn--bcher-kva.example/":                  "https://xn--bcher-kva.example/",
		"https://0x7f.example.org/":                       "https://0x7f.example.org/",
		"https://127.0.0.1.example.org/":                  "https://127.0.0.1.example.org/",
	} {
		t.Run(uri, func(t *testing.T) {
			u, err := anyHost().Check(uri)
			require.NoError(t, err)
			require.Equal(t, want, u.String())
		})
	}
}

// unreadable stands for several reasons: some of these are refused by Go's reading of URLs, some by this package's.
const unreadable = "unreadable"

// Under the widest rules there are: every host, and the usual ports and schemes.
func TestURIsThatAreNeverImported(t *testing.T) {
	for why, uris := range map[string][]string{
		unreadable: {
			"", "http", "http:", "http:images.example.org", "http:/images.example.org/", "http:?://images.example.org",
			"http:x://images.example.org/", "https://images.example.org/%zz", "http://images.example.org:port/", "http://[::1/", "http://::1/",
			"http://[::1]x/", "http://images.example.org:-80/", "http://images.example.org:+80/", "http://images.example.org:080/",
			"http://images.example.org:0/", "http://images.example.org:65616/", "http://images.example.org:99999999999999999999/",
			"http://%31%32%37.0.0.1/", "http://images%2eexample.org/", "http://[fe80::1%25eth0]/", "://images.example.org/",
			"http://images.example.org%00.evil.example/", "1http://images.example.org/", "http://[127.0.0.1]/", "http://[images.example.org]/", "http://[]/",
		},
		"its scheme": {
			"//images.example.org/", "images.example.org/disk.img", "/etc/passwd", "file:///etc/passwd", "file://images.example.org/etc/passwd",
			"ftp://images.example.org/", "gopher://images.example.org/_x", "dict://images.example.org/", "ldap://images.example.org/",
			"jar:http://images.example.org/x!/", "swift+https://images.example.org/", "s3://bucket/key", "httpss://images.example.org/",
			"data:text/plain,x", "unix:///run/libvirt/libvirt-sock", "http+unix://run/x", "cinder://id", "javascript:alert(1)",
		},
		"its host is missing":              {"http://", "http:///disk.img", "http://:80/", "https://?x", "http://#images.example.org"},
		"its port is missing":              {"http://images.example.org:/", "http://[2606:2800:21f::1]:/"},
		"its port is not allowed":          {"http://images.example.org:22/", "http://images.example.org:8080/", "https://images.example.org:5432/", "http://images.example.org:65535/"},
		"carries a user name or password":  {"http://user@images.example.org/", "http://user:secret@images.example.org/", "http://@images.example.org/", "http://:@images.example.org/", "http://images.example.org:80@169.254.169.254/", "http://images.example.org%40x@10.0.0.1/"},
		"characters that do not belong":    {"http://images.example.org/a b", " http://images.example.org/", "http://images.example.org/\r\nHost: x", "http://images.example.org\\@169.254.169.254/", "http:\\\\169.254.169.254/", "http://images.example.org/\x00", "http://images.example.org/\x7f", "http://bücher.example/", "http://ｅxample.org/", "http://１２７.0.0.1/", "http://127。0。0。1/", "http://①②⑦.0.0.1/", "http://images.example.org/é", "http://images.example.org\t/"},
		"longer than":                      {"http://images.example.org/" + strings.Repeat("a", maxURI)},
		"neither a DNS name nor an IP":     {"http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.1/", "http://0X7F.0.0.1/", "http://0177.0.0.1/", "http://017700000001/", "http://127.0x0.0.1/", "http://127.0.0.01/", "http://127.0.0.1./", "http://images.example.org./", "http://./", "http://a..b/", "http://256.256.256.256/", "http://1.2.3.4.5/", "http://0/", "http://0x/", "http://images.example.0x1/", "http://-a.example.org/", "http://a-.example.org/", "http://a_b.example.org/", "http://*.example.org/", "http://" + strings.Repeat("a", 64) + ".example.org/", "http://" + strings.Repeat("a.", 127) + "org/", "http://a,b/", "http://a;b.example.org/", "http://a$b/", "http://(a)/"},
		"not an IPv6 address in its usual": {"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::ffff:93.184.215.14]/", "http://[64:ff9b::10.0.0.1]/", "http://[::127.0.0.1]/"},
		"its address is not allowed": {
			"http://127.0.0.1/", "http://127.255.255.254/", "http://10.1.2.3/", "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.1.1/",
			"http://169.254.169.254/latest/meta-data/", "http://100.64.0.1/", "http://100.100.100.200/", "http://0.0.0.0/", "http://0.1.2.3/",
			"http://224.0.0.1/", "http://240.0.0.1/", "http://255.255.255.255/", "http://192.0.0.192/", "http://198.18.0.1/", "http://203.0.113.5/",
			"http://168.63.129.16/", "http://[::1]/", "http://[::]/", "http://[0:0:0:0:0:0:0:1]/", "http://[fe80::1]/", "http://[fd00:ec2::254]/",
			"http://[ff02::1]/", "http://[2001:db8::1]/", "http://[2002:7f00:1::]/", "http://[2001:0:7f00:1::]/", "http://[64:ff9b::7f00:1]/", "http://[fec0::1]/",
		},
	} {
		for _, uri := range uris {
			t.Run(why+"/"+printableURI(uri), func(t *testing.T) {
				_, err := anyHost().Check(uri)
				require.True(t, fault.Is(err, fault.Invalid), "%v", err)
				text := fault.Public(err)
				require.True(t, strings.HasPrefix(text, "URI for web-download does not pass filtering: "), text)
				if why != unreadable {
					require.Contains(t, text, why)
				}
				require.NotContains(t, text, "secret")
				require.True(t, printable(text), text)
			})
		}
	}
}

func printable(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

func TestSchemesHostsAndPortsAreAllowedAndDenied(t *testing.T) {
	for _, c := range []struct {
		name    string
		rules   Rules
		passes  []string
		refused []string
	}{
		{
			"named hosts only", Rules{Hosts: []string{"images.example.org", "Mirror.example.NET"}},
			[]string{"http://images.example.org/", "http://IMAGES.example.org/", "https://mirror.example.net/"},
			[]string{"http://example.org/", "http://a.images.example.org/", "http://images.example.org.evil.example/", "http://ximages.example.org/", "http://93.184.215.14/"},
		},
		{
			"a name without a dot by its own entry", Rules{Hosts: []string{"*", "mirror"}},
			[]string{"http://mirror/", "http://images.example.org/", "http://[2606:2800:21f::1]/"},
			[]string{"http://intranet/", "http://localhost/"},
		},
		{
			"everything below a domain", Rules{Hosts: []string{"*.example.org"}},
			[]string{"http://a.example.org/", "http://a.b.EXAMPLE.org/"},
			[]string{"http://example.org/", "http://evilexample.org/", "http://a.example.org.evil.example/"},
		},
		{
			"a denied host although its domain is allowed", Rules{Hosts: []string{"*.example.org", "*.example.net"}, DeniedHosts: []string{"Internal.example.org", "*.example.net"}},
			[]string{"http://a.example.org/", "http://a.internal.example.org/"},
			[]string{"http://internal.example.org/", "http://INTERNAL.example.org/", "http://a.example.net/"},
		},
		{
			"addresses as hosts", Rules{Hosts: []string{"93.184.215.14", "2606:2800:21F::1", "[2606:2800:21f::2]"}},
			[]string{"http://93.184.215.14/", "http://[2606:2800:21f:0::1]/", "http://[2606:2800:21f::2]/"},
			[]string{"http://93.184.215.15/", "http://[2606:2800:21f::3]/"},
		},
		{
			"an address written otherwise in the deny list", Rules{Hosts: []string{"*"}, DeniedHosts: []string{"2606:2800:21F:0:0:0:0:1"}},
			[]string{"http://[2606:2800:21f::2]/"},
			[]string{"http://[2606:2800:21f::1]/"},
		},
		{
			"a private network that the operator named", Rules{Hosts: []string{"*"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("fd12::/16")}},
			[]string{"http://10.1.2.3/", "http://[fd12::1]/", "http://93.184.215.14/"},
			[]string{"http://10.2.0.1/", "http://[fd13::1]/", "http://[::ffff:10.1.2.3]/", "http://[64:ff9b::a01:203]/"},
		},
		{
			"a network without its host", Rules{Hosts: []string{"images.example.org"}, Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}},
			[]string{"http://images.example.org/"},
			[]string{"http://10.1.2.3/"},
		},
		{
			"one scheme", Rules{Hosts: []string{"*"}, Schemes: []string{"https"}},
			[]string{"https://images.example.org/", "https://images.example.org:80/"},
			[]string{"http://images.example.org/", "http://images.example.org:443/"},
		},
		{
			"a denied scheme", Rules{Hosts: []string{"*"}, DeniedSchemes: []string{"http"}},
			[]string{"https://images.example.org/"},
			[]string{"http://images.example.org/"},
		},
		{
			"other ports, and none of the usual", Rules{Hosts: []string{"*"}, Ports: []int{8080, 8443}},
			[]string{"http://images.example.org:8080/", "https://images.example.org:8443/"},
			[]string{"http://images.example.org/", "https://images.example.org/", "https://images.example.org:443/"},
		},
		{
			"a denied port, written or implied", Rules{Hosts: []string{"*"}, DeniedPorts: []int{80}},
			[]string{"https://images.example.org/"},
			[]string{"http://images.example.org/", "http://images.example.org:80/", "https://images.example.org:80/"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.NoError(t, c.rules.Validate())
			for _, uri := range c.passes {
				_, err := c.rules.Check(uri)
				require.NoError(t, err, uri)
			}
			for _, uri := range c.refused {
				_, err := c.rules.Check(uri)
				require.True(t, fault.Is(err, fault.Invalid), uri)
			}
		})
	}
}

func TestRulesThatCouldNotMatchAreFoundAndLetNothingPass(t *testing.T) {
	for name, spoil := range map[string]func(*Rules){
		"scheme":              func(r *Rules) { r.Schemes = []string{"ftp"} },
		"denied scheme":       func(r *Rules) { r.DeniedSchemes = []string{"HTTP"} },
		"empty host":          func(r *Rules) { r.Hosts = append(r.Hosts, "") },
		"host with a port":    func(r *Rules) { r.Hosts = append(r.Hosts, "images.example.org:80") },
		"star inside":         func(r *Rules) { r.DeniedHosts = []string{"a*.example.org"} },
		"star twice":          func(r *Rules) { r.DeniedHosts = []string{"*.*.example.org"} },
		"domain with a dot":   func(r *Rules) { r.DeniedHosts = []string{".example.org"} },
		"denied URL":          func(r *Rules) { r.DeniedHosts = []string{"http://images.example.org"} },
		"short address":       func(r *Rules) { r.DeniedHosts = []string{"10.1"} },
		"star and a number":   func(r *Rules) { r.DeniedHosts = []string{"*.1"} },
		"address with a zone": func(r *Rules) { r.Hosts = append(r.Hosts, "fe80::1%eth0") },
		"network as host":     func(r *Rules) { r.DeniedHosts = []string{"10.0.0.0/8"} },
		"port zero":           func(r *Rules) { r.Ports = []int{0} },
		"port too high":       func(r *Rules) { r.DeniedPorts = []int{65536} },
		"no network":          func(r *Rules) { r.Networks = []netip.Prefix{{}} },
		"IPv4-mapped network": func(r *Rules) { r.Networks = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} },
		"time-out below zero": func(r *Rules) { r.IdleTimeout = -time.Second },
	} {
		t.Run(name, func(t *testing.T) {
			r := anyHost()
			spoil(&r)
			require.Error(t, r.Validate())
			_, err := r.Check("https://images.example.org/")
			require.True(t, fault.Is(err, fault.Invalid))
		})
	}
}

func TestARefusalShowsNeitherPasswordsNorQueries(t *testing.T) {
	for uri, want := range map[string]string{
		"http://user:secret@host/path":              "http://...@host/path",
		"http://u:p@q:secret@host":                  "http://...@host",
		"https://host/path?X-Amz-Signature=secret":  "https://host/path?...",
		"https://host/a@b":                          "https://host/a@b",
		"http://host/\x1b[2Jé":                      `http://host/\x1b[2J\u00e9`,
		"http://host/" + strings.Repeat("a", 1<<20): "http://host/" + strings.Repeat("a", 188) + "...",
	} {
		require.Equal(t, want, printableURI(uri))
	}
}

// Whatever passes names an allowed scheme, host and port, to this package's reading and to that of anyone who gets the
// checked form.
func FuzzWhatPassesIsAllowed(f *testing.F) {
	for _, seed := range []string{
		"http://images.example.org/x", "https://a.images.example.net:8443/?q#f", "http://93.184.215.14", "http://[2606:2800:21f::1]:80/",
		"http://user@images.example.org/", "http://127.1/", "http://[::ffff:127.0.0.1]/", "http:?://images.example.org", "http://images.example.org\\@x/",
	} {
		f.Add(seed)
	}
	rules := Rules{
		Hosts:       []string{"images.example.org", "*.images.example.net", "93.184.215.14", "2606:2800:21f::1", "127.0.0.1", "::1"},
		DeniedHosts: []string{"internal.images.example.net"},
		Ports:       []int{80, 443, 8443},
		DeniedPorts: []int{443},
	}
	ports := []string{"80", "8443"}
	hosts := []string{"images.example.org", "93.184.215.14", "2606:2800:21f::1"}
	f.Fuzz(func(t *testing.T, uri string) {
		u, err := rules.Check(uri)
		if err != nil {
			require.True(t, fault.Is(err, fault.Invalid))
			require.True(t, printable(fault.Public(err)))
			return
		}
		again, err := url.Parse(u.String())
		require.NoError(t, err)
		for _, u := range []*url.URL{u, again} {
			require.Nil(t, u.User)
			require.Empty(t, u.Opaque)
			port := u.Port()
			switch {
			case u.Scheme == "http" && port == "":
				port = "80"
			case u.Scheme == "https" && port == "":
				port = "443"
			default:
				require.Contains(t, []string{"http", "https"}, u.Scheme)
			}
			require.Contains(t, ports, port)
			_, err := strconv.ParseUint(port, 10, 16)
			require.NoError(t, err)
			host := u.Hostname()
			require.True(t, slices.Contains(hosts, host) ||
				strings.HasSuffix(host, ".images.example.net") && host != "internal.images.example.net", host)
			require.NotContains(t, u.Host, "@")
		}
		checked, err := rules.Check(u.String())
		require.NoError(t, err, "the checked form passes again")
		require.Equal(t, u.String(), checked.String())
	})
}
