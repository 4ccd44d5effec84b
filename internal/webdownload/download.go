package webdownload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

var (
	errIdle   = errors.New("nothing arrived for the idle time-out")
	errClosed = errors.New("the download was closed")
)

// download is one request and the body of its answer. Read and Close may be called at the same time.
type download struct {
	asked  context.Context // of the caller
	ctx    context.Context // of the request; ends with the body
	cancel context.CancelCauseFunc
	host   string

	body   io.ReadCloser // reports a length that was not reached, and chunks without their end, as io.ErrUnexpectedEOF
	read   int64
	failed error // what every further Read answers

	idle  time.Duration
	timer *time.Timer // ends the request while a Read waits for too long
}

func newDownload(ctx context.Context, host string, idle time.Duration) *download {
	d := &download{asked: ctx, host: host, idle: idle}
	d.ctx, d.cancel = context.WithCancelCause(ctx)
	d.timer = time.AfterFunc(idle, func() { d.cancel(errIdle) })
	d.timer.Stop()
	return d
}

// end gives the connection back to the system.
func (d *download) end() {
	d.timer.Stop()
	d.cancel(errClosed)
}

// Close ends the download, finished or not.
func (d *download) Close() error {
	d.end()
	return d.body.Close()
}

// Read is io.EOF only at the end that the server declared.
func (d *download) Read(p []byte) (int, error) {
	if d.failed != nil {
		return 0, d.failed
	}
	d.timer.Reset(d.idle)
	n, err := d.body.Read(p)
	d.timer.Stop()
	d.read += int64(n)
	switch {
	case err == nil:
		return n, nil
	case !errors.Is(err, io.EOF):
		d.failed = d.failure(err, fmt.Sprintf("The download from host %s was cut after %d bytes.", d.host, d.read))
	case d.read == 0:
		d.failed = fault.New(fault.Invalid, "Host %s answered with an empty image.", d.host)
	default:
		d.failed = io.EOF
	}
	return n, d.failed
}

// failure finds the fault in what the transport reports; otherwise is its text where nothing better is known. Only a caller's own cancellation unwraps to context.Canceled: it is not retried.
func (d *download) failure(err error, otherwise string) error {
	var (
		refused     errAddress
		lookup      *net.DNSError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case d.asked.Err() != nil:
		return fault.Wrap(fault.Unavailable, d.asked.Err(), "The download from host %s was stopped before it was done.", d.host)
	case errors.Is(context.Cause(d.ctx), errIdle):
		return fault.Wrap(fault.Unavailable, errIdle, "Host %s sent nothing more for %s.", d.host, d.idle)
	case errors.As(err, &refused):
		return fault.Wrap(fault.Invalid, err, "The address of host %s is not allowed.", d.host)
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return fault.Wrap(fault.Invalid, err, "The name of host %s has no address.", d.host)
	case errors.As(err, &certificate):
		return fault.Wrap(fault.Invalid, err, "The certificate of host %s cannot be trusted.", d.host)
	default:
		return fault.Wrap(fault.Unavailable, err, "%s", otherwise)
	}
}
