package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) imageCreate() *cobra.Command {
	var describe imageFlags
	var file, id, store string
	var sign signing
	var progress show.ProgressChoice
	var byImport, wait, keep bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "create NAME [--file F]",
		Short: "Create an image and upload its bytes",
		Long: `Create an image and upload its bytes from a file or, with --file -, from standard input. What the API stored is compared
with what was read. If anything goes wrong, or on Ctrl-C, the half-made image is removed again, unless its import has begun.
With --keep it stays queued for "slipway image upload". Without --file it is created queued.

The disk format is taken from the file's own marks where --disk-format does not say it. Kernel and ramdisk images have the
formats aki and ari; an image that boots with them names them by --kernel-id and --ramdisk-id.

With --sign-key-path and --sign-cert-id the image is signed, and the API verifies the signature when the bytes come.

With --import the bytes are staged and imported (glance-direct) instead of uploaded; --wait follows the import to its end.`,
		Example: `  slipway image create debian-12 --file debian-12.qcow2 --progress
  slipway image create tiny --file tiny.raw --min-disk 1 --property hw_disk_bus=virtio --public
  slipway image create vmlinuz --file vmlinuz --disk-format aki
  zstd -dc disk.raw.zst | slipway image create disk --file - --disk-format raw
  slipway image create debian-12 --file debian-12.qcow2 --import --wait`,
		Args: cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			switch {
			case file == "" && (byImport || keep || store != "" || progress.On):
				return show.UsageError("--import, --keep, --store and --progress are about the bytes of --file")
			case wait && !byImport:
				return show.UsageError("--wait follows an import: it needs --import (an upload ends when the image is active)")
			}
			ctx, stop := untilStopped(ctx)
			defer stop()
			var from *source
			if file != "" {
				var err error
				if from, err = openSource(ctx, cmd, file); err != nil {
					return err
				}
				defer from.close()
				if err := c.chooseFormats(ctx, cmd, from, &describe.diskFormat, &describe.containerFormat); err != nil {
					return err
				}
			} else if describe.diskFormat != "" {
				if err := c.chooseFormats(ctx, cmd, nil, &describe.diskFormat, &describe.containerFormat); err != nil {
					return err
				}
			}
			fields, err := describe.fields(ctx, cmd, s)
			if err != nil {
				return err
			}
			fields["name"] = args[0]
			if sign.keyPath != "" {
				signed, err := sign.properties(ctx, from)
				if err != nil {
					return err
				}
				maps.Copy(fields, signed)
			}
			if len(describe.tags) > 0 {
				fields["tags"] = describe.tags
			}
			making := &creation{client: c, cmd: cmd, s: s, name: args[0], keep: keep, progress: progress, store: store, timeout: timeout,
				protected: describe.protected}
			image, err := making.queue(ctx, fields, id)
			switch {
			case err != nil:
				err = making.undo(ctx, stop, err)
			case from == nil:
				c.say(cmd, "image %s is queued: slipway image upload %s --file F", args[0], show.Text(image, "id"))
			case byImport:
				if image, err = making.importFrom(ctx, image, from, wait); err != nil {
					err = making.undo(ctx, stop, err)
				}
			default:
				if image, err = making.upload(ctx, image, from); err != nil {
					err = making.undo(ctx, stop, err)
				}
			}
			if err != nil {
				return err
			}
			return c.output.One(cmd.OutOrStdout(), &imageKind.layout, image)
		}),
	}
	describe.bind(c, cmd)
	sign.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&file, "file", "", "the image, - for standard input (default: the image stays queued)")
	flags.Lookup("disk-format").Usage += " (default: by the file's content)"
	flags.Lookup("container-format").Usage += " (default bare; for aki, ari and ami the same)"
	flags.StringVar(&id, "id", "", "the image's id, a UUID (default: a new one)")
	progress.Bind(flags)
	cmd.MarkFlagsMutuallyExclusive("progress", "no-progress")
	flags.BoolVar(&byImport, "import", false, "stage the bytes and import them (glance-direct)")
	flags.BoolVar(&wait, "wait", false, "with --import: follow the import to its end")
	flags.DurationVar(&timeout, "timeout", importPatience, "with --wait: give up waiting after this long (the import goes on)")
	flags.BoolVar(&keep, "keep", false, "keep the queued image when its upload fails")
	c.bindStore(cmd, &store)
	return cmd
}

// cleanUpPatience bounds the removal of what an interrupted command began.
const cleanUpPatience = 30 * time.Second

