package contract

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// shipped is where Debian's package glance-common has the definitions that come with Glance.
const shipped = "/usr/share/glance-common/metadefs"

// theGlanceCommandKeepsMetadefs runs commands of `glance` for metadata definitions, which holds each answer against the schemas that it fetches,
// and loads those that Glance ships where they are installed.
func theGlanceCommandKeepsMetadefs(t *testing.T, s *system.System, path string) {
	without := []string{"-c", `exec "$0" "$@" <&-`, path}
	demo, admin := newTool(t, s, "/bin/sh", "demo", system.DemoPassword), newTool(t, s, "/bin/sh", "admin", system.AdminPassword)
	demo.before, admin.before = without, without
	shows := func(table string, lines ...string) {
		t.Helper()
		for _, want := range lines {
			require.True(t, hasRow(table, strings.Split(want, "|")...), "no row %s in\n%s", want, table)
		}
	}
	shows(admin.run(t, "md-namespace-create", "M::One", "--display-name", "One", "--visibility", "public"), "namespace|M::One", "visibility|public", "protected|False")
	shows(admin.run(t, "md-property-create", "M::One", "--name", "cores", "--title", "Cores", "--schema", `{"type": "integer", "minimum": 1}`), "name|cores", "minimum|1")
	shows(admin.run(t, "md-object-create", "M::One", "--name", "limits", "--schema", `{"description": "d", "properties": {"a": {"title": "A", "type": "string"}}}`), "name|limits", "description|d")
	admin.run(t, "md-tag-create-multiple", "M::One", "--names", "fast,slow")
	shows(admin.run(t, "md-resource-type-associate", "M::One", "--name", "OS::Glance::Image", "--prefix", "hw_"), "name|OS::Glance::Image", "prefix|hw_")
	shows(demo.run(t, "md-namespace-list", "--resource-types", "OS::Glance::Image"), "M::One")
	shows(demo.run(t, "md-namespace-show", "M::One"), "namespace|M::One", `tags|["fast", "slow"]`)
	shows(demo.run(t, "md-property-list", "M::One"), "cores|Cores|integer")
	shows(demo.run(t, "md-tag-list", "M::One"), "fast", "slow")
	require.Contains(t, demo.run(t, "md-resource-type-list"), "OS::Glance::Image")
	shows(admin.run(t, "md-namespace-update", "M::One", "--protected", "True"), "protected|True")
	_, complaint, code := admin.try(t, "md-namespace-delete", "M::One")
	require.NotZero(t, code)
	require.Contains(t, complaint, "protected")
	_, complaint, code = demo.try(t, "md-namespace-create", "M::Mine")
	require.NotZero(t, code)
	require.Contains(t, complaint, "403")

	loaded := 0
	if files, _ := filepath.Glob(filepath.Join(shipped, "*.json")); len(files) > 0 {
		for _, want := range []string{"loaded ", "left "} {
			_, said, code := s.Slipway(t, "image", "metadef", "load", shipped)
			require.Zero(t, code, said)
			require.Equal(t, len(files), strings.Count(said, want), said)
		}
		loaded = len(files)
		shows(demo.run(t, "md-namespace-show", "OS::Software::DBMS"), "namespace|OS::Software::DBMS", "protected|True")
	} else {
		fmt.Printf("SLIPWAY-NOT-RUN: loading the metadata definitions that Glance ships: %s is not there (apt-get install glance-common)\n", shipped)
	}

	api := system.Image(t, s.Admin())
	removed := 0
	for {
		var page struct {
			Namespaces []struct{ Namespace string }
		}
		_, err := api.Get(t.Context(), api.ServiceURL("metadefs", "namespaces")+"?limit=10", &page, nil)
		require.NoError(t, err)
		if len(page.Namespaces) == 0 {
			break
		}
		for _, n := range page.Namespaces {
			at := api.ServiceURL("metadefs", "namespaces", url.PathEscape(n.Namespace))
			_, err := api.Put(t.Context(), at, map[string]any{"namespace": n.Namespace}, nil, &gophercloud.RequestOpts{OkCodes: []int{200}})
			require.NoError(t, err)
			_, err = api.Delete(t.Context(), at, nil)
			require.NoError(t, err)
			removed++
		}
	}
	require.Equal(t, loaded+1, removed)
}
