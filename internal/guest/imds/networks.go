package imds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/pace"
)

// Switch is what puts the service on networks.
type Switch interface {
	hostnet.Spaces
	List(ctx context.Context) ([]hostnet.Plugged, error)
}

const (
	settleEvery = 30 * time.Second
	settleAgain = time.Second // where something did not work
	endPatience = 5 * time.Second
)

// Run serves each network that has a port plugged on this host, until ctx ends: it looks which they are when the bell rings, and now and
// then. What it does not come to, it comes to at the next look.
func (s *Service) Run(ctx context.Context, to Switch, bell pace.Bell) {
	serving := map[string]*serving{}
	ports, said := map[string]bool{}, ""
	for ctx.Err() == nil {
		again := settleEvery
		if err := s.settle(ctx, to, serving, ports); err != nil && ctx.Err() == nil {
			again = settleAgain
			if err.Error() != said {
				s.log.Warn("Not every guest of this host reaches its metadata service; trying again.", "error", err)
			}
			said = err.Error()
		} else {
			said = ""
		}
		pace.Rest(ctx, again, bell)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	for _, one := range serving {
		if err := one.end(ending); err != nil {
			s.log.Debug("a network's metadata service did not end well", "network_id", one.network, "error", err)
		}
	}
}

func (s *Service) settle(ctx context.Context, to Switch, serves map[string]*serving, ports map[string]bool) error {
	plugged, err := to.List(ctx)
	if err != nil {
		return err
	}
	want, here := map[string]int{}, map[string]bool{} // their MTUs; which ports they are
	for _, p := range plugged {
		here[p.PortID] = true
		if p.Network != "" {
			want[p.Network] = max(want[p.Network], p.MTU)
		}
	}
	for id := range ports {
		if !here[id] {
			s.ForgetPort(id)
			delete(ports, id)
		}
	}
	maps.Copy(ports, here)
	var wrong error
	for network, one := range serves {
		mtu, wanted := want[network]
		if wanted && one.mtu == mtu {
			if err := one.space.Mend(ctx); err == nil {
				one.sweep(time.Now())
				continue
			}
		}
		delete(serves, network)
		wrong = errors.Join(wrong, one.end(ctx))
		if !wanted {
			s.Forget(network)
		}
	}
	networks := slices.Sorted(maps.Keys(want))
	for _, network := range networks {
		mtu := want[network]
		if serves[network] != nil {
			continue
		}
		one, err := s.serve(ctx, to, network, mtu)
		if err != nil { // the others are served all the same
			wrong = errors.Join(wrong, fmt.Errorf("network %s: %w", network, err))
			continue
		}
		serves[network] = one
	}
	return errors.Join(wrong, to.SweepSpaces(ctx, networks))
}

// serving is the service on one network.
type serving struct {
	network string
	mtu     int
	space   hostnet.Space
	server  *http.Server
	serves  sync.WaitGroup

	mu     sync.Mutex
	pinned map[netip.Addr]pin
}

type connKey struct{}

func (s *Service) serve(ctx context.Context, to Switch, network string, mtu int) (*serving, error) {
	space, err := to.OpenSpace(ctx, network, mtu)
	if err != nil {
		return nil, err
	}
	n := &serving{network: network, mtu: mtu, space: space, pinned: map[netip.Addr]pin{}}
	n.server = &http.Server{
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 30 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Handler: s.Handler(func(r *http.Request) (Asker, bool) {
			c, ok := r.Context().Value(connKey{}).(*conn)
			if !ok {
				return Asker{}, false
			}
			return c.asker, true
		}, n.pin),
	}
	counts := &ends{of: map[string]int{}}
	for _, at := range []netip.Addr{AddressV4, AddressV6} {
		l, err := listen(ctx, space.Path(), space.Link(), at)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen at %s: %w", at, err), n.end(ctx))
		}
		n.serves.Go(func() { _ = n.server.Serve(&listener{l, network, counts}) })
	}
	return n, nil
}

func (n *serving) end(ctx context.Context) error {
	err := n.server.Close()
	n.serves.Wait()
	return errors.Join(err, n.space.Close(ctx))
}

// A pin makes the kernel send what it sends to an address to one MAC, whatever anybody says by ARP or neighbour discovery. So an answer
// goes to the port that it is for, also where another port may use its address (allowed address pairs, no port security) and its MAC.
type pin struct {
	mac   string
	since time.Time
	until time.Time
}

// keepsPins is longer than any connection has something to send after its last request.
const keepsPins = 2 * time.Minute

func (n *serving) pin(a Asker) (time.Time, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	p := n.pinned[a.Address]
	if p.mac != a.MAC {
		mac, err := net.ParseMAC(a.MAC)
		if err != nil {
			return now, err
		}
		err = netspace.Do(n.space.Path(), func(h *netlink.Handle) error {
			return h.NeighSet(&netlink.Neigh{LinkIndex: n.space.Link(), State: netlink.NUD_PERMANENT, IP: a.Address.AsSlice(), HardwareAddr: mac})
		})
		if err != nil {
			return now, fmt.Errorf("have answers to %s sent to %s: %w", a.Address, a.MAC, err)
		}
		p = pin{mac: a.MAC, since: time.Now()}
	}
	p.until = now.Add(keepsPins)
	n.pinned[a.Address] = p
	return p.since, nil
}

// sweep takes pins off that nothing is sent by any more: their addresses may be others' by now.
func (n *serving) sweep(now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for address, p := range n.pinned {
		if now.Before(p.until) {
			continue
		}
		_ = netspace.Do(n.space.Path(), func(h *netlink.Handle) error {
			return h.NeighDel(&netlink.Neigh{LinkIndex: n.space.Link(), IP: address.AsSlice()})
		})
		delete(n.pinned, address)
	}
}
