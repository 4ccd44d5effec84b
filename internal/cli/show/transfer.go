package show

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// ProgressChoice is whether a transfer shows its progress: by itself on a terminal, elsewhere only when it is asked to.
type ProgressChoice struct{ On, off bool }

// Bind declares the flags.
func (p *ProgressChoice) Bind(flags *pflag.FlagSet) {
	flags.BoolVar(&p.On, "progress", false, "show the progress, also where there is no terminal (a line now and then)")
	flags.BoolVar(&p.off, "no-progress", false, "show no progress")
}

// Transfer shows bytes that go up or down: on a terminal a bar with bytes, speed and the time left, elsewhere lines, if they
// are asked for, and the line at its end.
type Transfer struct {
	w        io.Writer
	verb     string // "uploaded"
	name     string
	started  time.Time
	now      func() time.Time
	quiet    bool
	total    int64 // 0 when nobody knows
	progress *mpb.Progress
	bar      *mpb.Bar
	Done     int64
	lines    bool
	told     int64     // done at the last line
	toldAt   time.Time // of the last line
}

// NewTransfer begins. total is the number of bytes, or 0 when nobody knows.
func NewTransfer(w io.Writer, quiet bool, now func() time.Time, choice ProgressChoice, verb, name string, total int64) *Transfer {
	t := &Transfer{w: w, verb: verb, name: name, started: now(), now: now, quiet: quiet, total: total}
	t.toldAt = t.started
	switch {
	case t.quiet || choice.off:
	case IsTerminal(w):
		t.draw()
	default:
		t.lines = choice.On
	}
	return t
}

func (t *Transfer) draw() {
	t.progress = mpb.New(mpb.WithOutput(t.w), mpb.WithWidth(64))
	counters, left := decor.CountersKibiByte("% .1f / % .1f"), decor.OnComplete(decor.AverageETA(decor.ET_STYLE_GO), "done")
	if t.total == 0 {
		counters, left = decor.CurrentKibiByte("% .1f"), decor.Name("")
	}
	t.bar = t.progress.AddBar(t.total,
		mpb.PrependDecorators(decor.Name(Printable(t.name)+" "), counters),
		mpb.AppendDecorators(decor.AverageSpeed(decor.SizeB1024(0), "% .1f"), decor.Name("  "), left))
}

// Add counts n bytes more.
func (t *Transfer) Add(n int) {
	t.Done += int64(n)
	if t.bar != nil {
		t.bar.IncrBy(n)
	}
	if t.lines && t.due() {
		t.told, t.toldAt = t.Done, t.now()
		fmt.Fprintln(t.w, t.line())
	}
}

// Where nothing can be redrawn a line comes with each twentieth of the bytes, and at least every 10 seconds.
const (
	transferLines = 20
	lineEvery     = 10 * time.Second
)

func (t *Transfer) due() bool {
	return t.total > 0 && t.Done < t.total && t.Done-t.told >= max(1, t.total/transferLines) || t.now().Sub(t.toldAt) >= lineEvery
}

// Say tells what happened on the way, above the bar if there is one.
func (t *Transfer) Say(format string, args ...any) {
	w := t.w
	if t.bar != nil {
		w = t.progress
	}
	if !t.quiet {
		fmt.Fprintln(w, Printable(fmt.Sprintf(format, args...)))
	}
}

// line is the progress so far: share, bytes, speed and the time left, as far as they are known.
func (t *Transfer) line() string {
	share, took := Bytes(t.Done), t.now().Sub(t.started)
	if t.total > 0 {
		share = fmt.Sprintf("%3d %%  %s of %s", t.Done*100/t.total, Bytes(t.Done), Bytes(t.total))
	}
	line := fmt.Sprintf("  %s  %s", Printable(t.name), share)
	if took <= 0 || t.Done == 0 {
		return line
	}
	line += fmt.Sprintf("  %s/s", Bytes(int64(float64(t.Done)/took.Seconds())))
	if t.total > t.Done {
		line += "  " + Duration(time.Duration(float64(took)*float64(t.total-t.Done)/float64(t.Done))) + " left"
	}
	return line
}

// Rewind begins again from the first byte.
func (t *Transfer) Rewind() {
	t.Done, t.told = 0, 0
	if t.bar != nil {
		t.bar.SetCurrent(0)
	}
}

// End closes the bar; ok says whether every byte arrived.
func (t *Transfer) End(ok bool) {
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
		fmt.Fprintln(t.w, transferLine(t.verb, t.name, t.Done, t.now().Sub(t.started)))
	}
}

// transferLine sums a transfer up.
func transferLine(verb, name string, n int64, took time.Duration) string {
	line := fmt.Sprintf("%s %s: %s in %s", verb, Printable(name), Bytes(n), Duration(took))
	if took > 0 {
		line += fmt.Sprintf(" (%s/s)", Bytes(int64(float64(n)/took.Seconds())))
	}
	return line
}
