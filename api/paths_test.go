package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// escaped is a path with an escape for each character but the slashes.
func escaped(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c == '/' {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

func TestACharacterOfAPathAndItsEscapeAreTheSameEverywhere(t *testing.T) {
	w := newWorld(t)
	made := w.do("demo", "POST", "/compute/v2.1/os-keypairs", map[string]any{"keypair": map[string]any{
		"name": "me@laptop.local", "type": "ssh",
		"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFT3UhXiRPapmhHoZ3/UGJ8wrvLzH+nAsj56wyXMSBOQ me",
	}}, "OpenStack-API-Version", "compute 2.92")
	require.Equal(t, 201, made.status, string(made.body))
	image := w.do("demo", "POST", "/image/v2/images", map[string]any{"name": "i"}).json(t)["id"].(string)
	network := w.do("admin", "POST", "/network/v2.0/networks", map[string]any{"network": map[string]any{"name": "n", "shared": true}}).json(t)["network"].(map[string]any)["id"].(string)
	flavor := w.do("admin", "POST", "/compute/v2.1/flavors", map[string]any{"flavor": map[string]any{"id": "m1 x-1_a", "name": "f", "vcpus": 1, "ram": 64, "disk": 1}})
	require.Equal(t, 200, flavor.status, string(flavor.body))
	for _, path := range []string{
		"/", "/v3", "/v3/auth/catalog", "/v3/regions/RegionOne", "/v3/projects/" + adminProject,
		"/compute/v2.1/servers/detail", "/compute/v2.1/os-keypairs/me@laptop.local", "/compute/v2.1/flavors/m1%20x-1_a",
		"/image/v2/images/" + image, "/image/v2/schemas/image", "/network/v2.0/networks/" + network, "/network/v2.0/ports",
		"/hosts", "/audits/findings", "/reservations", "/healthz",
	} {
		as := "admin"
		if strings.HasPrefix(path, "/compute/v2.1/os-keypairs") {
			as = "demo"
		}
		plain := w.do(as, "GET", path, nil)
		require.Less(t, plain.status, 400, "%s: %s", path, plain.body)
		same := w.do(as, "GET", escaped(strings.ReplaceAll(path, "%20", " ")), nil)
		require.Equal(t, plain.status, same.status, "%s: %s", path, same.body)
		require.Equal(t, string(plain.body), string(same.body), path)
	}
	require.Equal(t, 405, w.do("demo", "PUT", escaped("/image/v2/images"), nil).status)
	require.Equal(t, 202, w.do("demo", "DELETE", "/compute/v2.1/os-keypairs/me%40laptop%2Elocal", nil).status)
}

func TestAPathIsDecodedOnceAndASlashWithinAPartStaysThere(t *testing.T) {
	w := newWorld(t)
	path := "/image/v2/images/" + w.do("demo", "POST", "/image/v2/images", map[string]any{"name": "i"}).json(t)["id"].(string)
	for _, tag := range []string{"a%2Fb", "a%252Fb", "100%25", "%2E%2E", "x%2f..%2f..", "q%3Fx=1%23y", "gr%C3%BC%C3%9Fe", "a+b", "a%2Bc", "%E2%82%AC"} {
		require.Equal(t, 204, w.do("demo", "PUT", path+"/tags/"+tag, nil).status, tag)
	}
	require.ElementsMatch(t, []any{"a/b", "a%2Fb", "100%", "..", "x/../..", "q?x=1#y", "grüße", "a+b", "a+c", "€"}, w.do("demo", "GET", path, nil).json(t)["tags"])

	for _, other := range []string{
		"/v3%2Fauth%2Fcatalog", "/image/v2/images/%2e%2e/images", "/v3/../healthz", "/v3/%2E%2E/healthz", "/v3/.%2e/healthz", "/image%2fv2/images",
		"/%252e%252e/healthz", "/heal%2574hz", "//healthz", "/v3//auth/catalog", "/v3/projects//users/x", "/v3/users//projects", "/image/v2/images//file",
	} {
		require.Equal(t, 404, w.do("demo", "GET", other, nil).status, other)
	}
	for _, bad := range []string{"/v3/%zz", "/v3/%4", "/image/v2/images/%"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
		require.NoError(t, err)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", bad)
		a, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		a.Body.Close()
		require.Equal(t, 400, a.StatusCode, bad)
		require.NoError(t, conn.Close())
	}
	require.Equal(t, 400, w.do("demo", "GET", "/v3/%FF", nil).status, "no text")
	require.Equal(t, 400, w.do("demo", "GET", "/v3/a%00b", nil).status, "a null character")
}

func TestAParameterIsOnePartOfThePath(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/compute/v2.1/os-keypairs/a/b", "/compute/v2.1/os-services/a/b", "/v3/users/" + demoUser + "/groups/more", "/network/v2.0/ports/a/b", "/hosts/a/b/c",
		"/image/v2/tasks/a/b", "/builds/a/b",
	} {
		require.Equal(t, 404, w.do("admin", "GET", path, nil).status, path)
	}
	require.Equal(t, 405, w.do("admin", "DELETE", "/compute/v2.1/os-quota-sets/"+adminProject+"/detail", nil).status, "another method's route")
}

func TestAProjectInThePathIsTheTokens(t *testing.T) {
	w := newWorld(t)
	bare := w.do("demo", "GET", "/compute/v2.1/limits", nil)
	require.Equal(t, 200, bare.status, string(bare.body))
	same := w.do("demo", "GET", "/compute/v2.1/"+demoProject+"/limits", nil)
	require.Equal(t, string(bare.body), string(same.body))
	a := w.do("demo", "GET", "/compute/v2.1/"+otherProject+"/limits", nil)
	require.Equal(t, 400, a.status)
	require.Contains(t, string(a.body), "Malformed request URL: URL's project_id '"+otherProject+"' doesn't match Context's project_id '"+demoProject+"'")
	require.Equal(t, 401, w.do("", "GET", "/compute/v2.1/"+otherProject+"/limits", nil).status)
	require.Equal(t, 404, w.do("demo", "GET", "/compute/v2.1/"+demoProject, nil).status)
}

func TestTheVersionBeforeIsServedWithoutMicroversions(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/compute/v2", "/compute/v2/"} {
		version := w.do("", "GET", path, nil).json(t)["version"].(map[string]any)
		require.Equal(t, []any{"v2.0", "SUPPORTED", "", ""}, []any{version["id"], version["status"], version["version"], version["min_version"]})
	}
	require.Len(t, w.do("", "GET", "/compute", nil).json(t)["versions"], 2)
	asked := []string{"OpenStack-API-Version", "compute 2.96"}
	at21 := w.do("demo", "GET", "/compute/v2.1/flavors/detail", nil)
	for _, path := range []string{"/compute/v2/flavors/detail", "/compute/v2/" + demoProject + "/flavors/detail"} {
		a := w.do("demo", "GET", path, nil, asked...)
		require.Equal(t, 200, a.status, string(a.body))
		require.Equal(t, strings.ReplaceAll(string(at21.body), "/compute/v2.1/", "/compute/v2/"), string(a.body), "whatever version is asked for")
		require.Empty(t, a.header.Get("OpenStack-API-Version"))
	}
	require.Equal(t, 400, w.do("demo", "GET", "/compute/v2/"+otherProject+"/limits", nil).status)
	require.Equal(t, 401, w.do("", "GET", "/compute/v2/limits", nil).status)
}

