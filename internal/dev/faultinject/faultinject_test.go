package faultinject_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/fake"
)

const (
	server   = "5a2f4c1e-2f3b-4a31-8a53-9f6f1d1f4a10"
	patience = 20 * time.Second
)

// folderVariable and worldVariable make the test's binary the process that a kill ends.
const (
	folderVariable = "FAULTINJECT_TEST_FOLDER"
	worldVariable  = "FAULTINJECT_TEST_WORLD"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(folderVariable); dir != "" {
		if err := defineIn(dir, os.Getenv(worldVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// defineIn is a process that defines a domain under the rules of a folder.
func defineIn(dir, world string) error {
	in, err := faultinject.Open(dir, "hv1")
	if err != nil {
		return err
	}
	h, err := fake.New(fake.Options{Dir: world})
	if err != nil {
		return err
	}
	return in.Hypervisor(h).Define(context.Background(), domain())
}

func domain() hypervisor.Domain {
	return hypervisor.Domain{UUID: server, Name: "slipway-" + server, VCPUs: 1, MemoryMiB: 128}
}

// rig is a plan, a host under it and what has reached the host.
type rig struct {
	*faultinject.Plan
	injector *faultinject.Injector
	host     hypervisor.Hypervisor
	reached  []string // methods that took effect
	world    *fake.Hypervisor
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{}
	var err error
	r.Plan, err = faultinject.New(filepath.Join(t.TempDir(), "faults"))
	require.NoError(t, err)
	r.injector, err = faultinject.Open(r.Dir(), "hv1")
	require.NoError(t, err)
	r.world, err = fake.New(fake.Options{Hostname: "hv1", Before: func(_ context.Context, method, _ string) error {
		r.reached = append(r.reached, method)
		return nil
	}})
	require.NoError(t, err)
	r.host = r.injector.Hypervisor(r.world)
	return r
}

func (r *rig) set(t *testing.T, rules ...faultinject.Rule) []string {
	t.Helper()
	ids, err := r.Set(rules...)
	require.NoError(t, err)
	return ids
}

func (r *rig) injected(t *testing.T, rules ...string) []faultinject.Injection {
	t.Helper()
	all, err := r.Injected(rules...)
	require.NoError(t, err)
	return all
}

func (r *rig) defined() bool { return len(r.world.Snapshot()) == 1 }

// held waits until a rule holds a call.
func (r *rig) held(t *testing.T, rule string) faultinject.Injection {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		held, err := r.Held(rule)
		require.NoError(t, err)
		if len(held) == 1 {
			return held[0]
		}
		require.True(t, time.Now().Before(deadline), "nothing is held")
		time.Sleep(time.Millisecond)
	}
}

func TestWithoutARuleACallIsAsItWas(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.host.Define(t.Context(), domain()))
	require.True(t, r.defined())
	require.Empty(t, r.injected(t))
}

func TestACallFailsBeforeItsEffect(t *testing.T) {
	r := newRig(t)
	ids := r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: faultinject.FailBefore, Kind: fault.HostUnfit})
	err := r.host.Define(t.Context(), domain())
	require.True(t, fault.Is(err, fault.HostUnfit), "%v", err)
	require.ErrorContains(t, err, ids[0])
	require.Empty(t, r.reached)
	all := r.injected(t, ids...)
	require.Len(t, all, 1)
	require.WithinDuration(t, time.Now(), all[0].Time, time.Minute)
	all[0].Time = time.Time{}
	require.Equal(t, faultinject.Injection{
		Rule: ids[0], Step: "hypervisor.Define", Mode: faultinject.FailBefore, Host: "hv1", Server: server, PID: os.Getpid(),
	}, all[0])
}

func TestACallFailsAfterItsEffectAndSaysInternalUnlessTold(t *testing.T) {
	r := newRig(t)
	r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: faultinject.FailAfter})
	err := r.host.Define(t.Context(), domain())
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
	require.True(t, r.defined())
}

func TestACallThatTimesOutAnswersItsContextsError(t *testing.T) {
	for mode, effect := range map[faultinject.Mode]bool{faultinject.Timeout: false, faultinject.TimeoutAfter: true} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: mode})
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			require.Equal(t, context.DeadlineExceeded, r.host.Define(ctx, domain()))
			require.Equal(t, effect, r.defined())
		})
	}
}

