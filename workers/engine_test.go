package workers

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/installation"
)

// newNamespace is one of the run's Temporal server that nothing else uses. No certificate may register one, or knows it.
func newNamespace(t *testing.T, data map[string]string) Namespace {
	t.Helper()
	c, err := client.Dial(client.Options{HostPort: testenv.TemporalInternal(t), Namespace: "slipway", Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	n := Namespace{Temporal: c, Namespace: "test-" + uuid.NewString(), ControlQueue: contract.DefaultControlQueue}
	_, err = c.WorkflowService().RegisterNamespace(t.Context(), &workflowservice.RegisterNamespaceRequest{
		Namespace: n.Namespace, WorkflowExecutionRetentionPeriod: durationpb.New(7 * 24 * time.Hour), Data: data,
	})
	require.NoError(t, err)
	return n
}

func (n Namespace) settings(t *testing.T) installation.EngineSettings {
	t.Helper()
	s, err := n.Settings(t.Context())
	require.NoError(t, err)
	return s
}

func TestTheRetentionIsSetWhereTheNamespaceIsSlipwaysOwn(t *testing.T) {
	const week, days = 7 * 24 * time.Hour, 72 * time.Hour
	own := map[string]string{managedKey: "yes", ids.InstallationKey("control"): "one", "somebody": "else's"}
	for name, c := range map[string]struct {
		data map[string]string
		is   time.Duration
	}{
		"its own":               {own, days},
		"its own, new":          {map[string]string{managedKey: "yes"}, days},
		"an operator's":         {map[string]string{ids.InstallationKey("control"): "one"}, week},
		"shared with another's": {map[string]string{managedKey: "yes", ids.InstallationKey("control"): "one", ids.InstallationKey("q"): "two"}, week},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNamespace(t, c.data)
			was, err := n.KeepRetention(t.Context(), days)
			require.NoError(t, err)
			require.Equal(t, map[bool]time.Duration{true: week, false: 0}[c.is == days], was)
			require.Equal(t, c.is, n.settings(t).Retention)
			was, err = n.KeepRetention(t.Context(), c.is)
			require.NoError(t, err)
			require.Zero(t, was, "it is so already")
			d, err := n.describe(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.data, d.NamespaceInfo.Data)
		})
	}
}

func TestSlipwaysOwnEngineTellsWhatHoldsThere(t *testing.T) {
	n := newNamespace(t, nil)
	s := n.settings(t)
	require.NotEmpty(t, s.Visibility)
	require.Zero(t, s.HistoryEvents, "nobody says so there")
	n.Namespace = "slipway"
	s = n.settings(t)
	require.EqualValues(t, 51200, s.HistoryEvents)
	require.EqualValues(t, 50<<20, s.HistoryBytes)
	n.Namespace = "gone"
	_, err := n.Settings(t.Context())
	require.ErrorAs(t, err, new(*serviceerror.NamespaceNotFound))
}
