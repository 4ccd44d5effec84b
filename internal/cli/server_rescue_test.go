package cli

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARescueTellsThePasswordThatTheAPIMakes(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"web"}]}`)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"cd","name":"rescue"}]}`)
	a.json("POST /compute/v2.1/servers/1/action", 200, `{"adminPass":"made up"}`, "X-Compute-Request-Id", requestID)
	got := run(t, "server", "rescue", "web")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "its password is made up\nasked server web (1) to rescue\n", got.err)
	got = run(t, "server", "rescue", "web", "--image", "rescue", "--password", "chosen")
	require.Equal(t, "asked server web (1) to rescue\n", got.err)
	asked := a.made("POST /compute/v2.1/servers/1/action")
	require.JSONEq(t, `{"rescue":{}}`, asked[0].body)
	require.JSONEq(t, `{"rescue":{"rescue_image_ref":"cd","adminPass":"chosen"}}`, asked[1].body)
	got = run(t, "server", "unrescue", "web")
	require.Equal(t, "asked server web (1) to unrescue\n", got.err)
	require.JSONEq(t, `{"unrescue":null}`, a.made("POST /compute/v2.1/servers/1/action")[2].body)
}
