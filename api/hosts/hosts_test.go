package hosts_test

import (
	"context"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/hosts"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/service/consoles"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

type fields = map[string]any

type env struct {
	*apitest.Env
	keys          *payload.Keys
	bytes         *imagestore.Stores
	admin, member apitest.User
	done          actions
}

func (a *actions) Delete(_ context.Context, in contract.DeleteInput) error {
	if a.fault == nil {
		a.ended = append(a.ended, in)
	}
	return a.fault
}

// actions stands at the port to Temporal: nothing but actions is asked of it here.
type actions struct {
	servers.Engine
	begun   []contract.ActionInput
	forget  func(contract.ForgetHostInput) error
	drain   func(contract.DrainInput) error
	drains  contract.DrainState
	told    []contract.DrainAct
	ended   []contract.DeleteInput
	fault   error // of what is asked of a drain, of a delete, or of a host
	looked  []string
	network contract.HostNetwork
}

func (a *actions) HostNetwork(_ context.Context, in contract.HostNetworkInput) (contract.HostNetwork, error) {
	a.looked = append(a.looked, in.Hostname)
	return a.network, a.fault
}

func (a *actions) DrainHost(_ context.Context, in contract.DrainInput) error { return a.drain(in) }

func (a *actions) Drain(context.Context, string) (contract.DrainState, error) {
	return a.drains, a.fault
}

func (a *actions) ActOnDrain(_ context.Context, _ string, act contract.DrainAct) error {
	if a.fault == nil {
		a.told = append(a.told, act)
	}
	return a.fault
}

func (a *actions) ForgetHost(_ context.Context, in contract.ForgetHostInput) error {
	return a.forget(in)
}

func (a *actions) Do(_ context.Context, _ string, in contract.ActionInput) error {
	a.begun = append(a.begun, in)
	return nil
}

func newEnv(t *testing.T) *env {
	t.Helper()
	keys := testenv.PayloadKeys(t)
	config := hosts.Config{HeartbeatInterval: 5 * time.Second, DownAfter: time.Minute, Keys: keys}
	e := &env{keys: keys}
	e.bytes = newBytes(t)
	e.Env = apitest.New(t, func(x *echo.Echo, store *models.Store) {
		hosts.New(store, images.New(store, e.bytes, images.Config{MaxBytes: 1 << 30}, slog.New(slog.DiscardHandler)), servers.New(store, &e.done, servers.Config{Keys: keys}), consoles.New(store, nil, consoles.Config{}), config).Mount(x.Group("/hosts"))
	})
	e.admin, e.member = e.User(t, "ops", "admin"), e.User(t, "one", "member")
	return e
}

// admit makes a host and gives its token.
func (e *env) admit(t *testing.T, hostname string) (id, token string) {
	t.Helper()
	a := e.Do(t, "POST", "/hosts", e.admin.Token, fields{"host": fields{"hostname": hostname, "availability_zone": "rack-a"}})
	require.Equal(t, 201, a.Status, a.Body)
	return a.At(t, "host", "id").(string), a.At(t, "host", "token").(string)
}

// self sends a request with a host's own token.
func (e *env) self(t *testing.T, token, method, path string, body any, headers ...string) apitest.Answer {
	t.Helper()
	return e.Do(t, method, "/hosts"+path, "", body, append(headers, "Authorization", "Bearer "+token)...)
}

func registration(hostname string) fields {
	return fields{"host": fields{
		"hostname": hostname, "vcpus": 8, "memory_mib": 16384, "disk_gib": 200, "hypervisor_type": "QEMU", "hypervisor_version": 7002000,
		"architectures": []string{"x86_64"}, "kvm": false, "uefi": true, "cpu_ratio": 4.0, "ram_ratio": 1.0, "disk_ratio": 1.0, "reserved_memory_mib": 512,
		"version": "v1", "ready": true,
	}}
}

func TestAHostRegistersAndLives(t *testing.T) {
	e := newEnv(t)
	id, token := e.admit(t, "hv1")
	show := func() map[string]any {
		a := e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil)
		require.Equal(t, 200, a.Status, a.Body)
		require.NotContains(t, a.Body, token)
		return a.At(t, "host").(map[string]any)
	}
	h := show()
	require.Equal(t, []any{id, "down", false, true, nil}, []any{h["id"], h["state"], h["ready"], h["enabled"], h["seen_at"]})

	a := e.self(t, token, "PUT", "/self", registration("hv1"))
	require.Equal(t, 200, a.Status, a.Body)
	require.JSONEq(t, `{"host":{"id":"`+id+`","hostname":"hv1","availability_zone":"rack-a","heartbeat_interval":5}}`, a.Body)
	h = show()
	require.Equal(t, []any{id, "up", true, 8.0, 16384.0, 200.0, 4.0, 512.0, "v1", "QEMU", false, true},
		[]any{h["id"], h["state"], h["ready"], h["vcpus"], h["memory_mib"], h["disk_gib"], h["cpu_ratio"], h["reserved_memory_mib"], h["version"], h["hypervisor_type"], h["kvm"], h["uefi"]})

	beat := fields{"host": fields{"ready": false, "not_ready_reason": "libvirtd does not answer", "vcpus": 8, "memory_mib": 16384, "disk_gib": 150, "version": "v2"}}
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat).Status)
	h = show()
	require.Equal(t, []any{"up", false, "libvirtd does not answer", 150.0, "v2"}, []any{h["state"], h["ready"], h["not_ready_reason"], h["disk_gib"], h["version"]})

	machine := `{"cpu":{"arch":"x86_64","vendor":"v","model":"m","features":["sse2"],"topology":{"sockets":1,"cores":2,"threads":1}},"booted_at":"2026-03-01T00:00:00Z","load":[1,0.5,0],"later":1}`
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat, "Slipway-Machine", machine).Status)
	require.Equal(t, 400, e.self(t, token, "POST", "/self/heartbeat", beat, "Slipway-Machine", "{").Status)
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat).Status, "a host of the version before says nothing of it")
	row, err := e.Store.Host(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []any{"m", []string{"sse2"}, 2, [3]float64{1, 0.5, 0}, "127.0.0.1"},
		[]any{row.Machine.CPU.Model, row.Machine.CPU.Features, row.Machine.CPU.Topology.Cores, row.Machine.Load, row.Address})
	require.NoError(t, e.Store.ForceHostDown(t.Context(), id, true))
	h = show()
	require.Equal(t, []any{"down", false, "forced down by an operator"}, []any{h["state"], h["ready"], h["not_ready_reason"]})
	require.NoError(t, e.Store.ForceHostDown(t.Context(), id, false))

	require.Nil(t, h["trial"])
	trial := fields{"at": "2026-03-04T05:06:07.25Z", "since": "2026-03-01T00:00:00Z", "passed": true, "virt_type": "kvm", "cpu": "host-model", "accelerated": true}
	beat["host"].(fields)["trial"] = trial
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat).Status)
	delete(beat["host"].(fields), "trial")
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat).Status, "a host of the version before says nothing of it")
	h = show()
	require.Equal(t, []any{trial, true}, []any{h["trial"], h["kvm"]})
	beat["host"].(fields)["trial"] = fields{"at": "yesterday"}
	require.Equal(t, 400, e.self(t, token, "POST", "/self/heartbeat", beat).Status)
	emulated := registration("hv1")
	trial["virt_type"], trial["accelerated"], trial["reason"] = "qemu", false, "there is no /dev/kvm"
	emulated["host"].(fields)["trial"] = trial
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", emulated).Status)
	h = show()
	require.Equal(t, []any{trial, false}, []any{h["trial"], h["kvm"]})

	require.NoError(t, e.Store.HeartbeatHost(context.Background(), id, models.HostHeartbeat{Ready: true, VCPUs: 8, MemoryMiB: 1, DiskGiB: 1}, time.Now().Add(-2*time.Minute)))
	h = show()
	require.Equal(t, []any{"down", false}, []any{h["state"], h["ready"]}, "silence outweighs its last word")
}

