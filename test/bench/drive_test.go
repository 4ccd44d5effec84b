package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/configdrive"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/program"
)

// drives is how often a config drive is made: one is short.
const drives = 40

// benchDrive makes a config drive, and one of the same files with genisoimage alone, by turns.
func benchDrive(b *testing.B, r *report) {
	md := contract.InstanceMetadata{
		ServerID: "83679162-1378-4288-a2d4-70e13ec132aa", ProjectID: "p", Name: "bench", Hostname: "bench", AvailabilityZone: "nova",
		AdminPass: "secret", Seed: []byte("a seed"), UserData: []byte("#!/bin/sh\necho hello\n"),
		KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAAC3 me@here", Type: "ssh"}},
		Files:    []contract.File{{Path: "/etc/motd", Contents: []byte("hello\n")}},
		Ports: []contract.Port{{
			ID: "2ca9e1d9-53cb-4f7b-a5ab-1a1b54e5a7a4", NetworkID: "n1", MAC: "fa:16:3e:9c:bf:3d", MTU: 1450,
			Addresses: []contract.Address{{IP: "10.0.0.5", CIDR: "10.0.0.0/20", Gateway: "10.0.0.1", DNSServers: []string{"10.0.0.2"}}},
		}},
	}
	dir, tree := b.TempDir(), b.TempDir()
	files, err := metadata.Files(md, nil)
	require.NoError(b, err)
	for _, f := range files {
		path := filepath.Join(tree, f.Path)
		require.NoError(b, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(b, os.WriteFile(path, f.Contents, 0o644))
	}
	options := strings.Fields("-quiet -ldots -allow-lowercase -allow-multidot -l -J -r -V config-2")
	bare := filepath.Join(dir, "bare")
	for range drives {
		began := time.Now()
		require.NoError(b, configdrive.Build(b.Context(), program.Limits{}, dir, configdrive.ISO9660, nil, md))
		r.drive = append(r.drive, time.Since(began))
		require.NoError(b, configdrive.Remove(dir))

		began = time.Now()
		out, err := exec.CommandContext(b.Context(), "genisoimage", append(options, "-o", bare, tree)...).CombinedOutput()
		r.bareDrive = append(r.bareDrive, time.Since(began))
		require.NoError(b, err, "%s", out)
		require.NoError(b, os.Remove(bare))
	}
}
