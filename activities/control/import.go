package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// Web opens what a URI names: its body and its length, -1 where nobody says. internal/webdownload is the one that there is.
type Web interface {
	Open(ctx context.Context, uri string) (body io.ReadCloser, length int64, err error)
}

// BeginImport takes an image for an import and records its task. Conflict when the image's state does not allow it.
func (a *Activities) BeginImport(ctx context.Context, in contract.ImportInput) (contract.ImportBegun, error) {
	image, stores, err := a.taking(ctx, contract.BeginImport, 0, "").BeginImport(ctx, models.ImportBegin{
		Task: taskOf(in), Method: in.Method, Stores: in.Stores, Skip: in.Skip, AnswerBy: in.AnswerBy,
	})
	if err != nil {
		return contract.ImportBegun{}, err
	}
	begun := contract.ImportBegun{Stores: stores}
	if image.StagedStore != nil {
		begun.Staged = *image.StagedStore
	}
	return begun, nil
}

func taskOf(in contract.ImportInput) models.ImageTask {
	t := in.Task
	return models.ImageTask{ID: t.ID, ImageID: t.ImageID, OwnerID: t.ProjectID, UserID: t.UserID, RequestID: t.RequestID, Input: []byte(in.Request)}
}

func callerOf(t contract.ImportTask) images.Caller {
	return images.Caller{Caller: imagepolicy.Caller{UserID: t.UserID, ProjectID: t.ProjectID}, RequestID: t.RequestID}
}

// AbandonImport is its undo, and that of everything that followed: an image that is still importing returns to queued, with
// its bytes gone from every store, the staged ones too. Copies leave the stores that they came to.
func (a *Activities) AbandonImport(ctx context.Context, in contract.AbandonImportInput) error {
	if err := a.giveBack(ctx, "", contract.BeginImport, 0, ""); err != nil {
		return err
	}
	stores := in.Begun.Stores
	if stores == nil {
		stores = in.Import.Stores
	}
	end := models.ImportEnd{
		Task: taskOf(in.Import), Failed: in.Failed, Message: in.Message, Expires: a.now().Add(in.Import.KeepTask),
		Copied: in.Import.Method == contract.ImportCopy,
	}
	if in.Import.Every {
		end.Drop = in.Begun.Stores
	}
	if in.Import.Method == contract.ImportOrphan {
		stores = nil // what lies there is not the import's to take away
	}
	return a.images.EndImport(ctx, callerOf(in.Import.Task), end, stores, in.Begun.Staged)
}

// FinishImport ends an import that went well: the image is active, and its task tells so.
func (a *Activities) FinishImport(ctx context.Context, in contract.FinishImportInput) error {
	return a.images.EndImport(ctx, callerOf(in.Import.Task), models.ImportEnd{
		Task: taskOf(in.Import), Failed: in.Failed, Message: in.Message, Expires: a.now().Add(in.Import.KeepTask), Success: true,
		Copied: in.Import.Method == contract.ImportCopy,
	}, in.Begun.Stores, in.Begun.Staged)
}

// StoreImage brings an image's bytes from where they wait, from another image, or from the web, to a store. Invalid for bytes that are not what
// the image says of itself.
func (a *Activities) StoreImage(ctx context.Context, in contract.StoreImageInput) (contract.StoredImage, error) {
	return a.moveBytes(ctx, in.Task, func(ctx context.Context, p *passing) error {
		body, length, inPlace, err := a.source(ctx, in)
		if err != nil {
			return err
		}
		defer body.Close()
		p.total.Store(length)
		_, err = a.images.StoreImported(ctx, callerOf(in.Task), in.Task.ImageID, images.Data{
			Body: p.reader(ctx, body), Length: length, Store: in.Store, From: models.ImageImporting, Task: in.Task.ID, Stays: in.Stays, InPlace: inPlace,
		})
		return err
	})
}

