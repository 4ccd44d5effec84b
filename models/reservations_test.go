package models

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// admission asks for servers of one vCPU and 512 MiB.
func (w *world) admission(name string, least, most int, l Limits) Admission {
	v, action := w.server(name)
	r := Reservation{ServerID: v.ID, ID: "r-" + v.ID[:8], ProjectID: "p1", UserID: "u1", MinCount: least, MaxCount: most}
	return Admission{
		Reservation: r, Server: v, Action: action, Limits: l,
		Claim: Claim{Instances: 1, Cores: 1, RAMMiB: 512},
		Row: func(i, of int) (id, rowName, hostname string) {
			if i == 0 {
				return v.ID, fmt.Sprintf("%s-1-of-%d", name, of), name + "-1"
			}
			return uuid.NewSHA1(uuid.MustParse(v.ID), fmt.Append(nil, i)).String(), fmt.Sprintf("%s-%d-of-%d", name, i+1, of), fmt.Sprintf("%s-%d", name, i+1)
		},
	}
}

func (w *world) ofReservation(t *testing.T, id string) []Server {
	t.Helper()
	all, err := w.ListServers(context.Background(), ServerFilter{ReservationID: id, Sort: []Sort{{Key: "launch_index"}}})
	require.NoError(t, err)
	return all
}

func TestWhatAServerWasAskedForIsKeptWhetherItCameAloneOrWithOthers(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	ask := func(v *Server) {
		v.AccessIPv4, v.AccessIPv6, v.AutoDiskConfig = "192.0.2.7", "2001:db8::7", true
		v.RootDeviceName, v.KernelID, v.RamdiskID = "/dev/sda", "k", "r"
		v.TrustedCertificates = []string{"c2", "c1"}
	}
	alone, action := w.server("alone")
	ask(&alone)
	require.NoError(t, w.RecordServer(ctx, alone, action))
	several := w.admission("web", 2, 2, Limits{Instances: -1, Cores: -1, RAMMiB: -1})
	ask(&several.Server)
	_, err := w.AdmitServers(ctx, several)
	require.NoError(t, err)

	for _, id := range []string{alone.ID, several.Server.ID} {
		got, err := w.Server(ctx, id)
		require.NoError(t, err)
		var kept Server
		kept.AccessIPv4, kept.AccessIPv6, kept.AutoDiskConfig = got.AccessIPv4, got.AccessIPv6, got.AutoDiskConfig
		kept.RootDeviceName, kept.KernelID, kept.RamdiskID = got.RootDeviceName, got.KernelID, got.RamdiskID
		kept.TrustedCertificates = got.TrustedCertificates
		var asked Server
		ask(&asked)
		require.Equal(t, asked, kept)
	}
}

func TestAReservationAdmitsAsManyServersAsFitOrNone(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.admission("web", 2, 9, Limits{Instances: 100, Cores: 5, RAMMiB: -1})
	n, err := w.AdmitServers(ctx, a)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	once := w.snapshot(t)
	n, err = w.AdmitServers(ctx, a)
	require.NoError(t, err)
	require.Equal(t, 5, n, "the same again")
	require.Equal(t, once, w.snapshot(t))

	servers := w.ofReservation(t, a.Reservation.ID)
	require.Len(t, servers, 5)
	for i, v := range servers {
		require.Equal(t, i, v.LaunchIndex)
		require.Equal(t, fmt.Sprintf("web-%d-of-5", i+1), v.Name)
		require.Equal(t, fmt.Sprintf("web-%d", i+1), v.Hostname)
		require.Equal(t, lifecycle.Building, v.VMState)
		require.Equal(t, lifecycle.Scheduling, *v.TaskState)
		require.Equal(t, map[string]string{"role": "web"}, v.Metadata)
		require.Equal(t, []string{"blue"}, v.Tags)
		require.Equal(t, a.Server.Flavor, v.Flavor)
		action, err := w.Action(ctx, v.ID, a.Action.RequestID)
		require.NoError(t, err)
		require.Equal(t, "create", action.Action)
		require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: v.ID, ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, Limits{0, 0, 0}), "its build finds the claim")
		row, create := a.Server, a.Action
		row.ID, create.ServerID = v.ID, v.ID
		require.NoError(t, w.RecordServer(ctx, row, create), "its build finds the row")
	}
	require.Equal(t, once, w.snapshot(t))
	require.Equal(t, a.Reservation.ServerID, servers[0].ID)
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, Usage{Instances: 5, Cores: 5, RAMMiB: 5 * 512}, used)

	for name, c := range map[string]struct {
		least, most int
		limits      Limits
		text        string
	}{
		"exactly so many": {2, 2, Limits{6, -1, -1}, "Quota exceeded for instances: Requested 2, but already used 5 of 6 instances"},
		"a range":         {2, 4, Limits{6, 8, -1}, "Quota exceeded for cores, instances: Requested 4, 2-4, but already used 5, 5 of 8, 6 cores, instances"},
		"memory":          {3, 3, Limits{-1, -1, 7 * 512}, "Quota exceeded for ram: Requested 1536, but already used 2560 of 3584 ram"},
		"nothing is left": {1, 4, Limits{5, -1, -1}, "Quota exceeded for instances: Requested 1-4, but already used 5 of 5 instances"},
		"less than used":  {1, 4, Limits{3, -1, -1}, "Quota exceeded for instances: Requested 1-4, but already used 5 of 3 instances"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.AdmitServers(ctx, w.admission("late", c.least, c.most, c.limits))
			requireFault(t, err, fault.OverQuota, c.text)
			require.Equal(t, once, w.snapshot(t), "a refused one leaves nothing")
		})
	}

	other := a
	other.Action.RequestID = "req-other"
	_, err = w.AdmitServers(ctx, other)
	requireFault(t, err, fault.Conflict, "Servers of this request exist already.")
	single, create := w.server("single")
	require.NoError(t, w.RecordServer(ctx, single, create))
	over := w.admission("over", 1, 3, Limits{-1, -1, -1})
	over.Reservation.ServerID = single.ID
	over.Row = func(i, _ int) (string, string, string) {
		return []string{single.ID, uuid.NewString(), uuid.NewString()}[i], "over", "over"
	}
	before := w.snapshot(t)
	_, err = w.AdmitServers(ctx, over)
	requireFault(t, err, fault.Conflict, "Servers of this request exist already.")
	require.Equal(t, before, w.snapshot(t))

	strange := w.admission("x", 1, 2, Limits{-1, -1, -1})
	strange.Reservation.ProjectID = "gone"
	_, err = w.AdmitServers(ctx, strange)
	requireFault(t, err, fault.NotFound, "Could not find project: gone.")
	noImage := w.admission("x", 1, 2, Limits{-1, -1, -1})
	noImage.Server.ImageID = "gone"
	_, err = w.AdmitServers(ctx, noImage)
	requireFault(t, err, fault.NotFound, "No image found with ID gone")
	require.Equal(t, before, w.snapshot(t))
}

