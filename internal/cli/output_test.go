package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const twoServers = `{"servers":[
 {"id":"5a1e","name":"web","status":"ACTIVE","OS-EXT-STS:task_state":null,"OS-EXT-STS:power_state":1,"tenant_id":"p1","key_name":"laptop",
  "addresses":{"private":[{"addr":"10.0.0.4","version":4},{"addr":"fd00::4","version":6}],"dmz":[{"addr":"192.0.2.7","version":4}]},
  "flavor":{"original_name":"m1.small","vcpus":1,"ram":2048,"disk":20},"image":{"id":"9b7c"},"created":"2030-01-02T03:04:05Z",
  "OS-EXT-AZ:availability_zone":"nova","OS-EXT-SRV-ATTR:host":"hv1"},
 {"id":"77f0","name":"evil\u001b[2J","status":"BUILD","OS-EXT-STS:task_state":"spawning","addresses":{},"flavor":{"original_name":"tiny"},"image":{"id":"9b7c"}}]}`

func TestAListIsPrintedInEveryForm(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, twoServers)
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "ID    NAME      STATUS  TASK      ADDRESSES                                 FLAVOR\n" +
			"5a1e  web       ACTIVE  -         dmz=192.0.2.7; private=10.0.0.4, fd00::4  m1.small\n" +
			"77f0  evil?[2J  BUILD   spawning  -                                         tiny\n"},
		{[]string{"--no-headers", "--columns", "name,host,OS-EXT-STS:power_state", "-o", "wide"}, "web       hv1  1\nevil?[2J  -    -\n"},
		{[]string{"-o", "name"}, "web\nevil?[2J\n"},
		{[]string{"-o", "value", "-c", "id", "--column", "status"}, "5a1e\tACTIVE\n77f0\tBUILD\n"},
		{[]string{"--quiet"}, "5a1e\n77f0\n"},
	} {
		got := run(t, append([]string{"server", "list"}, tc.args...)...)
		require.Equal(t, 0, got.code, got.err)
		require.Equal(t, tc.want, got.out, "%v", tc.args)
		require.Empty(t, got.err)
	}
	asJSONList := run(t, "server", "list", "-o", "json").out
	require.JSONEq(t, string(twoServers[len(`{"servers":`):len(twoServers)-1]), asJSONList, "the API's own field names")
	yaml := run(t, "server", "list", "-o", "yaml").out
	require.Contains(t, yaml, "OS-EXT-STS:power_state: 1\n", "numbers stay numbers")
	require.Contains(t, yaml, "OS-EXT-SRV-ATTR:host: hv1\n")
}

func TestAnEmptyListIsAnEmptyJSONArray(t *testing.T) {
	a := newAPI(t)
	a.json("GET /network/v2.0/networks", 200, `{"networks":[]}`)
	require.Equal(t, "[]\n", run(t, "network", "list", "-o", "json").out)
}

func TestOneServerIsShownWithItsWholeFault(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"5a1e","name":"web","status":"ERROR","OS-EXT-STS:power_state":0,
	 "metadata":{"role":"web","a":"b"},"tags":["x","y"],"fault":{"code":500,"message":"No valid host was found.\nhv1: no memory\nhv2: disabled"}}]}`)
	require.Equal(t, ""+
		"id          5a1e\nname        web\nstatus      ERROR\npower       none\nmetadata    a=b, role=web\ntags        x, y\n"+
		"fault       No valid host was found.\n            hv1: no memory\n            hv2: disabled\nfault code  500\n", run(t, "server", "show", "web").out)
}

func TestListsAreReadPageByPageUnlessALimitIsGiven(t *testing.T) {
	a := newAPI(t)
	a.sequence("GET /compute/v2.1/servers/detail",
		`{"servers":[{"id":"1","name":"a"},{"id":"2","name":"b"}],"servers_links":[{"rel":"next","href":"http://elsewhere/servers/detail?status=ACTIVE&marker=2"}]}`,
		`{"servers":[{"id":"3","name":"c"}]}`)
	require.Equal(t, "1\n2\n3\n", run(t, "server", "list", "--quiet", "--status", "active").out)
	calls := a.made("GET /compute/v2.1/servers/detail")
	require.Equal(t, "status=ACTIVE", calls[0].query)
	require.Equal(t, "marker=2&status=ACTIVE", calls[1].query)

	a.sequence("GET /image/v2/images", `{"images":[{"id":"1"}],"next":"/v2/images?limit=1&marker=1"}`)
	require.Equal(t, "1\n", run(t, "image", "list", "--quiet", "--limit", "1").out)
	require.Len(t, a.made("GET /image/v2/images"), 1)
}

func TestALimitLargerThanAPageIsReadFromSeveral(t *testing.T) {
	a := newAPI(t)
	a.sequence("GET /image/v2/images", `{"images":[{"id":"1"},{"id":"2"}],"next":"/v2/images?limit=3&marker=2"}`,
		`{"images":[{"id":"3"},{"id":"4"}],"next":"/v2/images?limit=3&marker=4"}`)
	require.Equal(t, "1\n2\n3\n", run(t, "image", "list", "--quiet", "--limit", "3").out)
	require.Len(t, a.made("GET /image/v2/images"), 2)
}

func TestAColumnThatNobodyKnowsIsAnErrorThatNamesTheColumns(t *testing.T) {
	a := newAPI(t)
	flavor := `{"id":"2","name":"m1.small","vcpus":1,"ram":2048,"disk":20,"rxtx_factor":1.0,"swap":null}`
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[`+flavor+`]}`)
	a.json("GET /compute/v2.1/flavors/2", 200, `{"flavor":`+flavor+`}`)
	a.json("POST /compute/v2.1/flavors", 200, `{"flavor":`+flavor+`}`)

	got := run(t, "flavor", "list", "-c", "name", "-c", "VCPUs", "-c", "rxtx_factor", "-c", "swap", "--no-headers")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "m1.small  1  1.0  -\n", got.out)

	got = run(t, "flavor", "list", "-c", "name,nmae", "-c", "ru m")
	require.Equal(t, show.ExitUsage, got.code)
	require.Empty(t, got.out)
	for _, word := range []string{`no column "nmae", "ru m"`, "columns: ID, NAME, ", "rxtx_factor, swap, vcpus"} {
		require.Contains(t, got.err, word)
	}
	got = run(t, "flavor", "show", "2", "-c", "nmae", "-o", "value")
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "columns: ID, NAME, ")

	got = run(t, "flavor", "create", "m1.small", "--vcpus", "1", "--ram", "2048", "-c", "id", "-c", "nmae", "-o", "value")
	require.Equal(t, show.ExitUsage, got.code)
	require.Equal(t, "2\n", got.out, "what was made is told before")

	got = run(t, "flavor", "list", "-c", "name,,id")
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "empty name")
}

func TestAnEmptyListTakesAnyColumnOfItsAPI(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[]}`)
	got := run(t, "image", "list", "-c", "id,os_hash_value")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "ID  OS_HASH_VALUE\n", got.out)
}
