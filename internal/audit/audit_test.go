package audit

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

const (
	id  = "3f0e6a6e-0c39-4c0e-9f3e-1b6a0f6a1a01"
	sha = "0f0e0d0c0b0a09080706050403020100f0e0d0c0b0a09080706050403020100f0e0d0c0b0a09080706050403020100f0e0d0c0b0a09080706050403020100aaaaaa"
)

// running is a world in which one server runs on hv1 and everything agrees.
func running() World {
	return World{
		Records: Records{
			Servers:     []Server{{ID: id, ProjectID: "p1", VMState: lifecycle.Active, Launched: true, Host: "hv1", NICs: 2}},
			Claims:      []Claim{{id, "p1"}},
			Allocations: []Allocation{{id, "hv1"}},
			Ports:       []Port{{"port0", id, 0, true}, {"port1", id, 1, false}},
			Images:      map[string]contract.Image{},
		},
		Inventories: []contract.Inventory{
			{Hostname: "hv1", Things: []contract.Instance{{ID: id, Domain: "running", Folder: true, Disk: true}}},
			{Hostname: "hv2"},
		},
	}
}

// gone is the same world after the server's row has become another and everything else has stayed.
func gone(change func(*Server)) func(*World) {
	return func(w *World) { change(&w.Records.Servers[0]) }
}

// moved has the server be resized and on hv2, with its guest of before on hv1, off.
func moved(change func(kept *contract.Instance)) func(*World) {
	return func(w *World) {
		w.Records.Servers[0].VMState, w.Records.Servers[0].Host, w.Records.Servers[0].Kept = lifecycle.Resized, "hv2", "hv1"
		w.Records.Allocations = append(w.Records.Allocations, Allocation{id, "hv2"})
		w.Inventories[1].Things = slices.Clone(w.Inventories[0].Things)
		w.Inventories[0].Things[0].Domain = "shutoff"
		if change != nil {
			change(&w.Inventories[0].Things[0])
		}
	}
}

func kindsOf(found []Finding) []string {
	var all []string
	for _, f := range found {
		all = append(all, string(f.Kind)+" "+f.Host)
	}
	return all
}

func TestTheNetworkEngineIsToldOfOnceAndWhatItRefusesEach(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC)
	require.Empty(t, OfNetworks(nil))
	found := OfNetworks([]NetworkChange{{Kind: "port", ID: "p1", Since: at.Add(time.Hour)}, {Kind: "port", ID: "p2", Since: at}, {Kind: "network", ID: "n1", Since: at, Refused: "no"}})
	require.Len(t, found, 2)
	texts := map[Kind]string{}
	for _, f := range found {
		texts[f.Kind] = f.Text
	}
	require.Equal(t, "the network engine has network n1 otherwise than the database since 2026-03-04 05:06 UTC: no", texts[NetworkNotApplied])
	require.Contains(t, texts[NetworkEngineBehind], "2 changes of networks or more wait for their engine since 2026-03-04 05:06 UTC")
}

