package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
)

func (c *client) imageUpload() *cobra.Command {
	var file, store string
	var progress progressChoice
	cmd := &cobra.Command{
		Use:   "upload IMAGE --file F",
		Short: "Upload the bytes of a queued image",
		Long: `Upload the bytes of an image that is queued: one that was created without a file, or kept after an upload that failed.
What the API stored is compared with what was read. An image takes bytes once; while an upload fails it stays queued, and
a new one begins from the start.`,
		Example: "  slipway image upload debian-12 --file debian-12.qcow2 --progress\n  zstd -dc disk.raw.zst | slipway image upload debian-12 --file -",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			ctx, stop := untilStopped(ctx)
			defer stop()
			image, from, err := s.queuedAndSource(ctx, cmd, args[0], file)
			if err != nil {
				return err
			}
			defer from.close()
			stored, err := c.store(ctx, cmd, s, image, from, store, progress)
			var failure *Error
			if errors.As(err, &failure) && errors.Is(failure.Cause, errNotWhole) {
				failure.Hints = []string{"delete it and upload it again: slipway image delete " + text(image, "id")}
			}
			if err != nil {
				return err
			}
			return c.output.one(cmd.OutOrStdout(), &imageKind.layout, stored)
		}),
	}
	c.bindUpload(cmd, &file, &progress)
	c.bindStore(cmd, &store)
	return cmd
}

func (c *client) imageStage() *cobra.Command {
	var file string
	var progress progressChoice
	cmd := &cobra.Command{
		Use:   "stage IMAGE --file F",
		Short: "Upload bytes for an import to take (glance-direct)",
		Long: `Upload the bytes of a queued image to the API's staging area. The image is "uploading" then, and an import with the method
glance-direct makes it an image.`,
		Example: "  slipway image stage debian-12 --file debian-12.qcow2\n  slipway image import debian-12 --method glance-direct --wait",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			ctx, stop := untilStopped(ctx)
			defer stop()
			image, from, err := s.queuedAndSource(ctx, cmd, args[0], file)
			if err != nil {
				return err
			}
			defer from.close()
			if _, _, err := c.send(ctx, cmd, s, image, "stage", "staged", from, "", progress); err != nil {
				return err
			}
			staged, err := s.get(ctx, imageKind, text(image, "id"))
			if err != nil {
				return doing(err, "read the staged image %q", args[0])
			}
			return c.output.one(cmd.OutOrStdout(), &imageKind.layout, staged)
		}),
	}
	c.bindUpload(cmd, &file, &progress)
	return cmd
}

func (c *client) bindUpload(cmd *cobra.Command, file *string, progress *progressChoice) {
	cmd.Flags().StringVar(file, "file", "", "the image, - for standard input (required)")
	progress.bind(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("progress", "no-progress")
	_ = cmd.MarkFlagRequired("file")
	cmd.ValidArgsFunction = c.complete(imageKind, false)
}

// untilStopped is a context that ends with Ctrl-C, a TERM, or the end of the terminal, unless that is ignored (nohup). After
// its end such a signal ends the program at once, also where the program catches it for others.
func untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	context.AfterFunc(ctx, func() { signal.Reset(signals...) })
	return ctx, stop
}

// queuedAndSource finds an image that still takes bytes and opens those.
func (s *session) queuedAndSource(ctx context.Context, cmd *cobra.Command, ref, file string) (object, *source, error) {
	image, err := s.find(ctx, imageKind, ref)
	if err != nil {
		return nil, nil, err
	}
	if text(image, "status") != "queued" {
		failure := badImage(image, "takes no bytes")
		failure.Hints = []string{"an image takes bytes once, while it is queued: create another one"}
		return nil, nil, failure
	}
	if text(image, "disk_format") == "" || text(image, "container_format") == "" {
		failure := badImage(image, "has no formats yet")
		failure.Hints = []string{"slipway image set " + text(image, "id") + " --disk-format qcow2 --container-format bare"}
		return nil, nil, failure
	}
	from, err := openSource(ctx, cmd, file)
	return image, from, err
}

// send uploads the bytes of an image to what lies below it: "file" or "stage".
func (c *client) send(ctx context.Context, cmd *cobra.Command, s *session, image object, below, verb string, from *source, store string, progress progressChoice) (*checksums, int64, error) {
	name, sums := imageKind.layout.label(image), newChecksums("sha512")
	if from.stream != nil {
		sums = newChecksums("sha512", "md5") // there is no second reading for the other one
	}
	headers := map[string]string{
		"Content-Type": "application/octet-stream",
		// A refusal (state, size, a token that has expired) comes before the bytes are sent, not in the middle of them.
		"Expect": "100-continue",
	}
	if store != "" {
		headers["X-Image-Meta-Store"] = store
	}
	if from.size >= 0 {
		headers["X-OpenStack-Image-Size"] = strconv.FormatInt(from.size, 10)
	}
	t := c.newTransfer(cmd.ErrOrStderr(), progress, verb, name, max(0, from.size))
	_, _, err := s.call(ctx, request{service: "image", method: http.MethodPut, path: imageKind.item(text(image, "id"), below),
		raw: &outgoing{ctx: ctx, source: from, transfer: t, sums: sums}, headers: headers})
	t.end(err == nil)
	if err != nil {
		return nil, 0, uploadRefused(doing(err, "upload the image %q", name), text(image, "id"))
	}
	return sums, t.done, nil
}

// uploadRefused says what helps against the refusals of an upload.
func uploadRefused(err error, id string) error {
	failure := explain(err)
	switch {
	case errors.Is(err, errReadOnce):
		failure.Reason, failure.Hints = "the token expired on the way, and "+errReadOnce.Error(), nil
	case isStatus(err, http.StatusRequestEntityTooLarge):
		failure.Hints = []string{"ask the operator for the limits of an image's size and of the project's storage"}
	case isStatus(err, http.StatusConflict):
		failure.Hints = []string{"slipway image show " + id + "   (another upload may have come first)"}
	}
	return failure
}

// store uploads the bytes of a queued image, and holds what the API then says of it against what was sent.
func (c *client) store(ctx context.Context, cmd *cobra.Command, s *session, image object, from *source, store string, progress progressChoice) (object, error) {
	sums, sent, err := c.send(ctx, cmd, s, image, "file", "uploaded", from, store, progress)
	if err != nil {
		return nil, err
	}
	return s.verified(ctx, image, from, sums, sent)
}

// verified reads the image that the API made of the bytes that were sent, and compares.
func (s *session) verified(ctx context.Context, image object, from *source, sums *checksums, sent int64) (object, error) {
	name, id := imageKind.layout.label(image), text(image, "id")
	stored, err := s.get(ctx, imageKind, id)
	if err != nil {
		return nil, doing(err, "read the uploaded image %q", name)
	}
	if algorithm, _ := vouched(stored); algorithm != "" && sums.hashes[algorithm] == nil && from.stream == nil {
		if sums, err = from.sum(ctx, algorithm); err != nil {
			return nil, doing(err, "read %s again", from.name)
		}
	}
	if err := sums.compare(stored, sent); err != nil {
		return nil, notWhole(name, err)
	}
	return stored, nil
}

var errNotWhole = errors.New("did not arrive whole")

// notWhole says that the bytes on one side are not those on the other.
func notWhole(name string, why error) *Error {
	return &Error{Code: ExitFailed, What: fmt.Sprintf("the image %q %v", name, errNotWhole), Reason: why.Error(), Cause: errNotWhole}
}
