package guestfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// workName is the folder, within the instance folder, under which a disk is exported while it is written.
const workName = "inject"

// export is a running qemu-storage-daemon that shows parts of a disk as files. It speaks QMP over its stdin and stdout,
// and dies with this process.
type export struct {
	dir     string // the work folder
	disk    string
	virtual int64                // the disk's size
	inside  *program.Confinement // where the daemon lives, and its exports
	daemon  *program.Conversation
	replies *json.Decoder
	deleted bool // an export was taken back since this was set to false

	unfinished bool // an injection into this disk has begun before and not ended
}

// open starts the daemon on a disk made by internal/guest/disk. The chain of nodes is spelled out from the header that Slipway
// wrote: "backing": null keeps QEMU from following anything that an image names.
//
// For libguestfs, where a is not nil, its programs see what it needs too.
func open(ctx context.Context, limits program.Limits, diskPath, workDir string, a *Appliance) (_ *export, err error) {
	if err := Cleanup(filepath.Dir(workDir)); err != nil {
		return nil, err
	}
	nodes, files, virtual, err := chain(diskPath)
	if err != nil {
		return nil, err
	}
	// What the folder holds is made here and read by the tools: it is shown to them read-only.
	if err := os.Mkdir(workDir, 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(program.Lend(workDir), program.Lend(diskPath)); err != nil {
		return nil, err
	}
	limits.FileBytes = virtual + virtual/512 + 64<<20
	limits.MemoryBytes = 2 << 30 // threads reserve address space
	box := &program.Confinement{Exports: true, Files: append(files, program.File{Path: workDir})}
	if a != nil {
		box.Files, box.Scratch = append(box.Files, a.files()...), machineScratch
	}
	daemon, err := program.Converse(ctx, program.Command{
		Name: "qemu-storage-daemon", Limits: limits, Args: []string{"--chardev", "stdio,id=qmp,signal=off", "--monitor", "chardev=qmp"}, Confine: box,
	})
	if err != nil {
		return nil, errors.Join(err, program.TakeBack(diskPath), Cleanup(filepath.Dir(workDir)))
	}
	e := &export{dir: workDir, disk: diskPath, virtual: virtual, daemon: daemon, replies: json.NewDecoder(io.LimitReader(daemon.Out, 8<<20))}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	var greeting struct{ QMP json.RawMessage }
	if err := e.replies.Decode(&greeting); err != nil {
		return nil, e.failure("greeting", err)
	}
	mounts, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", daemon.PID))
	if err != nil {
		return nil, err
	}
	e.inside = &program.Confinement{Beside: mounts}
	if err := e.execute("qmp_capabilities", nil); err != nil {
		return nil, err
	}
	for _, node := range nodes {
		if err := e.execute("blockdev-add", node); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// chain is the disk's nodes, the lowest first, and their files; "disk" is the top.
func chain(path string) (nodes []map[string]any, files []program.File, virtual int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, 0, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, 0, err
	}
	h, err := imageformat.ReadQCOW2(f, st.Size())
	if err != nil {
		return nil, nil, 0, err
	}
	file := func(name, path string, readOnly bool) map[string]any {
		files = append(files, program.File{Path: path, Writable: !readOnly})
		return map[string]any{"driver": "file", "node-name": name, "filename": path, "read-only": readOnly}
	}
	top := map[string]any{"driver": "qcow2", "node-name": "disk", "file": "disk-file", "backing": nil}
	if h.BackingFile != "" {
		base := map[string]any{"driver": h.BackingFormat, "node-name": "base", "file": "base-file", "read-only": true}
		switch imageformat.Format(h.BackingFormat) {
		case imageformat.QCOW2:
			base["backing"] = nil
		case imageformat.Raw:
		default:
			return nil, nil, 0, fmt.Errorf("%s leans on a file of format %q", path, h.BackingFormat)
		}
		nodes = append(nodes, file("base-file", h.BackingFile, true), base)
		top["backing"] = "base"
	}
	nodes = append(nodes, file("disk-file", path, false), top)
	return nodes, files, h.VirtualBytes, nil
}

// wholeDisk shows the whole disk, read-only.
func (e *export) wholeDisk() (path string, err error) {
	return e.export("whole", "disk", false)
}

// show shows a filesystem.
func (e *export) show(f Filesystem, writable bool) (path string, err error) {
	err = e.execute("blockdev-add", map[string]any{"driver": "raw", "node-name": f.node(), "file": "disk", "offset": f.Start, "size": f.Size})
	if err != nil {
		return "", err
	}
	return e.export(f.node(), f.node(), writable)
}

// node is its name in the daemon.
func (p Partition) node() string { return "partition" + strconv.Itoa(p.Number) }

func (e *export) export(id, node string, writable bool) (string, error) {
	path := filepath.Join(e.dir, id)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return "", err
	}
	return path, e.execute("block-export-add", map[string]any{
		"type": "fuse", "id": id, "node-name": node, "mountpoint": path, "writable": writable, "growable": false, "allow-other": "off",
	})
}

// hide takes back what show showed.
func (e *export) hide(f Filesystem) error {
	if err := e.withdraw(f.node()); err != nil {
		return err
	}
	return e.execute("blockdev-del", map[string]any{"node-name": f.node()})
}

func (e *export) withdraw(id string) error {
	e.deleted = false
	if err := e.execute("block-export-del", map[string]any{"id": id}); err != nil {
		return err
	}
	for !e.deleted {
		if _, err := e.reply(); err != nil {
			return e.failure("block-export-del", err)
		}
	}
	return nil
}

// reply is one message of the daemon.
type reply struct {
	Event  string          `json:"event"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Desc string `json:"desc"`
	} `json:"error"`
}

func (e *export) reply() (r reply, err error) {
	err = e.replies.Decode(&r)
	if r.Event == "BLOCK_EXPORT_DELETED" {
		e.deleted = true
	}
	return r, err
}

// execute runs one QMP command; events that come in between are passed over.
func (e *export) execute(command string, args any) error {
	request := map[string]any{"execute": command}
	if args != nil {
		request["arguments"] = args
	}
	if err := json.NewEncoder(e.daemon.In).Encode(request); err != nil {
		return e.failure(command, err)
	}
	for {
		r, err := e.reply()
		switch {
		case err != nil:
			return e.failure(command, err)
		case r.Error != nil:
			return fmt.Errorf("qemu-storage-daemon: %s: %s", command, r.Error.Desc)
		case r.Return != nil:
			return nil
		}
	}
}

func (e *export) failure(command string, err error) error {
	return fmt.Errorf("qemu-storage-daemon: %s: %w", command, err)
}

// close flushes and ends the daemon and removes the work folder. What was written is on the disk afterwards; an error
// means that this is not sure.
func (e *export) close() error {
	err := e.execute("quit", nil)
	_, ended := e.daemon.End()
	if e.inside != nil {
		e.inside.Beside.Close()
	}
	return errors.Join(err, ended, program.TakeBack(e.disk), Cleanup(filepath.Dir(e.dir)))
}

// lend makes contents a file of the work folder, which tools read there.
func lend(work, name string, contents []byte) (file string, done func(), err error) {
	file = filepath.Join(work, name)
	done = func() { _ = os.Remove(file) }
	if err := os.WriteFile(file, contents, 0o600); err != nil {
		return "", done, err
	}
	return file, done, program.Lend(file)
}

// Cleanup takes away the work folder that an injection that was killed left in an instance folder, and the dead mounts of versions
// that mounted there.
func Cleanup(instanceDir string) error {
	dir := filepath.Join(instanceDir, workName)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		_ = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW) // what is still mounted cannot be removed below
	}
	return os.RemoveAll(dir)
}

// unfinishedName is a mark beside the disk, from before the first write of an injection until all of it is written.
const unfinishedName = workName + ".unfinished"

// begin sets the mark, and says whether an injection before this one has left it.
func begin(instanceDir string) (unfinished bool, err error) {
	f, err := os.OpenFile(filepath.Join(instanceDir, unfinishedName), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, errors.Join(f.Close(), durable.SyncDir(instanceDir))
}

// finish takes the mark away.
func finish(instanceDir string) error {
	err := os.Remove(filepath.Join(instanceDir, unfinishedName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Remove is Cleanup of an instance whose disk goes.
func Remove(instanceDir string) error {
	return errors.Join(Cleanup(instanceDir), finish(instanceDir))
}
