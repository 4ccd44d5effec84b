package pki

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/slipway-cloud/slipway/internal/durable"
)

// Files of the folder, beside a ROLE-NAME.pem and a ROLE-NAME.key for each holder.
const (
	CAFile    = "ca.pem"
	caKeyFile = "ca.key"
	CRLFile   = "crl.pem"
	indexFile = "index.json"
	lockFile  = "lock"
)

// index is what was issued, also of certificates whose files were replaced.
type index struct {
	CRLNumber    int64         `json:"crl_number"`
	Certificates []Certificate `json:"certificates"`
}

// Certificate is one that was issued.
type Certificate struct {
	Serial    string     `json:"serial"` // in hex
	Role      string     `json:"role"`
	Name      string     `json:"name"`
	DNS       []string   `json:"dns,omitempty"`
	IPs       []string   `json:"ips,omitempty"`
	NotBefore time.Time  `json:"not_before"`
	NotAfter  time.Time  `json:"not_after"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

// Files are those of a holder in the folder of a CA.
func Files(dir, role, name string) (cert, key string) {
	path := filepath.Join(dir, role+"-"+name)
	return path + ".pem", path + ".key"
}

func (a *Authority) readIndex() (index, error) {
	var i index
	text, err := os.ReadFile(filepath.Join(a.dir, indexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return i, fmt.Errorf("%s is gone: put it back from a backup; without it nobody knows what was issued, and the next list would revoke nothing", filepath.Join(a.dir, indexFile))
	}
	if err == nil {
		err = json.Unmarshal(text, &i)
	}
	if err != nil {
		return i, fmt.Errorf("reading what the CA has issued (%s): %w", filepath.Join(a.dir, indexFile), err)
	}
	return i, nil
}

func (a *Authority) writeIndex(i index) error {
	text, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(a.dir, indexFile), append(text, '\n'), 0o600)
}

// lock keeps other commands away from the folder until it is released, or the process ends.
func lock(ctx context.Context, dir string) (release func(), err error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the folder of the CA: %w", err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("locking the folder of the CA: %w", err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("another command works in the folder of the CA (%s is locked): %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}
