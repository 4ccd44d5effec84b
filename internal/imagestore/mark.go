package imagestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/minio/minio-go/v7"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Marked is a store that can say whose it is: a few bytes beside the images, which no list and no sweep shows.
type Marked interface {
	Store
	// Mark is what the store says; nil where it says nothing.
	Mark(ctx context.Context) ([]byte, error)
	// SetMark replaces what Mark answered. Conflict where the store says something else by now.
	SetMark(ctx context.Context, was, mark []byte) error
	// Root is the address of the store.
	Root() string
}

var _, _ Marked = &Files{}, &S3{}

const markName = ".installation"

func (f *Files) mark() string { return filepath.Join(f.dir, markName) }

// Root implements Marked.
func (f *Files) Root() string { return "file://" + f.dir }

// Mark implements Marked.
func (f *Files) Mark(context.Context) ([]byte, error) {
	text, err := os.ReadFile(f.mark())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read whose the image store is: %w", err)
	}
	return text, nil
}

// SetMark implements Marked. The first mark is made by a link, which exists once even where folders cannot be locked.
func (f *Files) SetMark(ctx context.Context, was, mark []byte) error {
	done, err := f.locks.guard()
	if err != nil {
		return fmt.Errorf("say whose the image store is: %w", err)
	}
	defer done()
	is, err := f.Mark(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(is, was) {
		return markedMeanwhile(f.Root())
	}
	part, err := os.CreateTemp(f.dir, markName)
	if err != nil {
		return fmt.Errorf("say whose the image store is: %w", err)
	}
	defer os.Remove(part.Name())
	_, err = part.Write(mark)
	if err = errors.Join(err, part.Sync(), part.Close()); err == nil {
		if was == nil {
			err = os.Link(part.Name(), f.mark())
		} else {
			err = os.Rename(part.Name(), f.mark())
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return markedMeanwhile(f.Root())
	}
	if err = errors.Join(err, syncDir(f.dir)); err != nil {
		return fmt.Errorf("say whose the image store is: %w", err)
	}
	return nil
}

func markedMeanwhile(root string) error {
	return fault.New(fault.Conflict, "Somebody else says meanwhile whose the image store at %s is.", root)
}

func (s *S3) mark() string { return s.prefix[:len(s.prefix)-len(imagesPrefix)] + markName }

// Root implements Marked.
func (s *S3) Root() string { return "s3://" + s.options.Bucket + "/" + s.options.Prefix }

// Mark implements Marked.
func (s *S3) Mark(ctx context.Context) ([]byte, error) {
	text, _, err := s.readMark(ctx)
	return text, err
}

func (s *S3) readMark(ctx context.Context) (text []byte, etag string, err error) {
	const enough = 4 << 10
	body, info, _, err := s.core.GetObject(ctx, s.options.Bucket, s.mark(), minio.GetObjectOptions{})
	if err == nil {
		defer body.Close()
		text, err = io.ReadAll(io.LimitReader(body, enough))
	}
	if minio.ToErrorResponse(err).Code == "NoSuchKey" {
		return nil, "", nil
	}
	return text, info.ETag, s.failed("read the mark beside", "*", err)
}

// SetMark implements Marked, by a conditional write. A server that knows no conditions is found out by reading again: then
// the last of several that mark at once wins, and the others hear of it here or at their next look.
func (s *S3) SetMark(ctx context.Context, was, mark []byte) error {
	is, etag, err := s.readMark(ctx)
	if err != nil {
		return err
	}
	if !bytes.Equal(is, was) {
		return markedMeanwhile(s.Root())
	}
	o := minio.PutObjectOptions{ContentType: "application/json"}
	if was == nil {
		o.SetMatchETagExcept("*")
	} else {
		o.SetMatchETag(etag)
	}
	_, err = s.core.PutObject(ctx, s.options.Bucket, s.mark(), bytes.NewReader(mark), int64(len(mark)), "", "", o)
	if code := minio.ToErrorResponse(err).Code; code == "PreconditionFailed" || code == "ConditionalRequestConflict" {
		return markedMeanwhile(s.Root())
	}
	if err != nil {
		return s.failed("write the mark beside", "*", err)
	}
	if is, _, err = s.readMark(ctx); err == nil && !bytes.Equal(is, mark) {
		return markedMeanwhile(s.Root())
	}
	return err
}
