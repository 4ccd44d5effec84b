package guestfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/program"
)

// root finds the root filesystem, and shows it writable: the partition that is asked for, or, where it is to be found, the only
// filesystem, or the first whose root has /etc. The only ext filesystem beside FAT ones, as where a machine boots by UEFI, needs none.
func (e *export) root(ctx context.Context, limits program.Limits, number int) (guest, error) {
	whole, err := e.wholeDisk()
	if err != nil {
		return guest{}, err
	}
	all, more, err := e.filesystems(whole, number)
	if err != nil {
		return guest{}, err
	}
	var ext, fat, other []Filesystem
	for _, f := range all {
		switch f.Kind {
		case Ext:
			ext = append(ext, f)
		case FAT:
			fat = append(fat, f)
		default:
			other = append(other, f)
		}
	}
	ours := slices.Concat(ext, fat)
	where := ""
	if number != contract.InjectInspect {
		where = fmt.Sprintf(" where build.inject_partition says (%d)", number)
	}
	switch {
	case len(all) == 0:
		return guest{}, unknown(fmt.Sprintf("the image has no ext or FAT filesystem%s", where))
	case len(ours) == 0:
		return guest{}, unknown(fmt.Sprintf("the image has %s and no ext or FAT filesystem%s", kinds(other), where))
	case len(all) == 1 && (more == 0 || ours[0].Kind == Ext): // else it may be what the other one is booted by
		return e.writable(ctx, limits, ours[0])
	}
	for _, f := range ours {
		if e.unfinished { // it may have been the one that was written, and cannot be looked at until it is repaired
			if _, err := e.writable(ctx, limits, f); err != nil && isHostFault(ctx, err) {
				return guest{}, err
			}
			if err := e.hide(f); err != nil {
				return guest{}, err
			}
		}
		look, err := e.filesystem(limits, f, false)
		if err != nil {
			return guest{}, err
		}
		is, err := look.hasEtc(ctx)
		if err = errors.Join(err, look.close(ctx)); err != nil && isHostFault(ctx, err) {
			return guest{}, err
		}
		if err := e.hide(f); err != nil {
			return guest{}, err
		}
		if err == nil && is {
			return e.writable(ctx, limits, f)
		}
	}
	if len(ext) == 1 && len(other) == 0 {
		return e.writable(ctx, limits, ext[0])
	}
	return guest{}, unknown(fmt.Sprintf("none of the image's filesystems (%s) is an ext or FAT filesystem that looks like a Linux root", kinds(all)))
}

// unknown is why the root is in no filesystem that is written here. libguestfs may know it.
type unknown string

func (u unknown) Error() string { return string(u) }

func kinds(all []Filesystem) string {
	var names []string
	for _, f := range all {
		if !slices.Contains(names, string(f.Kind)) {
			names = append(names, string(f.Kind))
		}
	}
	return strings.Join(names, ", ")
}

// writable shows a filesystem to be written, after its own check.
func (e *export) writable(ctx context.Context, limits program.Limits, f Filesystem) (guest, error) {
	fs, err := e.filesystem(limits, f, true)
	if err != nil {
		return guest{}, err
	}
	return guest{fs}, fs.check(ctx, e.unfinished)
}

// filesystem shows one of the kinds that are written here.
func (e *export) filesystem(limits program.Limits, f Filesystem, writable bool) (filesystem, error) {
	image, err := e.show(f, writable)
	if err != nil {
		return nil, err
	}
	l := limits.WithFile(max(f.Size, maxFile))
	if f.Kind == FAT {
		return &fat{
			image: image, work: e.dir, inside: e.inside, limits: l, writable: writable,
			listed: map[string][]string{}, written: map[string]string{},
		}, nil
	}
	return tree{&ext{image: image, work: e.dir, inside: e.inside, limits: l, writable: writable}}, nil
}

// filesystems are those of the partitions, of the one with that number, or of the whole disk (0). What is in more of them is not known.
func (e *export) filesystems(whole string, number int) (found []Filesystem, more int, err error) {
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
			kind, err := kindOf(r, p)
			if err != nil {
				return err
			}
			if kind == "" {
				more++
				continue
			}
			found = append(found, Filesystem{p, kind})
		}
		return nil
	})
	return found, more, err
}
