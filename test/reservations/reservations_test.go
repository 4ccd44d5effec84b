// Package reservations asks a running system for many servers in one request.
package reservations

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/test/system"
)

const patience = 2 * time.Minute

type rig struct {
	*system.System
	compute *gophercloud.ServiceClient
	image   string
}

func newRig(t *testing.T, quota int) *rig {
	t.Helper()
	s := system.Start(t, system.Options{Hosts: 4, Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"quota": map[string]any{"instances": quota, "cores": -1, "ram_mib": -1},
	}})
	s.Flavor(t, "small", 64)
	return &rig{
		System: s, compute: system.Compute(t, s.Demo()),
		image: system.Upload(t, system.Image(t, s.Demo()), images.CreateOpts{Name: "raw"}, strings.NewReader(strings.Repeat("x", 4096))),
	}
}

// ask requests servers under a key and gives the first one's id.
func (r *rig) ask(t *testing.T, key string, least, most int) (string, error) {
	t.Helper()
	as := *r.compute
	as.MoreHeaders = map[string]string{"Idempotency-Key": key}
	server, err := servers.Create(t.Context(), &as, servers.CreateOpts{
		Name: "many", ImageRef: r.image, FlavorRef: "small", Networks: "auto", Min: least, Max: most,
	}, nil).Extract()
	if err != nil {
		return "", err
	}
	return server.ID, nil
}

type counts struct{ Admitted, Building, Active, Error, Deleted int }

func (r *rig) counts(t *testing.T, first string) counts {
	t.Helper()
	var answer struct{ Reservation counts }
	_, err := r.compute.Request(t.Context(), http.MethodGet, r.APIURL+"/reservations/"+ids.Reservation(first), &gophercloud.RequestOpts{
		JSONResponse: &answer, OkCodes: []int{http.StatusOK},
	})
	require.NoError(t, err)
	return answer.Reservation
}

func (r *rig) become(t *testing.T, first string, want counts) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		have := r.counts(t, first)
		return have == want, fmt.Sprintf("%+v", have)
	})
}

func (r *rig) list(t *testing.T) []servers.Server {
	t.Helper()
	pages, err := servers.List(r.compute, servers.ListOpts{}).AllPages(t.Context())
	require.NoError(t, err)
	all, err := servers.ExtractServers(pages)
	require.NoError(t, err)
	return all
}

func (r *rig) deleteAll(t *testing.T) {
	t.Helper()
	for _, s := range r.list(t) {
		require.NoError(t, servers.Delete(t.Context(), r.compute, s.ID).ExtractErr())
	}
	system.Eventually(t, patience, func() (bool, string) {
		left := len(r.list(t))
		return left == 0, fmt.Sprintf("%d servers are left", left)
	})
}

// same waits until the database holds what it held: an answer comes a moment before the last step's end.
func (r *rig) same(t *testing.T, before map[string][]string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		for table, rows := range r.World(t) {
			if fmt.Sprint(rows) != fmt.Sprint(before[table]) {
				return false, fmt.Sprintf("%s holds %d rows, held %d", table, len(rows), len(before[table]))
			}
		}
		return true, ""
	})
}

func TestEachServerOfARequestBuildsByItself(t *testing.T) {
	r := newRig(t, 60)
	before := r.World(t)

	t.Run("as many as the quota allows, once for a key", func(t *testing.T) {
		key := uuid.NewString()
		first, err := r.ask(t, key, 10, 100)
		require.NoError(t, err)
		again, err := r.ask(t, key, 10, 100)
		require.NoError(t, err)
		require.Equal(t, first, again, "one key, two requests")
		_, err = r.ask(t, key, 10, 99)
		require.True(t, gophercloud.ResponseCodeIs(err, http.StatusConflict), "another body under the key: %v", err)
		_, err = r.ask(t, uuid.NewString(), 2, 2)
		require.True(t, gophercloud.ResponseCodeIs(err, http.StatusForbidden), "the quota is used up: %v", err)

		r.become(t, first, counts{Admitted: 60, Active: 60})
		names := map[string]bool{}
		for _, s := range r.list(t) {
			names[s.Name] = true
		}
		require.Len(t, names, 60)
		require.True(t, names["many-1"] && names["many-60"])
		r.deleteAll(t)
		r.become(t, first, counts{Admitted: 60, Deleted: 60})
		r.same(t, before)
	})

	t.Run("one that fails, or is deleted before its build begins, leaves the others alone", func(t *testing.T) {
		_, err := r.Faults.Set(
			faultinject.Rule{Step: contract.BuildDisk, Mode: faultinject.FailAfter, Times: 3},
			faultinject.Rule{Step: contract.AdmitServers, Mode: faultinject.HoldAfter, ID: "admitted", Times: 1})
		require.NoError(t, err)
		key, asked := uuid.NewString(), make(chan error, 1)
		go func() {
			_, err := r.ask(t, key, 30, 30)
			asked <- err
		}()
		var first string
		system.Eventually(t, patience, func() (bool, string) {
			held, err := r.Faults.Held("admitted")
			if err == nil && len(held) > 0 {
				all := r.list(t)
				if len(all) == 30 {
					for _, s := range all {
						if s.Name == "many-1" {
							first = s.ID
						}
					}
					return true, ""
				}
			}
			return false, fmt.Sprintf("the admission is not held: %v", err)
		})
		// The rows are there, no build has begun: two deletes win.
		for _, i := range []int{7, 20} {
			require.NoError(t, servers.Delete(t.Context(), r.compute, ids.ReservedServer(first, i)).ExtractErr())
		}
		system.Eventually(t, patience, func() (bool, string) {
			c := r.counts(t, first)
			return c.Deleted == 2, fmt.Sprintf("%+v", c)
		})
		require.NoError(t, r.Faults.Release("admitted"))
		require.NoError(t, <-asked)
		r.become(t, first, counts{Admitted: 30, Active: 25, Error: 3, Deleted: 2})
		r.deleteAll(t)
		r.same(t, before)
	})

	t.Run("the worker that starts them dies in the middle", func(t *testing.T) {
		first, err := r.ask(t, uuid.NewString(), 40, 40)
		require.NoError(t, err)
		system.Eventually(t, patience, func() (bool, string) {
			c := r.counts(t, first)
			return c.Active > 0, fmt.Sprintf("%+v", c)
		})
		r.Kill("worker")
		r.become(t, first, counts{Admitted: 40, Active: 40})
		r.deleteAll(t)
		r.same(t, before)
	})
}
