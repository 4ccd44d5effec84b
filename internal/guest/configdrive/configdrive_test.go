package configdrive

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/program"
)

var md = contract.InstanceMetadata{
	ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", Name: "web", Hostname: "web", AdminPass: "s3cret", Seed: []byte("a seed"),
	UserData: bytes.Repeat([]byte("user data "), 5000),
	Files:    []contract.File{{Path: "/etc/motd", Contents: []byte("hello\n")}},
	Ports:    []contract.Port{{ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", MAC: "fa:16:3e:9c:bf:3d"}},
}

// read reads one file of a drive with a program that did not make it.
func read(t *testing.T, format, image, path string) []byte {
	t.Helper()
	cmd := exec.Command("isoinfo", "-i", image, "-R", "-x", "/"+path)
	if format == VFAT {
		cmd = exec.Command("mtype", "-i", image, "::/"+path)
	}
	out, err := cmd.Output()
	require.NoError(t, err, path)
	return out
}

func TestADriveHoldsTheWholeTreeUnderItsNames(t *testing.T) {
	for _, format := range []string{ISO9660, VFAT} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, Build(t.Context(), program.Limits{}, dir, format, nil, md))
			image := filepath.Join(dir, Name)
			label, err := exec.Command("blkid", "-o", "value", "-s", "LABEL", image).Output()
			require.NoError(t, err)
			require.Equal(t, "config-2", strings.TrimSpace(string(label)))
			st, err := os.Stat(image)
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), st.Mode().Perm(), "a password lies in it")
			files, err := metadata.Files(md, nil)
			require.NoError(t, err)
			for _, f := range files {
				got := read(t, format, image, f.Path)
				require.Equal(t, f.Contents, got, f.Path)
			}
			if format == ISO9660 {
				out, err := exec.Command("isoinfo", "-d", "-i", image).Output()
				require.NoError(t, err)
				require.Contains(t, string(out), "Publisher id: Slipway")
				out, err = exec.Command("isoinfo", "-J", "-f", "-i", image).Output()
				require.NoError(t, err)
				require.Contains(t, string(out), "/openstack/2020-10-14/network_data.json")
			} else {
				out, err := exec.Command("fsck.vfat", "-n", image).CombinedOutput()
				require.NoError(t, err, "%s", out)
			}
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Len(t, left, 1, "only the drive is left")
		})
	}
}

func TestTheSameFactsMakeTheSameBytes(t *testing.T) {
	drives := func(md contract.InstanceMetadata) map[string][]byte {
		made := map[string][]byte{}
		for _, format := range []string{ISO9660, VFAT} {
			dir := t.TempDir()
			require.NoError(t, Build(t.Context(), program.Limits{}, dir, format, nil, md))
			b, err := os.ReadFile(filepath.Join(dir, Name))
			require.NoError(t, err)
			made[format] = b
		}
		return made
	}
	first := drives(full())
	// FAT counts time in steps of two seconds. In the next one every clock that the programs read has gone on.
	<-time.After(time.Until(time.Now().Truncate(2 * time.Second).Add(2 * time.Second)))
	again := drives(full())
	other := full()
	other.Metadata = map[string]string{"role": "db"}
	for format, of := range drives(other) {
		require.True(t, bytes.Equal(first[format], again[format]), format)
		require.False(t, bytes.Equal(first[format], of), format)
	}
}

func TestADriveIsKeptByTheSameStepAgainAndGoneAfterItsUndo(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, Name)
	require.NoError(t, Build(t.Context(), program.Limits{}, dir, ISO9660, nil, md))
	first, err := os.ReadFile(image)
	require.NoError(t, err)
	require.NoError(t, Build(t.Context(), program.Limits{}, dir, ISO9660, nil, md))
	again, err := os.ReadFile(image)
	require.NoError(t, err)
	require.True(t, bytes.Equal(first, again))

	require.NoError(t, os.Truncate(image, 1000))
	require.NoError(t, os.MkdirAll(image+treeSuffix+"/x", 0o700))
	require.NoError(t, Build(t.Context(), program.Limits{}, dir, ISO9660, nil, md), "a broken one is made anew")
	require.NoError(t, Build(t.Context(), program.Limits{}, dir, VFAT, nil, md), "another format is made anew")
	format, err := formatOf(image)
	require.NoError(t, err)
	require.Equal(t, VFAT, format)

	require.NoError(t, Remove(dir))
	require.NoError(t, Remove(dir))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// The mode is that of the file's first moment: nothing changes it afterwards.
func TestADriveIsClosedToOtherUsersFromItsFirstMoment(t *testing.T) {
	for _, format := range []string{ISO9660, VFAT} {
		dir := t.TempDir()
		require.NoError(t, Build(t.Context(), program.Limits{}, dir, format, nil, md))
		st, err := os.Stat(filepath.Join(dir, Name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), st.Mode(), format)
	}
}

func TestAnUnknownFormatIsRefused(t *testing.T) {
	require.True(t, fault.Is(Build(t.Context(), program.Limits{}, t.TempDir(), "ext4", nil, md), fault.Invalid))
}

func TestTheTreeIsGoneAfterAFailureToo(t *testing.T) {
	dir := t.TempDir()
	err := Build(t.Context(), program.Limits{Deadline: time.Nanosecond}, dir, ISO9660, nil, md)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	left, readErr := os.ReadDir(dir)
	require.NoError(t, readErr)
	require.Empty(t, left)
}

func BenchmarkBuild(b *testing.B) {
	for _, format := range []string{ISO9660, VFAT} {
		b.Run(format, func(b *testing.B) {
			dir := b.TempDir()
			for b.Loop() {
				if err := Build(b.Context(), program.Limits{}, dir, format, nil, md); err != nil {
					b.Fatal(err)
				}
				if err := Remove(dir); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
