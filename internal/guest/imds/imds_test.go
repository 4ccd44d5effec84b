package imds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
)

// control is an API with servers by "network address".
type control struct {
	mu      sync.Mutex
	servers map[string]metadata.Instance
	away    error
	asked   int
}

func (c *control) Metadata(_ context.Context, network string, address netip.Addr) (metadata.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.away != nil {
		return metadata.Instance{}, fault.Wrap(fault.Unavailable, c.away, "away")
	}
	i, ok := c.servers[network+" "+address.String()]
	if !ok {
		return i, fault.New(fault.NotFound, "none")
	}
	return i, nil
}

func (c *control) SetPassword(_ context.Context, portID, password string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, i := range c.servers {
		if i.PortID == portID {
			if i.Password != "" {
				return fault.New(fault.Conflict, "there is one")
			}
			i.Password = password
			c.servers[at] = i
		}
	}
	return c.away
}

// world is a service with two networks of the same range, and a server on each.
type world struct {
	*control
	logged  bytes.Buffer
	service *Service
	now     time.Time
	pinned  time.Time // since when answers go to the right port
	a, b    Asker
}

func newWorld() *world {
	instance := func(name string) metadata.Instance {
		return metadata.Instance{ServerID: "id-" + name, PortID: "port-" + name, MAC: "fa:16:3e:00:00:0" + name, Metadata: contract.InstanceMetadata{
			ServerID: "id-" + name, Name: name, Hostname: name, Seed: []byte(name), UserData: []byte("#!/bin/sh\necho " + name),
			KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAA", Type: "ssh"}},
		}}
	}
	w := &world{control: &control{servers: map[string]metadata.Instance{"one 10.0.0.5": instance("1"), "two 10.0.0.5": instance("2")}}, now: time.Now()}
	w.service = New(Options{Source: w.control, Logger: slog.New(slog.NewTextHandler(&w.logged, nil))})
	w.service.now = func() time.Time { return w.now }
	w.a = Asker{Network: "one", Address: netip.MustParseAddr("10.0.0.5"), MAC: "fa:16:3e:00:00:01", Connected: w.now}
	w.b = Asker{Network: "two", Address: netip.MustParseAddr("10.0.0.5"), MAC: "fa:16:3e:00:00:02", Connected: w.now}
	return w
}

// ask asks as somebody; headers are names and values.
func (w *world) ask(a Asker, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://169.254.169.254"+path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer := httptest.NewRecorder()
	w.service.Handler(func(*http.Request) (Asker, bool) { return a, true }, func(Asker) (time.Time, error) { return w.pinned, nil }).ServeHTTP(answer, r)
	return answer
}

func (w *world) get(a Asker, path string, headers ...string) (int, string) {
	answer := w.ask(a, "GET", path, "", headers...)
	return answer.Code, answer.Body.String()
}

func TestWhoAsksIsToldByTheNetworkAlone(t *testing.T) {
	w := newWorld()
	for a, id := range map[Asker]string{w.a: "id-1", w.b: "id-2"} {
		for _, forged := range [][]string{nil, {"X-Instance-ID", "id-2"}, {"X-Real-IP", "10.0.0.5"}, {"X-OVN-Network-ID", "two"}, {"X-Neutron-Network-ID", "two"}, {"Forwarded", "for=10.0.0.9"}} {
			answer := w.ask(a, "GET", "/openstack/latest/meta_data.json", "", forged...)
			require.Equal(t, 200, answer.Code)
			var said struct{ UUID string }
			require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &said))
			require.Equal(t, id, said.UUID, "%v", forged)
			require.Equal(t, []string{"application/json", "no-store"}, []string{answer.Header().Get("Content-Type"), answer.Header().Get("Cache-Control")})
		}
	}
	code, said := w.get(w.a, "/openstack/latest/meta_data.json", "X-Forwarded-For", "10.0.0.5")
	require.Equal(t, 403, code, said)

	// Another port that may use the address: it has another MAC.
	other := w.a
	other.MAC = "fa:16:3e:00:00:09"
	code, said = w.get(other, "/latest/meta-data/instance-id")
	require.Equal(t, 404, code, said)
	unknown := w.a
	unknown.Address = netip.MustParseAddr("10.0.0.6")
	code, said = w.get(unknown, "/")
	require.Equal(t, 404, code, said)
	require.Contains(t, said, "No server of this host")
}

func TestAPortThatMayBeAnothersIsToldToUseADrive(t *testing.T) {
	w := newWorld()
	w.servers["one 10.0.0.5"] = metadata.Instance{ServerID: "id-1", PortID: "port-1", MAC: w.a.MAC, Unguarded: true}
	code, said := w.get(w.a, "/openstack")
	require.Equal(t, 404, code)
	require.Contains(t, said, "config drive")
}

