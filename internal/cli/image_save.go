package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func (c *client) imageSave() *cobra.Command {
	var file string
	var progress show.ProgressChoice
	cmd := &cobra.Command{
		Use:     "save IMAGE --file F",
		Aliases: []string{"download"},
		Short:   "Download an image",
		Long: `Download an image and verify its checksum. The bytes go to a .part file beside the target, which gets its name only when
they are whole and verified; it replaces a file of the same name. Standard output (--file -, /dev/stdout), a pipe and a
device are written as the bytes come: then look at the exit code before they are used.

A connection that is cut is taken up where it broke off, as long as each try brings something. A new run begins from the
start.`,
		Example:           "  slipway image save debian-12 --file debian-12.qcow2 --progress\n  slipway image save disk --file - | zstd > disk.raw.zst",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			image, err := imageKind.find(ctx, s, args[0])
			if err != nil {
				return err
			}
			ctx, stop := untilStopped(ctx)
			defer stop()
			d := &downloading{s: s, image: image, log: cmd.ErrOrStderr()}
			w, err := openStraight(ctx, file, cmd.OutOrStdout())
			switch {
			case err != nil:
				return err
			case w == nil:
				return c.saveAs(file, func(w io.Writer) error { return c.download(ctx, d, w, progress) })
			}
			if d.straight = true; sameFile(w, d.log) {
				d.log = io.Discard // no word among the bytes
			}
			return saveStraight(ctx, file, w, func() error { return c.download(ctx, d, w, progress) })
		}),
	}
	cmd.Flags().StringVar(&file, "file", "", "where to write it, - for standard output (required)")
	progress.Bind(cmd.Flags())
	cmd.MarkFlagsMutuallyExclusive("progress", "no-progress")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

// openStraight opens a target that takes the bytes as they come: standard output, by whatever name, a pipe, a device. nil is a
// file, or what will be one.
func openStraight(ctx context.Context, name string, stdout io.Writer) (w io.Writer, err error) {
	there, missing := os.Stat(name)
	switch out, ok := stdout.(*os.File); {
	case name == "-", missing == nil && ok && isAt(out, there): // opened by its name a file would be written from its start
		w = stdout
	case missing != nil, there.Mode().IsRegular():
		return nil, nil
	case there.IsDir():
		return nil, show.UsageError("--file %s is a folder: name a file in it", name)
	default:
		if w, err = openPatiently(ctx, name); err != nil {
			return nil, session.Doing(err, "write %s", name)
		}
	}
	if show.IsTerminal(w) {
		return nil, show.UsageError("--file %s is a terminal: give the name of a file, or pipe the image on", name)
	}
	return w, nil
}

// openPatiently opens what is there for writing. A named pipe waits for its reader, as long as ctx lasts.
func openPatiently(ctx context.Context, name string) (*os.File, error) {
	type opened struct {
		file *os.File
		err  error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.file, o.err
	case <-ctx.Done():
		return nil, ctx.Err() // the program ends, and with it the open
	}
}

// sameFile says whether two writers are one file, pipe or device.
func sameFile(a, b io.Writer) bool {
	first, ok := a.(*os.File)
	second, too := b.(*os.File)
	if !ok || !too {
		return false
	}
	info, err := second.Stat()
	return err == nil && isAt(first, info)
}

func isAt(f *os.File, there os.FileInfo) bool {
	is, err := f.Stat()
	return err == nil && os.SameFile(is, there)
}

// saveStraight has a target written that stays, whatever becomes of the bytes. A write that waits ends with ctx.
func saveStraight(ctx context.Context, name string, w io.Writer, write func() error) error {
	f, ok := w.(*os.File)
	if !ok || f == os.Stdout {
		return write()
	}
	defer context.AfterFunc(ctx, func() { f.Close() })()
	if err := write(); err != nil {
		f.Close()
		return err
	}
	// What a disk cannot keep is known only now; a pipe has nothing to keep.
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		f.Close()
		return session.Doing(err, "write %s", name)
	}
	return session.Doing(f.Close(), "write %s", name)
}

// saveAs has a file written beside its place, and puts it there when it is whole and on disk.
func (c *client) saveAs(name string, write func(io.Writer) error) (err error) {
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
	} else if _, err := os.Readlink(name); err == nil {
		return show.UsageError("--file %s is a symbolic link that leads nowhere", name)
	}
	there, err := os.Stat(name)
	mode := os.FileMode(0o666)
	if err == nil {
		mode = there.Mode().Perm() // a file that few may read stays one
	}
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+"."+uuid.NewString()[:8]+".part")
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return session.Doing(err, "write %s", name)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(part)
		}
	}()
	if there != nil {
		if err := f.Chmod(mode); err != nil { // it was made without the bits of the umask
			return session.Doing(err, "write %s", name)
		}
	}
	if err := write(f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return session.Doing(err, "write %s", name)
	}
	if err := f.Close(); err != nil {
		return session.Doing(err, "write %s", name)
	}
	return session.Doing(os.Rename(part, name), "write %s", name)
}

