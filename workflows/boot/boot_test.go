package boot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	tworkflow "go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
	"github.com/slipway-cloud/slipway/workflows/cleanup"
	"github.com/slipway-cloud/slipway/workflows/run"
	"github.com/slipway-cloud/slipway/workflows/teardown"
)

// world is what a build takes and gives back, without any of the real parts: one entry for each thing that is held, by
// the name of the step that took it (and the host, where it lies on one).
type world struct {
	mu     sync.Mutex // steps that run beside each other are real goroutines here
	undone map[string]bool
	held   map[string]bool
	server string // "", BUILD, ACTIVE, ERROR, DELETED
	failed contract.FailServerInput
	hosts  []string
	acts   []contract.OperatorActRecord
	seen   bool // hosts report to the API
	blamed []contract.CountHostFailureInput
	image  contract.ResolvedImage
	asked  contract.Submission // of the server's row
	stands bool                // another run has built the server
	vif    string              // what ports are to their hosts

	// before and after may answer a failure for a step, before it takes anything or once it has.
	before, after func(step, host string) error
	// raw is after, but answers the engine's own errors.
	raw func(step, host string) error
	// reached is called before a step does anything; it may wait.
	reached func(step string)
	// more are further activities, by name.
	more map[string]any
	// during is called while the step runs.
	during func(step string)
}

func newWorld() *world {
	none := func(string, string) error { return nil }
	return &world{held: map[string]bool{}, undone: map[string]bool{}, hosts: []string{"hv1", "hv2", "hv3", "hv4"}, before: none, after: none, raw: none, during: func(string) {}}
}

func (w *world) do(step, host, thing string) error {
	if w.reached != nil {
		w.reached(step)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.during(step)
	// The suite's engine does not wait for an activity that it cancelled, as the real one does (WaitForCancellation), so
	// here an undo can overtake its do. What such a do would still take does not count.
	if w.undone[thing] {
		return context.Canceled
	}
	if err := w.before(step, host); err != nil {
		return failure.Of(err)
	}
	if thing != "" {
		w.held[thing] = true
	}
	if err := w.raw(step, host); err != nil {
		return err
	}
	return failure.Of(w.after(step, host))
}

func (w *world) undo(thing string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.held, thing)
	w.undone[thing] = true
	return nil
}

func hostOf(info activity.Info) string {
	return strings.TrimPrefix(info.TaskQueue, contract.HostQueue(""))
}

type registry interface {
	RegisterActivityWithOptions(any, activity.RegisterOptions)
}

// register offers the world's activities under the contract's names.
func (w *world) register(r registry) {
	hostOf := func(ctx context.Context) string { return hostOf(activity.GetInfo(ctx)) }
	plain := map[string]any{
		contract.ResolveImage: func(_ context.Context, in contract.ResolveImageInput) (contract.ResolvedImage, error) {
			image := w.image
			image.Root.ID, image.Root.VirtualBytes = in.ImageID, 1<<30
			return image, w.do(contract.ResolveImage, "", "")
		},
		contract.ClaimQuota: func(context.Context, contract.ClaimQuotaInput) error {
			return w.do(contract.ClaimQuota, "", "claim")
		},
		contract.ReleaseQuota: func(context.Context, contract.Undo) error { return w.undo("claim") },
		contract.RecordServer: func(_ context.Context, in contract.RecordServerInput) error {
			w.asked = in.Submission
			err := w.do(contract.RecordServer, "", "row")
			if slices.Contains(w.holds(), "row") {
				w.server = "BUILD"
			}
			return err
		},
		contract.ServerStands:   func(context.Context, contract.ServerStandsInput) (bool, error) { return w.stands, nil },
		contract.ServerStandsOn: func(context.Context, contract.ServerStandsOnInput) (bool, error) { return false, nil },
		contract.FailServer: func(_ context.Context, in contract.FailServerInput) error {
			w.failed = in
			if w.server != "" {
				w.server = "ERROR"
			}
			return w.undo("row")
		},
		contract.AskVendorData: func(context.Context, contract.AskVendorDataInput) (contract.DynamicVendorData, error) {
			return contract.DynamicVendorData{"join": json.RawMessage(`{"otp":"1"}`)}, w.do(contract.AskVendorData, "", "")
		},
		contract.SelectHost: func(_ context.Context, in contract.SelectHostInput) (contract.HostSelection, error) {
			i := slices.IndexFunc(w.hosts, func(h string) bool { return !slices.Contains(in.Excluded, h) })
			if i < 0 {
				return contract.HostSelection{}, failure.Of(fault.New(fault.NoValidHost, "No valid host was found."))
			}
			return contract.HostSelection{Hostname: w.hosts[i], HostID: "id-" + w.hosts[i]}, w.do(contract.SelectHost, w.hosts[i], "allocation@"+w.hosts[i])
		},
		contract.ReleaseAllocation: func(_ context.Context, in contract.Undo) error {
			if in.Hostname != "" {
				return w.undo("allocation@" + in.Hostname)
			}
			for _, h := range w.hosts {
				if !slices.Contains(in.Except, h) {
					_ = w.undo("allocation@" + h)
				}
			}
			return nil
		},
		contract.AllocateNetwork: func(_ context.Context, in contract.AllocateNetworkInput) (contract.Port, error) {
			return contract.Port{ID: fmt.Sprint(in.Index), VIFType: w.vif}, w.do(contract.AllocateNetwork, "", fmt.Sprintf("port%d", in.Index))
		},
		contract.ReleaseNetwork: func(_ context.Context, in contract.Undo) error {
			return w.undo(fmt.Sprintf("port%d", in.Index))
		},
		contract.BuildConfigDrive: func(ctx context.Context, _ contract.BuildConfigDriveInput) error {
			return w.do(contract.BuildConfigDrive, hostOf(ctx), "drive@"+hostOf(ctx))
		},
		contract.FetchImage: func(ctx context.Context, _ contract.FetchImageInput) (contract.FetchImageOutput, error) {
			return contract.FetchImageOutput{}, w.do(contract.FetchImage, hostOf(ctx), "")
		},
		contract.BuildDisk: func(ctx context.Context, _ contract.BuildDiskInput) error {
			return w.do(contract.BuildDisk, hostOf(ctx), "disk@"+hostOf(ctx))
		},
		contract.InjectData: func(ctx context.Context, _ contract.InjectDataInput) (contract.InjectedData, error) {
			return contract.InjectedData{}, w.do(contract.InjectData, hostOf(ctx), "")
		},
		contract.PlugPort: func(ctx context.Context, in contract.PlugPortInput) error {
			return w.do(contract.PlugPort, hostOf(ctx), fmt.Sprintf("plug%s@%s", in.Port.ID, hostOf(ctx)))
		},
		contract.UnplugPort: func(_ context.Context, in contract.Undo) error {
			return w.undo(fmt.Sprintf("plug%d@%s", in.Index, in.Hostname))
		},
		contract.DefineDomain: func(ctx context.Context, _ contract.DefineDomainInput) error {
			return w.do(contract.DefineDomain, hostOf(ctx), "domain@"+hostOf(ctx))
		},
		contract.StartDomain: func(ctx context.Context, _ contract.StartDomainInput) error {
			return w.do(contract.StartDomain, hostOf(ctx), "running@"+hostOf(ctx))
		},
		contract.Activate: func(context.Context, contract.ActivateInput) error {
			err := w.do(contract.Activate, "", "")
			if err == nil {
				w.server = "ACTIVE"
			}
			return err
		},
		contract.MarkDeleting: func(context.Context, contract.DeleteInput) (contract.Takings, error) {
			return contract.Takings{Hostnames: w.hostsHeld(), NICs: 2, Gone: w.server == "" || w.server == "DELETED"}, nil
		},
		contract.HostSeen: func(context.Context, contract.HostSeenInput) (bool, error) { return w.seen, nil },
		contract.CountHostFailure: func(_ context.Context, in contract.CountHostFailureInput) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.blamed = append(w.blamed, in)
			return nil
		},
		contract.RecordOperatorAct: func(_ context.Context, in contract.OperatorActRecord) error {
			w.acts = append(w.acts, in)
			return nil
		},
		contract.RemoveServer: func(context.Context, contract.RemoveServerInput) error {
			w.server = "DELETED"
			return w.undo("row")
		},
	}
	for name, thing := range map[string]string{
		contract.RemoveConfigDrive: "drive", contract.RemoveDisk: "disk", contract.UndefineDomain: "domain", contract.DestroyDomain: "running",
	} {
		plain[name] = func(_ context.Context, in contract.Undo) error { return w.undo(thing + "@" + in.Hostname) }
	}
	maps.Copy(plain, w.more)
	for name, f := range plain {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

func (w *world) hostsHeld() []string {
	var hosts []string
	held := w.holds()
	for _, h := range w.hosts {
		if slices.Contains(held, "allocation@"+h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

func (w *world) holds() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.held))
}

func input() contract.BootInput {
	return contract.BootInput{
		Server: contract.Server{
			ServerID: "11111111-2222-3333-4444-555555555555", ProjectID: "p", RequestID: "req-1", Name: "web", ImageID: "i",
			Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1}, ConfigDrive: true,
		},
		Networks:       []contract.NICRequest{{NetworkID: "n1"}, {NetworkID: "n2"}},
		VendorServices: &contract.VendorServices{Targets: []contract.VendorTarget{{Name: "join", URL: "https://join.example.org"}}},
		MaxHosts:       3, Deadlines: contract.DefaultDeadlines(),
	}
}

