package compute_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/compute"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/models"
)

const microversionsHead = `<!-- Written by api/compute/microversions_test.go, which asks every route in every version: go test ./api/compute -run TestWhatEachMicroversion -update, with the parts of the test environment. -->

# What each microversion changes

Nova's microversions 2.1 to 2.96, as they are answered here. What is in no table is the same in all of them. A request's member is
one that its body may have, an answer's is one that an admin sees; [] is each of a list, {} each of a map that users fill.

`

// history is in which minor versions each member was seen.
type history map[string][]int

func (h history) saw(minor int, members map[string]bool) {
	for m := range members {
		h[m] = append(h[m], minor)
	}
}

// changes are the lines of a table: members that some version has and another has not.
func (h history) changes(subject string) string {
	var b strings.Builder
	for _, member := range slices.Sorted(maps.Keys(h)) {
		if len(h[member]) < compute.MaxMinor-compute.MinMinor+1 {
			fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", subject, member, ranges(h[member]))
		}
	}
	return b.String()
}

// ranges are runs of minor versions, in words.
func ranges(minors []int) string {
	var all []string
	for i := 0; i < len(minors); {
		j := i
		for j+1 < len(minors) && minors[j+1] == minors[j]+1 {
			j++
		}
		switch first, last := minors[i], minors[j]; {
		case last == compute.MaxMinor:
			all = append(all, fmt.Sprintf("since 2.%d", first))
		case first == compute.MinMinor:
			all = append(all, fmt.Sprintf("until 2.%d", last))
		case first == last:
			all = append(all, fmt.Sprintf("2.%d", first))
		default:
			all = append(all, fmt.Sprintf("2.%d to 2.%d", first, last))
		}
		i = j + 1
	}
	return strings.Join(all, ", ")
}

