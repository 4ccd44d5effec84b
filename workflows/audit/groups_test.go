package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	tworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// fleet are hosts with guests, of which some do not answer and some have something that looks wrong.
type fleet struct {
	hosts  []string
	guests map[string][]contract.Instance
}

func newFleet(hosts, guests int) fleet {
	f := fleet{guests: map[string][]contract.Instance{}}
	for n := range hosts {
		f.hosts = append(f.hosts, fmt.Sprintf("hv%05d", n))
	}
	for n := range guests {
		host := f.hosts[n%hosts]
		f.guests[host] = append(f.guests[host], contract.Instance{ID: fmt.Sprintf("%08d-0000-4000-8000-000000000000", n), Domain: "running", Folder: true, Disk: true})
	}
	return f
}

func (f fleet) dead(host string) bool { return strings.HasSuffix(host, "7") }

// outcome is what an audit did, and what each run's history took.
type outcome struct {
	seen   map[string]int // looks at guests, by their ids
	looks  map[string]int // by host
	missed []string
	end    contract.AuditEnd
	runs   map[string]*taken
}

// taken is what the engine records of a run: three events for an activity or a child, three for each workflow task, of which
// there is one for each answer at most.
type taken struct{ events, bytes int }

func (o *outcome) of(run string) *taken {
	if o.runs[run] == nil {
		o.runs[run] = &taken{events: 5}
	}
	return o.runs[run]
}

func (f fleet) audit(t *testing.T, prepare func(*testsuite.TestWorkflowEnvironment)) outcome {
	t.Helper()
	env := auditEnv(t)
	env.SetTestTimeout(5 * time.Minute)
	o := outcome{seen: map[string]int{}, looks: map[string]int{}, runs: map[string]*taken{}}
	var mu sync.Mutex
	env.OnActivity(contract.BeginAudit, mock.Anything, mock.Anything).Return(contract.AuditStart{Hosts: f.hosts}, nil)
	env.OnActivity(contract.TakeInventory, mock.Anything, mock.Anything).Return(func(ctx context.Context, in contract.InventoryInput) (contract.Inventory, error) {
		host := strings.TrimPrefix(activity.GetInfo(ctx).TaskQueue, contract.HostQueue(""))
		if f.dead(host) {
			return contract.Inventory{}, failure.Of(fault.New(fault.HostUnfit, "libvirtd does not answer"))
		}
		out := contract.Inventory{Hostname: host, After: in.After, Only: in.Only, Servers: in.Servers}
		for _, thing := range f.guests[host] {
			switch {
			case !out.Covers(thing.ID):
			case !in.Only && in.Limit > 0 && len(out.Things) == in.Limit:
				out.Through = out.Things[len(out.Things)-1].ID
			default:
				out.Things = append(out.Things, thing)
			}
		}
		text, err := json.Marshal(out)
		mu.Lock()
		defer mu.Unlock()
		o.of(activity.GetInfo(ctx).WorkflowExecution.ID).bytes += 2 * len(text) // as an answer, and as the comparison's input
		return out, err
	})
	env.OnActivity(contract.AuditHost, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditHostInput) (contract.AuditHostOutput, error) {
		mu.Lock()
		defer mu.Unlock()
		o.looks[in.Inventory.Hostname]++
		for _, thing := range in.Inventory.Things {
			o.seen[thing.ID]++
		}
		if !in.Final && len(in.Inventory.Things) > 0 && strings.HasSuffix(in.Inventory.Hostname, "3") {
			return contract.AuditHostOutput{Candidates: []contract.AuditCandidate{{ID: "f", ServerID: in.Inventory.Things[0].ID}}}, nil
		}
		return contract.AuditHostOutput{}, nil
	})
	env.OnActivity(contract.MissHost, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.MissHostInput) error {
		mu.Lock()
		defer mu.Unlock()
		o.missed = append(o.missed, in.Hostname)
		return nil
	})
	env.OnActivity(contract.EndAudit, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditEnd) error { o.end = in; return nil })
	count := func(run string, events, bytes int) {
		mu.Lock()
		defer mu.Unlock()
		r := o.of(run)
		r.events, r.bytes = r.events+events, r.bytes+bytes
	}
	env.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
		count(info.WorkflowExecution.ID, 6, 0)
	})
	env.SetOnChildWorkflowStartedListener(func(info *tworkflow.Info, _ tworkflow.Context, _ converter.EncodedValues) {
		count(info.ParentWorkflowExecution.ID, 9, 0)
	})
	if prepare != nil {
		prepare(env)
	}
	env.ExecuteWorkflow(Audit, contract.AuditInput{HostPatience: time.Second})
	require.NoError(t, env.GetWorkflowError())
	require.Empty(t, o.end.Error)
	slices.Sort(o.missed)
	return o
}

// asBefore has an audit go on that began before there were groups.
func asBefore(env *testsuite.TestWorkflowEnvironment) {
	env.OnGetVersion("audit hosts in groups", tworkflow.DefaultVersion, tworkflow.Version(1)).Return(tworkflow.DefaultVersion)
}

// most is what the longest and the largest history takes.
func (o outcome) most() (most taken) {
	for _, r := range o.runs {
		most.events, most.bytes = max(most.events, r.events), max(most.bytes, r.bytes)
	}
	return most
}