// outcome is how a build ended: for the user who submitted it, and for the engine.
type outcome struct {
	env       *testsuite.TestWorkflowEnvironment
	submitted error // what the submission was answered
	answered  bool
	ended     error
}

// environment is an engine that knows the server workflows and a world's activities.
func environment(w *world) *testsuite.TestWorkflowEnvironment {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestWorkflowEnvironment()
	env.SetTestTimeout(20 * time.Second)
	env.RegisterWorkflowWithOptions(cleanup.CleanUp, tworkflow.RegisterOptions{Name: contract.WorkflowCleanUp})
	w.register(env)
	return env
}

func boot(t *testing.T, w *world, in contract.BootInput, script ...func(*testsuite.TestWorkflowEnvironment)) outcome {
	t.Helper()
	env := environment(w)
	o := outcome{env: env}
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateSubmit, "submit", &testsuite.TestUpdateCallback{
			OnAccept:   func() {},
			OnReject:   func(err error) { t.Errorf("the submission was rejected: %v", err) },
			OnComplete: func(_ any, err error) { o.submitted, o.answered = err, true },
		}, in.Submission)
	}, 0)
	for _, s := range script {
		s(env)
	}
	env.ExecuteWorkflow(New().BootServer, in)
	require.True(t, env.IsWorkflowCompleted())
	o.ended = env.GetWorkflowError()
	require.True(t, o.answered, "every submission is answered")
	return o
}

var everything = []string{"allocation@hv1", "claim", "disk@hv1", "domain@hv1", "drive@hv1", "port0", "port1", "row", "running@hv1"}

func TestABuildTakesEverythingAndGoesActive(t *testing.T) {
	w := newWorld()
	o := boot(t, w, input())
	require.NoError(t, o.submitted)
	require.NoError(t, o.ended)
	require.Equal(t, "ACTIVE", w.server)
	require.Equal(t, everything, w.holds())

	value, err := o.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(t, err)
	var progress []contract.StepProgress
	require.NoError(t, value.Get(&progress))
	require.Len(t, progress, 13, "twelve rows with a config drive, one of them for two NICs")
	for _, p := range progress {
		require.Equal(t, contract.StepDone, p.State, p.Step)
		require.NotNil(t, p.Finished, p.Step)
	}
}

