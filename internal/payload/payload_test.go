package payload

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
)

const secret = "correct horse battery staple"

func keyFile(t *testing.T, lines ...string) string {
	path := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
	return path
}

func key(id string, fill byte) string {
	return id + " " + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, keyBytes))
}

func TestWhatIsRecordedCannotBeReadWithoutTheKey(t *testing.T) {
	keys, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	recorded, err := ControlConverter(keys).ToPayloads(secret)
	require.NoError(t, err)
	require.NotContains(t, recorded.String(), secret)

	var back string
	require.NoError(t, ControlConverter(keys).FromPayloads(recorded, &back))
	require.Equal(t, secret, back)

	other, err := LoadKeys(keyFile(t, key("k1", 2)))
	require.NoError(t, err)
	require.Error(t, ControlConverter(other).FromPayloads(recorded, &back))
}

func TestARotatedKeyStillReadsOldHistories(t *testing.T) {
	old, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	recorded, err := ControlConverter(old).ToPayloads(secret)
	require.NoError(t, err)

	rotated, err := LoadKeys(keyFile(t, "# the new one first", key("k2", 2), key("k1", 1)))
	require.NoError(t, err)
	var back string
	require.NoError(t, ControlConverter(rotated).FromPayloads(recorded, &back))
	require.Equal(t, secret, back)
	fresh, err := ControlConverter(rotated).ToPayloads(secret)
	require.NoError(t, err)
	require.Equal(t, "k2", string(fresh.Payloads[0].Metadata[metaKeyID]))
}

func TestABadKeyFileIsRefusedWithItsReason(t *testing.T) {
	for name, tc := range map[string]struct{ path, want string }{
		"short key": {keyFile(t, "k1 c2hvcnQ="), "line 1"},
		"twice":     {keyFile(t, key("k1", 1), key("k1", 2)), "stands twice"},
		"empty":     {keyFile(t, "# nothing"), "holds no key"},
		"a host's":  {keyFile(t, key("k1@hv1", 1)), "host hv1's own"},
		"absent":    {"/nonexistent", "no such file"},
	} {
		_, err := LoadKeys(tc.path)
		require.ErrorContains(t, err, tc.want, name)
	}
	readable := keyFile(t, key("k1", 1))
	require.NoError(t, os.Chmod(readable, 0o644))
	_, err := LoadKeys(readable)
	require.ErrorContains(t, err, "readable by others")
}

func TestKeysAreMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, EnsureKeys(path))
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, EnsureKeys(path))
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, second)
	_, err = LoadKeys(path)
	require.NoError(t, err)
}

// of is the converter as the engine's client uses it for an activity on a task queue.
func of(c converter.DataConverter, queue string) converter.DataConverter {
	return converter.WithDataConverterSerializationContext(c, converter.ActivitySerializationContext{TaskQueue: queue})
}

func hostKeys(t *testing.T, control *Keys, hostname string) *Keys {
	own, err := control.OfHost(hostname)
	require.NoError(t, err)
	keys, err := newKeys(own)
	require.NoError(t, err)
	return keys
}

func TestWhatGoesToAHostOpensThereAndAtTheControlPlane(t *testing.T) {
	control, err := LoadKeys(keyFile(t, key("k2", 2), key("k1", 1)))
	require.NoError(t, err)
	hv1, hv2 := hostKeys(t, control, "hv1"), hostKeys(t, control, "hv2")
	require.Equal(t, []string{"k2@hv1", "k1@hv1"}, hv1.IDs())
	read := func(c converter.DataConverter, recorded *commonpb.Payloads) error {
		var back string
		err := c.FromPayloads(recorded, &back)
		if err == nil {
			require.Equal(t, secret, back)
		}
		return err
	}

	task, err := of(ControlConverter(control), "host:hv1").ToPayloads(secret)
	require.NoError(t, err)
	require.Equal(t, "k2@hv1", string(task.Payloads[0].Metadata[metaKeyID]))
	require.NoError(t, read(of(HostConverter(hv1), "host:hv1"), task))
	require.NoError(t, read(ControlConverter(control), task), "the Web UI shows it")
	require.ErrorContains(t, read(of(HostConverter(hv2), "host:hv2"), task), `no key with id "k2@hv1"`)
	task.Payloads[0].Metadata[metaKeyID] = []byte("k2@hv2")
	require.ErrorContains(t, read(HostConverter(hv2), task), "decrypting with key k2@hv2")

	answer, err := of(HostConverter(hv1), "host:hv1").ToPayloads(secret)
	require.NoError(t, err)
	require.NoError(t, read(of(ControlConverter(control), "host:hv1"), answer))
	require.ErrorContains(t, read(of(ControlConverter(control), "host:hv2"), answer), "a payload of host hv2 is encrypted by host hv1")
	require.Error(t, read(HostConverter(hv2), answer))

	inner, err := of(ControlConverter(control), "control").ToPayloads(secret)
	require.NoError(t, err)
	require.Equal(t, "k2", string(inner.Payloads[0].Metadata[metaKeyID]))
	require.ErrorContains(t, read(HostConverter(hv1), inner), `no key with id "k2"`)
	before, err := of(HostConverter(control), "host:hv1").ToPayloads(secret)
	require.NoError(t, err)
	require.NoError(t, read(of(ControlConverter(control), "host:hv1"), before), "what hosts with the control plane's keys have answered")

	for _, made := range []string{"k3@hv1", "k2@", "@hv1", "k2@hv1@hv2"} {
		answer.Payloads[0].Metadata[metaKeyID] = []byte(made)
		require.Error(t, read(ControlConverter(control), answer), made)
	}
}

