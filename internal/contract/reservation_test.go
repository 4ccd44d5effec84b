package contract

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const firstID = "6f0c4c1e-8b53-4c0f-9d0e-0a52f1a7c001"

// A retry after an upgrade has to mean the same servers.
func TestTheIdsOfAReservationNeverChange(t *testing.T) {
	require.Equal(t, firstID, ReservedServerID(firstID, 0))
	require.Equal(t, "83dda1dc-5930-59d3-8366-adc43ed00955", ReservedServerID(firstID, 1))
	require.Equal(t, "c85c25b8-31fa-57c2-b4c7-1a709144529b", ReservedServerID(firstID, 999))
	require.Equal(t, "r-35o6t8wd", ReservationID(firstID))
	seen := map[string]bool{}
	for i := range 1000 {
		seen[ReservedServerID(firstID, i)] = true
		require.Regexp(t, regexp.MustCompile(`^r-[0-9a-z]{8}$`), ReservationID(ReservedServerID(firstID, i)))
	}
	require.Len(t, seen, 1000)
}

func TestServersAreNumberedWhereThereIsMoreThanOne(t *testing.T) {
	long := strings.Repeat("h", 63)
	for _, c := range []struct {
		name, hostname       string
		i, of                int
		wantName, wantedHost string
	}{
		{"web", "web", 0, 1, "web", "web"},
		{"web", "web", 0, 2, "web-1", "web-1"},
		{"My Web", "my-web", 999, 1000, "My Web-1000", "my-web-1000"},
		{"x", long, 0, 1, "x", long},
		{"x", long, 9, 10, "x-10", strings.Repeat("h", 60) + "-10"},
		{"x", strings.Repeat("h", 58) + "-tail", 9, 10, "x-10", strings.Repeat("h", 58) + "-t-10"},
		{"日本", "", 0, 1, "日本", "Server-" + firstID},
		{"日本", "", 9, 10, "日本-10", "Server-" + firstID},
		{"x", strings.Repeat("h", 59) + "-abc", 9, 10, "x-10", strings.Repeat("h", 59) + "-10"},
	} {
		name, hostname := ReservedNames(firstID, c.name, c.hostname, c.i, c.of)
		require.Equal(t, []string{c.wantName, c.wantedHost}, []string{name, hostname})
		require.LessOrEqual(t, len(hostname), 63)
	}
}
