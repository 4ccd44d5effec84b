package metadata

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

func TestTheServiceAnswersTheBytesOfTheDrive(t *testing.T) {
	files, err := Files(full(), []string{})
	require.NoError(t, err)
	tree, err := NewTree(full())
	require.NoError(t, err)
	for _, f := range files {
		at := "/" + f.Path
		if of, ec2 := strings.CutPrefix(f.Path, "ec2/"); ec2 {
			if strings.HasSuffix(of, "/meta-data.json") {
				continue // told leaf by leaf
			}
			at = "/" + of
		}
		answer, ok := tree.Get(at)
		require.True(t, ok, at)
		require.Equal(t, string(f.Contents), string(answer.Body), at)
		again, ok := tree.Get(strings.TrimPrefix(at, "/") + "//")
		require.True(t, ok, at)
		require.Equal(t, answer, again)
	}
}

func TestTheServiceListsWhatThereIs(t *testing.T) {
	tree, err := NewTree(full())
	require.NoError(t, err)
	for at, want := range map[string]string{
		"/":                                strings.Join(EC2Versions, "\n"),
		"/openstack":                       strings.Join(OpenStackVersions, "\n"),
		"/openstack/2012-08-10/":           "meta_data.json\nuser_data",
		"/openstack/2013-04-04":            "meta_data.json\nuser_data\npassword",
		"/openstack/latest":                "meta_data.json\nuser_data\nvendor_data.json\nvendor_data2.json\nnetwork_data.json\npassword",
		"/latest":                          "meta-data/\nuser-data",
		"/1.0/meta-data/":                  "ami-id\nami-launch-index\nami-manifest-path\nhostname\ninstance-id\nlocal-ipv4\npublic-keys/\nreservation-id\nsecurity-groups",
		"/latest/meta-data/public-keys/":   "0=mine",
		"/latest/meta-data/public-keys/0/": "openssh-key",
		"/latest/meta-data/public-keys/0/openssh-key":   "ssh-ed25519 AAAAC3 me@here",
		"/latest/meta-data/placement/":                  "availability-zone",
		"/latest/meta-data/placement/availability-zone": "nova",
		"/latest/meta-data/block-device-mapping":        "ami\nephemeral0\nroot\nswap",
		"/latest/meta-data/security-groups":             "default",
		"/latest/meta-data/ami-launch-index":            "1",
		"/latest/meta-data/public-ipv4":                 "",
	} {
		answer, ok := tree.Get(at)
		require.True(t, ok, at)
		require.Equal(t, want, string(answer.Body), at)
	}
	for _, at := range []string{"/openstack/2011-01-01", "/openstack/content", "/openstack/latest/nothing", "/2010-01-01/meta-data", "/latest/meta-data/placement/rack", "/ec2/latest/meta-data.json"} {
		_, ok := tree.Get(at)
		require.False(t, ok, at)
	}
}

// A list names what is there, and only that.
func TestEveryNameInAListAnswers(t *testing.T) {
	for name, md := range map[string]contract.InstanceMetadata{"full": full(), "bare": {ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", Hostname: "bare"}} {
		tree, err := NewTree(md)
		require.NoError(t, err)
		for _, at := range slices.Sorted(maps.Keys(tree.answers)) {
			list, isList := tree.answers[at], false
			for other := range tree.answers {
				isList = isList || strings.HasPrefix(other, strings.TrimSuffix(at, "/")+"/") && other != at
			}
			if !isList || at == "/" {
				continue
			}
			for _, entry := range strings.Split(string(list.Body), "\n") {
				entry, _, _ = strings.Cut(strings.TrimSuffix(entry, "/"), "=")
				_, ok := tree.Get(at + "/" + entry)
				require.True(t, ok || IsPassword(at+"/"+entry), fmt.Sprintf("%s: %s/%s", name, at, entry))
			}
		}
	}
}

func TestAPasswordIsAtEachVersionSinceGrizzly(t *testing.T) {
	for at, is := range map[string]bool{
		"/openstack/latest/password": true, "openstack/2013-04-04/password/": true, "/openstack/2012-08-10/password": false,
		"/openstack/2011-01-01/password": false, "/openstack/password": false, "/latest/password": false, "/openstack/latest/password/x": false,
	} {
		require.Equal(t, is, IsPassword(at), at)
	}
}
