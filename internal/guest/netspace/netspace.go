// Package netspace works in another network namespace than the process'.
package netspace

import (
	"fmt"
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
