// Package hosts has builds fail on a hypervisor of a running system, again and again, by the hypervisor's own fault.
package hosts

import (
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

const patience = 2 * time.Minute

type rig struct {
	*system.System
	compute *gophercloud.ServiceClient
	image   string
}

// builds boots a server and gives it as it is when its build has ended.
func (r *rig) builds(t *testing.T) (ended servers.Server) {
	t.Helper()
	made, err := servers.Create(t.Context(), r.compute, servers.CreateOpts{Name: "web", ImageRef: r.image, FlavorRef: "small", Networks: "auto"}, nil).Extract()
	require.NoError(t, err)
	system.Eventually(t, patience, func() (bool, string) {
		s, err := servers.Get(t.Context(), r.compute, made.ID).Extract()
		if err != nil {
			return false, err.Error()
		}
		ended = *s
		return s.Status != "BUILD", s.Status
	})
	return ended
}

func (r *rig) host(t *testing.T) models.Host {
	t.Helper()
	h, err := r.Store.HostByName(t.Context(), r.Hosts[0])
	require.NoError(t, err)
	return h
}

func TestAHostThatFailsBuildsGetsNoneUntilItsTrialPassesAndGoesOutAgainWithTheNext(t *testing.T) {
	r := &rig{System: system.Start(t, system.Options{Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"build": map[string]any{"host_failures": 3},
		"host":  map[string]any{"heartbeat_every": "1s"},
	}})}
	r.Flavor(t, "small", 64)
	r.compute = system.Compute(t, r.Demo())
	r.image = system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: "raw"}, strings.NewReader(strings.Repeat("x", 4096)))
	name := r.Hosts[0]
	fails := func(kind fault.Kind) {
		_, err := r.Faults.Set(faultinject.Rule{Step: contract.StartDomain, Mode: faultinject.FailBefore, Kind: kind})
		require.NoError(t, err)
	}

	fails(fault.Invalid)
	require.Equal(t, "ERROR", r.builds(t).Status)
	require.Zero(t, r.host(t).BuildFailures, "what is wrong with a request is not the host's fault")

	tried := r.host(t).Trial
	require.NotNil(t, tried)

	fails(fault.HostUnfit)
	for n := 1; n <= 3; n++ {
		message := r.builds(t).Fault.Message
		require.Contains(t, message, "No valid host was found. Tried "+name+": StartDomain: ")
		require.Contains(t, message, "`slipway host show "+name+"`", "it says where to look")
		require.Equal(t, n, r.host(t).BuildFailures)
	}
	require.Equal(t, 1, strings.Count(r.Log("worker"), "it gets no new servers until its trial passes"))
	system.Eventually(t, patience, func() (bool, string) { // it is brought back a moment before what did so is recorded
		h := r.host(t)
		return !h.Suspended && !h.Trial.At.Equal(tried.At), "no new trial brought it back"
	})

	r.builds(t)
	require.True(t, r.host(t).Suspended, "on probation one failure is too many")
	r.holdTrials(t)
	refused := r.builds(t).Fault.Message
	require.Equal(t, "No valid host was found. Of 1 hosts, ComputeFilter removed 1: "+name+
		" (not ready: 4 builds in a row failed on it; `slipway host show "+name+"` says how).", refused)
	shown, _, code := r.Slipway(t, "host", "show", name)
	require.Zero(t, code)
	require.Contains(t, shown, "4 builds in a row failed on it, the last at StartDomain: ")
	listed, _, code := r.Slipway(t, "host", "list")
	require.Zero(t, code)
	require.Contains(t, listed, "not ready")

	require.NoError(t, r.Faults.Clear())
	_, errs, code := r.Slipway(t, "host", "enable", name)
	require.Zero(t, code, errs)
	require.Zero(t, r.host(t).BuildFailures, "an operator vouches for it")
	require.Equal(t, "ACTIVE", r.builds(t).Status)
}

// holdTrials keeps the host suspended for longer than this test takes.
func (r *rig) holdTrials(t *testing.T) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), r.DSN)
	require.NoError(t, err)
	defer db.Close(t.Context())
	done, err := db.Exec(t.Context(), `UPDATE hosts SET trial_due_at = now() + interval '1 day' WHERE suspended`)
	require.NoError(t, err)
	require.EqualValues(t, 1, done.RowsAffected())
}
