package contract

import (
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
