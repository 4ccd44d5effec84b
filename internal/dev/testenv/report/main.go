// Command report runs test commands that print `go test -json`, one after another, and shows what a reader needs: a line
// for each package, everything that a failed test printed, what could not run on this machine, and the counts.
//
//	go run ./internal/dev/testenv/report [--skips FILE] 'go test -json ./...' ['cd other && go test -json ./...']
//
// A test that skips itself fails the run unless FILE allows it: a line `PACKAGE TEST why` for each (# begins a comment).
// A test that can do only a part of its work here prints a line with the prefix SLIPWAY-NOT-RUN: and says what is left out.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	skips := flag.String("skips", "", "file with the tests that may skip themselves")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "report: which command? For example: report 'go test -json ./...'")
		os.Exit(2)
	}
	allowed, err := readSkips(*skips)
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	r := newReport(os.Stdout, allowed)
	for _, command := range flag.Args() {
		r.command(ctx, command)
	}
	stop()
	if !r.finish() {
		os.Exit(1)
	}
}

// notRun marks what a test could not do on this machine.
const notRun = "SLIPWAY-NOT-RUN:"

// event is a line of test2json (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Output     string
	Elapsed    float64 // seconds
}

// report reads events and keeps what the end needs.
type report struct {
	out     io.Writer
	allowed map[string]bool // "package test"
	began   time.Time

	output                  map[string][]string // of tests and packages that have not passed yet
	inPackage               map[string]*counts
	passed, failed, skipped int
	failures                []string // whole names
	forbidden               []string // tests that skipped themselves without leave
	notRun                  []string
	broken                  []string // commands and packages that failed without a test's failure
}

type counts struct{ passed, failed, skipped int }

func newReport(out io.Writer, allowed map[string]bool) *report {
	return &report{out: out, allowed: allowed, began: time.Now(), output: map[string][]string{}, inPackage: map[string]*counts{}}
}

// readSkips reads the tests that may skip themselves.
func readSkips(path string) (map[string]bool, error) {
	allowed := map[string]bool{}
	if path == "" {
		return allowed, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for n, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case len(fields) < 3:
			return nil, fmt.Errorf("%s, line %d: want `PACKAGE TEST why it may skip itself`", path, n+1)
		default:
			allowed[fields[0]+" "+fields[1]] = true
		}
	}
	return allowed, nil
}

// command runs one command by the shell and reads its events.
func (r *report) command(ctx context.Context, command string) {
	shown := command
	if len(shown) > 160 {
		shown = shown[:160] + " …"
	}
	fmt.Fprintf(r.out, "$ %s\n", shown)
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		r.broken = append(r.broken, fmt.Sprintf("%s: %v", command, err))
		return
	}
	before := len(r.failures) + len(r.broken)
	readErr := r.read(events)
	err = errors.Join(readErr, cmd.Wait())
	if err != nil && len(r.failures)+len(r.broken) == before {
		r.broken = append(r.broken, fmt.Sprintf("%s: %v", command, err))
	}
}

// read takes in events until their end. A line that is none is somebody's print and is shown.
func (r *report) read(from io.Reader) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
				r.take(e)
			} else {
				r.hear(line)
				fmt.Fprintln(r.out, strings.TrimRight(line, "\n"))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the test's events: %w", err)
		}
	}
}

func (r *report) take(e event) {
	name := e.Package
	if e.Test != "" {
		name += " " + e.Test
	}
	switch e.Action {
	case "output":
		r.hear(e.Output)
		r.output[name] = append(r.output[name], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "build-fail":
		r.broken = append(r.broken, e.ImportPath+" does not compile")
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.packageEnds(e)
			return
		}
		r.testEnds(e, name)
	}
}

// hear keeps what a test says that it could not do.
func (r *report) hear(output string) {
	if _, what, said := strings.Cut(output, notRun); said {
		if what = strings.TrimSpace(what); !slices.Contains(r.notRun, what) {
			r.notRun = append(r.notRun, what)
		}
	}
}

func (r *report) testEnds(e event, name string) {
	c := r.inPackage[e.Package]
	if c == nil {
		c = &counts{}
		r.inPackage[e.Package] = c
	}
	switch e.Action {
	case "pass":
		c.passed++
	case "skip":
		c.skipped++
		why := "without saying why"
		for _, line := range r.output[name] {
			if at := strings.Index(line, ".go:"); at >= 0 {
				why = strings.TrimSpace(line)
			}
		}
		top, _, _ := strings.Cut(e.Test, "/")
		if r.allowed[e.Package+" "+top] {
			r.notRunOnce(name + ": " + why)
		} else {
			r.forbidden = append(r.forbidden, name+": "+why)
		}
	case "fail":
		c.failed++
		r.failures = append(r.failures, name)
		fmt.Fprintf(r.out, "\nFAIL  %s (%.2f s)\n", name, e.Elapsed)
		for _, line := range r.output[name] {
			fmt.Fprint(r.out, "      ", line)
		}
		fmt.Fprintln(r.out)
	}
	delete(r.output, name)
}

func (r *report) notRunOnce(what string) {
	if !slices.Contains(r.notRun, what) {
		r.notRun = append(r.notRun, what)
	}
}

func (r *report) packageEnds(e event) {
	c := r.inPackage[e.Package]
	if c == nil {
		c = &counts{}
	}
	r.passed, r.failed, r.skipped = r.passed+c.passed, r.failed+c.failed, r.skipped+c.skipped
	switch {
	case e.Action == "skip":
		// no test files
	case e.Action == "fail":
		if c.failed == 0 {
			// It ended outside a test: a panic, a deadline, os.Exit. What was printed is all there is.
			r.broken = append(r.broken, e.Package+" failed outside its tests")
			for name, lines := range r.output {
				if name == e.Package || strings.HasPrefix(name, e.Package+" ") {
					fmt.Fprint(r.out, strings.Join(lines, ""))
				}
			}
		}
		fmt.Fprintf(r.out, "FAIL  %-60s %7.1f s  %d passed, %d failed\n", e.Package, e.Elapsed, c.passed, c.failed)
	default:
		text := fmt.Sprintf("%d passed", c.passed)
		if c.skipped > 0 {
			text += fmt.Sprintf(", %d skipped", c.skipped)
		}
		fmt.Fprintf(r.out, "ok    %-60s %7.1f s  %s\n", e.Package, e.Elapsed, text)
	}
	for name := range r.output {
		if name == e.Package || strings.HasPrefix(name, e.Package+" ") {
			delete(r.output, name)
		}
	}
}

// finish prints the summary and says whether all is well. A run without a single passed test is not.
func (r *report) finish() bool {
	list := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(r.out, "\n%s\n", title)
		for _, line := range lines {
			fmt.Fprintf(r.out, "  %s\n", line)
		}
	}
	list("Not run on this machine:", r.notRun)
	list("Skipped without leave (make them run, or allow them with the reason):", r.forbidden)
	list("Failed tests:", r.failures)
	list("Failed otherwise:", r.broken)
	well := len(r.failures)+len(r.broken)+len(r.forbidden) == 0 && r.passed > 0
	verdict := "PASS"
	if !well {
		verdict = "FAIL"
	}
	fmt.Fprintf(r.out, "\n%s: %d passed, %d failed, %d skipped in %s\n", verdict, r.passed, r.failed+len(r.broken), r.skipped,
		time.Since(r.began).Round(time.Second))
	return well
}
