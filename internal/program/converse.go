package program

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// Conversation is with a program that goes on running: In is what it is told, Out what it answers. It dies with this process.
type Conversation struct {
	In, Out *os.File
	PID     int

	command   Command
	ctx       context.Context
	complaint bounded
	ended     chan error
	cancel    context.CancelFunc
}

// Converse starts a program that ends with ctx, if it is not ended before. Of its Limits, Deadline and OutputBytes are the caller's to hold.
func Converse(ctx context.Context, c Command) (_ *Conversation, err error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer childIn.Close() // so that the program's end is the end of Out
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	defer childOut.Close()
	ctx, cancel := context.WithCancel(ctx)
	v := &Conversation{In: in, Out: out, command: c, ctx: ctx, complaint: bounded{max: stderrBytes}, ended: make(chan error, 1), cancel: cancel}
	cmd := Exec(ctx, c)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, &v.complaint
	if c.Mixed {
		cmd.Stderr = childOut
	}
	started := make(chan int, 1)
	go func() {
		v.ended <- c.Locked(func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			started <- cmd.Process.Pid
			return cmd.Wait()
		})
		close(started)
	}()
	var ok bool
	if v.PID, ok = <-started; !ok {
		defer cancel()
		return nil, errors.Join(c.failure(ctx, <-v.ended, ""), in.Close(), out.Close())
	}
	return v, nil
}

// Watch kills the program when ctx ends, or its Deadline has passed, before done is called.
func (v *Conversation) Watch(ctx context.Context) (done func()) {
	ctx, cancel := context.WithTimeout(ctx, v.command.Limits.filled().Deadline)
	stop := context.AfterFunc(ctx, v.cancel)
	return func() { stop(); cancel() }
}

// Kill ends the program at once.
func (v *Conversation) Kill() { v.cancel() }

// patience is how long a program may take to end when it is told nothing more: it writes what it has not written yet.
const patience = 30 * time.Second

// End tells the program that nothing more comes, waits until it has ended and gives what it said to that.
func (v *Conversation) End() (rest []byte, err error) {
	defer v.cancel()
	closeErr := v.In.Close()
	late := time.AfterFunc(patience, v.cancel)
	defer late.Stop()
	rest, readErr := io.ReadAll(io.LimitReader(v.Out, stderrBytes))
	if len(rest) == stderrBytes {
		v.cancel() // it would not end
	}
	ended := <-v.ended
	return rest, errors.Join(v.command.failure(v.ctx, ended, v.complaint.text()), closeErr, readErr, v.Out.Close())
}