func TestABuildIsAcceptedForAsLongAsAnybodyWaitsWhoAskedForIt(t *testing.T) {
	by := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	until := func(after time.Duration) contract.Submission { return contract.Submission{AnswerBy: by.Add(after)} }
	for name, c := range map[string]struct{ first, second, then contract.Submission }{
		"the later counts":                     {until(0), until(time.Minute), until(time.Minute)},
		"in whichever order":                   {until(time.Minute), until(0), until(time.Minute)},
		"an older API waits for ever":          {until(0), contract.Submission{}, contract.Submission{}},
		"and nobody who comes later ends that": {contract.Submission{}, until(0), contract.Submission{}},
	} {
		t.Run(name, func(t *testing.T) {
			w, in := newWorld(), input()
			in.Submission = c.first
			o := boot(t, w, in, func(env *testsuite.TestWorkflowEnvironment) {
				env.RegisterDelayedCallback(func() {
					env.UpdateWorkflow(contract.UpdateSubmit, "again", &testsuite.TestUpdateCallback{
						OnAccept: func() {}, OnReject: func(err error) { t.Error(err) }, OnComplete: func(any, error) {},
					}, c.second)
				}, 0)
			})
			require.NoError(t, o.submitted)
			require.Equal(t, c.then, w.asked)
		})
	}
}

func TestVendorDataIsAskedForOnceAndIsOnTheDriveOfEveryHost(t *testing.T) {
	w, in := newWorld(), input()
	in.Roles, in.UserData = []string{"member"}, []byte("#!")
	answer := contract.DynamicVendorData{"join": json.RawMessage(`{"otp":"1"}`)}
	var asked []contract.AskVendorDataInput
	var drives []contract.DynamicVendorData
	var kept contract.ServerSpec
	w.more = map[string]any{
		contract.AskVendorData: func(_ context.Context, in contract.AskVendorDataInput) (contract.DynamicVendorData, error) {
			asked = append(asked, in)
			return answer, nil
		},
		contract.BuildConfigDrive: func(ctx context.Context, in contract.BuildConfigDriveInput) error {
			w.mu.Lock()
			drives = append(drives, in.Metadata.DynamicVendorData)
			w.mu.Unlock()
			host := hostOf(activity.GetInfo(ctx))
			if host == "hv1" {
				return failure.Of(fault.New(fault.HostUnfit, "not here"))
			}
			return w.do(contract.BuildConfigDrive, host, "drive@"+host)
		},
		contract.DefineDomain: func(ctx context.Context, in contract.DefineDomainInput) error {
			kept = in.Facts.Spec
			host := hostOf(activity.GetInfo(ctx))
			return w.do(contract.DefineDomain, host, "domain@"+host)
		},
	}
	o := boot(t, w, in)
	require.NoError(t, o.ended)
	require.Equal(t, []contract.AskVendorDataInput{{
		VendorServices: *in.VendorServices, ServerID: in.ServerID, ProjectID: "p", ImageID: "i", UserData: in.UserData, Roles: in.Roles,
	}}, asked)
	require.Equal(t, []contract.DynamicVendorData{answer, answer}, drives)
	require.Equal(t, answer, kept.DynamicVendorData)

	w, in, asked = newWorld(), input(), nil
	in.ConfigDrive = false
	w.more = map[string]any{contract.AskVendorData: func(context.Context, contract.AskVendorDataInput) (contract.DynamicVendorData, error) {
		return nil, failure.Of(fault.New(fault.Internal, "asked for what nobody reads"))
	}}
	require.NoError(t, boot(t, w, in).ended)
}

func TestABuildDoesByWhatItsImageSays(t *testing.T) {
	w := newWorld()
	w.image = contract.ResolvedImage{Architecture: "x86_64", UEFI: true, ConfigDrive: true, DriveFormat: "vfat"}
	in := input()
	in.ConfigDrive, in.AdminPass = false, "x"
	var recorded contract.RecordServerInput
	var selected contract.SelectHostInput
	var defined contract.DefineDomainInput
	w.more = map[string]any{
		contract.RecordServer: func(_ context.Context, in contract.RecordServerInput) error {
			recorded = in
			return w.do(contract.RecordServer, "", "row")
		},
		contract.SelectHost: func(_ context.Context, in contract.SelectHostInput) (contract.HostSelection, error) {
			selected = in
			return contract.HostSelection{Hostname: "hv1"}, w.do(contract.SelectHost, "hv1", "allocation@hv1")
		},
		contract.DefineDomain: func(_ context.Context, in contract.DefineDomainInput) error {
			defined = in
			return w.do(contract.DefineDomain, "hv1", "domain@hv1")
		},
	}
	o := boot(t, w, in)
	require.NoError(t, o.ended)
	require.Contains(t, w.holds(), "drive@hv1", "the image cannot do without, though the request did not ask")
	require.True(t, recorded.ConfigDrive, "and the server shows it")
	require.True(t, defined.ConfigDrive)
	require.Equal(t, "vfat", defined.Format)
	require.Equal(t, "x86_64", selected.Architecture)
	require.True(t, selected.UEFI)
	value, err := o.env.QueryWorkflow(contract.QueryProgress)
	require.NoError(t, err)
	var progress []contract.StepProgress
	require.NoError(t, value.Get(&progress))
	require.False(t, slices.ContainsFunc(progress, func(p contract.StepProgress) bool { return p.Step == contract.InjectData }), "what is on the drive is not injected too")
}

func TestWhatAnImageDidNotTakeIsToldOfItsBuild(t *testing.T) {
	w, in := newWorld(), input()
	in.ConfigDrive, in.AdminPass, in.AutoDiskConfig = false, "x", new(true)
	var told []contract.StepProgress
	w.more = map[string]any{
		contract.BuildDisk: func(_ context.Context, in contract.BuildDiskInput) (contract.InjectedData, error) {
			require.True(t, in.Grow)
			return contract.InjectedData{Notes: []string{"not grown"}}, nil
		},
		contract.InjectData: func(context.Context, contract.InjectDataInput) (contract.InjectedData, error) {
			return contract.InjectedData{Notes: []string{"no key", "no password"}}, nil
		},
		contract.Activate: func(_ context.Context, in contract.ActivateInput) error {
			told = in.Steps
			return w.do(contract.Activate, "", "")
		},
	}
	require.NoError(t, boot(t, w, in).ended)
	for step, want := range map[string]string{contract.BuildDisk: "not grown", contract.InjectData: "no key; no password"} {
		n := slices.IndexFunc(told, func(p contract.StepProgress) bool { return p.Step == step })
		require.Equal(t, []any{contract.StepDone, want, ""}, []any{told[n].State, told[n].Detail, told[n].Error})
	}
}

