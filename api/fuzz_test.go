package api

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"html"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/ec2"
	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
)

// A few in make test, many by make fuzz:
//
//	go run ./internal/dev/testenv/with --parts postgres go test ./api -run TestWhateverIsAsked -args -seed 7 -requests 100000
var (
	fuzzSeed     = flag.Uint64("seed", 1, "what is asked by TestWhateverIsAskedIsAnsweredAndARefusalChangesNothing")
	fuzzRequests = flag.Int("requests", 1500, "how often it asks")
)

// slow is what no answer may take. One that did is asked again: a machine that is busy with something else is no fault of the API's.
const slow = 2 * time.Second

// fickle is an engine that takes some of what it is asked, refuses some, and is away at times.
type fickle struct {
	noBuilds
	mu sync.Mutex
	r  *rand.Rand
}

func (f *fickle) answer() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []error{nil, nil, errNoBuilds, fault.New(fault.Conflict, "Something else is done to it.")}[f.r.IntN(4)]
}

func (f *fickle) Submit(context.Context, contract.BootInput) error { return f.answer() }
func (f *fickle) Reserve(_ context.Context, in contract.ReserveInput) (int, error) {
	return 1, f.answer()
}
func (f *fickle) Delete(context.Context, contract.DeleteInput) error         { return f.answer() }
func (f *fickle) Do(context.Context, string, contract.ActionInput) error     { return f.answer() }
func (f *fickle) Adopt(context.Context, contract.AdoptInput) error           { return f.answer() }
func (f *fickle) Reset(context.Context, contract.ResetInput) error           { return f.answer() }
func (f *fickle) Act(context.Context, string, contract.OperatorAct) error    { return f.answer() }
func (f *fickle) ForgetHost(context.Context, contract.ForgetHostInput) error { return f.answer() }
func (f *fickle) Console(context.Context, contract.ConsoleInput) (string, error) {
	return "a\nb\n", f.answer()
}
func (f *fickle) Diagnostics(context.Context, contract.GuestInput) (contract.Diagnostics, error) {
	return contract.Diagnostics{}, f.answer()
}
func (f *fickle) HostNetwork(context.Context, contract.HostNetworkInput) (contract.HostNetwork, error) {
	if err := f.answer(); fault.Is(err, fault.Unavailable) { // a look is in nobody's way
		return contract.HostNetwork{}, err
	}
	return contract.HostNetwork{}, nil
}
func (f *fickle) Screenshot(context.Context, contract.GuestInput) (contract.Screenshot, error) {
	return contract.Screenshot{JPEG: []byte("a picture")}, f.answer()
}
func (f *fickle) Import(context.Context, contract.ImportInput) error   { return f.answer() }
func (f *fickle) DrainHost(context.Context, contract.DrainInput) error { return f.answer() }
func (f *fickle) Drain(context.Context, string) (contract.DrainState, error) {
	err := f.answer()
	if fault.Is(err, fault.Conflict) {
		err = fault.New(fault.NotFound, "No drain of the host is known.") // a look is in nothing's way
	}
	return contract.DrainState{}, err
}
func (f *fickle) ActOnDrain(context.Context, string, contract.DrainAct) error { return f.answer() }

// broken are statuses that no answer may have; 0 is none at all.
func broken(status int) bool {
	return status == 0 || status >= 500 && status != http.StatusNotImplemented && status != http.StatusServiceUnavailable
}

// fuzz asks a world.
type fuzz struct {
	*world
	values
	db      *pgx.Conn
	bodies  map[string][]*jsonschema.Schema // what may fit, by route
	schemas []*jsonschema.Schema
	keys    map[string]aws.Credentials
	actions []ec2.Action
	headers map[string][]string // that stand for a token
	counts  map[int]int
	wired   int                 // objects of the network API that were made
	rows    map[string][]string // as they were, as of so many writes
	asOf    uint64
}