func TestAServerOfWhichNothingWasKeptIsToldSo(t *testing.T) {
	w := newWorld()
	w.servers["one 10.0.0.5"] = metadata.Instance{ServerID: "id-1", PortID: "port-1", MAC: w.a.MAC, Unkept: true}
	for range 5 {
		answer := w.ask(w.a, "GET", "/openstack", "")
		require.Equal(t, 404, answer.Code)
		require.Contains(t, answer.Body.String(), "config drive")
		require.Empty(t, answer.Header().Get("Retry-After"))
	}
	require.Equal(t, 1, w.asked)
	require.Empty(t, w.logged.String())
	other := w.a
	other.MAC = w.b.MAC
	_, said := w.get(other, "/openstack")
	require.NotContains(t, said, "config drive", "whose address it is not learns nothing of it")
}

func TestWhatWasToldIsToldAgainWhileTheControlPlaneIsAway(t *testing.T) {
	w := newWorld()
	code, _ := w.get(w.a, "/latest/meta-data/hostname")
	require.Equal(t, 200, code)
	for range 10 {
		w.get(w.a, "/latest/meta-data/hostname")
	}
	require.Equal(t, 1, w.asked, "one question serves a boot")
	w.away = errors.New("gone")
	w.now = w.now.Add(time.Hour)
	code, said := w.get(w.a, "/latest/meta-data/hostname")
	require.Equal(t, []any{200, "1"}, []any{code, said})
	before := w.asked
	for range 5 {
		answer := w.ask(w.b, "GET", "/", "")
		require.Equal(t, 503, answer.Code)
		require.NotEmpty(t, answer.Header().Get("Retry-After"))
		w.get(w.a, "/")
	}
	require.Equal(t, before+1, w.asked, "an API that does not answer is not asked by each request")
	require.Equal(t, 1, strings.Count(w.logged.String(), "metadata cannot be answered"))
	w.now = w.now.Add(keepsNone)
	require.Equal(t, 503, w.ask(w.b, "GET", "/", "").Code)
	require.Equal(t, before+2, w.asked)
	require.Equal(t, 1, strings.Count(w.logged.String(), "metadata cannot be answered"), "it is said once of each place")
	other := w.a
	other.MAC = w.b.MAC
	code, _ = w.get(other, "/")
	require.Equal(t, 404, code, "what is kept is its own server's alone")

	w.service.ForgetPort("port-1")
	code, _ = w.get(w.a, "/")
	require.Equal(t, 503, code)
	w.away = nil
	w.now = w.now.Add(keepsNone)
	code, _ = w.get(w.a, "/")
	require.Equal(t, 200, code)
	w.service.Forget("one")
	w.service.Forget("two")
	require.Empty(t, w.service.known)
	require.Empty(t, w.service.limits.of)
}

func TestAnAddressThatHasGoneToAnotherServerIsThatOnesSoon(t *testing.T) {
	w := newWorld()
	w.get(w.a, "/")
	w.servers["one 10.0.0.5"] = w.servers["two 10.0.0.5"]
	after := w.b
	after.Network = "one"
	w.now = w.now.Add(keepsNone)
	code, said := w.get(after, "/latest/meta-data/hostname")
	require.Equal(t, []any{200, "2"}, []any{code, said})
	code, _ = w.get(w.a, "/latest/meta-data/hostname")
	require.Equal(t, 404, code)
}

func TestAPortThatChangesItsMACHasTheAPIAskedNoMoreOften(t *testing.T) {
	w := newWorld()
	w.get(w.a, "/")
	for n := range 100 {
		other := w.a
		other.MAC = fmt.Sprintf("fa:16:3e:00:01:%02x", n)
		code, _ := w.get(other, "/")
		require.Equal(t, 404, code)
	}
	require.Equal(t, 1, w.asked)
	w.now = w.now.Add(keepsNone)
	other := w.a
	other.MAC = w.b.MAC
	for range 10 {
		w.get(other, "/")
	}
	require.Equal(t, 2, w.asked)
	code, _ := w.get(w.a, "/")
	require.Equal(t, 200, code)
}

func TestANetworkWhoseGuestsTryManyAddressesLosesItsOwn(t *testing.T) {
	w := newWorld()
	w.get(w.a, "/")
	w.get(w.b, "/")
	for n := range mostKnown + 10 {
		_, err := w.service.who(t.Context(), Asker{Network: "two", Address: netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), MAC: w.b.MAC})
		require.ErrorIs(t, err, errNobody)
	}
	require.Len(t, w.service.known, mostKnown)
	before := w.asked
	for _, a := range []Asker{w.a, w.b} {
		code, _ := w.get(a, "/")
		require.Equal(t, 200, code)
	}
	require.Equal(t, before, w.asked, "both are known as before")
}

func TestAServerThatIsNotKnownYetIsAskedForAgainSoon(t *testing.T) {
	w := newWorld()
	is := w.servers["one 10.0.0.5"]
	delete(w.servers, "one 10.0.0.5")
	for range 5 {
		code, _ := w.get(w.a, "/")
		require.Equal(t, 404, code)
	}
	require.Equal(t, 1, w.asked)
	w.servers["one 10.0.0.5"] = is
	w.now = w.now.Add(keepsNone)
	code, _ := w.get(w.a, "/")
	require.Equal(t, 200, code)
}

