package authz

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Keys bind the tokens of tasks to the host that polled them. The first one binds, each of them is accepted.
type Keys [][]byte

const keyBytes = 32

// LoadKeys reads the file of the keys, which all frontends of a cluster share: 64 hexadecimal digits a line. A file that is
// missing is made, with one key and mode 0600.
func LoadKeys(path string) (Keys, error) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := makeKeys(path); err != nil {
			return nil, fmt.Errorf("make the keys of task tokens: %w", err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read the keys of task tokens: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the keys of task tokens in %s can be read by others (mode %#o): chmod 600", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the keys of task tokens: %w", err)
	}
	var keys Keys
	for _, line := range strings.Fields(string(text)) {
		key, err := hex.DecodeString(line)
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("the keys of task tokens in %s: a key is %d hexadecimal digits on a line of its own", path, 2*keyBytes)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("the file of the keys of task tokens, %s, has none", path)
	}
	return keys, nil
}

// makeKeys puts the whole file there at once and never over another: two frontends that start together get the same key.
func makeKeys(path string) error {
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".task-token-keys-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// A token is a protobuf message of the server's. What binds it is one more field at its end, of a number that no message
// of the server's has: whatever reads a token on its way, as the server does to find its namespace, passes over it.
var boundHeader = protowire.AppendVarint(protowire.AppendTag(nil, protowire.MaxValidNumber, protowire.BytesType), sha256.Size)

func (k Keys) bind(token []byte, role, name string) []byte {
	out := make([]byte, 0, len(token)+len(boundHeader)+sha256.Size)
	out = append(append(out, token...), boundHeader...)
	return append(out, mac(k[0], token, role, name)...)
}

// unbind returns the server's token if this one was bound to that holder.
func (k Keys) unbind(bound []byte, role, name string) (token []byte, ok bool) {
	end := len(bound) - len(boundHeader) - sha256.Size
	if end <= 0 || !bytes.Equal(bound[end:end+len(boundHeader)], boundHeader) {
		return nil, false
	}
	for _, key := range k {
		if hmac.Equal(bound[end+len(boundHeader):], mac(key, bound[:end], role, name)) {
			return bound[:end:end], true
		}
	}
	return nil, false
}

func mac(key, token []byte, role, name string) []byte {
	h := hmac.New(sha256.New, key)
	for _, part := range [][]byte{[]byte("slipway task token 1"), []byte(role), []byte(name), token} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}