func TestWhatDoesNotAgreeIsFound(t *testing.T) {
	leftOnHV1 := []string{
		"allocation-without-server hv1", "claim-without-server ", "domain-without-server hv1", "folder-without-server hv1",
		"port-without-server ", "port-without-server ",
	}
	thing := func(w *World) *contract.Instance { return &w.Inventories[0].Things[0] }
	for name, c := range map[string]struct {
		change func(*World)
		want   []string
	}{
		"everything agrees":              {func(*World) {}, nil},
		"a guest that its user shut off": {func(w *World) { thing(w).Domain = "shutoff" }, nil},
		"a server in ERROR that has run": {gone(func(s *Server) { s.VMState = lifecycle.Error }), nil},

		"its guest of before is kept where it was": {moved(nil), nil},
		"its guest of before runs, too":            {moved(func(t *contract.Instance) { t.Domain, t.Guest = "running", "running" }), []string{"guest-not-as-server hv1"}},
		"its guest of before is gone":              {moved(func(t *contract.Instance) { *t = contract.Instance{} }), []string{"server-without-domain hv1"}},
		"the disk of before is gone":               {moved(func(t *contract.Instance) { t.Disk = false }), []string{"server-without-domain hv1"}},
		"what it has left is still there": {func(w *World) {
			moved(nil)(w)
			w.Records.Servers[0].VMState, w.Records.Servers[0].Kept = lifecycle.Active, ""
		}, []string{"allocation-without-server hv1", "domain-without-server hv1", "folder-without-server hv1"}},

		"the server is deleted":       {gone(func(s *Server) { s.VMState, s.Host = lifecycle.Deleted, "" }), leftOnHV1},
		"its build failed":            {gone(func(s *Server) { s.VMState, s.Host, s.Launched = lifecycle.Error, "", false }), leftOnHV1},
		"there is no row":             {func(w *World) { w.Records.Servers = nil }, leftOnHV1},
		"it is being deleted":         {gone(func(s *Server) { s.TaskState = "deleting" }), []string{"delete-without-workflow hv1"}},
		"it is being built":           {gone(func(s *Server) { s.VMState, s.Launched = lifecycle.Building, false }), []string{"build-without-workflow hv1"}},
		"its build is deleted":        {gone(func(s *Server) { s.VMState, s.TaskState = lifecycle.Building, "deleting" }), []string{"delete-without-workflow hv1"}},
		"in ERROR, and being deleted": {gone(func(s *Server) { s.VMState, s.TaskState = lifecycle.Error, "deleting" }), []string{"delete-without-workflow hv1"}},

		"its spec is kept": {func(w *World) { w.Records.Specs = []string{id} }, nil},
		"its spec is kept, and its build failed": {func(w *World) {
			w.Records.Specs = []string{id}
			s := &w.Records.Servers[0]
			s.VMState, s.Host, s.Launched = lifecycle.Error, "", false
		}, leftOnHV1},
		"its spec is left": {func(w *World) {
			w.Records.Specs = []string{id}
			w.Records.Servers[0].VMState, w.Records.Servers[0].Host = lifecycle.Deleted, ""
		}, append(slices.Clone(leftOnHV1), "spec-without-server ")},

		"the database was restored": {func(w *World) { w.Records.Restore.At = time.Now() }, []string{"database-restored "}},
		"and that is acknowledged":  {func(w *World) { w.Records.Restore = Restore{At: time.Now(), Acknowledged: true} }, nil},

		"it runs on another host": {gone(func(s *Server) { s.Host = "hv2" }), []string{
			"allocation-without-server hv1", "domain-without-server hv1", "folder-without-server hv1",
			"server-without-allocation hv2", "server-without-domain hv2", "server-without-folder hv2",
		}},
		"it is placed nowhere": {gone(func(s *Server) { s.Host = "" }), []string{
			"allocation-without-server hv1", "domain-without-server hv1", "folder-without-server hv1", "server-without-allocation ",
		}},
		"it is shelved and has left its host": {func(w *World) {
			w.Records.Servers[0].VMState, w.Records.Servers[0].Host = lifecycle.ShelvedOffloaded, ""
			w.Records.Allocations, w.Inventories[0].Things = nil, nil
		}, nil},
		"it has left its host, and something is left there": {gone(func(s *Server) { s.VMState, s.Host = lifecycle.ShelvedOffloaded, "" }), []string{
			"allocation-without-server hv1", "domain-without-server hv1", "folder-without-server hv1",
		}},
		"it has left its host, and claims nothing": {func(w *World) {
			w.Records.Servers[0].VMState, w.Records.Servers[0].Host = lifecycle.ShelvedOffloaded, ""
			w.Records.Claims, w.Records.Allocations, w.Inventories[0].Things = nil, nil, nil
		}, []string{"server-without-claim "}},
		"room on a second host": {func(w *World) { w.Records.Allocations = append(w.Records.Allocations, Allocation{id, "hv2"}) }, []string{"allocation-without-server hv2"}},
		"a domain on a second host": {func(w *World) {
			w.Inventories[1].Things = []contract.Instance{{ID: id, Domain: "shutoff"}}
		}, []string{"domain-without-server hv2"}},
		"a folder on a second host": {func(w *World) {
			w.Inventories[1].Things = []contract.Instance{{ID: id, Folder: true}}
		}, []string{"folder-without-server hv2"}},
		"another installation's domain on a second host": {func(w *World) {
			w.Inventories[1].Things = []contract.Instance{{ID: "00000000-0000-4000-8000-000000000000", Domain: "running", Elsewhere: true}}
		}, nil},
		"the same hypervisor seen through a second host": {func(w *World) {
			w.Inventories[1].Things = []contract.Instance{{ID: id, Domain: "running", Elsewhere: true}}
		}, nil},

		"no claim":         {func(w *World) { w.Records.Claims = nil }, []string{"server-without-claim hv1"}},
		"no room":          {func(w *World) { w.Records.Allocations = nil }, []string{"server-without-allocation hv1"}},
		"no port in front": {func(w *World) { w.Records.Ports, w.Records.Servers[0].NICs = w.Records.Ports[1:], 0 }, []string{"server-without-port hv1"}},
		"no port behind":   {func(w *World) { w.Records.Ports = w.Records.Ports[:1] }, []string{"server-without-port hv1"}},
		"no port, and none was made": {func(w *World) {
			w.Records.Ports, w.Records.Servers[0].NICs = nil, 0
		}, nil},
		"a user's port that is not bound": {func(w *World) { w.Records.Servers[0].NICs, w.Records.Ports = 1, w.Records.Ports[:1] }, nil},

		"no domain": {func(w *World) { thing(w).Domain = "" }, []string{"server-without-domain hv1"}},
		"a domain of another installation in its place": {func(w *World) { thing(w).Elsewhere = true }, []string{"server-without-domain hv1"}},
		"no folder":                    {func(w *World) { thing(w).Folder, thing(w).Disk = false, false }, []string{"domain-without-folder hv1"}},
		"neither":                      {func(w *World) { w.Inventories[0].Things = nil }, []string{"server-without-domain hv1", "server-without-folder hv1"}},
		"no disk":                      {func(w *World) { thing(w).Disk = false }, []string{"server-without-disk hv1"}},
		"a disk that cannot be read":   {func(w *World) { thing(w).Broken = "no magic" }, []string{"disk-unreadable hv1"}},
		"a disk without its image":     {func(w *World) { thing(w).Missing = []string{sha} }, []string{"disk-without-image hv1"}},
		"a download that broke off":    {func(w *World) { w.Inventories[1].Partials = []contract.PartialDownload{{SHA512: sha}} }, []string{"partial-download hv2"}},
		"a host that does not answer":  {func(w *World) { w.Inventories, w.Unasked = w.Inventories[1:], []MissedHost{{"hv1", "silence"}} }, []string{"host-not-looked-at hv1"}},
		"another page of the same one": {func(w *World) { w.Inventories[0].Things, w.Inventories[0].After = nil, id }, nil},
		"another part of the same one": {func(w *World) { w.Inventories[0].Things, w.Inventories[0].Only = nil, true }, nil},
		"the page before its things": {func(w *World) {
			w.Inventories[0].Things, w.Inventories[0].Through = nil, "3f0e6a6e-0c39-4c0e-9f3e-1b6a0f6a1a00"
		}, nil},
		"the page with its things": {func(w *World) {
			w.Inventories[0].Things, w.Inventories[0].Through = nil, id
		}, []string{"server-without-domain hv1", "server-without-folder hv1"}},
		"a guest of which nothing is told": {guestOf(lifecycle.Suspended, ""), nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := running()
			c.change(&w)
			found := Compare(w)
			require.Equal(t, c.want, kindsOf(found))
			for _, f := range found {
				require.Equal(t, ID(f.Kind, f.Object), f.ID)
				require.NotEmpty(t, f.Text)
			}
			require.Equal(t, found, Compare(w), "the same world has the same findings, with the same ids")
		})
	}
}

