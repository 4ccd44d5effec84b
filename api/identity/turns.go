package identity

import (
	"context"
	"net/netip"
	"slices"
	"sync"
)

// turns are given to one client after the other: whoever asks for many at once waits behind itself, and others do not.
type turns struct {
	mu      sync.Mutex
	free    int
	clients []string                   // that wait, the next one first
	waiting map[string][]chan struct{} // of each its requests, the oldest first
}

func newTurns(atOnce int) *turns { return &turns{free: atOnce, waiting: map[string][]chan struct{}{}} }

// take waits for a turn of a client's, and says whether it has got one before ctx was over. It is given back then.
func (t *turns) take(ctx context.Context, client string) bool {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	if len(t.waiting[client]) == 0 {
		t.clients = append(t.clients, client)
	}
	t.waiting[client] = append(t.waiting[client], turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return true
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.Index(t.waiting[client], turn)
	if at < 0 { // it has come meanwhile
		return true
	}
	if t.waiting[client] = slices.Delete(t.waiting[client], at, at+1); len(t.waiting[client]) == 0 {
		delete(t.waiting, client)
		t.clients = slices.DeleteFunc(t.clients, func(c string) bool { return c == client })
	}
	return false
}

// give gives a turn back: it is the next client's.
func (t *turns) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.clients) == 0 {
		t.free++
		return
	}
	client := t.clients[0]
	t.clients = t.clients[1:]
	all := t.waiting[client]
	close(all[0])
	if all = all[1:]; len(all) == 0 {
		delete(t.waiting, client)
		return
	}
	t.waiting[client] = all
	t.clients = append(t.clients, client)
}

// clientOf is who has sent a request from a remote address: of IPv6 a whole /64, which one machine has. What headers say is not asked.
func clientOf(remote string) string {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	address := from.Addr().Unmap()
	if address.Is4() {
		return address.String()
	}
	return netip.PrefixFrom(address.WithZone(""), 64).Masked().String()
}