func TestAHostTellsWhenItsCertificateEnds(t *testing.T) {
	e := newEnv(t)
	_, token := e.admit(t, "hv1")
	shown := func() []any {
		t.Helper()
		h := e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil).At(t, "host").(map[string]any)
		return []any{h["certificate_expires_at"], h["certificate_expires_soon"]}
	}
	say := func(method, path string, body any, headers ...string) {
		t.Helper()
		a := e.self(t, token, method, path, body, headers...)
		require.Less(t, a.Status, 300, a.Body)
	}
	beat := fields{"host": fields{"ready": true, "vcpus": 8, "memory_mib": 16384, "disk_gib": 150}}
	require.Equal(t, []any{nil, false}, shown())
	far := time.Now().Add(31 * 24 * time.Hour).UTC().Format(time.RFC3339)
	say("PUT", "/self", registration("hv1"), "Slipway-Certificate-Expires", far)
	require.Equal(t, []any{far, false}, shown())
	near := time.Now().Add(29 * 24 * time.Hour).UTC().Format(time.RFC3339)
	say("POST", "/self/heartbeat", beat, "Slipway-Certificate-Expires", near)
	require.Equal(t, []any{near, true}, shown())
	say("POST", "/self/heartbeat", beat, "Slipway-Certificate-Expires", "tomorrow")
	require.Equal(t, []any{nil, false}, shown(), "what is no moment is none")
	say("PUT", "/self", registration("hv1"), "Slipway-Certificate-Expires", "2026-03-04T05:06:07Z")
	require.Equal(t, []any{"2026-03-04T05:06:07Z", true}, shown(), "it has expired")
	say("POST", "/self/heartbeat", beat)
	require.Equal(t, []any{nil, false}, shown(), "a host without one, or of the version before")
}