// guestOf makes the server one in a state whose guest is told to be so.
func guestOf(state lifecycle.VMState, guest string) func(*World) {
	return func(w *World) {
		w.Records.Servers[0].VMState, w.Inventories[0].Things[0].Guest = state, guest
	}
}

func TestAGuestThatIsNotWhatItsServerIsIsFound(t *testing.T) {
	// What a guest may be: down by itself it may be anywhere that it ran or stood, and its host tells.
	may := map[lifecycle.VMState][]string{
		lifecycle.Active: {"running", "shutoff", "crashed"}, lifecycle.Paused: {"paused", "shutoff", "crashed"}, lifecycle.Suspended: {"saved"},
		lifecycle.Stopped: {"shutoff", "crashed"}, lifecycle.Rescued: {"running", "shutoff", "crashed"}, lifecycle.SoftDeleted: {"shutoff", "crashed", "saved"},
		lifecycle.Resized: {"running", "shutoff", "crashed"}, lifecycle.Shelved: {"shutoff", "crashed", "saved"},
	}
	for _, state := range lifecycle.WasBuilt() {
		for _, guest := range []string{"running", "paused", "shutoff", "crashed", "saved"} {
			w := running()
			guestOf(state, guest)(&w)
			found := Compare(w)
			if slices.Contains(may[state], guest) {
				require.Empty(t, found, "%s: %s", state, guest)
				continue
			}
			require.Equal(t, []string{"guest-not-as-server hv1"}, kindsOf(found), "%s: %s", state, guest)
			require.Equal(t, ID(GuestNotAsServer, id+"@hv1"), found[0].ID)
			require.Contains(t, found[0].Text, "server "+id+" is "+lifecycle.Status(state, "")+" on hv1, and its guest ")
			require.Empty(t, found[0].Repair, "it is the server's owner who says which of the two is right")
		}
	}
}

