package identity

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/models"
)

// Token is whose a token is that was issued here, as it is now.
func (s *Service) Token(ctx context.Context, text string) (models.TokenInfo, error) {
	return s.store.Token(ctx, auth.HashToken(text), time.Now())
}