func TestOnlyTheHostsOwnTokenSpeaksForIt(t *testing.T) {
	e := newEnv(t)
	_, one := e.admit(t, "hv1")
	_, two := e.admit(t, "hv2")
	for _, auth := range []string{"", "Bearer ", "Bearer wrong", "Basic " + one, one} {
		for _, r := range [][2]string{{"PUT", "/hosts/self"}, {"POST", "/hosts/self/heartbeat"}, {"GET", "/hosts/images/" + uuid.NewString() + "/file"}} {
			a := e.Do(t, r[0], r[1], "", registration("hv1"), "Authorization", auth)
			require.Equal(t, 401, a.Status, "%s %s", r, auth)
			require.NotEmpty(t, a.Header.Get("WWW-Authenticate"))
		}
	}
	a := e.Do(t, "PUT", "/hosts/self", e.admin.Token, registration("hv1"))
	require.Equal(t, 401, a.Status, "an admin's token is no host's")
	a = e.self(t, two, "PUT", "/self", registration("hv1"))
	require.Equal(t, 403, a.Status)
	require.Equal(t, "This token is that of host hv2, not of hv1.", a.Message(t))
	h, err := e.Store.HostByName(t.Context(), "hv1")
	require.NoError(t, err)
	require.Zero(t, h.VCPUs)
	require.Equal(t, 401, e.self(t, one, "GET", "", nil).Status, "a host sees no hosts")

	a = e.Do(t, "POST", "/hosts/hv1/token", e.admin.Token, nil)
	require.Equal(t, 200, a.Status, a.Body)
	fresh := a.At(t, "host", "token").(string)
	require.NotEqual(t, one, fresh)
	require.Equal(t, 401, e.self(t, one, "PUT", "/self", registration("hv1")).Status, "the old one ends at once")
	require.Equal(t, 200, e.self(t, fresh, "PUT", "/self", registration("hv1")).Status)
	require.Equal(t, 200, e.self(t, two, "PUT", "/self", registration("hv2")).Status)
}

func TestHostsAreTheAdminsBusiness(t *testing.T) {
	e := newEnv(t)
	id, token := e.admit(t, "hv1")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	for _, r := range [][2]string{{"GET", ""}, {"POST", ""}, {"GET", "/hv1"}, {"PATCH", "/hv1"}, {"DELETE", "/hv1"}, {"POST", "/hv1/token"}} {
		require.Equal(t, 403, e.Do(t, r[0], "/hosts"+r[1], e.member.Token, fields{}).Status, r)
		require.Equal(t, 401, e.Do(t, r[0], "/hosts"+r[1], "", fields{}).Status, r)
	}
	for _, tt := range []struct {
		body    any
		status  int
		message string
	}{
		{fields{"host": fields{"hostname": "hv1"}}, 409, "Host hv1 exists already. POST /hosts/hv1/token gives it a new token."},
		{fields{"host": fields{"hostname": "self"}}, 400, "Invalid hostname 'self': it must be a DNS name, and not self, images or a UUID."},
		{fields{"host": fields{"hostname": "a b"}}, 400, ""},
		{fields{"host": fields{"hostname": "-a"}}, 400, ""},
		{fields{"host": fields{"hostname": uuid.NewString()}}, 400, ""},
		{fields{"host": fields{"hostname": "hv2", "availability_zone": "a:b"}}, 400, ""},
		{fields{"host": fields{"hostname": strings.Repeat("a", 300)}}, 400, ""},
		{fields{"host": fields{}}, 400, ""},
		{fields{"host": fields{"hostname": "hv2", "vcpus": 4}}, 400, ""},
		{`{`, 400, "Malformed request body"},
	} {
		a := e.Do(t, "POST", "/hosts", e.admin.Token, tt.body)
		require.Equal(t, tt.status, a.Status, "%v: %s", tt.body, a.Body)
		if tt.message != "" {
			require.Equal(t, tt.message, a.Message(t))
		}
	}
	a := e.Do(t, "GET", "/hosts", e.admin.Token, nil)
	require.Len(t, a.At(t, "hosts"), 1, "nothing was made")

	a = e.Do(t, "PATCH", "/hosts/"+id, e.admin.Token, fields{"host": fields{"enabled": false, "disabled_reason": "new memory"}})
	require.Equal(t, []any{false, "new memory"}, []any{a.At(t, "host", "enabled"), a.At(t, "host", "disabled_reason")})
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	a = e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil)
	require.Equal(t, false, a.At(t, "host", "enabled"), "registering again does not enable")
	require.Equal(t, 400, e.Do(t, "PATCH", "/hosts/hv1", e.admin.Token, fields{"host": fields{"enabled": true, "disabled_reason": "x"}}).Status)
	a = e.Do(t, "PATCH", "/hosts/hv1", e.admin.Token, fields{"host": fields{"enabled": true}})
	require.Equal(t, []any{true, nil}, []any{a.At(t, "host", "enabled"), a.At(t, "host", "disabled_reason")})

	a = e.Do(t, "GET", "/hosts/hv9", e.admin.Token, nil)
	require.Equal(t, 404, a.Status)
	require.Equal(t, "Host hv9 could not be found.", a.Message(t))
	require.Equal(t, 204, e.Do(t, "DELETE", "/hosts/hv1", e.admin.Token, nil).Status)
	require.Equal(t, 404, e.Do(t, "DELETE", "/hosts/hv1", e.admin.Token, nil).Status)
	require.Equal(t, 401, e.self(t, token, "PUT", "/self", registration("hv1")).Status, "a forgotten host is no host")
}