func TestEveryKindIsFoundByATestAbove(t *testing.T) {
	require.Len(t, Kinds(), 27, "a new kind needs a world in TestWhatDoesNotAgreeIsFound or TestWhatNoImageHasIsFoundInTheStores, and a row in docs/operations.md")
	seen := map[string]bool{}
	for _, k := range Kinds() {
		require.False(t, seen[string(k)])
		seen[string(k)] = true
	}
}

func TestWhatNoImageHasIsFoundInTheStores(t *testing.T) {
	since := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	aside := Orphan{ID: id, Store: "local", Bytes: 5 << 20, Since: since, Until: since.Add(7 * 24 * time.Hour)}
	few := []Orphan{{ID: "a", Store: "cold"}, {ID: "b", Store: "cold"}, {ID: "c", Store: "local"}}
	require.Empty(t, OfStores(few, 2), "what is about to be set aside")
	found := OfStores(append(few, aside, Orphan{ID: "d", Store: "cold"}), 2)
	require.Len(t, found, 2)
	require.Equal(t, BytesWithoutImage, found[0].Kind)
	require.Equal(t, id+"@local", found[0].Object)
	require.Contains(t, found[0].Text, "since 2030-01-02 03:04 UTC and until 2030-01-09 03:04 UTC")
	require.Equal(t, ManyWithoutImage, found[1].Kind)
	require.Equal(t, "cold", found[1].Object)
	require.Contains(t, found[1].Text, "3 images that the database does not know")
	for _, f := range append(found, StoresMissed("silence")) {
		require.Equal(t, ID(f.Kind, f.Object), f.ID)
		require.Empty(t, f.Repair, "only an operator who names them")
	}
}

// planFor plans the repair of all that is found about the server.
func planFor(w World, unasked ...string) (contract.RepairPlan, []Finding) {
	found := Compare(w)
	in := contract.PlanRepairInput{RepairServerInput: contract.RepairServerInput{ServerID: id}, Unasked: unasked}
	for _, f := range found {
		in.Findings = append(in.Findings, contract.RepairFinding{ID: f.ID, Host: f.Host})
	}
	for _, inv := range w.Inventories {
		if !slices.Contains(unasked, inv.Hostname) {
			in.Inventories = append(in.Inventories, inv)
		}
	}
	return Plan(w.Records, in), found
}

func stepsOf(p contract.RepairPlan) []string {
	var all []string
	for _, s := range p.Steps {
		all = append(all, s.Activity+" "+s.Host)
	}
	return all
}

func TestARepairGivesBackWhatIsLeftAndThePortLast(t *testing.T) {
	w := running()
	w.Records.Servers[0].VMState, w.Records.Servers[0].Host = lifecycle.Deleted, ""
	plan, _ := planFor(w)
	require.Empty(t, plan.Outcomes)
	require.Equal(t, []string{
		"DestroyDomain hv1", "UndefineDomain hv1", "RemoveDisk hv1", "RemoveConfigDrive hv1",
		"ReleaseAllocation ", "ReleaseQuota ", "ReleaseNetwork ", "ReleaseNetwork ",
	}, stepsOf(plan))
	require.Equal(t, &contract.Undo{ServerID: id, Hostname: "hv1"}, plan.Steps[4].Undo)
	require.Equal(t, &contract.Undo{ServerID: id, Index: 1}, plan.Steps[7].Undo)
}