// vifFor is how ports are plugged where a step is done at all.
func vifFor(step string) string {
	if step == contract.PlugPort {
		return contract.VIFOVS
	}
	return contract.VIFBridge
}

// failing makes a step fail with a kind, before it has taken anything or after.
func failing(w *world, step string, kind fault.Kind, afterwards bool) {
	fail := func(s, _ string) error {
		if s == step {
			return fault.New(kind, "injected into %s", step)
		}
		return nil
	}
	if afterwards {
		w.after = fail
	} else {
		w.before = fail
	}
}

func TestWhateverStepFailsEverythingIsGivenBack(t *testing.T) {
	for _, s := range steps {
		for _, afterwards := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s fails, its effect %v", s.Name, afterwards), func(t *testing.T) {
				in := input()
				in.ConfigDrive = s.Name != contract.InjectData
				in.AdminPass = "x"
				w := newWorld()
				w.vif = vifFor(s.Name)
				failing(w, s.Name, fault.Internal, afterwards)
				o := boot(t, w, in)
				require.Empty(t, w.holds())
				require.ErrorContains(t, o.ended, "injected into "+s.Name)
				if accepted := steps.Index(s.Name) > steps.Index(contract.RecordServer); accepted {
					require.NoError(t, o.submitted)
					require.Equal(t, "ERROR", w.server)
					require.Equal(t, "injected into "+s.Name, w.failed.Message)
				} else {
					require.ErrorContains(t, o.submitted, "injected into "+s.Name, "the user gets the refusal as the answer")
				}
			})
		}
	}
}

func TestARefusalKeepsItsKind(t *testing.T) {
	for step, kind := range map[string]fault.Kind{contract.ResolveImage: fault.Invalid, contract.ClaimQuota: fault.OverQuota} {
		w := newWorld()
		failing(w, step, kind, false)
		o := boot(t, w, input())
		require.Equal(t, kind, failure.Fault(o.submitted).Kind)
		require.Empty(t, w.server, "nothing was recorded")
	}
}

func TestAHostThatCannotIsLeftForTheNext(t *testing.T) {
	for _, step := range []string{contract.FetchImage, contract.BuildDisk, contract.BuildConfigDrive, contract.DefineDomain, contract.StartDomain} {
		t.Run(step, func(t *testing.T) {
			w := newWorld()
			w.after = func(s, host string) error {
				if s == step && host == "hv1" {
					return fault.New(fault.HostUnfit, "the disk of hv1 is full")
				}
				return nil
			}
			o := boot(t, w, input())
			require.NoError(t, o.ended)
			require.Equal(t, "ACTIVE", w.server)
			require.Equal(t, []string{"allocation@hv2", "claim", "disk@hv2", "domain@hv2", "drive@hv2", "port0", "port1", "row", "running@hv2"}, w.holds())
		})
	}
}

func TestPortsThatAHostPlugsAreThereBeforeItsDomainAndGoWithTheHost(t *testing.T) {
	w := newWorld()
	w.vif = contract.VIFOVS
	var order []string
	w.before = func(s, host string) error {
		if s == contract.PlugPort || s == contract.DefineDomain {
			order = append(order, s+"@"+host)
		}
		return nil
	}
	w.after = func(s, host string) error {
		if s == contract.PlugPort && host == "hv1" && w.held["plug1@hv1"] {
			return fault.New(fault.HostUnfit, "the port did not come up")
		}
		return nil
	}
	o := boot(t, w, input())
	require.NoError(t, o.ended)
	require.Equal(t, "ACTIVE", w.server)
	require.Equal(t, []string{"PlugPort@hv1", "PlugPort@hv1", "PlugPort@hv2", "PlugPort@hv2", "DefineDomain@hv2"}, order)
	require.Equal(t, []string{"allocation@hv2", "claim", "disk@hv2", "domain@hv2", "drive@hv2", "plug0@hv2", "plug1@hv2", "port0", "port1", "row", "running@hv2"}, w.holds())
}

func TestTheFaultNamesEveryHostAndItsCause(t *testing.T) {
	w := newWorld()
	w.before = func(s, host string) error {
		if s == contract.StartDomain {
			return fault.New(fault.HostUnfit, "%s has no memory left", host)
		}
		return nil
	}
	o := boot(t, w, input())
	require.Error(t, o.ended)
	require.Equal(t, "ERROR", w.server)
	require.Equal(t, "No valid host was found. Tried hv1: StartDomain: hv1 has no memory left; hv2: StartDomain: hv2 has no memory left; hv3: StartDomain: hv3 has no memory left"+
		" (An operator looks at `slipway host show hv1`, `slipway host show hv2`, `slipway host show hv3`, and at what `slipway host` logged there.)", w.failed.Message)
	require.Empty(t, w.holds())
}

func TestWhenNoHostIsLeftTheFaultKeepsTheFirstCause(t *testing.T) {
	w := newWorld()
	w.hosts = []string{"hv1"}
	failing(w, contract.DefineDomain, fault.HostUnfit, false)
	boot(t, w, input())
	require.Equal(t, "No valid host was found. Tried hv1: DefineDomain: injected into DefineDomain; then: No valid host was found."+
		" (An operator looks at `slipway host show hv1`, and at what `slipway host` logged there.)", w.failed.Message)
}

func TestAFailureOfTheHostsOwnCountsAgainstItOnceForEachAttempt(t *testing.T) {
	w := newWorld()
	w.raw = func(s, host string) error {
		switch {
		case s == contract.BuildDisk && host == "hv1":
			return failure.Of(fault.New(fault.HostUnfit, "the host's disk cannot be written"))
		case s == contract.StartDomain && host == "hv2":
			return temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
		case s == contract.DefineDomain && host == "hv3":
			return failure.Of(fault.New(fault.Unavailable, "libvirt does not answer"))
		}
		return nil
	}
	undone := 0
	w.more = map[string]any{contract.ReleaseAllocation: func(_ context.Context, in contract.Undo) error {
		require.Len(t, w.blamed, undone+1, "counted before anything is undone: an undo may hang as the host does")
		undone++
		return w.undo("allocation@" + in.Hostname)
	}}
	boot(t, w, input())
	require.Equal(t, "ERROR", w.server)
	require.Equal(t, 3, undone)
	counted := func(host, step, text string) contract.CountHostFailureInput {
		return contract.CountHostFailureInput{ServerID: input().ServerID, Hostname: host, Step: step, Text: text}
	}
	require.Equal(t, []contract.CountHostFailureInput{
		counted("hv1", contract.BuildDisk, "the host's disk cannot be written"),
		counted("hv2", contract.StartDomain, "No worker took the step up in time: it is down or cannot be reached."),
		counted("hv3", contract.DefineDomain, "libvirt does not answer"),
	}, w.blamed)
}

