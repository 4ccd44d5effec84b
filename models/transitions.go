package models

import (
	"slices"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// transitions says which states may follow each state. Every state is a key.
type transitions[S ~string] map[S][]S

// imageTransitions are an image's (Glance's domain.Image.valid_state_targets). The first state is queued, to which every
// way to bring bytes goes back when it fails, so it can be tried again.
var imageTransitions = transitions[ImageStatus]{
	ImageQueued:        {ImageSaving, ImageUploading, ImageImporting, ImageDeleted},
	ImageSaving:        {ImageActive, ImageKilled, ImageQueued, ImageDeleted},
	ImageUploading:     {ImageImporting, ImageQueued, ImageDeleted},
	ImageImporting:     {ImageActive, ImageQueued, ImageDeleted, ImagePendingDelete}, // the last with bytes in some stores
	ImageActive:        {ImageDeactivated, ImagePendingDelete},
	ImageDeactivated:   {ImageActive, ImagePendingDelete},
	ImageKilled:        {ImageDeleted},
	ImagePendingDelete: {ImageDeleted},
	ImageDeleted:       {},
}

// check is the one place that says whether a step is allowed; the text is Glance's.
func (t transitions[S]) check(what string, from, to S) error {
	if slices.Contains(t[from], to) {
		return nil
	}
	return fault.New(fault.Conflict, "%s status transition from %s to %s is not allowed", what, from, to)
}
