package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

const (
	logLimit = 10 << 20 // bytes of a log at which it is set aside
	logsKept = 3        // older files of each log: .1 is the youngest
	logLook  = 2 * time.Second
)

// RotateLogs keeps the logs that match the patterns small until ctx ends: one that has grown to 10 MiB is copied aside and
// emptied, and of what was copied earlier three files stay. Who writes a log never notices, so a child that outlives this
// process needs no pipe into it. What is written between the copy's last byte and the emptying, some microseconds, is lost.
// Every writer has to append, as the children of this package do.
func RotateLogs(ctx context.Context, log *slog.Logger, patterns ...string) {
	tick := time.NewTicker(logLook)
	defer tick.Stop()
	for {
		for _, pattern := range patterns {
			logs, err := filepath.Glob(pattern)
			for _, path := range logs {
				err = errors.Join(err, rotateLog(path, logLimit))
			}
			if err != nil {
				log.Error("a log can't be rotated and grows", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// rotateLog sets a log aside that has reached the limit. Of one that has outgrown it the end is kept, so that nothing here
// is ever longer.
func rotateLog(path string, limit int64) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < limit {
		return err
	}
	older := func(n int) string { return fmt.Sprintf("%s.%d", path, n) }
	for n := logsKept; n > 1; n-- {
		if err := os.Rename(older(n-1), older(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	aside, err := os.OpenFile(older(1), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := f.Seek(info.Size()-limit, io.SeekStart); err != nil {
		return errors.Join(err, aside.Close())
	}
	_, err = io.Copy(aside, f)
	if err = errors.Join(err, aside.Close()); err != nil {
		return err
	}
	return f.Truncate(0)
}
