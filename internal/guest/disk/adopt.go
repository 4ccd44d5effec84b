package disk

import (
	"context"
	"os"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Adopt makes a root disk that came from another host this host's own: it leans on base, where it leant on the other host's copy of that,
// and on nothing where base is none. most is how large it may be. What the other host may have written into its header leads nowhere:
// anything but that is HostUnfit before qemu-img sees it.
func (m Maker) Adopt(ctx context.Context, path string, base Base, most int64) (err error) {
	defer func() { err = program.Fault(err, "adopting "+path) }()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h, err := imageformat.ReadQCOW2(f, st.Size())
	if err != nil {
		return fault.Wrap(fault.HostUnfit, err, "What arrived is no root disk.").NotTheHosts()
	}
	if h.DataFile || h.Encrypted || h.Corrupt || h.VirtualBytes > most || (h.BackingFile != "") != (base.Path != "") {
		return fault.New(fault.HostUnfit, "The root disk that arrived is not as disks here are made: it is corrupt, or larger, or leans on other files.").NotTheHosts()
	}
	want := imageformat.QCOW2Header{VirtualBytes: h.VirtualBytes, BackingFile: base.Path, BackingFormat: string(base.Format)}
	if sameQCOW2(f, want) {
		return nil
	}
	if base.Path != "" {
		if h.BackingFormat != string(base.Format) {
			return fault.New(fault.HostUnfit, "The root disk that arrived leans on an image of the format %q, and its image is %q.", h.BackingFormat, base.Format).NotTheHosts()
		}
		// Only the header is written: what is in the clusters counts beside the same image.
		err := m.qemuImg(ctx, m.Limits.WithFile(st.Size()+qcow2Overhead(0)), []string{base.Path}, path,
			"rebase", "-q", "-u", "-f", "qcow2", "-F", string(base.Format), "-b", base.Path, path)
		if err != nil {
			return err
		}
	}
	if !sameQCOW2(f, want) {
		return fault.New(fault.HostUnfit, "The root disk that arrived cannot be made to lean on its image here.").NotTheHosts()
	}
	return f.Sync()
}