func TestAHostThatHoldsServersStays(t *testing.T) {
	e := newEnv(t)
	ctx := context.Background()
	id, token := e.admit(t, "hv1")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	image, server := uuid.NewString(), uuid.NewString()
	_, err := e.Store.CreateImage(ctx, models.Image{ID: image, OwnerID: e.member.ProjectID, Status: models.ImageActive, Visibility: "public"}, nil)
	require.NoError(t, err)
	_, err = e.Store.CreateFlavor(ctx, models.Flavor{ID: "1", Name: "f", VCPUs: 1, RAMMiB: 1, RxTxFactor: 1, Public: true})
	require.NoError(t, err)
	require.NoError(t, e.Store.RecordServer(ctx, models.Server{ID: server, ProjectID: e.member.ProjectID, UserID: e.member.UserID, Name: "s", Hostname: "s", ImageID: image, FlavorID: "1"},
		models.InstanceAction{ServerID: server, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: e.member.UserID, ProjectID: e.member.ProjectID, StartedAt: time.Now(), UpdatedAt: time.Now()}))
	require.NoError(t, e.Store.Place(ctx, models.Placement{ServerID: server, HostID: id, VCPUs: 2, MemoryMiB: 1024, DiskGiB: 5}, "networking"))
	a := e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil)
	require.Equal(t, []any{1.0, 2.0, 1024.0, 5.0}, []any{a.At(t, "host", "servers"), a.At(t, "host", "used_vcpus"), a.At(t, "host", "used_memory_mib"), a.At(t, "host", "used_disk_gib")})
	a = e.Do(t, "DELETE", "/hosts/hv1", e.admin.Token, nil)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Host hv1 holds 1 servers. Delete them first.", a.Message(t))

	a = e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil)
	require.Equal(t, 0.0, a.At(t, "host", "leftovers"))
	began := a.At(t, "host", "back_at")
	require.NotNil(t, began)
	actions, err := e.Store.Actions(ctx, server)
	require.NoError(t, err)
	require.NoError(t, e.Store.FailServer(ctx, server, actions[0].RequestID, models.ServerFault{Code: 500, Message: "x"}, nil))
	require.NoError(t, e.Store.HeartbeatHost(ctx, id, models.HostHeartbeat{Ready: true, VCPUs: 8, MemoryMiB: 1, DiskGiB: 1}, time.Now().Add(-2*time.Minute)))
	beat := fields{"host": fields{"ready": true, "vcpus": 8, "memory_mib": 16384, "disk_gib": 150, "version": "v2"}}
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat).Status)
	a = e.Do(t, "GET", "/hosts", e.admin.Token, nil)
	h := a.At(t, "hosts").([]any)[0].(fields)
	require.Equal(t, 1.0, h["leftovers"], "the build failed, and its files have not gone yet")
	require.GreaterOrEqual(t, h["back_at"], began, "it was silent for longer than builds wait")
}

// imageOf makes an image with bytes, or a queued one where it has none.
func (e *env) imageOf(t *testing.T, content string, properties map[string]string) string {
	t.Helper()
	id, qcow2, bare := uuid.NewString(), "qcow2", "bare"
	_, err := e.Store.CreateImage(t.Context(), models.Image{
		ID: id, OwnerID: e.member.ProjectID, Visibility: "private", DiskFormat: &qcow2, ContainerFormat: &bare, Properties: properties,
	}, nil)
	require.NoError(t, err)
	if content == "" {
		return id
	}
	size, sum := int64(len(content)), strings.Repeat("0", 128)
	_, err = e.Store.MoveImage(t.Context(), id, models.ImageMove{To: models.ImageSaving})
	require.NoError(t, err)
	_, err = e.Store.MoveImage(t.Context(), id, models.ImageMove{To: models.ImageActive, Bytes: &models.ImageBytes{Size: size, Virtual: size, SHA512: sum}})
	require.NoError(t, err)
	putBytes(t, e.bytes, id, content)
	return id
}

// build records a server of the image and places it on the host.
func (e *env) build(t *testing.T, imageID, hostID string) (serverID, requestID string) {
	t.Helper()
	id := uuid.NewString()
	require.NoError(t, e.Store.RecordServer(t.Context(), models.Server{
		ID: id, ProjectID: e.member.ProjectID, UserID: e.member.UserID, Name: "s", Hostname: "s", ImageID: imageID, FlavorID: "1",
	}, models.InstanceAction{RequestID: "req-" + id, Action: "create", UserID: e.member.UserID, ProjectID: e.member.ProjectID}))
	require.NoError(t, e.Store.Place(t.Context(), models.Placement{ServerID: id, HostID: hostID}, lifecycle.Scheduling))
	return id, "req-" + id
}