func TestATokenIsItsServersAndEnds(t *testing.T) {
	w := newWorld()
	answer := w.ask(w.a, "PUT", "/latest/api/token", "", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	require.Equal(t, 200, answer.Code, answer.Body)
	require.Equal(t, "60", answer.Header().Get("X-aws-ec2-metadata-token-ttl-seconds"))
	const shows = "X-aws-ec2-metadata-token"
	token := answer.Body.String()
	code, said := w.get(w.a, "/latest/meta-data/instance-id", shows, token)
	require.Equal(t, 200, code, said)
	code, _ = w.get(w.b, "/latest/meta-data/instance-id", shows, token)
	require.Equal(t, 401, code, "another server's")
	for _, bad := range []string{"x", token[:len(token)-2], "BBBB" + token[4:], strings.Repeat("A", len(token))} {
		code, _ = w.get(w.a, "/latest/meta-data/instance-id", shows, bad)
		require.Equal(t, 401, code, bad)
	}
	w.now = w.now.Add(time.Minute)
	code, _ = w.get(w.a, "/latest/meta-data/instance-id", shows, token)
	require.Equal(t, 401, code, "it has expired")
	for _, ttl := range []string{"", "0", "-1", "21601", "many"} {
		require.Equal(t, 400, w.ask(w.a, "PUT", "/latest/api/token", "", "X-aws-ec2-metadata-token-ttl-seconds", ttl).Code, ttl)
	}
	require.Equal(t, 403, w.ask(w.a, "PUT", "/latest/api/token", "", "X-aws-ec2-metadata-token-ttl-seconds", "60", "X-Forwarded-For", "10.0.0.9").Code)
	require.Equal(t, 405, w.ask(w.a, "POST", "/latest/api/token", "").Code)
	require.Equal(t, 405, w.ask(w.a, "PUT", "/latest/meta-data", "").Code)
}

func TestAPasswordIsPostedOnce(t *testing.T) {
	w := newWorld()
	w.a.Connected = w.now.Add(time.Second)
	const at = "/openstack/2013-04-04/password"
	code, said := w.get(w.a, at)
	require.Equal(t, []any{200, ""}, []any{code, said})
	require.Equal(t, 400, w.ask(w.a, "POST", at, strings.Repeat("x", metadata.MostPassword+1)).Code)
	require.Equal(t, 400, w.ask(w.a, "POST", at, "").Code)
	require.Equal(t, 200, w.ask(w.a, "POST", at, "c2VjcmV0").Code)
	code, said = w.get(w.a, "/openstack/latest/password")
	require.Equal(t, []any{200, "c2VjcmV0"}, []any{code, said})
	require.Equal(t, 409, w.ask(w.a, "POST", at, "other").Code)
	require.Equal(t, 405, w.ask(w.a, "POST", "/openstack/latest/meta_data.json", "x").Code)
	code, _ = w.get(w.b, at)
	require.Equal(t, 200, code)
}

// Somebody who speaks with another's address and MAC sees no answer; what is posted needs none.
func TestWhoPostsHasToBeWhereAnswersGo(t *testing.T) {
	w := newWorld()
	w.pinned = w.a.Connected
	answer := w.ask(w.a, "POST", "/openstack/latest/password", "forged")
	require.Equal(t, 503, answer.Code)
	require.Equal(t, []string{"close", "1"}, []string{answer.Header().Get("Connection"), answer.Header().Get("Retry-After")})
	require.Empty(t, w.servers["one 10.0.0.5"].Password)
}

func TestASourceThatAsksWithoutEndIsHeldBackAlone(t *testing.T) {
	w := newWorld()
	refused := 0
	for range atOnce + 50 {
		if code, _ := w.get(w.a, "/"); code == 429 {
			refused++
		}
	}
	require.Equal(t, 50, refused)
	code, _ := w.get(w.b, "/")
	require.Equal(t, 200, code)
	w.now = w.now.Add(time.Second)
	code, _ = w.get(w.a, "/")
	require.Equal(t, 200, code)
}

func TestANetworkThatAsksWithManyMACsIsHeldBackAlone(t *testing.T) {
	w := newWorld()
	allowed := 0
	for n := range networkAtOnce + mostSources {
		other := w.a
		other.MAC = fmt.Sprintf("fa:16:3e:00:%02x:%02x", n>>8, n&0xff)
		if w.service.limits.allow(other, w.now) {
			allowed++
		}
	}
	require.Equal(t, mostSources+atOnce, allowed, "those that are not told apart have one limit")
	for n := range networkAtOnce {
		w.service.limits.allow(Asker{Network: "one", MAC: fmt.Sprintf("fa:16:3e:00:%02x:%02x", n%mostSources>>8, n%mostSources&0xff)}, w.now)
	}
	require.False(t, w.service.limits.allow(Asker{Network: "one", MAC: "fa:16:3e:00:00:00"}, w.now), "the network has asked enough")
	code, _ := w.get(w.b, "/")
	require.Equal(t, 200, code)
	w.now = w.now.Add(time.Minute)
	require.True(t, w.service.limits.allow(Asker{Network: "one", MAC: "fa:16:3e:00:ff:ff"}, w.now))
	require.True(t, len(w.service.limits.of["one"].of) == 1, "who asks nothing any more is forgotten")
}