func TestRoutesThatNovaHasAndThisAPINotSayWhatToAskInstead(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]struct {
		status  int
		version string
		text    string
	}{
		"/os-floating-ips":                 {404, "2.35", "Nova's os-floating-ips is not served: Floating IPs are resources of the network API, at /network/v2.0/floatingips."},
		"/os-networks/1":                   {404, "2.36", "API version 2.36 is not supported on this method."},
		"/os-hosts":                        {404, "2.42", "Hosts are shown by os-hypervisors and os-services."},
		"/os-cells":                        {410, "2.96", "This resource is no longer available. No forwarding address is given."},
		"/servers/x/os-virtual-interfaces": {410, "2.1", "This resource is no longer available."},
		"/os-aggregates/1/images":          {404, "2.81", "Images are not brought to an aggregate's hosts beforehand"},
		"/servers/x/nothing":               {404, "2.1", ""},
		"/nothing":                         {404, "2.1", ""},
	} {
		a := w.do("demo", "GET", "/compute/v2.1"+path, nil, "OpenStack-API-Version", "compute "+want.version)
		require.Equal(t, want.status, a.status, "%s: %s", path, a.body)
		require.Contains(t, string(a.body), want.text, path)
	}
	require.Equal(t, 404, w.do("demo", "POST", "/compute/v2.1/os-floating-ips", map[string]any{"pool": "x"}).status)
	require.Equal(t, 401, w.do("", "GET", "/compute/v2.1/os-cells", nil).status)
}

func TestSlashesAtTheEndOfAPathAreTakenAsEachServiceTakesThem(t *testing.T) {
	w := newWorld(t)
	network := w.do("admin", "POST", "/network/v2.0/networks", map[string]any{"network": map[string]any{"name": "n", "shared": true}}).json(t)["network"].(map[string]any)["id"].(string)
	image := w.do("demo", "POST", "/image/v2/images", map[string]any{"name": "i"}).json(t)["id"].(string)
	for path, status := range map[string]int{
		"/v3/": 200, "/v3//": 200, "/v3/auth/catalog/": 200, "/v3/auth/catalog///": 200, "/v3/regions/RegionOne/": 200, "/": 300, "//": 300,
		"/v3/auth/catalog/%2F": 404,
		"/network/":            200, "/network/v2.0/": 200, "/network/v2.0/networks/": 200, "/network/v2.0/networks/" + network + "/": 200, "/network/v2.0/networks//": 404,
		"/compute/": 200, "/compute/v2.1/": 200, "/compute/v2.1/servers/": 404, "/compute/v2.1/flavors/detail/": 404,
		"/image/": 300, "/image/v2/images/": 404, "/image/v2/images/" + image + "/": 404,
		"/hosts/nothing/": 404,
	} {
		a := w.do("demo", "GET", path, nil)
		require.Equal(t, status, a.status, "%s: %s", path, a.body)
	}
	require.Equal(t, 201, w.do("", "POST", "/v3/auth/tokens/", login(byName("demo"), with(password), nil)).status)
	require.Equal(t, 201, w.do("admin", "POST", "/network/v2.0/networks/", map[string]any{"network": map[string]any{"name": "m"}}).status)
	require.Equal(t, 405, w.do("demo", "DELETE", "/v3/projects/", nil).status)
}
