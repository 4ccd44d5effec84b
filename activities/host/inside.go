package host

import (
	"bytes"
	"context"
	"fmt"
	"image/jpeg"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// SetAdminPassword has the agent in a guest set the password of the user that the image names (os_admin_user). Conflict, in Nova's
// words, where there is no agent.
func (a *Activities) SetAdminPassword(ctx context.Context, in contract.SetAdminPasswordInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	facts, err := a.facts(dir, in.ServerID)
	if err != nil {
		return err // nobody's password is set while it is not known whose
	}
	return a.o.Hypervisor.SetUserPassword(ctx, in.ServerID, imageprops.AdminUser(facts.Spec.Image.Root.Properties), in.Password)
}

// ReadDiagnostics answers what the hypervisor has counted of a guest; Conflict, in Nova's words, where it does not run.
func (a *Activities) ReadDiagnostics(ctx context.Context, in contract.GuestInput) (contract.Diagnostics, error) {
	state, err := a.o.Hypervisor.State(ctx, in.ServerID)
	if err != nil {
		return contract.Diagnostics{}, err
	}
	if state != hypervisor.Running {
		return contract.Diagnostics{}, fault.New(fault.Conflict, "Cannot 'get_diagnostics' instance %s while it is in power state %s",
			in.ServerID, lifecycle.PowerNames[PowerState(state)])
	}
	return a.o.Hypervisor.Diagnostics(ctx, in.ServerID)
}

// ReadScreen takes a picture of what a guest shows: as good a one as may travel. A host takes one at a time.
func (a *Activities) ReadScreen(ctx context.Context, in contract.GuestInput) (contract.Screenshot, error) {
	select {
	case a.screen <- struct{}{}:
		defer func() { <-a.screen }()
	case <-ctx.Done():
		return contract.Screenshot{}, fault.Wrap(fault.Unavailable, fmt.Errorf("waiting for the picture of another screen: %w", context.Cause(ctx)),
			"The host is taking pictures of other screens. Please try again later.")
	}
	picture, err := a.o.Hypervisor.Screenshot(ctx, in.ServerID)
	if err != nil {
		return contract.Screenshot{}, err
	}
	for _, quality := range []int{85, 50, 20} {
		var b bytes.Buffer
		if err := jpeg.Encode(&b, picture, &jpeg.Options{Quality: quality}); err != nil {
			return contract.Screenshot{}, fault.Wrap(fault.Internal, err, "The picture of the screen of instance %s cannot be written", in.ServerID)
		}
		if b.Len() <= contract.MaxScreenshot {
			return contract.Screenshot{JPEG: b.Bytes()}, nil
		}
	}
	return contract.Screenshot{}, fault.New(fault.TooLarge, "The picture of the screen of instance %s is larger than %d bytes", in.ServerID, contract.MaxScreenshot)
}

// InjectNMI interrupts a guest as its machine's NMI button would: one that is set up for it dumps its memory and crashes. Done
// twice it interrupts twice.
func (a *Activities) InjectNMI(ctx context.Context, in contract.GuestInput) error {
	return a.o.Hypervisor.InjectNMI(ctx, in.ServerID)
}