func TestACallThatHangsDoesNotHearItsContext(t *testing.T) {
	r := newRig(t)
	ids := r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: faultinject.Hang})
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	go func() { answered <- r.host.Define(ctx, domain()) }()
	r.held(t, ids[0])
	cancel()
	select {
	case err := <-answered:
		t.Fatalf("it answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, r.Release(ids[0]))
	require.True(t, fault.Is(<-answered, fault.Internal))
	require.False(t, r.defined())
}

func TestACallRunsTwiceAndAnswersTheSecondResult(t *testing.T) {
	r := newRig(t)
	r.set(t, faultinject.Rule{Step: "hypervisor.Undefine", Mode: faultinject.Twice})
	require.NoError(t, r.host.Define(t.Context(), domain()))
	require.NoError(t, r.host.Undefine(t.Context(), server))
	require.Equal(t, []string{"Define", "Undefine", "Undefine"}, r.reached)
	require.Len(t, r.injected(t), 1)
}

func TestACallIsHeldBeforeOrAfterItsEffectUntilItIsReleased(t *testing.T) {
	for mode, effect := range map[faultinject.Mode]bool{faultinject.HoldBefore: false, faultinject.HoldAfter: true} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			ids := r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: mode})
			answered := make(chan error, 1)
			go func() { answered <- r.host.Define(t.Context(), domain()) }()
			require.Equal(t, server, r.held(t, ids[0]).Server)
			require.Equal(t, effect, r.defined())
			require.NoError(t, r.Release(ids[0]))
			require.NoError(t, <-answered)
			require.True(t, r.defined())
			held, err := r.Held(ids[0])
			require.NoError(t, err)
			require.Empty(t, held)
			require.NoError(t, r.host.Define(t.Context(), domain()), "what comes later is not held")
		})
	}
}

func TestAHeldCallEndsWithItsContext(t *testing.T) {
	for mode, effect := range map[faultinject.Mode]bool{faultinject.HoldBefore: false, faultinject.HoldAfter: true} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			ids := r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: mode})
			ctx, cancel := context.WithCancel(t.Context())
			answered := make(chan error, 1)
			go func() { answered <- r.host.Define(ctx, domain()) }()
			r.held(t, ids[0])
			cancel()
			require.Equal(t, context.Canceled, <-answered)
			require.Equal(t, effect, r.defined())
		})
	}
}

func TestClearLetsGoWhatIsHeldAndTakesTheRulesAway(t *testing.T) {
	r := newRig(t)
	ids := r.set(t, faultinject.Rule{Step: "hypervisor.Define", Mode: faultinject.HoldBefore}, faultinject.Rule{Mode: faultinject.FailBefore})
	answered := make(chan error, 1)
	go func() { answered <- r.host.Define(t.Context(), domain()) }()
	r.held(t, ids[0])
	require.NoError(t, r.Clear())
	require.NoError(t, <-answered)
	require.NoError(t, r.host.Start(t.Context(), server))
	require.Len(t, r.injected(t), 1, "what was injected stays known")
}

func TestAProcessKillsItselfBeforeOrAfterTheEffectAndOnlyAsOftenAsTold(t *testing.T) {
	for mode, effect := range map[faultinject.Mode]bool{faultinject.KillBefore: false, faultinject.KillAfter: true} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t)
			ids := r.set(t, faultinject.Rule{Step: "hypervisor.Define", Host: "hv1", Mode: mode, Times: 2})
			world := t.TempDir()
			domains := func() int {
				files, err := os.ReadDir(world)
				require.NoError(t, err)
				return len(files)
			}
			process := func() error {
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), folderVariable+"="+r.Dir(), worldVariable+"="+world)
				cmd.Stderr = os.Stderr
				return cmd.Run()
			}
			for range 2 {
				var exit *exec.ExitError
				require.ErrorAs(t, process(), &exit)
				require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
				require.Equal(t, effect, domains() == 1)
			}
			require.NoError(t, process(), "the third time is none of the rule's")
			require.Equal(t, 1, domains())
			all := r.injected(t, ids...)
			require.Len(t, all, 2, "written down before the process died")
			require.NotEqual(t, all[0].PID, all[1].PID)
		})
	}
}

