package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

// said hands each line of a log on.
type said chan string

func (s said) Write(line []byte) (int, error) {
	s <- string(bytes.TrimSpace(line))
	return len(line), nil
}

func TestAProcessWaitsForADatabaseThatComesUpAfterIt(t *testing.T) {
	dsn := testenv.Database(t)
	at, err := pgconn.ParseConfig(dsn)
	require.NoError(t, err)
	network, real := pgconn.NetworkAddress(at.Host, at.Port)
	dir, err := os.MkdirTemp("", "slp") // a unix socket's path is short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, ".s.PGSQL.5432")

	c := config.Default()
	c.Database.DSN = "host=" + dir + " port=5432 sslmode=disable user=" + at.User + " password='" + at.Password + "' dbname=" + at.Database
	log := make(said, 100)
	opened := make(chan error, 1)
	go func() {
		store, err := openStore(context.Background(), c, slog.New(slog.NewTextHandler(log, nil)))
		if err == nil {
			err = store.Close()
		}
		opened <- err
	}()
	select {
	case line := <-log:
		require.Contains(t, line, "The database does not answer; trying again.")
	case err := <-opened:
		t.Fatalf("it did not wait: %v", err)
	}

	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() {
				defer client.Close()
				server, err := net.Dial(network, real)
				if err != nil {
					t.Error(err)
					return
				}
				defer server.Close()
				passing.Go(func() {
					_, _ = io.Copy(server, client)
					server.Close()
				})
				_, _ = io.Copy(client, server)
			})
		}
	})
	select {
	case err := <-opened:
		require.NoError(t, err)
	case <-time.After(time.Minute):
		t.Fatal("it does not see that the database is there")
	}
	require.NoError(t, l.Close())
	passing.Wait()
}

func TestAProcessDoesNotWaitWhenItIsToldToStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := config.Default()
	c.Database.DSN = "host=" + t.TempDir() + " user=nobody dbname=nothing"
	log := make(said, 100)
	ended := make(chan error, 1)
	go func() {
		_, err := openStore(ctx, c, slog.New(slog.NewTextHandler(log, nil)))
		ended <- err
	}()
	<-log
	cancel()
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "database.dsn says where it is")
	case <-time.After(dialTimeout / 2):
		t.Fatal("it waits")
	}
}
