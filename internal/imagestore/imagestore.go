// Package imagestore keeps the bytes of images, by image id. What an image is called and who may see it is not its
// matter.
package imagestore

import (
	"context"
	"io"
)

// Store keeps images' bytes. Every API process of an installation works on the same store. Errors are faults.
type Store interface {
	// Create begins an upload and takes the image's lock, which no other upload of the image, in whatever process, gets
	// before this one has ended: Conflict. The lock of a process that died is free. Bytes that are already published
	// stay readable until Commit replaces them.
	Create(ctx context.Context, id string) (Upload, error)
	// Open reads published bytes from the offset on. NotFound where there are none.
	Open(ctx context.Context, id string, offset int64) (io.ReadCloser, error)
	// Size is how many bytes are published. NotFound where there are none.
	Size(ctx context.Context, id string) (int64, error)
	// Delete removes published bytes; absent is success. Readers that are under way finish.
	Delete(ctx context.Context, id string) error
	// IDs lists every image of which there is anything: published bytes, or an upload, alive or not.
	IDs(ctx context.Context) ([]string, error)
	// Ready says why the store cannot take images now, or nil.
	Ready(ctx context.Context) error
}

// Upload is one image on its way into the store. It ends with Close or Abort, and holds the image's lock until then.
type Upload interface {
	io.Writer
	// ReaderAt reads what has been written so far, for looking at it before it is published.
	io.ReaderAt
	// Commit publishes what was written, durably and all at once. The lock is kept, so that what is said elsewhere about
	// the image can follow before anybody else touches it.
	Commit() error
	// Close ends the upload: what was not committed is gone.
	Close() error
	// Abort ends the upload and removes the image's bytes, the published ones too.
	Abort() error
}
