// Package configdrive makes the config drive of an instance: the metadata tree on an ISO 9660 disc or a vfat disk
// labelled config-2, which cloud-init and cloudbase-init look for (nova/virt/configdrive.py).
package configdrive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Formats of a config drive.
const (
	ISO9660 = "iso9660"
	VFAT    = "vfat"
)

// Name of the drive's file in the instance folder, as Nova's libvirt driver names it.
const Name = "disk.config"

const (
	label     = "config-2"
	publisher = "Slipway"
	// vfatBytes is Nova's CONFIGDRIVESIZE_BYTES; the file is sparse.
	vfatBytes  = 64 << 20
	treeSuffix = ".tree"
	partSuffix = ".part"
)

// made is when everything on a drive was made: the same facts make the same bytes. FAT knows no earlier time.
var made = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// Build makes dir/disk.config. One that is there in the wanted format is kept: it was renamed into place when it was
// whole, and a build's metadata does not change. format "" is iso9660.
func Build(ctx context.Context, limits program.Limits, dir, format string, skip []string, md contract.InstanceMetadata) (err error) {
	defer func() { err = program.Fault(err, "making the config drive in "+dir) }()
	if format == "" {
		format = ISO9660
	}
	if format != ISO9660 && format != VFAT {
		return fault.New(fault.Invalid, "Config drives are iso9660 or vfat, not %q.", format)
	}
	path := filepath.Join(dir, Name)
	// Also where the drive is whole: who made it may have died before it had cleared up.
	if err := removeLeftovers(path); err != nil {
		return err
	}
	if found, err := formatOf(path); err != nil {
		return err
	} else if found == format {
		return nil
	}
	defer func() { err = errors.Join(err, removeLeftovers(path)) }()
	files, err := metadata.Files(md, skip)
	if err != nil {
		return err
	}
	// Secrets lie in the tree: only this user may look until it is gone again.
	tree, part := path+treeSuffix, path+partSuffix
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	// It holds the admin password: the programs write into a file that is closed to others from its first moment. libvirt
	// gives it to QEMU's user when the domain starts.
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		return err
	}
	if format == ISO9660 {
		err = makeISO(ctx, limits, files, tree, part)
	} else {
		err = makeVFAT(ctx, limits, files, tree, part, ids.Volume(md.ServerID))
	}
	if err != nil {
		return err
	}
	// Its server is started after the machine went down, too: it has to be whole then.
	if err := syncFile(part); err != nil {
		return err
	}
	if found, err := formatOf(part); err != nil {
		return err
	} else if found != format {
		return fmt.Errorf("%s was to be %s and is %q", part, format, found)
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// Remove removes the drive, finished or not. An absent one is success.
func Remove(dir string) error {
	path := filepath.Join(dir, Name)
	err := removeLeftovers(path)
	if e := os.Remove(path); e != nil && !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return program.Fault(err, "removing the config drive in "+dir)
}

func removeLeftovers(path string) error {
	return errors.Join(os.RemoveAll(path+treeSuffix), os.RemoveAll(path+partSuffix))
}

// makeISO uses Nova's options: every name kept whole for Joliet and Rock Ridge readers. What is the same in many versions of the
// tree is written once, and has many names on the disc.
func makeISO(ctx context.Context, l program.Limits, files []metadata.File, tree, part string) error {
	var list strings.Builder
	written := map[string]string{}
	for _, f := range files {
		from, ok := written[string(f.Contents)]
		if !ok {
			from = filepath.Join(tree, strconv.Itoa(len(written)))
			if err := os.WriteFile(from, f.Contents, 0o600); err != nil {
				return err
			}
			written[string(f.Contents)] = from
		}
		fmt.Fprintf(&list, "%s=%s\n", f.Path, from)
	}
	_, _, err := program.Run(ctx, program.Command{Name: "genisoimage", Limits: l, Stdin: []byte(list.String()), Args: []string{
		"-o", part, "-ldots", "-allow-lowercase", "-allow-multidot", "-l", "-publisher", publisher, "-quiet", "-J", "-r", "-V", label,
		"-graft-points", "-path-list", "-",
	}})
	if err != nil {
		return err
	}
	return setTimes(part)
}

// makeVFAT copies each file from a folder of its own: mcopy takes what is in a folder in the order in which the host's filesystem
// happens to list it.
func makeVFAT(ctx context.Context, l program.Limits, files []metadata.File, tree, part, volume string) error {
	if err := os.Truncate(part, vfatBytes); err != nil {
		return err
	}
	run := func(name string, args ...string) error {
		_, _, err := program.Run(ctx, program.Command{Name: name, Limits: l, Args: args, Env: []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(made.Unix(), 10)}})
		return err
	}
	if err := run("mkfs.vfat", "--invariant", "-i", volume, "-n", label, part); err != nil {
		return err
	}
	args := []string{"-i", part, "-s", "-Q", "-o"}
	for i, f := range files {
		root := filepath.Join(tree, strconv.Itoa(i))
		if err := writeFile(filepath.Join(root, filepath.FromSlash(f.Path)), f.Contents); err != nil {
			return err
		}
		top, _, _ := strings.Cut(f.Path, "/")
		args = append(args, filepath.Join(root, top))
	}
	return run("mcopy", append(args, "::/")...)
}

// formatOf tells what a finished drive is by its marks; "" is none or something else.
func formatOf(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 40)
	if n, _ := f.ReadAt(b, 16*2048+1); n >= 5 && string(b[:5]) == "CD001" {
		// The volume's name stands at 40 of the descriptor.
		name := make([]byte, len(label))
		if _, err := f.ReadAt(name, 16*2048+40); err == nil && string(name) == label {
			return ISO9660, nil
		}
		return "", nil
	}
	var boot [512]byte
	if n, _ := f.ReadAt(boot[:], 0); n == len(boot) && boot[510] == 0x55 && boot[511] == 0xaa &&
		(strings.HasPrefix(string(boot[43:54]), label) || strings.HasPrefix(string(boot[71:82]), label)) {
		return VFAT, nil
	}
	return "", nil
}

func writeFile(path string, contents []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, contents, 0o600)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
