package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// written finds a server's state in a query that writes the word itself.
var written = regexp.MustCompile(`(?i)(vm_state|task_state)\W[^,;]{0,30}'[a-z-]+'`)

func TestNoQueryWritesAServersStateItself(t *testing.T) {
	require.Regexp(t, written, "WHERE vm_state = 'active'")
	require.Regexp(t, written, "task_state IS DISTINCT FROM 'deleting'")
	require.NotRegexp(t, written, "vm_state = ANY($1)")
	root := filepath.Join("..", "..", "..")
	listed, err := exec.Command("git", "-C", root, "ls-files", "-co", "--exclude-standard", "*.go").Output()
	require.NoError(t, err)
	files := strings.Fields(string(listed))
	require.Greater(t, len(files), 100)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "internal/lifecycle/") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING && written.MatchString(text.Value) {
				t.Errorf("%s: %s: the words of states are internal/lifecycle's; see models/states.go", name, written.FindString(text.Value))
			}
			return true
		})
	}
}
