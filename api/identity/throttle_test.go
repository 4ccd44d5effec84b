package identity

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/rest"
)

func TestFailuresOfThousandsOfNamesKeepNobodyElseOutAndForgetNone(t *testing.T) {
	at := time.Now()
	limit := newThrottle()
	limit.now = func() time.Time { return at }
	wrong, right := func() bool { return false }, func() bool { return true }
	fail := func(key string, times int) {
		t.Helper()
		for range times {
			good, err := limit.check(t.Context(), "192.0.2.1", key, wrong)
			require.NoError(t, err)
			require.False(t, good)
		}
	}
	refused := func(key string) {
		t.Helper()
		_, err := limit.check(t.Context(), "192.0.2.1", key, right)
		var status *rest.StatusError
		require.ErrorAs(t, err, &status)
		require.Equal(t, http.StatusTooManyRequests, status.Code)
	}
	fail("id/ann", failBurst)
	for i := range maxThrottled + 100 {
		fail("name/"+strings.Repeat("x", 1000)+fmt.Sprint(i), 1)
	}
	require.Equal(t, maxThrottled, len(limit.failed))
	refused("id/ann")
	fail("id/bob", failBurst)
	refused("id/bob")
	good, err := limit.check(t.Context(), "192.0.2.1", "id/cyd", right)
	require.NoError(t, err)
	require.True(t, good)
	require.Equal(t, maxThrottled, len(limit.failed), "of who logs in nothing is remembered")

	at = at.Add(failBurst * failEvery)
	fail("id/dan", 1)
	require.Equal(t, 1, len(limit.failed), "what is over is forgotten")
}
