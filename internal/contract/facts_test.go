package contract

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestADomainIsBehindAHostnameThatIsANameAlone(t *testing.T) {
	told := func(hostname string, drive *DriveOptions) string {
		return ServerFacts{Server: Server{Hostname: hostname}, Spec: ServerSpec{Drive: drive}}.Metadata("nova").Hostname
	}
	require.Equal(t, "web", told("web", nil))
	require.Equal(t, "web", told("web", &DriveOptions{}))
	require.Equal(t, "web.cloud.example", told("web", &DriveOptions{Domain: "cloud.example"}))
	require.Equal(t, "web.example.org", told("web.example.org", &DriveOptions{Domain: "cloud.example"}))
}

func TestAGuestIsToldOfTheGroupsThatItsPortsAreIn(t *testing.T) {
	told := func(ports ...Port) []string {
		facts := ServerFacts{Networks: make([]NICRequest, len(ports))}
		for _, p := range ports { // as histories hand them on
			text, err := json.Marshal(p)
			require.NoError(t, err)
			var read Port
			require.NoError(t, json.Unmarshal(text, &read))
			facts.Ports = append(facts.Ports, read)
		}
		return facts.Metadata("nova").SecurityGroups
	}
	require.Nil(t, told())
	require.Equal(t, []string{"default"}, told(Port{}, Port{}), "of a version that knew no other")
	require.Nil(t, told(Port{SecurityGroups: []string{}}))
	require.Equal(t, []string{"default", "web"}, told(Port{SecurityGroups: []string{"default"}}, Port{SecurityGroups: []string{"web", "default"}}))
}
