package images

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imageformat"
	"github.com/slipway-cloud/slipway/internal/program"
)

// checkWithQEMU lets qemu-img open what the inspector accepted, with the format named, confined and under limits, and refuses the
// image if QEMU cannot, or sees a disk of another size: what is shown as virtual_size is what a build will get. A control
// plane without qemu-img, or that may confine no program, goes by the inspector alone.
func checkWithQEMU(ctx context.Context, qemuImg, path string, info imageformat.Info) error {
	if info.Format == imageformat.Raw {
		return nil // nothing to open
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return fault.Wrap(fault.Internal, err, "the image could not be looked at")
	}
	confine := &program.Confinement{ReadsAll: true, Files: []program.File{{Path: path}}}
	if filepath.IsAbs(qemuImg) {
		confine.Files = append(confine.Files, program.File{Path: qemuImg})
	}
	out, _, err := program.Run(ctx, program.Command{
		Name: qemuImg, Args: []string{"info", "-U", "-f", string(info.Format), "--output=json", path}, Confine: confine,
	})
	var cannot program.CannotConfine
	if program.Missing(err) || errors.As(err, &cannot) {
		return nil
	}
	// A limit, or a crash of QEMU's own, is the image's doing too: no host shall meet it. A machine that took too long is not.
	var ended *program.Error
	if errors.As(err, &ended) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return fault.Wrap(fault.Invalid, err, "The image is not a usable %s: QEMU cannot open it.", info.Format)
	}
	if err != nil {
		return program.Fault(err, "looking at an uploaded image")
	}
	var seen struct {
		VirtualSize int64  `json:"virtual-size"`
		Backing     string `json:"backing-filename"`
	}
	if err := json.Unmarshal(out, &seen); err != nil {
		return fault.Wrap(fault.Internal, err, "qemu-img said something else than JSON")
	}
	if seen.VirtualSize != info.VirtualBytes || seen.Backing != "" {
		return fault.New(fault.Invalid, "The image contradicts itself: its header says %d bytes, QEMU sees %d.", info.VirtualBytes, seen.VirtualSize)
	}
	return nil
}