// creation is the making of one image, with what takes it back.
type creation struct {
	*client
	cmd       *cobra.Command
	s         *session.Session
	name      string
	id        string // of the image that may have to be removed again; "" while there is none
	keep      bool
	arrived   bool // the bytes are with the API: it answered their upload, or took the import
	protected bool // so that it has to be unprotected before it can be removed
	store     string
	progress  show.ProgressChoice
	timeout   time.Duration
}

// queue makes the image without bytes. The id is chosen here: so an image whose creation was cut off before its answer came
// can be removed again.
func (m *creation) queue(ctx context.Context, fields show.Object, id string) (show.Object, error) {
	fields["id"] = id
	if id == "" {
		m.id = uuid.NewString()
		fields["id"] = m.id
	}
	image, err := imageKind.create(ctx, m.s, fields)
	if err != nil {
		var answer *session.APIError
		if errors.As(err, &answer) && answer.Status < http.StatusInternalServerError {
			m.id = "" // refused: there is nothing
		}
		return nil, session.Doing(err, "create the image %q", m.name)
	}
	if m.id = show.Text(image, "id"); m.id == "" {
		return nil, &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the API made the image %q without telling its id", m.name)}
	}
	return image, nil
}

// upload stores the bytes, and compares.
func (m *creation) upload(ctx context.Context, image show.Object, from *source) (show.Object, error) {
	sums, sent, err := m.send(ctx, m.cmd, m.s, image, "file", "uploaded", from, m.store, m.progress)
	if err != nil {
		return nil, err
	}
	m.arrived = true
	return verified(ctx, m.s, image, from, sums, sent)
}

// importFrom stages the bytes and has them imported.
func (m *creation) importFrom(ctx context.Context, image show.Object, from *source, wait bool) (show.Object, error) {
	sums, sent, err := m.send(ctx, m.cmd, m.s, image, "stage", "staged", from, "", m.progress)
	if err != nil {
		return nil, err
	}
	body := show.Object{"method": show.Object{"name": "glance-direct"}}
	if m.store != "" {
		body["stores"] = []string{m.store}
	}
	task, err := beginImport(ctx, m.s, image, body)
	if err != nil {
		return nil, err
	}
	m.arrived = true
	if !wait {
		m.say(m.cmd, "importing image %s: slipway image task list %s", m.name, m.id)
		importing, err := imageKind.get(ctx, m.s, m.id)
		return importing, session.Doing(err, "read the image %q", m.name)
	}
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	if _, err := m.followImport(ctx, m.cmd, m.s, task); err != nil {
		if ctx.Err() != nil {
			m.id = "" // the import goes on
		}
		return nil, err
	}
	return verified(ctx, m.s, image, from, sums, sent)
}

// undo removes the image again, unless it is to be kept or may well be whole, and gives the error with what became of it.
func (m *creation) undo(ctx context.Context, stop context.CancelFunc, err error) error {
	if m.id == "" {
		return err
	}
	failure := *session.Explain(err)
	failure.Hints = slices.Clone(failure.Hints)
	if m.arrived && !errors.Is(err, errNotWhole) && !errors.Is(err, errImportFailed) {
		failure.Hints = append(failure.Hints, "the image "+m.id+" was not removed, its bytes have arrived: slipway image show "+m.id)
		return &failure
	}
	stop() // a second Ctrl-C ends the command at once
	// The user's context may be gone; what was begun is taken back all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpPatience)
	defer cancel()
	if m.keep {
		failure.Hints = append(failure.Hints, m.kept(ctx)...)
		return &failure
	}
	var undo error
	if m.protected {
		_, undo = patchImage(ctx, m.s, m.id, []show.Object{{"op": "replace", "path": "/protected", "value": false}})
	}
	if undo == nil {
		_, _, undo = m.s.Call(ctx, session.Request{Service: "image", Method: http.MethodDelete, Path: imageKind.item(m.id)})
	}
	switch {
	case undo == nil:
		failure.Hints = append(failure.Hints, "the image "+m.id+" was removed again (--keep keeps it for another upload)")
	case !session.IsStatus(undo, http.StatusNotFound):
		failure.Hints = append(failure.Hints, "the image could not be removed again ("+undo.Error()+"): slipway image delete "+m.id)
	}
	return &failure
}

// kept says what can be done with an image that was not removed.
func (m *creation) kept(ctx context.Context) []string {
	image, err := imageKind.get(ctx, m.s, m.id)
	switch status := show.Text(image, "status"); {
	case session.IsStatus(err, http.StatusNotFound):
		return nil
	case err != nil:
		return []string{"the image " + m.id + " was kept: slipway image show " + m.id}
	case status != "queued": // it takes no bytes, or not now
		return []string{"the image " + m.id + " was kept, its status is " + status + ": slipway image show " + m.id}
	}
	return []string{"the image " + m.id + " was kept: slipway image upload " + m.id + " --file F"}
}
