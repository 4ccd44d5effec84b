package cli

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestEveryFilterOfTheImageListIsSent(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian"}]}`)
	got := run(t, "image", "list", "--name", "debian", "--status", "in:queued,saving", "--shared", "--owner", "demo", "--tag", "a", "--tag", "b",
		"--property", "os_distro=debian", "--property", "size_min=4", "--disk-format", "qcow2", "--container-format", "bare", "--member-status", "pending",
		"--hidden", "--sort", "name,created_at:desc", "--limit", "7", "--long")
	require.Equal(t, 0, got.code, got.err)
	query, err := url.ParseQuery(a.made("GET /image/v2/images")[0].query)
	require.NoError(t, err)
	require.Equal(t, url.Values{"name": {"debian"}, "status": {"in:queued,saving"}, "visibility": {"shared"}, "owner": {project}, "tag": {"a", "b"},
		"os_distro": {"debian"}, "size_min": {"4"}, "disk_format": {"qcow2"}, "container_format": {"bare"}, "member_status": {"pending"},
		"os_hidden": {"true"}, "sort": {"name:asc,created_at:desc"}, "limit": {"7"}}, query)
	require.Contains(t, got.out, "CONTAINER")
	require.Equal(t, show.ExitUsage, run(t, "image", "list", "--public", "--visibility", "private").code)
}

func TestANameIsLookedForInWhatThePlainListLeavesOut(t *testing.T) {
	for _, where := range []string{"name=x", "name=x&os_hidden=true", "member_status=all&name=x&visibility=all", "member_status=all&name=x&os_hidden=true&visibility=all", "nowhere"} {
		a := newAPI(t)
		a.mux.HandleFunc("GET /image/v2/images", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Encode() == where {
				reply(w, 200, `{"images":[{"id":"im-1","name":"x"}]}`)
				return
			}
			reply(w, 200, `{"images":[]}`)
		})
		got := run(t, "image", "show", "x", "--quiet")
		if where == "nowhere" {
			require.Equal(t, show.ExitNotFound, got.code)
			require.Contains(t, got.err, `there is no image with the name or id "x"`)
			continue
		}
		require.Equal(t, "im-1\n", got.out, where)
	}
}

func TestANameThatLooksLikeAFilterIsLookedForAsItIs(t *testing.T) {
	for _, name := range []string{`in:a,"b"`, "gt:a", "lte:a", "neq:a", "eq:a", "debian:12", "2030-01-02T03:04:05Z", ":"} {
		require.Equal(t, url.Values{"name": {"eq:" + name}}, imageName(name))
	}
	require.Equal(t, url.Values{"name": {"debian"}}, imageName("debian"))

	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[]}`)
	require.Equal(t, 0, run(t, "image", "list", "--name", "gt:a").code)
	require.Equal(t, "name=eq%3Agt%3Aa", a.made("GET /image/v2/images")[0].query)
}
