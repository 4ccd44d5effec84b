package imagestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Create implements Store.
func (s *S3) Create(ctx context.Context, id string) (Upload, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	lock, err := s.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	aside, err := s.isAside(ctx, id)
	if err == nil && aside {
		err = keptAside(id)
	}
	if err == nil {
		_, err = s.forget(ctx, id) // what a dead process began
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	ctx, cancel := context.WithCancel(ctx)
	return &s3Upload{store: s, id: id, lock: lock, ctx: ctx, cancel: cancel}, nil
}

// Hold implements Store. It asks nothing of the object store before it ends: so who cleans up after a dead process can hold
// an image in all stores while this one is away.
func (s *S3) Hold(ctx context.Context, id string) (Hold, error) {
	if err := check(id); err != nil {
		return nil, err
	}
	lock, err := s.lock(ctx, id)
	if err != nil {
		return nil, err
	}
	return &s3Hold{store: s, id: id, lock: lock, ctx: ctx}, nil
}

type s3Hold struct {
	store *S3
	id    string
	lock  Lock
	ctx   context.Context
	ended sync.Once
	err   error
}

// SetAside implements Hold.
func (h *s3Hold) SetAside(ctx context.Context, aside bool) error {
	return h.store.setAside(ctx, h.id, aside)
}

func (h *s3Hold) Close() error { return h.end(false) }

func (h *s3Hold) Abort() error { return h.end(true) }

func (h *s3Hold) end(withdraw bool) error {
	h.ended.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), endWithin)
		defer cancel()
		_, err := h.store.forget(ctx, h.id) // what a dead process began
		problems := []error{err}
		if withdraw {
			problems = append(problems, h.store.Delete(ctx, h.id))
		}
		h.err = errors.Join(append(problems, h.lock.Unlock())...)
	})
	return h.err
}

// s3Upload fills one part while the one before is on its way.
type s3Upload struct {
	store  *S3
	id     string
	lock   Lock
	ctx    context.Context
	cancel context.CancelFunc

	filling []byte // its capacity is the part's size
	spare   []byte // memory of a part that has arrived
	upload  string // the server's id of it; "" until a part was sent
	sent    int
	parts   []minio.CompletePart
	moving  chan arrived // one part that is on its way; nil for none
	broken  error        // the first failure; nothing goes on after it

	committed bool
	ended     sync.Once
	err       error
}

type arrived struct {
	part   minio.ObjectPart
	memory []byte
	err    error
}

// partBytes is the size of the n-th part, from 0 on.
func (u *s3Upload) partBytes(n int) int {
	switch base := u.store.options.PartBytes; {
	case n < 1000:
		return base
	case n < 2000:
		return 4 * base
	default:
		return 24 * base
	}
}

func (u *s3Upload) Write(p []byte) (written int, err error) {
	for len(p) > 0 {
		if u.broken != nil {
			return written, u.broken
		}
		if u.filling == nil {
			size := u.partBytes(u.sent)
			if cap(u.spare) == size {
				u.filling, u.spare = u.spare[:0], nil
			} else {
				u.spare = nil // before the larger one is there
				u.filling = make([]byte, 0, size)
			}
		}
		n := min(len(p), cap(u.filling)-len(u.filling))
		u.filling = append(u.filling, p[:n]...)
		p = p[n:]
		written += n
		if len(u.filling) == cap(u.filling) {
			u.broken = u.send()
		}
	}
	return written, u.broken
}

// send puts the part that was filled on its way, when the one before has arrived.
func (u *s3Upload) send() error {
	if err := u.settle(); err != nil {
		return err
	}
	if u.sent == maxParts {
		return fault.New(fault.TooLarge, "The image is larger than the image store '%s' takes.", u.store.options.Name)
	}
	if u.upload == "" {
		upload, err := u.store.core.NewMultipartUpload(u.ctx, u.store.options.Bucket, u.store.key(u.id), minio.PutObjectOptions{ContentType: contentType})
		if err != nil {
			return u.store.failed("begin the upload of", u.id, err)
		}
		u.upload = upload
	}
	u.sent++
	number, memory, moving := u.sent, u.filling, make(chan arrived, 1)
	u.filling, u.moving = nil, moving
	go func() { // whose end settle and end wait for
		part, err := u.store.core.PutObjectPart(u.ctx, u.store.options.Bucket, u.store.key(u.id), u.upload, number,
			bytes.NewReader(memory), int64(len(memory)), minio.PutObjectPartOptions{})
		moving <- arrived{part, memory, err}
	}()
	return nil
}

const contentType = "application/octet-stream"

