package host

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
)

// whole builds a server completely.
func (p *place) whole(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	p.fetch(t)
	require.NoError(t, p.BuildConfigDrive(ctx, contract.BuildConfigDriveInput{ServerID: server, Format: "iso9660", Metadata: p.metadata()}))
	require.NoError(t, made(p.BuildDisk(ctx, contract.BuildDiskInput{ServerID: server, Image: p.root, EphemeralGiB: 1, SwapMiB: 16})))
	require.NoError(t, p.DefineDomain(ctx, p.define()))
	require.NoError(t, p.StartDomain(ctx, contract.StartDomainInput{ServerID: server}))
}

func (p *place) inventory(t *testing.T, in contract.InventoryInput) contract.Inventory {
	t.Helper()
	out, err := p.TakeInventory(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, "h1", out.Hostname)
	return out
}

func TestAnInventoryTellsWhatABuildMadeAndNothingOfWhatItMissesIsMissing(t *testing.T) {
	p := newPlace(t)
	require.Empty(t, p.inventory(t, contract.InventoryInput{}).Things)
	p.whole(t)
	require.NoError(t, os.Mkdir(filepath.Join(p.dir, "lost+found"), 0o700))
	require.Equal(t, []contract.Instance{{ID: server, Domain: "running", Guest: "running", Folder: true, Disk: true, Facts: true}}, p.inventory(t, contract.InventoryInput{}).Things)
}