func TestReservationsAtOnceAdmitExactlyTheQuota(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	const limit = 70
	l := Limits{Instances: limit, Cores: -1, RAMMiB: -1}
	got := make([]int, 8)
	singles := 0
	errs := atOnce(len(got)+20, func(i int) error {
		if i >= len(got) { // single servers compete with them
			return w.ClaimQuota(ctx, Claim{ServerID: uuid.NewString(), ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, l)
		}
		n, err := w.AdmitServers(ctx, w.admission(fmt.Sprint("web", i), 1, 25, l))
		got[i] = n
		return err
	})
	sum := 0
	for i, err := range errs {
		if i >= len(got) && err == nil {
			singles++
		}
		if err != nil {
			require.Equal(t, fault.OverQuota, fault.KindOf(err), "%v", err)
		}
	}
	for _, n := range got {
		sum += n
	}
	require.Equal(t, limit, sum+singles, "%v and %d single ones", got, singles)
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, limit, used.Instances)
	servers, err := w.ListServers(ctx, ServerFilter{})
	require.NoError(t, err)
	require.Len(t, servers, sum)
}

func TestOneReservationAdmittedByManyWorkersAtOnceIsOne(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.admission("web", 5, 5, Limits{Instances: 5, Cores: -1, RAMMiB: -1})
	for _, err := range atOnce(8, func(int) error {
		n, err := w.AdmitServers(ctx, a)
		if err == nil && n != 5 {
			return fmt.Errorf("admitted %d", n)
		}
		return err
	}) {
		require.NoError(t, err)
	}
	require.Len(t, w.ofReservation(t, a.Reservation.ID), 5)
}

