package libvirt

import (
	"context"
	"path/filepath"

	"libvirt.org/go/libvirtxml"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Folder tells where a domain's console log lies.
func (h *Hypervisor) Folder(ctx context.Context, id string) (folder string, err error) {
	key, err := parseUUID(id)
	if err != nil {
		return "", err
	}
	err = h.do(ctx, "read the definition of domain "+id, func(_ context.Context, c *client) error {
		folder = ""
		dom, err := c.DomainLookupByUUID(key)
		if hasCode(err, errNoDomain) {
			return nil
		}
		if err != nil {
			return err
		}
		text, err := c.DomainGetXMLDesc(dom, 0)
		if hasCode(err, errNoDomain) {
			return nil
		}
		if err != nil {
			return err
		}
		var known libvirtxml.Domain
		if err := known.Unmarshal(text); err != nil {
			return fault.Wrap(fault.Internal, err, "The definition of domain %s on %s cannot be read", id, h.host)
		}
		if known.Devices == nil {
			return nil
		}
		for _, s := range known.Devices.Serials {
			if s.Log != nil && s.Log.File != "" {
				folder = filepath.Dir(s.Log.File)
			}
		}
		return nil
	})
	return folder, err
}