func TestARuleTakesOnlyTheCallsThatItNames(t *testing.T) {
	one := 1
	for name, c := range map[string]struct {
		rule  faultinject.Rule
		taken bool
	}{
		"everything":                  {faultinject.Rule{}, true},
		"this step":                   {faultinject.Rule{Step: "hypervisor.Define"}, true},
		"another step":                {faultinject.Rule{Step: "hypervisor.Start"}, false},
		"this host":                   {faultinject.Rule{Host: "hv1"}, true},
		"another host":                {faultinject.Rule{Host: "hv2"}, false},
		"this server":                 {faultinject.Rule{Server: server}, true},
		"another server":              {faultinject.Rule{Server: "other"}, false},
		"another NIC":                 {faultinject.Rule{Index: &one}, false},
		"this step of another server": {faultinject.Rule{Step: "hypervisor.Define", Server: "other"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c.rule.Mode = faultinject.FailBefore
			r.set(t, c.rule)
			require.Equal(t, c.taken, r.host.Define(t.Context(), domain()) != nil)
			require.Equal(t, c.taken, len(r.injected(t)) == 1)
		})
	}
}

func TestTheFirstRuleThatTakesACallDecides(t *testing.T) {
	r := newRig(t)
	ids := r.set(t,
		faultinject.Rule{Mode: faultinject.FailBefore, Kind: fault.HostUnfit, Times: 1},
		faultinject.Rule{Mode: faultinject.FailBefore, Kind: fault.Unavailable})
	require.True(t, fault.Is(r.host.Define(t.Context(), domain()), fault.HostUnfit))
	require.True(t, fault.Is(r.host.Define(t.Context(), domain()), fault.Unavailable))
	require.Len(t, r.injected(t, ids[0]), 1)
	require.Len(t, r.injected(t, ids[1]), 1)
}

// fates is which of a hundred calls a rule takes.
func fates(t *testing.T, seed uint64, chance float64, restart bool) string {
	r := newRig(t)
	r.set(t, faultinject.Rule{Step: "hypervisor.State", Mode: faultinject.FailBefore, Chance: chance, Seed: seed})
	taken := ""
	for i := range 100 {
		if restart && i == 50 {
			in, err := faultinject.Open(r.Dir(), "hv1")
			require.NoError(t, err)
			r.host = in.Hypervisor(r.world)
		}
		if _, err := r.host.State(t.Context(), server); err != nil {
			taken += "x"
		} else {
			taken += "."
		}
	}
	return taken
}

func TestASeedDecidesWhichCallsFailAndARestartDoesNotBeginAnew(t *testing.T) {
	first := fates(t, 1, 0.3, false)
	require.Equal(t, first, fates(t, 1, 0.3, false), "the same seed, another fate")
	require.Equal(t, first, fates(t, 1, 0.3, true), "a process that was started again began anew")
	require.NotEqual(t, first, fates(t, 2, 0.3, false), "another seed, the same fate")
	failed := 0
	for _, c := range first {
		if c == 'x' {
			failed++
		}
	}
	require.InDelta(t, 30, failed, 20)
	require.NotContains(t, fates(t, 1, 1, false), ".")
}

func TestARuleThatMakesNoSenseIsRefused(t *testing.T) {
	r := newRig(t)
	for name, rule := range map[string]faultinject.Rule{
		"no mode":        {},
		"a foreign mode": {Mode: "explode"},
		"a path":         {ID: "../x", Mode: faultinject.Twice},
		"a chance of 2":  {Mode: faultinject.Twice, Chance: 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Set(rule)
			require.Error(t, err)
		})
	}
	_, err := r.Set(faultinject.Rule{ID: "a", Mode: faultinject.Twice}, faultinject.Rule{ID: "a", Mode: faultinject.Twice})
	require.ErrorContains(t, err, `two rules have the id "a"`)
}

func TestAPlanThatCannotBeReadFailsCallsLoudly(t *testing.T) {
	r := newRig(t)
	require.NoError(t, os.WriteFile(filepath.Join(r.Dir(), "plan.json"), []byte("{"), 0o644))
	require.ErrorContains(t, r.host.Define(t.Context(), domain()), "plan.json")
	require.False(t, r.defined())
	_, err := faultinject.Open(filepath.Join(r.Dir(), "nowhere"), "")
	require.Error(t, err)
}

