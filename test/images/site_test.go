package images

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha512"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// site is an API process with stores of its own, and one user of it.
type site struct {
	*system.System
	token  string
	stores *imagestore.Stores // the same stores as another process has them
}

// patience bounds what is waited for; nothing is held to be slow for less.
const patience = time.Minute

// newSite starts an API with the settings of images.
func newSite(t testing.TB, settings map[string]any, stores imagestore.Settings) *site {
	t.Helper()
	s := &site{System: system.Start(t, system.Options{APIAlone: true, Settings: map[string]any{"images": settings}})}
	s.token = s.Demo().Token()
	locks := s.Store.Locks("image uploads")
	t.Cleanup(locks.Close)
	stores.Locks = shared{locks}
	if stores.Stores == "" && stores.Dir == "" {
		stores.Dir = s.Dir + "/images"
	}
	var err error
	s.stores, err = imagestore.OpenStores(stores)
	require.NoError(t, err)
	return s
}

// shared are the locks of the API's processes.
type shared struct{ *models.Locks }

func (s shared) Lock(ctx context.Context, name string) (imagestore.Lock, error) {
	lock, err := s.Locks.Lock(ctx, name)
	if err != nil {
		return nil, err
	}
	return lock, nil
}

type object = map[string]any

// answer is a whole response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json(t testing.TB) object {
	t.Helper()
	var v object
	require.NoError(t, json.Unmarshal(a.body, &v), string(a.body))
	return v
}

// try makes a request; path is below /image/v2. body is nil, text, bytes, a reader, or what becomes JSON; headers are pairs.
func (s *site) try(method, path string, body any, headers ...string) (answer, error) {
	var reader io.Reader
	kind := "application/octet-stream"
	switch b := body.(type) {
	case nil:
	case string:
		reader, kind = strings.NewReader(b), "application/json"
	case []byte:
		reader = bytes.NewReader(b)
	case io.Reader:
		reader = b
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		reader, kind = bytes.NewReader(raw), "application/json"
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.APIURL+"/image/v2"+path, reader)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("X-Auth-Token", s.token)
	r.Header.Set("Content-Type", kind)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	got, err := s.HTTP().Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	raw, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, raw}, err
}

func (s *site) do(t testing.TB, method, path string, body any, headers ...string) answer {
	t.Helper()
	a, err := s.try(method, path, body, headers...)
	require.NoError(t, err)
	return a
}

// queued makes an image without bytes.
func (s *site) queued(t testing.TB, format string) string {
	t.Helper()
	container := "bare"
	if format == "ami" || format == "aki" || format == "ari" {
		container = format
	}
	a := s.do(t, "POST", "/images", object{"name": t.Name()[:min(200, len(t.Name()))], "disk_format": format, "container_format": container})
	require.Equal(t, 201, a.status, string(a.body))
	return a.json(t)["id"].(string)
}

func (s *site) status(t testing.TB, id string) string {
	t.Helper()
	a := s.do(t, "GET", "/images/"+id, nil)
	if a.status == 404 {
		return "gone"
	}
	require.Equal(t, 200, a.status, string(a.body))
	return a.json(t)["status"].(string)
}

func (s *site) await(t testing.TB, id, status string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		is := s.status(t, id)
		return is == status, fmt.Sprintf("image %s is %s and not %s", id, is, status)
	})
}

func noise(seed uint64, n int) []byte { return imagestoretest.Noise(seed, n) }

// line is a connection on which a client says what it likes.
type line struct {
	*tls.Conn
	t       testing.TB
	answers *bufio.Reader
}

func (s *site) line(t testing.TB) *line {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.APIURL, "https://"), testenv.Control(t).TLS(t))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return &line{conn, t, bufio.NewReader(conn)}
}

// say writes, and does not mind if nobody listens any more.
func (l *line) say(format string, args ...any) { _, _ = fmt.Fprintf(l, format, args...) }

// put begins an upload; headers are lines.
func (s *site) put(t testing.TB, path string, headers ...string) *line {
	t.Helper()
	l := s.line(t)
	l.say("PUT /image/v2%s HTTP/1.1\r\nHost: x\r\nX-Auth-Token: %s\r\nContent-Type: application/octet-stream\r\n%s\r\n\r\n",
		path, s.token, strings.Join(headers, "\r\n"))
	return l
}

