// Package payload encrypts what Temporal records: inputs, results, queries and summaries are AES-256-GCM, so that admin
// passwords and user data are never readable in histories. The key id travels in the metadata, so keys can be rotated:
// the first key of the file encrypts, all of them decrypt. What the database keeps sealed is sealed with the same keys.
package payload

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
)

const (
	encoding   = "binary/encrypted" // the name that Temporal's own samples use for it
	metaKeyID  = "encryption-key-id"
	metaCipher = "encryption-cipher"
	cipherName = "AES-256-GCM"
	keyBytes   = 32
)

// Keys is a ring of named keys; the first encrypts.
type Keys struct {
	first string
	aeads map[string]cipher.AEAD
}

// LoadKeys reads a key file: a line `ID BASE64` for each key of 32 bytes, the encrypting one first; # begins a comment.
// The file must not be readable by others.
func LoadKeys(path string) (*Keys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("payload keys: %s is readable by others (mode %o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("payload keys: %w", err)
	}
	keys := &Keys{aeads: map[string]cipher.AEAD{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		id, encoded, _ := strings.Cut(line, " ")
		key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
		if err != nil || len(key) != keyBytes {
			return nil, fmt.Errorf("payload keys: %s, line %d: want `ID BASE64` with a key of %d bytes", path, n, keyBytes)
		}
		if _, twice := keys.aeads[id]; twice {
			return nil, fmt.Errorf("payload keys: %s, line %d: key id %s stands twice", path, n, id)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		if keys.aeads[id], err = cipher.NewGCM(block); err != nil {
			return nil, err
		}
		if keys.first == "" {
			keys.first = id
		}
	}
	if keys.first == "" {
		return nil, fmt.Errorf("payload keys: %s holds no key", path)
	}
	return keys, nil
}

// First is the id of the key that encrypts.
func (k *Keys) First() string { return k.first }

// Has says whether the ring holds the key of that id.
func (k *Keys) Has(id string) bool { return k.aeads[id] != nil }

// Sealed is what only a holder of the key can read.
type Sealed struct {
	KeyID string
	Bytes []byte // the nonce, and what AES-256-GCM makes of the plain text
}

// Seal encrypts with the first key. about says what it is: only who says the same opens it, so that nothing sealed can stand
// in another's place.
func (k *Keys) Seal(plain []byte, about string) (Sealed, error) {
	sealed, err := k.seal(plain, k.first+"\x00"+about)
	return Sealed{KeyID: k.first, Bytes: sealed}, err
}

// Open decrypts what Seal made.
func (k *Keys) Open(s Sealed, about string) ([]byte, error) {
	return k.open(s.KeyID, s.Bytes, s.KeyID+"\x00"+about)
}

func (k *Keys) seal(plain []byte, bound string) ([]byte, error) {
	aead := k.aeads[k.first]
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("encrypting: %w", err)
	}
	return aead.Seal(nonce, nonce, plain, []byte(bound)), nil
}

func (k *Keys) open(id string, sealed []byte, bound string) ([]byte, error) {
	aead, ok := k.aeads[id]
	if !ok {
		return nil, fmt.Errorf("decrypting: no key with id %q in the key file", id)
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

// EnsureKeys makes a key file with one random key, mode 0600, unless there is one. Two processes that start at once end
// with the same file.
func EnsureKeys(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	key := make([]byte, keyBytes)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".payload-keys-*") // 0600 by contract
	if err != nil {
		return fmt.Errorf("making payload keys: %w", err)
	}
	defer os.Remove(tmp.Name())
	fmt.Fprintf(tmp, "# Encrypts what Temporal records. Whoever loses it cannot read running builds any more.\nk1 %s\n", base64.StdEncoding.EncodeToString(key))
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("making payload keys: %w", err)
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making payload keys: %w", err)
	}
	return nil
}

// Converter is the data converter of every Temporal client and worker of Slipway.
func Converter(keys *Keys) converter.DataConverter {
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), codec{keys})
}

// Handler is the codec endpoint that Temporal's Web UI asks to show payloads: POST …/decode (and …/encode). webUI is the
// origin that browsers may call it from. Whoever reaches it can read what is recorded: it belongs on the operator's
// listener, never on the users'.
func Handler(keys *Keys, webUI string) http.Handler {
	inner := converter.NewPayloadCodecHTTPHandler(codec{keys})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", webUI)
		w.Header().Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type, X-Namespace, Authorization")
		w.Header().Set("Vary", "Origin")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

type codec struct{ keys *Keys }

func (c codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		plain, err := p.Marshal()
		if err != nil {
			return nil, fmt.Errorf("encrypting a payload: %w", err)
		}
		sealed, err := c.keys.seal(plain, c.keys.first)
		if err != nil {
			return nil, fmt.Errorf("a payload: %w", err)
		}
		out[i] = &commonpb.Payload{
			Metadata: map[string][]byte{
				converter.MetadataEncoding: []byte(encoding),
				metaCipher:                 []byte(cipherName),
				metaKeyID:                  []byte(c.keys.first),
			},
			Data: sealed,
		}
	}
	return out, nil
}

// Decode leaves what is not encrypted as it is: a cluster may hold histories from before the key.
func (c codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		if string(p.Metadata[converter.MetadataEncoding]) != encoding {
			out[i] = p
			continue
		}
		id := string(p.Metadata[metaKeyID])
		plain, err := c.keys.open(id, p.Data, id)
		if err != nil {
			return nil, fmt.Errorf("a payload: %w", err)
		}
		out[i] = &commonpb.Payload{}
		if err := out[i].Unmarshal(plain); err != nil {
			return nil, fmt.Errorf("decrypting a payload: %w", err)
		}
	}
	return out, nil
}
