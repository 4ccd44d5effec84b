package payload

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
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
	recorded, err := Converter(keys).ToPayloads(secret)
	require.NoError(t, err)
	require.NotContains(t, recorded.String(), secret)

	var back string
	require.NoError(t, Converter(keys).FromPayloads(recorded, &back))
	require.Equal(t, secret, back)

	other, err := LoadKeys(keyFile(t, key("k1", 2)))
	require.NoError(t, err)
	require.Error(t, Converter(other).FromPayloads(recorded, &back))
}

func TestARotatedKeyStillReadsOldHistories(t *testing.T) {
	old, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	recorded, err := Converter(old).ToPayloads(secret)
	require.NoError(t, err)

	rotated, err := LoadKeys(keyFile(t, "# the new one first", key("k2", 2), key("k1", 1)))
	require.NoError(t, err)
	var back string
	require.NoError(t, Converter(rotated).FromPayloads(recorded, &back))
	require.Equal(t, secret, back)
	fresh, err := Converter(rotated).ToPayloads(secret)
	require.NoError(t, err)
	require.Equal(t, "k2", string(fresh.Payloads[0].Metadata[metaKeyID]))
}

func TestABadKeyFileIsRefusedWithItsReason(t *testing.T) {
	for name, tc := range map[string]struct{ path, want string }{
		"short key": {keyFile(t, "k1 c2hvcnQ="), "line 1"},
		"twice":     {keyFile(t, key("k1", 1), key("k1", 2)), "stands twice"},
		"empty":     {keyFile(t, "# nothing"), "holds no key"},
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

func TestTheWebUIReadsPayloadsThroughTheEndpoint(t *testing.T) {
	keys, err := LoadKeys(keyFile(t, key("k1", 1)))
	require.NoError(t, err)
	recorded, err := Converter(keys).ToPayloads(secret)
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
