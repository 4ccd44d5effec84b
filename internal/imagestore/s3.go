package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// S3 is a Store in a bucket of an S3-compatible object store: an image is the object <prefix>images/<id>. An image larger
// than a part goes up in parts, of which two are in memory at a time, and shows only when it is complete.
type S3 struct {
	options S3Options
	core    minio.Core
	where   string // endpoint and bucket, for operators
	prefix  string // of objects that are images
	marks   string // of empty objects <marks><id>: the image's bytes are set aside, since the object's time
}

// S3Options of a bucket.
type S3Options struct {
	Name     string // of the store, for texts
	Endpoint string // http://host:port or https://host
	Bucket   string // has to be there
	Prefix   string // of the objects' names, so that a bucket can be shared
	Region   string // "" asks the server
	// Credentials speak for the store's user. They are never shown.
	Credentials Credentials
	// PartBytes is the size of the first thousand parts, and so what an upload holds in memory, twice: 6 MiB where it is 0.
	// The next thousand are 4 times as large, the rest 24 times, so that S3's 10,000 parts hold 1 TiB. S3 wants 5 MiB at least.
	PartBytes int
	// Locks that every process of the installation shares. Only a process that uploads, deletes or sweeps needs them.
	Locks Locks
	// Tries of a request that meets no answer or a passing error: 4 where it is 0, within about 3 s.
	Tries int
}

// Credentials of an object store.
type Credentials struct{ AccessKey, SecretKey string }

// String keeps the secret out of whatever prints it.
func (c Credentials) String() string { return "(credentials of " + c.AccessKey + ")" }

// GoString does too.
func (c Credentials) GoString() string { return c.String() }

const (
	imagesPrefix     = "images/" // of the objects that are images
	minPartBytes     = 5 << 20
	defaultPartBytes = 6 << 20
	maxParts         = 10_000
	// A connection that moves nothing for so long is given up. An answer may take longer: some stores copy all parts
	// together before they say that an upload is complete.
	sendIdle, answerIdle = time.Minute, 10 * time.Minute
)

// OpenS3 speaks to nobody yet: a store that does not answer is found by Ready and by whatever needs it.
func OpenS3(o S3Options) (*S3, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil || endpoint.Host == "" || strings.Trim(endpoint.Path, "/") != "" || (endpoint.Scheme != "http" && endpoint.Scheme != "https") {
		return nil, fmt.Errorf("image store %s: %q is not the address of an S3 endpoint, as https://s3.example.org", o.Name, o.Endpoint)
	}
	if o.Bucket == "" {
		return nil, fmt.Errorf("image store %s: a bucket is needed, as https://s3.example.org/bucket", o.Name)
	}
	if o.Credentials.AccessKey == "" || o.Credentials.SecretKey == "" {
		return nil, fmt.Errorf("image store %s has no credentials: add a line \"%s ACCESS-KEY SECRET-KEY\" to images.credentials_file, or to SLIPWAY_IMAGES_CREDENTIALS", o.Name, o.Name)
	}
	if o.PartBytes == 0 {
		o.PartBytes = defaultPartBytes
	}
	if o.PartBytes < minPartBytes {
		return nil, fmt.Errorf("image store %s: parts of %d bytes are too small: S3 wants %d at least", o.Name, o.PartBytes, minPartBytes)
	}
	if o.Tries == 0 {
		o.Tries = 4
	}
	s := &S3{options: o, where: endpoint.String() + "/" + o.Bucket}
	if o.Prefix = strings.Trim(o.Prefix, "/"); o.Prefix != "" {
		s.prefix = o.Prefix + "/"
	}
	s.prefix, s.marks = s.prefix+imagesPrefix, s.prefix+"quarantine/"
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(o.Credentials.AccessKey, o.Credentials.SecretKey, ""),
		Secure:     endpoint.Scheme == "https",
		Region:     o.Region,
		Transport:  transport(),
		MaxRetries: o.Tries,
	})
	if err != nil {
		return nil, fmt.Errorf("image store %s: %w", o.Name, err)
	}
	s.core = minio.Core{Client: client}
	return s, nil
}

// transport ends connections over which nothing moves; requests of any length that move are let go on.
func transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return idleConn{conn}, nil
		},
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     time.Minute,
		MaxIdleConnsPerHost: 16,
		// Images are compressed as far as they are; a transfer that is has other offsets.
		DisableCompression: true,
	}
}

// idleConn is a connection whose deadlines move with its traffic.
type idleConn struct{ net.Conn }

