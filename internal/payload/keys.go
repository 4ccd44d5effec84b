package payload

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

const keyBytes = 32

// Key is one of a ring.
type Key struct {
	ID    string
	Bytes []byte // 32
}

// String keeps it out of texts.
func (k Key) String() string { return "key " + k.ID }

// Keys is a ring of named keys; the first encrypts.
type Keys struct {
	mu    sync.RWMutex
	ring  []Key
	aeads map[string]cipher.AEAD // of the ring, and of hosts' keys that were derived from it
	more  func(id string)        // is asked for a key that is not there; nil: nobody is
}

// LoadKeys reads the control plane's key file: a line `ID BASE64` for each key of 32 bytes, the encrypting one first; # begins a
// comment. The file must not be readable by others.
func LoadKeys(path string) (*Keys, error) {
	ring, err := readKeys(path)
	if err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	for _, k := range ring {
		if _, host := ownerOf(k.ID); host != "" {
			return nil, fmt.Errorf("payload keys: %s holds key %s, which is host %s's own", path, k.ID, host)
		}
	}
	return newKeys(ring)
}

func newKeys(ring []Key) (*Keys, error) {
	k := &Keys{aeads: map[string]cipher.AEAD{}}
	return k, k.set(ring)
}

// set makes these the ring. Holders of k see all of it or nothing.
func (k *Keys) set(ring []Key) error {
	aeads := map[string]cipher.AEAD{}
	for _, key := range ring {
		aead, err := aeadOf(key.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		aeads[key.ID] = aead
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ring, k.aeads = slices.Clone(ring), aeads
	return nil
}

func aeadOf(key []byte) (cipher.AEAD, error) {
	if len(key) != keyBytes {
		return nil, fmt.Errorf("a key has %d bytes, not %d", keyBytes, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func readKeys(path string) ([]Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is readable by others (mode %o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var ring []Key
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, encoded, _ := strings.Cut(line, " ")
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("%s, line %d: want `ID BASE64` with a key of %d bytes", path, n, keyBytes)
		}
		if has(ring, id) {
			return nil, fmt.Errorf("%s, line %d: key id %s stands twice", path, n, id)
		}
		ring = append(ring, Key{ID: id, Bytes: key})
	}
	if len(ring) == 0 {
		return nil, fmt.Errorf("%s holds no key", path)
	}
	return ring, nil
}

func has(ring []Key, id string) bool {
	return slices.ContainsFunc(ring, func(k Key) bool { return k.ID == id })
}

// First is the id of the key that encrypts.
func (k *Keys) First() string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.ring[0].ID
}

// IDs are those of the ring, the encrypting one first.
func (k *Keys) IDs() []string {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var ids []string
	for _, key := range k.ring {
		ids = append(ids, key.ID)
	}
	return ids
}

// Has says whether the ring holds the key of that id.
func (k *Keys) Has(id string) bool { return slices.Contains(k.IDs(), id) }

// Sealed is what only a holder of the key can read.
type Sealed struct {
	KeyID string
	Bytes []byte // the nonce, and what AES-256-GCM makes of the plain text
}

// Seal encrypts with the first key. about says what it is: only who says the same opens it, so that nothing sealed can stand
// in another's place.
func (k *Keys) Seal(plain []byte, about string) (Sealed, error) {
	id := k.First()
	sealed, err := k.seal(id, plain, id+"\x00"+about)
	return Sealed{KeyID: id, Bytes: sealed}, err
}

// Open decrypts what Seal made.
func (k *Keys) Open(s Sealed, about string) ([]byte, error) {
	return k.open(s.KeyID, s.Bytes, s.KeyID+"\x00"+about)
}

func (k *Keys) seal(id string, plain []byte, bound string) ([]byte, error) {
	aead, err := k.aead(id)
	if err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return aead.Seal(nonce, nonce, plain, []byte(bound)), nil
}

func (k *Keys) open(id string, sealed []byte, bound string) ([]byte, error) {
	aead, err := k.aead(id)
	if err != nil {
		return nil, fmt.Errorf("decrypting: %w", err)
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("decrypting: it is too short")
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(bound))
	if err != nil {
		return nil, fmt.Errorf("decrypting with key %s: %w", id, err)
	}
	return plain, nil
}

// aead is that of a key of the ring, or of one that is derived from it for a host.
func (k *Keys) aead(id string) (cipher.AEAD, error) {
	if aead := k.known(id); aead != nil {
		return aead, nil
	}
	if k.more != nil {
		k.more(id)
		if aead := k.known(id); aead != nil {
			return aead, nil
		}
	}
	from, host := ownerOf(id)
	k.mu.RLock()
	i := slices.IndexFunc(k.ring, func(k Key) bool { return k.ID == from })
	var key Key
	if i >= 0 {
		key = k.ring[i]
	}
	k.mu.RUnlock()
	if i < 0 || host == "" {
		return nil, fmt.Errorf("no key with id %q in the key file", id)
	}
	own, err := key.of(host)
	if err != nil {
		return nil, err
	}
	aead, err := aeadOf(own.Bytes)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.aeads) >= aeadsMax { // names that somebody made up, perhaps
		maps.DeleteFunc(k.aeads, func(id string, _ cipher.AEAD) bool { _, host := ownerOf(id); return host != "" })
	}
	k.aeads[id] = aead
	return aead, nil
}

// aeadsMax bounds what is kept of hosts' keys: more than an installation has hosts, at half a KiB each.
const aeadsMax = 10_000

func (k *Keys) known(id string) cipher.AEAD {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.aeads[id]
}

// hostKeyID is the id of what a host has of a key.
func hostKeyID(id, hostname string) string { return id + "@" + hostname }

// ownerOf tells of which key a key was made, and for which host; "" where it is none of a host's.
func ownerOf(id string) (from, hostname string) {
	i := strings.LastIndexByte(id, '@')
	if i < 0 {
		return id, ""
	}
	return id[:i], id[i+1:]
}

// of is what a host has of the key: HKDF-SHA256, so that nobody gets from it to the key, or to another host's.
func (k Key) of(hostname string) (Key, error) {
	own, err := hkdf.Key(sha256.New, k.Bytes, nil, "slipway payload key of host "+hostname, keyBytes)
	return Key{ID: hostKeyID(k.ID, hostname), Bytes: own}, err
}

// OfHost are the keys that a host has, in the ring's order.
func (k *Keys) OfHost(hostname string) ([]Key, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var own []Key
	for _, key := range k.ring {
		o, err := key.of(hostname)
		if err != nil {
			return nil, fmt.Errorf("the payload keys of host %s: %w", hostname, err)
		}
		own = append(own, o)
	}
	return own, nil
}
