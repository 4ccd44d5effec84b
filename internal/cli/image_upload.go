package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) imageUpload() *cobra.Command {
	var file, store string
	var progress show.ProgressChoice
	cmd := &cobra.Command{
		Use:   "upload IMAGE --file F",
		Short: "Upload the bytes of a queued image",
		Long: `Upload the bytes of an image that is queued: one that was created without a file, or kept after an upload that failed.
What the API stored is compared with what was read. An image takes bytes once; while an upload fails it stays queued, and
a new one begins from the start.`,
		Example: "  slipway image upload debian-12 --file debian-12.qcow2 --progress\n  zstd -dc disk.raw.zst | slipway image upload debian-12 --file -",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			ctx, stop := untilStopped(ctx)
			defer stop()
			image, from, err := queuedAndSource(ctx, s, cmd, args[0], file)
			if err != nil {
				return err
			}
			defer from.close()
			stored, err := c.store(ctx, cmd, s, image, from, store, progress)
			var failure *show.Error
			if errors.As(err, &failure) && errors.Is(failure.Cause, errNotWhole) {
				failure.Hints = []string{"delete it and upload it again: slipway image delete " + show.Text(image, "id")}
			}
			if err != nil {
				return err
			}
			return c.output.One(cmd.OutOrStdout(), &imageKind.layout, stored)
		}),
	}
	c.bindUpload(cmd, &file, &progress)
	c.bindStore(cmd, &store)
	return cmd
}

func (c *client) imageStage() *cobra.Command {
	var file string
	var progress show.ProgressChoice
	cmd := &cobra.Command{
		Use:   "stage IMAGE --file F",
		Short: "Upload bytes for an import to take (glance-direct)",
		Long: `Upload the bytes of a queued image to the API's staging area. The image is "uploading" then, and an import with the method
glance-direct makes it an image.`,
		Example: "  slipway image stage debian-12 --file debian-12.qcow2\n  slipway image import debian-12 --method glance-direct --wait",
		Args:    cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			ctx, stop := untilStopped(ctx)
			defer stop()
			image, from, err := queuedAndSource(ctx, s, cmd, args[0], file)
			if err != nil {
				return err
			}
			defer from.close()
			if _, _, err := c.send(ctx, cmd, s, image, "stage", "staged", from, "", progress); err != nil {
				return err
			}
			staged, err := imageKind.get(ctx, s, show.Text(image, "id"))
			if err != nil {
				return session.Doing(err, "read the staged image %q", args[0])
			}
			return c.output.One(cmd.OutOrStdout(), &imageKind.layout, staged)
		}),
	}
	c.bindUpload(cmd, &file, &progress)
	return cmd
}

