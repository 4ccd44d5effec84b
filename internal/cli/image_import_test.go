package cli

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const queuedImage = `{"id":"im-1","name":"debian","status":"queued","disk_format":"qcow2","container_format":"bare"}`

func TestAnImportIsFollowedToItsEnd(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+queuedImage+`]}`)
	a.sequence("GET /image/v2/images/im-1/tasks", `{"tasks":[{"id":"t-0","status":"failure","message":"of long ago"}]}`,
		`{"tasks":[{"id":"t-0","status":"failure","message":"of long ago"}]}`,
		`{"tasks":[{"id":"t-0","status":"failure"},{"id":"t-1","status":"processing","message":"Copied 15 MiB","created_at":"2030-01-02T00:00:00Z"}]}`,
		`{"tasks":[{"id":"t-0","status":"failure"},{"id":"t-1","status":"success","message":"Copied 30 MiB","created_at":"2030-01-02T00:00:00Z"}]}`)
	a.json("POST /image/v2/images/im-1/import", 202, "")
	a.json("GET /image/v2/images/im-1", 200, `{"id":"im-1","name":"debian","status":"active"}`)
	got := run(t, "image", "import", "debian", "--method", "web-download", "--uri", "https://images.example.org/d.qcow2", "--store", "fast", "--store", "slow", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"method":{"name":"web-download","uri":"https://images.example.org/d.qcow2"},"stores":["fast","slow"]}`,
		a.made("POST /image/v2/images/im-1/import")[0].body)
	require.Equal(t, "  import debian: active\n  import debian: processing  Copied 15 MiB\n  import debian: success  Copied 30 MiB\n", got.err)
	require.Contains(t, got.out, "status  active\n")
}

func TestAnImportThatFailedSaysWhyAndWhere(t *testing.T) {
	for _, tc := range []struct{ name, task, image, want string }{
		{"whole", `{"id":"t","status":"failure","message":"The address is not allowed."}`, queuedImage, "The address is not allowed.\n"},
		{"for some stores", `{"id":"t","status":"success","message":"Copied"}`, `{"id":"im-1","status":"active","os_glance_failed_import":"slow"}`, "Copied\n  failed stores: slow\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.json("GET /image/v2/images", 200, `{"images":[`+queuedImage+`]}`)
			a.sequence("GET /image/v2/images/im-1/tasks", `{"tasks":[]}`, `{"tasks":[`+tc.task+`]}`)
			a.json("POST /image/v2/images/im-1/import", 202, "")
			a.json("GET /image/v2/images/im-1", 200, tc.image)
			got := run(t, "image", "import", "debian", "--wait")
			require.Equal(t, show.ExitFailed, got.code)
			require.Contains(t, got.err, "Error: the import of the image \"debian\" failed\n  "+tc.want)
			require.Contains(t, got.err, "slipway image task list im-1")
			require.Empty(t, got.out)
		})
	}
}

func TestAnAPIWithoutTasksIsAskedForTheImageAlone(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian","status":"active"}]}`)
	a.json("GET /image/v2/images/im-1/tasks", 404, `{"message":"no such path"}`)
	a.json("POST /image/v2/images/im-1/import", 202, "")
	a.sequence("GET /image/v2/images/im-1", `{"id":"im-1","status":"active","os_glance_importing_to_stores":"slow"}`, `{"id":"im-1","status":"active","os_glance_importing_to_stores":""}`)
	got := run(t, "image", "import", "debian", "--method", "copy-image", "--all-stores", "--all-stores-must-succeed=false", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"method":{"name":"copy-image"},"all_stores":true,"all_stores_must_succeed":false}`, a.made("POST /image/v2/images/im-1/import")[0].body)
	require.Len(t, a.made("GET /image/v2/images/im-1"), 2)
}

func TestWhatAnImportNeedsIsAskedForBeforeAnythingIsSent(t *testing.T) {
	newAPI(t) // a call of the image API would fail the test
	for _, args := range [][]string{
		{"--method", "web-download"}, {"--method", "web-download", "--uri", "debian.qcow2"}, {"--method", "copy-image"},
		{"--uri", "https://images.example.org/d"}, {"--method", "glance-download", "--remote-region", "r"},
		{"--method", "copy-image", "--store", "a", "--all-stores"},
	} {
		got := run(t, append([]string{"image", "import", "debian"}, args...)...)
		require.Equal(t, show.ExitUsage, got.code, "%v: %s", args, got.err)
	}
}

func TestStoppingToWatchAnImportLeavesItAlone(t *testing.T) {
	file, _ := imageFile(t)
	a := newAPI(t)
	ctx, interrupt := context.WithCancel(t.Context())
	a.json("POST /image/v2/images", 201, queuedImage)
	a.json("PUT /image/v2/images/im-1/stage", 204, "")
	a.sequence("GET /image/v2/images/im-1/tasks", `{"tasks":[]}`, `{"tasks":[{"id":"t","status":"processing"}]}`)
	a.json("POST /image/v2/images/im-1/import", 202, "")
	a.mux.HandleFunc("GET /image/v2/images/im-1", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, `{"id":"im-1","name":"debian","status":"importing"}`)
		interrupt()
	})
	got := runWith(t, ctx, "", "image", "create", "debian", "--file", file, "--import", "--wait")
	require.Equal(t, show.ExitInterrupted, got.code, got.err)
	require.Contains(t, got.err, "stopped watching; the import of image im-1 goes on")
	require.NotContains(t, got.err, "removed")
}

func TestAnImageIsCreatedByImport(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, queuedImage)
	a.json("PUT /image/v2/images/im-1/stage", 204, "")
	a.sequence("GET /image/v2/images/im-1/tasks", `{"tasks":[]}`, `{"tasks":[{"id":"t","status":"success"}]}`, `{"tasks":[]}`, `{"tasks":[{"id":"u","status":"failure","message":"no room"}]}`)
	a.json("POST /image/v2/images/im-1/import", 202, "")
	a.json("GET /image/v2/images/im-1", 200, stored(content, len(content)))
	a.json("DELETE /image/v2/images/im-1", 204, "")
	got := run(t, "image", "create", "debian", "--file", file, "--import", "--wait", "--store", "slow")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, string(content), a.made("PUT /image/v2/images/im-1/stage")[0].body)
	require.JSONEq(t, `{"method":{"name":"glance-direct"},"stores":["slow"]}`, a.made("POST /image/v2/images/im-1/import")[0].body)

	got = run(t, "image", "create", "debian", "--file", file, "--import", "--wait")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "failed\n  no room\n")
	require.Len(t, a.made("DELETE /image/v2/images/im-1"), 1)
}

func TestBytesAreStaged(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+queuedImage+`]}`)
	a.json("PUT /image/v2/images/im-1/stage", 204, "")
	a.json("GET /image/v2/images/im-1", 200, `{"id":"im-1","name":"debian","status":"uploading"}`)
	got := run(t, "image", "stage", "debian", "--file", file)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, string(content), a.made("PUT /image/v2/images/im-1/stage")[0].body)
	require.Contains(t, got.out, "status  uploading\n")
}

func TestTheImportMethodsAndStoresOfTheAPIAreListed(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/info/import", 200, `{"import-methods":{"description":"Import methods available.","type":"array","value":["glance-direct","own"]}}`)
	a.json("GET /image/v2/info/stores", 200, `{"stores":[{"id":"fast","default":"true"},{"id":"web","default":false,"read-only":"true","description":"of others"}]}`)
	require.Equal(t, "METHOD         DESCRIPTION\nglance-direct  bytes that were staged: slipway image stage IMAGE --file F\nown            -\n", run(t, "image", "import-info").out)
	require.Contains(t, run(t, "image", "import-info", "-o", "json").out, `"import-methods"`)
	require.Equal(t, "ID    DEFAULT  READ ONLY  DESCRIPTION  TYPE\nfast  yes      -          -            -\nweb   -        yes        of others    -\n", run(t, "image", "store", "list").out)
	require.Equal(t, "fast\tfast\nweb\tweb\n:4\n", run(t, "__complete", "image", "create", "x", "--store", "").out)
}

func TestTasksOfAnImageAreListedAndShown(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+queuedImage+`]}`)
	a.json("GET /image/v2/images/im-1/tasks", 200, `{"tasks":[
		{"id":"t-2","type":"api_image_import","status":"failure","message":"no room","created_at":"2030-01-02T00:00:02Z","input":{"backend":["fast","slow"],"import_req":{"method":{"name":"web-download","uri":"https://images.example.org/d"}}}},
		{"id":"t-1","type":"api_image_import","status":"success","message":"","created_at":"2030-01-02T00:00:01Z"}]}`)
	require.Equal(t, "ID   TYPE              METHOD        STATUS   MESSAGE  CREATED\nt-2  api_image_import  web-download  failure  no room  2030-01-02T00:00:02Z\n"+
		"t-1  api_image_import  -             success  -        2030-01-02T00:00:01Z\n", run(t, "image", "task", "list", "debian").out)
	require.Equal(t, "id       t-2\ntype     api_image_import\nmethod   web-download\nstatus   failure\nmessage  no room\n"+
		"from     https://images.example.org/d\nstores   fast, slow\ncreated  2030-01-02T00:00:02Z\n", run(t, "image", "task", "show", "debian").out)
	require.Contains(t, run(t, "image", "task", "show", "debian", "t-1").out, "status   success\n")
	require.Equal(t, show.ExitNotFound, run(t, "image", "task", "show", "debian", "t-9").code)
	require.Equal(t, "t-1\tsuccess\n:4\n", run(t, "__complete", "image", "task", "show", "debian", "t-1").out)
}

func TestHowFarAnImportIsIsNoProperty(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian","os_glance_importing_to_stores":"slow","os_glance_failed_import":"","os_glance_import_task":"t"}]}`)
	require.Equal(t, "id            im-1\nname          debian\nimporting to  slow\n", run(t, "image", "show", "debian").out)
}