// The engine was restored from before the end of the build: it begins anew in the middle, under a server that is used.
func TestABuildThatFailsTakesNothingFromAServerThatAnotherRunHasBuilt(t *testing.T) {
	for _, step := range []string{contract.RecordServer, contract.SelectHost, contract.BuildDisk, contract.StartDomain} {
		for _, kind := range []fault.Kind{fault.HostUnfit, fault.Internal, fault.Conflict} {
			t.Run(fmt.Sprintf("%s, %s", step, kind), func(t *testing.T) {
				w := newWorld()
				w.stands = true
				for _, thing := range everything {
					w.held[thing] = true
				}
				w.before = func(s, _ string) error {
					if s == step {
						return fault.New(kind, "no")
					}
					return nil
				}
				o := boot(t, w, input())
				require.Equal(t, everything, w.holds())
				require.Empty(t, w.failed.ServerID, "it is no failed server")
				require.Empty(t, w.undone)
				require.ErrorContains(t, o.ended, "it is in use: nothing was given back")
			})
		}
	}
}

func TestWhatIsNotTheHostsOwnDoesNotCountAgainstIt(t *testing.T) {
	starts := func(err error) func(*world, *testsuite.TestWorkflowEnvironment) {
		return func(w *world, _ *testsuite.TestWorkflowEnvironment) {
			w.before = func(step, _ string) error {
				if step == contract.StartDomain {
					return err
				}
				return nil
			}
		}
	}
	for name, goes := range map[string]func(*world, *testsuite.TestWorkflowEnvironment){
		"the image is broken":                starts(fault.New(fault.Invalid, "not a qcow2")),
		"a bug":                              starts(errors.New("unexpected")),
		"the image store is away":            starts(fault.New(fault.Unavailable, "no store").NotTheHosts()),
		"the image asks for what it has not": starts(fault.New(fault.HostUnfit, "no UEFI").NotTheHosts()),
		"the database is away at the end": func(w *world, _ *testsuite.TestWorkflowEnvironment) {
			failing(w, contract.Activate, fault.Unavailable, false)
		},
		"there is no host": func(w *world, _ *testsuite.TestWorkflowEnvironment) { w.hosts = nil },
		"its user deletes it": func(w *world, env *testsuite.TestWorkflowEnvironment) {
			sent := false
			w.during = func(step string) {
				if step == contract.StartDomain && !sent {
					sent = true
					env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: input().ServerID, RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			boot(t, w, input(), func(env *testsuite.TestWorkflowEnvironment) { goes(w, env) })
			require.NotEqual(t, "ACTIVE", w.server)
			require.Empty(t, w.blamed)
			require.NotContains(t, w.failed.Message, "slipway host show", "there is nothing to see there")
		})
	}
}

// Nobody is to wait because a count can't be made.
func TestABuildGoesOnWhenItsHostsFailureCannotBeCounted(t *testing.T) {
	w := newWorld()
	w.more = map[string]any{contract.CountHostFailure: func(context.Context, contract.CountHostFailureInput) error {
		return failure.Of(fault.New(fault.Unavailable, "The database does not answer."))
	}}
	w.before = func(s, host string) error {
		if s == contract.StartDomain && host == "hv1" {
			return fault.New(fault.HostUnfit, "hv1 has no memory left")
		}
		return nil
	}
	o := boot(t, w, input())
	require.NoError(t, o.ended)
	require.Equal(t, onHV2, w.holds())
}

func TestAHostThatDoesNotAnswerNowIsAskedAgain(t *testing.T) {
	w := newWorld()
	tries := 0
	w.before = func(s, _ string) error {
		if s == contract.DefineDomain {
			if tries++; tries < 5 {
				return fault.New(fault.Unavailable, "libvirt does not answer")
			}
		}
		return nil
	}
	o := boot(t, w, input())
	require.NoError(t, o.ended)
	require.Equal(t, 5, tries)
	require.Equal(t, everything, w.holds())
}

func TestADeleteDuringAnyStepLeavesNothing(t *testing.T) {
	for _, s := range steps {
		t.Run(s.Name, func(t *testing.T) {
			in := input()
			in.ConfigDrive = s.Name != contract.InjectData
			in.AdminPass = "x"
			w := newWorld()
			w.vif = vifFor(s.Name)
			sent := false
			o := boot(t, w, in, func(env *testsuite.TestWorkflowEnvironment) {
				w.during = func(step string) {
					if step == s.Name && !sent {
						sent = true
						env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: in.ServerID, RequestID: "req-2", Deadlines: contract.DefaultDeadlines()})
					}
				}
			})
			require.True(t, sent)
			require.NoError(t, o.ended)
			require.Empty(t, w.holds())
			require.NotContains(t, []string{"BUILD", "ACTIVE", "ERROR"}, w.server)
		})
	}
}

func TestADeleteTakesOverFromAParkedUndo(t *testing.T) {
	w := newWorld()
	failing(w, contract.StartDomain, fault.Internal, true)
	env := environment(w)
	tries := 0
	env.OnActivity(contract.ReleaseQuota, mock.Anything, mock.Anything).Return(func(context.Context, contract.Undo) error {
		if tries++; tries < 30 {
			return failure.Retryable(errors.New("the database does not answer"))
		}
		return w.undo("claim")
	})
	env.RegisterDelayedCallback(func() {
		require.Equal(t, "ERROR", w.server, "the user sees the failure though an undo is parked")
		require.Equal(t, []string{"claim"}, w.holds(), "what waits for the control plane keeps the workflow open")
		env.SignalWorkflow(contract.SignalDelete, contract.DeleteInput{ServerID: input().ServerID, Deadlines: contract.DefaultDeadlines()})
	}, 3*time.Minute)
	env.ExecuteWorkflow(New().BootServer, input())
	require.True(t, env.IsWorkflowCompleted())
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, "DELETED", w.server)
	require.Empty(t, w.holds())
}

