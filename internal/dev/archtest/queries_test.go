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
	eachString(t, func(file, text string) {
		if !strings.HasPrefix(file, "internal/lifecycle/") && written.MatchString(text) {
			t.Errorf("%s: %s: the words of states are internal/lifecycle's; see models/states.go", file, written.FindString(text))
		}
	})
}

// counted finds an argument of a query that only counting its arguments tells: the fifth and what follows.
var counted = regexp.MustCompile(`\$([5-9]|[1-9][0-9]+)\b`)

func TestQueriesOfManyArgumentsNameThem(t *testing.T) {
	require.Regexp(t, counted, "VALUES ($1, $2, $3, $4, $5)")
	require.Regexp(t, counted, "SET updated_at = $16::timestamptz")
	require.NotRegexp(t, counted, "WHERE a = $1 AND b = $4")
	eachString(t, func(file, text string) {
		if counted.MatchString(text) {
			t.Errorf("%s: %s: from five arguments on, a query's have names; see named in models/store.go", file, counted.FindString(text))
		}
	})
}

// eachString calls f with every string of the code, but for that of tests.
func eachString(t *testing.T, f func(file, text string)) {
	t.Helper()
	root := filepath.Join("..", "..", "..")
	listed, err := exec.Command("git", "-C", root, "ls-files", "-co", "--exclude-standard", "*.go").Output()
	require.NoError(t, err)
	files := strings.Fields(string(listed))
	require.Greater(t, len(files), 100)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, name), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if text, ok := n.(*ast.BasicLit); ok && text.Kind == token.STRING {
				f(name, text.Value)
			}
			return true
		})
	}
}
