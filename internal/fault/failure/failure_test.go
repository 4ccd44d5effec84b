package failure

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAFaultSurvivesTheWayThroughTemporal(t *testing.T) {
	for _, k := range fault.Kinds() {
		in := fmt.Errorf("while building: %w", fault.Wrap(k, errors.New("disk sda is gone"), "The disk could not be made."))
		out := Fault(Of(in))
		require.Equal(t, k, out.Kind)
		require.Equal(t, "The disk could not be made.", out.Text)
		require.ErrorContains(t, out, "disk sda is gone")
	}
}

// An activity's fault reaches the workflow as the engine wrote it down, and leaves it again as an answer or as the end of
// the workflow.
func TestAFaultSurvivesTheWayThroughAWorkflow(t *testing.T) {
	recorded := func(err error) error {
		c := temporal.GetDefaultFailureConverter()
		return c.FailureToError(c.ErrorToFailure(err))
	}
	for _, k := range fault.Kinds() {
		in := fault.Wrap(k, fmt.Errorf("reading: %w", errors.New("disk sda is gone")), "The disk could not be made.")
		inWorkflow := Fault(recorded(Of(in)))
		out := Fault(recorded(Of(inWorkflow)))
		require.Equal(t, k, out.Kind)
		require.Equal(t, "The disk could not be made.", out.Text)
		outer := Fault(recorded(Of(fault.Wrap(fault.NoValidHost, inWorkflow, "No valid host was found."))))
		require.Equal(t, fault.NoValidHost, outer.Kind)
		require.Equal(t, "No valid host was found.", outer.Text)
		require.ErrorContains(t, outer, "disk sda is gone")
	}
}

func TestAFaultThatIsNotTheHostsStaysSo(t *testing.T) {
	c := temporal.GetDefaultFailureConverter()
	for _, f := range []*fault.Error{fault.New(fault.HostUnfit, "The image asks for more."), fault.New(fault.Unavailable, "The store is away.").NotTheHosts()} {
		out := Fault(c.FailureToError(c.ErrorToFailure(Of(fmt.Errorf("fetching: %w", f)))))
		require.Equal(t, f.Blameless, out.Blameless)
		require.Equal(t, f.Kind, out.Kind)
		require.Equal(t, f.Text, out.Text)
	}
}

func TestATimeoutSaysWhoWasNotHeardOf(t *testing.T) {
	for kind, says := range map[enumspb.TimeoutType]string{
		enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START: "No worker took the step up",
		enumspb.TIMEOUT_TYPE_HEARTBEAT:         "not heard of any more",
		enumspb.TIMEOUT_TYPE_START_TO_CLOSE:    "did not finish in time",
	} {
		f := Fault(temporal.NewTimeoutError(kind, nil))
		require.Equal(t, fault.Unavailable, f.Kind)
		require.Contains(t, f.Text, says)
	}
}

func TestAnUnknownErrorIsInternalAndHidesItsCauseFromUsers(t *testing.T) {
	out := Fault(Of(errors.New("pq: password of slipway is hunter2")))
	require.Equal(t, fault.Internal, out.Kind)
	require.NotContains(t, out.Text, "hunter2")
	require.ErrorContains(t, out, "hunter2", "the operator still sees it")
}