// settle waits for the part that is on its way.
func (u *s3Upload) settle() error {
	if u.moving == nil {
		return nil
	}
	a := <-u.moving
	u.moving, u.spare = nil, a.memory
	if a.err != nil {
		return u.store.failed("store", u.id, a.err)
	}
	u.parts = append(u.parts, minio.CompletePart{PartNumber: a.part.PartNumber, ETag: a.part.ETag})
	return nil
}

// Commit completes the upload: S3 shows the object then and not before. SHA-512 is not known to S3.
func (u *s3Upload) Commit(string) error {
	if u.broken == nil {
		u.broken = u.commit()
	}
	return u.broken
}

func (u *s3Upload) commit() error {
	whole := u.upload == ""
	if !whole && len(u.filling) > 0 {
		if err := u.send(); err != nil {
			return err
		}
	}
	if err := u.settle(); err != nil {
		return err
	}
	// Somebody who has got the lock meanwhile may have taken this upload for dead.
	if err := u.lock.Held(u.ctx); err != nil {
		return fmt.Errorf("publish image %s: %w", u.id, err)
	}
	o, bucket, key := minio.PutObjectOptions{ContentType: contentType}, u.store.options.Bucket, u.store.key(u.id)
	var err error
	if whole {
		_, err = u.store.core.PutObject(u.ctx, bucket, key, bytes.NewReader(u.filling), int64(len(u.filling)), "", "", o)
	} else {
		_, err = u.store.core.CompleteMultipartUpload(u.ctx, bucket, key, u.upload, u.parts, o)
	}
	if err != nil {
		return u.store.failed("publish", u.id, err)
	}
	u.committed = true
	return nil
}

// SetAside implements Hold.
func (u *s3Upload) SetAside(ctx context.Context, aside bool) error {
	return u.store.setAside(ctx, u.id, aside)
}

func (u *s3Upload) Close() error { return u.end(false) }

func (u *s3Upload) Abort() error { return u.end(true) }

// endWithin is how long the end of an upload may take: whoever waits for it has waited long already.
const endWithin = 30 * time.Second

func (u *s3Upload) end(withdraw bool) error {
	u.ended.Do(func() {
		u.cancel()
		_ = u.settle() // what became of the part does not matter any more
		u.filling, u.spare = nil, nil
		ctx, cancel := context.WithTimeout(context.WithoutCancel(u.ctx), endWithin)
		defer cancel()
		var problems []error
		if u.upload != "" && !u.committed {
			problems = append(problems, u.store.abort(ctx, u.id, u.upload))
		}
		if withdraw {
			problems = append(problems, u.store.Delete(ctx, u.id))
		}
		u.err = errors.Join(append(problems, u.lock.Unlock())...)
	})
	return u.err
}

// s3Reader reads an object and goes on where a connection broke.
type s3Reader struct {
	store *S3
	ctx   context.Context
	id    string
	etag  string // of the object that was opened, which it must stay
	at    int64
	end   int64 // not read any more; until the first answer -1 where it is the object's own
	body  io.ReadCloser
	fails int // without a byte between them
}

// open asks for the rest. The first answer says where the end is and which object it is.
func (r *s3Reader) open() error {
	var o minio.GetObjectOptions
	var err error
	switch {
	case r.end >= 0:
		err = o.SetRange(r.at, r.end-1)
	case r.at > 0:
		err = o.SetRange(r.at, 0) // to the end
	}
	if err == nil && r.etag != "" {
		err = o.SetMatchETag(r.etag)
	}
	if err != nil {
		return failed("open", r.id, err)
	}
	body, info, _, err := r.store.core.GetObject(r.ctx, r.store.options.Bucket, r.store.key(r.id), o)
	if r.etag == "" && minio.ToErrorResponse(err).Code == "InvalidRange" {
		r.end = r.at // there is nothing from there on
		return nil
	}
	if err != nil {
		return r.store.failed("read", r.id, err)
	}
	if r.etag == "" {
		r.etag, r.end = info.ETag, r.at+info.Size
	}
	r.body = body
	return nil
}

func (r *s3Reader) Read(p []byte) (int, error) {
	if r.at == r.end {
		return 0, io.EOF
	}
	if int64(len(p)) > r.end-r.at {
		p = p[:r.end-r.at]
	}
	for {
		if r.body == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.body.Read(p)
		r.at += int64(n)
		if n > 0 {
			r.fails = 0
			return n, nil // the next call meets the error, if there is one
		}
		if err == nil {
			return 0, nil
		}
		r.body.Close()
		r.body = nil
		if err := r.ctx.Err(); err != nil {
			return 0, failed("read", r.id, err)
		}
		if r.fails++; r.fails == r.store.options.Tries {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, r.store.failed("read", r.id, err)
		}
	}
}

func (r *s3Reader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