// source opens the bytes, which may lie where they are to be. An image that has come to the store already needs none: the
// step before found no one to tell.
func (a *Activities) source(ctx context.Context, in contract.StoreImageInput) (body io.ReadCloser, length int64, inPlace bool, err error) {
	image, err := a.store.Image(ctx, in.Task.ImageID)
	switch {
	case err != nil:
	case image.LiesIn(in.Store):
		body = io.NopCloser(strings.NewReader(""))
	case in.Method == contract.ImportStaged:
		body, length, err = a.images.OpenStaged(ctx, image)
	case in.Method == contract.ImportOrphan:
		inPlace = in.URI == image.ID
		body, length, err = a.images.OpenOrphan(ctx, in.URI, in.Store)
	case in.Method == contract.ImportImage:
		body, length, err = a.imageBytes(ctx, in.URI)
	default:
		body, length, err = a.web.Open(ctx, in.URI)
	}
	return body, length, inPlace, err
}

// imageBytes are those of another image, which whoever asked for the import might read then.
func (a *Activities) imageBytes(ctx context.Context, imageID string) (io.ReadCloser, int64, error) {
	from, err := a.store.Image(ctx, imageID)
	if fault.Is(err, fault.NotFound) || err == nil && (from.Status != models.ImageActive || from.SizeBytes == nil) {
		return nil, 0, fault.New(fault.Conflict, "Image %s, whose bytes are to be copied, is not available any more.", imageID)
	}
	if err != nil {
		return nil, 0, err
	}
	body, err := a.images.Open(ctx, from, 0, -1)
	return body, *from.SizeBytes, err
}

// CopyImage copies an image's bytes from the stores that have them to one more.
func (a *Activities) CopyImage(ctx context.Context, in contract.CopyImageInput) (contract.StoredImage, error) {
	return a.moveBytes(ctx, in.Task, func(ctx context.Context, p *passing) error {
		_, err := a.images.CopyImported(ctx, callerOf(in.Task), in.Task.ImageID, in.Task.ID, in.Store, func(body io.Reader) io.Reader { return p.reader(ctx, body) })
		return err
	})
}

// tellEvery is how often an import says how far it is, and looks whether its image is still there.
const tellEvery = 2 * time.Second

var (
	errUnwanted = errors.New("the image was deleted during its import")
	errStops    = errors.New("this worker stops")
)

// moveBytes does the work, tells how far it is, and ends it when the image goes or the worker stops.
func (a *Activities) moveBytes(ctx context.Context, task contract.ImportTask, work func(context.Context, *passing) error) (contract.StoredImage, error) {
	working, giveUp := context.WithCancelCause(ctx)
	p := &passing{}
	p.total.Store(-1)
	told := make(chan struct{})
	go func() {
		defer close(told)
		a.tell(working, task, p, giveUp)
	}()
	err := work(working, p)
	why := context.Cause(working)
	giveUp(nil)
	<-told
	switch {
	case err == nil:
		return contract.StoredImage{Bytes: p.bytes.Load()}, nil
	case ctx.Err() != nil:
		return contract.StoredImage{}, ctx.Err()
	case errors.Is(why, errUnwanted):
		return contract.StoredImage{}, fault.Wrap(fault.NotFound, why, "Image %s was deleted during its import.", task.ImageID)
	case errors.Is(why, errStops):
		// Another worker goes on.
		return contract.StoredImage{}, fault.Wrap(fault.Unavailable, why, "The import of image %s was interrupted.", task.ImageID)
	}
	return contract.StoredImage{}, err
}

func (a *Activities) tell(ctx context.Context, task contract.ImportTask, p *passing, giveUp context.CancelCauseFunc) {
	every := time.NewTicker(tellEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-activity.GetWorkerStopChannel(ctx):
			giveUp(errStops)
			return
		case <-every.C:
		}
		bytes := p.bytes.Load()
		activity.RecordHeartbeat(ctx, contract.ImportProgress{Bytes: bytes, Total: p.total.Load()})
		asking, cancel := context.WithTimeout(ctx, tellEvery)
		wanted, err := a.store.ImportProgress(asking, task, fmt.Sprintf("Copied %d MiB", bytes>>20))
		cancel()
		if err == nil && !wanted {
			giveUp(errUnwanted)
			return
		}
	}
}

// passing counts the bytes that pass.
type passing struct {
	bytes, total atomic.Int64
}

// reader counts what is read of the body; it ends with the context.
func (p *passing) reader(ctx context.Context, body io.Reader) io.Reader {
	p.bytes.Store(0)
	return readFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, fault.Wrap(fault.Unavailable, err, "The import was stopped before it was done.")
		}
		n, err := body.Read(b)
		p.bytes.Add(int64(n))
		return n, err
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