func TestAHostFetchesTheBytesOfActiveImages(t *testing.T) {
	e := newEnv(t)
	host, token := e.admit(t, "hv1")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	active, queued, broken := e.imageOf(t, "0123456789", nil), e.imageOf(t, "", nil), e.imageOf(t, "lost", nil)
	for _, id := range []string{active, queued, broken} {
		e.build(t, id, host)
	}
	require.NoError(t, e.bytes.Delete(t.Context(), broken))
	a := e.self(t, token, "GET", "/images/"+active+"/file", nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, "0123456789", a.Body)
	a = e.self(t, token, "GET", "/images/"+active+"/file", nil, "Range", "bytes=4-")
	require.Equal(t, 206, a.Status)
	require.Equal(t, "456789", a.Body)
	require.Equal(t, "bytes 4-9/10", a.Header.Get("Content-Range"))
	require.Equal(t, 416, e.self(t, token, "GET", "/images/"+active+"/file", nil, "Range", "bytes=40-").Status)
	for _, id := range []string{queued, broken, uuid.NewString(), "no-uuid"} {
		require.Equal(t, 404, e.self(t, token, "GET", "/images/"+id+"/file", nil).Status, id)
	}
}

func TestAHostsTokenReachesTheImagesOfItsOwnServersAlone(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	mine, token := e.admit(t, "hv1")
	other, others := e.admit(t, "hv2")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	require.Equal(t, 200, e.self(t, others, "PUT", "/self", registration("hv2")).Status)
	kernel, ramdisk := e.imageOf(t, "the kernel", nil), e.imageOf(t, "the ramdisk", nil)
	root := e.imageOf(t, "the root", map[string]string{"kernel_id": kernel, "ramdisk_id": ramdisk})
	elsewhere := e.imageOf(t, "another", nil)
	server, request := e.build(t, root, mine)
	e.build(t, elsewhere, other)

	answers := func(token string, status int, images ...string) {
		t.Helper()
		for _, id := range images {
			for _, method := range []string{"GET", "HEAD"} {
				require.Equal(t, status, e.self(t, token, method, "/images/"+id+"/file", nil).Status, method)
			}
			part := status
			if status == 200 {
				part = 206
			}
			require.Equal(t, part, e.self(t, token, "GET", "/images/"+id+"/file", nil, "Range", "bytes=1-2").Status)
		}
	}
	answers(token, 200, root, kernel, ramdisk)
	answers(token, 404, elsewhere)
	answers(others, 200, elsewhere)
	answers(others, 404, root, kernel, ramdisk)
	absent, hidden := uuid.NewString(), e.self(t, token, "GET", "/images/"+elsewhere+"/file", nil)
	require.Equal(t, strings.ReplaceAll(e.self(t, token, "GET", "/images/"+absent+"/file", nil).Message(t), absent, elsewhere), hidden.Message(t),
		"it is as if it were not there")

	require.NoError(t, e.Store.ActivateServer(ctx, models.Activation{ServerID: server, RequestID: request, PowerState: 1}))
	answers(token, 200, root, kernel, ramdisk)
	_, err := e.Store.MarkServerDeleting(ctx, server, models.InstanceAction{RequestID: "req-d", Action: "delete", UserID: e.member.UserID, ProjectID: e.member.ProjectID})
	require.NoError(t, err)
	require.NoError(t, e.Store.RemoveServer(ctx, server, "req-d", nil, time.Now()))
	answers(token, 404, root, kernel, ramdisk)
}

func TestAHostAndTheDatabaseTellEachOtherWhoseTheyAreAndHowFar(t *testing.T) {
	e := newEnv(t)
	ctx := t.Context()
	id, token := e.admit(t, "hv1")
	require.NoError(t, e.Store.AdvanceGeneration(ctx, 0))
	i, err := e.Store.Installation(ctx)
	require.NoError(t, err)
	server := uuid.NewString()
	ask := func(headers ...string) apitest.Answer {
		return e.self(t, token, "GET", "/self/undo?server="+server, nil, headers...)
	}

	a := ask()
	require.Equal(t, 204, a.Status, a.Body)
	require.Equal(t, []string{i.ID, strconv.FormatInt(i.Generation, 10)}, []string{a.Header.Get("Slipway-Installation"), a.Header.Get("Slipway-Generation")})
	h, err := e.Store.Host(ctx, id)
	require.NoError(t, err)
	require.Equal(t, i.Generation, h.Generation, "what it is given is known before it has it")
	require.Equal(t, 400, e.self(t, token, "GET", "/self/undo?server=x", nil).Status)

	other := uuid.NewString()
	for _, request := range [][]any{{"PUT", "/self", registration("hv1")}, {"GET", "/self/undo?server=" + server, nil}} {
		a = e.self(t, token, request[0].(string), request[1].(string), request[2], "Slipway-Installation", other, "Slipway-Generation", "999")
		require.Equal(t, 421, a.Status, a.Body)
		require.Equal(t, "The state folder of host hv1 belongs to installation "+other+", and this API is that of installation "+i.ID+
			": correct host.api_url or host.state_dir; or give the folder to this installation: slipway host join", a.Message(t))
	}
	h, err = e.Store.Host(ctx, id)
	require.NoError(t, err)
	require.True(t, h.SeenAt.IsZero(), "it was not registered")
	is, err := e.Store.Installation(ctx)
	require.NoError(t, err)
	require.False(t, is.Restored(), "how far another database is says nothing of this one")

	a = ask("Slipway-Installation", i.ID, "Slipway-Generation", strconv.FormatInt(i.Generation+1, 10))
	require.Equal(t, 503, a.Status, a.Body)
	require.Contains(t, a.Message(t), "slipway installation acknowledge")
	require.Empty(t, a.Header.Get("Slipway-Generation"), "it keeps what it has for evidence")
	a = e.self(t, token, "PUT", "/self", registration("hv1"), "Slipway-Installation", i.ID, "Slipway-Generation", strconv.FormatInt(i.Generation+1, 10))
	require.Equal(t, 200, a.Status, a.Body)
	_, err = e.Store.AcknowledgeRestore(ctx, "ops")
	require.NoError(t, err)
	a = ask("Slipway-Installation", i.ID, "Slipway-Generation", strconv.FormatInt(i.Generation+1, 10))
	require.Equal(t, 204, a.Status, a.Body)
	require.Equal(t, strconv.FormatInt(i.Generation+2, 10), a.Header.Get("Slipway-Generation"))
}

