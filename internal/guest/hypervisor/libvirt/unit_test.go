package libvirt

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/ids"
)

func newHypervisor(t *testing.T, o Options) *Hypervisor {
	if o.Host == "" {
		o.Host = "compute-7"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, h.Close()) })
	return h
}

func TestASocketIsGivenAsPathOrAsLocalURI(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "/run/libvirt/libvirt-sock",
		"/tmp/sock":                            "/tmp/sock",
		"qemu:///system":                       "/run/libvirt/libvirt-sock",
		"qemu+unix:///system?socket=/tmp/sock": "/tmp/sock",
	} {
		got, err := socketPath(in)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, in := range []string{"qemu+ssh://root@other/system", "qemu:///session", "xen:///system", "qemu://%zz"} {
		_, err := New(Options{Socket: in})
		require.Error(t, err, in)
	}
}

func TestWithoutLibvirtdEveryMethodIsUnavailable(t *testing.T) {
	h := newHypervisor(t, Options{Socket: filepath.Join(t.TempDir(), "no-such-socket")})
	requireAllUnavailable(t, h, t.Context())
}

func requireAllUnavailable(t *testing.T, h *Hypervisor, ctx context.Context) {
	t.Helper()
	d := server()
	_, capabilities := h.Capabilities(ctx)
	_, state := h.State(ctx, d.UUID)
	_, list := h.List(ctx)
	for _, err := range []error{
		capabilities, state, list,
		h.Define(ctx, d), h.Start(ctx, d.UUID), h.Destroy(ctx, d.UUID), h.Undefine(ctx, d.UUID),
	} {
		require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
		require.Equal(t, "libvirt on compute-7 does not answer", fault.Public(err))
		require.Error(t, errors.Unwrap(err), "the cause is kept")
	}
}

func TestALibvirtdThatHangsHoldsNoCallBeyondItsDeadlineAndLeavesNothingBehind(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		for { // connections are taken by the kernel and by us, and never answered
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
		}
	}()
	before := runtime.NumGoroutine()
	h := newHypervisor(t, Options{Socket: socket})
	start := time.Now()
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := h.Start(ctx, testUUID)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, fault.Unavailable, fault.KindOf(err))
	}
	require.Less(t, time.Since(start), 5*time.Second)

	own := newHypervisor(t, Options{Socket: socket, CallTimeout: 20 * time.Millisecond})
	require.ErrorIs(t, own.Destroy(context.Background(), testUUID), context.DeadlineExceeded, "a context without deadline has one too")

	require.EventuallyWithT(t, func(c *assert.CollectT) {
		// The condition runs on a goroutine of its own.
		assert.LessOrEqual(c, runtime.NumGoroutine(), before+1)
	}, 5*time.Second, 10*time.Millisecond)
}

func TestAfterCloseNothingIsConnectedAnyMore(t *testing.T) {
	h, err := New(Options{Socket: "/nowhere", Host: "compute-7"})
	require.NoError(t, err)
	require.NoError(t, h.Close())
	require.NoError(t, h.Close(), "closing twice is closing once")
	require.ErrorIs(t, h.Start(t.Context(), testUUID), errClosed)
}

func TestLibvirtsErrorsBecomeFaults(t *testing.T) {
	h := newHypervisor(t, Options{})
	answer := func(code golibvirt.ErrorNumber) error {
		return golibvirt.Error{Code: uint32(code), Message: "internal error: cannot access storage file '/srv/secret/disk' (as uid:64055): No such file"}
	}
	for name, c := range map[string]struct {
		doing string
		err   error
		kind  fault.Kind
	}{
		"no domain":              {"start domain x", answer(golibvirt.ErrNoDomain), fault.NotFound},
		"qemu does not come up":  {"start domain x", answer(golibvirt.ErrInternalError), fault.HostUnfit},
		"storage":                {"start domain x", answer(golibvirt.ErrSystemError), fault.HostUnfit},
		"not possible here":      {"define domain x", answer(golibvirt.ErrConfigUnsupported), fault.HostUnfit},
		"disk of /etc full":      {"define domain x", answer(golibvirt.ErrSystemError), fault.HostUnfit},
		"memory":                 {"start domain x", answer(golibvirt.ErrNoMemory), fault.HostUnfit},
		"not gone yet":           {"destroy domain x", answer(golibvirt.ErrOperationFailed), fault.Unavailable},
		"another job runs":       {"destroy domain x", answer(golibvirt.ErrOperationTimeout), fault.Unavailable},
		"refused":                {"list domains", answer(golibvirt.ErrAuthFailed), fault.HostUnfit},
		"state":                  {"undefine domain x", answer(golibvirt.ErrOperationInvalid), fault.Conflict},
		"our XML is wrong":       {"define domain x", answer(golibvirt.ErrXMLError), fault.Internal},
		"unknown":                {"list domains", answer(golibvirt.ErrorNumber(9999)), fault.Internal},
		"not an answer":          {"list domains", errors.New("xdr: unexpected"), fault.Internal},
		"the connection":         {"list domains", golibvirt.ErrInterrupted, fault.Unavailable},
		"a fault stays as it is": {"start domain x", fault.New(fault.OverQuota, "No."), fault.OverQuota},
	} {
		t.Run(name, func(t *testing.T) {
			err := h.translate(c.doing, c.err)
			require.Equal(t, c.kind, fault.KindOf(err), "%v", err)
			require.ErrorIs(t, err, c.err)
			require.NotContains(t, fault.Public(err), "/srv/secret")
		})
	}
	require.NoError(t, h.translate("list domains", nil))
	err := h.translate("start domain x", answer(golibvirt.ErrSystemError))
	require.Contains(t, fault.Public(err), "compute-7 could not start the server: internal error: cannot access storage file 'disk'")
	require.Contains(t, err.Error(), "/srv/secret/disk", "the operator sees all of it")
	require.LessOrEqual(t, len(publicText(strings.Repeat("ü", 1000))), maxPublicText+len("…"))
}