func TestEveryMethodOfTheHypervisorIsUnderTheRules(t *testing.T) {
	r := newRig(t)
	r.set(t, faultinject.Rule{Mode: faultinject.FailBefore, Kind: fault.Unavailable})
	for method, call := range map[string]func() error{
		"Capabilities": func() error { _, err := r.host.Capabilities(t.Context()); return err },
		"Trial":        func() error { _, err := r.host.Trial(t.Context(), false); return err },
		"Define":       func() error { return r.host.Define(t.Context(), domain()) },
		"Start":        func() error { return r.host.Start(t.Context(), server) },
		"Destroy":      func() error { return r.host.Destroy(t.Context(), server) },
		"Undefine":     func() error { return r.host.Undefine(t.Context(), server) },
		"State":        func() error { _, err := r.host.State(t.Context(), server); return err },
		"List":         func() error { _, err := r.host.List(t.Context()); return err },
		"Close":        r.host.Close,
	} {
		require.True(t, fault.Is(call(), fault.Unavailable), method)
	}
	require.Empty(t, r.reached)
	require.Len(t, r.injected(t), 9)
}

// outermost stands where a worker has what turns faults into the engine's errors.
type outermost struct {
	interceptor.WorkerInterceptorBase
	saw *error
}

func (o *outermost) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	return &outermostActivity{ActivityInboundInterceptorBase: interceptor.ActivityInboundInterceptorBase{Next: next}, saw: o.saw}
}

type outermostActivity struct {
	interceptor.ActivityInboundInterceptorBase
	saw *error
}

func (o *outermostActivity) ExecuteActivity(ctx context.Context, in *interceptor.ExecuteActivityInput) (any, error) {
	out, err := o.Next.ExecuteActivity(ctx, in)
	*o.saw = err
	return out, failure.Of(err)
}

func TestAnActivityIsChosenByItsNameServerAndNICAndItsFaultPassesTheOuterInterceptors(t *testing.T) {
	r := newRig(t)
	worker0, err := faultinject.Open(r.Dir(), "")
	require.NoError(t, err)
	one := 1
	ids := r.set(t, faultinject.Rule{Step: contract.ReleaseNetwork, Server: server, Index: &one, Mode: faultinject.FailAfter, Kind: fault.Conflict})

	var saw error
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&outermost{saw: &saw}, worker0.Interceptor()}})
	released := 0
	release := func(context.Context, contract.Undo) error { released++; return nil }
	env.RegisterActivityWithOptions(release, activity.RegisterOptions{Name: contract.ReleaseNetwork})

	_, err = env.ExecuteActivity(contract.ReleaseNetwork, contract.Undo{ServerID: server})
	require.NoError(t, err)
	_, err = env.ExecuteActivity(contract.ReleaseNetwork, contract.Undo{ServerID: server, Index: 1})
	require.Equal(t, 2, released)
	require.Error(t, err)
	require.True(t, fault.Is(saw, fault.Conflict), "%v", saw)
	var app *temporal.ApplicationError
	require.True(t, errors.As(err, &app))
	require.Equal(t, string(fault.Conflict), app.Type())
	all := r.injected(t, ids...)
	require.Len(t, all, 1)
	require.Equal(t, contract.ReleaseNetwork, all[0].Step)
	require.Equal(t, server, all[0].Server)
	require.EqualValues(t, 1, all[0].Attempt)
	require.Empty(t, all[0].Host)
}

func TestAnActivityRunsTwice(t *testing.T) {
	r := newRig(t)
	r.set(t, faultinject.Rule{Step: contract.ClaimQuota, Mode: faultinject.Twice})
	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{r.injector.Interceptor()}})
	n := 0
	count := func(context.Context, contract.ClaimQuotaInput) (int, error) { n++; return n, nil }
	env.RegisterActivityWithOptions(count, activity.RegisterOptions{Name: contract.ClaimQuota})
	value, err := env.ExecuteActivity(contract.ClaimQuota, contract.ClaimQuotaInput{ServerID: server})
	require.NoError(t, err)
	var got int
	require.NoError(t, value.Get(&got))
	require.Equal(t, 2, got)
}