func TestARepairLeavesThePortAndTheRoomWhileAHostDoesNotAnswer(t *testing.T) {
	w := running()
	w.Records.Servers[0].VMState, w.Records.Servers[0].Host = lifecycle.Deleted, ""
	plan, found := planFor(w, "hv1")
	require.Equal(t, []string{"ReleaseQuota "}, stepsOf(plan))
	require.Len(t, plan.Outcomes, len(found)-1)
	for _, o := range plan.Outcomes {
		require.Equal(t, contract.OutcomeLeft, o.Outcome, o.Text)
	}
}

func TestARepairRepairsNothingThatWasNotChosen(t *testing.T) {
	w := running()
	w.Records.Servers[0].VMState, w.Records.Servers[0].Host = lifecycle.Deleted, ""
	plan := Plan(w.Records, contract.PlanRepairInput{
		RepairServerInput: contract.RepairServerInput{ServerID: id, Findings: []contract.RepairFinding{
			{ID: ID(ClaimWithoutServer, id)}, {ID: ID(PortWithoutServer, "port0")}, {ID: ID(ServerWithoutClaim, id)},
		}},
		Inventories: w.Inventories,
	})
	require.Equal(t, []string{"ReleaseQuota "}, stepsOf(plan))
	require.Equal(t, []contract.RepairOutcome{
		{FindingID: ID(ServerWithoutClaim, id), Outcome: contract.OutcomeGone, Text: "it is not so any more"},
		{FindingID: ID(PortWithoutServer, "port0"), Outcome: contract.OutcomeLeft, Text: "its address may still be in use on hv1: repair what is left there first"},
	}, plan.Outcomes)
}

func TestWhatTheDatabaseMayBeWrongAboutIsRepairedOnlyByName(t *testing.T) {
	restored := time.Now()
	for name, c := range map[string]struct {
		change func(*World)
		named  []Kind
	}{
		"there is no row": {func(w *World) { w.Records.Servers = nil }, []Kind{AllocationWithoutServer, DomainWithoutServer, FolderWithoutServer}},
		"a build that failed before the restore was noticed": {
			gone(func(s *Server) { s.VMState, s.Host, s.Launched = lifecycle.Error, "", false }), []Kind{AllocationWithoutServer, DomainWithoutServer, FolderWithoutServer},
		},
		"a build that was lost before it": {gone(func(s *Server) { s.VMState, s.Launched = lifecycle.Building, false }), []Kind{BuildWithoutWorkflow}},
		"a build that was lost since": {gone(func(s *Server) {
			s.VMState, s.Launched, s.CreatedAt = lifecycle.Building, false, restored.Add(time.Second)
		}), nil},
		"the server is deleted": {gone(func(s *Server) { s.VMState, s.Host = lifecycle.Deleted, "" }), nil},
		"it is being deleted":   {gone(func(s *Server) { s.TaskState = "deleting" }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, restore := range []Restore{{}, {At: restored}, {At: restored, Acknowledged: true}} {
				w := running()
				w.Records.Restore = restore
				c.change(&w)
				plan, found := planFor(w)
				var named []Kind
				for _, f := range found {
					if f.Named {
						require.Contains(t, f.Repair, "only if it is named")
						named = append(named, f.Kind)
					}
				}
				want := c.named
				if restore.At.IsZero() && len(w.Records.Servers) > 0 {
					want = nil // the database is what it always was
				}
				require.Equal(t, want, named)
				var left int
				for _, o := range plan.Outcomes {
					if o.Outcome == contract.OutcomeLeft && strings.Contains(o.Text, "slipway installation acknowledge") {
						left++
					}
				}
				if !restore.At.IsZero() && !restore.Acknowledged {
					require.Equal(t, len(want), left, "not even by name before somebody has acknowledged the restore")
				} else {
					require.Zero(t, left)
				}
			}
		})
	}
}

func TestARepairNeverTouchesAServerThatIsWhereItBelongs(t *testing.T) {
	w := running()
	ids := []contract.RepairFinding{}
	for _, k := range Kinds() {
		for _, object := range []string{id, id + "@hv1", id + "@hv2", "port0", "port1"} {
			ids = append(ids, contract.RepairFinding{ID: ID(k, object), Host: "hv1"})
		}
	}
	plan := Plan(w.Records, contract.PlanRepairInput{
		RepairServerInput: contract.RepairServerInput{ServerID: id, Findings: ids}, Inventories: w.Inventories,
	})
	require.Empty(t, plan.Steps)
	require.Nil(t, plan.Delete)
	for _, o := range plan.Outcomes {
		require.Equal(t, contract.OutcomeGone, o.Outcome)
	}
}