func TestLibvirtsStatesAreRead(t *testing.T) {
	for _, c := range []struct {
		state  golibvirt.DomainState
		reason int32
		want   hypervisor.State
	}{
		{golibvirt.DomainRunning, 1, hypervisor.Running},
		{golibvirt.DomainBlocked, 0, hypervisor.Running},
		{golibvirt.DomainShutdown, 0, hypervisor.Running},
		{golibvirt.DomainPaused, 5, hypervisor.Paused},
		{golibvirt.DomainPmsuspended, 0, hypervisor.Paused},
		{golibvirt.DomainCrashed, 0, hypervisor.Crashed},
		{golibvirt.DomainShutoff, int32(golibvirt.DomainShutoffCrashed), hypervisor.Crashed},
		{golibvirt.DomainShutoff, 2, hypervisor.ShutOff},
	} {
		require.Equal(t, c.want, stateFrom(int32(c.state), c.reason), "%v/%d", c.state, c.reason)
	}
	require.True(t, byItself(int32(golibvirt.DomainPmsuspended), 0), "a guest that sleeps")
	require.False(t, byItself(int32(golibvirt.DomainPaused), 1), "and one that was paused")
}

func TestAFolderIsPassableByTheFirstClassThatApplies(t *testing.T) {
	root := t.TempDir()
	for p := root; p != "/" && p != os.TempDir(); p = filepath.Dir(p) { // the test's own folders are private to begin with
		require.NoError(t, os.Chmod(p, 0o755))
	}
	const uid, gid = 64055, 64056
	member := map[uint32]bool{gid: true}
	for name, c := range map[string]struct {
		mode     os.FileMode
		uid, gid int
		want     bool
	}{
		"for all":                   {0o711, 0, 0, true},
		"for root only":             {0o700, 0, 0, false},
		"for its owner":             {0o700, uid, 0, true},
		"for all but its owner":     {0o077, uid, 0, false},
		"for its group":             {0o710, 0, gid, true},
		"for all but its group":     {0o701, 0, gid, false},
		"to list, but not to enter": {0o744, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			parent := filepath.Join(root, strings.ReplaceAll(name, " ", "-"))
			require.NoError(t, os.MkdirAll(filepath.Join(parent, "child"), 0o755))
			require.NoError(t, os.Chown(parent, c.uid, c.gid))
			require.NoError(t, os.Chmod(parent, c.mode))
			link := parent + "-link"
			require.NoError(t, os.Symlink(parent, link))
			for _, dir := range []string{parent, filepath.Join(parent, "child"), filepath.Join(parent, "child", "to", "be"), link} {
				by, _, err := blocks(dir, uid, member)
				require.NoError(t, err)
				require.Equal(t, c.want, by == "", "%s: %s", dir, by)
			}
		})
	}
}

func TestAStateFolderThatQEMUsUserCannotReachIsRefusedWithWhatToDo(t *testing.T) {
	require.NoError(t, CheckReach("/", ""))
	private := filepath.Join(testenv.GuestDir(t), "private")
	require.NoError(t, os.Mkdir(private, 0o700))
	state := filepath.Join(private, "slipway", "host")
	err := CheckReach(state, "")
	require.ErrorContains(t, err, private+" (mode 0700)")
	require.ErrorContains(t, err, state)
	require.ErrorContains(t, err, "run chmod o+x "+private+", or set host.state_dir")
	require.NoError(t, CheckReach(state, "root"), "who has libvirt run QEMU as root says so")
	require.ErrorContains(t, CheckReach(state, "no-such-user"), "host.qemu_user")
	require.NoError(t, os.Chmod(private, 0o701))
	require.NoError(t, CheckReach(state, ""))
}

func TestTheBridgesOfNetworksAreOnesThatSlipwayMakes(t *testing.T) {
	name := ids.Bridge(testUUID)
	require.True(t, isOurs(name))
	require.LessOrEqual(t, len(name), maxInterfaceName)
}
