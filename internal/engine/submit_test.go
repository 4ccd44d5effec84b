package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/mock"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/mocks"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/fault/failure"
)

// The engine's server ends a call at the deadline that came with it, and may do so before the client's own clock does.
func TestASubmissionThatNobodyAnsweredIsSentAgain(t *testing.T) {
	refused := failure.Of(fault.New(fault.Invalid, "The image is too large."))
	for name, c := range map[string]struct {
		first error
		sent  int
		ends  error
	}{
		"its time was over for the engine first": {client.NewWorkflowUpdateServiceTimeoutOrCanceledError(errors.New("RST_STREAM")), 2, nil},
		"the run that it met has ended":          {serviceerror.NewNotFound("workflow execution already completed"), 2, nil},
		"it was refused":                         {refused, 1, refused},
	} {
		t.Run(name, func(t *testing.T) {
			temporal := mocks.NewClient(t)
			temporal.On("NewWithStartWorkflowOperation", mock.Anything, mock.Anything, mock.Anything).Return(nil)
			update := mocks.NewWorkflowUpdateHandle(t)
			temporal.On("UpdateWithStartWorkflow", mock.Anything, mock.Anything).Return(nil, c.first).Once()
			if c.ends == nil {
				temporal.On("UpdateWithStartWorkflow", mock.Anything, mock.Anything).Return(update, nil).Once()
				update.On("Get", mock.Anything, mock.Anything).Return(nil)
			}
			err := (&Client{temporal: temporal}).submit(context.Background(), client.UpdateWorkflowOptions{}, nil, client.StartWorkflowOptions{}, "w", nil)
			require.Equal(t, c.ends, err)
			temporal.AssertNumberOfCalls(t, "UpdateWithStartWorkflow", c.sent)
		})
	}
}