func TestTheHistoriesOfAnAuditStayShortHoweverManyHostsThereAre(t *testing.T) {
	const hosts, guests = 1500, 100_000
	f := newFleet(hosts, guests)
	o := f.audit(t, nil)
	require.Len(t, o.runs, 1+hosts/hostsInGroup)
	require.Less(t, o.most().events, 2000, "the engine warns at 10,240")
	require.Less(t, o.most().bytes, 2<<20, "the engine warns at 10 MiB")

	var dead []string
	for _, host := range f.hosts {
		if f.dead(host) {
			dead = append(dead, host)
			require.Zero(t, o.looks[host])
			continue
		}
		want := 1
		if strings.HasSuffix(host, "3") {
			want = 2 // what looks wrong is looked at again
		}
		require.Equal(t, want, o.looks[host], host)
	}
	require.Equal(t, dead, o.missed)
	require.Len(t, o.seen, guests*9/10+guests%10, "of ten hosts one is dead")

	before := f.audit(t, asBefore)
	require.Equal(t, []any{before.seen, before.looks, before.missed}, []any{o.seen, o.looks, o.missed})
	require.Greater(t, before.most().events, 10_240, "which is why there are groups")
	t.Logf("in groups %+v in %d histories, in one %+v", o.most(), len(o.runs), before.most())
}

func TestAPartOfAnAuditGoesOnInAnotherRunWhenItsHistoryIsLong(t *testing.T) {
	env := auditEnv(t)
	var mu sync.Mutex // activities are real goroutines here
	var looked []string
	env.SetOnActivityCompletedListener(func(*activity.Info, converter.EncodedValue, error) { env.SetContinueAsNewSuggested(true) })
	env.OnActivity(contract.AuditHost, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditHostInput) (contract.AuditHostOutput, error) {
		mu.Lock()
		defer mu.Unlock()
		looked = append(looked, in.First.Hostname)
		if in.First.Hostname == "hv00003" {
			return contract.AuditHostOutput{}, failure.Of(fault.New(fault.Invalid, "no such table"))
		}
		return contract.AuditHostOutput{}, nil
	})
	in := contract.AuditHostsInput{AuditInput: contract.AuditInput{HostPatience: time.Second}, RunID: "r", Hosts: newFleet(hostsInGroup, 0).hosts}
	env.ExecuteWorkflow(AuditHosts, in)
	var next *tworkflow.ContinueAsNewError
	require.ErrorAs(t, env.GetWorkflowError(), &next)
	var rest contract.AuditHostsInput
	require.NoError(t, converter.GetDefaultDataConverter().FromPayloads(next.Input, &rest))
	require.Less(t, len(rest.Hosts), hostsInGroup)
	require.ElementsMatch(t, in.Hosts, append(looked, rest.Hosts...), "each host is looked at once")
	require.Equal(t, "no such table", rest.Error)

	env = auditEnv(t)
	env.ExecuteWorkflow(AuditHosts, rest)
	require.Equal(t, "no such table", failure.Fault(env.GetWorkflowError()).Text, "what went wrong before is told at the end")
}

func TestAnAuditOfWhichAPartFailsSaysSoAndLooksAtTheRest(t *testing.T) {
	env := auditEnv(t)
	f := newFleet(2*hostsInGroup, 0)
	env.OnActivity(contract.BeginAudit, mock.Anything, mock.Anything).Return(contract.AuditStart{Hosts: f.hosts}, nil)
	var looked atomic.Int64
	env.OnActivity(contract.TakeInventory, mock.Anything, mock.Anything).Return(func(ctx context.Context, in contract.InventoryInput) (contract.Inventory, error) {
		return contract.Inventory{Hostname: strings.TrimPrefix(activity.GetInfo(ctx).TaskQueue, contract.HostQueue(""))}, nil
	})
	env.OnActivity(contract.AuditHost, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditHostInput) (contract.AuditHostOutput, error) {
		looked.Add(1)
		if in.First.Hostname == "hv00003" {
			return contract.AuditHostOutput{}, failure.Of(fault.New(fault.Invalid, "no such table"))
		}
		return contract.AuditHostOutput{}, nil
	})
	var end contract.AuditEnd
	env.OnActivity(contract.EndAudit, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditEnd) error { end = in; return nil })
	env.ExecuteWorkflow(Audit, contract.AuditInput{HostPatience: time.Second})
	require.Error(t, env.GetWorkflowError())
	require.Equal(t, "no such table", end.Error)
	require.EqualValues(t, len(f.hosts), looked.Load())
}

func TestAnAuditThatIsCancelledEndsItsPartsAndSaysSo(t *testing.T) {
	env := auditEnv(t)
	f := newFleet(10*hostsInGroup, 0)
	env.OnActivity(contract.BeginAudit, mock.Anything, mock.Anything).Return(contract.AuditStart{Hosts: f.hosts}, nil)
	begun := 0
	env.OnWorkflow(contract.WorkflowAuditHosts, mock.Anything, mock.Anything).Return(func(ctx tworkflow.Context, _ contract.AuditHostsInput) error {
		begun++
		return tworkflow.Sleep(ctx, time.Hour)
	})
	env.RegisterDelayedCallback(env.CancelWorkflow, time.Second)
	var end contract.AuditEnd
	env.OnActivity(contract.EndAudit, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.AuditEnd) error { end = in; return nil })
	env.ExecuteWorkflow(Audit, contract.AuditInput{HostPatience: time.Second})
	require.True(t, temporal.IsCanceledError(env.GetWorkflowError()), "%v", env.GetWorkflowError())
	require.NotEmpty(t, end.Error)
	require.Equal(t, groupsAtOnce, begun, "no other begins after that")
}