// disks is what the progress says of the disk on hv1 and on hv2.
func disks(t *testing.T, env *testsuite.TestWorkflowEnvironment) (states [2]contract.StepState) {
	t.Helper()
	value, err := env.QueryWorkflow(contract.QueryProgress)
	require.NoError(t, err)
	var lines []contract.StepProgress
	require.NoError(t, value.Get(&lines))
	for _, line := range lines {
		if line.Step == contract.BuildDisk {
			states[slices.Index([]string{"hv1", "hv2"}, line.Host)] = line.State
		}
	}
	return states
}

// handedOver runs a workflow with a world and gives what it left for the server's clean-up, nil where nothing was left.
func handedOver(t *testing.T, w *world, script func(*testsuite.TestWorkflowEnvironment), workflow, in any) (left *contract.CleanUpInput, env *testsuite.TestWorkflowEnvironment) {
	t.Helper()
	env = environment(w)
	env.OnWorkflow(contract.WorkflowCleanUp, mock.Anything, mock.Anything).Return(func(_ tworkflow.Context, in contract.CleanUpInput) error {
		require.Nil(t, left, "handed over twice")
		left = &in
		return nil
	})
	if script != nil {
		script(env)
	}
	env.ExecuteWorkflow(workflow, in)
	require.True(t, env.IsWorkflowCompleted())
	return left, env
}

var onHV2 = []string{"allocation@hv2", "claim", "disk@hv2", "domain@hv2", "drive@hv2", "port0", "port1", "row", "running@hv2"}

// away is a host whose undos do not run; it is the queue's own silence, as a workflow sees it.
func away(env *testsuite.TestWorkflowEnvironment, w *world, host string, back *bool) {
	for activity, thing := range map[string]string{
		contract.RemoveDisk: "disk", contract.RemoveConfigDrive: "drive", contract.UndefineDomain: "domain", contract.DestroyDomain: "running",
	} {
		env.OnActivity(activity, mock.Anything, mock.Anything).Return(func(_ context.Context, in contract.Undo) error {
			if in.Hostname == host && !*back {
				return failure.Retryable(errors.New(host + " does not answer"))
			}
			return w.undo(thing + "@" + in.Hostname)
		}).Maybe()
	}
}

func TestWhatALostHostHoldsWaitsForItBesideTheServer(t *testing.T) {
	for _, step := range []string{contract.BuildDisk, contract.StartDomain} {
		t.Run(step, func(t *testing.T) {
			w := newWorld()
			lost := temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
			w.raw = func(s, host string) error {
				if s == step && host == "hv1" {
					return lost
				}
				return nil
			}
			back := false
			left, env := handedOver(t, w, func(env *testsuite.TestWorkflowEnvironment) { away(env, w, "hv1", &back) }, New().BootServer, input())
			require.NoError(t, env.GetWorkflowError())
			require.Equal(t, "ACTIVE", w.server, "the build did not wait for the lost host")
			require.NotNil(t, left)
			require.Contains(t, w.holds(), "allocation@hv1", "what lies there is not promised to others")
			require.Equal(t, [2]contract.StepState{contract.StepParked, contract.StepDone}, disks(t, env), "the parked undo is hv1's")

			// The clean-up goes on with the same list when the host is back.
			env = environment(w)
			away(env, w, "hv1", &back)
			env.RegisterDelayedCallback(func() {
				require.Contains(t, w.holds(), "allocation@hv1")
				back = true
			}, 20*time.Hour)
			env.ExecuteWorkflow(cleanup.CleanUp, *left)
			require.True(t, env.IsWorkflowCompleted())
			require.NoError(t, env.GetWorkflowError())
			require.Equal(t, onHV2, w.holds())
		})
	}
}

func TestAHostThatReportsIsAskedAgainBeforeItCountsAsLost(t *testing.T) {
	for times, host := range map[int]string{1: "hv1", 2: "hv2"} {
		w := newWorld()
		w.seen = true
		w.raw = func(s, host string) error {
			if s == contract.BuildDisk && host == "hv1" && times > 0 {
				times--
				return temporal.NewTimeoutError(enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START, nil)
			}
			return nil
		}
		boot(t, w, input())
		require.Equal(t, "ACTIVE", w.server)
		require.Contains(t, w.holds(), "running@"+host)
	}
}

func TestADeleteLeavesALostHostToTheCleanUp(t *testing.T) {
	w := newWorld()
	boot(t, w, input())
	back := false
	left, env := handedOver(t, w, func(env *testsuite.TestWorkflowEnvironment) { away(env, w, "hv1", &back) }, ends(steps).DeleteServer,
		contract.DeleteInput{ServerID: input().ServerID, Deadlines: contract.DefaultDeadlines()})
	require.NoError(t, env.GetWorkflowError())
	require.Equal(t, "DELETED", w.server, "the user is rid of it")
	require.Equal(t, []string{"allocation@hv1", "disk@hv1", "domain@hv1", "drive@hv1", "port0", "port1", "running@hv1"}, w.holds())
	require.Len(t, left.Undos, 7, "the network waits behind the host")

	back = true
	env = environment(w)
	more := *left
	more.Undos = left.Undos[:2] // what another run hands over while the clean-up runs
	env.RegisterDelayedCallback(func() { env.SignalWorkflow(contract.SignalUndos, left.Undos) }, 0)
	env.ExecuteWorkflow(cleanup.CleanUp, more)
	require.NoError(t, env.GetWorkflowError())
	require.Empty(t, w.holds())
}

// act asks a running workflow for an operator's act, after a while.
func act(t *testing.T, env *testsuite.TestWorkflowEnvironment, after time.Duration, act contract.OperatorAct, answered func(error)) {
	t.Helper()
	env.RegisterDelayedCallback(func() {
		env.UpdateWorkflow(contract.UpdateUndo, fmt.Sprint(after), &testsuite.TestUpdateCallback{
			OnAccept: func() {}, OnReject: func(err error) { t.Errorf("rejected: %v", err) },
			OnComplete: func(_ any, err error) { answered(err) },
		}, act)
	}, after)
}

