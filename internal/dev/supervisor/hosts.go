package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func hostsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "hosts N",
		Short: "Add hypervisors to the stack that runs until it has N, each with a libvirtd of its own",
		Long: `The first hypervisor is the stack's own. Each further one (hv2, hv3, ...) gets a libvirtd in namespaces of its own, a token, a
certificate and a "slipway host" process, with its state in hosts/NAME of the state folder. They run in the background until "slipway dev
down"; "slipway dev up" does not bring them back, this verb does, with the guests that ran on them. Where networks stand on OVN their guests
reach each other: a chassis of each is in its namespaces, and a wire goes from there to the first one's.

Each reports the whole machine's processors, memory and disk as its own: keep the guests small.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return fmt.Errorf("%q is not a number of hosts", args[0])
			}
			return addHosts(cmd.Context(), *o, n, cmd.OutOrStdout())
		},
	}
}

// hostCommand is the process that supervises one of them.
func hostCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "host NAME", Short: "The process that supervises one more hypervisor", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd.Context(), o.beside(args[0]), cmd.OutOrStdout(), (*dev).startBeside)
		},
	}
}

// beside is one more hypervisor: a folder in the stack's that is supervised like it.
func (o options) beside(name string) options {
	o.state, o.hostname = o.path("hosts", name), name
	return o
}

// added are the hypervisors that were ever added to the stack.
func (o options) added() []options {
	var all []options
	folders, _ := os.ReadDir(o.path("hosts"))
	for _, folder := range folders {
		all = append(all, o.beside(folder.Name()))
	}
	return all
}

func addHosts(ctx context.Context, o options, n int, out io.Writer) error {
	pid, err := o.running()
	if err != nil {
		return err
	}
	if pid == 0 {
		return errNotRunning
	}
	for i := 2; i <= n; i++ {
		h := o.beside(fmt.Sprintf("hv%d", i))
		fmt.Fprintf(out, "slipway: host %s, in %s\n", h.hostname, h.state)
		if err := h.background(ctx, out, "host", h.hostname, "--state-dir", o.state); err != nil {
			return err
		}
		if err := o.wire(ctx, h); err != nil {
			return err
		}
	}
	return nil
}

// startBeside starts a hypervisor beside the stack in whose folder its own is. The stack's settings say where that answers.
func (d *dev) startBeside(ctx context.Context, stops stops) (stops, error) {
	beside := options{state: filepath.Dir(filepath.Dir(d.state))}
	settings, err := beside.settings()
	if err != nil {
		return stops, err
	}
	d.secrets.admin, d.hypervisor, d.engine = settings.API.AdminPassword, settings.Host.Hypervisor, settings.Network.Engine
	if err := d.certifyHost(ctx, beside.pki()); err != nil {
		return stops, err
	}
	if settings.Temporal["tls_ca"] != nil {
		settings.Temporal["tls_cert"], settings.Temporal["tls_key"] = d.hostCert, d.hostKey
	}
	d.payloadKeys, _ = settings.Temporal["payload_keys"].(string)
	settings.Temporal["payload_keys"] = d.sharedKeys()
	if err := d.believe(settings.Host.APIURL, settings.Host.APICA); err != nil {
		return stops, err
	}

	libvirt, stops, err := d.startLibvirt(ctx, stops)
	if err != nil {
		return stops, err
	}
	if d.hypervisor == "libvirt" && !libvirt.Started {
		return stops, errors.New("this machine runs a libvirtd of its own, which is one hypervisor: several take a machine, or a container, that runs none")
	}
	if stops, err = d.startChassis(ctx, stops, libvirt, beside); err != nil {
		return stops, err
	}
	text, err := yaml.Marshal(map[string]any{
		"temporal": settings.Temporal, "host": d.hostSettings(libvirt), "operator": map[string]any{"listen": ""},
	})
	if err != nil {
		return stops, err
	}
	if err := os.WriteFile(d.path("slipway.yaml"), text, 0o600); err != nil {
		return stops, err
	}
	if err := os.MkdirAll(d.path("secrets"), 0o700); err != nil {
		return stops, err
	}
	if err := d.enroll(ctx); err != nil {
		return stops, err
	}
	if stops, err = d.startRole(ctx, stops, "host", nil); err != nil {
		return stops, err
	}
	return stops, d.waitForHost(ctx)
}