func newFuzz(t *testing.T, seed uint64) *fuzz {
	t.Helper()
	dsn := testenv.Migrated(t)
	f := &fuzz{
		values: values{rand.New(rand.NewPCG(seed, 16)), map[string][]string{}}, bodies: map[string][]*jsonschema.Schema{},
		schemas: rest.Schemas(), actions: ec2.Actions(), counts: map[int]int{},
	}
	f.world = newWorldOn(t, dsn)
	maps.Copy(f.bodies, networkSchemas())
	require.NoError(t, f.stop())
	engine := &fickle{r: rand.New(rand.NewPCG(seed, 17))}
	f.builds, f.imports = engine, engine
	f.serve()
	var err error
	f.db, err = pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.db.Close(context.Background()) })
	f.headers = map[string][]string{"host": {"Authorization", "Bearer " + f.admitHost("hv1")}}
	f.enter()
	for kind, names := range map[string][]string{
		"hosts": {"hv1"}, "stores": {"default"}, "tags": {"blue"}, "metadata": {"role"}, "os-extra_specs": {"hw:cpu_policy"}, "regions": {"RegionOne"}, "os-quota-sets": {demoProject, adminProject},
		"os-simple-tenant-usage": {demoProject}, "quotas": {demoProject}, "os-quota-class-sets": {"default"}, "ips": {"n"}, "objects": {"o"}, "properties": {"p"}, "resource_types": {"T"}, "os-instance_usage_audit_log": {"2030-01-01 00:00:00"},
	} {
		f.known[kind] = names
	}
	for kind, path := range map[string]string{
		"services": "/v3/services", "endpoints": "/v3/endpoints", "security_groups": "/network/v2.0/security-groups", "extensions": "/network/v2.0/extensions", "hypervisors": "/compute/v2.1/os-hypervisors",
	} {
		for _, made := range f.do("admin", "GET", path, nil, "X-OpenStack-Nova-API-Version", "2.96").json(t)[kind].([]any) {
			for _, key := range []string{"id", "alias"} {
				if id, is := made.(object)[key].(string); is {
					f.known[alias(kind)] = append(f.known[alias(kind)], id)
				}
			}
		}
	}
	f.more()
	return f
}

// alias is what paths call a kind.
func alias(kind string) string {
	if kind == "hypervisors" {
		return "os-hypervisors"
	}
	return strings.ReplaceAll(kind, "_", "-")
}

// enter gives everybody tokens and access keys, again where they were taken away.
func (f *fuzz) enter() {
	f.issue()
	for name, scope := range map[string]models.Scope{"system": {System: true}, "domain": {DomainID: "default"}} {
		token, hash := auth.NewToken()
		require.NoError(f.t, f.store.CreateToken(f.t.Context(), models.Token{
			Hash: hash, AuditID: auth.NewAuditID(), UserID: adminUser, Scope: scope, Methods: "password", IssuedAt: time.Now().Add(-time.Minute), ExpiresAt: time.Now().Add(time.Hour),
		}))
		f.tokens[name] = token
	}
	_, err := f.db.Exec(f.t.Context(), "DELETE FROM credentials WHERE type = 'ec2' AND user_id = ANY($1)", []string{adminUser, demoUser, readerUser})
	require.NoError(f.t, err)
	f.keys = map[string]aws.Credentials{
		"demo": f.accessKey("demo", demoUser, demoProject), "admin": f.accessKey("admin", adminUser, adminProject), "reader": f.accessKey("reader", readerUser, demoProject),
	}
}

