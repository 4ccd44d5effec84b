package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestAFailureSaysWhatFailedTheAPIsOwnWordsAndWhatToDoNext(t *testing.T) {
	const id = "req-11111111-2222-3333-4444-555555555555"
	for _, tc := range []struct {
		name   string
		status int
		body   string
		code   int
		want   string
	}{
		{"permission", 403, `{"forbidden":{"code":403,"message":"Policy doesn't allow flavors to be created."}}`, show.ExitRefused,
			"Error: cannot create the flavor \"f\"\n  Policy doesn't allow flavors to be created. (HTTP 403, " + id + ")\n  → this needs another role: `slipway token issue -o json` shows which roles you have\n"},
		{"quota", 403, `{"forbidden":{"code":403,"message":"Quota exceeded for cores: Requested 4, but already used 18 of 20 cores"}}`, show.ExitRefused,
			"Error: cannot create the flavor \"f\"\n  Quota exceeded for cores: Requested 4, but already used 18 of 20 cores (HTTP 403, " + id + ")\n  → slipway quota show\n"},
		{"conflict", 409, `{"conflictingRequest":{"code":409,"message":"Flavor with name f already exists."}}`, show.ExitRefused,
			"Error: cannot create the flavor \"f\"\n  Flavor with name f already exists. (HTTP 409, " + id + ")\n  → its state does not allow this now: look at it with `show`, then try again\n"},
		{"invalid", 400, `{"badRequest":{"code":400,"message":"Invalid input for field/attribute ram."}}`, show.ExitRefused,
			"Error: cannot create the flavor \"f\"\n  Invalid input for field/attribute ram. (HTTP 400, " + id + ")\n"},
		{"broken", 500, `{"computeFault":{"code":500,"message":"Unexpected API Error."}}`, show.ExitFailed,
			"Error: cannot create the flavor \"f\"\n  Unexpected API Error. (HTTP 500, " + id + ")\n  → look for " + id + " in the API's log\n"},
		{"a proxy's page", 502, "<html>\n<head><title>502 Bad Gateway</title></head><body><center><h1>502 Bad Gateway</h1></center></body></html>", show.ExitFailed,
			"Error: cannot create the flavor \"f\"\n  Bad Gateway (HTTP 502, " + id + ")\n  → look for " + id + " in the API's log\n"},
		{"a terminal's control sequence", 400, `{"badRequest":{"code":400,"message":"bad \u001b[31mred"}}`, show.ExitRefused,
			"Error: cannot create the flavor \"f\"\n  bad ?[31mred (HTTP 400, " + id + ")\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.json("POST /compute/v2.1/flavors", tc.status, tc.body)
			got := run(t, "flavor", "create", "f", "--ram", "512")
			require.Equal(t, tc.want, got.err)
			require.Equal(t, tc.code, got.code)
			require.Empty(t, got.out)
		})
	}
}

func TestAnAPIThatDoesNotAnswerIsExitOneAndAsksWhetherItRuns(t *testing.T) {
	a := newAPI(t)
	a.Close()
	got := run(t, "server", "list")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: cannot log in at "+a.URL+"/v3\n")
	require.Contains(t, got.err, "connection refused")
	require.Contains(t, got.err, "→ is the API running? `slipway dev` starts one on this machine\n  → check OS_AUTH_URL")
}

func TestWrongCredentialsAreExitFourAndPointToTheOpenrc(t *testing.T) {
	a := newAPI(t)
	a.json("POST /wrong/v3/auth/tokens", 401, `{"error":{"code":401,"message":"The request you have made requires authentication.","title":"Unauthorized"}}`)
	t.Setenv("OS_AUTH_URL", a.URL+"/wrong/v3")
	got := run(t, "server", "list")
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "The request you have made requires authentication. (HTTP 401, req-")
	require.Contains(t, got.err, "→ source your openrc again")
	require.NotContains(t, got.err, "correct horse")
}

func TestANameThatNothingHasIsExitThreeAndSaysWhereToLook(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[]}`)
	a.json("GET /image/v2/images/{id}", 404, `{"message":"No image found","code":"404 Not Found"}`)
	for _, ref := range []string{"nope", "11111111-2222-4333-8444-555555555555"} {
		got := run(t, "image", "show", ref)
		require.Equal(t, show.ExitNotFound, got.code)
		require.Equal(t, "Error: there is no image with the name or id \""+ref+"\"\n  → slipway image list\n", got.err)
	}
}

func TestANameThatSeveralHaveIsAnErrorWithTheirIds(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"b-2","name":"web"},{"id":"a-1","name":"web"},{"id":"c-3","name":"web-2"}]}`)
	got := run(t, "server", "delete", "web")
	require.Equal(t, show.ExitUsage, got.code)
	require.Equal(t, "Error: 2 servers are named \"web\": use an id\n  a-1\n  b-2\n", got.err)
}
