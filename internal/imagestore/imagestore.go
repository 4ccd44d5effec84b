// Package imagestore keeps the bytes of images, by image id: in folders, in S3-compatible object stores, or in several of
// both at once. What an image is called and who may see it is not its matter.
package imagestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Reader gives images' published bytes.
type Reader interface {
	// Open reads published bytes from the offset on: length of them, or to the end where length is negative or larger than
	// what there is. From the end on there is nothing to read. NotFound where nothing is published.
	Open(ctx context.Context, id string, offset, length int64) (io.ReadCloser, error)
	// Size is how many bytes are published. NotFound where there are none.
	Size(ctx context.Context, id string) (int64, error)
}

// Store keeps images' bytes. Every API process of an installation works on the same store. Errors are faults; Unavailable
// where the store does not answer, with what an operator has to look at in the cause.
type Store interface {
	Reader
	// Kind is "file" or "s3".
	Kind() string
	// Location is the address at which an image's bytes lie or would lie, for records and for operators.
	Location(id string) string
	// Create begins an upload and takes the image's lock, which no other upload of the image, in whatever process, gets
	// before this one has ended: Conflict. The lock of a process that died is free. Bytes that are already published
	// stay readable until Commit replaces them.
	Create(ctx context.Context, id string) (Upload, error)
	// Hold takes the image's lock without an upload, to clean up after a dead process: what that one began is gone when the
	// hold ends. Conflict when an upload is under way. Create is Conflict too where bytes are set aside.
	Hold(ctx context.Context, id string) (Hold, error)
	// Delete removes published bytes; absent is success. Readers that are under way finish where the store can do that;
	// otherwise their next read fails.
	Delete(ctx context.Context, id string) error
	// IDs lists every image of which there is anything: published bytes that are not set aside, or an upload, alive or not.
	// With an error comes what could be listed all the same.
	IDs(ctx context.Context) ([]string, error)
	// Orphans lists the published bytes that are set aside.
	Orphans(ctx context.Context) ([]Orphan, error)
	// Sweep removes what dead processes left beside published images: uploads of the named images whose lock is free (others
	// may be another installation's), and bytes that no image shares any more. It touches no published image and no living
	// upload, and says how many things it removed.
	Sweep(ctx context.Context, ids []string) (int, error)
	// Room says why so many bytes more cannot be stored now, or nil: TooLarge. An object store has room until it says
	// otherwise.
	Room(ctx context.Context, bytes int64) error
	// Ready says why the store cannot take images now, or nil; TooLarge where it only has no room.
	Ready(ctx context.Context) error
}

// Upload is one image on its way into the store. It ends with Close or Abort, and holds the image's lock until then. It
// belongs to one goroutine.
type Upload interface {
	io.Writer
	Hold
	// Commit publishes what was written, durably and all at once. sha512 is the SHA-512 of it in hexadecimal, by which a
	// store may keep equal bytes once; "" where it is not known. The lock is kept, so that what is said elsewhere about
	// the image can follow before anybody else touches it.
	Commit(sha512 string) error
}

// Local is an Upload whose bytes are in a file of this machine before they are committed.
type Local interface {
	Path() string
}

// Orphan is bytes that are set aside, because nobody knows of an image that they belong to.
type Orphan struct {
	ID    string
	Bytes int64
	Since time.Time // when they were set aside
}

// Hold is an image's lock, held until Close or Abort.
type Hold interface {
	// SetAside says that the published bytes belong to no image that is known (true), or that they do again (false). They
	// stay where they are, and whoever does know them reads them as ever: a mark beside them is all that changes, so there
	// is no moment in which they could be lost. Again is success, and keeps the time; so is true where nothing is published.
	SetAside(ctx context.Context, aside bool) error
	// Close ends it: what was not committed is gone.
	Close() error
	// Abort ends it and removes the image's bytes, the published ones too.
	Abort() error
}

// Locks give something to one holder at a time, in whatever process. A lock of a process that died is free.
type Locks interface {
	// Lock takes the lock; Conflict when somebody has it.
	Lock(ctx context.Context, name string) (Lock, error)
}

// Lock is held until Unlock.
type Lock interface {
	// Held says whether the lock is certainly still this holder's: one that is kept elsewhere can be lost.
	Held(ctx context.Context) error
	Unlock() error
}

// validID keeps ids from being paths; they come from users.
var validID = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z-]{0,63}$`)

func check(id string) error {
	if !validID.MatchString(id) {
		return fault.New(fault.Invalid, "'%s' cannot be the id of an image.", id)
	}
	return nil
}

var validSHA512 = regexp.MustCompile(`^[0-9a-f]{128}$`)

// Full says whether err tells that a store has no more room.
func Full(err error) bool { return errors.As(err, new(*full)) }

// full is the cause of such errors.
type full struct{ cause error }

func (f *full) Error() string { return f.cause.Error() }
func (f *full) Unwrap() error { return f.cause }

// storageFull is Glance's StorageFull: 413.
func storageFull(cause error) error {
	return fault.Wrap(fault.TooLarge, &full{cause}, "Image storage media is full: There is not enough disk space on the image storage media. "+
		"Delete images that are not needed any more, or ask the operator to make room.")
}

func keptAside(id string) error {
	return fault.New(fault.Conflict, "Bytes of image %s are set aside in the store, because the database did not know them. An administrator adopts or deletes them: slipway image orphans.", id)
}

func noData(id string) error {
	return fault.New(fault.NotFound, "No data of image %s could be found.", id)
}

func failed(doing, id string, err error) error {
	return orFull(fmt.Errorf("%s image %s: %w", doing, id, err))
}

// orFull makes a fault of a filesystem that has no more room, for the caller or at all.
func orFull(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG) {
		return storageFull(err)
	}
	return err
}
