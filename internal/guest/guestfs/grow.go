package guestfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Grow has the root disk's only filesystem fill the disk, and the only partition around it: what Nova's virt/disk/api.py (extend)
// does for a disk that is one ext filesystem, and OS-DCF:diskConfig AUTO promises for one with one partition. Growing again changes
// nothing. note says what keeps the image from it. What was begun and has not ended leaves the disk Torn.
func Grow(ctx context.Context, limits program.Limits, instanceDir string) (note string, err error) {
	doing := "growing the filesystem in " + instanceDir
	e, err := open(ctx, limits, filepath.Join(instanceDir, disk.RootName), filepath.Join(instanceDir, workName), nil)
	if err != nil {
		return "", program.Fault(err, doing)
	}
	err = e.grow(ctx, limits, func() error { _, err := begin(instanceDir); return err })
	if closeErr := e.close(); closeErr != nil {
		return "", program.Fault(errors.Join(err, closeErr), doing)
	}
	switch {
	case err == nil:
		return "", program.Fault(finish(instanceDir), doing)
	case isHostFault(ctx, err):
		return "", program.Fault(err, doing)
	}
	return "the root filesystem was not grown: " + err.Error(), nil
}

// Torn says whether something has begun to write into the root disk that has not ended.
func Torn(instanceDir string) (bool, error) {
	_, err := os.Lstat(filepath.Join(instanceDir, unfinishedName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (e *export) grow(ctx context.Context, limits program.Limits, begin func() error) error {
	table, err := e.export("table", "disk", true)
	if err != nil {
		return err
	}
	only, err := e.only(table)
	if err != nil {
		return err
	}
	if err := begin(); err != nil {
		return err
	}
	run := func(name string, stdin string, ok []int, args ...string) error {
		_, _, err := program.Run(ctx, program.Command{
			Name: name, Args: args, Stdin: []byte(stdin), OKCodes: ok, Limits: limits.WithFile(e.virtual), Confine: e.inside,
			Env: []string{"EXT2FS_NO_MTAB_OK=1"}, // resize2fs looks there whether it is mounted
		})
		return err
	}
	if only.Number != 0 {
		// From where it begins to the disk's end; a GPT gets its second table there.
		if err := run("sfdisk", ", +\n", nil, "--quiet", "--no-reread", "--no-tell-kernel", "-N", strconv.Itoa(only.Number), table); err != nil {
			return err
		}
		grown, err := e.only(table)
		switch {
		case err != nil:
			return err
		case grown.Start != only.Start || grown.Size < only.Size:
			return fmt.Errorf("its partition became %+v of %+v", grown.Partition, only.Partition)
		}
		only = grown
	}
	if err := e.withdraw("table"); err != nil { // while it is there, nothing else is shown to be written
		return err
	}
	image, err := e.show(only, true)
	if err != nil {
		return err
	}
	if err := run("e2fsck", "", []int{1}, "-f", "-p", image); err != nil { // resize2fs insists on it
		return err
	}
	return run("resize2fs", "", nil, image)
}

// only is the one filesystem of a disk that can be grown. Before this look at it the kernel knows no owner of an export, and
// programs that open without asking are refused.
func (e *export) only(disk string) (f Filesystem, err error) {
	err = e.inside.Read(disk, func(r io.ReaderAt) error {
		all, err := Partitions(r, e.virtual)
		if err != nil {
			return err
		}
		if len(all) != 1 {
			return fmt.Errorf("the image has %d partitions that can be read", len(all))
		}
		f.Partition = all[0]
		f.Kind, err = kindOf(r, all[0])
		if err == nil && f.Kind != Ext {
			return fmt.Errorf("the image has no ext filesystem (%s)", map[Kind]string{"": "nothing that is known"}[f.Kind]+string(f.Kind))
		}
		return err
	})
	return f, err
}
