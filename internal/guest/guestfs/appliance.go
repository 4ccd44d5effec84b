package guestfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/guest/disk"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Appliance is libguestfs with the machine that it reads filesystems in (supermin's, guestfs-internals(1)): the host's own kernel and
// programs, copied into a folder. nil is a host that uses none.
type Appliance struct {
	dir   string
	turns chan struct{} // of machines that run

	trying chan struct{} // holds one who asks; tried and why are his
	tried  time.Time
	why    error
}

// NewAppliance keeps its files in a folder, and makes them when they are first needed.
func NewAppliance(dir string) *Appliance {
	turns := make(chan struct{}, max(1, runtime.NumCPU()/2)) // each takes a processor, while it starts
	return &Appliance{dir: dir, turns: turns, trying: make(chan struct{}, 1)}
}

// What a machine may take. Emulated, it needs a quarter of a minute to be up.
const (
	machineMiB     = 512
	machineMemory  = 4 << 30 // address space: its memory, what is translated, QEMU
	machineCPU     = 5 * time.Minute
	machineScratch = 256 << 20 // what it writes to its own root, and files on their way
)

// again is how long a trial that failed counts: it may have been for the load at the host's start, and packages are installed.
const again = 10 * time.Minute

// Ready says why libguestfs cannot be used on this machine. The first to ask has it tried, which takes half a minute where the machine
// has not worked before, and so does who asks when a failure is old.
func (a *Appliance) Ready(ctx context.Context) error {
	if a == nil {
		return errNoLibguestfs
	}
	select {
	case a.trying <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-a.trying }()
	if a.tried.IsZero() || a.why != nil && time.Since(a.tried) > again {
		err := a.try(ctx)
		if ctx.Err() != nil {
			return err
		}
		a.tried, a.why = time.Now(), err
	}
	return a.why
}

var errNoLibguestfs = errors.New("the host has no libguestfs")

func (a *Appliance) try(ctx context.Context) (err error) {
	if err := a.make(ctx); err != nil {
		if program.Missing(err) {
			return errNoLibguestfs
		}
		return fmt.Errorf("libguestfs cannot make its machine on the host: %w", err)
	}
	works := filepath.Join(a.machine(), "works") // goes with the machine when supermin makes another
	if _, err := os.Stat(works); err == nil {
		return nil
	}
	if err := a.boot(ctx); err != nil {
		return fmt.Errorf("libguestfs does not work on the host: %w", err)
	}
	return os.WriteFile(works, nil, 0o600)
}

// boot starts the machine on an empty disk, as it is started on a guest's.
func (a *Appliance) boot(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "slipway-libguestfs-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tiny := filepath.Join(dir, disk.RootName)
	if _, _, err := program.Run(ctx, program.Command{Name: "qemu-img", Args: []string{"create", "-q", "-f", "qcow2", tiny, "1M"}}); err != nil {
		return err
	}
	e, err := open(ctx, program.Limits{}, tiny, filepath.Join(dir, workName), a)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	image, err := e.export("whole", "disk", true)
	if err != nil {
		return err
	}
	m, err := a.start(ctx, program.Limits{}, e, image)
	if err != nil {
		return err
	}
	return m.close(ctx)
}

// make has supermin put the machine together, if it is not there or the host's packages are newer. It reads what is the host's alone.
func (a *Appliance) make(ctx context.Context) error {
	parts, _, err := program.Run(ctx, program.Command{Name: "guestfish", Args: []string{"get-path"}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	_, _, err = program.Run(ctx, program.Command{
		Name: "supermin",
		Args: []string{"--build", "--if-newer", "--lock", filepath.Join(a.dir, "lock"), "--copy-kernel", "-f", "ext2", "--host-cpu", cpu(),
			filepath.Join(strings.TrimSpace(string(parts)), "supermin.d"), "-o", a.machine()},
		Limits: program.Limits{FileBytes: 8 << 30, CPU: 2 * time.Minute},
	})
	if err != nil {
		return err
	}
	for name, contents := range map[string]string{"README.fixed": "Made by Slipway.\n", "qemu": fmt.Sprintf(wrapper, cpu())} {
		if err := os.WriteFile(filepath.Join(a.machine(), name), []byte(contents), 0o600); err != nil {
			return err
		}
	}
	// supermin takes a copy of the kernel's old date for an old machine.
	made, err := os.Stat(filepath.Join(a.machine(), "initrd"))
	if err != nil {
		return err
	}
	if err := os.Chtimes(filepath.Join(a.machine(), "kernel"), made.ModTime(), made.ModTime()); err != nil {
		return err
	}
	var modes []error
	for name, mode := range map[string]os.FileMode{"": 0o755, "kernel": 0o444, "initrd": 0o444, "root": 0o444, "README.fixed": 0o444, "qemu": 0o555} {
		modes = append(modes, os.Chmod(filepath.Join(a.machine(), name), mode)) // Ubuntu's kernels are root's alone
	}
	return errors.Join(modes...)
}

// wrapper is libguestfs's QEMU. It bounds what QEMU keeps of translated code, a GiB otherwise, and has it tell the machine's kernel of what cannot
// be written, where it would wait for room on the host.
const wrapper = `#!/bin/sh
for a; do
	shift
	[ "$a" != accel=tcg ] || { set -- "$@" pc -accel; a=tcg,tb-size=128; }
	set -- "$@" "$a"
done
exec qemu-system-%s "$@" -global scsi-hd.werror=report
`

// machine is the folder with the machine, as guestfs(3) describes a fixed appliance.
func (a *Appliance) machine() string { return filepath.Join(a.dir, "machine") }

// files are what libguestfs and QEMU read beside programs and libraries.
func (a *Appliance) files() (files []program.File) {
	for _, path := range []string{a.machine(), "/usr/share/qemu", "/usr/share/seabios"} {
		if _, err := os.Stat(path); err == nil {
			files = append(files, program.File{Path: path})
		}
	}
	return files
}

func (a *Appliance) environment() []string {
	return []string{
		"LIBGUESTFS_BACKEND=direct", "LIBGUESTFS_BACKEND_SETTINGS=force_tcg", "LIBGUESTFS_PATH=" + a.machine(),
		"LIBGUESTFS_HV=" + filepath.Join(a.machine(), "qemu"), fmt.Sprintf("LIBGUESTFS_MEMSIZE=%d", machineMiB),
	}
}

// cpu is the host's kind of processor, as Linux names it.
func cpu() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // fails for a bad address alone
	return unix.ByteSliceToString(u.Machine[:])
}
