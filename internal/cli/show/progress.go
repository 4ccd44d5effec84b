package show

import (
	"cmp"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Step is one event of an instance action: a step of the build or its undo.
type Step struct {
	name     string
	host     string
	started  time.Time
	finished time.Time // zero while it runs
	result   string    // Nova's: Success, Error
	details  string    // the user's text of an error
}

// Running says whether the step has not ended.
func (s Step) Running() bool { return s.finished.IsZero() && s.result == "" }

func (s Step) failed() bool { return strings.EqualFold(s.result, "error") }

// StepsOf reads the events of an instance action, oldest first (Nova answers newest first). Events that have not begun
// are left out.
func StepsOf(action Object) []Step {
	var steps []Step
	for _, e := range Objects(action["events"]) {
		s := Step{
			name: Text(e, "event"), host: cmp.Or(Text(e, "host"), ShortHost(Text(e, "hostId"))), result: Text(e, "result"),
			details: Text(e, "details"), started: ParseTime(Text(e, "start_time")), finished: ParseTime(Text(e, "finish_time")),
		}
		if s.name != "" && !s.started.IsZero() {
			steps = append(steps, s)
		}
	}
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].started.Before(steps[j].started) })
	return steps
}

// ShortHost is the beginning of the opaque host id that users without the admin role see.
func ShortHost(id string) string {
	const enough = 8
	if len(id) > enough {
		return id[:enough]
	}
	return id
}

// keys name the steps so that the same step is found again in the next answer: its name and how many of that name began
// before it (a step runs once for each NIC, and again on the next host).
func keys(steps []Step) []string {
	count := map[string]int{}
	result := make([]string, len(steps))
	for i, s := range steps {
		count[s.name]++
		result[i] = fmt.Sprintf("%s#%d", s.name, count[s.name])
	}
	return result
}

var spinner = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

const stepNameWidth = 18

// stepLine is one line of the progress: a sign, the step, how long it took or runs, the host, and what went wrong.
func stepLine(s Step, now time.Time) string {
	var sign string
	end := s.finished
	switch {
	case s.Running():
		sign = string(spinner[int(now.UnixMilli()/100)%len(spinner)])
		end = now
	case s.failed():
		sign = "✗"
	default:
		sign = "✓"
	}
	if end.IsZero() {
		end = s.started
	}
	line := fmt.Sprintf("  %s %-*s %7s", sign, stepNameWidth, Printable(s.name), Duration(end.Sub(s.started)))
	if s.host != "" {
		line += "  " + Printable(s.host)
	}
	if s.failed() && s.details != "" {
		line += "  " + Printable(s.details)
	}
	return line
}

// StepView shows steps as they come.
type StepView interface {
	// Show takes the newest answer's steps: all of them, each time.
	Show(steps []Step)
	// Close leaves what was last shown and gives the screen back.
	Close()
}

// NewStepView draws live lines on a terminal, and elsewhere one line for each finished step.
func NewStepView(w io.Writer, quiet bool, now func() time.Time) StepView {
	switch {
	case quiet:
		return silentView{}
	case IsTerminal(w):
		return &liveView{
			progress: mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(100*time.Millisecond)),
			lines:    map[string]*liveLine{}, now: now,
		}
	}
	return &plainView{w: w, printed: map[string]bool{}}
}

type silentView struct{}

func (silentView) Show([]Step) {}
func (silentView) Close()      {}

// plainView prints a step when it has ended: for logs and pipes.
type plainView struct {
	w       io.Writer
	printed map[string]bool
}

func (v *plainView) Show(steps []Step) {
	for i, key := range keys(steps) {
		if s := steps[i]; !s.Running() && !v.printed[key] {
			v.printed[key] = true
			fmt.Fprintln(v.w, stepLine(s, s.finished))
		}
	}
}

func (*plainView) Close() {}

// liveView redraws a line for each step.
type liveView struct {
	progress *mpb.Progress
	lines    map[string]*liveLine
	now      func() time.Time
}

type liveLine struct {
	mu   sync.Mutex
	step Step
	bar  *mpb.Bar
	done bool
}

// drawn is a line that draws itself.
type drawn mpb.BarFillerFunc

// Build makes the filler of it that mpb asks for.
func (d drawn) Build() mpb.BarFiller { return mpb.BarFillerFunc(d) }

func (v *liveView) Show(steps []Step) {
	for i, key := range keys(steps) {
		line := v.lines[key]
		if line == nil {
			line = &liveLine{step: steps[i]}
			v.lines[key] = line
			line.bar = v.progress.New(0, drawn(func(w io.Writer, stat decor.Statistics) error {
				line.mu.Lock()
				defer line.mu.Unlock()
				_, err := io.WriteString(w, cut(stepLine(line.step, v.now()), stat.AvailableWidth))
				return err
			}), mpb.BarFillerTrim())
		}
		line.mu.Lock()
		line.step = steps[i]
		line.mu.Unlock()
		if !steps[i].Running() && !line.done {
			line.done = true
			line.bar.SetTotal(-1, true)
		}
	}
}

func (v *liveView) Close() {
	for _, line := range v.lines {
		if !line.done {
			line.bar.Abort(false)
		}
	}
	v.progress.Wait()
}

// cut shortens a line to the terminal, so that redrawing it never wraps.
func cut(line string, width int) string {
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width-1]) + "…"
}
