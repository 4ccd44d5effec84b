package api

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

func TestACopyOfAnImageIsAskedForOnceUnderAToken(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.stop())
	imports := &asked{}
	w.imports = imports
	w.serve()
	key := w.accessKey("demo", demoUser, demoProject)
	from := w.active("demo", object{"name": "base", "description": "of before"}, []byte("bytes"))
	numbers, err := w.store.EC2ImageIDs(t.Context(), []string{from})
	require.NoError(t, err)
	ask := func(name string) ec2Answer {
		return w.ec2(key, "Action", "CopyImage", "Name", name, "SourceImageId", numbers[from], "SourceRegion", "anywhere", "ClientToken", "once")
	}
	require.Equal(t, http.StatusOK, ask("copied").status)
	require.Len(t, *imports, 1)
	in := (*imports)[0]
	require.Equal(t, []any{contract.ImportImage, from, ids.Copied(demoProject, "once")}, []any{in.Method, in.URI, in.Task.ImageID})
	made, err := w.store.Image(t.Context(), in.Task.ImageID)
	require.NoError(t, err)
	require.Equal(t, []any{"copied", "of before", "private"}, []any{*made.Name, made.Properties["description"], made.Visibility})
	require.Equal(t, "IdempotentParameterMismatch", ask("another").code)
	require.Equal(t, http.StatusOK, ask("copied").status, "its process died before it asked for the bytes")
	require.Len(t, *imports, 2)
	require.Equal(t, in.Task.ImageID, (*imports)[1].Task.ImageID)

	require.Equal(t, "InvalidAMIName.Duplicate", w.ec2(key, "Action", "RegisterImage", "Name", "copied", "ImageLocation", from).code)
	require.Equal(t, "MissingParameter", w.ec2(key, "Action", "RegisterImage", "Name", "registered").code)
	require.Equal(t, "InvalidAMIID.NotFound", w.ec2(w.accessKey("other", otherUser, otherProject), "Action", "RegisterImage", "Name", "registered", "ImageLocation", from).code)
	require.Equal(t, http.StatusOK, w.ec2(key, "Action", "RegisterImage", "Name", "registered", "ImageLocation", demoProject+"/base", "Architecture", "arm64").status)
	made, err = w.store.Image(t.Context(), (*imports)[2].Task.ImageID)
	require.NoError(t, err)
	require.Equal(t, "aarch64", made.Properties["architecture"])

	shared := w.active("other", object{"name": "theirs", "visibility": "shared"}, []byte("theirs"))
	require.Equal(t, 200, w.do("other", "POST", "/image/v2/images/"+shared+"/members", object{"member": demoProject}).status)
	a := w.ec2(key, "Action", "CopyImage", "Name", "of theirs", "SourceImageId", shared, "SourceRegion", "x")
	require.Equal(t, http.StatusOK, a.status, a.body)
}