func TestDroppedServersFailAndGiveTheirQuotaBackUnlessSomethingElseHasThem(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 40, 40960, 400)
	f := ServerFault{Code: 500, Message: "The build was not started."}
	require.NoError(t, w.DropServers(ctx, []string{uuid.NewString()}, "req-x", f), "it never happened")

	a := w.admission("web", 6, 6, Limits{-1, -1, -1})
	_, err := w.AdmitServers(ctx, a)
	require.NoError(t, err)
	servers := w.ofReservation(t, a.Reservation.ID)
	ids := make([]string, len(servers))
	for i, v := range servers {
		ids[i] = v.ID
	}
	running, deleting, deleted := ids[1], ids[2], ids[3]
	require.NoError(t, w.Place(ctx, Placement{ServerID: running, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
	_, err = w.MarkServerDeleting(ctx, deleting, InstanceAction{RequestID: "req-d", Action: "delete", UserID: "u1", ProjectID: "p1"})
	require.NoError(t, err)
	require.NoError(t, w.RemoveServer(ctx, deleted, "", nil, now()))
	require.NoError(t, w.ReleaseClaim(ctx, deleted))

	before := w.snapshot(t)
	require.NoError(t, w.DropServers(ctx, ids, "req-another", f))
	require.Equal(t, before, w.snapshot(t), "another request's")

	require.NoError(t, w.DropServers(ctx, ids, a.Action.RequestID, f))
	once := w.snapshot(t)
	require.NoError(t, w.DropServers(ctx, ids, a.Action.RequestID, f))
	require.Equal(t, once, w.snapshot(t), "again")
	for i, want := range []lifecycle.VMState{lifecycle.Error, lifecycle.Building, lifecycle.Building, lifecycle.Deleted, lifecycle.Error, lifecycle.Error} {
		v, err := w.ServerEvenDeleted(ctx, ids[i])
		require.NoError(t, err)
		require.Equal(t, want, v.VMState, i)
		if want == lifecycle.Error {
			require.Equal(t, f.Message, v.Fault.Message)
			action, err := w.Action(ctx, v.ID, a.Action.RequestID)
			require.NoError(t, err)
			require.Equal(t, "Error", *action.Message)
		}
	}
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, 2, used.Instances, "of the one that is built and the one that is being deleted")

	p, err := w.Reservation(ctx, a.Reservation.ID, "p1")
	require.NoError(t, err)
	require.Equal(t, []int{6, 2, 0, 3, 1}, []int{p.Admitted, p.Building, p.Active, p.Failed, p.Deleted})
}

func TestAClaimIsReleasedOnlyForTheRequestWhoseServerItIs(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	a := w.admission("web", 2, 2, Limits{-1, -1, -1})
	_, err := w.AdmitServers(ctx, a)
	require.NoError(t, err)
	first := a.Reservation.ServerID
	before := w.snapshot(t)
	require.NoError(t, w.ReleaseClaimOf(ctx, first, "req-another"))
	require.Equal(t, before, w.snapshot(t))
	require.NoError(t, w.ReleaseClaimOf(ctx, first, a.Action.RequestID))
	used, err := w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, 1, used.Instances)

	unrecorded := uuid.NewString()
	require.NoError(t, w.ClaimQuota(ctx, Claim{ServerID: unrecorded, ProjectID: "p1", Instances: 1}, Limits{-1, -1, -1}))
	require.NoError(t, w.ReleaseClaimOf(ctx, unrecorded, "req-1"))
	used, err = w.QuotaUsage(ctx, "p1")
	require.NoError(t, err)
	require.Equal(t, 1, used.Instances)
}

func TestReservationsAreCountedAndListedForTheirProject(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	_, err := w.EnsureProject(ctx, Project{ID: "p2", Name: "other", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	noon := now().Add(-time.Hour)
	var ids []string
	for i := range 3 {
		a := w.admission(fmt.Sprint("web", i), 1, 2+i, Limits{-1, -1, -1})
		a.Server.CreatedAt = noon.Add(time.Duration(i) * time.Minute)
		if i == 2 {
			a.Reservation.ProjectID, a.Server.ProjectID, a.Action.ProjectID = "p2", "p2", "p2"
		}
		_, err := w.AdmitServers(ctx, a)
		require.NoError(t, err)
		ids = append(ids, a.Reservation.ID)
	}
	single, create := w.server("single")
	single.ReservationID = "r-single00"
	require.NoError(t, w.RecordServer(ctx, single, create))

	list := func(f ReservationFilter) []string {
		t.Helper()
		all, err := w.ListReservations(ctx, f)
		require.NoError(t, err)
		var found []string
		for _, r := range all {
			require.Equal(t, r.MaxCount, r.Admitted)
			require.Equal(t, r.MaxCount, r.Building)
			found = append(found, r.ID)
		}
		return found
	}
	require.Equal(t, []string{ids[2], ids[1], ids[0]}, list(ReservationFilter{}))
	require.Equal(t, []string{ids[1], ids[0]}, list(ReservationFilter{ProjectID: "p1"}))
	require.Equal(t, []string{ids[1]}, list(ReservationFilter{Limit: 1, Marker: ids[2]}))
	require.Empty(t, list(ReservationFilter{ProjectID: "p3"}))
	_, err = w.ListReservations(ctx, ReservationFilter{ProjectID: "p1", Marker: ids[2]})
	requireFault(t, err, fault.Invalid, "marker ["+ids[2]+"] not found")

	r, err := w.Reservation(ctx, ids[1], "p1")
	require.NoError(t, err)
	require.Equal(t, []any{1, 3, 3, "u1", noon.Add(time.Minute)}, []any{r.MinCount, r.MaxCount, r.Admitted, r.UserID, r.CreatedAt})
	alone, err := w.Reservation(ctx, "r-single00", "p1")
	require.NoError(t, err)
	require.Equal(t, []any{1, 1, 1, single.ID, "u1", "p1"}, []any{alone.MinCount, alone.MaxCount, alone.Building, alone.ServerID, alone.UserID, alone.ProjectID})
	_, err = w.Reservation(ctx, ids[2], "p1")
	requireFault(t, err, fault.NotFound, "Reservation "+ids[2]+" could not be found.")
	_, err = w.Reservation(ctx, ids[2], "")
	require.NoError(t, err)
	_, err = w.Reservation(ctx, "r-nothing0", "")
	requireFault(t, err, fault.NotFound, "Reservation r-nothing0 could not be found.")
}