// more makes one more of each kind, for whatever became of those before.
func (f *fuzz) more() {
	f.t.Helper()
	f.restore()
	n := len(f.known["images"])
	name := func(kind string) string { return fmt.Sprintf("%s-%d", kind, n) }
	add := func(kind, id string) { f.known[kind] = append(f.known[kind], id) }
	// make keeps the id of what was made, under the kind that paths call it by.
	make := func(as, kind, path, member string, body object, headers ...string) {
		a := f.do(as, "POST", path, body, headers...)
		if a.status >= 300 {
			// A quota that was used up, or what it is made in is gone; at first neither is.
			require.False(f.t, n == 0 || broken(a.status), "POST %s %v: %d %s", path, body, a.status, a.body)
			return
		}
		made := a.json(f.t)
		if member != "" {
			made = made[member].(object)
		}
		for _, key := range []string{"id", "access", "member_id", "namespace", "name"} {
			switch id := made[key].(type) {
			case string:
				add(kind, id)
				return
			case float64:
				add(kind, fmt.Sprint(int(id)))
				return
			}
		}
	}
	latest := []string{"OpenStack-API-Version", "compute 2.96"}
	for _, kind := range []string{"domain", "project", "group", "role", "user"} {
		if kind != "user" || n%5 == 0 { // whose password takes a while to be hashed, as an application credential's secret
			make("admin", kind+"s", "/v3/"+kind+"s", kind, object{kind: object{"name": name(kind)}})
		}
	}
	if n%5 == 0 {
		make("demo", "application_credentials", "/v3/users/"+demoUser+"/application_credentials", "application_credential", object{"application_credential": object{"name": name("app")}})
	}
	make("demo", "credentials", "/v3/credentials", "credential", object{"credential": object{"type": "cert", "blob": name("blob"), "user_id": demoUser}})
	make("demo", "OS-EC2", "/v3/users/"+demoUser+"/credentials/OS-EC2", "credential", object{"tenant_id": demoProject})
	make("admin", "flavors", "/compute/v2.1/flavors", "flavor", object{"flavor": object{"name": name("flavor"), "vcpus": 1, "ram": 64, "disk": 1}}, latest...)
	make("demo", "os-keypairs", "/compute/v2.1/os-keypairs", "keypair", object{"keypair": object{"name": name("key"), "type": "ssh",
		"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFT3UhXiRPapmhHoZ3/UGJ8wrvLzH+nAsj56wyXMSBOQ me"}}, latest...)
	make("admin", "os-aggregates", "/compute/v2.1/os-aggregates", "aggregate", object{"aggregate": object{"name": name("aggregate")}}, latest...)
	make("demo", "os-server-groups", "/compute/v2.1/os-server-groups", "server_group", object{"server_group": object{"name": name("servers"), "policy": "soft-affinity"}}, latest...)
	make("demo", "images", "/image/v2/images", "", object{"name": name("image"), "disk_format": "raw", "container_format": "bare", "visibility": "shared"})
	if images := f.known["images"]; len(images) > n {
		require.False(f.t, broken(f.do("demo", "PUT", "/image/v2/images/"+images[n]+"/tags/blue", nil).status))
		make("demo", "members", "/image/v2/images/"+images[n]+"/members", "", object{"member": otherProject})
		if n%2 == 0 {
			require.False(f.t, broken(f.do("demo", "PUT", "/image/v2/images/"+images[n]+"/file", []byte(name("bytes"))).status))
		}
	}
	make("admin", "namespaces", "/image/v2/metadefs/namespaces", "", object{"namespace": name("namespace"), "visibility": "public", "tags": []any{object{"name": "blue"}},
		"objects": []any{object{"name": "o"}}, "properties": object{"p": object{"title": "P", "type": "string"}}, "resource_type_associations": []any{object{"name": "T"}}})
	make("demo", "networks", "/network/v2.0/networks", "network", object{"network": object{"name": name("network")}})
	if networks := f.known["networks"]; len(networks) > 0 {
		on := networks[len(networks)-1]
		make("demo", "subnets", "/network/v2.0/subnets", "subnet", object{"subnet": object{"network_id": on, "ip_version": 4, "cidr": "10.0.0.0/24"}})
		make("demo", "ports", "/network/v2.0/ports", "port", object{"port": object{"network_id": on}})
	}
	host := f.do("admin", "POST", "/hosts", object{"host": object{"hostname": name("host")}})
	require.Contains(f.t, []int{http.StatusCreated, http.StatusConflict}, host.status, string(host.body))
	f.known["hosts"] = append(f.known["hosts"], name("host"), "hv1") // the last is asked for most: it has the guests
	add("servers", f.guest())
	add("os-volumes_boot", f.of("servers"))
	add("os-services", f.of("os-hypervisors"))
}