func newBytes(t *testing.T) *imagestore.Stores {
	t.Helper()
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir(), Locks: imagestore.FolderLocks(t.TempDir())})
	require.NoError(t, err)
	return stores
}

func putBytes(t *testing.T, store *imagestore.Stores, id, content string) {
	t.Helper()
	u, err := store.Create(t.Context(), id)
	require.NoError(t, err)
	_, err = u.Write([]byte(content))
	require.NoError(t, err)
	require.NoError(t, u.Commit(""))
	require.NoError(t, u.Close())
}

// fail has a build fail on a host by the host's own fault.
func (e *env) fail(t *testing.T, hostID, hostname string, limit int) {
	t.Helper()
	ctx := t.Context()
	image, err := e.Store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: e.member.ProjectID, Visibility: "private"}, nil)
	require.NoError(t, err)
	id := uuid.NewString()
	require.NoError(t, e.Store.RecordServer(ctx, models.Server{
		ID: id, ProjectID: e.member.ProjectID, UserID: e.member.UserID, Name: "s", Hostname: "s", ImageID: image.ID, FlavorID: "1",
	}, models.InstanceAction{RequestID: "req-" + id, Action: "create", UserID: e.member.UserID, ProjectID: e.member.ProjectID}))
	require.NoError(t, e.Store.Place(ctx, models.Placement{ServerID: id, HostID: hostID}, lifecycle.Scheduling))
	_, counted, err := e.Store.CountBuildFailure(ctx, models.BuildFailure{ServerID: id, Hostname: hostname, Text: "StartDomain: no memory", At: time.Now(), Limit: limit})
	require.NoError(t, err)
	require.True(t, counted)
}

func TestAHostOnWhichBuildsFailIsNotReadyUntilItsTrialPasses(t *testing.T) {
	e := newEnv(t)
	id, token := e.admit(t, "hv1")
	trial := fields{"at": "2026-03-04T05:06:07Z", "since": "2026-03-01T00:00:00Z", "passed": true, "virt_type": "kvm", "cpu": "host-model", "accelerated": true}
	register := func() {
		r := registration("hv1")
		r["host"].(fields)["trial"] = trial
		require.Equal(t, 200, e.self(t, token, "PUT", "/self", r).Status)
	}
	show := func() map[string]any {
		return e.Do(t, "GET", "/hosts/hv1", e.admin.Token, nil).At(t, "host").(map[string]any)
	}
	beat := func() apitest.Answer {
		return e.self(t, token, "POST", "/self/heartbeat", fields{"host": fields{"ready": true, "vcpus": 8, "memory_mib": 16384, "disk_gib": 200, "trial": trial}})
	}
	register()
	e.fail(t, id, "hv1", 2)
	h := show()
	require.Equal(t, []any{true, nil, 1.0, "StartDomain: no memory", false}, []any{h["ready"], h["not_ready_reason"], h["build_failures"], h["last_failure"], h["suspended"]})
	require.Equal(t, 204, beat().Status, "one is not too many")

	e.fail(t, id, "hv1", 2)
	h = show()
	require.Equal(t, []any{"up", false, "2 builds in a row failed on it, the last at StartDomain: no memory", true},
		[]any{h["state"], h["ready"], h["not_ready_reason"], h["suspended"]})
	require.NotNil(t, h["last_failure_at"])
	require.NotNil(t, h["trial_due_at"])
	a := beat()
	require.Equal(t, 200, a.Status)
	require.JSONEq(t, `{"host":{"trial_wanted":true}}`, a.Body)
	require.Equal(t, 204, beat().Status, "the next only after a pause")
	register()
	require.Equal(t, true, show()["suspended"], "a trial of before the failures proves nothing, however often it is told")

	trial["at"], trial["passed"] = "2026-03-04T05:07:00Z", false
	require.Equal(t, 204, beat().Status)
	require.Equal(t, true, show()["suspended"], "it failed")
	trial["at"], trial["passed"] = "2026-03-04T04:00:00Z", true // the host's clock was set back
	require.Equal(t, 204, beat().Status)
	h = show()
	require.Equal(t, []any{true, false, 2.0}, []any{h["ready"], h["suspended"], h["build_failures"]}, "back, on probation")

	e.fail(t, id, "hv1", 2)
	require.Equal(t, true, show()["suspended"])
	require.Equal(t, 204, beat().Status)
	require.Equal(t, true, show()["suspended"])
	trial["at"] = "2026-03-04T06:00:00Z"
	register()
	require.Equal(t, false, show()["suspended"], "a new trial may come with the registration")

	e.fail(t, id, "hv1", 2)
	a = e.Do(t, "PATCH", "/hosts/hv1", e.admin.Token, fields{"host": fields{"enabled": true}})
	require.Equal(t, []any{true, 0.0, "StartDomain: no memory"}, []any{a.At(t, "host", "ready"), a.At(t, "host", "build_failures"), a.At(t, "host", "last_failure")}, "an operator vouches for it")
}

