package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// built is a host on which a server was built as it is in the end: what its domain says follows from its facts.
func built(t *testing.T) *place {
	p := newPlace(t)
	p.fetch(t)
	in := p.define()
	facts := contract.ServerFacts{
		Server: contract.Server{ServerID: server, ProjectID: "p", Name: "web", ConfigDrive: true},
		Spec:   contract.ServerSpec{Image: in.Image, Flavor: in.Flavor},
		Ports:  in.Ports,
	}
	require.Equal(t, func() contract.DefineDomainInput { in.Facts = nil; return in }(), facts.Domain())
	in.Facts = &facts
	require.NoError(t, made(p.BuildDisk(t.Context(), contract.BuildDiskInput{ServerID: server, Image: p.root, RootGiB: 1})))
	require.NoError(t, p.DefineDomain(t.Context(), in))
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	return p
}

func TestADomainIsMadeAnewFromItsFacts(t *testing.T) {
	p := built(t)
	in := contract.RemakeDomainInput{ServerID: server}
	was := p.hyp.Snapshot()[server]
	off := was
	off.State = hypervisor.ShutOff
	for _, spoil := range []func(){
		func() {},
		func() { require.NoError(t, p.hyp.Destroy(t.Context(), server)) },
		func() { require.NoError(t, p.hyp.Undefine(t.Context(), server)) },
		func() {
			other := was.Domain
			other.Title, other.VCPUs = "spoiled", 1
			require.NoError(t, p.hyp.Redefine(t.Context(), other))
		},
		func() {
			require.NoError(t, p.hyp.Start(t.Context(), server))
			require.NoError(t, p.hyp.Save(t.Context(), server))
		},
		func() {
			require.NoError(t, p.hyp.Start(t.Context(), server))
			require.NoError(t, p.hyp.Suspend(t.Context(), server))
		},
	} {
		spoil()
		for range 2 {
			require.NoError(t, p.RemakeDomain(t.Context(), in))
			require.Equal(t, off, p.hyp.Snapshot()[server])
		}
	}
}

func TestNothingIsTouchedWhereADomainCannotBeMadeAnew(t *testing.T) {
	p := built(t)
	was := p.hyp.Snapshot()
	refused := func(kind fault.Kind, text string) {
		t.Helper()
		err := p.RemakeDomain(t.Context(), contract.RemakeDomainInput{ServerID: server})
		require.Equal(t, kind, fault.KindOf(err))
		require.ErrorContains(t, err, text)
		require.Equal(t, was, p.hyp.Snapshot())
	}
	disk := filepath.Join(p.dir, server, "disk")
	for _, backing := range [][]string{{"/etc/hostname", "raw"}, {filepath.Join(filepath.Dir(p.dir), "cache", p.kernel.SHA512), "raw"}} {
		out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", backing[0], "-F", backing[1], disk).CombinedOutput()
		require.NoError(t, err, "%s", out)
		refused(fault.HostUnfit, "leans on another file than its image")
	}
	own := filepath.Join(filepath.Dir(p.dir), "cache", p.root.SHA512)
	out, err := exec.Command("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", own, "-F", "qcow2", disk).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, p.RemakeDomain(t.Context(), contract.RemakeDomainInput{ServerID: server}))
	require.Equal(t, was[server].Domain, p.hyp.Snapshot()[server].Domain, "its format is the image's, whatever the header says")
	was = p.hyp.Snapshot()

	require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, factsName), []byte("{"), 0o600))
	refused(fault.Conflict, "cannot be read")
	require.NoError(t, os.Remove(filepath.Join(p.dir, server, factsName)))
	refused(fault.Conflict, "Nothing on host h1 says what instance "+server+" was")
}
