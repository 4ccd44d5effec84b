package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tree lists the module's packages as the go command sees them.
func tree(t *testing.T) []Package {
	t.Helper()
	// -e: what does not compile is the compiler's to say.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Name,Dir,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = filepath.Join("..", "..", "..")
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	require.NoError(t, err, failure.String())
	var packages []Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name, Dir              string
			Imports                            []string
			GoFiles, TestGoFiles, XTestGoFiles []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
		if exec.Command("git", "check-ignore", "--quiet", p.Dir).Run() == nil {
			continue // no part of the repository
		}
		packages = append(packages, Package{
			Path: shortPath(p.ImportPath), Name: p.Name, Imports: p.Imports,
			Doc: firstSentence(t, p.Dir, slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles)),
		})
	}
	require.Greater(t, len(packages), 20, "go list found too little to say anything of the tree")
	return packages
}

// firstSentence is the package comment's. A package that is tests alone has it in a test file, where go list does not look.
func firstSentence(t *testing.T, dir string, files []string) string {
	t.Helper()
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
		require.NoError(t, err)
		if f.Doc != nil {
			return new(doc.Package).Synopsis(f.Doc.Text())
		}
	}
	return ""
}

func TestTheTreeKeepsToTheDirectionOfImports(t *testing.T) {
	for _, broken := range Breaks(tree(t), Rules) {
		t.Error(broken)
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for _, unsaid := range Unsaid(tree(t)) {
		t.Error(unsaid)
	}
}

func TestEveryRuleNamesFoldersThatExistAndAReason(t *testing.T) {
	for _, r := range Rules {
		require.NotEmpty(t, r.Why, "%v", r.Who)
		for _, pattern := range slices.Concat(r.Who, r.Except, r.Never, r.Only) {
			folder := strings.TrimSuffix(pattern, "/...")
			top, _, _ := strings.Cut(folder, "/")
			if folder == "..." || folder == "internal/dev/gendocs" || !slices.Contains(ours, top) {
				continue
			}
			_, err := os.Stat(filepath.Join("..", "..", "..", folder))
			require.NoError(t, err, "the rule %q guards nothing", r.Why)
		}
	}
}

func TestABrokenRuleIsFound(t *testing.T) {
	const echoPath = "github.com/labstack/echo/v4"
	slipway := func(path string) string { return Module + "/" + path }
	for name, c := range map[string]struct {
		who, imports string
		through      string // if set, who imports it and it imports imports
	}{
		"a workflow that uses the database":                  {who: "workflows/boot", imports: "gorm.io/gorm"},
		"a workflow that opens files":                        {who: "workflows/boot", imports: "os"},
		"a workflow that listens":                            {who: "workflows/boot", imports: "net"},
		"a workflow that calls an activity's code":           {who: "workflows/boot", imports: slipway("activities/control")},
		"a workflow that reads the store through another":    {who: "workflows/boot", through: "internal/auth", imports: slipway("models")},
		"a workflow that knows libvirt":                      {who: "workflows/boot", imports: "github.com/digitalocean/go-libvirt"},
		"a workflow that knows the API":                      {who: "workflows/boot", imports: slipway("api/rest")},
		"an engine of tables with domain words":              {who: "workflows/run", imports: slipway("internal/contract")},
		"a workflow that asks the engine":                    {who: "workflows/boot", imports: "go.temporal.io/sdk/client"},
		"a handler that knows a workflow":                    {who: "api/compute", imports: slipway("workflows/boot")},
		"an undo engine with domain words":                   {who: "workflows/saga", imports: slipway("internal/contract")},
		"a handler that runs a step itself":                  {who: "api/compute", imports: slipway("activities/control")},
		"a handler that reaches a step by a way":             {who: "api/compute", through: "internal/auth", imports: slipway("activities/host")},
		"a handler that talks to a hypervisor":               {who: "api/compute", imports: slipway("internal/guest/hypervisor/libvirt")},
		"a handler that starts workflows past the one way":   {who: "api/compute", imports: "go.temporal.io/sdk/client"},
		"a store that answers HTTP":                          {who: "models", imports: echoPath},
		"a store that starts workflows":                      {who: "models", imports: "go.temporal.io/sdk/client"},
		"a handler that writes SQL":                          {who: "api/image", imports: "gorm.io/gorm/clause"},
		"an activity that writes SQL":                        {who: "activities/control", imports: "gorm.io/gorm"},
		"an internal package that stands on the API":         {who: "internal/scheduler", imports: slipway("api/rest")},
		"an internal package that stands on workflows":       {who: "internal/auth", imports: slipway("workflows")},
		"an internal package that stands on the command":     {who: "internal/config", imports: slipway("cmd/slipway")},
		"a contract that takes types from elsewhere":         {who: "internal/contract", imports: slipway("internal/guest/metadata")},
		"a contract that knows Temporal":                     {who: "internal/contract", imports: "go.temporal.io/sdk/temporal"},
		"a table of actions that looks something up":         {who: "internal/lifecycle", imports: slipway("models")},
		"a fault that knows the engine":                      {who: "internal/fault", imports: "go.temporal.io/sdk/temporal"},
		"a fault that knows more than faults":                {who: "internal/fault", imports: slipway("internal/contract")},
		"a decision that looks something up":                 {who: "internal/imagepolicy", imports: slipway("models")},
		"a decision that speaks HTTP":                        {who: "internal/imagepolicy", imports: "net/http"},
		"a verb that goes past the API":                      {who: "internal/cli", imports: slipway("models")},
		"a session that goes past the API":                   {who: "internal/cli/session", imports: slipway("models")},
		"a session that knows a verb":                        {who: "internal/cli/session", imports: slipway("internal/cli")},
		"a table that asks the API":                          {who: "internal/cli/show", imports: slipway("internal/cli/session")},
		"a verb that draws a bar itself":                     {who: "internal/cli", imports: "github.com/vbauerster/mpb/v8"},
		"a verb with a client of its own":                    {who: "internal/cli", imports: "github.com/gophercloud/gophercloud/v2"},
		"a hypervisor with a database":                       {who: "activities/host", imports: slipway("models")},
		"a hypervisor that gets to the database by a way":    {who: "activities/host", through: "internal/guest/disk", imports: slipway("models")},
		"a hypervisor that listens for more than disks":      {who: "internal/guest/console", imports: slipway("internal/listener")},
		"a way of disks that reads them":                     {who: "internal/guest/transfer", imports: slipway("internal/guest/disk")},
		"a control plane that calls hypervisors":             {who: "activities/control", imports: slipway("internal/guest/hypervisor")},
		"a step that starts workflows of its own":            {who: "activities/control", imports: slipway("workflows")},
		"replayed code outside workflows":                    {who: "activities/host", imports: "go.temporal.io/sdk/workflow"},
		"libvirt past the port":                              {who: "activities/host", imports: "github.com/digitalocean/go-libvirt"},
		"domain XML past the port":                           {who: "internal/guest/disk", imports: "libvirt.org/go/libvirtxml"},
		"a worker that serves HTTP":                          {who: "workers", imports: slipway("api")},
		"an echo outside the API":                            {who: "internal/payload", imports: echoPath},
		"a program that carries its tests":                   {who: "cmd/slipway", imports: "testing"},
		"a program that stands on the environment of a test": {who: "workers", imports: slipway("internal/dev/testenv")},
		"a program that can be told to fail":                 {who: "cmd/slipway", imports: slipway("internal/dev/faultinject")},
	} {
		t.Run(name, func(t *testing.T) {
			packages := []Package{{Path: c.who, Imports: []string{"context", c.imports}}}
			if c.through != "" {
				packages = []Package{
					{Path: c.who, Imports: []string{slipway(c.through)}},
					{Path: c.through, Imports: []string{c.imports}},
				}
			}
			found := slices.ContainsFunc(Breaks(packages, Rules), func(line string) bool {
				return strings.HasPrefix(line, c.who+" imports ") && strings.Contains(line, shortPath(c.imports)+": ")
			})
			require.True(t, found, "not found among %q", Breaks(packages, Rules))
		})
	}
}

func TestWhatTheRulesAllowIsNotBroken(t *testing.T) {
	allowed := []Package{
		{Path: "workflows", Imports: []string{Module + "/internal/contract", Module + "/internal/fault", Module + "/workflows/saga", "go.temporal.io/sdk/workflow"}},
		{Path: "internal/fault", Imports: []string{"net/http"}},
		{Path: "internal/fault/failure", Imports: []string{Module + "/internal/fault", "go.temporal.io/sdk/temporal"}},
		{Path: "internal/contract", Imports: []string{Module + "/internal/fault", "time"}},
		{Path: "api/compute", Imports: []string{Module + "/internal/engine", Module + "/models", "github.com/labstack/echo/v4"}},
		{Path: "models", Imports: []string{"gorm.io/gorm", Module + "/internal/fault"}},
		{Path: "internal/dev/testenv", Imports: []string{"testing", Module + "/models"}},
		{Path: "test/e2e", Imports: []string{"github.com/digitalocean/go-libvirt", "testing"}},
		{Path: "internal/modelsgen", Imports: []string{"osx"}}, // names that only begin alike
	}
	require.Empty(t, Breaks(allowed, Rules))
}

func TestAPackageWithoutASentenceIsFound(t *testing.T) {
	for name, p := range map[string]Package{
		"no comment":        {Path: "internal/x", Name: "x"},
		"another beginning": {Path: "internal/x", Name: "x", Doc: "This package is x."},
		"a command's":       {Path: "cmd/x", Name: "main", Doc: "Package main runs x."},
		"an empty name":     {Path: "internal/util", Name: "util", Doc: "Package util has everything."},
	} {
		t.Run(name, func(t *testing.T) { require.Len(t, Unsaid([]Package{p}), 1) })
	}
	require.Empty(t, Unsaid([]Package{{Path: "cmd/x", Name: "main", Doc: "Command x runs."}, {Path: "test/e2e", Name: "e2e_test", Doc: "Package e2e boots."}}))
}