func TestAnOperatorSkipsAnUndoThatCannotSucceed(t *testing.T) {
	w := newWorld()
	failing(w, contract.StartDomain, fault.Internal, true)
	back := false
	left, _ := handedOver(t, w, func(env *testsuite.TestWorkflowEnvironment) { away(env, w, "hv1", &back) }, New().BootServer, input())

	env := environment(w)
	away(env, w, "hv1", &back)
	kinds := map[time.Duration]fault.Kind{}
	ask := func(after time.Duration, a contract.OperatorAct) {
		act(t, env, after, a, func(err error) {
			kinds[after] = ""
			if err != nil {
				kinds[after] = failure.Fault(err).Kind
			}
		})
	}
	for i, id := range []string{"attempt/1:DestroyDomain/0", "attempt/1:UndefineDomain/0", "attempt/1:RemoveDisk/0", "attempt/1:RemoveConfigDrive/0"} {
		ask(time.Hour+time.Duration(i)*time.Minute, contract.OperatorAct{Act: contract.ActSkip, Undo: id, Reason: "hv1 burnt down", UserID: "op"})
	}
	ask(time.Minute, contract.OperatorAct{Act: contract.ActSkip, Undo: "attempt/1:DestroyDomain/0"})
	ask(2*time.Minute, contract.OperatorAct{Act: contract.ActRetry, Undo: "attempt/9:DestroyDomain/0"})
	ask(3*time.Minute, contract.OperatorAct{Act: "forget"})
	ask(time.Hour+30*time.Second, contract.OperatorAct{Act: contract.ActRetry, Undo: "attempt/1:DestroyDomain/0"})
	env.ExecuteWorkflow(cleanup.CleanUp, *left)
	require.NoError(t, env.GetWorkflowError())

	require.Equal(t, map[time.Duration]fault.Kind{
		time.Minute: fault.Invalid, 2 * time.Minute: fault.NotFound, 3 * time.Minute: fault.Invalid, time.Hour + 30*time.Second: fault.Conflict,
		time.Hour: "", time.Hour + time.Minute: "", time.Hour + 2*time.Minute: "", time.Hour + 3*time.Minute: "",
	}, kinds)
	require.Equal(t, []string{"disk@hv1", "domain@hv1", "drive@hv1", "running@hv1"}, w.holds(), "the host's share stays behind, the rest is given back")
	require.Len(t, w.acts, 4)
	require.Equal(t, "hv1 burnt down", w.acts[0].Reason)

	value, err := env.QueryWorkflow(contract.QueryBuild)
	require.NoError(t, err)
	var state contract.BuildState
	require.NoError(t, value.Get(&state))
	require.Len(t, state.Acts, 4)
	require.Equal(t, "skipped", state.Undos[len(state.Undos)-1].State)
}

func TestARetryThatCannotBeRecordedIsNotDone(t *testing.T) {
	w := newWorld()
	failing(w, contract.StartDomain, fault.Internal, true)
	back := false
	left, _ := handedOver(t, w, func(env *testsuite.TestWorkflowEnvironment) { away(env, w, "hv1", &back) }, New().BootServer, input())
	env := environment(w)
	away(env, w, "hv1", &back)
	env.OnActivity(contract.RecordOperatorAct, mock.Anything, mock.Anything).Return(failure.Of(errors.New("no database")))
	var answer error
	act(t, env, time.Hour, contract.OperatorAct{Act: contract.ActSkip, Undo: "attempt/1:DestroyDomain/0", Reason: "x"}, func(err error) { answer = err })
	env.RegisterDelayedCallback(func() { back = true }, 2*time.Hour)
	env.ExecuteWorkflow(cleanup.CleanUp, *left)
	require.Equal(t, fault.Internal, failure.Fault(answer).Kind)
	require.NotContains(t, w.holds(), "running@hv1", "it was not skipped")
}

func TestABuildThatTakesTooLongIsUndone(t *testing.T) {
	w := newWorld()
	in := input()
	in.Deadlines.Build = 30 * time.Minute
	env := environment(w)
	env.OnActivity(contract.FetchImage, mock.Anything, mock.Anything).After(time.Hour).Return(contract.FetchImageOutput{}, nil)
	late := map[time.Duration]bool{}
	for _, at := range []time.Duration{10 * time.Minute, 20 * time.Minute} {
		env.RegisterDelayedCallback(func() {
			value, err := env.QueryWorkflow(contract.QueryBuild)
			require.NoError(t, err)
			var state contract.BuildState
			require.NoError(t, value.Get(&state))
			require.Equal(t, "spawning", state.Phase)
			late[at] = state.Overdue
		}, at)
	}
	env.ExecuteWorkflow(New().BootServer, in)
	require.Equal(t, map[time.Duration]bool{10 * time.Minute: false, 20 * time.Minute: true}, late, "it is shown before it is ended")
	require.Equal(t, "ERROR", w.server)
	require.Equal(t, "The build did not end within 30m0s; it was at FetchImage on hv1.", w.failed.Message)
	require.Empty(t, w.holds())
}

func TestABuildThatIsOverdueForDaysIsLookedAtOnceAnHour(t *testing.T) {
	w := newWorld()
	in := input()
	in.Deadlines.Build = 0
	env := environment(w)
	var fetching time.Duration // all pauses while the image is being fetched
	timers := 0
	env.SetOnTimerScheduledListener(func(_ string, pause time.Duration) { timers, fetching = timers+1, fetching+pause })
	const days = 72 * time.Hour
	env.OnActivity(contract.FetchImage, mock.Anything, mock.Anything).After(days).Return(contract.FetchImageOutput{}, nil)
	env.ExecuteWorkflow(New().BootServer, in)
	require.NoError(t, env.GetWorkflowError())
	require.GreaterOrEqual(t, fetching, days, "it goes on looking")
	require.Less(t, timers, int(days/time.Hour)+30)
}

