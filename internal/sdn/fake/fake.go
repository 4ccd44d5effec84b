// Package fake is a network engine in memory: for tests, and for load without a network.
package fake

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// Network is what all its engines write to.
type Network struct {
	mu   sync.Mutex
	term string
	has  map[sdn.Ref]sdn.Desired
	away error
}

// New makes an empty one.
func New() *Network { return &Network{has: map[sdn.Ref]sdn.Desired{}} }

// Open connects to it.
func (n *Network) Open() *Engine { return &Engine{network: n} }

// Away makes it answer nobody, with that cause, until it is nil.
func (n *Network) Away(cause error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.away = cause
}

// Forget makes it lose all that it has, and who leads.
func (n *Network) Forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.term = ""
	clear(n.has)
}

// Has is what it has of a resource.
func (n *Network) Has(ref sdn.Ref) (sdn.Desired, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	d, ok := n.has[ref]
	return d, ok
}

// Engine is one connection.
type Engine struct {
	network *Network
	term    string
}

var _ sdn.Engine = (*Engine)(nil)

func (e *Engine) with(f func(n *Network) error) error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.away != nil {
		return fault.Wrap(fault.Unavailable, e.network.away, "The network engine does not answer. Please try again later.")
	}
	return f(e.network)
}

// Lead implements sdn.Engine.
func (e *Engine) Lead(_ context.Context, term string) error {
	return e.with(func(n *Network) error {
		n.term, e.term = term, term
		return nil
	})
}

// Apply implements sdn.Engine.
func (e *Engine) Apply(_ context.Context, all ...sdn.Desired) error {
	return e.with(func(n *Network) error {
		if n.term != e.term {
			return sdn.ErrDeposed
		}
		var missing sdn.Missing
		need := func(ref sdn.Ref, at int) {
			comes := slices.ContainsFunc(all[:at], func(d sdn.Desired) bool { return d.Ref == ref })
			if _, there := n.has[ref]; !there && !comes && !slices.Contains(missing.Refs, ref) {
				missing.Refs = append(missing.Refs, ref)
			}
		}
		for i, d := range all {
			if d.FloatingIP != nil {
				need(sdn.Ref{Kind: sdn.KindRouter, ID: d.FloatingIP.RouterID}, i)
			}
			if d.Port == nil {
				continue
			}
			if d.Port.Router != nil {
				need(sdn.Ref{Kind: sdn.KindRouter, ID: d.Port.Router.RouterID}, i)
			}
			for _, a := range d.Port.Addresses {
				if a.DHCP {
					need(sdn.Ref{Kind: sdn.KindSubnet, ID: a.SubnetID}, i)
				}
			}
			need(sdn.Ref{Kind: sdn.KindNetwork, ID: d.Port.NetworkID}, i)
			for _, g := range d.Port.Groups {
				need(sdn.Ref{Kind: sdn.KindGroup, ID: g}, i)
			}
		}
		if len(missing.Refs) > 0 {
			return &missing
		}
		for _, d := range all {
			if stands(d) {
				n.has[d.Ref] = d
			} else {
				delete(n.has, d.Ref)
			}
		}
		return nil
	})
}

// stands says whether something is wanted that the engine has. A subnet is only what its DHCP says.
func stands(d sdn.Desired) bool {
	return d.Stands() && (d.Subnet == nil || d.Subnet.DHCP)
}

// Differing implements sdn.Engine.
func (e *Engine) Differing(_ context.Context, all ...sdn.Desired) (differ []sdn.Ref, err error) {
	err = e.with(func(n *Network) error {
		for _, d := range all {
			is, there := n.has[d.Ref]
			is.Revision = d.Revision
			if there != stands(d) || there && !reflect.DeepEqual(is, d) {
				differ = append(differ, d.Ref)
			}
		}
		return nil
	})
	return differ, err
}

// Known implements sdn.Engine.
func (e *Engine) Known(context.Context) (all []sdn.Ref, err error) {
	err = e.with(func(n *Network) error {
		for ref := range n.has {
			all = append(all, ref)
		}
		return nil
	})
	return all, err
}

// Ping implements sdn.Engine.
func (e *Engine) Ping(context.Context) error { return e.with(func(*Network) error { return nil }) }

// Close implements sdn.Engine.
func (e *Engine) Close() {}
