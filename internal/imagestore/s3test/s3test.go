// Package s3test gives tests an S3 server: versitygw on a folder of the test's, a program of its own as in earnest.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The user that the server knows.
const (
	AccessKey = "slipwaytest"
	SecretKey = "correct-horse/battery+staple"
	Region    = "us-east-1"
)

// Server runs until its test ends.
type Server struct {
	URL string // http://127.0.0.1:port
	Dir string // what it keeps; each folder here is a bucket

	t       testing.TB
	program string
	address string
	cmd     *exec.Cmd
	ended   chan struct{} // closed when cmd has
	output  bytes.Buffer
}

// Start starts a server with an empty folder.
func Start(t testing.TB) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("finding a port for the S3 server: %v", err)
	}
	s := &Server{t: t, program: Program(t), address: listener.Addr().String(), Dir: t.TempDir()}
	if err := listener.Close(); err != nil {
		t.Fatalf("finding a port for the S3 server: %v", err)
	}
	s.URL = "http://" + s.address
	t.Cleanup(s.Stop)
	s.Restart()
	return s
}

// Bucket makes a bucket.
func (s *Server) Bucket(name string) string {
	s.t.Helper()
	if err := os.Mkdir(filepath.Join(s.Dir, name), 0o700); err != nil {
		s.t.Fatalf("making a bucket: %v", err)
	}
	return name
}

// Stop kills the server, as a crash would.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Restart starts it at the same address with what it kept.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	s.output.Reset()
	cmd := exec.CommandContext(context.Background(), s.program, "--port", s.address, "--region", Region, "--quiet", "posix", s.Dir)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	// It ends with the test's process, however that ends: to the kernel that is the thread that started it, which waits for it here.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		s.t.Fatalf("starting the S3 server: %v", err)
	}
	s.cmd, s.ended = cmd, ended
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		select {
		case <-ctx.Done():
			s.Stop()
			s.t.Fatalf("the S3 server does not answer: %v\n%s", err, s.output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

var program = sync.OnceValues(func() (string, error) {
	where, err := exec.CommandContext(context.Background(), "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(where)))
	built, err := exec.CommandContext(context.Background(), filepath.Join(root, "deploy/dev/build-pinned.sh"), "s3server").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("deploy/dev/build-pinned.sh s3server: %w\n%s", err, built)
	}
	return filepath.Join(root, ".slipway/bin/versitygw"), nil
})

// Program builds the server where it is not built yet, and answers its path.
func Program(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatalf("building the S3 server: %v", err)
	}
	return path
}
