package host

import (
	"context"
	"errors"
	"io/fs"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/serverspec"
)

// SetAdminPassword has the agent in a guest set the password of the user that the image names (os_admin_user). Conflict, in Nova's
// words, where there is no agent.
func (a *Activities) SetAdminPassword(ctx context.Context, in contract.SetAdminPasswordInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	user, err := a.adminUser(dir, in.ServerID)
	if err != nil {
		return err
	}
	return a.o.Hypervisor.SetUserPassword(ctx, in.ServerID, user, in.Password)
}

// adminUser is whom the image names; a server that was built before its facts were kept has the usual one.
func (a *Activities) adminUser(dir, serverID string) (string, error) {
	sealed, err := sealedFacts(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return imageprops.AdminUser(nil), nil
	}
	var facts contract.ServerFacts
	if err == nil {
		facts, err = serverspec.Facts.Open(a.o.Keys, serverID, sealed)
	}
	return imageprops.AdminUser(facts.Spec.Image.Root.Properties), program.Fault(err, "reading whose the password of server "+serverID+" is")
}

// ReadDiagnostics answers what the hypervisor has counted of a guest; Conflict, in Nova's words, where it does not run.
func (a *Activities) ReadDiagnostics(ctx context.Context, in contract.GuestInput) (contract.Diagnostics, error) {
	state, err := a.o.Hypervisor.State(ctx, in.ServerID)
	if err != nil {
		return contract.Diagnostics{}, err
	}
	if state != hypervisor.Running {
		return contract.Diagnostics{}, fault.New(fault.Conflict, "Cannot 'get_diagnostics' instance %s while it is in power state %s",
			in.ServerID, lifecycle.PowerName(PowerState(state)))
	}
	return a.o.Hypervisor.Diagnostics(ctx, in.ServerID)
}

// InjectNMI interrupts a guest as its machine's NMI button would: one that is set up for it dumps its memory and crashes. Done
// twice it interrupts twice.
func (a *Activities) InjectNMI(ctx context.Context, in contract.GuestInput) error {
	return a.o.Hypervisor.InjectNMI(ctx, in.ServerID)
}
