package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
)

// rescueSteps are done to a server whose domain is defined.
var rescueSteps = []step{
	{"BuildRescue", func(ctx context.Context, p *place) error {
		_, err := p.BuildRescue(ctx, contract.BuildReplacementInput{
			ServerID:    server,
			Disk:        contract.BuildDiskInput{ServerID: server, Image: p.root},
			ConfigDrive: &contract.BuildConfigDriveInput{ServerID: server, Format: "iso9660", Metadata: p.metadata()},
		})
		return err
	}, func(ctx context.Context, p *place) error { return p.RemoveRescue(ctx, undoIn) }, []string{"rescue/disk", "rescue/disk.config"}},
	{"EnterRescue", func(ctx context.Context, p *place) error {
		facts := p.facts("web")
		facts.Spec.Image = contract.ResolvedImage{Root: p.root}
		facts.Spec.Flavor.EphemeralGiB, facts.Spec.Flavor.SwapMiB = 0, 0
		return p.EnterRescue(ctx, contract.EnterRescueInput{ServerID: server, Facts: facts})
	}, func(ctx context.Context, p *place) error { return p.UndoRescue(ctx, undoIn) }, []string{"rescue/facts.sealed"}},
}

func TestAServerIsRescuedByADiskBesideItsOwnAndIsAfterwardsWhatItWas(t *testing.T) {
	p := running(t)
	require.NoError(t, p.PowerOffDomain(t.Context(), undoIn))
	before := p.world(t)
	for range 2 {
		for _, s := range rescueSteps {
			require.NoError(t, s.do(t.Context(), p), s.name)
			for _, f := range s.after {
				require.FileExists(t, filepath.Join(p.dir, server, f))
			}
			if s.name == "EnterRescue" {
				require.NoError(t, s.do(t.Context(), p), "%s again", s.name)
			}
		}
		d := p.hyp.Snapshot()[server].Domain
		var paths []string
		for _, disk := range d.Disks {
			path, err := filepath.Rel(filepath.Join(p.dir, server), disk.Path)
			require.NoError(t, err)
			paths = append(paths, path)
		}
		require.Equal(t, []string{"rescue/disk", "disk", "rescue/disk.config"}, paths)
		require.Equal(t, []hypervisor.DiskRole{hypervisor.RootDisk, hypervisor.RescuedDisk, hypervisor.ConfigDisk}, []hypervisor.DiskRole{d.Disks[0].Role, d.Disks[1].Role, d.Disks[2].Role})
		require.Equal(t, []int{1, 0}, []int{d.Disks[0].BootOrder, d.Disks[1].BootOrder}, "libvirt takes an order once")
		require.Equal(t, filepath.Join(p.dir, server, consoleName), d.ConsoleLog)
		require.Empty(t, d.Boot.Kernel, "the rescuing image has none")
		require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
		for range 2 {
			require.NoError(t, p.LeaveRescue(t.Context(), contract.LeaveRescueInput{ServerID: server}))
			require.Equal(t, before["domain "+server], p.world(t)["domain "+server])
		}
		for range 2 {
			require.NoError(t, p.UndoUnrescue(t.Context(), undoIn))
			require.Equal(t, fake.Record{Domain: d, State: hypervisor.Running}, p.hyp.Snapshot()[server])
			p.o.Hypervisor = unbroken{p.hyp} // where nothing was left, the guest runs on
		}
		p.o.Hypervisor = p.hyp
		require.NoError(t, p.LeaveRescue(t.Context(), contract.LeaveRescueInput{ServerID: server}))
		require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
		require.NoError(t, p.UndoUnrescue(t.Context(), undoIn), "also in the place of the server's own")
		require.Equal(t, fake.Record{Domain: d, State: hypervisor.Running}, p.hyp.Snapshot()[server])
		for i := len(rescueSteps) - 1; i >= 0; i-- {
			for range 2 {
				require.NoError(t, rescueSteps[i].undo(t.Context(), p), rescueSteps[i].name)
			}
		}
		require.Equal(t, names(before), names(p.world(t)))
		require.Equal(t, before["domain "+server], p.world(t)["domain "+server])
	}
}

