package show

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressIsLinesWhereThereIsNoTerminal(t *testing.T) {
	var out bytes.Buffer
	clock := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tr := NewTransfer(&out, false, func() time.Time { return clock }, ProgressChoice{On: true}, "uploaded", "debian", 100)
	for range 4 {
		clock = clock.Add(time.Second)
		tr.Add(3) // less than a twentieth: every second one makes a line
	}
	clock = clock.Add(lineEvery)
	tr.Add(1)
	tr.Add(87)
	tr.End(true)
	require.Equal(t, "  debian    6 %  6 B of 100 B  3 B/s  31.3 s left\n  debian   12 %  12 B of 100 B  3 B/s  29.3 s left\n"+
		"  debian   13 %  13 B of 100 B  0 B/s  1m34s left\nuploaded debian: 100 B in 14.0 s (7 B/s)\n", out.String())
}

func TestAFinishedTransferIsOneLine(t *testing.T) {
	require.Equal(t, "uploaded debian: 12.0 MiB in 2.0 s (6.0 MiB/s)", transferLine("uploaded", "debian", 12<<20, 2*time.Second))
	require.Equal(t, "saved x: 5 B in 0 ms", transferLine("saved", "x", 5, 0))
}
