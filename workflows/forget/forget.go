// Package forget gives hosts up for good.
package forget

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/workflows/attributes"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// phase is what it shows.
const phase = "forgetting"

var steps = run.Table[*forgetting]{
	run.OnControl(contract.BeginForget, run.AdmissionPatience, forget).Accepts().Detached().
		TakesNothing("what was given up stays so"),

	run.OnWorker(contract.EmptyHost, untilEmpty, forget).Detached().
		TakesNothing("the last step: it is tried until nothing is left"),
}

// ForgetHost gives a host up: it is heard no more, nothing waits for it, and what was on it is lost. It answers its submission when
// the host's token has ended; the rest takes as long as builds take to notice that their host is gone.
func ForgetHost(ctx workflow.Context, in contract.ForgetHostInput) error {
	f := &forgetting{in: in}
	r := run.New(ctx, run.Frame{
		About: in.HostID, Log: []any{"host", in.Hostname, "host_id", in.HostID, "request_id", in.RequestID},
		Phase: phase, Failed: attributes.PhaseFailed, Ended: attributes.PhaseClean,
		Shown: func(ctx workflow.Context, phase string) {
			_ = workflow.UpsertTypedSearchAttributes(ctx, attributes.Phase.ValueSet(phase))
		},
		Words: contract.Summary,
	})
	if err := workflow.SetUpdateHandler(ctx, contract.UpdateSubmit, func(ctx workflow.Context, s contract.Submission) error {
		f.in.Extend(s)
		return r.Submitted(ctx)
	}); err != nil {
		return err
	}
	return run.Drive(ctx, r, steps, f)
}

// forgetting is the state of one.
type forgetting struct{ in contract.ForgetHostInput }

func forget(f *forgetting, _ int) (contract.ForgetHostInput, func(run.None)) { return f.in, nil }

// How EmptyHost is tried: each try does what can be done now, and says what is not yet. Who builds there notices within seconds
// that the host is silent; what takes longer has its own deadlines.
const (
	emptyTry    = 2 * time.Minute
	emptyPauses = 15 * time.Second
)

func untilEmpty(workflow.Context, *forgetting) (workflow.ActivityOptions, error) {
	return workflow.ActivityOptions{
		StartToCloseTimeout: emptyTry,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 1.5, MaximumInterval: emptyPauses},
	}, nil
}
