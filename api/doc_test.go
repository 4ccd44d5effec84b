package api

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// documentedRoutes reads the tables of a page whose header begins with method and path: "GET /v3/projects/{}" for each
// pair of a row's methods and paths, and who may call each. What a parameter is called does not matter.
func documentedRoutes(t *testing.T, page string) (routes []string, who map[string]string) {
	t.Helper()
	who = map[string]string{}
	inTable := false
	for i, line := range strings.Split(page, "\n") {
		switch {
		case !strings.HasPrefix(line, "|"):
			inTable = false
			continue
		case strings.HasPrefix(line, "| method | path |"):
			inTable = true
			continue
		case !inTable, strings.HasPrefix(line, "|---"):
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		require.Len(t, cells, 5, "line %d has another number of cells: %s", i+1, line)
		paths := quotedPath.FindAllStringSubmatch(cells[1], -1)
		require.NotEmpty(t, paths, "line %d names no path: %s", i+1, line)
		for _, path := range paths {
			for method := range strings.SplitSeq(cells[0], ",") {
				route := strings.TrimSpace(method) + " " + parameter.ReplaceAllString(path[1], "{}")
				routes, who[route] = append(routes, route), strings.TrimSpace(cells[3])
			}
		}
	}
	slices.Sort(routes)
	return routes, who
}

var (
	quotedPath = regexp.MustCompile("`(/[^`]*)`")
	parameter  = regexp.MustCompile(`\{[^}]*\}|:[^/]+`)
)

// mounted is every route that a server has: "GET /v3/projects/:id".
func mounted(s *Server) []string {
	var routes []string
	for _, r := range s.echo.Routes() {
		if r.Method != echo.RouteNotFound { // a group's own 404
			routes = append(routes, r.Method+" "+r.Path)
		}
	}
	slices.Sort(routes)
	return routes
}

func TestTheDocumentListsEveryRouteAndNoOther(t *testing.T) {
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir()})
	require.NoError(t, err)
	server, err := New(Options{Store: &models.Store{}, Images: images.New(nil, stores, images.Config{}, nil), Builds: noBuilds{}}) // no request is made
	require.NoError(t, err)
	var served []string
	for _, r := range mounted(server) {
		served = append(served, parameter.ReplaceAllString(r, "{}"))
	}
	require.Greater(t, len(served), 100)

	page, err := os.ReadFile("../docs/api.md")
	require.NoError(t, err)
	documented, who := documentedRoutes(t, string(page))
	require.Empty(t, without(served, documented), "routes that are served and that docs/api.md does not list")
	require.Empty(t, without(documented, served), "routes that docs/api.md lists and that are not served")
	require.Len(t, documented, len(served), "docs/api.md lists a route twice")
	for _, r := range policy.Routes() {
		if route := r.Method + " " + parameter.ReplaceAllString(r.Path, "{}"); r.Action == "" && !strings.HasPrefix(r.But, policy.ByTheImage) {
			require.Equal(t, string(r.Who), who[route], "who may call %s by docs/api.md", route)
		}
	}
}

// without is what of a is not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
