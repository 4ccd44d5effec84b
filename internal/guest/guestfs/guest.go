package guestfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-crypt/crypt/algorithm/shacrypt"
)

// filesystem is what of a guest's is written. No path of it is ever a path of the host.
type filesystem interface {
	// read gives a file's contents; absent is fs.ErrNotExist.
	read(ctx context.Context, path string) ([]byte, error)
	// put writes a file and reads it back, making the folders above it (root's, 0755). One that is there keeps its owner, mode and
	// security label.
	put(ctx context.Context, f file) error
	// mkdirAll makes the folder with its parents. Its mode and owner are set in any case.
	mkdirAll(ctx context.Context, path string, mode, uid, gid uint32) error
	// hasEtc says whether the root has a folder etc, or a link of that name.
	hasEtc(ctx context.Context) (bool, error)
	// check repairs what is safe to repair, or, after an injection that did not end, all; what it cannot repair is an error.
	check(ctx context.Context, unfinished bool) error
	// close ends what writes. Before it nothing is sure to be written.
	close(ctx context.Context) error
}

// file is what put writes.
type file struct {
	path     string
	contents []byte
	newMode  uint32   // of a file that is new
	mode     uint32   // in any case, where it is not 0
	owner    *account // in any case, where it is not nil
	// backup keeps another file that is there beside it, its name followed by when it was written.
	backup bool
}

// maxFile bounds a guest's file that is read or written: key files, shadow and personality files are far smaller.
const maxFile = 1 << 20

// guest is what is known of Linux guests, whatever their filesystem.
type guest struct{ filesystem }

// account is whose keys are injected.
type account struct {
	home     string
	uid, gid uint32
}

// account reads one from the guest's passwd.
func (g guest) account(ctx context.Context, name string) (account, error) {
	passwd, err := g.read(ctx, "/etc/passwd")
	if err != nil {
		return account{}, err
	}
	for line := range strings.Lines(string(passwd)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) < 6 || f[0] != name {
			continue
		}
		uid, uidErr := strconv.ParseUint(f[2], 10, 32)
		gid, gidErr := strconv.ParseUint(f[3], 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil || !path.IsAbs(f[5]) || path.Clean(f[5]) == "/" {
			return account{}, errors.Join(fmt.Errorf("/etc/passwd has no usable line for %s", name), err)
		}
		return account{home: f[5], uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return account{}, fmt.Errorf("the image has no user %s", name)
}

// injectKey appends the key to the account's, once.
func (g guest) injectKey(ctx context.Context, a account, key string) error {
	ssh := path.Join(a.home, ".ssh")
	if err := g.mkdirAll(ctx, ssh, 0o700, a.uid, a.gid); err != nil {
		return err
	}
	keys := path.Join(ssh, "authorized_keys")
	old, err := g.read(ctx, keys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key = strings.TrimSpace(key)
	if !slices.Contains(strings.Split(string(old), "\n"), key) {
		old = append(old, "\n# The following ssh key was injected by Slipway\n"+key+"\n"...)
	}
	return g.put(ctx, file{path: keys, contents: old, mode: 0o600, owner: &a})
}

// relabel has an SELinux guest label what was injected at its first boot: only the guest knows its policy. Debian has the folder
// /etc/selinux without SELinux, and a guest that has it switched off wants no mark.
func (g guest) relabel(ctx context.Context) error {
	config, err := g.read(ctx, "/etc/selinux/config")
	if errors.Is(err, fs.ErrNotExist) || err == nil && !labels.Match(config) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := g.read(ctx, "/.autorelabel"); !errors.Is(err, fs.ErrNotExist) {
		return err // it is there, perhaps with options in it
	}
	return g.put(ctx, file{path: "/.autorelabel", newMode: 0o644})
}

// labels is selinux_config(5) of a guest whose files have labels.
var labels = regexp.MustCompile(`(?m)^[ \t]*SELINUX=[ \t]*(?i:enforcing|permissive)\b`)

// injectPassword sets root's password in /etc/shadow, hashed with SHA-512 crypt.
func (g guest) injectPassword(ctx context.Context, password string) error {
	old, err := g.read(ctx, "/etc/shadow")
	if err != nil {
		return err
	}
	if strings.ContainsAny(password, "\n\r\x00") {
		return errors.New("the password has a line break in it")
	}
	lines := strings.Split(string(old), "\n")
	for i, line := range lines {
		fields := strings.Split(line, ":")
		if fields[0] != "root" || len(fields) < 2 {
			continue
		}
		if matches(fields[1], password) {
			return nil
		}
		if fields[1], err = crypt(password); err != nil {
			return err
		}
		lines[i] = strings.Join(fields, ":")
		return g.put(ctx, file{path: "/etc/shadow", contents: []byte(strings.Join(lines, "\n"))})
	}
	return errors.New("/etc/shadow has no line for root")
}

// matches tells whether a hash is of the password already: an injection that is repeated then changes nothing. A hash that
// crypt would not make is no match: the guest wrote it, and its salt and rounds would say how long we compute.
func matches(hash, password string) bool {
	f := strings.Split(hash, "$")
	if len(f) != 4 || f[1] != shacrypt.AlgIdentifierSHA512 || len(f[2]) > shacrypt.SaltLengthMax {
		return false
	}
	digest, err := shacrypt.Decode(hash)
	return err == nil && digest.Match(password)
}

// crypt is crypt(3)'s SHA-512 with a fresh salt and the default rounds, which every guest's libc reads.
func crypt(password string) (string, error) {
	hasher, err := shacrypt.New(shacrypt.WithSHA512(), shacrypt.WithIterations(shacrypt.IterationsDefaultOmitted))
	if err != nil {
		return "", err
	}
	digest, err := hasher.Hash(password)
	if err != nil {
		return "", err
	}
	return digest.Encode(), nil
}