// restore gives back what requests for everybody go on with: the host that has the guests, and what projects may have.
func (f *fuzz) restore() {
	f.t.Helper()
	var there bool
	require.NoError(f.t, f.db.QueryRow(f.t.Context(), "SELECT EXISTS (SELECT FROM hosts WHERE hostname = 'hv1')").Scan(&there))
	if !there {
		f.headers["host"] = []string{"Authorization", "Bearer " + f.admitHost("hv1")}
	}
	for _, statement := range []string{
		"DELETE FROM project_quotas", "DELETE FROM network_quotas", "DELETE FROM quota_classes", "DELETE FROM notifications",
		"UPDATE hosts SET enabled = true, forced_down = false, ready = true, seen_at = now(), vcpus = 1000, memory_mib = 1000000, disk_gib = 1000000 WHERE hostname = 'hv1'",
	} {
		_, err := f.db.Exec(f.t.Context(), statement)
		require.NoError(f.t, err)
	}
}

// guest is a server of the demo project that runs on the host.
func (f *fuzz) guest() string {
	f.t.Helper()
	ctx, now := f.t.Context(), time.Now()
	var host string
	require.NoError(f.t, f.db.QueryRow(ctx, "SELECT id FROM hosts WHERE hostname = 'hv1'").Scan(&host))
	v := models.Server{
		ID: uuid.NewString(), ProjectID: demoProject, UserID: demoUser, Name: "web", Hostname: "web", ImageID: f.of("images"), FlavorID: "1",
		ReservationID: "r-abcdefgh", CreatedAt: now, UpdatedAt: now, Flavor: models.FlavorSnapshot{ID: "1", Name: "m1", VCPUs: 1, RAMMiB: 64},
		Metadata: map[string]string{"role": "web"}, Tags: []string{"blue"},
	}
	create := models.InstanceAction{ServerID: v.ID, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: demoUser, ProjectID: demoProject, StartedAt: now}
	require.NoError(f.t, f.store.RecordServer(ctx, v, create))
	require.NoError(f.t, f.store.Place(ctx, models.Placement{ServerID: v.ID, HostID: host, VCPUs: 1, MemoryMiB: 64}, "networking"))
	require.NoError(f.t, f.store.ActivateServer(ctx, models.Activation{ServerID: v.ID, RequestID: create.RequestID, Hostname: "hv1", PowerState: 1, LaunchedAt: now}))
	return v.ID
}

// request is one that is to be answered.
type request struct {
	as, method, path string
	body             []byte
	headers          []string
}

func (r request) String() string {
	body := fmt.Sprintf("%q", r.body)
	if len(body) > 3000 {
		body = body[:3000] + fmt.Sprintf("… (%d bytes)", len(r.body))
	}
	return fmt.Sprintf("%s %s\n  as %q, headers %q\n  body %s", r.method, r.path, r.as, r.headers, body)
}

// askers are everybody, and who may ask most of a route: the ids that are known are mostly demo's.
var (
	askers = []string{"admin", "demo", "reader", "other", "unscoped", "system", "domain", "host", "", "expired"}
	mostly = map[policy.Who][]string{
		policy.Anybody: {"", "demo"}, policy.Host: {"host"}, policy.Token: {"demo", "admin"}, policy.Project: {"demo", "demo", "admin"}, policy.Member: {"demo", "demo", "admin"}, policy.Admin: {"admin"},
	}
)

var queries = []string{
	"limit", "marker", "sort_key", "sort_dir", "sort", "name", "status", "all_tenants", "deleted", "changes-since", "changes-before", "detailed", "start", "end", "tenant_id", "project_id", "user_id", "host", "ip", "ip6",
	"image", "flavor", "tags", "tags-any", "not-tags", "locked", "availability_zone", "is_public", "minRam", "minDisk", "offset", "reverse", "binary", "hypervisor_hostname_pattern", "with_servers", "id", "fields",
	"shared", "network_id", "device_id", "fixed_ips", "mac_address", "page_reverse", "cidr", "ip_version", "domain_id", "enabled", "is_domain", "include_subtree", "effective", "include_names", "scope.project.id", "scope.system",
	"user.id", "role.id", "group.id", "name__contains", "name__startswith", "parents_as_list", "type", "kind", "purge", "allow_expired", "nocatalog", "owner", "visibility", "member_status", "protected", "os_hidden", "size_min", "size_max", "created_at",
	"updated_at", "disk_format", "container_format", "tag", "token", "path", "server", "store", "all_projects", "instance_uuid", "migration_type", "source_compute", "resource_type", "namespaces", "format", "hidden",
}

