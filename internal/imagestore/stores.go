package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/space"
)

// Settings of the stores of an installation, as they stand in its configuration.
type Settings struct {
	// Stores are NAME=KIND:ADDRESS, with commas between them:
	//
	//	local=file:/var/lib/slipway/images            a folder
	//	local=file:/var/lib/slipway/images?content=yes  that keeps equal bytes once
	//	cold=s3:https://s3.example.org/bucket/prefix?region=eu-1&part_mib=16
	//
	// Where there are none, there is one, "local", in Dir.
	Stores string
	// Default is the name of the store that uploads go to; "" is the first.
	Default string
	Dir     string
	// Credentials are lines NAME ACCESS-KEY SECRET-KEY, one for each store that needs them; those of CredentialsFile, which
	// only its owner may read, come after them.
	Credentials     string
	CredentialsFile string
	// Reserve is left free on the filesystem of each folder, as space.Parse reads it.
	Reserve string
	// Locks that object stores use; a folder has its own. nil opens the stores for reading only.
	Locks Locks
}

// Stores are several named stores, which together are a Store: an upload goes to the default one, and an image is read
// from wherever it lies. So the default can be changed while images lie in another.
type Stores struct {
	names  []string // in order, the default first
	stores map[string]Store
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// OpenStores opens every store. It speaks to no object store yet, so that one that is away keeps nobody from starting.
func OpenStores(c Settings) (*Stores, error) {
	keys, err := c.credentials()
	if err != nil {
		return nil, err
	}
	reserve, err := space.Parse(c.Reserve)
	if err != nil {
		return nil, fmt.Errorf("images.reserve: %w", err)
	}
	folder := FilesOptions{Reserve: reserve, ReadOnly: c.Locks == nil}
	s := &Stores{stores: map[string]Store{}}
	if strings.TrimSpace(c.Stores) == "" {
		// The folder is a path and no address: a comma or a question mark in it is its own.
		store, err := OpenFiles(c.Dir, folder)
		if err != nil {
			return nil, fmt.Errorf("images.dir: %w", err)
		}
		s.names, s.stores["local"] = []string{"local"}, store
		return s, s.setDefault(c.Default)
	}
	for spec := range strings.SplitSeq(c.Stores, ",") {
		name, rest, _ := strings.Cut(strings.TrimSpace(spec), "=")
		kind, address, ok := strings.Cut(rest, ":")
		if !ok || address == "" || !validName.MatchString(name) {
			return nil, fmt.Errorf("images.stores: %q is not NAME=file:FOLDER or NAME=s3:https://ENDPOINT/BUCKET", spec)
		}
		if s.stores[name] != nil {
			return nil, fmt.Errorf("images.stores: two stores are named %s", name)
		}
		var store Store
		switch kind {
		case "file":
			store, err = openFolder(address, folder)
		case "s3":
			store, err = openBucket(name, address, keys[name], c.Locks)
		default:
			err = fmt.Errorf("there is no kind %q: use file or s3", kind)
		}
		if err != nil {
			return nil, fmt.Errorf("images.stores: %s: %w", name, err)
		}
		for _, other := range s.names {
			if s.stores[other].Location("id") == store.Location("id") {
				return nil, fmt.Errorf("images.stores: %s and %s are one place with two names", other, name)
			}
		}
		s.stores[name] = store
		s.names = append(s.names, name)
	}
	return s, s.setDefault(c.Default)
}

// setDefault puts a store first; "" leaves the first one there.
func (s *Stores) setDefault(name string) error {
	if name == "" {
		return nil
	}
	at := slices.Index(s.names, name)
	if at < 0 {
		return fmt.Errorf("images.default_store: there is no store %q: there are %s", name, strings.Join(s.names, ", "))
	}
	s.names = slices.Insert(slices.Delete(s.names, at, at+1), 0, name)
	return nil
}

func openFolder(address string, o FilesOptions) (Store, error) {
	dir, query, err := options(address, "content")
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, errors.New("a folder is needed")
	}
	if v := query.Get("content"); v != "" {
		if o.Content, err = parseYesNo(v); err != nil {
			return nil, fmt.Errorf("content: %w", err)
		}
	}
	return OpenFiles(dir, o)
}

