package host

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAHostThatCannotInjectSaysWhyAndWhatToDo(t *testing.T) {
	a := &Activities{o: Options{InstancesDir: t.TempDir(), CannotInject: errors.New("no FUSE here")}, servers: map[string]*turn{}}
	_, err := a.InjectData(t.Context(), contract.InjectDataInput{ServerID: "83679162-1378-4288-a2d4-70e13ec132aa"})
	require.True(t, fault.Is(err, fault.HostUnfit))
	require.ErrorContains(t, err, "the server needs a config drive: no FUSE here")
}

func TestAGuestWithAMetadataServiceNeedsNoInjection(t *testing.T) {
	a := &Activities{o: Options{InstancesDir: t.TempDir(), CannotInject: errors.New("no FUSE here")}, servers: map[string]*turn{}}
	in := contract.InjectDataInput{ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", Metadata: contract.InstanceMetadata{Ports: []contract.Port{switched}}}
	injected, err := a.InjectData(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, []string{"nothing was injected, and the guest is told by the metadata service alone: no FUSE here"}, injected.Notes)
	in.Metadata.Files = []contract.File{{Path: "/etc/motd"}}
	_, err = a.InjectData(t.Context(), in)
	require.True(t, fault.Is(err, fault.HostUnfit), "files are owed")
	in.Metadata.Files, in.Metadata.Ports = nil, []contract.Port{{ID: "on a bridge"}}
	_, err = a.InjectData(t.Context(), in)
	require.True(t, fault.Is(err, fault.HostUnfit))
}

func TestWhatAnImageSaysReachesItsUserAsText(t *testing.T) {
	dir := "/var/lib/slipway/instances/83679162"
	require.Equal(t, "the key mine not injected: e2fsck -p root: exit status 4: root: �  [31m",
		forUsers("the key mine not injected: e2fsck -p "+dir+"/root: exit status 4: "+dir+"/root: \xff\x00\x1b[31m", dir))
	long := forUsers(strings.Repeat("船", 6000), dir)
	require.LessOrEqual(t, len(long), noteBytes+len("…"))
	require.True(t, utf8.ValidString(long))
}
