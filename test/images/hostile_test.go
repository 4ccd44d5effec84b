package images

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/test/system"
)

const (
	idle     = 1500 * time.Millisecond // how long a client may stand still
	maxBytes = 24 << 20
	// maxGrowth bounds what all hostile clients together may make the API hold: two hundred hanging uploads among them.
	maxGrowth = 96 << 20
	hanging   = 200
)

// visit is one hostile client at work.
type visit struct {
	*site
	t      testing.TB
	victim string // an active image of maxBytes, to read
	leaves map[string]string
}

// image is a queued image that has to be in the state when the client is done.
func (v *visit) image(leaves string) string {
	v.t.Helper()
	id := v.queued(v.t, "raw")
	v.leaves[id] = leaves
	return id
}

func (v *visit) file(id string) string { return "/images/" + id + "/file" }

// slow is an upload that is alive, a byte now and then, until finish.
type slow struct {
	*line
	stop  chan struct{}
	ended chan struct{}
	sent  []byte
}

func (s *site) begin(t testing.TB, path string) *slow {
	u := &slow{line: s.put(t, path, "Transfer-Encoding: chunked"), stop: make(chan struct{}), ended: make(chan struct{})}
	t.Cleanup(u.end)
	u.chunk("begun ")
	go func() {
		defer close(u.ended)
		pace := time.NewTicker(idle / 10)
		defer pace.Stop()
		for {
			select {
			case <-u.stop:
				return
			case <-pace.C:
				u.chunk("x")
			}
		}
	}()
	return u
}

func (u *slow) chunk(text string) {
	u.say("%x\r\n%s\r\n", len(text), text)
	u.sent = append(u.sent, text...)
}

func (u *slow) end() {
	select {
	case <-u.ended:
	default:
		close(u.stop)
		<-u.ended
	}
}

// finish sends the end and gives the answer.
func (u *slow) finish() int {
	u.t.Helper()
	u.end()
	u.chunk(" ended")
	u.say("0\r\n\r\n")
	return u.hear()
}

// refused holds that an answer is a refusal, or that the connection was just closed.
func (v *visit) refused(status int, what string) {
	v.t.Helper()
	require.True(v.t, status == 0 || status >= 400 && status < 500, "%s: %d", what, status)
}

