package host

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/payload"
)

func TestADomainHasTheFactsOfItsServerBesideIt(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	read := func() (contract.FoundServer, error) {
		return p.ReadFacts(t.Context(), contract.ReadFactsInput{ServerID: server})
	}
	refused := func(text string) {
		t.Helper()
		_, err := read()
		require.True(t, fault.Is(err, fault.Conflict), "%v", err)
		require.ErrorContains(t, err, text)
	}
	refused("Host h1 has no domain of instance " + server)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))

	found, err := read()
	require.NoError(t, err)
	require.Equal(t, *p.define().Facts, found.Facts)
	require.Equal(t, lifecycle.Shutdown, found.PowerState)
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	found, err = read()
	require.NoError(t, err)
	require.Equal(t, lifecycle.Running, found.PowerState)

	file := filepath.Join(p.dir, server, factsName)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.EqualValues(t, 0o600, info.Mode().Perm())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), "hunter2")
	require.NotContains(t, string(text), base64.StdEncoding.EncodeToString([]byte("hunter2")))
	require.NoError(t, os.WriteFile(file, []byte("{}"), 0o600))
	refused("cannot be read")
	require.NoError(t, os.Remove(file))
	refused("it was built before that was kept")

	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	require.NoError(t, p.UndefineDomain(t.Context(), contract.Undo{ServerID: server}))
	require.NoFileExists(t, file)
	refused("Host h1 has no domain")
}

func TestFactsOfAnotherServerAreNotTakenForItsOwn(t *testing.T) {
	const other = "99999999-2222-4333-8444-555555555555"
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	in := p.define()
	in.ServerID, in.Facts.Server.ServerID = other, other
	require.NoError(t, p.DefineDomain(t.Context(), in))
	text, err := os.ReadFile(filepath.Join(p.dir, other, factsName))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, factsName), text, 0o600))
	_, err = p.ReadFacts(t.Context(), contract.ReadFactsInput{ServerID: server})
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
}

func TestFactsThatCannotBeReadKeepNoHostFromStarting(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	for _, text := range []string{"{}", "{", ""} {
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, factsName), []byte(text), 0o600))
		n, err := p.ResealFacts()
		require.NoError(t, err, "%q", text)
		require.Zero(t, n)
	}
}

func TestAHostSealsFactsAnewAndNeedsTheKeyUntilThen(t *testing.T) {
	const k2 = "k2 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	n, err := p.ResealFacts()
	require.NoError(t, err)
	require.Zero(t, n, "the first key sealed them")

	dir := t.TempDir()
	before := p.o.Keys
	load := func(lines ...string) *payload.Keys {
		path := filepath.Join(dir, "keys")
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
		keys, err := payload.LoadKeys(path)
		require.NoError(t, err)
		return keys
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(p.dir), "payload-keys"))
	require.NoError(t, err)
	k1 := strings.TrimSpace(string(text))
	k1 = k1[strings.LastIndexByte(k1, '\n')+1:]

	p.o.Keys = load(k2)
	_, err = p.ResealFacts()
	require.ErrorContains(t, err, "there is no key "+before.First()+" any more, and the facts of 1 servers")
	p.o.Keys = load(k2, k1)
	n, err = p.ResealFacts()
	require.NoError(t, err)
	require.Equal(t, 1, n)
	p.o.Keys = load(k2)
	n, err = p.ResealFacts()
	require.NoError(t, err)
	require.Zero(t, n)
	found, err := p.ReadFacts(t.Context(), contract.ReadFactsInput{ServerID: server})
	require.NoError(t, err)
	require.Equal(t, *p.define().Facts, found.Facts)
}
