package images

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/models"
)

// Imports starts imports. Import answers nil once one is accepted, or the fault that refused it.
type Imports interface {
	Import(ctx context.Context, in contract.ImportInput) error
}

// Importer has bytes brought to images by workflows (workflows/imports).
type Importer struct {
	Imports Imports // none: nothing can be imported
	Rows    *models.Store

	Deadline     time.Duration // of an import
	Patience     time.Duration // with what does not answer it: none
	UndoPatience time.Duration // until an import that cannot be given up is shown as parked
	KeepTask     time.Duration // of one that has ended
}

// Can refuses where nothing can be imported.
func (i Importer) Can() error {
	if i.Imports == nil {
		return fault.New(fault.Unavailable, "Nothing can be imported here.")
	}
	return nil
}

// Submit starts an import, of which its task shows so much. What in says of the work is the caller's; the rest is filled in.
func (i Importer) Submit(ctx context.Context, caller Caller, in contract.ImportInput, imageID string, shown any) (err error) {
	if err := i.Can(); err != nil {
		return err
	}
	in.Deadline, in.Patience, in.UndoPatience, in.KeepTask = i.Deadline, i.Patience, i.UndoPatience, i.KeepTask
	in.Task = contract.ImportTask{
		ID: uuid.NewString(), ImageID: imageID, ProjectID: caller.ProjectID, UserID: caller.UserID, RequestID: caller.RequestID,
	}
	in.Request, err = json.Marshal(map[string]any{"image_id": imageID, "import_req": shown, "backend": in.Stores})
	if err != nil {
		return fmt.Errorf("describe the import of image %s: %w", imageID, err)
	}
	refused := i.Imports.Import(ctx, in)
	if refused == nil {
		return nil
	}
	// It was accepted all the same if its task exists: the answer got lost, and another run refused it when it was asked again.
	switch began, err := i.Rows.ImportBegan(ctx, in.Task.ID); {
	case err != nil:
		return err
	case !began:
		return refused
	}
	return nil
}