func TestASuspendedHostThatKnowsNoTrialsIsBackWithThePauses(t *testing.T) {
	e := newEnv(t)
	id, token := e.admit(t, "hv1")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	e.fail(t, id, "hv1", 1)
	beat := fields{"host": fields{"ready": true, "vcpus": 8, "memory_mib": 16384, "disk_gib": 200}}
	suspended := func() bool {
		h, err := e.Store.Host(t.Context(), id)
		require.NoError(t, err)
		return h.Suspended
	}
	require.Equal(t, 200, e.self(t, token, "POST", "/self/heartbeat", beat).Status)
	require.False(t, suspended())
	e.fail(t, id, "hv1", 1)
	require.Equal(t, 204, e.self(t, token, "POST", "/self/heartbeat", beat).Status)
	require.True(t, suspended(), "the pause has grown")
}

// twoHosts are hv1 and hv2, with what builds an active server of the member on one of them.
func twoHosts(t *testing.T) (e *env, id, token, other string, server func(on string) models.Server) {
	t.Helper()
	e = newEnv(t)
	id, token = e.admit(t, "hv1")
	var others string
	other, others = e.admit(t, "hv2")
	require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration("hv1")).Status)
	require.Equal(t, 200, e.self(t, others, "PUT", "/self", registration("hv2")).Status)
	ctx := context.Background()
	image, err := e.Store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: e.member.ProjectID, Visibility: "private"}, nil)
	require.NoError(t, err)
	server = func(on string) models.Server {
		v := models.Server{
			ID: uuid.NewString(), ProjectID: e.member.ProjectID, UserID: e.member.UserID, Name: "web", Hostname: "web", ImageID: image.ID, FlavorID: "1",
		}
		request := "req-" + v.ID
		require.NoError(t, e.Store.RecordServer(ctx, v, models.InstanceAction{ServerID: v.ID, RequestID: request, Action: "create", UserID: v.UserID, ProjectID: v.ProjectID}))
		require.NoError(t, e.Store.Place(ctx, models.Placement{ServerID: v.ID, HostID: on}, "spawning"))
		require.NoError(t, e.Store.ActivateServer(ctx, models.Activation{ServerID: v.ID, RequestID: request, PowerState: 1}))
		return v
	}
	return e, id, token, other, server
}

func TestAHostThatComesBackHasTheGuestsStartedThatShouldRun(t *testing.T) {
	e, id, token, other, server := twoHosts(t)
	ctx := t.Context()
	runs, stopped, elsewhere := server(id), server(id), server(other)
	stop, _ := lifecycle.Find("os-stop")
	_, err := e.Store.BeginAction(ctx, stopped.ID, stop, models.InstanceAction{ServerID: stopped.ID, RequestID: "req-stop", Action: "stop", UserID: stopped.UserID, ProjectID: stopped.ProjectID})
	require.NoError(t, err)
	require.NoError(t, e.Store.FinishAction(ctx, stopped.ID, "req-stop", stop, nil))

	a := e.self(t, token, "POST", "/self/resume", fields{"servers": []string{stopped.ID, elsewhere.ID, uuid.NewString(), runs.ID}})
	require.Equal(t, 202, a.Status, a.Body)
	require.JSONEq(t, `{"servers":["`+runs.ID+`"]}`, a.Body)
	require.Len(t, e.done.begun, 1)
	require.Equal(t, []string{runs.ID, "resume-guest"}, []string{e.done.begun[0].ServerID, e.done.begun[0].Action})
	require.Equal(t, 400, e.self(t, token, "POST", "/self/resume", fields{"servers": []string{"x"}}).Status)
	require.Equal(t, 401, e.self(t, "nobody", "POST", "/self/resume", fields{"servers": []string{}}).Status)
}

