package stack

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAChildThatWorkedForAWhileIsStartedAgainAtOnce(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for name, c := range map[string]struct{ ran, pauses []time.Duration }{
		"it cannot start":          {[]time.Duration{0, 0, 0, 0, 0, 0, 0, 0}, []time.Duration{500 * ms, s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}},
		"it is killed and killed":  {[]time.Duration{time.Hour, 15 * s, 20 * s, 10 * s}, []time.Duration{500 * ms, 500 * ms, 500 * ms, 500 * ms}},
		"it recovers in the end":   {[]time.Duration{s, s, s, time.Minute, s}, []time.Duration{500 * ms, s, 2 * s, 500 * ms, s}},
		"it always dies in a bit":  {[]time.Duration{9 * s, 9 * s, 9 * s}, []time.Duration{500 * ms, s, 2 * s}},
		"it works but cannot stay": {[]time.Duration{time.Hour, 0, 0}, []time.Duration{500 * ms, s, 2 * s}},
	} {
		t.Run(name, func(t *testing.T) {
			var b backoff
			for i, ran := range c.ran {
				require.Equal(t, c.pauses[i], b.after(ran), "death %d", i+1)
			}
		})
	}
}
