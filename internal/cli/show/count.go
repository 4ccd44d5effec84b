package show

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// CountView shows how many of a number of things have ended: on a terminal a bar, elsewhere a line now and then.
type CountView struct {
	w        io.Writer
	quiet    bool
	now      func() time.Time
	began    time.Time
	progress *mpb.Progress
	bar      *mpb.Bar
	printed  bool
	last     int64  // ended in the line printed last
	line     string // printed last

	mu   sync.Mutex // the bar is drawn by a goroutine of its own
	text string
}

// NewCountView begins.
func NewCountView(w io.Writer, quiet bool, now func() time.Time) *CountView {
	return &CountView{w: w, quiet: quiet, now: now, began: now()}
}

// plainLines is about how many lines come where nothing can be redrawn.
const plainLines = 20

// Show takes the newest counts, and the words for them.
func (v *CountView) Show(ended, of int64, text string) {
	v.mu.Lock()
	v.text = text
	v.mu.Unlock()
	switch {
	case v.quiet:
	case IsTerminal(v.w):
		v.draw(ended, of)
	case !v.printed, text != v.line && (ended == of || ended-v.last >= max(1, of/plainLines)):
		v.printed, v.last, v.line = true, ended, text
		fmt.Fprintln(v.w, "  "+text)
	}
}

func (v *CountView) draw(ended, of int64) {
	if v.bar == nil {
		v.progress = mpb.New(mpb.WithOutput(v.w), mpb.WithWidth(32), mpb.WithRefreshRate(100*time.Millisecond))
		v.bar = v.progress.AddBar(of, mpb.PrependDecorators(decor.Name(" ")), mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			v.mu.Lock()
			defer v.mu.Unlock()
			return " " + v.text + "  " + Duration(v.now().Sub(v.began))
		})))
	}
	v.bar.SetCurrent(ended)
}

// Close leaves what was last shown and gives the screen back.
func (v *CountView) Close() {
	if v.bar == nil {
		return
	}
	if !v.bar.Completed() {
		v.bar.Abort(false)
	}
	v.progress.Wait()
}
