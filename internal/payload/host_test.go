package payload

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// theAPI answers hosts from the control plane's keys, unless it is away.
type theAPI struct {
	control *Keys
	away    error
	asked   int
}

func (a *theAPI) ask(context.Context) ([]Key, error) {
	a.asked++
	if a.away != nil || a.control == nil {
		return nil, a.away
	}
	return a.control.OfHost("hv1")
}

func TestAHostKeepsItsKeysAndAsksForThoseThatComeIntoUse(t *testing.T) {
	load := func(lines ...string) *Keys {
		keys, err := LoadKeys(keyFile(t, lines...))
		require.NoError(t, err)
		return keys
	}
	api := &theAPI{control: load(key("k1", 1))}
	var log bytes.Buffer
	o := HostOptions{
		Hostname: "hv1", File: filepath.Join(t.TempDir(), "payload.keys"), Shared: "/nonexistent", Ask: api.ask,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	open := func() *HostKeys {
		h, err := OpenHostKeys(t.Context(), o)
		require.NoError(t, err)
		return h
	}
	task := func() (sealed Sealed) {
		id := hostKeyID(api.control.First(), "hv1")
		text, err := api.control.seal(id, []byte(secret), id)
		require.NoError(t, err)
		return Sealed{KeyID: id, Bytes: text}
	}
	reads := func(h *HostKeys, s Sealed) error {
		_, err := h.open(s.KeyID, s.Bytes, s.KeyID)
		return err
	}
	first := open()
	old := task()
	require.NoError(t, reads(first, old))
	info, err := os.Stat(o.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	api.away = errors.New("connection refused")
	require.NoError(t, reads(open(), old), "it starts while the API is away")
	api.away, api.control = nil, load(key("k2", 2), key("k1", 1))
	asked := api.asked
	require.NoError(t, reads(first, task()), "a key that came into use meanwhile")
	require.Equal(t, "k2@hv1", first.First())
	require.Equal(t, asked+1, api.asked)
	require.Error(t, reads(first, Sealed{KeyID: "k3@hv1", Bytes: old.Bytes}))
	require.Error(t, reads(first, Sealed{KeyID: "k2@hv2", Bytes: old.Bytes}))
	require.Equal(t, asked+1, api.asked, "one that nobody has is not asked for again and again, nor another host's at all")

	api.control = load(key("k2", 2))
	second := open()
	require.NoError(t, reads(second, old), "what lies here may be sealed with it")
	require.NoError(t, second.Settle())
	require.Error(t, reads(second, old))
	require.Equal(t, []string{"k2@hv1"}, open().IDs())
	require.NotContains(t, log.String(), "AgIC", "keys are in no log")
}

func TestAHostOfBeforeGoesOnWithTheControlPlanesKeysUntilTheAPIGivesItItsOwn(t *testing.T) {
	shared := keyFile(t, key("k1", 1))
	control, err := LoadKeys(shared)
	require.NoError(t, err)
	api := &theAPI{}
	var log bytes.Buffer
	o := HostOptions{Hostname: "hv1", File: filepath.Join(t.TempDir(), "payload.keys"), Ask: api.ask, Logger: slog.New(slog.NewTextHandler(&log, nil))}

	_, err = OpenHostKeys(t.Context(), o)
	require.ErrorContains(t, err, "temporal.payload_keys has to name the key file")
	o.Shared = shared
	h, err := OpenHostKeys(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"k1"}, h.IDs(), "an older API's workers read no other")
	require.Contains(t, log.String(), "can read what is for other hosts")
	old, err := h.Seal([]byte(secret), "facts")
	require.NoError(t, err)

	api.control = control
	h, err = OpenHostKeys(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, []string{"k1@hv1", "k1"}, h.IDs())
	_, err = h.Open(old, "facts")
	require.NoError(t, err)

	require.NoError(t, os.Chmod(o.File, 0o644))
	_, err = OpenHostKeys(t.Context(), o)
	require.ErrorContains(t, err, "readable by others")
}

func TestAHostWithoutKeysAsksUntilItIsStopped(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	api := &theAPI{away: errors.New("connection refused")}
	_, err := OpenHostKeys(ctx, HostOptions{
		Hostname: "hv1", File: filepath.Join(t.TempDir(), "payload.keys"), Logger: slog.New(slog.DiscardHandler),
		Ask: func(ctx context.Context) ([]Key, error) { stop(); return api.ask(ctx) },
	})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "connection refused")
}
