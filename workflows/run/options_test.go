package run

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestASummaryIsCutBeforeTheEngineRefusesIt(t *testing.T) {
	require.Equal(t, "short", Summary("short"))
	long := Summary(strings.Repeat("船", 255))
	require.LessOrEqual(t, len(long), summaryBytes+len("…"))
	require.True(t, utf8.ValidString(long))
}
