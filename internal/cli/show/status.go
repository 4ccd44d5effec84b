package show

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// StatusView shows what one piece of work is doing: on a terminal a line that is redrawn, elsewhere a line for each change.
type StatusView struct {
	w        io.Writer
	quiet    bool
	name     string
	now      func() time.Time
	began    time.Time
	progress *mpb.Progress
	bar      *mpb.Bar

	mu   sync.Mutex // the line is drawn by a goroutine of its own
	text string
}

// NewStatusView begins: name is that of the work.
func NewStatusView(w io.Writer, quiet bool, now func() time.Time, name string) *StatusView {
	return &StatusView{w: w, quiet: quiet, name: Printable(name), now: now, began: now()}
}

// Show takes what is being done now.
func (v *StatusView) Show(text string) {
	text = Printable(text)
	v.mu.Lock()
	changed := text != v.text
	v.text = text
	v.mu.Unlock()
	switch {
	case v.quiet || !changed:
	case !IsTerminal(v.w):
		fmt.Fprintf(v.w, "  %s: %s\n", v.name, text)
	case v.bar == nil:
		v.progress = mpb.New(mpb.WithOutput(v.w), mpb.WithRefreshRate(100*time.Millisecond))
		v.bar = v.progress.New(0, drawn(func(w io.Writer, stat decor.Statistics) error {
			v.mu.Lock()
			defer v.mu.Unlock()
			now := v.now()
			sign := spinner[int(now.UnixMilli()/100)%len(spinner)]
			_, err := io.WriteString(w, cut(fmt.Sprintf("  %c %s %s  %s", sign, v.name, Duration(now.Sub(v.began)), v.text), stat.AvailableWidth))
			return err
		}), mpb.BarFillerTrim())
	}
}

// Close leaves what was last shown and gives the screen back.
func (v *StatusView) Close() {
	if v.bar == nil {
		return
	}
	v.bar.SetTotal(-1, true)
	v.progress.Wait()
}
