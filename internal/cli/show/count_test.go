package show

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAThousandThingsPrintFewLines(t *testing.T) {
	var out bytes.Buffer
	view := NewCountView(&out, false, time.Now)
	for ended := range int64(1001) {
		view.Show(ended, 1000, fmt.Sprintf("%d of 1000", ended))
	}
	view.Show(1000, 1000, "1000 of 1000")
	view.Close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, plainLines+1)
	require.Equal(t, "0 of 1000", lines[0])
	require.Equal(t, "  1000 of 1000", lines[plainLines])
}