func TestAnInventoryTellsWhatIsMissing(t *testing.T) {
	cached := func(p *place, image contract.Image) string {
		path, err := p.o.Cache.Path(image.SHA512)
		require.NoError(t, err)
		return path
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, p *place)
		want   contract.Instance
	}{
		"its image": {func(t *testing.T, p *place) { require.NoError(t, os.Remove(cached(p, p.root))) }, contract.Instance{Domain: "running", Guest: "running", Folder: true, Disk: true, Facts: true, Missing: []string{"root"}}},
		"its kernel, of a domain without a copy": {func(t *testing.T, p *place) {
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, imagecache.UsesName), []byte(p.kernel.SHA512+"\n"), 0o600))
			require.NoError(t, os.Remove(cached(p, p.kernel)))
		}, contract.Instance{Domain: "running", Guest: "running", Folder: true, Disk: true, Facts: true, Missing: []string{"kernel"}}},
		"its disk": {func(t *testing.T, p *place) {
			require.NoError(t, os.Remove(filepath.Join(p.dir, server, disk.RootName)))
		}, contract.Instance{Domain: "running", Guest: "running", Folder: true, Facts: true}},
		"its folder": {func(t *testing.T, p *place) { require.NoError(t, os.RemoveAll(filepath.Join(p.dir, server))) }, contract.Instance{Domain: "running", Guest: "running"}},
		"its domain": {func(t *testing.T, p *place) {
			require.NoError(t, p.hyp.Destroy(t.Context(), server))
			require.NoError(t, p.hyp.Undefine(t.Context(), server))
		}, contract.Instance{Folder: true, Disk: true, Facts: true}},
		"nothing: a note": {func(t *testing.T, p *place) {
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, "notes"), nil, 0o600))
		}, contract.Instance{Domain: "running", Guest: "running", Folder: true, Disk: true, Facts: true, Foreign: []string{"notes"}}},
		"a disk's header": {func(t *testing.T, p *place) {
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, server, disk.RootName), []byte("x"), 0o600))
		}, contract.Instance{Domain: "running", Guest: "running", Folder: true, Disk: true, Facts: true, Broken: "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.whole(t)
			c.change(t, p)
			got := p.inventory(t, contract.InventoryInput{}).Things[0]
			c.want.ID = server
			for i, m := range c.want.Missing {
				c.want.Missing[i] = map[string]string{"root": p.root.SHA512, "kernel": p.kernel.SHA512}[m]
			}
			if c.want.Broken != "" {
				require.NotEmpty(t, got.Broken)
				c.want.Broken = got.Broken
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestAnInventoryTellsHowAGuestIs(t *testing.T) {
	p := built(t)
	for _, c := range []struct {
		guest string
		make  func(context.Context, string) error
	}{{"paused", p.hyp.Suspend}, {"saved", p.hyp.Save}, {"running", p.hyp.Start}, {"shutoff", p.hyp.Destroy}} {
		require.NoError(t, c.make(t.Context(), server))
		require.Equal(t, c.guest, p.inventory(t, contract.InventoryInput{}).Things[0].Guest)
	}
}

func TestAnInventoryDoesNotTakeAnothersDomainForItsOwn(t *testing.T) {
	p := newPlace(t)
	others := hypervisor.Domain{UUID: server, Name: "slipway-" + server, VCPUs: 1, MemoryMiB: 1, ConsoleLog: "/elsewhere/" + server + "/console.log"}
	require.NoError(t, p.hyp.Define(t.Context(), others))
	require.Equal(t, []contract.Instance{{ID: server, Domain: "shutoff", Guest: "shutoff", Elsewhere: true}}, p.inventory(t, contract.InventoryInput{}).Things)
}

func TestAnInventoryComesInPagesThatLeaveNothingOut(t *testing.T) {
	p := newPlace(t)
	var ids []string
	for _, digit := range "0123456789abcde" {
		id := strings.Repeat(string(digit), 8) + "-0000-4000-8000-000000000000"
		ids = append(ids, id)
		require.NoError(t, os.Mkdir(filepath.Join(p.dir, id), 0o755))
	}
	var seen []string
	for in := (contract.InventoryInput{Limit: 4}); ; {
		page := p.inventory(t, in)
		for _, thing := range page.Things {
			require.True(t, page.Covers(thing.ID))
			seen = append(seen, thing.ID)
		}
		if page.Through == "" {
			break
		}
		in.After = page.Through
	}
	require.Equal(t, ids, seen)

	some := p.inventory(t, contract.InventoryInput{Only: true, Servers: []string{ids[3], server}})
	require.Len(t, some.Things, 1)
	require.True(t, some.Covers(server) && !some.Covers(ids[4]), "that there is nothing of it is an answer too")
	require.Empty(t, p.inventory(t, contract.InventoryInput{Only: true}).Things)
}

func TestAnOldPartialDownloadIsToldAndRemoved(t *testing.T) {
	p := newPlace(t)
	path, err := p.o.Cache.Path(p.root.SHA512)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path+".part", []byte("begun"), 0o600))
	require.Empty(t, p.inventory(t, contract.InventoryInput{}).Partials, "a build may come back to it")
	remove := contract.RepairPartial{Hostname: "h1", SHA512: p.root.SHA512}
	require.NoError(t, p.RemovePartialDownload(t.Context(), remove))
	require.FileExists(t, path+".part")

	old := time.Now().Add(-2 * partialAfter)
	require.NoError(t, os.Chtimes(path+".part", old, old))
	require.Empty(t, p.inventory(t, contract.InventoryInput{After: server}).Partials, "on the first page only")
	require.Equal(t, p.root.SHA512, p.inventory(t, contract.InventoryInput{}).Partials[0].SHA512)
	release := p.o.Cache.Pin(p.root.SHA512)
	require.Empty(t, p.inventory(t, contract.InventoryInput{}).Partials, "somebody fetches it")
	require.NoError(t, p.RemovePartialDownload(t.Context(), remove))
	require.FileExists(t, path+".part")
	release()
	require.Error(t, p.RemovePartialDownload(t.Context(), contract.RepairPartial{Hostname: "h2", SHA512: p.root.SHA512}))
	require.NoError(t, p.RemovePartialDownload(t.Context(), remove))
	require.NoFileExists(t, path+".part")
	require.NoError(t, p.RemovePartialDownload(t.Context(), remove), "again")
}
