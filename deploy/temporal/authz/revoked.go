package authz

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/log/tag"
)

// Revocations are the certificates that their CA has ended early. The list is read again when its file, or that of the
// CAs, has changed.
type Revocations struct {
	ca, list string
	must     bool // the list is named, and not looked for
	logger   log.Logger

	mu      sync.Mutex
	looked  time.Time
	seen    [2]fileState
	said    string // of why it cannot be read, once for as long as it is so
	revoked map[string]bool
	newest  map[string]*big.Int // the numbers of the lists that were read, by their CA
}

// fileState tells a file from another one in its place, and from itself with other bytes.
type fileState struct {
	changed syscall.Timespec
	size    int64
	inode   uint64
}

// lookEvery bounds how often the files are looked at, and so how long a certificate is honoured after its end is written.
const lookEvery = time.Second

// CRLFile is looked for beside the file of the CAs where no list is named.
const CRLFile = "crl.pem"

// OpenRevocations reads the lists (PEM) in the file list, each of one of the CAs in the file ca. Where list is "" they are in
// CRLFile beside it, which may also be missing, and come later.
func OpenRevocations(ca, list string, logger log.Logger) (*Revocations, error) {
	r := &Revocations{ca: ca, list: list, must: list != "", logger: logger}
	if list == "" {
		r.list = filepath.Join(filepath.Dir(ca), CRLFile)
	}
	return r, r.read()
}

// Check is an error if a certificate of the chain, the holder's or that of a CA below the root, is revoked.
func (r *Revocations) Check(chain []*x509.Certificate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.looked) >= lookEvery {
		err := r.read()
		if err != nil && err.Error() != r.said {
			r.logger.Error("The revocation list cannot be read: the last one holds", tag.Error(err))
		}
		if r.said = ""; err != nil {
			r.said = err.Error()
		}
	}
	for _, c := range chain {
		if r.revoked[revokedKey(c.RawIssuer, c.SerialNumber.Bytes())] {
			return fmt.Errorf("the certificate %x of %s is revoked", c.SerialNumber, c.Subject.CommonName)
		}
	}
	return nil
}

func revokedKey(issuer, serial []byte) string { return string(issuer) + "\x00" + string(serial) }

func (r *Revocations) read() error {
	r.looked = time.Now()
	var seen [2]fileState
	for i, path := range []string{r.ca, r.list} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) && path == r.list && !r.must && r.seen[1] == (fileState{}) {
			continue // what is revoked does not become valid because a list is gone
		}
		if err != nil {
			return fmt.Errorf("read the revocation list: %w", err)
		}
		st := info.Sys().(*syscall.Stat_t)
		seen[i] = fileState{st.Ctim, info.Size(), st.Ino}
	}
	if seen == r.seen {
		return nil
	}
	revoked, numbers := map[string]bool{}, map[string]*big.Int{}
	if seen[1] != (fileState{}) {
		if err := r.readList(revoked, numbers); err != nil {
			return fmt.Errorf("read the revocation list %s: %w", r.list, err)
		}
	}
	r.seen, r.revoked, r.newest = seen, revoked, numbers
	return nil
}

// readList refuses a list that is older than one that was read: put back by mistake, it would take revocations back.
func (r *Revocations) readList(revoked map[string]bool, numbers map[string]*big.Int) error {
	maps.Copy(numbers, r.newest)
	var authorities []*x509.Certificate
	err := eachBlock(r.ca, "CERTIFICATE", func(der []byte) error {
		c, err := x509.ParseCertificate(der)
		authorities = append(authorities, c)
		return err
	})
	if err != nil {
		return err
	}
	return eachBlock(r.list, "X509 CRL", func(der []byte) error {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		of := func(c *x509.Certificate) bool {
			return bytes.Equal(list.RawIssuer, c.RawSubject) && list.CheckSignatureFrom(c) == nil
		}
		if !slices.ContainsFunc(authorities, of) {
			return fmt.Errorf("it is of %s, which is none of the CAs in %s", list.Issuer, r.ca)
		}
		ca := string(list.RawIssuer) + string(list.AuthorityKeyId)
		if last := r.newest[ca]; last != nil && (list.Number == nil || list.Number.Cmp(last) < 0) {
			return fmt.Errorf("it is number %s of %s, and number %s was read before: copy the newest", list.Number, list.Issuer, last)
		}
		if list.Number != nil {
			numbers[ca] = list.Number
		}
		for _, e := range list.RevokedCertificateEntries {
			revoked[revokedKey(list.RawIssuer, e.SerialNumber.Bytes())] = true
		}
		return nil
	})
}

// eachBlock takes the PEM blocks of a kind, of which there has to be one.
func eachBlock(path, kind string, do func(der []byte) error) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	found := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			continue
		}
		found = true
		if err := do(block.Bytes); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s has no %s (PEM)", path, kind)
	}
	return nil
}