// download writes the bytes of an image, and fails unless they are those that the API vouches for.
func (c *client) download(ctx context.Context, d *downloading, w io.Writer, progress show.ProgressChoice) error {
	label := imageKind.layout.Label(d.image)
	algorithm, _ := vouchingSum(d.image)
	if algorithm == "" && show.Text(d.image, "status") == "active" {
		return notWhole(label, errNoChecksum)
	}
	d.w, d.path, d.stall = w, imageKind.item(show.Text(d.image, "id"), "file"), c.stall
	d.size, _ = show.Number(d.image, "size")
	d.t = show.NewTransfer(d.log, c.output.Quiet, c.now, progress, "saved", label, d.size)
	d.sums = newChecksums()
	if algorithm != "" {
		d.sums = newChecksums(algorithm)
	}
	err := d.run(ctx, c.poll*retryPolls)
	d.t.End(err == nil)
	switch {
	case errors.Is(err, errNoBytes):
		failure := badImage(d.image, "has no bytes")
		failure.Hints = []string{"slipway image upload " + show.Text(d.image, "id") + " --file F"}
		return failure
	case err != nil:
		return session.Doing(err, "download the image %q", label)
	}
	if err := d.sums.compare(d.image, d.t.Done); err != nil {
		failure := notWhole(label, err)
		failure.Hints = []string{"nothing was kept: try again"}
		if d.straight {
			failure.Hints = []string{"do not use what was written: try again"}
		}
		return failure
	}
	return nil
}

// downloading is one download, over as many connections as it takes.
type downloading struct {
	s        *session.Session
	image    show.Object
	log      io.Writer // what is told meanwhile
	straight bool      // what comes is out of hand at once
	path     string
	w        io.Writer
	size     int64         // 0 when the API does not say
	stall    time.Duration // how long a connection may bring nothing
	sums     *checksums
	t        *show.Transfer
	tag      string // of what has come so far
	begun    bool   // bytes were promised at least once
}

const (
	// retryPolls is the first pause before a download goes on, in polls; each pause that led to nothing doubles the next.
	retryPolls = 4
	// fruitlessTries is how many tries in a row may bring nothing.
	fruitlessTries = 5
)

var (
	errNoBytes = errors.New("the image has no bytes")
	errStalled = errors.New("nothing came for too long")
)

// final is a failure that no other try can mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// run tries until everything has come, or nothing comes any more.
func (d *downloading) run(ctx context.Context, pause time.Duration) error {
	for fruitless := 0; ; {
		before := d.t.Done
		err := d.try(ctx)
		if err == nil || ctx.Err() != nil || !d.begun || errors.As(err, new(final)) || !isTransient(err) {
			return err
		}
		if d.size > 0 && d.t.Done == d.size {
			return nil // everything came before the cut
		}
		wait := pause
		if d.t.Done > before {
			fruitless = 0
			d.t.Say("cut off after %s (%v): goes on from there", show.Bytes(d.t.Done), err)
		} else if fruitless++; fruitless == fruitlessTries {
			return err
		} else {
			wait = pause << fruitless
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// try opens a connection and copies from where the one before broke off.
func (d *downloading) try(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(d.stall, func() { cancel(errStalled) })
	defer watch.Stop()
	r := session.Request{Service: "image", Method: http.MethodGet, Path: d.path, Headers: map[string]string{}}
	if d.t.Done > 0 {
		r.Headers["Range"] = fmt.Sprintf("bytes=%d-", d.t.Done)
		if d.tag != "" {
			r.Headers["If-Range"] = d.tag
		}
	}
	answer, err := d.s.Send(ctx, r)
	if err != nil {
		return stopReason(ctx, err)
	}
	defer answer.Body.Close()
	skip, err := d.place(answer)
	if err != nil {
		return err
	}
	d.begun = true
	if d.t.Done == 0 {
		d.tag = answer.Header.Get("ETag")
	}
	buffer := make([]byte, 256<<10)
	for {
		watch.Reset(d.stall)
		n, err := answer.Body.Read(buffer)
		watch.Stop() // where the bytes go to may take its time
		fresh := buffer[:n]
		if skip > 0 {
			passed := min(skip, int64(n))
			skip, fresh = skip-passed, fresh[passed:]
		}
		if _, failed := d.w.Write(fresh); failed != nil {
			if ctx.Err() != nil {
				return stopReason(ctx, ctx.Err())
			}
			return final{failed}
		}
		d.sums.write(fresh)
		d.t.Add(len(fresh))
		switch {
		case d.size > 0 && d.t.Done > d.size:
			return final{fmt.Errorf("more bytes came than the %d of the image", d.size)}
		case err == io.EOF && d.t.Done < d.size:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return stopReason(ctx, err)
		}
	}
}

// place says where in the image an answer begins: how many of its bytes were there already.
func (d *downloading) place(answer *http.Response) (skip int64, err error) {
	switch answer.StatusCode {
	case http.StatusNoContent:
		return 0, errNoBytes
	case http.StatusPartialContent:
		spec, _ := strings.CutPrefix(answer.Header.Get("Content-Range"), "bytes ")
		from, _, _ := strings.Cut(spec, "-")
		if at, err := strconv.ParseInt(from, 10, 64); err != nil || at != d.t.Done {
			return 0, final{fmt.Errorf("the API answered with the range %q instead of the one from %d", spec, d.t.Done)}
		}
		return 0, nil
	}
	return d.t.Done, nil // the whole from its start: the API has no ranges
}

// stopReason is the reason for which a connection was given up.
func stopReason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		return cause
	}
	return err
}
