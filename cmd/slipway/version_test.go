package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAVersionIsExactOnlyWhereTheCommitAloneTellsTheSource(t *testing.T) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for name, c := range map[string]struct {
		settings []debug.BuildSetting
		version  string
		exact    bool
	}{
		"a clean checkout":   {[]debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.modified", Value: "false"}}, "0123456789ab", true},
		"a changed checkout": {[]debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: commit}}, "0123456789ab+dirty", false},
		"a tarball":          {[]debug.BuildSetting{{Key: "-trimpath", Value: "true"}}, "(devel)", false},
	} {
		t.Run(name, func(t *testing.T) {
			version, exact := versionOf(&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: c.settings})
			require.Equal(t, c.version, version)
			require.Equal(t, c.exact, exact)
		})
	}
}
