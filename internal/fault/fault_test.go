package fault

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
)

func TestEveryKindHasItsTraits(t *testing.T) {
	require.Len(t, kinds, len(Kinds()))
	for _, k := range Kinds() {
		require.Contains(t, kinds, k)
		require.GreaterOrEqual(t, k.Status(), 400)
	}
}

func TestAFaultSurvivesTheWayThroughTemporal(t *testing.T) {
	for _, k := range Kinds() {
		in := fmt.Errorf("while building: %w", Wrap(k, errors.New("disk sda is gone"), "The disk could not be made."))
		out := FromTemporal(ToTemporal(in))
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
	for _, k := range Kinds() {
		in := Wrap(k, fmt.Errorf("reading: %w", errors.New("disk sda is gone")), "The disk could not be made.")
		inWorkflow := FromTemporal(recorded(ToTemporal(in)))
		out := FromTemporal(recorded(ToTemporal(inWorkflow)))
		require.Equal(t, k, out.Kind)
		require.Equal(t, "The disk could not be made.", out.Text)
		outer := FromTemporal(recorded(ToTemporal(Wrap(NoValidHost, inWorkflow, "No valid host was found."))))
		require.Equal(t, NoValidHost, outer.Kind)
		require.Equal(t, "No valid host was found.", outer.Text)
		require.ErrorContains(t, outer, "disk sda is gone")
	}
}

func TestAFaultThatIsNotTheHostsStaysSo(t *testing.T) {
	c := temporal.GetDefaultFailureConverter()
	for _, f := range []*Error{New(HostUnfit, "The image asks for more."), New(Unavailable, "The store is away.").NotTheHosts()} {
		out := FromTemporal(c.FailureToError(c.ErrorToFailure(ToTemporal(fmt.Errorf("fetching: %w", f)))))
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
		f := FromTemporal(temporal.NewTimeoutError(kind, nil))
		require.Equal(t, Unavailable, f.Kind)
		require.Contains(t, f.Text, says)
	}
}

func TestAnUnknownErrorIsInternalAndHidesItsCauseFromUsers(t *testing.T) {
	out := FromTemporal(ToTemporal(errors.New("pq: password of slipway is hunter2")))
	require.Equal(t, Internal, out.Kind)
	require.NotContains(t, out.Text, "hunter2")
	require.ErrorContains(t, out, "hunter2", "the operator still sees it")
}