// hostile are the clients, each by what it does.
var hostile = []struct {
	name   string
	attack func(*visit)
}{
	{"sends a byte at a time, each before the deadline", func(v *visit) {
		id := v.image("active")
		const bytes = 30
		l := v.put(v.t, v.file(id), fmt.Sprintf("Content-Length: %d", bytes))
		pace := time.NewTicker(idle / 20) // all of it takes longer than the deadline
		defer pace.Stop()
		for range bytes {
			<-pace.C
			l.say("x")
		}
		require.Equal(v.t, 204, l.hear())
		require.Equal(v.t, strings.Repeat("x", bytes), string(v.do(v.t, "GET", v.file(id), nil).body))
	}},
	{"sends a byte at a time, each after the deadline", func(v *visit) {
		l := v.put(v.t, v.file(v.image("queued")), "Content-Length: 30")
		l.say("x")
		require.Equal(v.t, 400, l.hear())
		l.say("x")
		require.Zero(v.t, l.hear())
	}},
	{"stands still in the middle", func(v *visit) {
		l := v.put(v.t, v.file(v.image("queued")), "Content-Length: 3000000")
		l.say("%s", noise(1, 1<<20))
		require.Equal(v.t, 400, l.hear())
	}},
	{"goes away in the middle", func(v *visit) {
		id := v.image("queued")
		l := v.put(v.t, v.file(id), "Content-Length: 3000000")
		l.say("%s", noise(1, 1<<20))
		v.await(v.t, id, "saving")
		require.NoError(v.t, l.Close())
	}},
	{"announces more than it sends", func(v *visit) {
		l := v.put(v.t, v.file(v.image("queued")), "Content-Length: 3000000")
		l.say("%s", noise(1, 1<<20))
		require.NoError(v.t, l.CloseWrite())
		v.refused(l.hear(), "cut off")
	}},
	{"announces less than it sends", func(v *visit) {
		id := v.image("active")
		l := v.put(v.t, v.file(id), "Content-Length: 5")
		l.say("12345DELETE /image/v2/images/%s HTTP/1.1 \x00\r\n\r\n", id)
		require.Equal(v.t, 204, l.hear())
		v.refused(l.hear(), "the rest is no request")
		require.Equal(v.t, "12345", string(v.do(v.t, "GET", v.file(id), nil).body))
	}},
	{"announces more than is allowed", func(v *visit) {
		id := v.image("queued")
		for _, announced := range []string{fmt.Sprint(maxBytes + 1), "9223372036854775807"} {
			l := v.put(v.t, v.file(id), "Content-Length: "+announced)
			require.Equal(v.t, 413, l.hear(), "before any of it came")
		}
		for _, lie := range []string{"3", "6", "-1", "9223372036854775807", "9223372036854775808", "x"} {
			a := v.do(v.t, "PUT", v.file(id), []byte("12345"), "X-Openstack-Image-Size", lie)
			v.refused(a.status, "an image of five bytes that says "+lie)
		}
		for _, announced := range []string{"9223372036854775808", "-1", "1e3", "0x10", "5, 6", "5\r\nContent-Length: 6"} {
			l := v.put(v.t, v.file(id), "Content-Length: "+announced)
			l.say("123456")
			v.refused(l.hear(), announced)
		}
	}},
	{"sends more than is allowed without a word", func(v *visit) {
		id := v.image("queued")
		l := v.put(v.t, v.file(id), "Transfer-Encoding: chunked")
		chunk := noise(1, 1<<20)
		for range maxBytes>>20 + 2 {
			if _, err := fmt.Fprintf(l, "%x\r\n%s\r\n", len(chunk), chunk); err != nil {
				break // nobody listens any more
			}
		}
		v.refused(l.hear(), "over the limit")
		require.Equal(v.t, 413, v.do(v.t, "PUT", v.file(id), io.MultiReader(bytes.NewReader(noise(1, maxBytes+1)))).status)
	}},
	{"sends chunks that are none", func(v *visit) {
		id := v.image("queued")
		for _, body := range []string{
			"nonsense\r\n", "-5\r\nabcde\r\n0\r\n\r\n", "ffffffffffffffffff\r\nabc", "5\r\nabcdeXX5\r\n", "5;" + strings.Repeat("x", 100_000) + "\r\nabcde\r\n0\r\n\r\n",
			"7fffffffffffffff\r\nabc", "\r\n\r\n\r\n", "5\r\nabc", "0x5\r\nabcde\r\n0\r\n\r\n",
		} {
			l := v.put(v.t, v.file(id), "Transfer-Encoding: chunked")
			l.say("%s", body)
			require.NoError(v.t, l.CloseWrite())
			v.refused(l.hear(), body[:min(20, len(body))])
		}
		for _, coding := range []string{"Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: identity"} {
			l := v.put(v.t, v.file(id), coding)
			l.say("5\r\nabcde\r\n0\r\n\r\n")
			got := l.hear()
			require.True(v.t, got == 0 || got >= 400 && got <= 501, "%s: %d", coding, got) // 501 is RFC 9112's for a coding that is not known
		}
	}},
	{"announces two lengths at once", func(v *visit) {
		id := v.image("active") // the chunks count: RFC 9112, 6.3
		l := v.put(v.t, v.file(id), "Content-Length: 3", "Transfer-Encoding: chunked")
		l.say("5\r\nabcde\r\n0\r\n\r\nDELETE /image/v2/images/%s HTTP/1.1\r\nHost: x\r\n\r\n", id)
		require.Equal(v.t, 204, l.hear())
		v.refused(l.hear(), "what follows has to say who it is")
		require.Equal(v.t, "abcde", string(v.do(v.t, "GET", v.file(id), nil).body))
	}},
	{"sends headers without end", func(v *visit) {
		id := v.image("queued")
		l := v.put(v.t, v.file(id), "X-Long: "+strings.Repeat("x", 1<<20))
		v.refused(l.hear(), "one that is long")
		l = v.put(v.t, v.file(id), strings.Repeat("X-Many: x\r\n", 50_000)+"X-Last: x")
		v.refused(l.hear(), "many")
		l = v.put(v.t, v.file(id), "X-Image-Meta-Store: ../../etc", "Content-Length: 5")
		l.say("12345")
		v.refused(l.hear(), "a store that is none")
		l = v.put(v.t, v.file(id), "X-Image-Meta-Store: "+strings.Repeat("s", 10_000), "Content-Length: 5")
		l.say("12345")
		v.refused(l.hear(), "a store with a long name")
	}},
	{"uploads twice at once", func(v *visit) {
		id := v.image("active")
		first := v.begin(v.t, v.file(id))
		v.await(v.t, id, "saving")
		for range 3 {
			require.Equal(v.t, 409, v.do(v.t, "PUT", v.file(id), []byte("another")).status)
			require.Equal(v.t, 409, v.do(v.t, "PUT", "/images/"+id+"/stage", []byte("another")).status)
		}
		require.Equal(v.t, 204, first.finish())
		require.Equal(v.t, first.sent, v.do(v.t, "GET", v.file(id), nil).body)
	}},
	{"uploads once more", func(v *visit) {
		id := v.image("active")
		require.Equal(v.t, 204, v.do(v.t, "PUT", v.file(id), []byte("the bytes")).status)
		for range 3 {
			require.Equal(v.t, 409, v.do(v.t, "PUT", v.file(id), []byte("other bytes")).status)
			require.Equal(v.t, 409, v.do(v.t, "PUT", "/images/"+id+"/stage", []byte("other bytes")).status)
		}
		require.Equal(v.t, "the bytes", string(v.do(v.t, "GET", v.file(id), nil).body))
	}},
	{"deletes what it uploads", func(v *visit) {
		id := v.image("gone")
		l := v.begin(v.t, v.file(id))
		v.await(v.t, id, "saving")
		require.Equal(v.t, 204, v.do(v.t, "DELETE", "/images/"+id, nil).status)
		require.Equal(v.t, 410, l.finish())

		id = v.image("gone")
		l = v.begin(v.t, "/images/"+id+"/stage")
		v.await(v.t, id, "uploading")
		require.Equal(v.t, 204, v.do(v.t, "DELETE", "/images/"+id, nil).status)
		v.refused(l.finish(), "staging what is deleted")
	}},
	{"changes what it uploads", func(v *visit) {
		id := v.image("active")
		l := v.begin(v.t, v.file(id))
		v.await(v.t, id, "saving")
		patch := func(path, value string) int {
			return v.do(v.t, "PATCH", "/images/"+id, fmt.Sprintf(`[{"op": "replace", "path": "%s", "value": "%s"}]`, path, value),
				"Content-Type", "application/openstack-images-v2.1-json-patch").status
		}
		require.Equal(v.t, 403, patch("/disk_format", "qcow2"), "what it is judged by")
		require.Equal(v.t, 403, patch("/status", "active"))
		require.Equal(v.t, 200, patch("/name", "changed"))
		require.Equal(v.t, 204, l.finish())
		got := v.do(v.t, "GET", "/images/"+id, nil).json(v.t)
		require.Equal(v.t, "changed", got["name"])
		require.EqualValues(v.t, len(l.sent), got["size"])
	}},
	{"says that its bytes are something else", func(v *visit) {
		id := v.image("queued")
		for _, kind := range []string{"application/json", "text/plain", "multipart/form-data; boundary=x", "application/octet-stream2", "*/*", "application/octet-stream, text/plain", ";", strings.Repeat("a/", 10_000)} {
			require.Equal(v.t, 415, v.do(v.t, "PUT", v.file(id), []byte("bytes"), "Content-Type", kind).status, kind[:min(len(kind), 40)])
		}
		for _, coding := range []string{"gzip", "deflate", "br", "zstd", "gzip, gzip", "x"} {
			require.Equal(v.t, 415, v.do(v.t, "PUT", v.file(id), []byte("\x1f\x8b\x08"), "Content-Encoding", coding).status, coding)
		}
	}},
	{"expects what is not given", func(v *visit) {
		id := v.image("queued")
		l := v.put(v.t, v.file(id), "Expect: 100-continue", fmt.Sprintf("Content-Length: %d", maxBytes+1))
		require.Equal(v.t, 413, l.hear(), "and not 100: the bytes are not wanted")
		l = v.put(v.t, v.file(id), "Expect: 100-continue", "Content-Length: 10")
		require.Equal(v.t, 100, l.hear())
		require.Equal(v.t, 400, l.hear(), "and then nothing came")
		l = v.put(v.t, v.file(id), "Expect: the unexpected", "Content-Length: 10")
		l.say("1234567890")
		require.Equal(v.t, 417, l.hear())
		l = v.put(v.t, "/images/nothing/file", "Expect: 100-continue", "Content-Length: 10")
		require.Equal(v.t, 404, l.hear())
	}},
	{"sends all requests in one piece", func(v *visit) {
		id := v.image("active")
		l := v.line(v.t)
		var all strings.Builder
		const shows = 30
		for range shows {
			fmt.Fprintf(&all, "GET /image/v2/images/%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\n\r\n", id, v.token)
		}
		fmt.Fprintf(&all, "PUT /image/v2%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: 5\r\n\r\n12345", v.file(id), v.token)
		fmt.Fprintf(&all, "GET /image/v2%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\n\r\n", v.file(id), v.token)
		l.say("%s", all.String())
		for range shows {
			require.Equal(v.t, 200, l.hear())
		}
		require.Equal(v.t, 204, l.hear())
		require.Equal(v.t, 200, l.hear())
	}},
	{"asks for ranges that are none", func(v *visit) {
		for _, spec := range []string{
			"bytes=0-" + strings.Repeat(",0-", 5000), "bytes=" + strings.Repeat("0-0,", 10_000) + "0-0", "bytes=-99999999999999999999", "bytes=99999999999999999999-",
			"bytes=0-99999999999999999999", "bytes=--1", "bytes=-1-", "bytes=9-1", "bytes=", "bytes", "=", "bytes=\x01-", "bytes=0-0-0", "bytes=+1-2", "bytes=1 - 2",
			fmt.Sprintf("bytes=%d-", maxBytes), "bytes=9223372036854775807-", "bytes=-9223372036854775807", "bytes=-0",
		} {
			l := v.line(v.t)
			l.say("GET /image/v2%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nRange: %s\r\n\r\n", v.file(v.victim), v.token, spec)
			got, err := http.ReadResponse(l.answers, nil)
			require.NoError(v.t, err, spec[:min(40, len(spec))])
			require.Contains(v.t, []int{200, 206, 400, 416, 431}, got.StatusCode, spec[:min(40, len(spec))])
			require.LessOrEqual(v.t, got.ContentLength, int64(maxBytes), "no more than the whole")
			require.NoError(v.t, l.Close()) // and it goes away in the middle
		}
	}},
	{"downloads and reads nothing", func(v *visit) {
		id := v.image("active")
		require.Equal(v.t, 204, v.do(v.t, "PUT", v.file(id), noise(2, maxBytes)).status)
		l := v.line(v.t)
		l.say("GET /image/v2%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\n\r\n", v.file(id), v.token)
		system.Eventually(v.t, patience, func() (bool, string) {
			for said := range strings.Lines(v.Log("api")) {
				if strings.Contains(said, "a download was cut off") && strings.Contains(said, id) {
					return true, ""
				}
			}
			return false, "the download goes on"
		})
		got, err := http.ReadResponse(l.answers, nil)
		require.NoError(v.t, err)
		_, err = io.Copy(io.Discard, got.Body)
		require.Error(v.t, err, "a short body is not taken for the whole one")
	}},
	{"opens two hundred uploads and hangs", func(v *visit) {
		var all sync.WaitGroup
		lines := make([]*line, hanging)
		for i := range lines {
			id := v.image("queued")
			lines[i] = v.put(v.t, v.file(id), fmt.Sprintf("Content-Length: %d", maxBytes))
			lines[i].say("x")
		}
		for range 10 {
			require.Equal(v.t, 200, v.do(v.t, "GET", "/images?limit=5", nil).status, "others are served")
		}
		other := v.image("active")
		require.Equal(v.t, 204, v.do(v.t, "PUT", v.file(other), noise(1, 1<<20)).status)
		answers := make([]int, hanging)
		for i, l := range lines {
			all.Go(func() { answers[i] = l.hear() })
		}
		all.Wait()
		for _, got := range answers {
			v.refused(got, "what hangs is freed")
		}
	}},
	{"loses its token in the middle", func(v *visit) {
		id, next := v.image("active"), v.image("queued")
		own := *v.site
		own.token = v.Demo().Token()
		l := own.begin(v.t, v.file(id))
		v.await(v.t, id, "saving")
		r, err := http.NewRequestWithContext(v.t.Context(), http.MethodDelete, v.APIURL+"/v3/auth/tokens", nil)
		require.NoError(v.t, err)
		r.Header.Set("X-Auth-Token", own.token)
		r.Header.Set("X-Subject-Token", own.token)
		got, err := v.HTTP().Do(r)
		require.NoError(v.t, err)
		got.Body.Close()
		require.Equal(v.t, 204, got.StatusCode)
		require.Equal(v.t, 204, l.finish(), "it was good when it began")
		require.Equal(v.t, 401, own.do(v.t, "PUT", v.file(next), []byte("12345")).status)
	}},
	{"plays tricks with paths", func(v *visit) {
		id := v.image("queued")
		for _, trick := range []string{
			"..", "../..", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e%2f%2e%2e%2f", "/etc/passwd", "%2fetc%2fpasswd", "%00", "a%00b", "%ff%fe", "%",
			"%zz", "%252e%252e", "..\\..", "%5c..%5c", ".", "*", ";ls", "|ls", "$(ls)", "'", "%22", "%27%20or%201=1--", "%0d%0aX-Evil:%20yes", "\xff",
			strings.Repeat("a", 10_000), strings.Repeat("../", 3000), "%E2%80%AE", id + "%00", id + "-staged", id + "/..", "-" + id,
		} {
			for _, at := range []string{
				"GET /image/v2/images/%s", "GET /image/v2/images/%s/file", "PUT /image/v2/images/%s/file", "PUT /image/v2/images/%s/stage", "DELETE /image/v2/images/%s",
				"PATCH /image/v2/images/%s", "GET /image/v2/images/" + id + "/members/%s", "PUT /image/v2/images/" + id + "/members/%s", "DELETE /image/v2/images/" + id + "/members/%s",
				"DELETE /image/v2/images/" + id + "/tags/%s", "DELETE /image/v2/stores/%s/" + id, "DELETE /image/v2/stores/local/%s", "POST /image/v2/images/%s/actions/deactivate",
				"GET /image/v2/images?marker=%s", "GET /image/v2/images?name=in:%s&limit=1", "GET /image/v2/images?sort=%s", "GET /image/v2/schemas/%s",
			} {
				l := v.line(v.t)
				l.say(at+" HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nContent-Type: application/octet-stream\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", trick, v.token)
				got, err := http.ReadResponse(l.answers, nil)
				what := fmt.Sprintf(at, trick[:min(60, len(trick))])
				require.NoError(v.t, err, what)
				reads := strings.HasPrefix(at, "GET")
				require.True(v.t, got.StatusCode >= 400 && got.StatusCode < 500 || reads && got.StatusCode < 400, "%s: %d", what, got.StatusCode)
				require.Empty(v.t, got.Header.Get("X-Evil"), what)
				require.NoError(v.t, l.Close())
			}
			for _, method := range []string{"PUT", "DELETE"} { // a tag is any text
				l := v.line(v.t)
				l.say("%s /image/v2/images/%s/tags/%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nConnection: close\r\n\r\n", method, id, trick, v.token)
				got := l.hear()
				require.True(v.t, got > 0 && got < 500, "%s tag %s: %d", method, trick[:min(60, len(trick))], got)
				require.NoError(v.t, l.Close())
			}
		}
	}},
	{"sends JSON that explodes", func(v *visit) {
		many := func(n int, one func(int) string) string {
			all := make([]string, n)
			for i := range all {
				all[i] = one(i)
			}
			return strings.Join(all, ",")
		}
		id := v.image("queued")
		for name, body := range map[string]string{
			"deep lists":         strings.Repeat("[", 50_000) + strings.Repeat("]", 50_000),
			"deep objects":       strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000),
			"a huge number":      `{"min_disk": 1` + strings.Repeat("0", 100_000) + `}`,
			"a huge exponent":    `{"min_disk": 1e999999999}`,
			"a fine number":      `{"min_disk": 0.` + strings.Repeat("0", 100_000) + `1}`,
			"100,000 properties": "{" + many(100_000, func(i int) string { return fmt.Sprintf(`"p%d":""`, i) }) + "}",
			"5,000 properties":   "{" + many(5_000, func(i int) string { return fmt.Sprintf(`"p%d":"v"`, i) }) + "}",
			"100,000 tags":       `{"tags": [` + many(100_000, func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + "]}",
			"9,000 tags":         `{"tags": [` + many(9_000, func(i int) string { return fmt.Sprintf(`"%d"`, i) }) + "]}",
			"the same key twice": `{"name": "a", "name": "b"}`,
			"no UTF-8":           "{\"name\": \"\xff\xfe\"}",
			"a null character":   `{"name": "\u0000"}`,
			"nothing":            "",
			"two documents":      `{"name": "a"} {"name": "b"}`,
			"endless text":       `{"name": "` + strings.Repeat("n", 100_000) + `"}`,
		} {
			a := v.do(v.t, "POST", "/images", body)
			v.refused(a.status, name)
			a = v.do(v.t, "PATCH", "/images/"+id, body, "Content-Type", "application/openstack-images-v2.1-json-patch")
			v.refused(a.status, name)
			a = v.do(v.t, "POST", "/images/"+id+"/members", body)
			v.refused(a.status, name)
		}
		operations := many(1_001, func(i int) string { return fmt.Sprintf(`{"op":"add","path":"/p%d","value":"v"}`, i) })
		v.refused(v.do(v.t, "PATCH", "/images/"+id, "["+operations+"]", "Content-Type", "application/openstack-images-v2.1-json-patch").status, "a long patch")
	}},
}