// hear reads one answer; 0 is none: the connection ended.
func (l *line) hear() int {
	l.t.Helper()
	got, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		var late net.Error
		require.False(l.t, errors.As(err, &late) && late.Timeout(), "no answer and no end after %s", patience)
		return 0
	}
	_, _ = io.Copy(io.Discard, got.Body)
	got.Body.Close()
	return got.StatusCode
}

// only holds that the store has the bytes of these images and nothing else, whole.
func (s *site) only(t testing.TB, store string, images []models.Image) {
	t.Helper()
	ctx := t.Context()
	st, err := s.stores.Store(store)
	require.NoError(t, err)
	want := []string{}
	for _, i := range images {
		if slices.ContainsFunc(i.Locations, func(l models.ImageLocation) bool { return l.Store == store }) {
			want = append(want, i.ID)
			body, err := st.Open(ctx, i.ID, 0, -1)
			require.NoError(t, err, "an active image is lost")
			sum := sha512.New()
			_, err = io.Copy(sum, body)
			require.NoError(t, err)
			require.NoError(t, body.Close())
			require.Equal(t, *i.SHA512, hex.EncodeToString(sum.Sum(nil)), "image %s in store %s", i.ID, store)
		}
	}
	slices.Sort(want)
	ids, err := st.IDs(ctx)
	require.NoError(t, err)
	require.Equal(t, want, append([]string{}, ids...), "what lies in store %s", store)
	swept, err := imagestoretest.Sweep(ctx, st)
	require.NoError(t, err)
	require.Zero(t, swept, "what was left to sweep in store %s", store)
}

// settled holds that every image is queued or active, and that exactly the active ones have bytes.
func (s *site) settled(t testing.TB) []models.Image {
	t.Helper()
	all, err := s.Store.ListImages(t.Context(), models.ImageFilter{Admin: true, Visibility: "all", AnyHidden: true})
	require.NoError(t, err)
	for _, i := range all {
		require.Contains(t, []models.ImageStatus{models.ImageQueued, models.ImageActive}, i.Status, "image %s", i.ID)
		require.Equal(t, i.Status == models.ImageActive, i.SizeBytes != nil, "image %s is %s", i.ID, i.Status)
		require.Equal(t, i.Status == models.ImageActive, len(i.Locations) > 0, "image %s is %s", i.ID, i.Status)
		require.Nil(t, i.StagedStore, "image %s", i.ID)
	}
	gone, err := s.Store.ImagesByStatus(t.Context(), models.ImagePendingDelete, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.Empty(t, gone)
	for _, name := range s.stores.Names() {
		s.only(t, name, all)
	}
	return all
}

// memory is a line of the API's /proc/<pid>/status in bytes.
func (s *site) memory(t testing.TB, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid("api")))
	require.NoError(t, err)
	m := regexp.MustCompile(`(?m)^` + field + `:\s+(\d+) kB$`).FindSubmatch(text)
	require.NotNil(t, m, string(text))
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	require.NoError(t, err)
	return n << 10
}

// peakFromHere lets VmHWM begin again at what the process has now.
func (s *site) peakFromHere(t testing.TB) int64 {
	t.Helper()
	require.NoError(t, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.Pid("api")), []byte("5"), 0))
	return s.memory(t, "VmHWM")
}

// openImages are the files of the image store that the API has open.
func (s *site) openImages(t testing.TB) []string {
	t.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", s.Pid("api"))
	entries, err := os.ReadDir(fds)
	require.NoError(t, err)
	open := []string{}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(fds, e.Name()))
		if err == nil && strings.HasPrefix(to, filepath.Join(s.Dir, "images")) { // an error: it was closed meanwhile
			open = append(open, to)
		}
	}
	return open
}

// metric sums the API's metric over the label sets that the expression matches.
func (s *site) metric(t testing.TB, expression string) float64 {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Metrics, nil)
	require.NoError(t, err)
	got, err := s.HTTP().Do(r)
	require.NoError(t, err)
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	sum := 0.0
	for _, m := range regexp.MustCompile(`(?m)^`+expression+` (\S+)$`).FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(m[1]), 64)
		require.NoError(t, err)
		sum += n
	}
	return sum
}
