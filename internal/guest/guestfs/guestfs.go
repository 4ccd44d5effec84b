// Package guestfs injects data into the filesystem of a guest's root disk before the guest has ever run, for builds
// without a config drive, and grows it to the disk: what Nova's virt/disk/api.py does, without the host's kernel reading any of
// it. The disk is shown through a qemu-storage-daemon, its partition table read here, its filesystem written with debugfs or
// mtools, all confined (internal/program).
package guestfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Trial says why nothing can be injected on this machine. It shows a disk, and looks at it as the tools do.
func Trial(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "slipway-injection-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	defer func() {
		var cannot program.CannotConfine
		switch {
		case err == nil, ctx.Err() != nil:
		case errors.As(err, &cannot):
			err = cannot
		case program.Missing(err):
			err = fmt.Errorf("a program is missing (packages e2fsprogs, fdisk, mtools, dosfstools, qemu-system-common or qemu-block-extra, qemu-utils): %w", err)
		default:
			err = fmt.Errorf("a disk cannot be exported (the module fuse and its device, user namespaces): %w", err)
		}
	}()
	tiny := filepath.Join(dir, disk.RootName)
	if _, _, err := program.Run(ctx, program.Command{Name: "qemu-img", Args: []string{"create", "-q", "-f", "qcow2", tiny, "1M"}}); err != nil {
		return err
	}
	e, err := open(ctx, program.Limits{}, tiny, filepath.Join(dir, workName), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	whole, err := e.wholeDisk()
	if err != nil {
		return err
	}
	for tool, asks := range map[string]string{"e2fsck": "-V", "debugfs": "-V", "mdir": "-V", "fsck.vfat": "--help", "sfdisk": "-V"} {
		if _, _, err := program.Run(ctx, program.Command{Name: tool, Args: []string{asks}, Confine: e.inside}); err != nil {
			return err
		}
	}
	_, _, err = e.filesystems(whole, contract.InjectInspect)
	return err
}

// Inject writes keys, network, metadata, admin password and files into the root disk in instanceDir. Injecting again
// changes nothing. As in Nova only files are owed: where they cannot be written that is an Invalid fault; what else the
// image does not take is told in notes. What is this host's failure is always an error.
//
// What is no ext or FAT filesystem is libguestfs's, where a is not nil.
func Inject(ctx context.Context, limits program.Limits, a *Appliance, instanceDir string, md contract.InstanceMetadata, options contract.InjectOptions) (notes []string, err error) {
	doing := "injecting into the disk of " + md.ServerID
	items := itemsOf(md, options.User)
	if len(items) == 0 {
		return nil, nil
	}
	if options.Partition == contract.InjectNothing {
		if len(md.Files) > 0 {
			return nil, fault.New(fault.Invalid, "Files are not injected into images here (build.inject_partition is -2). Use a config drive.")
		}
		return []string{"nothing was injected: build.inject_partition is -2"}, nil
	}
	unfinished, err := begin(instanceDir)
	if err != nil {
		return nil, program.Fault(err, doing)
	}
	root, work := filepath.Join(instanceDir, disk.RootName), filepath.Join(instanceDir, workName)
	e, err := open(ctx, limits, root, work, nil)
	if err != nil {
		return nil, program.Fault(err, doing)
	}
	e.unfinished = unfinished
	defer func() {
		if e != nil {
			if closeErr := e.close(); closeErr != nil {
				err = errors.Join(err, program.Fault(closeErr, doing))
			}
		}
		if err == nil {
			err = program.Fault(finish(instanceDir), doing)
		}
	}()
	g, err := e.root(ctx, limits, options.Partition)
	if errors.As(err, new(unknown)) {
		if cannot := a.Ready(ctx); cannot != nil {
			err = fmt.Errorf("%w, and %v", err, cannot)
		} else if err, e = e.close(), nil; err == nil {
			if e, err = open(ctx, limits, root, work, a); err == nil {
				g, err = e.mount(ctx, limits, a, options.Partition)
			}
		}
	}
	if err != nil {
		if err = orFull(instanceDir, err); isHostFault(ctx, err) || len(md.Files) > 0 {
			return nil, failed(ctx, err, doing)
		}
		return []string{"nothing was injected: " + err.Error()}, nil
	}
	defer func() {
		if closeErr := g.close(ctx); closeErr != nil && err == nil {
			err = failed(ctx, orFull(instanceDir, closeErr), doing)
		}
	}()
	for _, item := range items {
		err := orFull(instanceDir, item.inject(ctx, g))
		switch {
		case err == nil:
		case isHostFault(ctx, err) || item.owed || errors.Is(err, errTool):
			return notes, failed(ctx, err, doing)
		default:
			notes = append(notes, fmt.Sprintf("%s not injected: %v", item.name, err))
		}
	}
	return notes, nil
}

