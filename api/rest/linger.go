package rest

import (
	"cmp"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// lingering is how much is still taken of a body whose request was answered before its end. Zero fields take the values that
// are named beside them, the times nginx's (lingering_time, lingering_timeout).
type lingering struct {
	bytes int64         // 1 GiB
	all   time.Duration // 30 s
	idle  time.Duration // 5 s without a byte
}

func (l lingering) withDefaults() lingering {
	return lingering{cmp.Or(l.bytes, 1<<30), cmp.Or(l.all, 30*time.Second), cmp.Or(l.idle, 5*time.Second)}
}

// incoming is a request's body, of which an answer may not have awaited everything.
type incoming struct {
	io.ReadCloser
	begun, ended bool
}

func (b *incoming) Read(p []byte) (int, error) {
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err != nil
	return n, err
}

// watch sees to it that the answer arrives of a request that is refused while its body comes. Many clients send all of it
// before they look, and where the connection is closed under them they see a broken pipe instead of what is wrong. So linger
// takes the rest and forgets it, once the answer is out. A client that waits for 100 Continue has sent nothing, and net/http
// must not look for it.
func (l lingering) watch(c echo.Context) (linger func()) {
	req, res := c.Request(), c.Response()
	if req.Body == nil || req.Body == http.NoBody {
		return func() {}
	}
	body := &incoming{ReadCloser: req.Body}
	req.Body = body
	res.Before(func() {
		if !body.ended {
			res.Header().Set(echo.HeaderConnection, "close")
		}
	})
	return func() {
		control := http.NewResponseController(res)
		switch waits := strings.EqualFold(req.Header.Get("Expect"), "100-continue") && !body.begun; {
		case body.ended:
		case waits:
			_ = control.SetReadDeadline(time.Now())
		default:
			l.drain(control, body)
		}
	}
}

func (l lingering) drain(control *http.ResponseController, body io.Reader) {
	if control.Flush() != nil {
		return
	}
	buffer := make([]byte, 32<<10)
	end := time.Now().Add(l.all)
	for left := l.bytes; left > 0 && time.Now().Before(end); {
		if control.SetReadDeadline(earlier(end, time.Now().Add(l.idle))) != nil {
			return
		}
		n, err := body.Read(buffer)
		if err != nil {
			break
		}
		left -= int64(n)
	}
	// net/http looks once more. Where more comes it closes its own side first, and the rest half a second later: the client that
	// goes on sending is told EPIPE and not ECONNRESET, upon which some read the answer.
	_ = control.SetReadDeadline(time.Now().Add(min(l.idle, time.Second)))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