// path fills the parameters of a route.
func (f *fuzz) path(route string) string {
	parts := strings.Split(route, "/")
	for i, part := range parts {
		switch {
		case part == "*":
			parts[i] = url.PathEscape(f.part())
		case !strings.HasPrefix(part, ":"):
		case f.often(8):
			parts[i] = url.PathEscape(f.part())
		default:
			kind := parts[i-1]
			if len(f.known[kind]) == 0 {
				kind = kindOf(part)
			}
			parts[i] = url.PathEscape(f.of(kind))
			if kind == "users" && strings.Contains(route, "OS-EC2") || strings.Contains(route, "application_credentials") && part == ":id" {
				parts[i] = demoUser
			}
		}
	}
	path := strings.Join(parts, "/")
	if strings.Contains(path, "%00") && !f.often(5) { // refused before any route
		path = strings.ReplaceAll(path, "%00", "0")
	}
	n := 0
	if f.often(2) {
		n = 1 + f.IntN(3)
	}
	for i := range n {
		path += map[bool]string{true: "?", false: "&"}[i == 0]
		value := f.part()
		if f.often(3) {
			value = f.something()
		}
		path += url.QueryEscape(one(f.values, queries)) + "=" + url.QueryEscape(strings.ToValidUTF8(strings.ReplaceAll(value, "\x00", "0"), "?"))
	}
	return path
}

// part is a text that a path or query may hold: what is longer net/http refuses.
func (f *fuzz) part() string {
	text := f.text()
	return text[:min(len(text), 3000)]
}

// schemasOf are those that a route's bodies may be held against: their words for bodies that fit nothing are the route's.
func (f *fuzz) schemasOf(r policy.Route) []*jsonschema.Schema {
	key := r.Method + " " + r.Path + " " + r.Action
	if found, known := f.bodies[key]; known {
		return found
	}
	saved := f.values.Rand
	defer func() { f.values.Rand = saved }()
	f.values.Rand = rand.New(rand.NewPCG(1, 1)) // asking makes nothing else of a seed
	found := f.schemas
	says := func(body any) string {
		var a answer
		for range 4 { // of one that there is
			path, _, _ := strings.Cut(f.path(r.Path), "?")
			a = f.send(request{as: mostly[r.Who][0], method: r.Method, path: path, body: write(body), headers: []string{"X-OpenStack-Nova-API-Version", "2.96", "Content-Type", typesOf(r)[0]}})
			if a.status != http.StatusNotFound {
				break
			}
		}
		if broken(a.status) {
			f.t.Errorf("%s %s, asked what fits nothing (%s): %d: %s", r.Method, r.Path, write(body), a.status, a.body)
		}
		if a.status != http.StatusBadRequest {
			return ""
		}
		said := html.UnescapeString(strings.ReplaceAll(string(a.body), `\"`, `"`))
		narrowed := slices.DeleteFunc(slices.Clone(found), func(s *jsonschema.Schema) bool {
			err := rest.Check(s, body)
			return err == nil || !strings.Contains(said, err.Error())
		})
		if len(narrowed) > 0 {
			found = narrowed
		}
		return said
	}
	member := r.Action
	for _, body := range []any{object{}, []any{}, object{"zzz": object{}}, object{"name": 1}} {
		if m := requires.FindStringSubmatch(says(body)); m != nil && member == "" {
			member = m[1]
		}
	}
	if member != "" {
		found = slices.DeleteFunc(slices.Clone(f.schemas), func(s *jsonschema.Schema) bool { return !slices.Contains(s.Required, member) })
		for _, body := range []any{object{}, object{"zzz": object{}}, 1, object{"name": 1, "description": 1, "id": 1}} {
			says(object{member: body})
		}
	}
	if len(found) == len(f.schemas) {
		found = nil
	}
	f.bodies[key] = found
	return found
}

