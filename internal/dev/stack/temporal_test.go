package stack

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"
)

// temporalBinary is the server, which has to be built: a test without it shows nothing.
func temporalBinary(t *testing.T) string {
	t.Helper()
	binary, err := filepath.Abs("../../../.slipway/bin/slipway-temporal")
	if err == nil {
		_, err = os.Stat(binary)
	}
	if err != nil {
		t.Fatalf("%v: `make temporal` builds it", err)
	}
	return binary
}

func TestTwoTemporalServersRunSideBySideAndSurviveKill9(t *testing.T) {
	binary := temporalBinary(t)
	pg := startPostgres(t, clusterDir(t))
	var servers []*Temporal
	for _, name := range []string{"one", "two"} {
		s, err := StartTemporal(t.Context(), TemporalOptions{
			Binary: binary, Postgres: pg, Database: "t_" + name, VisibilityDatabase: "v_" + name,
			FrontendAddr: "127.0.0.1:0", LogFile: filepath.Join(t.TempDir(), "temporal.log"),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
		servers = append(servers, s)
	}
	server := servers[0]
	if _, err := StartTemporal(t.Context(), TemporalOptions{Binary: binary, Postgres: pg, FrontendAddr: server.FrontendAddr}); err == nil {
		t.Error("a second server took the first one's address")
	}

	c, err := client.Dial(client.Options{
		HostPort: server.FrontendAddr, Namespace: server.Namespace, Logger: sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	greet := func(ctx workflow.Context) (string, error) {
		workflow.GetSignalChannel(ctx, "go").Receive(ctx, nil)
		return "built", nil
	}
	w := worker.New(c, "control", worker.Options{})
	w.RegisterWorkflowWithOptions(greet, workflow.RegisterOptions{Name: "greet"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{
		ID: "server/1", TaskQueue: "control",
		TypedSearchAttributes: temporal.NewSearchAttributes(temporal.NewSearchAttributeKeyKeyword("SlipwayHost").ValueSet("h1")),
	}, "greet")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(server.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for server.Restarts() == 0 {
		if ctx.Err() != nil {
			t.Fatal("the server was not started again")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err := c.SignalWorkflow(ctx, "server/1", "", "go", nil); err != nil {
		t.Fatal(err)
	}
	var got string
	if err := run.Get(ctx, &got); err != nil || got != "built" {
		t.Errorf("the workflow that was running when the server was killed gave %q, %v", got, err)
	}
}