func openBucket(name, address string, keys Credentials, locks Locks) (Store, error) {
	plain, query, err := options(address, "region", "part_mib")
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(plain)
	if err != nil || u.User != nil {
		// The address may hold a secret that does not belong there.
		return nil, errors.New("the address must be like https://s3.example.org/bucket, without credentials: those go into images.credentials_file")
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	o := S3Options{
		Name: name, Endpoint: u.Scheme + "://" + u.Host, Bucket: bucket, Prefix: prefix, Region: query.Get("region"),
		Credentials: keys, Locks: locks,
	}
	if v := query.Get("part_mib"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 256 {
			return nil, fmt.Errorf("part_mib must be from 5 to 256, not %q", v)
		}
		o.PartBytes = n << 20
	}
	return OpenS3(o)
}

// options takes what stands behind the question mark from an address.
func options(address string, known ...string) (string, url.Values, error) {
	plain, raw, _ := strings.Cut(address, "?")
	query, err := url.ParseQuery(raw)
	if err != nil {
		return "", nil, fmt.Errorf("%q: %w", raw, err)
	}
	for name := range query {
		if !slices.Contains(known, name) {
			return "", nil, fmt.Errorf("there is no option %q: there is %s", name, strings.Join(known, ", "))
		}
	}
	return plain, query, nil
}

func parseYesNo(word string) (bool, error) {
	switch word {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, fmt.Errorf("yes or no, not %q", word)
}

// credentials reads lines of three words. Errors tell the line's number, never its text.
func (c Settings) credentials() (map[string]Credentials, error) {
	keys := map[string]Credentials{}
	read := func(from, text string) error {
		number := 0
		for line := range strings.Lines(text) {
			number++
			words := strings.Fields(line)
			if len(words) == 0 || strings.HasPrefix(words[0], "#") {
				continue
			}
			if len(words) != 3 {
				return fmt.Errorf("%s: line %d is not NAME ACCESS-KEY SECRET-KEY", from, number)
			}
			keys[words[0]] = Credentials{words[1], words[2]}
		}
		return nil
	}
	if c.CredentialsFile != "" {
		info, err := os.Stat(c.CredentialsFile)
		if err != nil {
			return nil, fmt.Errorf("images.credentials_file: %w", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, fmt.Errorf("images.credentials_file: others may read %s: chmod 600 it", c.CredentialsFile)
		}
		text, err := os.ReadFile(c.CredentialsFile)
		if err != nil {
			return nil, fmt.Errorf("images.credentials_file: %w", err)
		}
		if err := read(c.CredentialsFile, string(text)); err != nil {
			return nil, fmt.Errorf("images.credentials_file: %w", err)
		}
	}
	return keys, read("images.credentials", c.Credentials)
}

// Names of the stores, the default first.
func (s *Stores) Names() []string { return slices.Clone(s.names) }

// Default is the name of the store that uploads go to.
func (s *Stores) Default() string { return s.names[0] }

// Store by name; Invalid where there is none.
func (s *Stores) Store(name string) (Store, error) {
	if store := s.stores[name]; store != nil {
		return store, nil
	}
	return nil, fault.New(fault.Invalid, "There is no image store '%s': there are %s.", name, strings.Join(s.names, ", "))
}

func (s *Stores) first() Store { return s.stores[s.names[0]] }

// Where finds the store that has an image's bytes: the default one, or the first of the others. NotFound where none has;
// a store that does not answer may be the one, so then its error.
func (s *Stores) Where(ctx context.Context, id string) (name string, store Store, err error) {
	var unsure error
	for _, name := range s.names {
		store := s.stores[name]
		_, err := store.Size(ctx, id)
		switch {
		case err == nil:
			return name, store, nil
		case fault.Is(err, fault.Invalid):
			return "", nil, err
		case !fault.Is(err, fault.NotFound) && unsure == nil:
			unsure = err
		}
	}
	if unsure != nil {
		return "", nil, unsure
	}
	return "", nil, noData(id)
}

// Kind implements Store: the default one's.
func (s *Stores) Kind() string { return s.first().Kind() }

// Location implements Store: in the default one.
func (s *Stores) Location(id string) string { return s.first().Location(id) }

// Create implements Store: in the default one.
func (s *Stores) Create(ctx context.Context, id string) (Upload, error) {
	return s.first().Create(ctx, id)
}

// Hold implements Store: in every one, since an upload may be under way in any.
func (s *Stores) Hold(ctx context.Context, id string) (Hold, error) {
	var all holds
	for _, name := range s.names {
		hold, err := s.stores[name].Hold(ctx, id)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all = append(all, hold)
	}
	return all, nil
}

type holds []Hold

func (h holds) Close() error { return h.each(Hold.Close) }
func (h holds) Abort() error { return h.each(Hold.Abort) }

func (h holds) SetAside(ctx context.Context, aside bool) error {
	return h.each(func(one Hold) error { return one.SetAside(ctx, aside) })
}

func (h holds) each(end func(Hold) error) error {
	var problems []error
	for _, hold := range h {
		problems = append(problems, end(hold))
	}
	return errors.Join(problems...)
}

// Open implements Store: from wherever the image lies.
func (s *Stores) Open(ctx context.Context, id string, offset, length int64) (io.ReadCloser, error) {
	_, store, err := s.Where(ctx, id)
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, id, offset, length)
}

// Size implements Store: from wherever the image lies.
func (s *Stores) Size(ctx context.Context, id string) (int64, error) {
	_, store, err := s.Where(ctx, id)
	if err != nil {
		return 0, err
	}
	return store.Size(ctx, id)
}

// Delete implements Store: in every one.
func (s *Stores) Delete(ctx context.Context, id string) error {
	var problems []error
	for _, name := range s.names {
		problems = append(problems, s.stores[name].Delete(ctx, id))
	}
	return errors.Join(problems...)
}

// IDs implements Store: of every one that answers, with the errors of those that do not.
func (s *Stores) IDs(ctx context.Context) ([]string, error) {
	var ids []string
	var problems []error
	for _, name := range s.names {
		some, err := s.stores[name].IDs(ctx)
		ids = append(ids, some...)
		problems = append(problems, err)
	}
	slices.Sort(ids)
	return slices.Compact(ids), errors.Join(problems...)
}

// Orphans implements Store: of every one that answers, with the errors of those that do not.
func (s *Stores) Orphans(ctx context.Context) ([]Orphan, error) {
	var all []Orphan
	var problems []error
	for _, name := range s.names {
		some, err := s.stores[name].Orphans(ctx)
		all = append(all, some...)
		problems = append(problems, err)
	}
	return all, errors.Join(problems...)
}

// Sweep implements Store: every one.
func (s *Stores) Sweep(ctx context.Context, ids []string) (int, error) {
	removed := 0
	var problems []error
	for _, name := range s.names {
		n, err := s.stores[name].Sweep(ctx, ids)
		removed += n
		problems = append(problems, err)
	}
	return removed, errors.Join(problems...)
}

// Room implements Store: in the default one.
func (s *Stores) Room(ctx context.Context, bytes int64) error { return s.first().Room(ctx, bytes) }

// Ready implements Store: the default one. Another that is away is told by whatever needs it.
func (s *Stores) Ready(ctx context.Context) error {
	if err := s.first().Ready(ctx); err != nil {
		return fmt.Errorf("image store %s: %w", s.names[0], err)
	}
	return nil
}
