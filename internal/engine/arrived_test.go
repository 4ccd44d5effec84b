package engine

import (
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/mocks"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestWhatHasArrivedIsWhatTheStepThatReceivesLastSaid(t *testing.T) {
	said, err := converter.GetDefaultDataConverter().ToPayloads(contract.TransferProgress{Bytes: 30, Total: 40})
	require.NoError(t, err)
	pending := func(step string, says *common.Payloads) *client.WorkflowExecutionDescription {
		return &client.WorkflowExecutionDescription{RawResponse: &workflowservice.DescribeWorkflowExecutionResponse{
			PendingActivities: []*workflowpb.PendingActivityInfo{{ActivityType: &common.ActivityType{Name: step}, HeartbeatDetails: says}},
		}}
	}
	for name, c := range map[string]struct {
		is    *client.WorkflowExecutionDescription
		fails error
		want  int64
		kind  fault.Kind
	}{
		"it receives":             {is: pending(contract.ReceiveDisks, said), want: 30},
		"it has said nothing yet": {is: pending(contract.ReceiveDisks, nil)},
		"something else runs":     {is: pending(contract.FetchImage, said)},
		"nothing runs":            {is: pending("", nil)},
		"it never moved":          {fails: serviceerror.NewNotFound("no")},
		"the engine is away":      {fails: serviceerror.NewUnavailable("no"), kind: fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			temporal := mocks.NewClient(t)
			temporal.On("DescribeWorkflow", mock.Anything, "server/s", "").Return(c.is, c.fails)
			at, err := NewClient(temporal, "control").Arrived(t.Context(), "s")
			require.Equal(t, c.want, at.Bytes)
			if c.kind == "" {
				require.NoError(t, err)
			} else {
				require.True(t, fault.Is(err, c.kind), "%v", err)
			}
		})
	}
}
