package fake

import (
	"context"
	"path/filepath"
)

// Folder tells where a domain's console log lies.
func (h *Hypervisor) Folder(ctx context.Context, id string) (folder string, err error) {
	err = h.call(ctx, "Folder", id, h.o.ReadLatency, func() error {
		folder = ""
		if r, ok := h.world[id]; ok && r.Domain.ConsoleLog != "" {
			folder = filepath.Dir(r.Domain.ConsoleLog)
		}
		return nil
	})
	return folder, err
}
