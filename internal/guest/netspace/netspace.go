// Package netspace works in another network namespace than the process'.
package netspace

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Do runs f in the network namespace at a path; "" is the process' own. Netlink sockets, taps and /proc/sys/net belong to the namespace
// of the thread that opens them. The thread that enters ends with the goroutine, which never unlocks it, so nothing else can run there
// by mistake.
func Do(path string, f func(*netlink.Handle) error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- func() error {
			if path != "" {
				if err := enter(path); err != nil {
					return err
				}
			}
			h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
			if err != nil {
				return fmt.Errorf("open netlink: %w", err)
			}
			defer h.Close()
			return f(h)
		}()
	}()
	return <-done
}

// New makes a network namespace that has no name: it is there for as long as somebody holds the file, and goes with this process. Path
// is where Do finds it.
func New() (*os.File, error) {
	type made struct {
		file *os.File
		err  error
	}
	done := make(chan made, 1)
	go func() {
		runtime.LockOSThread() // never unlocked, as in Do
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- made{err: fmt.Errorf("make a network namespace: %w", err)}
			return
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		done <- made{file, err}
	}()
	m := <-done
	return m.file, m.err
}

// Path of a namespace that is held.
func Path(ns *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", ns.Fd()) }

func enter(path string) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}
