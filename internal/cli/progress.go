package cli

import (
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

// step is one event of an instance action: a step of the build or its undo.
type step struct {
	name     string
	host     string
	started  time.Time
	finished time.Time // zero while it runs
	result   string    // Nova's: Success, Error
	details  string    // the user's text of an error
}

func (s step) running() bool { return s.finished.IsZero() && s.result == "" }
func (s step) failed() bool  { return strings.EqualFold(s.result, "error") }

// stepsOf reads the events of an instance action, oldest first (Nova answers newest first). Events that have not begun
// are left out.
func stepsOf(action object) []step {
	var steps []step
	for _, e := range objects(action["events"]) {
		s := step{
			name: text(e, "event"), host: first(text(e, "host"), shortHost(text(e, "hostId"))), result: text(e, "result"),
			details: text(e, "details"), started: parseTime(text(e, "start_time")), finished: parseTime(text(e, "finish_time")),
		}
		if s.name != "" && !s.started.IsZero() {
			steps = append(steps, s)
		}
	}
	sort.SliceStable(steps, func(i, j int) bool { return steps[i].started.Before(steps[j].started) })
	return steps
}

// shortHost is the beginning of the opaque host id that users without the admin role see.
func shortHost(id string) string {
	const enough = 8
	if len(id) > enough {
		return id[:enough]
	}
	return id
}

// parseTime reads the API's times: Nova's actions have no zone and mean UTC. What is no time is zero.
func parseTime(s string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	return time.Time{}
}

// keys name the steps so that the same step is found again in the next answer: its name and how many of that name began
// before it (a step runs once for each NIC, and again on the next host).
func keys(steps []step) []string {
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
func stepLine(s step, now time.Time) string {
	var sign string
	end := s.finished
	switch {
	case s.running():
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
	line := fmt.Sprintf("  %s %-*s %7s", sign, stepNameWidth, printable(s.name), duration(end.Sub(s.started)))
	if s.host != "" {
		line += "  " + printable(s.host)
	}
	if s.failed() && s.details != "" {
		line += "  " + printable(s.details)
	}
	return line
}

// duration is short for people: milliseconds below a second, tenths below a minute. The API's clock may be ahead of this
// machine's, so a negative one is nothing.
func duration(d time.Duration) string {
	switch {
	case d < 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// stepView shows steps as they come.
type stepView interface {
	// show takes the newest answer's steps: all of them, each time.
	show(steps []step)
	// close leaves what was last shown and gives the screen back.
	close()
}

// newStepView draws live lines on a terminal, and elsewhere one line for each finished step.
func newStepView(w io.Writer, quiet bool, now func() time.Time) stepView {
	switch {
	case quiet:
		return silentView{}
	case isTerminal(w):
		return &liveView{
			progress: mpb.New(mpb.WithOutput(w), mpb.WithRefreshRate(100*time.Millisecond)),
			lines:    map[string]*liveLine{}, now: now,
		}
	}
	return &plainView{w: w, printed: map[string]bool{}}
}

type silentView struct{}

func (silentView) show([]step) {}
func (silentView) close()      {}

// plainView prints a step when it has ended: for logs and pipes.
type plainView struct {
	w       io.Writer
	printed map[string]bool
}

func (v *plainView) show(steps []step) {
	for i, key := range keys(steps) {
		if s := steps[i]; !s.running() && !v.printed[key] {
			v.printed[key] = true
			fmt.Fprintln(v.w, stepLine(s, s.finished))
		}
	}
}

func (*plainView) close() {}

// liveView redraws a line for each step.
type liveView struct {
	progress *mpb.Progress
	lines    map[string]*liveLine
	now      func() time.Time
}

type liveLine struct {
	mu   sync.Mutex
	step step
	bar  *mpb.Bar
	done bool
}

// drawn is a line that draws itself.
type drawn mpb.BarFillerFunc

// Build makes the filler of it that mpb asks for.
func (d drawn) Build() mpb.BarFiller { return mpb.BarFillerFunc(d) }

func (v *liveView) show(steps []step) {
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
		if !steps[i].running() && !line.done {
			line.done = true
			line.bar.SetTotal(-1, true)
		}
	}
}

func (v *liveView) close() {
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
