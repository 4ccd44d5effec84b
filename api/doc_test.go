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
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// documentedRoutes reads the tables of a page whose header begins with method and path: "GET /v3/projects/{}" for each
// pair of a row's methods and paths. What a parameter is called does not matter.
func documentedRoutes(t *testing.T, page string) []string {
	t.Helper()
	var routes []string
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
				routes = append(routes, strings.TrimSpace(method)+" "+parameter.ReplaceAllString(path[1], "{}"))
			}
		}
	}
	slices.Sort(routes)
	return routes
}

var (
	quotedPath = regexp.MustCompile("`(/[^`]*)`")
	parameter  = regexp.MustCompile(`\{[^}]*\}|:[^/]+`)
)

func TestTheDocumentListsEveryRouteAndNoOther(t *testing.T) {
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir()})
	require.NoError(t, err)
	server, err := New(Options{Store: &models.Store{}, Images: images.New(nil, stores, images.Config{}, nil), Builds: noBuilds{}}) // no request is made
	require.NoError(t, err)
	var served []string
	for _, r := range server.echo.Routes() {
		if r.Method != echo.RouteNotFound { // a group's own 404
			served = append(served, r.Method+" "+parameter.ReplaceAllString(r.Path, "{}"))
		}
	}
	slices.Sort(served)
	require.Greater(t, len(served), 100)

	page, err := os.ReadFile("../docs/api.md")
	require.NoError(t, err)
	documented := documentedRoutes(t, string(page))
	require.Empty(t, without(served, documented), "routes that are served and that docs/api.md does not list")
	require.Empty(t, without(documented, served), "routes that docs/api.md lists and that are not served")
	require.Len(t, documented, len(served), "docs/api.md lists a route twice")
}

// without is what of a is not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
