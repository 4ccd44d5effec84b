package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-cloud/slipway/activities/host"
	"github.com/slipway-cloud/slipway/internal/cli"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/guest/console"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet"
	fakeports "github.com/slipway-cloud/slipway/internal/guest/hostnet/fake"
	"github.com/slipway-cloud/slipway/internal/guest/hostnet/ovs"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/libvirt"
	"github.com/slipway-cloud/slipway/internal/guest/imagecache"
	"github.com/slipway-cloud/slipway/internal/guest/imds"
	"github.com/slipway-cloud/slipway/internal/guest/transfer"
	"github.com/slipway-cloud/slipway/internal/hostapi"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/pace"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/space"
	"github.com/slipway-cloud/slipway/internal/tlsfile"
	"github.com/slipway-cloud/slipway/workers"
)

func hostCommand() *cobra.Command {
	cmd := role("host", "Run this machine as a hypervisor; or, with a verb, manage hypervisors",
		`Without a verb: polls this host's own task queue of Temporal, builds servers with the local libvirtd, and reports to the
API. It needs what "slipway host create NAME --enrolment FILE" gives it (slipway host enrol FILE), the API, Temporal, and nothing else: no database.`,
		[]string{"temporal", "host", "images"}, runHost)
	cmd.AddCommand(cli.HostCommands(new(enroller))...)
	cmd.AddCommand(hostEnrolCommand(), hostJoinCommand())
	return cmd
}

func hostJoinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Give this machine's state folder to the installation of its API",
		Long: `Makes the state folder (host.state_dir) nobody's, so that it belongs to the installation whose API answers at the host's next
start. Run it on the hypervisor, with the settings of its host and while that is stopped. Guests stay as they are; those that
the installation does not know are findings of its audit.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(cmd.Flags())
			if err != nil {
				return err
			}
			unlock, err := lockState(c.Host.StateDir)
			if err != nil {
				return err
			}
			defer unlock()
			was, err := workers.LeaveInstallation(c.Host.StateDir)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s belonged to %s; with the next start of the host it belongs to the installation whose API is %s.\n",
				c.Host.StateDir, cmp.Or(was, "nobody that can be told"), c.Host.APIURL)
			return nil
		},
	}
	config.Flags(cmd.Flags(), "host", "log")
	return cmd
}

func runHost(ctx context.Context, c config.Config, log *slog.Logger) error {
	openUmask()
	token, err := hostToken(c.Host)
	if err != nil {
		return err
	}
	hostname := c.Host.Hostname
	if hostname == "" {
		if hostname, err = os.Hostname(); err != nil {
			return fmt.Errorf("finding this machine's name: %w (host.hostname sets it)", err)
		}
	}
	if err := refuseForeignCertificate(c.Temporal, hostname); err != nil {
		return err
	}
	log = log.With("host", hostname)
	stateDir, err := filepath.Abs(c.Host.StateDir)
	if err != nil {
		return err
	}
	if c.Host.Hypervisor == "libvirt" {
		if err := libvirt.CheckReach(stateDir, c.Host.QEMUUser); err != nil {
			return err
		}
	}
	instances := filepath.Join(stateDir, "instances")
	if err := os.MkdirAll(instances, 0o711); err != nil {
		return fmt.Errorf("making the instances' folder: %w", err)
	}
	unlock, err := lockState(stateDir)
	if err != nil {
		return err
	}
	defer unlock()
	virt, err := openHypervisor(c.Host, hostname, stateDir, log)
	if err != nil {
		return err
	}
	ports, err := openPorts(c.Host, virt, instances, stateDir, log)
	if err != nil {
		return err
	}
	if ports != nil {
		defer ports.Close()
		if err := ports.Probe(ctx); err != nil {
			log.Warn("No ports of servers can be plugged on this host as it is.", "reason", err)
		}
	}
	virt, interceptors, err := injectFaults(hostname, virt)
	if err != nil {
		return err
	}
	defer virt.Close()
	certificates := tlsfile.New(log)
	transport, err := apiTransport(c.Host, certificates)
	if err != nil {
		return err
	}
	member, err := workers.OpenMember(stateDir, c.Host.APIURL, transport, log)
	if err != nil {
		return err
	}
	api := imagecache.HTTPSource{API: c.Host.APIURL, Token: token, Client: member.Client()}
	var source imagecache.Source = api
	if c.Host.ReadStores {
		images, err := imagestore.OpenStores(imageSettings(c.Images, nil))
		if err != nil {
			return err
		}
		source = imagecache.StoreSource{Store: images, Else: source, Logger: log}
	}
	reserve, err := space.Parse(c.Host.Reserve)
	if err != nil {
		return err
	}
	cache, err := imagecache.New(imagecache.Options{
		Dir: filepath.Join(stateDir, "images"), InstancesDir: instances, MaxBytes: c.Host.CacheBytes, Reserve: reserve,
		Source: source, Logger: log,
	})
	if err != nil {
		return err
	}
	met := make(chan struct{}) // whose this host is, is known as far as it can be
	registration := workers.Registration{
		API: c.Host.APIURL, Token: token, Every: c.Host.HeartbeatEvery, Hypervisor: virt, StateDir: stateDir, Reserve: reserve, Logger: log,
		Member: member, Met: func() { close(met) }, CertificateEnds: certificates.Ends,
		Report: hostapi.Report{
			Hostname: hostname, CPURatio: c.Host.CPURatio, RAMRatio: c.Host.RAMRatio, DiskRatio: c.Host.DiskRatio,
			ReservedMemoryMiB: c.Host.ReservedMemory, Heartbeat: hostapi.Heartbeat{Version: version()},
		},
	}
	registration.Switch, _ = ports.(workers.Switch)
	keys, err := payload.OpenHostKeys(ctx, payload.HostOptions{
		Hostname: hostname, File: filepath.Join(stateDir, "payload.keys"), Shared: c.Temporal.PayloadKeys, Ask: registration.PayloadKeys, Logger: log,
	})
	if err != nil {
		return err
	}
	cannotInject := guestfs.Trial(ctx)
	if cannotInject != nil {
		log.Warn("Servers without a config drive are not built on this host: nothing can be injected into their images.", "reason", cannotInject)
	}
	var libguestfs *guestfs.Appliance
	if cannotInject == nil && c.Host.Libguestfs {
		libguestfs = guestfs.NewAppliance(filepath.Join(stateDir, "libguestfs"))
	}
	consoles := console.New(console.Options{API: c.Host.APIURL, Token: token, Client: member.Client(), Logger: log})
	defer consoles.Close()
	metrics := prometheus.NewRegistry()
	listens, dials, err := transferTLS(c, certificates)
	if err != nil {
		return err
	}
	moved := transfer.NewMetrics(metrics)
	offers := transfer.NewOffers(transfer.Options{
		Listen: c.Host.TransferListen, Advertise: c.Host.TransferAdvertise, Hostname: hostname, TLS: listens, Metrics: moved, Logger: log,
	})
	defer offers.Close()
	plugged := pace.NewBell() // rings when other ports are
	activities, err := host.New(host.Options{
		Hostname: hostname, InstancesDir: instances, Reserve: reserve, Cache: cache, Images: api, Hypervisor: virt, Consoles: consoles, Keys: keys.Keys,
		CannotInject: cannotInject, Libguestfs: libguestfs, Logger: log, Ports: ports, PlugPatience: c.Host.PlugTimeout, PlugFatal: c.Host.PlugFatal, PortsChanged: plugged.Ring,
		Offers: offers, Receiver: transfer.Receiver{TLS: dials, Reserve: reserve, Metrics: moved, Logger: log},
	})
	if err != nil {
		return err
	}
	if err := offers.TakeUp(ctx, instances); err != nil {
		log.Warn("Disks that were offered to other hosts are not offered any more.", "error", err)
	}
	switch n, err := activities.ResealFacts(); {
	case err != nil:
		return err
	case n > 0:
		log.Info("The facts of servers were sealed anew.", "servers", n, "key", keys.First())
	}
	if err := keys.Settle(); err != nil {
		return err
	}
	temporal, err := dialTemporal(ctx, c.Temporal, payload.HostConverter(keys.Keys), certificates, log)
	if err != nil {
		return err
	}
	defer temporal.Close()

	maxBuilds := c.Host.MaxBuilds
	if maxBuilds == 0 {
		maxBuilds = 2 * runtime.NumCPU()
	}
	return serveOperator(ctx, c.Operator, certificates, metrics, nil, func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return registration.Run(ctx) })
		select {
		case <-met:
		case <-ctx.Done():
			return group.Wait()
		}
		guests := workers.Guests{
			Hypervisor: virt, API: &registration, Instances: instances, Resume: c.Host.ResumeGuests, Every: c.Host.SyncPowerEvery, Logger: log,
		}
		group.Go(func() error { return guests.Run(ctx) })
		group.Go(func() error { return workers.SettlePorts(ctx, activities, log) })
		if networks, ok := ports.(imds.Switch); ok {
			group.Go(func() error {
				imds.New(imds.Options{Source: &registration, Logger: log}).Run(ctx, networks, plugged)
				return nil
			})
		}
		if libguestfs != nil {
			group.Go(func() error {
				if why := libguestfs.Ready(ctx); why != nil && ctx.Err() == nil {
					log.Info("Servers of images whose root is no ext or FAT filesystem need a config drive on this host.", "reason", why)
				}
				return nil
			})
		}
		group.Go(func() error {
			return workers.RunHost(ctx, workers.HostOptions{
				Temporal: temporal, Hostname: hostname, Activities: activities, MaxBuilds: maxBuilds,
				Metrics: workers.NewSteps(metrics), Logger: log, BuildID: buildID(), Interceptors: interceptors,
				MayUndo: registration.MayUndo,
			})
		})
		return group.Wait()
	})
}

// openUmask has folders and files made with the modes that the code says, whatever the shell's umask is: with 077 QEMU's own
// user could not pass the folders of its guests. What is secret says so with its mode.
func openUmask() { syscall.Umask(0o022) }

// lockState keeps a second host service away from the folder: what orders a server's steps is in one process only.
func lockState(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of the state folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another slipway host uses the folder %s: %w (host.state_dir names it; each host needs its own)", dir, err)
	}
	return func() { f.Close() }, nil
}

// hostToken reads the token anew each time, so that a rotated one is taken up without a restart.
func hostToken(c config.Host) (func() string, error) {
	if c.Token != "" {
		return func() string { return c.Token }, nil
	}
	if c.TokenFile == "" {
		return nil, errors.New("a host needs its token: `slipway host enrol FILE` unpacks what `slipway host create NAME --enrolment FILE` made for it, and host.token_file names the token's file")
	}
	read := func() (string, error) {
		text, err := os.ReadFile(c.TokenFile)
		return strings.TrimSpace(string(text)), err
	}
	last, err := read()
	if err != nil {
		return nil, fmt.Errorf("reading the host's token: %w", err)
	}
	return func() string {
		if now, err := read(); err == nil {
			return now
		}
		return last
	}, nil
}

// openPorts is what plugs the ports of servers where networks stand on OVN; nil where this host plugs none.
func openPorts(c config.Host, virt hypervisor.Hypervisor, instances, stateDir string, log *slog.Logger) (hostnet.Ports, error) {
	switch {
	case c.Hypervisor == "fake":
		return fakeports.New(filepath.Join(stateDir, "ports"))
	case c.OVSDB == "":
		return nil, nil
	}
	o := ovs.Options{Endpoint: c.OVSDB, Owner: instances, Logger: log}
	if in, ok := virt.(interface {
		NetNS(context.Context) (string, error)
	}); ok {
		o.NetNS = in.NetNS
	}
	return ovs.New(o), nil
}

func openHypervisor(c config.Host, hostname, stateDir string, log *slog.Logger) (hypervisor.Hypervisor, error) {
	if c.Hypervisor == "fake" {
		return fake.New(fake.Options{Hostname: hostname, Dir: filepath.Join(stateDir, "fake"), StartLatency: c.FakeStartLatency})
	}
	virt, err := c.Virt()
	if err != nil {
		return nil, err
	}
	return libvirt.New(libvirt.Options{
		Socket: c.LibvirtSocket, NetNS: c.LibvirtNetNS, Host: hostname, Logger: log,
		Virt: virt, TrialDir: filepath.Join(stateDir, "trial"),
	})
}
