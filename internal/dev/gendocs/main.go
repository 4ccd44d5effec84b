// Command gendocs writes the documents that derive from the code, below docs/: build-steps.md from the build table,
// image-properties.md from those of internal/imageprops, server-actions.md from internal/lifecycle, activities.md from the
// table of internal/contract, policy.md from that of internal/policy, ec2-actions.md from that of api/ec2.
// `make generate` runs it; `make check` runs it with --check, which writes nothing and fails where a document is stale.
//
//	go run ./internal/dev/gendocs [--check] [--root DIR]
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-cloud/slipway/workflows/boot"
)

func main() {
	root := flag.String("root", ".", "root of the repository")
	check := flag.Bool("check", false, "write nothing; fail where a document is stale")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	sentences, err := activitySentences(root)
	if err != nil {
		return err
	}
	steps, err := buildSteps(boot.Table(), sentences)
	if err != nil {
		return err
	}
	actions, err := serverActions(sentences)
	if err != nil {
		return err
	}
	table, err := activities(sentences)
	if err != nil {
		return err
	}
	for _, document := range []struct {
		name string
		text []byte
	}{{"build-steps.md", steps}, {"image-properties.md", imageProperties()}, {"server-actions.md", actions}, {"activities.md", table}, {"policy.md", whoMayCall()}, {"ec2-actions.md", ec2Actions()}} {
		if err := put(filepath.Join(root, "docs", document.name), document.text, check); err != nil {
			return err
		}
	}
	return nil
}

// put writes a document, or holds that it is written.
func put(path string, text []byte, check bool) error {
	if !check {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, text, 0o644)
	}
	switch written, err := os.ReadFile(path); {
	case err != nil:
		return err
	case !bytes.Equal(written, text):
		return fmt.Errorf("%s is stale: run `make generate` and commit what it writes", path)
	}
	return nil
}

// sentence is what an activity's comment says of it, and where it stands.
type sentence struct{ text, file string }

// activitySentences reads the first sentence of each activity's comment: what a step does is said once, beside its code.
func activitySentences(root string) (map[string]sentence, error) {
	found := map[string]sentence{}
	for _, side := range []string{"control", "host"} {
		dir := filepath.Join(root, "activities", side)
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("%s: %w", dir, fs.ErrNotExist)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err != nil {
				return nil, err
			}
			for _, d := range f.Decls {
				method, ok := d.(*ast.FuncDecl)
				if !ok || method.Recv == nil || method.Doc == nil || !method.Name.IsExported() {
					continue
				}
				text := new(doc.Package).Synopsis(method.Doc.Text())
				text = strings.TrimPrefix(text, method.Name.Name+" ")
				found[method.Name.Name] = sentence{text: text, file: "activities/" + side + "/" + filepath.Base(path)}
			}
		}
	}
	return found, nil
}

const head = `<!-- Written by internal/dev/gendocs from workflows/boot/steps.go and the comments of activities/: run ` + "`make generate`" + `. -->

# The steps of a build

One row of the table in [workflows/boot/steps.go](../workflows/boot/steps.go) for each step, in order. "Per host" undos run when the
build leaves a host; the others run when the build ends. [architecture.md](architecture.md) has the rules.

| | step | runs on | deadline of one try | task_state | does | undo |
|---|---|---|---|---|---|---|
`

func buildSteps(steps []boot.Step, sentences map[string]sentence) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(head)
	missing := writeSteps(&b, steps, sentences)
	return b.Bytes(), errors.Join(missing...)
}

// writeSteps renders the rows of a table. A step or undo without a comment is an error: the reader would learn nothing.
func writeSteps(b *bytes.Buffer, steps []boot.Step, sentences map[string]sentence) (missing []error) {
	say := func(activity string) string {
		s, ok := sentences[activity]
		if !ok {
			missing = append(missing, fmt.Errorf("%s: no method of that name with a comment in activities/", activity))
		}
		return cell(s.text)
	}
	for i, s := range steps {
		name := fmt.Sprintf("[%s](../%s)", s.Name, sentences[s.Name].file)
		switch {
		case s.Counts != "":
			name += ", once for each " + s.Counts
		case s.If != "":
			name += ", where " + s.If
		case s.Conditional:
			name += ", where it is wanted"
		}
		if s.Beside != "" {
			name += ", beside what follows until " + s.Beside
		}
		undo := "none: " + cell(s.WhyNoUndo)
		if s.Undo != "" {
			undo = "**" + s.Undo + "**"
			if s.PerPlace {
				undo += ", per host"
			}
			undo += ": " + say(s.Undo)
			if s.Final {
				undo += " Only where the step itself fails: there is no way back behind it"
			}
		}
		on := string(s.Scope)
		if s.Where != "" {
			on = s.Where
		}
		fmt.Fprintf(b, "| %d | %s | %s | %s | %s | %s | %s |\n", i+1, name, on, s.Timeout, s.Phase, say(s.Name), undo)
	}
	return missing
}

// cell is text that cannot end a table's cell.
func cell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
