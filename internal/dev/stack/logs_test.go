package stack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestALogThatGrowsIsSetAsideUnderTheHandsOfItsWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.log")
	// As a child gets it.
	w, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const limit = 10
	for _, line := range []string{"one......\n", "two......\n", "three....\n", "four.....\n", "five.....\n", "six is too long\n", "7\n"} {
		if _, err := w.WriteString(line); err != nil {
			t.Fatal(err)
		}
		if err := rotateLog(path, limit); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		path: "7\n", path + ".1": " too long\n", path + ".2": "five.....\n", path + ".3": "four.....\n",
	} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s has %q (%v), want %q", filepath.Base(name), got, err, want)
		}
	}
	if all, _ := filepath.Glob(path + "*"); len(all) != 1+logsKept {
		t.Errorf("these are left: %v", all)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("what was set aside is %v (%v), want the log's own mode", info.Mode(), err)
	}
}

func TestLogsOfChildrenAreRotatedWhileTheyRun(t *testing.T) {
	dir := t.TempDir()
	p, err := Start(t.Context(), Command{
		Name: "chatter", Path: "/bin/sh", LogFile: filepath.Join(dir, "chatter.log"),
		Args: []string{"-c", "while :; do echo " + strings.Repeat("chatter ", 1000) + "; done"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		RotateLogs(ctx, logger(nil), filepath.Join(dir, "*.log"))
	}()
	deadline := time.Now().Add(time.Minute)
	for {
		if info, err := os.Stat(filepath.Join(dir, "chatter.log.1")); err == nil && info.Size() >= logLimit {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the log was not rotated")
		}
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	<-done
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	now, err := os.ReadFile(filepath.Join(dir, "chatter.log"))
	if err != nil || strings.Contains(string(now), "\x00") {
		t.Errorf("the child went on writing where it was before (%v)", err)
	}
}