// typesOf are the content types of a route's bodies, the one that is meant first.
func typesOf(r policy.Route) []string {
	if r.Method == http.MethodPatch && strings.HasPrefix(r.Path, "/image/") {
		return []string{"application/openstack-images-v2.1-json-patch", "application/openstack-images-v2.0-json-patch", "application/json"}
	}
	return []string{"application/json"}
}

var requires = regexp.MustCompile(`'([^']+)' is a required property`)

// ask makes a request of a route.
func (f *fuzz) ask(r policy.Route) request {
	q := request{as: one(f.values, askers), method: r.Method, path: f.path(r.Path)}
	if fit := mostly[r.Who]; len(fit) > 0 && !f.often(4) {
		q.as = one(f.values, fit)
	}
	if f.often(3) {
		q.headers = append(q.headers, "OpenStack-API-Version", "compute "+one(f.values, []string{"2.1", "2.96", "2.96", "2.96", "2.53", "2.42", "2.25", fmt.Sprintf("2.%d", 1+f.IntN(96)), "latest", "2.97", "3.0", "x"}))
	} else {
		q.headers = append(q.headers, "X-OpenStack-Nova-API-Version", "2.96")
	}
	if f.often(10) {
		q.headers = append(q.headers, one(f.values, []string{"Range", "If-Match", "Accept", "X-OpenStack-Request-ID", "Idempotency-Key", "X-Image-Meta-Store", "X-Openstack-Image-Size", "X-Subject-Token", "Content-Range"}),
			strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return -1
				}
				return r
			}, f.text()))
	}
	if r.Path == "/v3/auth/tokens" && r.Method != http.MethodPost {
		q.headers = append(q.headers, "X-Subject-Token", one(f.values, []string{f.tokens["reader"], f.tokens["expired"], "x"}))
	}
	if r.Method == http.MethodGet && !f.often(20) || r.Method == http.MethodHead {
		return q
	}
	contentType := one(f.values, typesOf(r))
	switch candidates := f.schemasOf(r); {
	case strings.HasSuffix(r.Path, "/file"), strings.HasSuffix(r.Path, "/stage"):
		contentType, q.body = "application/octet-stream", []byte(f.text())
	case strings.HasSuffix(r.Path, "/import") && !f.often(12):
		var value any = object{"method": object{"name": one(f.values, []string{"glance-direct", "web-download", "copy-image"}), "uri": "http://127.0.0.1/x"}, "all_stores": true}
		if f.often(2) {
			value = f.spoilt(value)
		}
		q.body = f.written(value, false)
	case len(candidates) > 0 && !f.often(12):
		value := f.fits(one(f.values, candidates), "", 0)
		spoil := f.often(3)
		if spoil {
			value = f.spoilt(value)
		}
		q.body = f.written(value, spoil)
	case r.Action != "" && f.often(2):
		q.body = f.written(object{r.Action: nil}, false)
	case f.often(2):
		q.body = f.written(f.fits(one(f.values, f.schemas), "", 0), true)
	case r.Action != "":
		q.body = f.written(object{r.Action: f.wrong()}, true)
	default:
		q.body = f.written(f.wrong(), true)
	}
	if f.often(15) {
		contentType = one(f.values, []string{"text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "x", "multipart/form-data; boundary=x", ""})
	}
	q.headers = append(q.headers, "Content-Type", contentType)
	return q
}

var parameterNumber = regexp.MustCompile(`\.N\b`)

// askEC2 makes a request of the EC2 API, signed by who has a key.
func (f *fuzz) askEC2() request {
	action := one(f.values, f.actions)
	form := url.Values{"Action": {action.Name}, "Version": {"2016-11-15"}}
	if f.often(30) {
		form.Set("Version", f.text())
	}
	for range f.IntN(5) {
		name := f.text()
		if takes := slices.Concat(action.Takes, action.Refuses); len(takes) > 0 && !f.often(8) {
			name, _, _ = strings.Cut(one(f.values, takes), " ")
			name = parameterNumber.ReplaceAllStringFunc(strings.Trim(name, "*"), func(string) string {
				return "." + one(f.values, []string{"1", "1", "1", "2", "0", "-1", "01", "99999999999", "x"})
			})
		}
		value := f.text()
		switch f.IntN(4) {
		case 0:
			value = one(f.values, plausible)
		case 1:
			value = one(f.values, []string{"i-", "ami-", "vol-", "subnet-", "vpc-", "eni-", "sg-", "r-"}) + one(f.values, []string{"00000001", "0123456789abcdef0", "zz", "", strings.Repeat("f", 300)})
		case 2:
			value = f.ec2ID(name)
		}
		form.Set(name, value)
	}
	as := one(f.values, []string{"demo", "admin", "reader", "demo"})
	return request{as: as, method: http.MethodPost, path: "/ec2/", body: []byte(form.Encode()), headers: []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}}
}

