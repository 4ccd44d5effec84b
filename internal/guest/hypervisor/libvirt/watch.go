package libvirt

import (
	"context"
	"errors"
	"fmt"

	golibvirt "github.com/digitalocean/go-libvirt"
)

// errWatchEnded is what ends a watch when libvirtd went away.
var errWatchEnded = errors.New("libvirtd closed the connection")

// Watch has a connection of its own for as long as it lasts: events come on the connection that asked for them.
func (h *Hypervisor) Watch(ctx context.Context, connected, changed func()) error {
	opening, cancel := bounded(ctx, h.timeout)
	defer cancel()
	c, err := h.pool.open(opening)
	if err != nil {
		return h.translate("watch the domains", transportError{err})
	}
	defer c.conn.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var events <-chan golibvirt.DomainEventLifecycleMsg
	err = guard(opening, c.conn, func() (err error) {
		events, err = c.LifecycleEvents(ctx)
		return err
	})
	if err != nil {
		return h.translate("watch the domains", err)
	}
	defer func() { // go-libvirt's sender waits for a reader, whatever its context says
		stop()
		c.conn.Close()
		for range events {
		}
	}()
	connected()
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return h.translate("watch the domains", transportError{errWatchEnded})
			}
			changed()
		case <-c.conn.broken:
			return h.translate("watch the domains", transportError{errWatchEnded})
		case <-ctx.Done():
			return fmt.Errorf("watch the domains: %w", context.Cause(ctx))
		}
	}
}
