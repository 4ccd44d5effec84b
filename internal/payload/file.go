package payload

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/slipway-cloud/slipway/internal/durable"
)

// line is a key's in a key file.
func (k Key) line() string { return k.ID + " " + base64.StdEncoding.EncodeToString(k.Bytes) }

func newKey(id string) (Key, error) {
	key := Key{ID: id, Bytes: make([]byte, keyBytes)}
	_, err := rand.Read(key.Bytes)
	return key, err
}

// EnsureKeys makes a key file with one random key, mode 0600, unless there is one. Two processes that start at once end
// with the same file.
func EnsureKeys(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key, err := newKey("k1")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".payload-keys-*") // 0600 by contract
	if err != nil {
		return fmt.Errorf("making payload keys: %w", err)
	}
	defer os.Remove(tmp.Name())
	fmt.Fprintf(tmp, "# Encrypts what Temporal records. Whoever loses it cannot read running builds any more.\n%s\n", key.line())
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("making payload keys: %w", err)
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making payload keys: %w", err)
	}
	return nil
}

// AddKey puts a new random key behind the others of a control plane's key file, and answers its id. It encrypts nothing yet.
func AddKey(path string) (id string, err error) {
	keys, err := LoadKeys(path)
	if err != nil {
		return "", err
	}
	for n := 1; id == "" || keys.Has(id); n++ {
		id = "k" + strconv.Itoa(n)
	}
	key, err := newKey(id)
	if err != nil {
		return "", err
	}
	return id, rewrite(path, func(lines []string) []string { return append(lines, key.line()) })
}

// UseKey makes one of the keys of a control plane's key file the one that encrypts.
func UseKey(path, id string) error {
	keys, err := LoadKeys(path)
	if err != nil {
		return err
	}
	if !keys.Has(id) {
		return fmt.Errorf("payload keys: %s has no key %s; it has %s", path, id, strings.Join(keys.IDs(), ", "))
	}
	return rewrite(path, func(lines []string) []string {
		is := func(key string) func(string) bool {
			return func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), key+" ") }
		}
		from, to := slices.IndexFunc(lines, is(id)), slices.IndexFunc(lines, is(keys.First()))
		line := lines[from]
		return slices.Insert(slices.Delete(lines, from, from+1), to, line)
	})
}

// rewrite replaces a key file, whose owner stays.
func rewrite(path string, change func(lines []string) []string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("payload keys: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("payload keys: %w", err)
	}
	lines := change(strings.Split(strings.TrimRight(string(text), "\n"), "\n"))
	if err := durable.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("payload keys: %w", err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		return fmt.Errorf("payload keys: giving %s back to its owner: %w", path, err)
	}
	return nil
}

// writeKeys replaces a host's key file.
func writeKeys(path string, ring []Key) error {
	var text bytes.Buffer
	for _, k := range ring {
		fmt.Fprintln(&text, k.line())
	}
	return durable.WriteFile(path, text.Bytes(), 0o600)
}