func TestAServerThatIsRescuedWithItsDevicesKeepsThemAndBootsFromOneMore(t *testing.T) {
	p := running(t)
	own := p.hyp.Snapshot()[server].Domain
	require.NotEmpty(t, own.Boot.Kernel)
	p.root.Properties = map[string]string{"hw_rescue_device": "disk", "hw_rescue_bus": "usb"}
	_, err := p.BuildRescue(t.Context(), contract.BuildReplacementInput{ServerID: server, Disk: contract.BuildDiskInput{ServerID: server, Image: p.root}})
	require.NoError(t, err)
	facts := p.facts("web")
	facts.Server.ConfigDrive, facts.Spec.Image = false, contract.ResolvedImage{Root: p.root}
	facts.Spec.Flavor.DiskGiB, facts.Spec.Flavor.EphemeralGiB, facts.Spec.Flavor.SwapMiB = 0, 0, 0
	require.NoError(t, p.EnterRescue(t.Context(), contract.EnterRescueInput{ServerID: server, Facts: facts}))

	d := p.hyp.Snapshot()[server].Domain
	require.Empty(t, d.Boot, "it boots from a disk")
	require.Len(t, d.Disks, len(own.Disks)+1)
	for i, was := range own.Disks {
		was.BootOrder = 0
		if i == 0 {
			was.Role = hypervisor.RescuedDisk
		}
		require.Equal(t, was, d.Disks[i], "as it was, and booted from no more")
	}
	last := d.Disks[len(own.Disks)]
	require.Equal(t, filepath.Join(p.dir, server, "rescue", "disk"), last.Path)
	require.Equal(t, []any{hypervisor.RootDisk, "disk", "usb", "rescue"}, []any{last.Role, last.Device, last.Bus, last.Serial})
	require.Equal(t, []any{own.NICs, own.ConsoleLog, own.Hardware}, []any{d.NICs, d.ConsoleLog, d.Hardware})

	require.NoError(t, p.LeaveRescue(t.Context(), contract.LeaveRescueInput{ServerID: server}))
	require.Equal(t, own, p.hyp.Snapshot()[server].Domain)
}

func TestWhereNothingCanBeInjectedAServerThatKeepsItsDevicesIsRescuedAllTheSame(t *testing.T) {
	p := running(t)
	p.o.CannotInject = errors.New("no FUSE here")
	build := func(properties map[string]string) (contract.InjectedData, error) {
		p.root.Properties = properties
		return p.BuildRescue(t.Context(), contract.BuildReplacementInput{
			ServerID: server, Disk: contract.BuildDiskInput{ServerID: server, Image: p.root},
			Inject: &contract.InjectDataInput{ServerID: server, Metadata: contract.InstanceMetadata{ServerID: server, AdminPass: "x"}},
		})
	}
	injected, err := build(map[string]string{"hw_rescue_device": "disk"})
	require.NoError(t, err)
	require.Equal(t, []string{"nothing was injected: no FUSE here"}, injected.Notes)
	_, err = build(nil)
	require.True(t, fault.Is(err, fault.HostUnfit), "it has no other way to be told anything: %v", err)
	p.o.CannotInject = nil
	injected, err = build(map[string]string{"hw_rescue_device": "cdrom"})
	require.NoError(t, err)
	require.Equal(t, []string{"nothing was injected: a cdrom is not written to"}, injected.Notes)
}

// unbroken turns no guest off.
type unbroken struct{ hypervisor.Hypervisor }

func (unbroken) Destroy(_ context.Context, uuid string) error {
	return fault.New(fault.Internal, "the guest %s is turned off", uuid)
}

func TestAServerOfWhichNothingIsKnownIsNotRescued(t *testing.T) {
	p := running(t)
	require.NoError(t, os.Remove(filepath.Join(p.dir, server, factsName)))
	require.NoError(t, rescueSteps[0].do(t.Context(), p))
	err := rescueSteps[1].do(t.Context(), p)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	require.NoError(t, rescueSteps[1].undo(t.Context(), p))
	require.NoError(t, rescueSteps[0].undo(t.Context(), p))
	require.Equal(t, hypervisor.Running, p.hyp.Snapshot()[server].State, "nothing was touched")
}

func TestADeleteOfARescuedServerLeavesNothing(t *testing.T) {
	for n := range rescueSteps {
		p := running(t)
		for _, s := range rescueSteps[:n+1] {
			require.NoError(t, s.do(t.Context(), p), s.name)
		}
		for i := len(steps) - 1; i >= 0; i-- {
			require.NoError(t, steps[i].undo(t.Context(), p), steps[i].name)
		}
		require.Equal(t, map[string]any{p.dir: "folder"}, p.world(t))
	}
}
