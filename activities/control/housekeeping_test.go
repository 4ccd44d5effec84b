package control

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

func TestHousekeepingEndsWhatDeadProcessesLeftAndCanBeDoneAgain(t *testing.T) {
	m := newImporting(t, images.Config{})
	ctx := t.Context()
	interrupted := m.queued(t, contract.ImportWeb).Task.ImageID
	_, err := m.rows.MoveImage(ctx, interrupted, models.ImageMove{From: models.ImageQueued, To: models.ImageSaving})
	require.NoError(t, err)
	_, err = m.rows.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	old, live := token(t, m.rows, time.Now().Add(-time.Minute)), token(t, m.rows, time.Now().Add(time.Hour))

	for range 2 {
		require.NoError(t, m.SettleImages(ctx, contract.Housekeeping{}))
		require.NoError(t, m.SettleStores(ctx, contract.Housekeeping{}))
		require.NoError(t, m.PurgeTokens(ctx, contract.Housekeeping{}))
		require.NoError(t, m.PurgeImageTasks(ctx, contract.Housekeeping{}))
		image, err := m.rows.Image(ctx, interrupted)
		require.NoError(t, err)
		require.Equal(t, models.ImageQueued, image.Status)
		_, err = m.rows.Token(ctx, old, time.Now().Add(-time.Hour))
		require.Error(t, err, "it was purged")
		_, err = m.rows.Token(ctx, live, time.Now())
		require.NoError(t, err)
	}
}

func token(t *testing.T, rows *models.Store, until time.Time) []byte {
	t.Helper()
	_, hash := auth.NewToken()
	require.NoError(t, rows.CreateToken(t.Context(), models.Token{
		Hash: hash, AuditID: auth.NewAuditID(), UserID: "u1", Methods: "password", IssuedAt: time.Now().Add(-2 * time.Hour), ExpiresAt: until,
	}))
	return hash
}
