package imds

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

func TestCloudInitReadsTheServiceAsItReadsADrive(t *testing.T) {
	w := newWorld()
	i := w.servers["one 10.0.0.5"]
	i.Metadata.Hostname, i.Metadata.FlavorName, i.Metadata.AvailabilityZone = "web-one", "small", "nova"
	i.Metadata.UserData = []byte{0x1f, 0x8b, 0xff, 0} // as gzip has it, which is no text
	i.Metadata.VendorData = map[string]any{"cloud-init": "#cloud-config\n{ntp: {}}\n"}
	i.Metadata.Files = []contract.File{{Path: "/etc/motd", Contents: []byte("hello\n")}, {Path: "/root/bin", Contents: []byte{0, 1, 0xff}}}
	i.Metadata.Ports = []contract.Port{{ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "one", MAC: w.a.MAC, MTU: 1442, VIFType: contract.VIFOVS, Addresses: []contract.Address{
		{IP: "10.0.0.5", CIDR: "10.0.0.0/24", Gateway: "10.0.0.1", SubnetID: "s1"},
	}}}
	w.servers["one 10.0.0.5"] = i
	server := httptest.NewServer(w.service.Handler(func(*http.Request) (Asker, bool) { return w.a, true }, func(Asker) (time.Time, error) { return time.Time{}, nil }))
	t.Cleanup(server.Close)

	cmd := exec.Command("/usr/bin/python3", "testdata/read.py", server.URL) // Debian's own, for which its packages are
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(testenv.CloudInit(t), "usr/lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE=1", "NO_PROXY=*")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var understood struct {
		Version      int               `json:"version"`
		InstanceID   string            `json:"instance_id"`
		Hostname     string            `json:"hostname"`
		PublicKeys   map[string]string `json:"public_keys"`
		RandomSeed   []byte            `json:"random_seed"`
		UserData     []byte            `json:"user_data"`
		EC2UserData  []byte            `json:"ec2_user_data"`
		Files        map[string][]byte `json:"files"`
		VendorData   string            `json:"vendor_data"`
		EC2          map[string]any    `json:"ec2"`
		PhysicalMACs []string          `json:"network"`
	}
	require.NoError(t, json.Unmarshal(answer, &understood), "%s", answer)
	require.Equal(t, []any{2, "id-1", "web-one"}, []any{understood.Version, understood.InstanceID, understood.Hostname})
	require.Equal(t, map[string]string{"mine": "ssh-ed25519 AAAA"}, understood.PublicKeys)
	require.Len(t, understood.RandomSeed, 512)
	require.Equal(t, i.Metadata.UserData, understood.UserData)
	require.Equal(t, i.Metadata.UserData, understood.EC2UserData)
	require.Equal(t, map[string][]byte{"/etc/motd": []byte("hello\n"), "/root/bin": {0, 1, 0xff}}, understood.Files)
	require.Equal(t, "#cloud-config\n{ntp: {}}\n", understood.VendorData)
	require.Equal(t, []string{w.a.MAC}, understood.PhysicalMACs)
	require.Equal(t, "small", understood.EC2["instance-type"])
	require.Equal(t, map[string]any{"availability-zone": "nova"}, understood.EC2["placement"])
	require.Equal(t, map[string]any{"mine": "ssh-ed25519 AAAA"}, understood.EC2["public-keys"])
}
