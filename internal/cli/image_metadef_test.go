package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMetadataDefinitionsAreLoadedFromFilesAndThoseThatAreThereLeft(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"b.json": `{"namespace": "B", "properties": {"n": {"default": 9007199254740993}}}`, "a.json": `{"namespace": "A"}`, "c.txt": "no"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	a := newAPI(t)
	a.json("POST /image/v2/metadefs/namespaces", 201, `{"namespace": "X"}`)
	got := run(t, "image", "metadef", "load", dir)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "loaded A\nloaded B\n", got.err)
	sent := a.made("POST /image/v2/metadefs/namespaces")
	require.JSONEq(t, `{"namespace": "A"}`, sent[0].body)
	require.Contains(t, sent[1].body, "9007199254740993")

	a = newAPI(t)
	a.json("POST /image/v2/metadefs/namespaces", 409, `{"message": "exists", "code": "409 Conflict", "title": "Conflict"}`)
	got = run(t, "image", "metadef", "load", filepath.Join(dir, "a.json"))
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "left A as it is\n", got.err)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "z.json"), []byte(`{"name": "Z"}`), 0o600))
	before := len(a.made("POST /image/v2/metadefs/namespaces"))
	for _, bad := range []string{dir, filepath.Join(dir, "c.txt"), filepath.Join(dir, "none"), t.TempDir()} {
		got = run(t, "image", "metadef", "load", bad)
		require.Equal(t, 2, got.code, got.err)
	}
	require.Len(t, a.made("POST /image/v2/metadefs/namespaces"), before, "all files are read before anything is sent")
}

func TestNamespacesOfMetadataDefinitionsAreListedShownAndDeletedByName(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/metadefs/namespaces", 200, `{"namespaces": [
		{"namespace": "OS::A", "display_name": "First", "visibility": "public", "protected": false, "resource_type_associations": [{"name": "OS::Glance::Image"}, {"name": "OS::Nova::Flavor"}]},
		{"namespace": "OS::B", "visibility": "private", "protected": true}]}`)
	a.json("GET /image/v2/metadefs/namespaces/OS::A", 200, `{"namespace": "OS::A", "properties": {"cores": {"type": "integer"}}}`)
	a.json("DELETE /image/v2/metadefs/namespaces/OS::A", 204, "")
	a.json("DELETE /image/v2/metadefs/namespaces/OS::B", 403, `{"message": "protected", "code": "403 Forbidden", "title": "Forbidden"}`)
	got := run(t, "image", "metadef", "list")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "OS::Glance::Image, OS::Nova::Flavor")
	got = run(t, "image", "metadef", "show", "OS::A")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "cores")
	got = run(t, "image", "metadef", "delete", "OS::A", "OS::B")
	require.NotZero(t, got.code)
	require.Contains(t, got.err, "deleted namespace OS::A\n")
	require.Contains(t, got.err, "it is protected")
}
