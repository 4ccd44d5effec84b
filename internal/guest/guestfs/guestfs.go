// Package guestfs injects data into the filesystem of a guest's root disk before the guest has ever run, for builds
// without a config drive: what Nova's virt/disk/api.py injects, without the host's kernel reading any of it. The disk is
// shown through a qemu-storage-daemon, its partition table read here, its ext filesystem written with debugfs, all confined (internal/program).
package guestfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/program"
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
			err = fmt.Errorf("a program is missing (packages e2fsprogs, qemu-system-common or qemu-block-extra, qemu-utils): %w", err)
		default:
			err = fmt.Errorf("a disk cannot be exported (the module fuse and its device, user namespaces): %w", err)
		}
	}()
	tiny := filepath.Join(dir, disk.RootName)
	if _, _, err := program.Run(ctx, program.Command{Name: "qemu-img", Args: []string{"create", "-q", "-f", "qcow2", tiny, "1M"}}); err != nil {
		return err
	}
	e, err := open(ctx, program.Limits{}, tiny, filepath.Join(dir, workName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	whole, err := e.wholeDisk()
	if err != nil {
		return err
	}
	for _, tool := range []string{"e2fsck", "debugfs"} {
		if _, _, err := program.Run(ctx, program.Command{Name: tool, Args: []string{"-V"}, Confine: e.inside}); err != nil {
			return err
		}
	}
	_, err = e.extPartitions(whole, contract.InjectInspect)
	return err
}

// Inject writes keys, network, metadata, admin password and files into the root disk in instanceDir. Injecting again
// changes nothing. As in Nova only files are owed: where they cannot be written that is an Invalid fault; what else the
// image does not take is told in notes. What is this host's failure is always an error.
func Inject(ctx context.Context, limits program.Limits, instanceDir string, md contract.InstanceMetadata, options contract.InjectOptions) (notes []string, err error) {
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
	e, err := open(ctx, limits, filepath.Join(instanceDir, disk.RootName), filepath.Join(instanceDir, workName))
	if err != nil {
		return nil, program.Fault(err, doing)
	}
	e.unfinished = unfinished
	defer func() {
		if closeErr := e.close(ctx); closeErr != nil {
			err = errors.Join(err, program.Fault(closeErr, doing))
		}
		if err == nil {
			err = program.Fault(finish(instanceDir), doing)
		}
	}()
	g, err := e.guest(ctx, limits, options.Partition)
	if err != nil {
		if isHostFault(ctx, err) {
			return nil, program.Fault(err, doing)
		}
		if len(md.Files) > 0 {
			return nil, refusal(err)
		}
		return []string{"nothing was injected: " + err.Error()}, nil
	}
	for _, item := range items {
		err := item.inject(ctx, g)
		switch {
		case err == nil:
		case isHostFault(ctx, err):
			return notes, program.Fault(err, doing)
		case item.owed:
			return notes, refusal(err)
		default:
			notes = append(notes, fmt.Sprintf("%s not injected: %v", item.name, err))
		}
	}
	return notes, nil
}

func refusal(err error) error {
	return fault.Wrap(fault.Invalid, err, "The files could not be injected into the image. Use a config drive, or an image with an ext filesystem that has room.")
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
			return g.write(ctx, "/etc/network/interfaces", []byte(text), 0o644, 0)
		})
	}
	if len(md.Metadata) > 0 {
		add("the metadata", false, func(ctx context.Context, g guest) error {
			b, err := json.Marshal(md.Metadata)
			if err != nil {
				return err
			}
			return g.write(ctx, "/meta.js", b, 0o644, 0)
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

// guest finds the root filesystem, and shows it writable: the partition that is asked for, or, where it is to be found, the only ext
// filesystem, or the first whose root has /etc.
func (e *export) guest(ctx context.Context, limits program.Limits, number int) (guest, error) {
	whole, err := e.wholeDisk()
	if err != nil {
		return guest{}, err
	}
	candidates, err := e.extPartitions(whole, number)
	if err != nil {
		return guest{}, err
	}
	switch len(candidates) {
	case 0:
		if number != contract.InjectInspect {
			return guest{}, fmt.Errorf("the image has no ext filesystem where build.inject_partition says (%d)", number)
		}
		return guest{}, errors.New("the image has no ext filesystem")
	case 1:
		return e.writable(ctx, limits, "root", candidates[0])
	}
	for i, p := range candidates {
		name := fmt.Sprintf("look%d", i)
		if e.unfinished { // it may have been the one that was written, and cannot be looked at until it is repaired
			if _, err := e.writable(ctx, limits, name, p); err != nil && isHostFault(ctx, err) {
				return guest{}, err
			}
			if err := e.hide(name); err != nil {
				return guest{}, err
			}
		}
		image, err := e.partition(name, p, false)
		if err != nil {
			return guest{}, err
		}
		look := guest{image: image, work: e.dir, inside: e.inside, limits: limits.WithFile(p.Size)}
		n, err := look.stat(ctx, "/etc")
		if err != nil && isHostFault(ctx, err) {
			return guest{}, err
		}
		if err := e.hide(name); err != nil {
			return guest{}, err
		}
		if err == nil && (n.kind == "directory" || n.kind == "symlink") {
			return e.writable(ctx, limits, "root", p)
		}
	}
	return guest{}, errors.New("none of the image's ext filesystems looks like a Linux root")
}

func (e *export) writable(ctx context.Context, limits program.Limits, name string, p Partition) (guest, error) {
	image, err := e.partition(name, p, true)
	if err != nil {
		return guest{}, err
	}
	g := guest{image: image, work: e.dir, inside: e.inside, limits: limits.WithFile(max(p.Size, maxFile))}
	return g, g.check(ctx, e.unfinished)
}

func (e *export) extPartitions(whole string, number int) (found []Partition, err error) {
	err = e.inside.Read(whole, func(r io.ReaderAt) error {
		all := []Partition{{0, e.virtual, 0}}
		if number != 0 {
			var err error
			if all, err = Partitions(r, e.virtual); err != nil {
				return err
			}
		}
		for _, p := range all {
			if number > 0 && p.Number != number {
				continue
			}
			is, err := isExt(r, p)
			if err != nil {
				return err
			}
			if is {
				found = append(found, p)
			}
		}
		return nil
	})
	return found, err
}

// account is whose keys are injected.
type account struct {
	home     string
	uid, gid uint32
}

// account reads one from the guest's passwd.
func (g guest) account(ctx context.Context, name string) (account, error) {
	passwd, err := g.read(ctx, "/etc/passwd")
	if err != nil {
		return account{}, err
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 6 || f[0] != name {
			continue
		}
		uid, uidErr := strconv.ParseUint(f[2], 10, 32)
		gid, gidErr := strconv.ParseUint(f[3], 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil || !path.IsAbs(f[5]) || path.Clean(f[5]) == "/" {
			return account{}, errors.Join(fmt.Errorf("/etc/passwd has no usable line for %s", name), err)
		}
		return account{home: f[5], uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return account{}, fmt.Errorf("the image has no user %s", name)
}

// injectKey appends the key to the account's, once.
func (g guest) injectKey(ctx context.Context, a account, key string) error {
	ssh := path.Join(a.home, ".ssh")
	if err := g.mkdirAll(ctx, ssh, 0o700, a.uid, a.gid); err != nil {
		return err
	}
	keys := path.Join(ssh, "authorized_keys")
	old, err := g.read(ctx, keys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	block := "\n# The following ssh key was injected by Slipway\n" + strings.TrimSpace(key) + "\n"
	if !bytes.Contains(old, []byte(block)) {
		old = append(old, block...)
	}
	return g.put(ctx, file{path: keys, contents: old, mode: 0o600, owner: &a})
}

// relabel has an SELinux guest label what was injected at its first boot: only the guest knows its policy.
func (g guest) relabel(ctx context.Context) error {
	if ok, err := g.has(ctx, "/etc/selinux"); err != nil || !ok {
		return err
	}
	return g.write(ctx, "/.autorelabel", nil, 0o644, 0)
}

func (g guest) has(ctx context.Context, p string) (bool, error) {
	_, _, missing, err := g.resolve(ctx, p)
	return err == nil && len(missing) == 0, err
}

// injectPassword sets root's password in /etc/shadow, hashed with SHA-512 crypt.
func (g guest) injectPassword(ctx context.Context, password string) error {
	old, err := g.read(ctx, "/etc/shadow")
	if err != nil {
		return err
	}
	if strings.ContainsAny(password, "\n\r\x00") {
		return errors.New("the password has a line break in it")
	}
	lines := strings.Split(string(old), "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if fields[0] != "root" || len(fields) < 2 {
			continue
		}
		if matches(fields[1], password) {
			return nil
		}
		if fields[1], err = crypt(password); err != nil {
			return err
		}
		lines[i] = strings.Join(fields, ":")
		return g.write(ctx, "/etc/shadow", []byte(strings.Join(lines, "\n")), 0o640, 0)
	}
	return errors.New("/etc/shadow has no line for root")
}

// matches tells whether a hash is of the password already: an injection that is repeated then changes nothing. A hash that
// crypt would not make is no match: the guest wrote it, and its salt and rounds would say how long we compute.
func matches(hash, password string) bool {
	f := strings.Split(hash, "$")
	if len(f) != 4 || f[1] != shacrypt.AlgIdentifierSHA512 || len(f[2]) > shacrypt.SaltLengthMax {
		return false
	}
	digest, err := shacrypt.Decode(hash)
	return err == nil && digest.Match(password)
}

// crypt is crypt(3)'s SHA-512 with a fresh salt and the default rounds, which every guest's libc reads.
func crypt(password string) (string, error) {
	hasher, err := shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithIterations(shacrypt.IterationsDefaultOmitted))
	if err != nil {
		return "", err
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", err
	}
	return digest.Encode(), nil
}
