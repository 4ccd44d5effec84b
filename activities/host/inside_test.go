package host

import (
	"bytes"
	"context"
	"image"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// told notes whose password it was told.
type told struct {
	hypervisor.Hypervisor
	users []string
}

func (h *told) SetUserPassword(ctx context.Context, id, user, password string) error {
	h.users = append(h.users, user+" "+password)
	return h.Hypervisor.SetUserPassword(ctx, id, user, password)
}

func TestThePasswordIsThatOfWhomTheImageNames(t *testing.T) {
	var h told
	p := newPlace(t, func(o *Options, _ *store) { h.Hypervisor, o.Hypervisor = o.Hypervisor, &h })
	p.fetch(t)
	define := p.define()
	define.Image.Root.Properties = map[string]string{"os_admin_user": "ops", "hw_qemu_guest_agent": "yes"}
	define.Facts.Spec.Image = define.Image
	require.NoError(t, p.DefineDomain(t.Context(), define))
	in := contract.SetAdminPasswordInput{ServerID: server, Password: "s3cret"}
	require.True(t, fault.Is(p.SetAdminPassword(t.Context(), in), fault.Conflict), "it is off")
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	require.NoError(t, p.SetAdminPassword(t.Context(), in))
	facts := filepath.Join(p.dir, server, factsName)
	require.NoError(t, os.WriteFile(facts, []byte("{}"), 0o600))
	require.ErrorContains(t, p.SetAdminPassword(t.Context(), in), "cannot be read")
	require.NoError(t, os.Remove(facts))
	require.ErrorContains(t, p.SetAdminPassword(t.Context(), in), "it was built before that was kept")
	require.Equal(t, []string{"ops s3cret", "ops s3cret"}, h.users)
}

func TestAGuestIsLookedIntoWhileItRuns(t *testing.T) {
	p := newPlace(t)
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	in := contract.GuestInput{ServerID: server}
	_, err := p.ReadDiagnostics(t.Context(), in)
	require.True(t, fault.Is(err, fault.Conflict))
	require.Equal(t, "Cannot 'get_diagnostics' instance "+server+" while it is in power state shutdown", fault.Public(err))
	require.True(t, fault.Is(p.InjectNMI(t.Context(), in), fault.Conflict))
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	found, err := p.ReadDiagnostics(t.Context(), in)
	require.NoError(t, err)
	require.Len(t, found.CPUs, 2)
	require.Equal(t, "fa:16:3e:00:00:01", found.NICs[0].MAC)
	require.NoError(t, p.InjectNMI(t.Context(), in))
	screen, err := p.ReadScreen(t.Context(), in)
	require.NoError(t, err)
	shape, format, err := image.DecodeConfig(bytes.NewReader(screen.JPEG))
	require.NoError(t, err)
	require.Equal(t, []any{"jpeg", 720, 400}, []any{format, shape.Width, shape.Height})
	require.NoError(t, p.hyp.SetState(server, hypervisor.Paused))
	_, err = p.ReadDiagnostics(t.Context(), in)
	require.Equal(t, "Cannot 'get_diagnostics' instance "+server+" while it is in power state paused", fault.Public(err))
	require.NoError(t, p.InjectNMI(t.Context(), in), "a guest that is paused is interrupted when it goes on")
}

// screens counts who takes a picture at once.
type screens struct {
	hypervisor.Hypervisor
	now, most atomic.Int32
}

func (h *screens) Screenshot(ctx context.Context, id string) (image.Image, error) {
	now := h.now.Add(1)
	defer h.now.Add(-1)
	h.most.Store(max(h.most.Load(), now))
	time.Sleep(5 * time.Millisecond) // others come in the meantime, if they may
	return h.Hypervisor.Screenshot(ctx, id)
}

func TestAHostTakesOnePictureAtATime(t *testing.T) {
	var h screens
	p := newPlace(t, func(o *Options, _ *store) { h.Hypervisor, o.Hypervisor = o.Hypervisor, &h })
	p.fetch(t)
	require.NoError(t, p.DefineDomain(t.Context(), p.define()))
	require.NoError(t, p.StartDomain(t.Context(), contract.StartDomainInput{ServerID: server}))
	in := contract.GuestInput{ServerID: server}
	var all errgroup.Group
	for range 8 {
		all.Go(func() error {
			_, err := p.ReadScreen(t.Context(), in)
			return err
		})
	}
	require.NoError(t, all.Wait())
	require.EqualValues(t, 1, h.most.Load())

	p.screen <- struct{}{} // somebody's takes long
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.ReadScreen(ctx, in)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	<-p.screen
	_, err = p.ReadScreen(t.Context(), in)
	require.NoError(t, err)
}
