package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnImageOfAServerIsNamedAfterItAndSaysWhatItsFlagsSay(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, `{"image_id":"i1"}`, "X-Compute-Request-Id", requestID)
	got := run(t, "server", "image", "create", "web")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "the image is web (i1)\nasked server web (1) for its image\n", got.err)
	require.Equal(t, 0, run(t, "server", "image", "create", "web", "--name", "golden", "--property", "stage=tested").code)
	require.Equal(t, 0, run(t, "server", "backup", "create", "web", "--type", "weekly", "--rotate", "4").code)
	asked := a.made("POST /compute/v2.1/servers/1/action")
	require.JSONEq(t, `{"createImage":{"name":"web"}}`, asked[0].body)
	require.JSONEq(t, `{"createImage":{"name":"golden","metadata":{"stage":"tested"}}}`, asked[1].body)
	require.JSONEq(t, `{"createBackup":{"name":"web","backup_type":"weekly","rotation":4}}`, asked[2].body)
}

func TestAnImageOfAServerThatIsWaitedForTellsItsStages(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, `{"image_id":"i1"}`, "X-Compute-Request-Id", requestID)
	a.sequence("GET /image/v2/images/i1", `{"id":"i1","status":"queued"}`, `{"id":"i1","status":"queued"}`, `{"id":"i1","status":"saving"}`, `{"id":"i1","status":"active"}`)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","status":"ACTIVE","OS-EXT-STS:task_state":null}}`)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200, `{"instanceAction":{"action":"createImage","message":null,"events":[]}}`)
	got := run(t, "server", "image", "create", "web", "--wait")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "the image is web (i1)\nqueued: the disk is copied on its host\nsaving: the copy is stored\nmade the image of server web (1) after 0 ms\n", got.err)
}

func TestAnImageOfAServerThatGoesTellsWhyItsActionFailed(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 202, `{"image_id":"i1"}`, "X-Compute-Request-Id", requestID)
	a.json("GET /image/v2/images/i1", 404, `{"message":"No image found with ID i1"}`)
	a.json("GET /compute/v2.1/servers/1", 200, `{"server":{"id":"1","status":"ACTIVE","OS-EXT-STS:task_state":null}}`)
	a.json("GET /compute/v2.1/servers/1/os-instance-actions/"+requestID, 200,
		`{"instanceAction":{"action":"createImage","message":"Error","events":[{"event":"StoreSnapshot","result":"Error","details":"it was deleted"}]}}`)
	got := run(t, "server", "image", "create", "web", "--wait")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.err, "StoreSnapshot: it was deleted")
}
