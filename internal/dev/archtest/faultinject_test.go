package archtest

import (
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reaches says whether a build of the program takes a package in.
func reaches(t *testing.T, pkg string, flags ...string) bool {
	t.Helper()
	cmd := exec.Command("go", append(append([]string{"list", "-deps"}, flags...), "./cmd/slipway")...)
	cmd.Dir = filepath.Join("..", "..", "..")
	out, err := cmd.Output()
	require.NoError(t, err)
	deps := strings.Fields(string(out))
	require.Contains(t, deps, Module+"/workers", "go list says too little")
	for _, d := range deps {
		if d == Module+"/"+pkg {
			return true
		}
	}
	return false
}

func TestAProductionBuildCannotBeToldToFail(t *testing.T) {
	require.False(t, reaches(t, faults))
	require.True(t, reaches(t, faults, "-tags", "faultinject"), "the fault tests' build has nothing to test with")
}

// TestOnlyFilesWithTheTagImportFaultInjection looks at the files that this machine's build leaves out too.
func TestOnlyFilesWithTheTagImportFaultInjection(t *testing.T) {
	tagged := 0
	root := filepath.Join("..", "..", "..")
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, _ := filepath.Rel(root, path)
		switch {
		case d.IsDir() && (below == faults || below == "test" || below != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly|parser.ParseComments)
		require.NoError(t, err)
		for _, i := range f.Imports {
			if imported, _ := strconv.Unquote(i.Path.Value); imported != Module+"/"+faults {
				continue
			}
			tagged++
			needsTag := false
			for _, group := range f.Comments {
				for _, c := range group.List {
					if !constraint.IsGoBuild(c.Text) {
						continue
					}
					expression, err := constraint.Parse(c.Text)
					require.NoError(t, err)
					needsTag = !expression.Eval(func(tag string) bool { return tag != "faultinject" })
				}
			}
			if !needsTag {
				t.Errorf("%s imports %s and is built without the tag faultinject", below, faults)
			}
		}
		return nil
	}))
	require.Positive(t, tagged, "no file imports %s: this test looks at nothing", faults)
}
