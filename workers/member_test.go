package workers

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/installation"
)

// apiOf is the API of an installation, as far as hosts hear who it is. heard is what hosts said last.
type apiOf struct {
	*httptest.Server
	installation, generation string
	heard                    http.Header
	answer                   func(w http.ResponseWriter)
}

func newAPIOf(t *testing.T, installation, generation string) *apiOf {
	t.Helper()
	a := &apiOf{installation: installation, generation: generation, answer: func(http.ResponseWriter) {}}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.heard = r.Header.Clone()
		if a.installation != "" {
			w.Header().Set(hostapi.HeaderInstallation, a.installation)
		}
		if a.generation != "" {
			w.Header().Set(hostapi.HeaderGeneration, a.generation)
		}
		a.answer(w)
	}))
	t.Cleanup(a.Close)
	return a
}

func TestAStateFolderBelongsToTheInstallationThatAnswersFirst(t *testing.T) {
	dir := t.TempDir()
	open := func(api string) *Member {
		t.Helper()
		m, err := OpenMember(dir, api, http.DefaultTransport, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		return m
	}
	ask := func(api *apiOf) error {
		t.Helper()
		answer, err := open(api.URL).Client().Get(api.URL)
		if err == nil {
			answer.Body.Close()
		}
		return err
	}
	older := newAPIOf(t, "", "")
	require.NoError(t, ask(older))
	require.NoFileExists(t, filepath.Join(dir, "installation"), "an API of before there were installations says nothing")

	mine := newAPIOf(t, "A", "7")
	require.NoError(t, ask(mine))
	require.Empty(t, mine.heard.Get(hostapi.HeaderInstallation))
	info, err := os.Stat(filepath.Join(dir, "installation"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, ask(older))
	for _, given := range []string{"3", "", "9", "8"} { // what was seen is kept, after a restart too
		mine.generation = given
		require.NoError(t, ask(mine))
	}
	require.NoError(t, ask(mine))
	require.Equal(t, []string{"A", "9"}, []string{mine.heard.Get(hostapi.HeaderInstallation), mine.heard.Get(hostapi.HeaderGeneration)})

	other := newAPIOf(t, "B", "1")
	err = ask(other)
	require.ErrorAs(t, err, new(*installation.Mismatch))
	require.ErrorContains(t, err, "The state folder "+dir+" belongs to installation A, and the API at "+other.URL+" is that of installation B")
	require.ErrorContains(t, err, "slipway host join")
	other.answer = func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusMisdirectedRequest)
		_, _ = w.Write([]byte(`{"error":{"code":421,"message":"It is another's."}}`))
	}
	err = ask(other)
	require.ErrorAs(t, err, new(*installation.Mismatch))
	require.ErrorContains(t, err, "It is another's.")

	was, err := LeaveInstallation(dir)
	require.NoError(t, err)
	require.Equal(t, "A", was)
	other.answer = func(http.ResponseWriter) {}
	require.NoError(t, ask(other))
	require.ErrorContains(t, ask(mine), "belongs to installation B")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "installation"), []byte("{"), 0o600))
	_, err = OpenMember(dir, mine.URL, nil, nil)
	require.ErrorContains(t, err, "cannot be read")
	was, err = LeaveInstallation(dir)
	require.NoError(t, err)
	require.Empty(t, was)
	require.NoError(t, ask(mine))
}

func TestAHostOfAnotherInstallationStops(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "installation"), []byte(`{"installation":"A","generation":3}`), 0o600))
	api := newAPIOf(t, "B", "1")
	member, err := OpenMember(dir, api.URL, http.DefaultTransport, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	hv, err := fake.New(fake.Options{})
	require.NoError(t, err)
	r := Registration{
		API: api.URL, Token: func() string { return "token" }, Every: time.Hour, Hypervisor: hv, StateDir: dir, Member: member,
		Met: func() { t.Error("it serves") }, Logger: slog.New(slog.DiscardHandler),
	}
	require.ErrorAs(t, r.Run(t.Context()), new(*installation.Mismatch))
}

func TestAnUndoWaitsForTheWordOfTheAPI(t *testing.T) {
	api := newAPIOf(t, "A", "1")
	r := Registration{API: api.URL, Token: func() string { return "token" }}
	status := func(code int, body string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(code)
			_, _ = w.Write([]byte(body))
		}
	}
	api.answer = status(http.StatusNoContent, "")
	require.NoError(t, r.MayUndo(t.Context(), "s1"))
	api.answer = status(http.StatusNotFound, `{"error":{"code":404}}`)
	require.NoError(t, r.MayUndo(t.Context(), "s1"), "an API of before there was the question")
	api.answer = status(http.StatusServiceUnavailable, `{"error":{"code":503,"message":"The database was restored."}}`)
	err := r.MayUndo(t.Context(), "s1")
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.Contains(t, fault.Public(err), "The database was restored.")
	api.Close()
	require.True(t, fault.Is(r.MayUndo(t.Context(), "s1"), fault.Unavailable))
}
