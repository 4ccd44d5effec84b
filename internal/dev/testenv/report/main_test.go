package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// events of `go test -json`, shortened.
const (
	pass = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.2}
`
	fail = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: broken\n"}
{"Action":"fail","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"fail","Package":"p","Elapsed":0.2}
`
	skip = `{"Action":"output","Package":"p","Test":"TestA/b","Output":"    a_test.go:7: needs root\n"}
{"Action":"skip","Package":"p","Test":"TestA/b"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p"}
`
	panicked = `{"Action":"output","Package":"p","Output":"panic: out of the blue\n"}
{"Action":"fail","Package":"p","Elapsed":0.2}
`
	uncompiled = `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}
`
	partly = `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: SLIPWAY-NOT-RUN: KVM: no /dev/kvm\n"}
` + pass
)

func TestTheVerdictAndTheReportSayWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		events  string
		allowed map[string]bool
		well    bool
		says    []string
	}{
		"all passes":                   {events: pass, well: true, says: []string{"ok    p", "PASS: 1 passed, 0 failed, 0 skipped"}},
		"a failure":                    {events: fail, says: []string{"a_test.go:7: broken", "Failed tests:\n  p TestA", "FAIL: 0 passed, 1 failed"}},
		"a skip without leave":         {events: skip, says: []string{"Skipped without leave", "p TestA/b: a_test.go:7: needs root", "FAIL: 1 passed, 0 failed, 1 skipped"}},
		"a skip with leave":            {events: skip, allowed: map[string]bool{"p TestA": true}, well: true, says: []string{"Not run on this machine:\n  p TestA/b: a_test.go:7: needs root", "PASS: 1 passed"}},
		"leave for another package":    {events: skip, allowed: map[string]bool{"q TestA": true}, says: []string{"Skipped without leave"}},
		"a panic outside the tests":    {events: panicked, says: []string{"panic: out of the blue", "p failed outside its tests", "FAIL"}},
		"a package that doesn't build": {events: uncompiled, says: []string{"p.go:1: no", "p does not compile", "FAIL"}},
		"a part that can't run here":   {events: partly, well: true, says: []string{"Not run on this machine:\n  KVM: no /dev/kvm", "PASS: 1 passed"}},
		"nothing at all":               {events: "", says: []string{"FAIL: 0 passed"}},
		"somebody's print":             {events: "hello\n" + pass, well: true, says: []string{"hello\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out, c.allowed)
			require.NoError(t, r.read(strings.NewReader(c.events)))
			require.Equal(t, c.well, r.finish(), out.String())
			for _, text := range c.says {
				require.Contains(t, out.String(), text)
			}
		})
	}
}

func TestACommandThatFailsBeforeAnyTestFailsTheRun(t *testing.T) {
	var out strings.Builder
	r := newReport(&out, nil)
	require.NoError(t, r.read(strings.NewReader(pass)))
	r.command(context.Background(), "exit 3")
	require.False(t, r.finish())
	require.Contains(t, out.String(), "exit 3: exit status 3")
}

func TestTheListOfSkipsWantsAReason(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips")
	require.NoError(t, os.WriteFile(path, []byte("# comment\n\np TestA needs root # why\n"), 0o600))
	allowed, err := readSkips(path)
	require.NoError(t, err)
	require.Equal(t, map[string]bool{"p TestA": true}, allowed)
	require.NoError(t, os.WriteFile(path, []byte("p TestA\n"), 0o600))
	_, err = readSkips(path)
	require.ErrorContains(t, err, "line 1")
}
