package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/sdn"
	"github.com/slipway-cloud/slipway/internal/sdn/fake"
	"github.com/slipway-cloud/slipway/internal/sdn/ovn"
	"github.com/slipway-cloud/slipway/internal/sdn/writer"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/models"
)

// networkWriter brings networks to the engine that the settings name; nil where they stand on none.
func networkWriter(ctx context.Context, c config.Network, store *models.Store, locks *models.Locks, certificates *tlsfile.Files, log *slog.Logger) (*writer.Writer, error) {
	elect := func(ctx context.Context) (writer.Lock, error) {
		// The same for all engines: while workers change from one to another, a single one writes.
		lock, err := locks.Lock(ctx, "the network engine")
		if err != nil {
			return nil, err // not a nil *models.Lock
		}
		return lock, nil
	}
	o := writer.Options{Engine: c.Engine, Elect: elect, Store: store, Logger: log, Reconcile: c.Reconcile}
	switch c.Engine {
	case config.EngineFake:
		none := fake.New()
		o.Open = func(context.Context) (sdn.Engine, error) { return none.Open(), nil }
	case config.EngineOVN:
		to, err := northbound(c, certificates, log)
		if err != nil {
			return nil, err
		}
		o.Open = func(ctx context.Context) (sdn.Engine, error) {
			e, err := ovn.Open(ctx, to)
			if err != nil {
				return nil, err
			}
			return e, nil
		}
	default:
		return nil, forgetNetworkChanges(ctx, elect, store)
	}
	return writer.New(o), nil
}

// forgetNetworkChanges ends what was kept for an engine that the settings named before, unless a process still writes to it.
func forgetNetworkChanges(ctx context.Context, elect func(context.Context) (writer.Lock, error), store *models.Store) error {
	lock, err := elect(ctx)
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(store.KeepNetworkChanges(ctx, ""), lock.Unlock())
}

// northbound is where OVN is written to, and how.
func northbound(c config.Network, certificates *tlsfile.Files, log *slog.Logger) (o ovn.Options, err error) {
	if o.Endpoints, err = c.Northbound(); err != nil {
		return o, err
	}
	if len(o.Endpoints) == 0 {
		return o, errors.New("network.ovn_nb is not set: with network.engine ovn it says where OVN's Northbound database is")
	}
	o.Logger = log.With("component", "ovn")
	if !c.TLS() {
		return o, nil
	}
	name := c.OVNServerName
	for _, endpoint := range o.Endpoints {
		if address, secure := strings.CutPrefix(endpoint, "ssl:"); secure && name == "" {
			if name, _, err = net.SplitHostPort(address); err != nil {
				return o, fmt.Errorf("network.ovn_nb: %w", err)
			}
		}
	}
	o.TLS, err = certificates.Client(tlsfile.Pair{Setting: "network.ovn", Cert: c.OVNCert, Key: c.OVNKey},
		tlsfile.Authority{Setting: "network.ovn_ca", CA: c.OVNCA}, name)
	if err == nil {
		o.TLS.MinVersion = tls.VersionTLS12 // it may be older than what is Slipway's own
	}
	return o, err
}