func (c *client) bindUpload(cmd *cobra.Command, file *string, progress *show.ProgressChoice) {
	cmd.Flags().StringVar(file, "file", "", "the image, - for standard input (required)")
	progress.Bind(cmd.Flags())
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
func queuedAndSource(ctx context.Context, s *session.Session, cmd *cobra.Command, ref, file string) (show.Object, *source, error) {
	image, err := imageKind.find(ctx, s, ref)
	if err != nil {
		return nil, nil, err
	}
	if show.Text(image, "status") != "queued" {
		failure := badImage(image, "takes no bytes")
		failure.Hints = []string{"an image takes bytes once, while it is queued: create another one"}
		return nil, nil, failure
	}
	if show.Text(image, "disk_format") == "" || show.Text(image, "container_format") == "" {
		failure := badImage(image, "has no formats yet")
		failure.Hints = []string{"slipway image set " + show.Text(image, "id") + " --disk-format qcow2 --container-format bare"}
		return nil, nil, failure
	}
	from, err := openSource(ctx, cmd, file)
	return image, from, err
}

// send uploads the bytes of an image to what lies below it: "file" or "stage".
func (c *client) send(ctx context.Context, cmd *cobra.Command, s *session.Session, image show.Object, below, verb string, from *source, store string, progress show.ProgressChoice) (*checksums, int64, error) {
	name, sums := imageKind.layout.Label(image), newChecksums("sha512")
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
	t := show.NewTransfer(cmd.ErrOrStderr(), c.output.Quiet, c.now, progress, verb, name, max(0, from.size))
	_, _, err := s.Call(ctx, session.Request{Service: "image", Method: http.MethodPut, Path: imageKind.item(show.Text(image, "id"), below),
		Raw: &outgoing{ctx: ctx, source: from, transfer: t, sums: sums}, Headers: headers})
	t.End(err == nil)
	if err != nil {
		return nil, 0, uploadRefused(session.Doing(err, "upload the image %q", name), show.Text(image, "id"))
	}
	return sums, t.Done, nil
}

// uploadRefused says what helps against the refusals of an upload.
func uploadRefused(err error, id string) error {
	failure := session.Explain(err)
	switch {
	case errors.Is(err, errReadOnce):
		failure.Reason, failure.Hints = "the token expired on the way, and "+errReadOnce.Error(), nil
	case session.IsStatus(err, http.StatusRequestEntityTooLarge):
		failure.Hints = []string{"ask the operator for the limits of an image's size and of the project's storage"}
	case session.IsStatus(err, http.StatusConflict):
		failure.Hints = []string{"slipway image show " + id + "   (another upload may have come first)"}
	}
	return failure
}

// store uploads the bytes of a queued image, and holds what the API then says of it against what was sent.
func (c *client) store(ctx context.Context, cmd *cobra.Command, s *session.Session, image show.Object, from *source, store string, progress show.ProgressChoice) (show.Object, error) {
	sums, sent, err := c.send(ctx, cmd, s, image, "file", "uploaded", from, store, progress)
	if err != nil {
		return nil, err
	}
	return verified(ctx, s, image, from, sums, sent)
}

// verified reads the image that the API made of the bytes that were sent, and compares.
func verified(ctx context.Context, s *session.Session, image show.Object, from *source, sums *checksums, sent int64) (show.Object, error) {
	name, id := imageKind.layout.Label(image), show.Text(image, "id")
	stored, err := imageKind.get(ctx, s, id)
	if err != nil {
		return nil, session.Doing(err, "read the uploaded image %q", name)
	}
	if algorithm, _ := vouchingSum(stored); algorithm != "" && sums.hashes[algorithm] == nil && from.stream == nil {
		if sums, err = from.sum(ctx, algorithm); err != nil {
			return nil, session.Doing(err, "read %s again", from.name)
		}
	}
	if err := sums.compare(stored, sent); err != nil {
		return nil, notWhole(name, err)
	}
	return stored, nil
}

var errNotWhole = errors.New("did not arrive whole")

// notWhole says that the bytes on one side are not those on the other.
func notWhole(name string, why error) *show.Error {
	return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the image %q %v", name, errNotWhole), Reason: why.Error(), Cause: errNotWhole}
}

// outgoing is the body of an upload: what is read from the source is shown and summed. It can be rewound, which a request
// needs when its token turns out to have expired.
type outgoing struct {
	ctx      context.Context // the request's: its end ends a read that waits, without which the request would not end either
	source   *source
	transfer *show.Transfer
	sums     *checksums
}

func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.source.read(o.ctx, p)
	o.transfer.Add(n)
	o.sums.write(p[:n])
	return n, err
}

// Close leaves the source open: a request that is repeated reads it again.
func (o *outgoing) Close() error { return nil }

// Length is how many bytes come, or -1.
func (o *outgoing) Length() int64 { return o.source.size }

func (o *outgoing) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, fmt.Errorf("an upload can only be begun again from its start")
	}
	if o.transfer.Done == 0 {
		return 0, nil
	}
	o.transfer.Rewind()
	o.sums.reset()
	return 0, o.source.rewind()
}