// ec2ID is the id of something that there is, of the kind that a parameter's name tells.
func (f *fuzz) ec2ID(parameter string) string {
	switch {
	case strings.Contains(parameter, "Image"), strings.Contains(parameter, "Kernel"), strings.Contains(parameter, "Ramdisk"):
		id := f.of("images")
		named, err := f.store.EC2ImageIDs(f.t.Context(), []string{id})
		require.NoError(f.t, err)
		return named[id]
	case strings.Contains(parameter, "Subnet"):
		return ids.EC2(ids.EC2Subnet, f.of("subnets"))
	case strings.Contains(parameter, "Interface"):
		return ids.EC2(ids.EC2Interface, f.of("ports"))
	case strings.Contains(parameter, "Vpc"):
		return ids.EC2(ids.EC2VPC, f.of("networks"))
	}
	return ids.EC2(ids.EC2Instance, f.of("servers"))
}

// send asks, as the request says and as whoever it says. The answer's status is 0 where there was none.
func (f *fuzz) send(q request) answer {
	f.t.Helper()
	r, err := http.NewRequestWithContext(f.t.Context(), q.method, f.url+q.path, bytes.NewReader(q.body))
	require.NoError(f.t, err, q.String())
	for i := 0; i < len(q.headers); i += 2 {
		r.Header.Set(q.headers[i], q.headers[i+1])
	}
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	switch more := f.headers[q.as]; {
	case strings.HasPrefix(q.path, "/ec2"):
		require.NoError(f.t, v4.NewSigner().SignHTTP(f.t.Context(), f.keys[q.as], r, sigv4.HashBody(q.body), "ec2", "RegionOne", time.Now()))
	case len(more) > 0:
		r.Header.Set(more[0], more[1])
	case q.as != "":
		r.Header.Set("X-Auth-Token", f.tokens[q.as])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	return answer{resp.StatusCode, resp.Header, body}
}

// writes is a number that grows whenever a transaction writes anything.
func (f *fuzz) writes() (n uint64) {
	require.NoError(f.t, f.db.QueryRow(f.t.Context(), "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").Scan(&n))
	return n
}

// judge says what is wrong with how a request was answered, "" where nothing is.
func (f *fuzz) judge(q request) string {
	f.t.Helper()
	check := q.method != http.MethodGet && q.method != http.MethodHead
	var before map[string][]string
	var written uint64
	if check {
		before, written = f.whole(), f.writes()
	}
	began := time.Now()
	a := f.send(q)
	for tries := 1; time.Since(began) > slow; tries++ {
		if tries == 10 {
			return "it took longer than " + slow.String()
		}
		check = false // what the first one did, this one meets
		began = time.Now()
		a = f.send(q)
	}
	f.counts[a.status]++
	if q.method == http.MethodPost && a.status == http.StatusCreated && strings.HasPrefix(q.path, "/network/") {
		f.wired++
	}
	switch {
	case a.status == 0:
		return "it was not answered: " + string(a.body)
	case broken(a.status):
		return fmt.Sprintf("it was answered %d: %s", a.status, a.body)
	case a.status >= 400 && check && f.writes() != written:
		if changed := differences(before, f.whole(), a.status); changed != "" {
			return fmt.Sprintf("it was refused with %d, %s, and left behind: %s", a.status, a.body, changed)
		}
	}
	if a.status >= 400 && q.method != http.MethodHead && strings.HasPrefix(a.header.Get("Content-Type"), "application/json") && !json.Valid(a.body) {
		return fmt.Sprintf("its refusal is no JSON: %q", a.body)
	}
	if a.status == http.StatusUnauthorized && q.as == "host" {
		token, hash := auth.NewToken()
		_, err := f.db.Exec(f.t.Context(), "UPDATE hosts SET token_hash = $1 WHERE hostname = 'hv1'", hash)
		require.NoError(f.t, err)
		f.headers["host"] = []string{"Authorization", "Bearer " + token}
	}
	if a.status == http.StatusUnauthorized && f.tokens[q.as] != "" && q.as != "expired" && f.do(q.as, "GET", "/v3/auth/projects", nil).status == http.StatusUnauthorized {
		f.enter() // what was asked before has revoked the token
	}
	return ""
}

// whole is all rows and files.
func (f *fuzz) whole() map[string][]string {
	f.t.Helper()
	written := f.writes()
	if f.rows != nil && f.asOf == written {
		return f.rows
	}
	all, err := f.store.Snapshot(f.t.Context(), "images.updated_at") // an image whose bytes are refused was saving meanwhile
	require.NoError(f.t, err)
	all["files"] = f.bytesKept()
	f.rows, f.asOf = all, written
	return all
}

// given has the numbers of EC2's ids, which the first who sees an image gives it.
const given = "ec2_image_ids"

// noted are the tables that tell what became of what a server was asked, also where the engine took it not.
var noted = []string{"instance_actions", "instance_action_events", "notifications", "notification_deliveries"}

func differences(before, after map[string][]string, status int) string {
	var all []string
	for _, table := range slices.Sorted(maps.Keys(after)) {
		if table == given || slices.Contains(noted, table) && slices.Contains([]int{http.StatusConflict, http.StatusServiceUnavailable}, status) {
			continue
		}
		gone := slices.DeleteFunc(slices.Clone(before[table]), func(row string) bool { return slices.Contains(after[table], row) })
		come := slices.DeleteFunc(slices.Clone(after[table]), func(row string) bool { return slices.Contains(before[table], row) })
		if len(come)+len(gone) > 0 {
			all = append(all, fmt.Sprintf("%s: - %v + %v", table, gone, come))
		}
	}
	return strings.Join(all, "; ")
}

// TestWhateverIsAskedIsAnsweredAndARefusalChangesNothing asks every route of every face what makes sense, and what makes none, as everybody.
func TestWhateverIsAskedIsAnsweredAndARefusalChangesNothing(t *testing.T) {
	f := newFuzz(t, *fuzzSeed)
	var routes []policy.Route
	for _, r := range policy.Routes() {
		if r.Path != policy.EC2Path && (!strings.HasPrefix(r.But, "refused") || len(routes)%20 == 0) { // and some of those that always are
			routes = append(routes, r)
		}
	}
	var wrong []string
	judged := func(q request) {
		if why := f.judge(q); why != "" {
			wrong = append(wrong, fmt.Sprintf("%s\n  %v", why, q))
		}
	}
	for i := range *fuzzRequests {
		if i%100 == 0 {
			f.more()
		}
		q := f.askEC2()
		if !f.often(10) {
			q = f.ask(routes[(i+f.IntN(7))%len(routes)]) // each in turn, but not always after the same
		}
		judged(q)
	}
	// Little of what is asked of networks is fit to be made.
	makes := slices.DeleteFunc(slices.Clone(routes), func(r policy.Route) bool {
		return r.Method != http.MethodPost || !strings.HasPrefix(r.Path, "/network/")
	})
	for i := 0; i < *fuzzRequests && f.wired == 0; i++ {
		judged(f.ask(makes[i%len(makes)]))
	}
	t.Logf("seed %d: %d requests, answered %v", *fuzzSeed, *fuzzRequests, f.counts)
	for _, w := range wrong {
		t.Error(w)
	}
	require.Greater(t, f.counts[200]+f.counts[201]+f.counts[202]+f.counts[204], *fuzzRequests/8, "what is always refused shows little")
	require.Positive(t, f.wired, "the network API made nothing")
}
