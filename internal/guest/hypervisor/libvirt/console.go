package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"syscall"

	golibvirt "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// OpenConsole opens the terminal that QEMU made for the serial port, or connects to the socket of the screen. libvirt's own stream
// of a console goes both ways, which go-libvirt's does not.
func (h *Hypervisor) OpenConsole(ctx context.Context, id, kind string) (io.ReadWriteCloser, error) {
	var root, path string
	err := h.of(ctx, "find a console of domain ", id, func(c *client, dom golibvirt.Domain) (err error) {
		if path, err = consoleOfRunning(c, dom, id, kind); err != nil {
			return err
		}
		root, err = rootOf(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case path == "" && kind == contract.ConsoleVNC:
		return nil, noScreen()
	case path == "":
		return nil, fault.New(fault.Invalid, "Unavailable console type %s.", kind)
	}
	open := openTerminal
	if kind == contract.ConsoleVNC {
		open = openSocket
	}
	console, err := open(ctx, root, path)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "The %s console of instance %s does not answer", kind, id)
	}
	return console, nil
}

// consoleOfRunning is consoleOf of a guest that runs; Conflict where it does not.
func consoleOfRunning(c *client, dom golibvirt.Domain, id, kind string) (path string, err error) {
	doc, err := c.DomainGetXMLDesc(dom, 0)
	if err != nil {
		return "", err
	}
	if active, err := c.DomainIsActive(dom); err != nil {
		return "", err
	} else if active == 0 {
		return "", fault.New(fault.Conflict, "The guest of instance %s is off: start it first", id)
	}
	return consoleOf(doc, kind)
}

// consoleOf reads where a console of a domain that runs is; "" where it has none.
func consoleOf(doc, kind string) (string, error) {
	var x struct {
		Serial struct {
			Source struct {
				Path string `xml:"path,attr"`
			} `xml:"source"`
		} `xml:"devices>serial"`
		Graphics []struct {
			Type   string `xml:"type,attr"`
			Listen struct {
				Socket string `xml:"socket,attr"`
			} `xml:"listen"`
		} `xml:"devices>graphics"`
	}
	if err := xml.Unmarshal([]byte(doc), &x); err != nil {
		return "", fmt.Errorf("parse the definition: %w", err)
	}
	if kind == contract.ConsoleSerial {
		return x.Serial.Source.Path, nil
	}
	for _, g := range x.Graphics {
		if g.Type == kind {
			return g.Listen.Socket, nil
		}
	}
	return "", nil
}

// rootOf is where libvirtd's files are for this process: it may have a mount namespace of its own.
func rootOf(c *client) (string, error) {
	pid, err := c.peer()
	if err != nil || pid == 0 {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root", pid), nil
}

// What QEMU says of its consoles is not believed: a guest that has broken out speaks as QEMU does, and this process may open
// everything. So nothing is opened that is root's, nor another kind of file than it has to be, nor through a link.

var terminal = regexp.MustCompile(`^/dev/pts/[0-9]+$`)

func openTerminal(_ context.Context, root, path string) (io.ReadWriteCloser, error) {
	if !terminal.MatchString(path) {
		return nil, fmt.Errorf("the serial console is at %q, which is no terminal of QEMU's", path)
	}
	f, err := os.OpenFile(root+path, os.O_RDWR|unix.O_NOCTTY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if err := isQEMUs(f, unix.S_IFCHR); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func openSocket(ctx context.Context, root, path string) (io.ReadWriteCloser, error) {
	f, err := os.OpenFile(root+path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := isQEMUs(f, unix.S_IFSOCK); err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "unix", filepath.Join("/proc/self/fd", fmt.Sprint(f.Fd()))) // what was looked at, wherever the name leads now
}

// isQEMUs refuses an open file of another kind, and root's.
func isQEMUs(f *os.File, kind uint32) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if st := info.Sys().(*syscall.Stat_t); st.Mode&unix.S_IFMT != kind || st.Uid == 0 {
		return fmt.Errorf("%s is not QEMU's: it has the mode %o and is the user %d's", f.Name(), st.Mode, st.Uid)
	}
	return nil
}
