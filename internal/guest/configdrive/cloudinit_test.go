package configdrive

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/program"
)

// understood is what cloud-init read.
type understood struct {
	Version    int               `json:"version"`
	InstanceID string            `json:"instance_id"`
	Hostname   string            `json:"hostname"`
	PublicKeys map[string]string `json:"public_keys"`
	RandomSeed []byte            `json:"random_seed"`
	UserData   []byte            `json:"user_data"`
	Files      map[string][]byte `json:"files"`
	VendorData any               `json:"vendor_data"`
	EC2        map[string]any    `json:"ec2"`
	Network    struct {
		Config []struct {
			Name    string `json:"name"`
			Type    string `json:"type"`
			MAC     string `json:"mac_address"`
			MTU     int    `json:"mtu"`
			Subnets []struct {
				Type    string           `json:"type"`
				Address string           `json:"address"`
				Netmask string           `json:"netmask"`
				Gateway string           `json:"gateway"`
				Routes  []map[string]any `json:"routes"`
			} `json:"subnets"`
			Address any `json:"address"`
		} `json:"config"`
	} `json:"network"`
}

// cloudInit makes a drive and reads it as a guest's cloud-init does.
func cloudInit(t *testing.T, format string, md contract.InstanceMetadata) understood {
	t.Helper()
	dir, tree := t.TempDir(), t.TempDir()
	require.NoError(t, Build(t.Context(), program.Limits{}, dir, format, nil, md))
	files, err := metadata.Files(md, nil)
	require.NoError(t, err)
	for _, f := range files {
		path := filepath.Join(tree, f.Path)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, read(t, format, filepath.Join(dir, Name), f.Path), 0o644))
	}
	args := []string{"testdata/read.py", tree}
	for _, p := range md.Ports {
		args = append(args, p.MAC)
	}
	cmd := exec.Command("/usr/bin/python3", args...) // Debian's own, for which its packages are
	cmd.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join(testenv.CloudInit(t), "usr/lib/python3/dist-packages"), "PYTHONDONTWRITEBYTECODE=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	answer, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var u understood
	require.NoError(t, json.Unmarshal(answer, &u), "%s", answer)
	return u
}

func full() contract.InstanceMetadata {
	return contract.InstanceMetadata{
		ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", ProjectID: "p", Name: "web", Hostname: "web-one", AvailabilityZone: "nova",
		FlavorName: "small", AdminPass: `R: "s3cr<t" $6$`, Seed: []byte("a seed"),
		KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAAC3 me@here", Type: "ssh"}},
		Files:    []contract.File{{Path: "/etc/motd", Contents: []byte("hello\n")}, {Path: "/root/bin", Contents: []byte{0, 1, 0xff}}},
		Ports: []contract.Port{
			{ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "n1", MAC: "fa:16:3e:9c:bf:3d", MTU: 1450, Addresses: []contract.Address{
				{IP: "10.0.0.5", CIDR: "10.0.0.0/20", Gateway: "10.0.0.1", DNSServers: []string{"10.0.0.2"}, SubnetID: "s1"},
				{IP: "2001:db8::5", CIDR: "2001:db8::/64", Gateway: "2001:db8::1", SubnetID: "s2"},
			}},
			{ID: "3ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "n2", MAC: "fa:16:3e:00:00:02"},
		},
	}
}

func TestCloudInitReadsWhatWasAskedFor(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte("#cloud-config\n{}\n"))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	most := make([]byte, 65535/4*3) // of base64 on the wire
	_, err = rand.Read(most)
	require.NoError(t, err)
	multipart := []byte("Content-Type: multipart/mixed; boundary=\"==b==\"\nMIME-Version: 1.0\n\n--==b==\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho hi\n--==b==--\n")
	for name, userData := range map[string][]byte{
		"a script": []byte("#!/bin/sh\necho hi\n"), "gzip": packed.Bytes(), "multipart": multipart, "as much as there may be": most,
		"not UTF-8": {0xff, 0xfe, 0, 'a'}, "none": nil,
	} {
		for _, format := range []string{ISO9660, VFAT} {
			t.Run(name+", "+format, func(t *testing.T) {
				md := full()
				md.UserData = userData
				u := cloudInit(t, format, md)

				require.Equal(t, []any{2, md.ServerID, md.Hostname}, []any{u.Version, u.InstanceID, u.Hostname})
				require.Equal(t, map[string]string{"mine": "ssh-ed25519 AAAAC3 me@here"}, u.PublicKeys)
				require.Equal(t, string(userData), string(u.UserData))
				require.Equal(t, map[string][]byte{"/etc/motd": []byte("hello\n"), "/root/bin": {0, 1, 0xff}}, u.Files)
				require.Len(t, u.RandomSeed, 512)
				require.Equal(t, "small", u.EC2["instance-type"])
				config, ok := u.VendorData.(string)
				require.True(t, ok, "%v", u.VendorData)
				require.Contains(t, config, `"password":"R: \"s3cr\u003ct\" $6$"`)

				eth0 := u.Network.Config[0]
				require.Equal(t, []any{"eth0", "physical", md.Ports[0].MAC, 1450}, []any{eth0.Name, eth0.Type, eth0.MAC, eth0.MTU})
				require.Len(t, eth0.Subnets, 2)
				require.Equal(t, []any{"static", "10.0.0.5", "255.255.240.0"}, []any{eth0.Subnets[0].Type, eth0.Subnets[0].Address, eth0.Subnets[0].Netmask})
				require.Contains(t, []string{"static", "static6"}, eth0.Subnets[1].Type)
				require.Equal(t, "2001:db8::5", eth0.Subnets[1].Address)
				require.Equal(t, "eth1", u.Network.Config[1].Name)
				require.Equal(t, map[string]any{"type": "nameserver", "address": "10.0.0.2"}, map[string]any{"type": u.Network.Config[2].Type, "address": u.Network.Config[2].Address})
			})
		}
	}
}

func TestTheOperatorsVendorDataStandsBesideThePassword(t *testing.T) {
	md := full()
	md.VendorData = map[string]any{"cloud-init": "#cloud-config\n{ntp: {}}\n", "site": "one"}
	u := cloudInit(t, ISO9660, md)
	parts, ok := u.VendorData.([]any)
	require.True(t, ok, "%v", u.VendorData)
	require.Equal(t, "#cloud-config\n{ntp: {}}\n", parts[0])
	require.Contains(t, parts[1], "chpasswd")
}

func TestCloudInitLeavesToTheNetworkWhatItTells(t *testing.T) {
	md := full()
	md.Ports[0].Addresses[0].Mode = contract.AddressDHCP
	for mode, read := range map[contract.AddressMode]string{
		contract.AddressDHCP: "dhcp6", contract.AddressSLAAC: "ipv6_slaac", contract.AddressStateful: "ipv6_dhcpv6-stateful",
		contract.AddressStateless: "ipv6_dhcpv6-stateless",
	} {
		md.Ports[0].Addresses[1].Mode = mode
		subnets := cloudInit(t, ISO9660, md).Network.Config[0].Subnets
		require.Len(t, subnets, 2)
		require.Equal(t, []string{"dhcp4", "", read}, []string{subnets[0].Type, subnets[0].Address, subnets[1].Type})
	}
}
