package faultinject

import "context"

func (h *injected) Folder(ctx context.Context, uuid string) (string, error) {
	return onHypervisor(ctx, h, "Folder", uuid, func() (string, error) { return h.to.Folder(ctx, uuid) })
}