// Each client comes alone, and then all come at once. Afterwards every image is as it has to be, the store holds the bytes of
// the active ones and nothing else, the process has ended what it began, and nothing that it said was an accident.
func TestHostileClientsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, len(hostile), 20)
	s := newSite(t, map[string]any{"idle": idle.String(), "max_bytes": maxBytes}, imagestore.Settings{})
	victim := s.queued(t, "raw")
	require.Equal(t, 204, s.do(t, "PUT", "/images/"+victim+"/file", noise(7, maxBytes)).status)
	visit := func(t *testing.T, name string, attack func(*visit)) {
		t.Run(name, func(t *testing.T) {
			v := &visit{site: s, t: t, victim: victim, leaves: map[string]string{}}
			attack(v)
			for id, status := range v.leaves {
				v.await(t, id, status)
			}
		})
	}
	goroutines := func() float64 { s.HTTP().CloseIdleConnections(); return s.metric(t, "go_goroutines") }
	before := goroutines()
	peak := s.peakFromHere(t)
	t.Run("one by one", func(t *testing.T) {
		for _, c := range hostile {
			visit(t, c.name, c.attack)
		}
	})
	t.Run("together", func(t *testing.T) {
		var all sync.WaitGroup
		for _, c := range hostile {
			all.Go(func() { visit(t, c.name, c.attack) }) // all of them, and not only as many as there are processors
		}
		all.Wait()
	})

	grown := s.memory(t, "VmHWM") - peak
	t.Logf("the API grew by %d MiB at most", grown>>20)
	require.Less(t, grown, int64(maxGrowth))
	s.settled(t)
	require.Empty(t, s.openImages(t))
	system.Eventually(t, patience, func() (bool, string) {
		now := goroutines()
		return now <= before+2, fmt.Sprintf("%v goroutines, %v before", now, before) // two are the metrics' own connection's
	})
	require.Zero(t, s.metric(t, `slipway_http_request_duration_seconds_count{[^}]*status="5[^}]*}`), s.Log("api"))
	log := s.Log("api")
	for _, accident := range []string{"panic", "level=ERROR", `"level":"ERROR"`, "goroutine "} {
		require.NotContains(t, log, accident)
	}
	require.Equal(t, 204, s.do(t, "PUT", "/images/"+s.queued(t, "raw")+"/file", []byte("a good client")).status)
}
