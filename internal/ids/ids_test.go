package ids

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const firstID = "6f0c4c1e-8b53-4c0f-9d0e-0a52f1a7c001"

// A retry after an upgrade has to mean the same servers.
func TestTheIdsOfAReservationNeverChange(t *testing.T) {
	require.Equal(t, firstID, ReservedServer(firstID, 0))
	require.Equal(t, "83dda1dc-5930-59d3-8366-adc43ed00955", ReservedServer(firstID, 1))
	require.Equal(t, "c85c25b8-31fa-57c2-b4c7-1a709144529b", ReservedServer(firstID, 999))
	require.Equal(t, "r-35o6t8wd", Reservation(firstID))
	seen := map[string]bool{}
	for i := range 1000 {
		seen[ReservedServer(firstID, i)] = true
		require.Regexp(t, regexp.MustCompile(`^r-[0-9a-z]{8}$`), Reservation(ReservedServer(firstID, i)))
	}
	require.Len(t, seen, 1000)
}

// Rows, guests and hosts hold them: computed once, outside of this program.
func TestWhatDerivesFromAnIDNeverChanges(t *testing.T) {
	port, err := Port(firstID, 1)
	require.NoError(t, err)
	for got, want := range map[string]string{
		Server("p", "k"):               "f4556ec8-33c6-516a-a0a9-3ec473df5c26",
		port:                           "e5a84570-a475-5241-9371-9b670b67098f",
		SecurityGroup("p"):             "987f4951-f726-544e-9d5b-8912c74d513e",
		Identity("role", "member"):     "228f2f9559da5ae38c423f06685ac414",
		Placement("s", "h", "active"):  "d440ce07-daa6-5702-996b-3b17266a1f2f",
		Finding("kind", "object"):      "c9079df0-b028-5814-be36-c63ba338f963",
		Adopted("name"):                "f55ccff7-d631-5f3b-b831-9049a34e0fe8",
		Copied("p1", "key"):            "9497ac8b-509f-58ff-9a37-30f58d70ca42",
		Store("i", "/images"):          "9f078ae0-58b9-5ec8-90db-772f3e650e8a",
		TrialGuest("/d"):               "5851aef2-2eaf-5679-a24f-c84e86e2ee67",
		Host("p", "hv1"):               "f7de1130475a1ce6a57fb307822dcbd0bca6c02470b14e9c49b8e5d7",
		MACs("p1")[0]:                  "fa:16:3e:f6:45:51",
		Bridge(firstID):                "slw6f0c4c1e8b5",
		Tap(firstID):                   "tap6f0c4c1e-8b",
		Hostname(firstID):              "Server-" + firstID,
		Volume(firstID):                "49a73e1e",
		EC2(EC2Instance, firstID):      "i-6f0c4c1e8b534c0f9",
		EC2(EC2SecurityGroup, firstID): "sg-6f0c4c1e8b534c0f9",
		Tap("short") + Host("p", ""):   "",
		EC2(EC2Interface, ""):          "",
	} {
		require.Equal(t, want, got)
	}
	require.Len(t, MACs("p1"), 10)
	_, err = Port("no id", 0)
	require.ErrorContains(t, err, "no id")
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
		name, hostname := Reserved(firstID, c.name, c.hostname, c.i, c.of)
		require.Equal(t, []string{c.wantName, c.wantedHost}, []string{name, hostname})
		require.LessOrEqual(t, len(hostname), 63)
	}
}
