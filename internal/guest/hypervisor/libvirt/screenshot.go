package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// maxPixels is the largest screen of which a picture is taken: 3840 × 2160. A guest sets what it likes, and this host holds it: three bytes
// a pixel as libvirt sends them, and up to eight as they are read (a PNG of 16 bits).
const maxPixels = 3840 * 2160

// Screenshot has QEMU take a picture of the guest's first screen, on a connection of its own: go-libvirt leaves the stream open in which
// libvirtd sends it, and takes its empty end for the call's answer, which it then cannot read. Whether all came the picture itself says.
func (h *Hypervisor) Screenshot(ctx context.Context, id string) (picture image.Image, err error) {
	doing := "take a picture of the screen of domain " + id
	key, err := parseUUID(id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx, h.timeout)
	defer cancel()
	c, err := h.pool.open(ctx)
	if err != nil {
		return nil, h.translate(doing, transportError{err})
	}
	defer c.conn.Close()
	err = guard(ctx, c.conn, func() error {
		dom, err := c.DomainLookupByUUID(key)
		if err != nil {
			return err
		}
		if err := h.hasScreen(c, dom, id); err != nil {
			return err
		}
		raw := bounds{most: 3*maxPixels + 1024}
		_, failed := c.DomainScreenshot(dom, &raw, 0, 0)
		if picture, err = decodePicture(raw.Bytes()); err == nil {
			return nil
		}
		if failed != nil {
			return failed
		}
		return fault.Wrap(fault.Internal, err, "The picture of the screen of instance %s cannot be read", id)
	})
	return picture, h.translate(doing, err)
}

func (h *Hypervisor) hasScreen(c *client, dom golibvirt.Domain, id string) error {
	path, err := consoleOfRunning(c, dom, id, contract.ConsoleVNC)
	if err == nil && path == "" {
		return noScreen()
	}
	return err
}

func noScreen() error {
	return fault.New(fault.Invalid, "Unavailable console type vnc. The server has no screen: its image asks for none (hw_video_model), its host's machines have none, "+
		"or it was built before servers had one: reboot it hard")
}

// bounds is a buffer that takes no more than so many bytes.
type bounds struct {
	bytes.Buffer
	most int
}

func (b *bounds) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.most {
		return 0, errors.New("the picture is too large")
	}
	return b.Buffer.Write(p)
}

// decodePicture reads what libvirt gives: PPM (netpbm's P6, with 8 bits), and PNG since QEMU writes that too.
func decodePicture(raw []byte) (image.Image, error) {
	if !bytes.HasPrefix(raw, []byte("P6")) {
		shape, err := png.DecodeConfig(bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		if err := checkShape(shape.Width, shape.Height); err != nil {
			return nil, err
		}
		return png.Decode(bytes.NewReader(raw))
	}
	r := bytes.NewReader(raw[2:])
	var width, height, most int
	if _, err := fmt.Fscan(r, &width, &height, &most); err != nil {
		return nil, fmt.Errorf("read the head of a PPM: %w", err)
	}
	if err := checkShape(width, height); err != nil {
		return nil, err
	}
	if _, err := r.ReadByte(); err != nil || most != 255 { // one character of white space ends the head
		return nil, fmt.Errorf("a PPM of %d values a pixel is not read", most)
	}
	pixels := make([]byte, 3*width*height)
	if _, err := io.ReadFull(r, pixels); err != nil {
		return nil, fmt.Errorf("read the pixels of a PPM: %w", err)
	}
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		copy(picture.Pix[4*i:], pixels[3*i:3*i+3])
		picture.Pix[4*i+3] = 255
	}
	return picture, nil
}

func checkShape(width, height int) error {
	if width < 1 || height < 1 || width > maxPixels || height > maxPixels || width*height > maxPixels {
		return fmt.Errorf("a picture of %d × %d is not read", width, height)
	}
	return nil
}
