package installation_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/installation"
	kept "github.com/slipway-cloud/slipway/internal/installation"
	"github.com/slipway-cloud/slipway/models"
)

type engine struct {
	owner string
	holds kept.EngineSettings
	err   error
}

func (e *engine) Name() string                                          { return "a namespace" }
func (e *engine) Owner(context.Context) (string, error)                 { return e.owner, e.err }
func (e *engine) Settings(context.Context) (kept.EngineSettings, error) { return e.holds, e.err }

func TestAnAdministratorSeesWhoseEverythingIsAndAcknowledgesARestore(t *testing.T) {
	temporal := &engine{}
	e := apitest.New(t, func(x *echo.Echo, store *models.Store) {
		installation.New(store, temporal).Mount(x.Group("/installation"))
	})
	ctx, ops, member := t.Context(), e.User(t, "ops", "admin"), e.User(t, "one", "member")
	i, err := e.Store.Installation(ctx)
	require.NoError(t, err)
	_, err = e.Store.ImageStoreHolds(ctx, models.ImageStore{ID: "s", Name: "local", Location: "file:///images"})
	require.NoError(t, err)
	metrics := prometheus.NewRegistry()
	require.NoError(t, metrics.Register(installation.NewMetrics(e.Store, slog.New(slog.DiscardHandler))))
	gauge := func(name string) float64 {
		families, err := metrics.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == name {
				return f.GetMetric()[0].GetGauge().GetValue()
			}
		}
		t.Fatalf("no metric %s", name)
		return 0
	}

	for _, request := range [][]string{{"GET", "/installation"}, {"POST", "/installation/acknowledge"}} {
		require.Equal(t, 403, e.Do(t, request[0], request[1], member.Token, nil).Status)
		require.Equal(t, 401, e.Do(t, request[0], request[1], "", nil).Status)
	}
	a := e.Do(t, "GET", "/installation", ops.Token, nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, []any{i.ID, float64(i.Generation), false, nil}, []any{
		a.At(t, "installation", "id"), a.At(t, "installation", "generation"), a.At(t, "installation", "restored"), a.At(t, "installation", "restore"),
	})
	store := a.At(t, "installation", "image_stores").([]any)[0].(map[string]any)
	require.Equal(t, []any{"local", "file:///images"}, []any{store["name"], store["location"]})
	require.Nil(t, a.At(t, "installation", "temporal", "installation"))
	require.Zero(t, gauge("slipway_database_restored"))
	require.Equal(t, 409, e.Do(t, "POST", "/installation/acknowledge", ops.Token, nil).Status)

	for _, name := range []string{"retention", "history_events", "history_bytes", "visibility"} {
		require.Nil(t, a.At(t, "installation", "temporal", name), "it is not told")
	}

	temporal.owner = i.ID
	temporal.holds = kept.EngineSettings{Retention: 72 * time.Hour, HistoryEvents: 51200, Visibility: "postgres12"}
	require.NoError(t, e.Store.NoticeRestore(ctx, "host hv1", models.RestoreEvidence{Holds: 99, Given: 3}))
	a = e.Do(t, "GET", "/installation", ops.Token, nil)
	require.Equal(t, true, a.At(t, "installation", "restored"))
	seen := a.At(t, "installation", "restore", "evidence").([]any)[0].(map[string]any)
	require.Equal(t, []any{"host hv1", 99.0, 3.0}, []any{seen["witness"], seen["holds"], seen["given"]})
	require.Equal(t, i.ID, a.At(t, "installation", "temporal", "installation"))
	require.Equal(t, []any{"72h0m0s", 51200.0, nil, "postgres12"}, []any{
		a.At(t, "installation", "temporal", "retention"), a.At(t, "installation", "temporal", "history_events"),
		a.At(t, "installation", "temporal", "history_bytes"), a.At(t, "installation", "temporal", "visibility"),
	})
	require.Equal(t, 1.0, gauge("slipway_database_restored"))

	temporal.err = errors.New("away")
	a = e.Do(t, "POST", "/installation/acknowledge", ops.Token, nil)
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, []any{false, 100.0, ops.UserID}, []any{
		a.At(t, "installation", "restored"), a.At(t, "installation", "generation"), a.At(t, "installation", "restore", "acknowledged_by"),
	})
	require.Nil(t, a.At(t, "installation", "temporal", "installation"), "it does not answer")
	require.Zero(t, gauge("slipway_database_restored"))
}
