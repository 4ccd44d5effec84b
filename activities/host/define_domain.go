package host

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/configdrive"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/program"
)

// DefineDomain makes the domain known to the hypervisor, beside the facts of which a server can be made again.
func (a *Activities) DefineDomain(ctx context.Context, in contract.DefineDomainInput) error {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.define(ctx, dir, in)
}

func (a *Activities) define(ctx context.Context, dir string, in contract.DefineDomainInput) error {
	d, err := a.domain(ctx, dir, in)
	if err != nil {
		return err
	}
	if in.Facts != nil {
		if err := a.keepFacts(dir, *in.Facts); err != nil {
			return err
		}
	}
	return a.o.Hypervisor.Define(ctx, d)
}

// UndefineDomain makes the hypervisor forget it. One that runs is stopped first: a host that came back starts the guests that
// it finds off, also one whose build never came to its start, or whose delete had stopped it before the host went away.
func (a *Activities) UndefineDomain(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if err := a.destroy(ctx, dir, in.ServerID); err != nil {
		return err
	}
	if err := a.o.Hypervisor.Undefine(ctx, in.ServerID); err != nil {
		return err
	}
	for _, name := range []string{kernelName, ramdiskName, imagecache.UsesName, factsName} {
		for _, path := range []string{name, name + part} {
			if err := os.Remove(filepath.Join(dir, path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return program.Fault(err, "removing what was kept of server "+in.ServerID)
			}
		}
	}
	return tidy(dir)
}

// domain is what the hypervisor is asked for. Every path follows from the server's id and the images' checksums.
func (a *Activities) domain(ctx context.Context, dir string, in contract.DefineDomainInput) (hypervisor.Domain, error) {
	root := in.Image.Root
	hardware, err := imageprops.Parse(root.Properties, in.Flavor.ExtraSpecs)
	if err != nil {
		return hypervisor.Domain{}, err
	}
	d := hypervisor.Domain{
		UUID: in.ServerID, Name: "slipway-" + in.ServerID, Title: in.Name, ProjectID: in.ProjectID,
		VCPUs: in.Flavor.VCPUs, MemoryMiB: in.Flavor.RAMMiB,
		ConsoleLog: filepath.Join(dir, consoleName), Hardware: hardware,
	}
	for _, asked := range metadata.Disks(contract.BlockDevices(in.Image.BlockDevices, in.Flavor)) {
		x := hypervisor.Disk{
			Format: "raw", Role: hypervisor.DiskRole(asked.Role), Device: cmp.Or(asked.Device, "disk"), Bus: asked.Bus,
			BootOrder: asked.BootOrder, Serial: asked.Serial,
		}
		name := disk.SwapName
		switch asked.Role {
		case contract.RootDisk:
			name, x.Format = disk.RootName, "qcow2"
			if root.DiskFormat == "iso" { // as Nova: an iso boots from a cdrom
				x.Device = "cdrom"
			}
		case contract.EphemeralDisk:
			name = disk.EphemeralName(asked.Number)
		}
		x.Path = filepath.Join(dir, name)
		d.Disks = append(d.Disks, x)
	}
	if d.Disks[0].Backing, d.Disks[0].BackingFormat, err = a.backing(d.Disks[0].Path, root); err != nil {
		return hypervisor.Domain{}, err
	}
	if in.ConfigDrive {
		drive := hypervisor.Disk{Path: filepath.Join(dir, configdrive.Name), Format: "raw", Role: hypervisor.ConfigDisk, Device: "cdrom"}
		if in.Format == configdrive.VFAT {
			drive.Device = "disk"
		}
		d.Disks = append(d.Disks, drive)
	}
	for i, p := range in.Ports {
		nic := hypervisor.NIC{MAC: p.MAC, MTU: p.MTU, PortID: p.ID, Slot: metadata.Slot(in.Ports, i)}
		if p.Plugged() {
			nic.Tap = ids.Tap(p.ID)
		} else {
			nic.Bridge = p.Bridge
		}
		d.NICs = append(d.NICs, nic)
	}
	d.Boot, err = a.boot(ctx, dir, in.Image, cmp.Or(in.Image.RootDevice, hardware.RootDevice()))
	return d, err
}

// backing is the cached image that a root disk leans on, and its format; "" is none. A guest that broke out of QEMU may have
// written another file's name, or another format, into the disk's header.
func (a *Activities) backing(path string, image contract.Image) (file, format string, err error) {
	file, _, err = disk.Backing(path)
	if errors.Is(err, fs.ErrNotExist) { // without its disk a domain is known, and does not start
		return "", "", nil
	}
	if err != nil {
		return "", "", program.Fault(err, "reading what the disk "+path+" leans on")
	}
	if file == "" {
		return "", "", nil
	}
	base, err := a.o.Cache.Inspect(image)
	if err == nil && file != base.Path {
		err = fault.New(fault.HostUnfit, "The server's root disk leans on another file than its image.").NotTheHosts()
	}
	return base.Path, string(base.Format), err
}

// Names of a server's own kernel and ramdisk, as Nova's libvirt driver names them.
const (
	kernelName  = "kernel"
	ramdiskName = "ramdisk"
)

// boot is the kernel and ramdisk of an image that names them, with Nova's command line: the image's os_command_line, or
// root on the first disk and the console that is kept. They are copies in the server's folder: libvirt gives both to QEMU's
// user at each start, and no label in the definition keeps it from that.
func (a *Activities) boot(ctx context.Context, dir string, images contract.ResolvedImage, rootDevice string) (hypervisor.Boot, error) {
	var boot hypervisor.Boot
	if images.Kernel == nil {
		return boot, nil
	}
	var err error
	if boot.Kernel, err = a.copyImage(ctx, *images.Kernel, filepath.Join(dir, kernelName)); err != nil {
		return boot, err
	}
	if images.Ramdisk != nil {
		if boot.Ramdisk, err = a.copyImage(ctx, *images.Ramdisk, filepath.Join(dir, ramdiskName)); err != nil {
			return boot, err
		}
	}
	boot.CmdLine = images.Root.Properties["os_command_line"]
	if boot.CmdLine == "" {
		boot.CmdLine = "root=" + rootDevice + " console=ttyS0"
	}
	return boot, nil
}

// copyImage copies a cached image. What is there already is written anew: QEMU may have written it.
func (a *Activities) copyImage(ctx context.Context, image contract.Image, path string) (string, error) {
	defer a.o.Cache.Pin(image.SHA512)()
	cached, _, err := a.o.Cache.Fetch(ctx, image, nil) // a look, unless it was evicted or the host restarted since FetchImage
	if err != nil {
		return "", err
	}
	dir, name := filepath.Split(path)
	err = func() error {
		f, err := os.Open(cached)
		if err != nil {
			return err
		}
		defer f.Close()
		st, err := f.Stat()
		if err != nil {
			return err
		}
		if err := a.o.Reserve.Check(dir, st.Size()); err != nil {
			return err
		}
		return put(dir, name, f)
	}()
	return path, program.Fault(err, "copying image "+image.ID+" for its server")
}

// part ends the name of a file while it is written.
const part = ".part"

// put puts a file in place whole and durably, as the domain is that the hypervisor keeps.
func put(dir, name string, content io.Reader) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(path + part) // where it was not put in place: it may be the disk that is full
	_, err = io.Copy(f, content) // which clones where the filesystem can
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+part, path); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}
