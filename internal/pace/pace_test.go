package pace

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPausesDoubleUpToALimitAndVary(t *testing.T) {
	for attempts, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 4: 8 * time.Second, 5: 10 * time.Second, 1000: 10 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 100 {
			p := Backoff(attempts, time.Second, 10*time.Second)
			require.LessOrEqual(t, p, want)
			require.GreaterOrEqual(t, p, want/2)
			seen[p] = true
		}
		require.Greater(t, len(seen), 1, "attempt %d", attempts)
	}
}

func TestARestEndsWithItsTimeTheBellOrItsContext(t *testing.T) {
	bell := NewBell()
	bell.Ring()
	bell.Ring()
	Rest(t.Context(), time.Hour, bell)
	Rest(t.Context(), time.Millisecond, bell) // one ring for both
	require.Empty(t, bell)
	Rest(t.Context(), time.Millisecond, nil)
	over, end := context.WithCancel(t.Context())
	end()
	Rest(over, time.Hour, nil)
}
