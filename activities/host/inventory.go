package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/program"
)

// partialAfter is how long a partial download may lie: builds come back to one that broke off within hours.
const partialAfter = 24 * time.Hour

// TakeInventory tells what lies on this host: domains, instance folders with what their disks lean on, and downloads that
// nobody continues. It changes nothing and waits for no step: what is being built or removed shows half.
func (a *Activities) TakeInventory(ctx context.Context, in contract.InventoryInput) (contract.Inventory, error) {
	out := contract.Inventory{Hostname: a.o.Hostname, After: in.After, Only: in.Only, Servers: in.Servers}
	domains, err := a.o.Hypervisor.List(ctx)
	if err != nil {
		return out, err
	}
	entries, err := os.ReadDir(a.o.InstancesDir)
	if err != nil {
		return out, program.Fault(err, "listing the instance folders")
	}
	things := map[string]*contract.Instance{}
	thing := func(id string) *contract.Instance {
		if things[id] == nil {
			things[id] = &contract.Instance{ID: id}
		}
		return things[id]
	}
	for _, d := range domains {
		if out.Covers(d.UUID) {
			t := thing(d.UUID)
			t.Domain, t.Guest = string(d.State), string(d.State)
			switch {
			case d.Saved:
				t.Guest = contract.GuestSaved
			case d.State == hypervisor.Paused && d.ByItself: // it sleeps, as its user may have it
				t.Guest = string(hypervisor.Running)
			}
		}
	}
	for _, e := range entries {
		// What has another name than a server's id is not Slipway's: lost+found, an operator's notes.
		if id, err := uuid.Parse(e.Name()); err == nil && id.String() == e.Name() && e.IsDir() && out.Covers(e.Name()) {
			thing(e.Name()).Folder = true
		}
	}
	ids := slices.Sorted(maps.Keys(things))
	if !in.Only && in.Limit > 0 && len(ids) > in.Limit {
		ids = ids[:in.Limit]
		out.Through = ids[len(ids)-1]
	}
	for _, id := range ids {
		t := things[id]
		if err := a.look(ctx, t); err != nil {
			return out, err
		}
		if t.Domain != "" || t.Folder {
			out.Things = append(out.Things, *t)
		}
	}
	if in.Only || in.After == "" {
		out.Partials, err = a.partials()
	}
	return out, err
}

// look fills in what a folder holds, and whose a domain without a folder is.
func (a *Activities) look(ctx context.Context, t *contract.Instance) error {
	dir := filepath.Join(a.o.InstancesDir, t.ID)
	if t.Domain != "" && !t.Folder {
		folder, err := a.o.Hypervisor.Folder(ctx, t.ID)
		if err != nil {
			return err
		}
		t.Elsewhere = folder != dir
		return nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		t.Folder = false // it went meanwhile
		return nil
	}
	if err != nil {
		return program.Fault(err, "listing the folder of server "+t.ID)
	}
	for _, e := range entries {
		if e.Name() == disk.RootName {
			t.Disk = true
		}
		if e.Name() == factsName {
			t.Facts = true
		}
		if len(t.Foreign) < 3 && !isMadeByBuild(e.Name()) {
			t.Foreign = append(t.Foreign, e.Name())
		}
	}
	if !t.Disk {
		return nil
	}
	path, _, err := disk.Backing(filepath.Join(dir, disk.RootName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t.Disk = false
		return nil
	case err != nil:
		t.Broken = shortened(err.Error())
	case path != "":
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			t.Missing = append(t.Missing, a.o.Cache.NameOf(path))
		} else if err != nil {
			return program.Fault(err, "looking for the image of server "+t.ID)
		}
	}
	names, err := os.ReadFile(filepath.Join(dir, imagecache.UsesName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return program.Fault(err, "reading the image list of server "+t.ID)
	}
	absent, err := a.o.Cache.Absent(strings.Fields(string(names)))
	if err != nil {
		t.Broken = shortened("its list of images: " + err.Error())
	}
	t.Missing = append(t.Missing, absent...)
	return nil
}

// isMadeByBuild says whether a build's step, or what it runs, makes a file of this name in an instance folder.
func isMadeByBuild(name string) bool {
	return strings.HasPrefix(name, disk.RootName) || strings.HasPrefix(name, consoleName) || name == imagecache.UsesName || name == kernelName || name == ramdiskName ||
		name == factsName || strings.HasPrefix(name, "inject") || name == nextName || name == placingName || name == rescueName || name == snapshotName || strings.HasPrefix(name, previousName) ||
		strings.HasPrefix(name, resizedName) || name == transfer.Folder
}

// shortened bounds what one instance takes of an inventory.
func shortened(text string) string {
	const enough = 200
	return strings.ToValidUTF8(text[:min(len(text), enough)], "")
}

func (a *Activities) partials() ([]contract.PartialDownload, error) {
	found, err := a.o.Cache.Partials(partialAfter)
	if err != nil {
		return nil, program.Fault(err, "listing the image cache")
	}
	var all []contract.PartialDownload
	for _, p := range found[:min(len(found), contract.PartialDownloadMax)] {
		all = append(all, contract.PartialDownload{SHA512: p.SHA512, Bytes: p.Bytes, Since: p.Since})
	}
	return all, nil
}

// RemovePartialDownload removes what came of an image that nobody fetches.
func (a *Activities) RemovePartialDownload(_ context.Context, in contract.RepairPartial) error {
	if in.Hostname != a.o.Hostname {
		return fault.New(fault.Invalid, "This host is %s, not %s.", a.o.Hostname, in.Hostname)
	}
	if err := a.o.Cache.RemovePartial(in.SHA512, partialAfter); err != nil {
		return program.Fault(err, fmt.Sprintf("removing the download of image %s", in.SHA512))
	}
	return nil
}