func TestARepairHoldsAgainWhatARunningServerUses(t *testing.T) {
	w := running()
	w.Records.Claims, w.Records.Allocations = nil, nil
	w.Records.Servers[0].VCPUs, w.Records.Servers[0].RAMMiB = 2, 512
	w.Records.Servers[0].Resources = contract.Resources{VCPUs: 2, RAMMiB: 512, DiskGiB: 5}
	plan, _ := planFor(w)
	require.Equal(t, []string{"RestoreAllocation ", "ClaimQuota "}, stepsOf(plan))
	require.Equal(t, &contract.RoomInput{ServerID: id, Hostname: "hv1", Resources: contract.Resources{VCPUs: 2, RAMMiB: 512, DiskGiB: 5}}, plan.Steps[0].Room)
	require.Equal(t, contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}, plan.Steps[1].Claim.Limits)
}

func TestARepairFetchesAnImageThatTheStoreStillHas(t *testing.T) {
	w := running()
	w.Inventories[0].Things[0].Missing = []string{sha}
	plan, found := planFor(w)
	require.Empty(t, plan.Steps)
	require.Equal(t, []contract.RepairOutcome{{FindingID: found[0].ID, Outcome: contract.OutcomeManual, Text: found[0].Text}}, plan.Outcomes)

	w.Records.Images[sha] = contract.Image{ID: "i1", SHA512: sha}
	plan, _ = planFor(w)
	require.Equal(t, []string{"FetchImage hv1"}, stepsOf(plan))
	require.Equal(t, []contract.Image{{ID: "i1", SHA512: sha}}, plan.Steps[0].Fetch.Images)
}

func TestARepairEndsALostBuildAsItsUndosWouldHave(t *testing.T) {
	w := running()
	w.Records.Servers[0].VMState, w.Records.Servers[0].Launched, w.Records.Servers[0].RequestID = lifecycle.Building, false, "req-1"
	plan, _ := planFor(w)
	require.Equal(t, []string{
		"DestroyDomain hv1", "UndefineDomain hv1", "RemoveDisk hv1", "RemoveConfigDrive hv1", "ReleaseAllocation ",
		"ReleaseNetwork ", "ReleaseNetwork ", "FailServer ", "ReleaseQuota ",
	}, stepsOf(plan))
	require.Equal(t, "req-1", plan.Steps[7].Fail.RequestID)

	plan, _ = planFor(w, "hv1")
	require.Empty(t, plan.Steps, "its guest may run there")
	require.Equal(t, contract.OutcomeLeft, plan.Outcomes[0].Outcome)
}

func TestARepairTakesALostDeleteUpAgain(t *testing.T) {
	w := running()
	w.Records.Servers[0].TaskState = "deleting"
	in := contract.PlanRepairInput{RepairServerInput: contract.RepairServerInput{
		ServerID: id, Findings: []contract.RepairFinding{{ID: ID(DeleteWithoutWorkflow, id)}},
		RepairInput: contract.RepairInput{UserID: "ops", RequestID: "req-2", Deadlines: contract.Deadlines{UndoPatience: time.Second}},
	}}
	plan := Plan(w.Records, in)
	require.Empty(t, plan.Steps)
	require.Equal(t, &contract.DeleteInput{ServerID: id, ProjectID: "p1", UserID: "ops", RequestID: "req-2", Deadlines: contract.Deadlines{UndoPatience: time.Second}}, plan.Delete)
	require.Equal(t, []string{ID(DeleteWithoutWorkflow, id)}, plan.For)
}

func TestAGuestThatNobodyKnowsIsSaidToBeAdoptableWhereItsHostHasItsFacts(t *testing.T) {
	const unknown = "99999999-2222-4333-8444-555555555555"
	const adopt = "; `slipway server adopt " + unknown + " --host hv1` makes it one again"
	text := func(facts bool, known ...Server) string {
		found := OfHost(Records{Servers: known}, contract.Inventory{Hostname: "hv1", Things: []contract.Instance{{ID: unknown, Domain: "running", Facts: facts}}})
		require.Len(t, found, 1)
		return found[0].Text
	}
	require.Contains(t, text(true), adopt)
	require.NotContains(t, text(false), adopt)
	require.NotContains(t, text(true, Server{ID: unknown, VMState: lifecycle.Deleted}), adopt, "its user wanted it gone")
}
