package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progressChoice is whether a transfer shows its progress: by itself on a terminal, elsewhere only when it is asked to.
type progressChoice struct{ on, off bool }

func (p *progressChoice) bind(flags *pflag.FlagSet) {
	flags.BoolVar(&p.on, "progress", false, "show the progress, also where there is no terminal (a line now and then)")
	flags.BoolVar(&p.off, "no-progress", false, "show no progress")
}

// transfer shows bytes that go up or down: on a terminal a bar with bytes, speed and the time left, elsewhere lines, if they
// are asked for, and the line at its end.
type transfer struct {
	w        io.Writer
	verb     string // "uploaded"
	name     string
	started  time.Time
	now      func() time.Time
	quiet    bool
	total    int64 // 0 when nobody knows
	progress *mpb.Progress
	bar      *mpb.Bar
	done     int64
	lines    bool
	told     int64     // done at the last line
	toldAt   time.Time // of the last line
}

// newTransfer begins. total is the number of bytes, or 0 when nobody knows.
func (c *client) newTransfer(w io.Writer, choice progressChoice, verb, name string, total int64) *transfer {
	t := &transfer{w: w, verb: verb, name: name, started: c.now(), now: c.now, quiet: c.output.quiet, total: total}
	t.toldAt = t.started
	switch {
	case t.quiet || choice.off:
	case isTerminal(w):
		t.draw()
	default:
		t.lines = choice.on
	}
	return t
}

func (t *transfer) draw() {
	t.progress = mpb.New(mpb.WithOutput(t.w), mpb.WithWidth(64))
	counters, left := decor.CountersKibiByte("% .1f / % .1f"), decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "done")
	if t.total == 0 {
		counters, left = decor.CurrentKibiByte("% .1f"), decor.Name("")
	}
	t.bar = t.progress.AddBar(t.total,
		mpb.PrependDecorators(decor.Name(printable(t.name)+" "), counters),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name("  "), left))
}

func (t *transfer) add(n int) {
	t.done += int64(n)
	if t.bar != nil {
		t.bar.IncrBy(n)
	}
	if t.lines && t.due() {
		t.told, t.toldAt = t.done, t.now()
		fmt.Fprintln(t.w, t.line())
	}
}

// Where nothing can be redrawn a line comes with each twentieth of the bytes, and at least every 10 seconds.
const (
	transferLines = 20
	lineEvery     = 10 * time.Second
)

func (t *transfer) due() bool {
	return t.total > 0 && t.done < t.total && t.done-t.told >= max(1, t.total/transferLines) || t.now().Sub(t.toldAt) >= lineEvery
}

// say tells what happened on the way, above the bar if there is one.
func (t *transfer) say(format string, args ...any) {
	w := t.w
	if t.bar != nil {
		w = t.progress
	}
	if !t.quiet {
		fmt.Fprintln(w, printable(fmt.Sprintf(format, args...)))
	}
}

// line is the progress so far: share, bytes, speed and the time left, as far as they are known.
func (t *transfer) line() string {
	share, took := bytesText(t.done), t.now().Sub(t.started)
	if t.total > 0 {
		share = fmt.Sprintf("%3d %%  %s of %s", t.done*100/t.total, bytesText(t.done), bytesText(t.total))
	}
	line := fmt.Sprintf("  %s  %s", printable(t.name), share)
	if took <= 0 || t.done == 0 {
		return line
	}
	line += fmt.Sprintf("  %s/s", bytesText(int64(float64(t.done)/took.Seconds())))
	if t.total > t.done {
		line += "  " + duration(time.Duration(float64(took)*float64(t.total-t.done)/float64(t.done))) + " left"
	}
	return line
}

func (t *transfer) rewind() {
	t.done, t.told = 0, 0
	if t.bar != nil {
		t.bar.SetCurrent(0)
	}
}

// end closes the bar; ok says whether every byte arrived.
func (t *transfer) end(ok bool) {
	if t.bar != nil {
		if ok {
			t.bar.SetTotal(-1, true)
		} else {
			t.bar.Abort(false)
		}
		t.progress.Wait()
		return
	}
	if ok && !t.quiet {
		fmt.Fprintln(t.w, transferLine(t.verb, t.name, t.done, t.now().Sub(t.started)))
	}
}

// transferLine sums a transfer up.
func transferLine(verb, name string, n int64, took time.Duration) string {
	line := fmt.Sprintf("%s %s: %s in %s", verb, printable(name), bytesText(n), duration(took))
	if took > 0 {
		line += fmt.Sprintf(" (%s/s)", bytesText(int64(float64(n)/took.Seconds())))
	}
	return line
}

// outgoing is the body of an upload: what is read from the source is shown and summed. It can be rewound, which a request
// needs when its token turns out to have expired.
type outgoing struct {
	ctx      context.Context // the request's: its end ends a read that waits, without which the request would not end either
	source   *source
	transfer *transfer
	sums     *checksums
}

func (o *outgoing) Read(p []byte) (int, error) {
	n, err := o.source.read(o.ctx, p)
	o.transfer.add(n)
	o.sums.write(p[:n])
	return n, err
}

// Close leaves the source open: a request that is repeated reads it again.
func (o *outgoing) Close() error { return nil }

// length is how many bytes come, or -1.
func (o *outgoing) length() int64 { return o.source.size }

func (o *outgoing) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, fmt.Errorf("an upload can only be begun again from its start")
	}
	if o.transfer.done == 0 {
		return 0, nil
	}
	o.transfer.rewind()
	o.sums.reset()
	return 0, o.source.rewind()
}

// announcing gives a request the Content-Length of the upload in it, which gophercloud has no place for: the API can refuse
// what is too large before it is sent, and knows when bytes are missing.
type announcing struct{ next http.RoundTripper }

// RoundTrip announces, and hands on.
func (a announcing) RoundTrip(r *http.Request) (*http.Response, error) {
	if body, ok := r.Body.(*outgoing); ok && body.length() >= 0 {
		r = r.Clone(r.Context())
		r.ContentLength = body.length()
		if r.ContentLength == 0 {
			r.Body = http.NoBody
		}
	}
	return a.next.RoundTrip(r)
}