// taken are the members that a schema lets through.
func taken(schema map[string]any, path string, into map[string]bool) {
	for _, alternative := range list(schema["oneOf"]) {
		taken(alternative, path, into)
	}
	if items, ok := schema["items"].(map[string]any); ok {
		taken(items, path+"[]", into)
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, of := range properties {
		at := strings.TrimPrefix(path+"."+name, ".")
		into[at] = true
		if of, ok := of.(map[string]any); ok {
			taken(of, at, into)
		}
	}
}

func list(v any) (all []map[string]any) {
	items, _ := v.([]any)
	for _, i := range items {
		if m, ok := i.(map[string]any); ok {
			all = append(all, m)
		}
	}
	return all
}

// filled are the maps whose keys are users', so that their members are no matter of versions.
var filled = []string{"metadata", "meta", "addresses", "extra_specs", "nova_object.data", "links", "hosts"}

// shown are the members of an answer.
func shown(v any, path string, into map[string]bool) {
	switch v := v.(type) {
	case []any:
		for _, i := range v {
			shown(i, path+"[]", into)
		}
	case map[string]any:
		for name, value := range v {
			at := strings.TrimPrefix(path+"."+name, ".")
			into[at] = true
			if !slices.Contains(filled, name) {
				shown(value, at, into)
			}
		}
	}
}

func TestWhatEachMicroversionTakesAndAnswersIsWrittenDown(t *testing.T) {
	c := newCloud(t)
	s := c.running(t, "web")
	broken := c.row(t, c.member, "broken", time.Now())
	actions, err := c.Store.Actions(t.Context(), broken.ID)
	require.NoError(t, err)
	require.NoError(t, c.Store.FailServer(t.Context(), broken.ID, actions[0].RequestID,
		models.ServerFault{ServerID: broken.ID, Code: 500, Message: "x", Details: "y", CreatedAt: time.Now()},
		[]models.InstanceActionEvent{{Event: contract.ResolveImage, StartedAt: time.Now()}}))
	_, err = c.Store.CreateKeyPair(t.Context(), models.KeyPair{UserID: c.admin.UserID, Name: "k", Type: "ssh", PublicKey: "ssh-ed25519 A", Fingerprint: "f", CreatedAt: time.Now()}, 10)
	require.NoError(t, err)
	_, err = c.Store.CreateFlavor(t.Context(), models.Flavor{ID: "private", Name: "private", VCPUs: 1, RAMMiB: 64, RxTxFactor: 1})
	require.NoError(t, err)
	require.NoError(t, c.Store.BeginMigration(t.Context(), models.Migration{
		ServerID: s.ID, RequestID: "req-m", Kind: models.MigrationResize, SourceHost: c.host.Hostname, DestHost: c.host.Hostname,
		OldFlavor: s.Flavor, NewFlavor: s.Flavor, OldVMState: s.VMState,
	}))
	c.builds.found = contract.Diagnostics{Hypervisor: "kvm", CPUs: []contract.CPUDiagnostics{{}}, Disks: []contract.DiskDiagnostics{{Device: "vda"}}, NICs: []contract.NICDiagnostics{{Device: "tap"}}}

	group, err := c.Store.CreateServerGroup(t.Context(), models.ServerGroup{ProjectID: c.admin.ProjectID, UserID: c.admin.UserID, Name: "g", Policy: models.AntiAffinity, MaxPerHost: new(2)}, -1)
	require.NoError(t, err)
	aggregate, err := c.Store.CreateAggregate(t.Context(), "a", nil)
	require.NoError(t, err)
	console := c.nova(t, c.member, at96, "POST", "/servers/"+s.ID+"/remote-consoles", fields{"remote_console": fields{"protocol": "serial", "type": "serial"}})
	_, token, _ := strings.Cut(console.At(t, "remote_console", "url").(string), "token=")

	var b strings.Builder
	b.WriteString(microversionsHead + "| request | member | versions |\n|---|---|---|\n")
	for _, request := range slices.Sorted(maps.Keys(compute.Bodies)) {
		h := history{}
		for minor := compute.MinMinor; minor <= compute.MaxMinor; minor++ {
			var schema map[string]any
			require.NoError(t, json.Unmarshal([]byte(compute.Bodies[request][minor]), &schema))
			members := map[string]bool{}
			taken(schema, "", members)
			h.saw(minor, members)
		}
		b.WriteString(h.changes(request))
	}

	b.WriteString("\n| answer to | member | versions |\n|---|---|---|\n")
	for _, r := range policy.Routes() {
		path, ours := strings.CutPrefix(r.Path, "/compute/v2.1/")
		if r.Method != "GET" || !ours || path == "" || strings.HasPrefix(path, "os-volumes_boot") || // which is /servers
			path == "servers/:id/migrations/:migration" || // of which there is none
			path == "os-hypervisors/:id/uptime" { // which no host tells
			continue
		}
		template := "/" + path
		key := "role"
		switch {
		case strings.HasPrefix(template, "/flavors"):
			key = "hw:x"
		case strings.HasPrefix(template, "/images"):
			key = "os_type"
		}
		of := func(id string) string {
			return strings.NewReplacer(":request", actions[0].RequestID, ":id", id, ":key", key, ":tag", "blue", ":network", "web", ":name", "k", ":token", token,
				":alias", "os-services", ":before", "2026-01-02%2003:04:05").Replace(template) + queries[template]
		}
		h := history{}
		for minor := compute.MinMinor; minor <= compute.MaxMinor; minor++ {
			version := fmt.Sprintf("2.%d", minor)
			members := map[string]bool{}
			ids := idsOf(c, template, s, broken, minor)
			switch {
			case strings.HasPrefix(template, "/os-server-groups"):
				ids = []string{group.ID}
			case strings.HasPrefix(template, "/os-aggregates"):
				ids = []string{fmt.Sprint(aggregate.ID)}
			}
			for _, id := range ids {
				a := c.nova(t, c.admin, version, "GET", of(id), nil)
				require.Less(t, a.Status, 500, "%s %s: %s", version, template, a.Body)
				if a.Status/100 == 2 {
					members[answered] = true
				}
				if a.Status == 200 {
					shown(a.JSON(t), "", members)
				}
			}
			h.saw(minor, members)
		}
		require.NotEmpty(t, h[answered], "nothing was answered to GET %s", template)
		b.WriteString(h.changes("GET " + template))
	}

	file := filepath.Join("..", "..", "docs", "microversions.md")
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644)) //nolint:gosec // a document
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "an answer or a request changed in some microversion: see that Nova does so too, and write the document anew")
}

// answered is the member of an answer that there is.
const answered = "(the answer)"

// queries are those without which a route answers nothing.
var queries = map[string]string{
	"/os-simple-tenant-usage": "?start=2000-01-01T00:00:00&detailed=1&limit=1", "/os-simple-tenant-usage/:id": "?start=2000-01-01T00:00:00&limit=1",
}

// idsOf are what :id names in a route: those of the world whose answers have all members.
func idsOf(c *cloud, route string, up, broken models.Server, minor int) []string {
	switch {
	case strings.HasSuffix(route, "/os-flavor-access"):
		return []string{"private"}
	case strings.HasPrefix(route, "/flavors"):
		return []string{c.flavor.ID}
	case strings.HasPrefix(route, "/os-quota-sets"):
		return []string{c.admin.ProjectID}
	case strings.HasPrefix(route, "/os-simple-tenant-usage"):
		return []string{up.ProjectID}
	case strings.HasSuffix(route, "/:id/search"), strings.HasSuffix(route, "/:id/servers"):
		return []string{c.host.Hostname}
	case strings.HasPrefix(route, "/os-hypervisors"):
		if minor >= 53 {
			return []string{c.host.ID}
		}
		return []string{strconv.Itoa(compute.NumberOf(c.host.ID))}
	case strings.Contains(route, ":request"):
		return []string{broken.ID}
	case strings.HasPrefix(route, "/images"):
		return []string{c.image}
	case route == "/servers/:id":
		return []string{up.ID, broken.ID}
	}
	return []string{up.ID}
}
