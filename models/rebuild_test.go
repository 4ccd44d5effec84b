package models

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARebuildChangesWhatNobodyElseHasChangedAndItsUndoChangesItBack(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	rebuild := action(t, "rebuild")
	v := w.running(t, "web")
	require.NoError(t, w.db.WithContext(ctx).Exec("INSERT INTO server_specs (server_id, key_id, sealed, created_at) VALUES (?, 'k', 'old', now())", v.ID).Error)
	_, err := w.BeginAction(ctx, v.ID, rebuild, asked(v, rebuild, "req-1"))
	require.NoError(t, err)
	require.NoError(t, w.db.WithContext(ctx).Exec("UPDATE servers SET name = 'renamed' WHERE id = ?", v.ID).Error)

	is := v
	is.Name, is.Hostname, is.AccessIPv4, is.AutoDiskConfig, is.RootDeviceName = "db", "db", "192.0.2.9", true, "/dev/sda"
	is.KernelID, is.TrustedCertificates, is.Metadata = "kernel", []string{"a"}, map[string]string{"role": "db"}
	for range 2 {
		require.NoError(t, w.RebuildServer(ctx, "req-1", rebuild.Tasks(), Rebuild{Was: v, Is: is, Spec: ServerSpec{KeyID: "k", Sealed: []byte("new"), Parts: []string{}}}))
	}
	got := w.read(t, v.ID)
	require.Equal(t, "renamed", got.Name, "its user said so meanwhile")
	require.Equal(t, []any{"db", "192.0.2.9", true, "/dev/sda", "kernel", []string{"a"}, is.Metadata},
		[]any{got.Hostname, got.AccessIPv4, got.AutoDiskConfig, got.RootDeviceName, got.KernelID, got.TrustedCertificates, got.Metadata})
	specs, err := w.ServerSpecs(ctx, v.ID)
	require.NoError(t, err)
	require.Equal(t, "new", string(specs[v.ID].Sealed))

	for range 2 {
		require.NoError(t, w.RebuildServer(ctx, "req-1", rebuild.Tasks(), Rebuild{Was: is, Is: v, Spec: ServerSpec{KeyID: "k", Sealed: []byte("old"), Parts: []string{}}}))
	}
	got = w.read(t, v.ID)
	require.Equal(t, "renamed", got.Name)
	require.Equal(t, []any{v.Hostname, v.AccessIPv4, v.AutoDiskConfig, v.RootDeviceName, v.KernelID, v.TrustedCertificates, v.Metadata},
		[]any{got.Hostname, got.AccessIPv4, got.AutoDiskConfig, got.RootDeviceName, got.KernelID, got.TrustedCertificates, got.Metadata})

	require.NoError(t, w.FailAction(ctx, v.ID, "req-1", rebuild, v, ServerFault{Code: 500, Message: "x"}, nil))
	require.NoError(t, w.RebuildServer(ctx, "req-1", rebuild.Tasks(), Rebuild{Was: v, Is: is, Spec: ServerSpec{KeyID: "k", Sealed: []byte("new"), Parts: []string{}}}))
	require.Equal(t, v.Hostname, w.read(t, v.ID).Hostname, "a rebuild that was given back changes nothing any more")
}
