package audit

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workers"
)

func TestTheScheduleFollowsTheSetting(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	engine, err := client.Dial(client.Options{
		HostPort: testenv.Temporal(t), Namespace: "slipway", ConnectionOptions: client.ConnectionOptions{TLS: testenv.Control(t).TLS(t)},
		Logger: log.NewStructuredLogger(quiet),
	})
	require.NoError(t, err)
	t.Cleanup(engine.Close)
	queue := testenv.Queue(t, "control")
	audits := workers.Schedule{ID: ids.AuditSchedule(queue), Of: "audit", Workflow: contract.WorkflowAuditTick, Queue: queue, Patience: time.Hour}
	ensureBy := func(ctx context.Context, every time.Duration) {
		s := audits
		s.Every = every
		require.NoError(t, s.Ensure(ctx, engine, quiet))
	}
	ensure := func(every time.Duration) { ensureBy(t.Context(), every) }
	t.Cleanup(func() { ensureBy(context.Background(), 0) })
	schedule := engine.ScheduleClient().GetHandle(t.Context(), audits.ID)
	every := func() time.Duration {
		d, err := schedule.Describe(t.Context())
		require.NoError(t, err)
		require.Len(t, d.Schedule.Spec.Intervals, 1)
		return d.Schedule.Spec.Intervals[0].Every
	}
	ensure(0)
	ensure(time.Hour)
	require.Equal(t, time.Hour, every())
	ensure(time.Hour)
	ensure(2 * time.Hour)
	require.Equal(t, 2*time.Hour, every())
	audits.Patience = 3 * time.Hour
	ensure(2 * time.Hour)
	changed, err := schedule.Describe(t.Context())
	require.NoError(t, err)
	require.IsType(t, &client.ScheduleWorkflowAction{}, changed.Schedule.Action)
	require.Equal(t, 3*time.Hour, changed.Schedule.Action.(*client.ScheduleWorkflowAction).WorkflowExecutionTimeout)
	ensure(0)
	_, err = schedule.Describe(t.Context())
	var absent *serviceerror.NotFound
	require.ErrorAs(t, err, &absent)
	ensure(0)
}
