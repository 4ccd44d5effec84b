package main

import (
	uiserver "github.com/temporalio/ui-server/v2/server"
	uiconfig "github.com/temporalio/ui-server/v2/server/config"
	uioptions "github.com/temporalio/ui-server/v2/server/server_options"
)

func (o options) uiConfig() *uiconfig.Config {
	ip, port, _ := splitAddr(o.UIAddr) // validated
	var frontend uiconfig.TLS
	if o.guarded() {
		frontend = uiconfig.TLS{
			CertFile: o.UIClient.Cert, KeyFile: o.UIClient.Key, CaFile: o.Frontend.CA,
			EnableHostVerification: true, ServerName: o.serverName,
		}
	}
	return &uiconfig.Config{
		TLS:                 frontend,
		TemporalGRPCAddress: dialAddr(o.FrontendAddr),
		Host:                ip.String(),
		Port:                port,
		EnableUI:            true,
		DefaultNamespace:    o.Namespace,
		Codec:               uiconfig.Codec{Endpoint: o.CodecEndpoint},
		// The UI is served over plain HTTP on a loopback or private address; a cookie marked secure would never be sent back
		// and every query would fail on its CSRF check.
		CORS:               uiconfig.CORS{CookieInsecure: true},
		NotifyOnNewVersion: false,
		HideLogs:           true,
		// The UI is for looking: its buttons are off, and it refuses the requests behind them, queries excepted. What it
		// started would claim no quota and check no rights; what it terminated or reset would leave allocations, ports and
		// files taken (docs/operations.md).
		DisableWriteActions: true,
	}
}

// startUI serves the Web UI until the returned function is called. An address that is in use ends the process, with
// the cause in its log.
func startUI(o options) (stop func()) {
	ui := uiserver.NewServer(uioptions.WithConfigProvider(o.uiConfig()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = ui.Start() // never returns an error: it logs and exits
	}()
	return func() {
		ui.Stop()
		<-done
	}
}