// failed is the fault of whose the failure is.
func failed(ctx context.Context, err error, doing string) error {
	if isHostFault(ctx, err) {
		return program.Fault(err, doing)
	}
	return refusal(err)
}

// enough is what a disk has when it is not full.
const enough = 16 << 20

// orFull adds to a failure that the host's disk is full, if it is: a tool sees a filesystem that cannot be written, and what it says of it
// is the same as of a guest's that is full or damaged.
func orFull(instanceDir string, err error) error {
	if err != nil {
		err = errors.Join(err, space.Bytes(enough).Check(instanceDir, 0))
	}
	return err
}

func refusal(err error) error {
	return fault.Wrap(fault.Invalid, err, "The files could not be injected into the image. Use a config drive, or an image with an ext or FAT filesystem that has room.")
}

// isHostFault tells whether a failure is this host's and not the image's.
func isHostFault(ctx context.Context, err error) bool {
	kind := fault.KindOf(program.Fault(err, ""))
	return ctx.Err() != nil || kind == fault.HostUnfit || kind == fault.Unavailable
}

type item struct {
	name   string
	owed   bool
	inject func(ctx context.Context, g guest) error
}

// itemsOf lists what there is to inject, in Nova's order.
func itemsOf(md contract.InstanceMetadata, user string) []item {
	var items []item
	add := func(name string, owed bool, f func(ctx context.Context, g guest) error) {
		items = append(items, item{name, owed, f})
	}
	for _, k := range md.KeyPairs {
		if k.Type == "" || k.Type == "ssh" {
			add("the key "+k.Name, false, func(ctx context.Context, g guest) error { return g.injectKey(ctx, account{home: "/root"}, k.PublicKey) })
			if user != "" && user != "root" {
				add("the key "+k.Name+" for "+user, false, func(ctx context.Context, g guest) error {
					a, err := g.account(ctx, user)
					if err != nil {
						return err
					}
					return g.injectKey(ctx, a, k.PublicKey)
				})
			}
		}
	}
	if text := metadata.Interfaces(md.Ports); text != "" {
		add("the network", false, func(ctx context.Context, g guest) error {
			return g.put(ctx, file{path: "/etc/network/interfaces", contents: []byte(text), newMode: 0o644, backup: true})
		})
	}
	if len(md.Metadata) > 0 {
		add("the metadata", false, func(ctx context.Context, g guest) error {
			b, err := json.Marshal(md.Metadata)
			if err != nil {
				return err
			}
			return g.put(ctx, file{path: "/meta.js", contents: b, newMode: 0o644, backup: true})
		})
	}
	if md.AdminPass != "" {
		add("the admin password", false, func(ctx context.Context, g guest) error { return g.injectPassword(ctx, md.AdminPass) })
	}
	for _, f := range md.Files {
		add("the file "+f.Path, true, func(ctx context.Context, g guest) error {
			return g.put(ctx, file{path: f.Path, contents: f.Contents, newMode: 0o644, backup: true})
		})
	}
	if len(items) > 0 {
		add("the mark for SELinux", false, func(ctx context.Context, g guest) error { return g.relabel(ctx) })
	}
	return items
}