func (c idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(answerIdle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c idleConn) Write(p []byte) (int, error) {
	now := time.Now()
	if err := errors.Join(c.SetWriteDeadline(now.Add(sendIdle)), c.SetReadDeadline(now.Add(answerIdle))); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (s *S3) key(id string) string { return s.prefix + id }

// Kind implements Store.
func (s *S3) Kind() string { return "s3" }

// Location implements Store: s3://bucket/key.
func (s *S3) Location(id string) string { return "s3://" + s.options.Bucket + "/" + s.key(id) }

// Open implements Store. A connection that breaks is made again from where it broke.
func (s *S3) Open(ctx context.Context, id string, offset, length int64) (io.ReadCloser, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	if length == 0 {
		_, err := s.Size(ctx, id)
		return io.NopCloser(strings.NewReader("")), err
	}
	r := &s3Reader{store: s, ctx: ctx, id: id, at: offset, end: -1}
	if length > 0 {
		r.end = offset + length
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// Size implements Store.
func (s *S3) Size(ctx context.Context, id string) (int64, error) {
	if err := check(id); err != nil {
		return 0, err
	}
	info, err := s.stat(ctx, id)
	return info.Size, err
}

func (s *S3) stat(ctx context.Context, id string) (minio.ObjectInfo, error) {
	info, err := s.core.StatObject(ctx, s.options.Bucket, s.key(id), minio.StatObjectOptions{})
	if err != nil {
		return info, s.failed("look at", id, err)
	}
	return info, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, id string) error {
	if err := check(id); err != nil {
		return err
	}
	// First the mark: who dies here leaves bytes that are found again.
	if err := s.unmark(ctx, id); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.options.Bucket, s.key(id), minio.RemoveObjectOptions{})
	if err = s.failed("delete", id, err); fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// IDs implements Store.
func (s *S3) IDs(ctx context.Context) ([]string, error) {
	marks, err := s.list(ctx, s.marks)
	if err != nil {
		return nil, err
	}
	images, err := s.list(ctx, s.prefix)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, i := range images {
		ids = append(ids, i.ID)
	}
	uploads, err := s.uploads(ctx, s.prefix)
	if err != nil {
		return nil, err
	}
	for _, u := range uploads {
		ids = append(ids, u.id)
	}
	ids = slices.DeleteFunc(ids, func(id string) bool {
		return slices.ContainsFunc(marks, func(m Orphan) bool { return m.ID == id })
	})
	slices.Sort(ids)
	return slices.Compact(ids), ctx.Err()
}

// list is the objects of a prefix that have an image's id, with their sizes and times.
func (s *S3) list(ctx context.Context, prefix string) ([]Orphan, error) {
	var all []Orphan
	for object := range s.core.ListObjectsIter(ctx, s.options.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if object.Err != nil {
			return nil, s.failed("list", "*", object.Err)
		}
		if id := strings.TrimPrefix(object.Key, prefix); validID.MatchString(id) {
			all = append(all, Orphan{ID: id, Bytes: object.Size, Since: object.LastModified})
		}
	}
	return all, nil
}

// Orphans implements Store.
func (s *S3) Orphans(ctx context.Context) ([]Orphan, error) {
	marks, err := s.list(ctx, s.marks)
	var all []Orphan
	for _, o := range marks {
		if o.Bytes, err = s.Size(ctx, o.ID); fault.Is(err, fault.NotFound) {
			continue
		} else if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, err
}

// isAside says whether an image's bytes are set aside. A mark whose bytes are gone says nothing, and goes too.
func (s *S3) isAside(ctx context.Context, id string) (bool, error) {
	_, err := s.core.StatObject(ctx, s.options.Bucket, s.marks+id, minio.StatObjectOptions{})
	if err = s.failed("look at the mark of", id, err); err == nil {
		if _, err = s.stat(ctx, id); fault.Is(err, fault.NotFound) {
			return false, s.unmark(ctx, id)
		}
	}
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return err == nil, err
}

func (s *S3) unmark(ctx context.Context, id string) error {
	err := s.core.RemoveObject(ctx, s.options.Bucket, s.marks+id, minio.RemoveObjectOptions{})
	if err = s.failed("take back", id, err); fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (s *S3) setAside(ctx context.Context, id string, aside bool) error {
	if !aside {
		return s.unmark(ctx, id)
	}
	already, err := s.isAside(ctx, id)
	if err != nil || already {
		return err
	}
	if _, err := s.stat(ctx, id); err != nil {
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	}
	_, err = s.core.PutObject(ctx, s.options.Bucket, s.marks+id, strings.NewReader(""), 0, "", "", minio.PutObjectOptions{})
	return s.failed("set aside", id, err)
}

type begun struct{ id, upload string }

// uploads lists uploads in parts that have not ended, of images only.
func (s *S3) uploads(ctx context.Context, prefix string) ([]begun, error) {
	var all []begun
	var key, upload string
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.options.Bucket, prefix, key, upload, "", 1000)
		if err != nil {
			return nil, s.failed("list the uploads of", strings.TrimPrefix(prefix, s.prefix), err)
		}
		for _, u := range page.Uploads {
			if id := strings.TrimPrefix(u.Key, s.prefix); strings.HasPrefix(u.Key, s.prefix) && validID.MatchString(id) {
				all = append(all, begun{id, u.UploadID})
			}
		}
		if !page.IsTruncated || (page.NextKeyMarker == key && page.NextUploadIDMarker == upload) {
			return all, nil
		}
		key, upload = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// forget ends the uploads in parts of one image and answers how many there were. The image's lock is held.
func (s *S3) forget(ctx context.Context, id string) (int, error) {
	uploads, err := s.uploads(ctx, s.key(id))
	if err != nil {
		return 0, err
	}
	forgotten := 0
	for _, u := range uploads {
		if u.id != id {
			continue // whose id begins with this one
		}
		if err := s.abort(ctx, id, u.upload); err != nil {
			return forgotten, err
		}
		forgotten++
	}
	return forgotten, nil
}

func (s *S3) abort(ctx context.Context, id, upload string) error {
	err := s.core.AbortMultipartUpload(ctx, s.options.Bucket, s.key(id), upload)
	if minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		return nil
	}
	return s.failed("end the upload of", id, err)
}

// Sweep implements Store.
func (s *S3) Sweep(ctx context.Context, ids []string) (int, error) {
	uploads, err := s.uploads(ctx, s.prefix)
	if err != nil {
		return 0, err
	}
	removed := 0
	var problems []error
	for _, id := range idsOf(uploads) {
		if !slices.Contains(ids, id) {
			continue
		}
		lock, err := s.lock(ctx, id)
		if fault.Is(err, fault.Conflict) {
			continue // alive
		}
		if err == nil {
			var n int
			n, err = s.forget(ctx, id)
			removed += n
			err = errors.Join(err, lock.Unlock())
		}
		if err != nil {
			problems = append(problems, failed("sweep the upload of", id, err))
		}
	}
	return removed, errors.Join(problems...)
}

func idsOf(uploads []begun) []string {
	ids := make([]string, len(uploads))
	for i, u := range uploads {
		ids[i] = u.id
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (s *S3) lock(ctx context.Context, id string) (Lock, error) {
	if s.options.Locks == nil {
		return nil, fmt.Errorf("image store %s was opened for reading: image %s cannot be changed", s.options.Name, id)
	}
	return s.options.Locks.Lock(ctx, id)
}

// Room implements Store: only the object store knows, and says it when bytes come.
func (s *S3) Room(context.Context, int64) error { return nil }

// Ready implements Store. It lists: a HEAD would be cheaper, but its answer says nothing of what is wrong.
func (s *S3) Ready(ctx context.Context) error {
	for object := range s.core.ListObjectsIter(ctx, s.options.Bucket, minio.ListObjectsOptions{Prefix: s.prefix, Recursive: true, MaxKeys: 1}) {
		return s.failed("look for", "*", object.Err)
	}
	return nil
}

// failed makes a fault of what the library says. Users are told which store it is; what an operator has to look at is in
// the cause.
func (s *S3) failed(doing, id string, err error) error {
	if err == nil {
		return nil
	}
	var said minio.ErrorResponse
	errors.As(err, &said)
	because := func(format string, args ...any) error {
		args = append([]any{doing, id, s.options.Name, s.where}, args...)
		return fault.Wrap(fault.Unavailable, fmt.Errorf("%s image %s in store %s at %s: "+format, args...), "The image store '%s' cannot be used now. Please try again later.", s.options.Name)
	}
	switch code := said.Code; {
	case code == "NoSuchKey" && id != "*":
		return fault.Wrap(fault.NotFound, fmt.Errorf("%s image %s in store %s at %s: %w", doing, id, s.options.Name, s.where, err), "No data of image %s could be found.", id)
	case code == "NoSuchBucket":
		return because("there is no such bucket: make it, or correct images.stores: %w", err)
	case code == "InvalidAccessKeyId", code == "SignatureDoesNotMatch", code == "AccessDenied", code == "ExpiredToken",
		code == "InvalidTokenId", code == "XAdminUserNotFound" /* versitygw's unknown access key, a 404 */, said.StatusCode == http.StatusUnauthorized, said.StatusCode == http.StatusForbidden:
		return because("it refuses the credentials (%s): see images.credentials_file, and what they may do with the bucket: %w", code, err)
	case code == "EntityTooLarge", strings.Contains(code, "StorageFull"), strings.Contains(code, "QuotaExceeded"), said.StatusCode == http.StatusInsufficientStorage:
		return storageFull(fmt.Errorf("%s image %s in store %s at %s: %w", doing, id, s.options.Name, s.where, err))
	case code == "":
		return because("no answer: is it up, and can this machine reach it? %w", err)
	case said.StatusCode >= 500, said.StatusCode == http.StatusTooManyRequests, code == "SlowDown", code == "RequestTimeout", code == "NoSuchUpload", code == "PreconditionFailed":
		return because("it answers %s: %w", code, err)
	default:
		return fmt.Errorf("%s image %s in store %s at %s: %w", doing, id, s.options.Name, s.where, err)
	}
}
