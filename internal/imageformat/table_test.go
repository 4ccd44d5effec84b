package imageformat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// tableVariable names a folder that the hostile images are written to, in place of a run of the tests: the API's tests send
// them to a real process.
const tableVariable = "SLIPWAY_HOSTILE_IMAGES"

// hostileFile is an image of the table: a file of the folder.
type hostileFile struct {
	Name     string   `json:"name"`
	File     string   `json:"file"`
	Declared string   `json:"declared"`
	Taken    []string `json:"taken"` // declarations under which it is harmless
}

func TestMain(m *testing.M) {
	dir := os.Getenv(tableVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := writeTable(dir); err != nil {
		fmt.Fprintln(os.Stderr, "writing the hostile images:", err)
		os.Exit(1)
	}
}

func writeTable(dir string) error {
	all := []hostileFile{}
	for n, c := range hostile {
		f := hostileFile{c.name, fmt.Sprintf("%d.img", n), c.declared, []string{}}
		b := c.image()
		for declared := range declaredAs {
			if _, err := Inspect(bytes.NewReader(b), int64(len(b)), Rules{Declared: declared}); err == nil {
				f.Taken = append(f.Taken, declared)
			}
		}
		slices.Sort(f.Taken)
		if err := os.WriteFile(filepath.Join(dir, f.File), b, 0o600); err != nil {
			return err
		}
		all = append(all, f)
	}
	index, err := json.Marshal(all)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "index.json"), index, 0o600)
}
