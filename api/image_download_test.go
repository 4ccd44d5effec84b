package api

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestARangeOfAnImageIsServed(t *testing.T) {
	w := newWorld(t)
	data := noise(100_000)
	id := w.active("demo", nil, data)
	etag := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil).header.Get("ETag")
	for _, c := range []struct {
		spec, ifRange string
		status        int
		from, to      int
	}{
		{"bytes=0-0", "", 206, 0, 1},
		{"bytes=10-19", "", 206, 10, 20},
		{"bytes=99990-", "", 206, 99_990, 100_000},
		{"bytes=99990-999999999", "", 206, 99_990, 100_000},
		{"bytes=-10", "", 206, 99_990, 100_000},
		{"bytes=-999999999", "", 206, 0, 100_000},
		{"bytes=50-", etag, 206, 50, 100_000},
		{"bytes=50-", `"another"`, 200, 0, 100_000},
		{"bytes=100000-", "", 416, 0, 0},
		{"bytes=-0", "", 416, 0, 0},
		{"bytes=5-4", "", 200, 0, 100_000},
		{"bytes=a-b", "", 200, 0, 100_000},
		{"bytes=0-1,5-6", "", 200, 0, 100_000},
		{"lines=0-1", "", 200, 0, 100_000},
	} {
		headers := []string{"Range", c.spec}
		if c.ifRange != "" {
			headers = append(headers, "If-Range", c.ifRange)
		}
		a := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil, headers...)
		require.Equal(t, c.status, a.status, c.spec)
		switch c.status {
		case 416:
			require.Equal(t, "bytes */100000", a.header.Get("Content-Range"), c.spec)
		case 206:
			require.Equal(t, fmt.Sprintf("bytes %d-%d/100000", c.from, c.to-1), a.header.Get("Content-Range"), c.spec)
			require.Empty(t, a.header.Get("Content-MD5"), "the sum of the whole says nothing of a part")
			fallthrough
		default:
			require.True(t, bytes.Equal(data[c.from:c.to], a.body), c.spec)
		}
	}
}

func TestAnOlderClientAsksForARangeByContentRange(t *testing.T) {
	w := newWorld(t)
	data := noise(1000)
	path := "/image/v2/images/" + w.active("demo", nil, data) + "/file"
	for asked, want := range map[string][]byte{
		"bytes 0-4/1000": data[:5], "bytes 10-999/*": data[10:],
		"bytes 0-1000/*": nil, "bytes 1000-1000/*": nil, "bytes 0-4/10": nil, "bytes 4-0/*": nil, "bytes */1000": nil, "lines 0-4/*": nil,
	} {
		a := w.do("demo", "GET", path, nil, "Content-Range", asked)
		if want == nil {
			require.Equal(t, 416, a.status, asked)
			require.Equal(t, "bytes */1000", a.header.Get("Content-Range"), asked)
			continue
		}
		require.Equal(t, 206, a.status, asked)
		require.True(t, bytes.Equal(want, a.body), asked)
	}
	a := w.do("demo", "GET", path, nil, "Range", "bytes=0-0", "Content-Range", "bytes 5-9/*")
	require.Equal(t, data[:1], a.body, "Range is the one that counts")
}

func TestAnActiveImageWithoutBytesIsOurFaultNotTheUsers(t *testing.T) {
	w := newWorld(t)
	id := w.active("demo", nil, noise(1000))
	require.NoError(t, w.files.Delete(context.Background(), id))
	a := w.do("demo", "GET", "/image/v2/images/"+id+"/file", nil)
	require.Equal(t, 500, a.status, string(a.body))
	require.Contains(t, w.log.String(), "level=ERROR")
}
