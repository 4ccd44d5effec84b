package compute_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAggregatesAreTheOperatorsToKeep(t *testing.T) {
	c := newCloud(t)
	create := func(g fields) (int, string) {
		a := c.nova(t, c.admin, at96, "POST", "/os-aggregates", fields{"aggregate": g})
		if a.Status == 200 {
			return 200, fmt.Sprint(a.At(t, "aggregate", "id"))
		}
		return a.Status, a.Message(t)
	}
	for _, r := range [][2]string{{"GET", ""}, {"POST", ""}, {"GET", "/1"}, {"PUT", "/1"}, {"DELETE", "/1"}, {"POST", "/1/action"}} {
		require.Equal(t, 403, c.nova(t, c.member, at96, r[0], "/os-aggregates"+r[1], fields{}).Status, r)
	}
	a := c.nova(t, c.admin, "2.40", "POST", "/os-aggregates", fields{"aggregate": fields{"name": "east", "availability_zone": "east"}})
	require.Equal(t, 200, a.Status, a.Body)
	made := a.At(t, "aggregate").(map[string]any)
	for _, name := range []string{"hosts", "metadata", "uuid"} {
		require.NotContains(t, made, name)
	}
	require.Equal(t, []any{"east", "east", false, nil, nil}, []any{made["name"], made["availability_zone"], made["deleted"], made["deleted_at"], made["updated_at"]})
	id := fmt.Sprint(made["id"])
	path := "/os-aggregates/" + id
	for _, bad := range []fields{{}, {"name": " x"}, {"name": "x", "availability_zone": "a:b"}, {"name": "x", "availability_zone": ""}, {"name": "x", "hosts": []string{}}} {
		status, text := create(bad)
		require.Equal(t, 400, status, "%v: %s", bad, text)
	}
	status, text := create(fields{"name": "east"})
	require.Equal(t, []any{409, "Aggregate east already exists."}, []any{status, text})
	_, plain := create(fields{"name": "plain", "availability_zone": nil})

	act := func(path string, body any) (int, string) {
		a := c.nova(t, c.admin, at96, "POST", path+"/action", body)
		return a.Status, a.Body
	}
	for _, tt := range []struct {
		path   string
		body   any
		status int
		says   string
	}{
		{path, fields{"add_host": fields{"host": "hv1"}}, 200, `"hosts":["hv1"]`},
		{path, fields{"add_host": fields{"host": "hv1"}}, 409, "Aggregate " + id + " already has host hv1."},
		{path, fields{"add_host": fields{"host": "hv9"}}, 404, "Compute host hv9 could not be found."},
		{"/os-aggregates/99", fields{"add_host": fields{"host": "hv1"}}, 404, "Aggregate 99 could not be found."},
		{"/os-aggregates/x", fields{"add_host": fields{"host": "hv1"}}, 400, "id must be an integer"},
		{path, fields{"set_metadata": fields{"metadata": fields{"disk": "ssd", "gpu": "no"}}}, 200, `"metadata":{"availability_zone":"east","disk":"ssd","gpu":"no"}`},
		{path, fields{"set_metadata": fields{"metadata": fields{"gpu": nil}}}, 200, `"metadata":{"availability_zone":"east","disk":"ssd"}`},
		{path, fields{"set_metadata": fields{"metadata": fields{"availability_zone": "a:b"}}}, 400, "does not match"},
		{path, fields{"remove_host": fields{"host": "hv9"}}, 404, "Cannot remove host hv9 in aggregate " + id},
		{path, fields{}, 400, ""}, {path, fields{"shrink": fields{}}, 400, ""},
		{"/os-aggregates/" + plain, fields{"set_metadata": fields{"metadata": fields{"availability_zone": "west"}}}, 200, `"availability_zone":"west"`},
		{"/os-aggregates/" + plain, fields{"add_host": fields{"host": "hv1"}}, 409, "One or more hosts already in different availability zone(s) ['east']"},
	} {
		status, body := act(tt.path, tt.body)
		require.Equal(t, tt.status, status, "%v: %s", tt.body, body)
		require.Contains(t, body, tt.says)
	}
	require.JSONEq(t, `{"availabilityZoneInfo":[{"zoneName":"east","zoneState":{"available":true},"hosts":null}]}`, c.nova(t, c.reader, at96, "GET", "/os-availability-zone", nil).Body)
	boot := func(zone string) int {
		return c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"availability_zone": zone})).Status
	}
	require.Equal(t, []int{202, 400}, []int{boot("east"), boot("nova")})

	a = c.nova(t, c.admin, at96, "PUT", path, fields{"aggregate": fields{"name": "orient", "availability_zone": "orient"}})
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, []any{"orient", "orient", []any{"hv1"}}, []any{a.At(t, "aggregate", "name"), a.At(t, "aggregate", "availability_zone"), a.At(t, "aggregate", "hosts")})
	require.NotNil(t, a.At(t, "aggregate", "updated_at"))
	require.Equal(t, 400, c.nova(t, c.admin, at96, "PUT", path, fields{"aggregate": fields{}}).Status)
	a = c.nova(t, c.admin, at96, "DELETE", path, nil)
	require.Equal(t, []any{400, "Cannot remove aggregate " + id + ". Reason: Host aggregate is not empty."}, []any{a.Status, a.Message(t)})
	a = c.nova(t, c.admin, at96, "PUT", path, fields{"aggregate": fields{"availability_zone": nil}})
	require.Nil(t, a.At(t, "aggregate", "availability_zone"))
	require.Contains(t, c.nova(t, c.reader, at96, "GET", "/os-availability-zone", nil).Body, `"zoneName":"nova"`, "the host's own again")
	status, _ = act(path, fields{"remove_host": fields{"host": "hv1"}})
	require.Equal(t, 200, status)
	require.Len(t, c.nova(t, c.admin, at96, "GET", "/os-aggregates", nil).At(t, "aggregates"), 2)
	require.NotEmpty(t, c.nova(t, c.admin, "2.41", "GET", path, nil).At(t, "aggregate", "uuid"))
	a = c.nova(t, c.admin, at96, "DELETE", path, nil)
	require.Equal(t, []any{200, ""}, []any{a.Status, a.Body})
	require.Equal(t, 404, c.nova(t, c.admin, at96, "GET", path, nil).Status)
}
