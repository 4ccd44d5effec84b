package imds

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	"github.com/slipway-cloud/slipway/internal/guest/netspace"
	"github.com/slipway-cloud/slipway/internal/pace"
)

// spaces are namespaces of which nothing leads out.
type spaces struct {
	mu      sync.Mutex
	plugged []hostnet.Plugged
	open    map[string]*spaceOf
	swept   []string
	refuses error
	broken  bool
}

type spaceOf struct {
	*os.File
	of      *spaces
	network string
	link    int
}

func (s *spaces) List(context.Context) ([]hostnet.Plugged, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plugged, nil
}

func (s *spaces) OpenSpace(_ context.Context, network string, _ int) (hostnet.Space, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses != nil && network == "bad" {
		return nil, s.refuses
	}
	ns, err := netspace.New()
	if err != nil {
		return nil, err
	}
	one := &spaceOf{File: ns, of: s, network: network}
	err = netspace.Do(one.Path(), func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "meta0"
		pair := netlink.NewVeth(attrs)
		pair.PeerName = "other"
		if err := h.LinkAdd(pair); err != nil {
			return err
		}
		link, err := h.LinkByName("meta0")
		if err != nil {
			return err
		}
		one.link = link.Attrs().Index
		for _, a := range []netip.Addr{AddressV4, AddressV6} {
			if err := h.AddrAdd(link, &netlink.Addr{Flags: 2, IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}); err != nil {
				return err
			}
		}
		return h.LinkSetUp(link)
	})
	if err != nil {
		return nil, err
	}
	s.open[network] = one
	return one, nil
}

func (s *spaces) SweepSpaces(_ context.Context, keep []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swept = keep
	return nil
}

func (s *spaces) at(network string) *spaceOf {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[network]
}

func (s *spaces) networks() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.open {
		all = append(all, name)
	}
	return all
}

func (s *spaceOf) Path() string { return netspace.Path(s.File) }
func (s *spaceOf) Link() int    { return s.link }

func (s *spaceOf) Mend(context.Context) error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.of.broken {
		s.of.broken = false
		return errors.New("its interface is gone")
	}
	return nil
}

func (s *spaceOf) Close(context.Context) error {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.of.open[s.network] == s {
		delete(s.of.open, s.network)
	}
	return s.File.Close()
}

func (s *spaces) plug(networks ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugged = nil
	for _, n := range networks {
		s.plugged = append(s.plugged, hostnet.Plugged{PortID: "port-" + n, Network: n, MTU: 1442})
	}
}

func TestANetworkIsServedWhileAPortOfItIsHere(t *testing.T) {
	to := &spaces{open: map[string]*spaceOf{}, refuses: errors.New("no room")}
	to.plug("", "one", "one", "bad")
	bell := pace.NewBell()
	ctx, cancel := context.WithCancel(t.Context())
	var runs sync.WaitGroup
	runs.Go(func() { New(Options{Source: &control{}}).Run(ctx, to, bell) })
	t.Cleanup(func() { cancel(); runs.Wait() })
	open := func(networks ...string) {
		t.Helper()
		bell.Ring()
		require.Eventually(t, func() bool {
			to.mu.Lock()
			swept := len(to.swept)
			to.mu.Unlock()
			got := to.networks()
			if len(got) != len(networks) || swept < len(networks) {
				return false
			}
			for _, n := range networks {
				if to.at(n) == nil {
					return false
				}
			}
			return true
		}, time.Minute, 5*time.Millisecond)
	}
	open("one")
	to.mu.Lock()
	to.refuses = nil
	one := to.open["one"]
	to.mu.Unlock()
	open("one", "bad")
	to.plug("one", "two")
	open("one", "two")
	require.Same(t, one, to.at("one"), "nobody is cut off by what comes and goes beside it")

	// From within, by its own address, which is no server's.
	var c net.Conn
	require.NoError(t, netspace.Do(one.Path(), func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err == nil {
			err = h.LinkSetUp(lo)
		}
		if err == nil {
			c, err = net.DialTimeout("tcp", netip.AddrPortFrom(AddressV4, Port).String(), 10*time.Second)
		}
		return err
	}))
	defer c.Close()
	request, err := http.NewRequest("GET", "http://169.254.169.254/", nil)
	require.NoError(t, err)
	request.Close = true
	require.NoError(t, request.Write(c))
	answer, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Contains(t, string(answer), "404 Not Found")

	to.mu.Lock()
	to.broken = true
	to.mu.Unlock()
	bell.Ring()
	require.Eventually(t, func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		return !to.broken && len(to.open) == 2
	}, time.Minute, 5*time.Millisecond, "it is made anew")
	cancel()
	runs.Wait()
	require.Empty(t, to.networks())
}
