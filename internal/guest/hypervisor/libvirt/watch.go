package libvirt

import (
	"context"
	"errors"
	"fmt"
	"sync"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/google/uuid"
)

// errWatchEnded is what ends a watch when libvirtd went away.
var errWatchEnded = errors.New("libvirtd closed the connection")

// shutDown are the guests that were heard to shut themselves down since their last start. libvirt's reason of a domain that is off is the
// same where QEMU was told to end by a signal, as everything is when its machine goes down; its event tells the two apart. A guest whose
// power button was pressed, or that was turned off or started, by Slipway's own word does nothing by itself until it is heard to run again.
type shutDown struct {
	mu          sync.Mutex
	guests, own map[string]bool
}

// byUs notes that what becomes of a guest is Slipway's doing.
func (s *shutDown) byUs(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own == nil {
		s.own = map[string]bool{}
	}
	s.own[id] = true
	delete(s.guests, id)
}

// runs ends that.
func (s *shutDown) runs(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.own, id)
	delete(s.guests, id)
}

func (s *shutDown) heard(event golibvirt.DomainEventLifecycleMsg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := uuid.UUID(event.Dom.UUID).String()
	switch golibvirt.DomainEventType(event.Event) {
	case golibvirt.DomainEventShutdown:
		if golibvirt.DomainEventShutdownDetailType(event.Detail) == golibvirt.DomainEventShutdownGuest && !s.own[id] {
			if s.guests == nil {
				s.guests = map[string]bool{}
			}
			s.guests[id] = true
			return
		}
		delete(s.guests, id)
	case golibvirt.DomainEventStarted, golibvirt.DomainEventUndefined:
		delete(s.own, id)
		delete(s.guests, id)
	}
}

func (s *shutDown) byGuest(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guests[id]
}

func (s *shutDown) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.guests)
}

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
	defer h.shutDown.forget() // nobody hears of the next start
	defer func() {            // go-libvirt's sender waits for a reader, whatever its context says
		stop()
		c.conn.Close()
		for range events {
		}
	}()
	h.shutDown.forget() // what was missed may be another start
	connected()
	for {
		select {
		case event, ok := <-events:
			if !ok {
				return h.translate("watch the domains", transportError{errWatchEnded})
			}
			h.shutDown.heard(event)
			changed()
		case <-c.conn.broken:
			return h.translate("watch the domains", transportError{errWatchEnded})
		case <-ctx.Done():
			return fmt.Errorf("watch the domains: %w", context.Cause(ctx))
		}
	}
}
