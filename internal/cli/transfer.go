package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// transfer shows bytes that go up or down: on a terminal a bar with bytes, speed and the time left, elsewhere nothing
// until the line at its end.
type transfer struct {
	w        io.Writer
	verb     string // "uploaded"
	name     string
	started  time.Time
	now      func() time.Time
	quiet    bool
	progress *mpb.Progress
	bar      *mpb.Bar
	done     int64
}

// newTransfer begins. total is the number of bytes, or 0 when nobody knows.
func (c *client) newTransfer(w io.Writer, verb, name string, total int64) *transfer {
	t := &transfer{w: w, verb: verb, name: name, started: c.now(), now: c.now, quiet: c.output.quiet}
	if t.quiet || !isTerminal(w) {
		return t
	}
	t.progress = mpb.New(mpb.WithOutput(w), mpb.WithWidth(64))
	t.bar = t.progress.AddBar(total,
		mpb.PrependDecorators(decor.Name(printable(name)+" "), decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(
			decor.AverageSpeed(decor.SizeB1024(0), "% .1f"),
			decor.Name("  "),
			decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "done"),
		))
	return t
}

func (t *transfer) add(n int) {
	t.done += int64(n)
	if t.bar != nil {
		t.bar.IncrBy(n)
	}
}

func (t *transfer) rewind() {
	t.done = 0
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

// countingReader tells a transfer what is read from a file. It can be rewound, which a request needs when its token turns
// out to have expired.
type countingReader struct {
	source   io.ReadSeeker
	transfer *transfer
	onRead   func([]byte)
	onRewind func()
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.source.Read(p)
	r.transfer.add(n)
	if r.onRead != nil {
		r.onRead(p[:n])
	}
	return n, err
}

func (r *countingReader) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, fmt.Errorf("an upload can only be begun again from its start")
	}
	r.transfer.rewind()
	if r.onRewind != nil {
		r.onRewind()
	}
	return r.source.Seek(0, io.SeekStart)
}
