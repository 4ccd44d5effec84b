package host

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/imageprops"
)

// rescueName is the folder, within a server's, of the guest that rescues it: its disk, its config drive and its facts.
const rescueName = "rescue"

// BuildRescue makes the disk of the guest that rescues a server, in a folder of its own, and its config drive, or injects into it.
func (a *Activities) BuildRescue(ctx context.Context, in contract.BuildReplacementInput) (injected contract.InjectedData, err error) {
	dir, leave, err := a.make(ctx, in.ServerID)
	if err != nil {
		return injected, err
	}
	defer leave()
	left, err := a.untold(in)
	if err != nil {
		return injected, err
	}
	if left != "" {
		in.Inject = nil
	}
	injected, err = a.buildGuest(ctx, filepath.Join(dir, rescueName), in)
	if left != "" {
		injected.Notes = append(injected.Notes, forUsers("nothing was injected: "+left, dir))
	}
	return injected, err
}

// untold is why nothing is injected into a guest that rescues a server which keeps its devices, its config drive among them: its disk
// cannot be written to, or this host injects nothing. "" is that it is.
func (a *Activities) untold(in contract.BuildReplacementInput) (why string, err error) {
	how, err := imageprops.RescueBy(in.Disk.Image.Properties)
	switch {
	case err != nil, in.Inject == nil, !how.Stable:
		return "", err
	case how.Device == "cdrom":
		return "a cdrom is not written to", nil
	case a.o.CannotInject != nil:
		return a.o.CannotInject.Error(), nil
	}
	return "", nil
}

// RemoveRescue removes them.
func (a *Activities) RemoveRescue(ctx context.Context, in contract.Undo) error {
	return a.EndRescue(ctx, contract.EndRescueInput{ServerID: in.ServerID})
}

// EndRescue removes all that a rescue has made.
func (a *Activities) EndRescue(ctx context.Context, in contract.EndRescueInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	return a.drop(filepath.Join(dir, rescueName))
}

// EnterRescue turns the guest off and defines the domain of the one that rescues, with the server's root disk as its second disk, or
// its own disk behind all of the server's where its image asks for that.
// Conflict where nothing says of what the server's own could be defined again.
func (a *Activities) EnterRescue(ctx context.Context, in contract.EnterRescueInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if _, err := a.facts(dir, in.ServerID); err != nil { // before anything says that the rescue was entered
		return err
	}
	if err := a.keepFacts(filepath.Join(dir, rescueName), in.Facts); err != nil {
		return err
	}
	d, err := a.rescueDomain(ctx, dir, in.ServerID)
	if err != nil {
		return err
	}
	return a.replace(ctx, d)
}

// UndoRescue turns the guest that rescues off and defines the server's own domain.
func (a *Activities) UndoRescue(ctx context.Context, in contract.Undo) error {
	return a.LeaveRescue(ctx, contract.LeaveRescueInput{ServerID: in.ServerID})
}

// LeaveRescue turns the guest that rescues off and defines the server's own domain.
func (a *Activities) LeaveRescue(ctx context.Context, in contract.LeaveRescueInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	if !isThere(filepath.Join(dir, rescueName, factsName)) { // it was never entered
		return nil
	}
	return a.remake(ctx, dir, in.ServerID)
}

// UndoUnrescue starts the guest that rescues again, unless it runs still.
func (a *Activities) UndoUnrescue(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	d, err := a.rescueDomain(ctx, dir, in.ServerID)
	if err != nil {
		return err
	}
	err = a.o.Hypervisor.Define(ctx, d)
	if fault.Is(err, fault.Conflict) { // the server's own guest runs
		err = a.replace(ctx, d)
	}
	if err != nil {
		return err
	}
	return a.start(ctx, in.ServerID)
}

// rescueDomain is the domain of the guest that rescues, by the facts of both.
func (a *Activities) rescueDomain(ctx context.Context, dir, serverID string) (d hypervisor.Domain, err error) {
	own, err := a.facts(dir, serverID)
	if err != nil {
		return d, err
	}
	rescue, err := a.facts(filepath.Join(dir, rescueName), serverID)
	if err != nil {
		return d, err
	}
	rescued, err := a.domain(ctx, dir, own.Domain())
	if err != nil {
		return d, err
	}
	if d, err = a.domain(ctx, filepath.Join(dir, rescueName), rescue.Domain()); err != nil {
		return d, err
	}
	if len(rescued.Disks) == 0 || len(d.Disks) == 0 {
		return d, fault.New(fault.Internal, "server %s has no root disk", serverID)
	}
	how, err := imageprops.RescueBy(rescue.Spec.Image.Root.Properties)
	if err != nil {
		return d, err
	}
	if how.Stable {
		return stablyRescued(rescued, d.Disks[0], how), nil
	}
	// As Nova: the rescue disk, the root disk, and the rescuing guest's config drive.
	root := rescued.Disks[0]
	root.Role, root.BootOrder, root.Serial = hypervisor.RescuedDisk, 0, ""
	d.Disks = slices.Insert(d.Disks, 1, root)
	d.ConsoleLog = rescued.ConsoleLog
	return d, nil
}

// stablyRescued is the server's own domain, which boots from one disk more, the last.
func stablyRescued(own hypervisor.Domain, rescue hypervisor.Disk, how imageprops.Rescue) hypervisor.Domain {
	own.Boot = hypervisor.Boot{}
	for i := range own.Disks {
		own.Disks[i].BootOrder = 0
	}
	own.Disks[0].Role = hypervisor.RescuedDisk
	rescue.Device, rescue.Bus, rescue.Serial = how.Device, how.Bus, rescueName
	own.Disks = append(own.Disks, rescue)
	return own
}