func TestAHostTellsOfItsOwnGuestsAlone(t *testing.T) {
	e, id, token, other, server := twoHosts(t)
	mine, theirs := server(id), server(other)
	a := e.self(t, token, "GET", "/self/guests", nil)
	require.Equal(t, 200, a.Status, a.Body)
	known := a.At(t, "guests").([]any)
	require.Len(t, known, 1)
	asOf := known[0].(fields)["as_of"]
	require.Equal(t, fields{"server_id": mine.ID, "active": true, "power_state": 1.0, "as_of": asOf}, known[0])
	foreign, err := e.Store.Guests(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, theirs.ID, foreign[0].ServerID)

	tell := func(guests ...fields) apitest.Answer {
		return e.self(t, token, "PUT", "/self/guests", fields{"guests": guests})
	}
	for _, bad := range []fields{
		{"server_id": "x", "as_of": asOf, "power_state": 4}, {"server_id": mine.ID, "as_of": "now", "power_state": 4},
		{"server_id": mine.ID, "as_of": asOf, "power_state": 7}, {"server_id": mine.ID, "power_state": 4},
	} {
		require.Equal(t, 400, tell(bad).Status, bad)
	}
	a = tell(fields{"server_id": mine.ID, "as_of": asOf, "power_state": 4}, fields{"server_id": theirs.ID, "as_of": foreign[0].AsOf, "power_state": 4},
		fields{"server_id": uuid.NewString(), "as_of": asOf, "power_state": 4})
	require.Equal(t, 204, a.Status, a.Body)
	for server, want := range map[string]lifecycle.VMState{mine.ID: lifecycle.Stopped, theirs.ID: lifecycle.Active} {
		got, err := e.Store.Server(t.Context(), server)
		require.NoError(t, err)
		require.Equal(t, want, got.VMState)
	}
	require.Equal(t, 401, e.self(t, "nobody", "GET", "/self/guests", nil).Status)
}

func TestAServerEndsWithItsGuestWhereThatWasHeardToShutItselfDown(t *testing.T) {
	e, id, token, _, server := twoHosts(t)
	ctx := t.Context()
	ending := func() models.Server {
		v := server(id)
		require.NoError(t, e.Store.ReviseServer(ctx, models.InstanceAction{ServerID: v.ID, UserID: v.UserID, ProjectID: v.ProjectID}, func(v *models.Server) error {
			v.EndsAtShutdown = true
			return nil
		}))
		return v
	}
	tell := func(v models.Server, power int, byGuest bool) int {
		known, err := e.Store.Guests(ctx, id)
		require.NoError(t, err)
		at := slices.IndexFunc(known, func(g models.Guest) bool { return g.ServerID == v.ID })
		return e.self(t, token, "PUT", "/self/guests", fields{"guests": []fields{{"server_id": v.ID, "as_of": known[at].AsOf, "power_state": power, "by_guest": byGuest}}}).Status
	}
	state := func(v models.Server) lifecycle.VMState {
		got, err := e.Store.Server(ctx, v.ID)
		require.NoError(t, err)
		return got.VMState
	}

	v := ending()
	require.Equal(t, 204, tell(v, lifecycle.Shutdown, true))
	require.Len(t, e.done.ended, 1)
	require.Equal(t, []string{v.ID, v.ProjectID, v.UserID}, []string{e.done.ended[0].ServerID, e.done.ended[0].ProjectID, e.done.ended[0].UserID})
	require.Equal(t, lifecycle.Active, state(v), "the rest is its delete's")

	e.done.fault = fault.New(fault.Unavailable, "the engine does not answer")
	v = ending()
	require.Equal(t, 503, tell(v, lifecycle.Shutdown, true))
	require.Equal(t, lifecycle.Active, state(v), "it is told again")
	e.done.fault = nil
	require.Equal(t, 204, tell(v, lifecycle.Shutdown, true))
	require.Len(t, e.done.ended, 2)

	for what, c := range map[string]struct {
		v       models.Server
		power   int
		byGuest bool
	}{
		"that nobody heard": {ending(), lifecycle.Shutdown, false}, "it crashed": {ending(), lifecycle.Crashed, true}, "it is to be stopped": {server(id), lifecycle.Shutdown, true},
	} {
		require.Equal(t, 204, tell(c.v, c.power, c.byGuest), what)
		require.Equal(t, lifecycle.Stopped, state(c.v), what)
	}
	locked := ending()
	require.NoError(t, e.Store.ReviseServer(ctx, models.InstanceAction{ServerID: locked.ID, UserID: locked.UserID, ProjectID: locked.ProjectID}, func(v *models.Server) error {
		v.LockedBy = new(models.LockedByOwner)
		return nil
	}))
	require.Equal(t, 204, tell(locked, lifecycle.Shutdown, true))
	require.Equal(t, lifecycle.Stopped, state(locked), "it may not be deleted")
	late := ending()
	require.Equal(t, 204, e.self(t, token, "PUT", "/self/guests", fields{"guests": []fields{{"server_id": late.ID, "as_of": time.Now().Add(-time.Hour), "power_state": 4, "by_guest": true}}}).Status)
	require.Equal(t, lifecycle.Active, state(late), "something was done to it since")
	require.Len(t, e.done.ended, 2)
}