func TestNothingIsReadThatIsNotEncrypted(t *testing.T) {
	keys, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	plain, err := converter.GetDefaultDataConverter().ToPayloads(secret)
	require.NoError(t, err)
	var back string
	for _, c := range []converter.DataConverter{ControlConverter(keys), of(ControlConverter(keys), "host:hv1"), HostConverter(hostKeys(t, keys, "hv1"))} {
		require.ErrorContains(t, c.FromPayloads(plain, &back), "is not encrypted")
	}
}

func TestNamesThatSomebodyMakesUpTakeNoMemory(t *testing.T) {
	keys, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	for i := range aeadsMax + 10 {
		_, err := keys.open(fmt.Sprintf("k1@made-up-%d", i), make([]byte, 64), "")
		require.Error(t, err)
	}
	require.LessOrEqual(t, len(keys.aeads), aeadsMax)
	require.NotNil(t, keys.known("k1"))
}

func TestAKeyIsAddedBehindTheOthersAndThenUsed(t *testing.T) {
	path := keyFile(t, "# ours", key("k1", 1), "# and what was", key("old", 2))
	id, err := AddKey(path)
	require.NoError(t, err)
	require.Equal(t, "k2", id)
	keys, err := LoadKeys(path)
	require.NoError(t, err)
	require.Equal(t, []string{"k1", "old", "k2"}, keys.IDs())

	require.ErrorContains(t, UseKey(path, "k3"), "has no key k3; it has k1, old, k2")
	for range 2 {
		require.NoError(t, UseKey(path, "k2"))
		keys, err = LoadKeys(path)
		require.NoError(t, err)
		require.Equal(t, []string{"k2", "k1", "old"}, keys.IDs())
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Regexp(t, "(?s)^# ours\nk2 .*\nk1 .*\n# and what was\nold [^\n]*\n$", string(text))
}

func TestTheWebUIReadsPayloadsThroughTheEndpoint(t *testing.T) {
	keys, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	recorded, err := ControlConverter(keys).ToPayloads(secret)
	require.NoError(t, err)
	body, err := protojson.Marshal(recorded)
	require.NoError(t, err)

	answer := httptest.NewRecorder()
	Handler(keys, "http://ui").ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/decode", bytes.NewReader(body)))
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)
	require.Equal(t, "http://ui", answer.Header().Get("Access-Control-Allow-Origin"))
	var plain commonpb.Payloads
	require.NoError(t, protojson.Unmarshal(answer.Body.Bytes(), &plain))
	require.Contains(t, string(plain.Payloads[0].Data), secret)
	again := httptest.NewRecorder()
	Handler(keys, "http://ui").ServeHTTP(again, httptest.NewRequest(http.MethodPost, "/decode", answer.Body))
	require.Equal(t, http.StatusOK, again.Code, "what is not encrypted is shown as it is")

	preflight := httptest.NewRecorder()
	Handler(keys, "http://ui").ServeHTTP(preflight, httptest.NewRequest(http.MethodOptions, "/decode", nil))
	require.Equal(t, http.StatusNoContent, preflight.Code)
}

func TestWhatIsSealedOpensOnlyAsWhatItIs(t *testing.T) {
	old, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	sealed, err := old.Seal([]byte(secret), "server a")
	require.NoError(t, err)
	require.Equal(t, "k1", sealed.KeyID)
	require.NotContains(t, string(sealed.Bytes), secret)

	rotated, err := LoadKeys(keyFile(t, key("k2", 2), key("k1", 1)))
	require.NoError(t, err)
	require.Equal(t, "k2", rotated.First())
	plain, err := rotated.Open(sealed, "server a")
	require.NoError(t, err)
	require.Equal(t, secret, string(plain))

	_, err = rotated.Open(sealed, "server b")
	require.ErrorContains(t, err, "decrypting with key k1")
	_, err = rotated.Open(Sealed{KeyID: "k2", Bytes: sealed.Bytes}, "server a")
	require.ErrorContains(t, err, "decrypting with key k2")
	_, err = rotated.Open(Sealed{KeyID: "k1", Bytes: []byte("short")}, "server a")
	require.ErrorContains(t, err, "too short")

	without, err := LoadKeys(keyFile(t, key("k2", 2)))
	require.NoError(t, err)
	require.False(t, without.Has("k1"))
	_, err = without.Open(sealed, "server a")
	require.ErrorContains(t, err, `no key with id "k1"`)
}