func TestABuildCanWaitForRoom(t *testing.T) {
	for _, room := range []time.Duration{0, time.Minute} {
		w := newWorld()
		in := input()
		in.Deadlines.Capacity = 2 * room
		hosts := w.hosts
		w.hosts = nil
		env := environment(w)
		env.RegisterDelayedCallback(func() { w.hosts = hosts }, max(room, time.Second))
		env.ExecuteWorkflow(New().BootServer, in)
		if room == 0 {
			require.Equal(t, "ERROR", w.server, "without the setting a build fails at once")
			require.Equal(t, "No valid host was found.", w.failed.Message)
			continue
		}
		require.NoError(t, env.GetWorkflowError())
		require.Equal(t, everything, w.holds())
	}
}

func TestABuildThatWaitsForRoomForDaysLooksLessAndLessOften(t *testing.T) {
	w := newWorld()
	w.hosts = nil
	in := input()
	in.Deadlines.Build, in.Deadlines.Capacity = 0, 96*time.Hour
	env := environment(w)
	looks, last := 0, time.Duration(0)
	env.SetOnLocalActivityStartedListener(func(info *activity.Info, _ context.Context, _ []any) {
		if info.ActivityType.Name == contract.SelectHost {
			looks++
		}
	})
	env.SetOnTimerScheduledListener(func(_ string, pause time.Duration) { last = pause })
	env.ExecuteWorkflow(New().BootServer, in)
	require.Equal(t, "ERROR", w.server)
	require.Equal(t, "No valid host was found.", w.failed.Message)
	require.Less(t, looks, 1000)
	require.LessOrEqual(t, last, time.Hour)
}

func TestABuildThatIsCancelledWhileItWaitsForRoomSaysSo(t *testing.T) {
	line := func(steps []contract.StepProgress) contract.StepProgress {
		i := slices.IndexFunc(steps, func(s contract.StepProgress) bool { return s.Step == contract.SelectHost })
		require.GreaterOrEqual(t, i, 0)
		return steps[i]
	}
	w := newWorld()
	w.hosts = nil
	in := input()
	in.Deadlines.Capacity = time.Hour
	env := environment(w)
	env.RegisterDelayedCallback(func() {
		value, err := env.QueryWorkflow(contract.QueryProgress)
		require.NoError(t, err)
		var steps []contract.StepProgress
		require.NoError(t, value.Get(&steps))
		waits := line(steps)
		require.Equal(t, []any{contract.StepRunning, "Waiting for a host with room."}, []any{waits.State, waits.Detail})
		require.Nil(t, waits.Finished)
		env.CancelWorkflow()
	}, 10*time.Minute+time.Second)
	env.ExecuteWorkflow(New().BootServer, in)
	require.Error(t, env.GetWorkflowError())
	require.Equal(t, "ERROR", w.server)
	require.Empty(t, w.holds())
	ended := line(w.failed.Steps)
	require.Equal(t, contract.StepUndone, ended.State)
	require.Equal(t, "No valid host was found. The wait for a host with room was cancelled.", ended.Error)
	require.Empty(t, ended.Detail)
	require.NotNil(t, ended.Finished)
}

func TestAReservedServerWhoseAdmissionFailsIsGivenBack(t *testing.T) {
	for _, step := range []string{contract.ResolveImage, contract.ClaimQuota, contract.RecordServer} {
		w := newWorld()
		w.server = "BUILD"
		w.held["claim"], w.held["row"] = true, true
		in := input()
		in.Reserved = true
		failing(w, step, fault.Invalid, false)
		env := environment(w)
		env.ExecuteWorkflow(New().BootServer, in)
		require.Equal(t, "ERROR", w.server)
		require.Empty(t, w.holds())
	}
}

func TestADeleteOfAFinishedServerRunsEveryUndo(t *testing.T) {
	w := newWorld()
	boot(t, w, input())
	require.Equal(t, everything, w.holds())
	for range 2 { // twice is once
		env := environment(w)
		env.ExecuteWorkflow(ends(steps).DeleteServer, contract.DeleteInput{ServerID: input().ServerID, Deadlines: contract.DefaultDeadlines()})
		require.NoError(t, env.GetWorkflowError())
		require.Empty(t, w.holds())
		require.Equal(t, "DELETED", w.server)
	}
}

// ends is the teardown of what a table builds.
func ends(rows run.Table[*build]) teardown.Workflow {
	return teardown.Workflow{Rows: rows.Specs(), Version: TableVersion}
}

func TestADriveIsMadeAsItsBuildWasToldAndTheSpecKeepsWhatItIsMadeOf(t *testing.T) {
	for name, c := range map[string]struct {
		told *contract.DriveOptions
		want contract.DriveOptions
	}{
		"of before":   {nil, contract.DriveOptions{Format: "iso9660"}},
		"vfat, whole": {&contract.DriveOptions{Format: "vfat", SkipVersions: []string{}}, contract.DriveOptions{Format: "vfat", SkipVersions: []string{}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			w.image = contract.ResolvedImage{RootDevice: "/dev/sda"}
			var drive contract.BuildConfigDriveInput
			var domain contract.DefineDomainInput
			w.more = map[string]any{
				contract.BuildConfigDrive: func(_ context.Context, in contract.BuildConfigDriveInput) error {
					drive = in
					return w.do(contract.BuildConfigDrive, "hv1", "drive@hv1")
				},
				contract.DefineDomain: func(_ context.Context, in contract.DefineDomainInput) error {
					domain = in
					return w.do(contract.DefineDomain, "hv1", "domain@hv1")
				},
			}
			in := input()
			in.Drive, in.Seed, in.AdminPass, in.Flavor.SwapMiB = c.told, []byte("a seed"), "secret", 16
			require.NoError(t, boot(t, w, in).ended)
			require.Equal(t, c.want, contract.DriveOptions{Format: drive.Format, SkipVersions: drive.SkipVersions})
			require.Equal(t, c.want.Format, domain.Format)
			md := drive.Metadata
			require.Equal(t, []any{[]byte("a seed"), "/dev/sda", false, true}, []any{md.Seed, md.RootDevice, md.Ephemeral, md.Swap})
			spec := domain.Facts.Spec
			require.Equal(t, []any{[]byte("a seed"), "secret", c.told}, []any{spec.Seed, spec.AdminPass, spec.Drive})
		})
	}
}
