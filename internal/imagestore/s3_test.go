package imagestore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	"github.com/slipway-cloud/slipway/internal/imagestore/s3test"
)

const partBytes = 5 << 20 // as small as S3 allows

// bucketOn is a store in a bucket behind an address, with locks in a folder that other processes of the test share.
func bucketOn(t testing.TB, address, bucket, locks string) *imagestore.S3 {
	t.Helper()
	s, err := imagestore.OpenS3(imagestore.S3Options{
		Name: "cold", Endpoint: address, Bucket: bucket, Prefix: "cloud/one", Region: s3test.Region, PartBytes: partBytes,
		Credentials: imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey},
		Locks:       imagestore.FolderLocks(locks),
	})
	require.NoError(t, err)
	return s
}

func TestAnObjectStoreKeepsTheContract(t *testing.T) {
	server := s3test.Start(t)
	imagestoretest.Run(t, partBytes, func(t *testing.T) func() imagestore.Store {
		bucket, locks := server.Bucket("b"+uuid.NewString()), t.TempDir()
		return func() imagestore.Store { return bucketOn(t, server.URL, bucket, locks) }
	})
}

// stored is what a bucket holds: objects, and parts of uploads that have not ended.
func stored(t *testing.T, server *s3test.Server, bucket string) []string {
	t.Helper()
	return filesOf(t, filepath.Join(server.Dir, bucket))
}

// cable is a way to a server that can be cut: a proxy that a request passes as it was signed.
type cable struct {
	*httptest.Server
	proxy *httputil.ReverseProxy
	// before and after are asked around each request; nil lets it pass. Each may end the process.
	before, after func(n int64, r *http.Request)
	// sent and received wrap the bodies.
	sent, received func(*http.Request, io.ReadCloser) io.ReadCloser
	requests       atomic.Int64
}

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	target, err := url.Parse(to)
	require.NoError(t, err)
	c := &cable{}
	c.proxy = &httputil.ReverseProxy{
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // which is signed
		},
		ModifyResponse: func(r *http.Response) error {
			if c.received != nil {
				r.Body = c.received(r.Request, r.Body)
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := c.requests.Add(1)
		if c.before != nil {
			c.before(n, r)
		}
		if c.sent != nil && r.Body != nil {
			r.Body = c.sent(r, r.Body)
		}
		if c.after == nil {
			c.proxy.ServeHTTP(w, r)
			return
		}
		answer := httptest.NewRecorder()
		c.proxy.ServeHTTP(answer, r)
		c.after(n, r)
		for k, v := range answer.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(c.Close)
	return c
}

// cut ends a body with an error after n bytes, as a connection that was reset.
type cut struct {
	io.ReadCloser
	left int
}

var errCut = errors.New("the cable is cut")

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errCut
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func TestATransferGoesOnWhereItsConnectionBroke(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.Bucket("images")
	c := newCable(t, server.URL)
	var sentCuts, receivedCuts atomic.Int64
	c.sent = func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.URL.Query().Has("partNumber") && sentCuts.Add(1)%2 == 1 { // each part once
			return &cut{body, 2_000_000}
		}
		return body
	}
	c.received = func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, id) {
			receivedCuts.Add(1)
			return &cut{body, 9_000_000} // every answer
		}
		return body
	}
	store, data := bucketOn(t, c.URL, bucket, t.TempDir()), imagestoretest.Noise(1, 40<<20)
	require.NoError(t, imagestoretest.Put(t.Context(), store, id, data))
	require.EqualValues(t, 16, sentCuts.Load(), "8 parts, each sent twice")
	got, err := imagestoretest.Get(t.Context(), store, id, 0, -1)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
	require.EqualValues(t, 5, receivedCuts.Load())
	got, err = imagestoretest.Get(t.Context(), store, id, 10_000_000, 15_000_000)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data[10_000_000:25_000_000], got))
}

func TestAReaderWhoseConnectionGivesNothingGivesUp(t *testing.T) {
	server := s3test.Start(t)
	c := newCable(t, server.URL)
	store := bucketOn(t, c.URL, server.Bucket("images"), t.TempDir())
	require.NoError(t, imagestoretest.Put(t.Context(), store, id, imagestoretest.Noise(1, 1<<20)))
	c.received = func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, id) {
			return &cut{body, 0}
		}
		return body
	}
	_, err := imagestoretest.Get(t.Context(), store, id, 0, -1)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

func TestAnImageThatIsReplacedWhileItIsReadIsNotMixed(t *testing.T) {
	server := s3test.Start(t)
	c := newCable(t, server.URL)
	c.received = func(r *http.Request, body io.ReadCloser) io.ReadCloser {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, id) {
			return &cut{body, 1 << 20}
		}
		return body
	}
	store := bucketOn(t, c.URL, server.Bucket("images"), t.TempDir())
	require.NoError(t, imagestoretest.Put(t.Context(), store, id, imagestoretest.Noise(1, 3<<20)))
	r, err := store.Open(t.Context(), id, 0, -1)
	require.NoError(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, imagestoretest.Put(t.Context(), store, id, imagestoretest.Noise(2, 3<<20)))
	rest, err := io.ReadAll(r)
	require.Error(t, err)
	require.Less(t, len(rest), 2<<20)
	require.NoError(t, r.Close())
}

func TestAnOperatorReadsWhatIsWrongWithAStore(t *testing.T) {
	server := s3test.Start(t)
	bucket, locks := server.Bucket("images"), t.TempDir()
	good := bucketOn(t, server.URL, bucket, locks)
	require.NoError(t, imagestoretest.Put(t.Context(), good, id, []byte("hello")))
	options := imagestore.S3Options{
		Name: "cold", Endpoint: server.URL, Bucket: bucket, Prefix: "cloud/one", Region: s3test.Region, Locks: imagestore.FolderLocks(locks), Tries: 2,
		Credentials: imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey},
	}
	down, err := imagestore.OpenS3(options)
	require.NoError(t, err)
	options.Credentials.SecretKey = "not the secret"
	wrongSecret, err := imagestore.OpenS3(options)
	require.NoError(t, err)
	options.Credentials.AccessKey = "nobody"
	wrongKey, err := imagestore.OpenS3(options)
	require.NoError(t, err)
	options.Credentials = imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey}
	options.Bucket = "elsewhere"
	noBucket, err := imagestore.OpenS3(options)
	require.NoError(t, err)

	all := func(t *testing.T, store *imagestore.S3, want string) {
		t.Helper()
		ctx := t.Context()
		errs := map[string]error{"ready": store.Ready(ctx)}
		_, errs["size"] = store.Size(ctx, id)
		_, errs["open"] = store.Open(ctx, id, 0, -1)
		_, errs["ids"] = store.IDs(ctx)
		_, errs["create"] = store.Create(ctx, otherID)
		_, errs["sweep"] = store.Sweep(ctx, nil)
		errs["delete"] = store.Delete(ctx, id)
		for doing, err := range errs {
			if doing == "size" && fault.Is(err, fault.NotFound) && want != "is it up, and can this machine reach it?" {
				continue // HEAD has no body: a 404 does not tell a missing bucket or user from a missing object
			}
			require.True(t, fault.Is(err, fault.Unavailable), "%s: %v", doing, err)
			require.ErrorContains(t, err, want, doing)
			require.ErrorContains(t, err, server.URL, doing)
			require.NotContains(t, err.Error(), "not the secret", doing)
			require.NotContains(t, err.Error(), s3test.SecretKey, doing)
			require.Equal(t, "The image store 'cold' cannot be used now. Please try again later.", fault.Public(err), "users read nothing of addresses")
		}
		require.Empty(t, filesOf(t, locks), "no lock stays")
	}
	t.Run("wrong secret", func(t *testing.T) { all(t, wrongSecret, "it refuses the credentials") })
	t.Run("unknown access key", func(t *testing.T) { all(t, wrongKey, "it refuses the credentials") })
	t.Run("no bucket", func(t *testing.T) { all(t, noBucket, "there is no such bucket") })
	got, err := imagestoretest.Get(t.Context(), good, id, 0, -1)
	require.NoError(t, err)
	require.Equal(t, "hello", string(got))
	t.Run("down", func(t *testing.T) {
		server.Stop()
		all(t, down, "is it up, and can this machine reach it?")
	})
}

func TestAStoreThatGoesDownInTheMiddleOfAnUploadIsTold(t *testing.T) {
	server := s3test.Start(t)
	bucket, locks := server.Bucket("images"), t.TempDir()
	store := bucketOn(t, server.URL, bucket, locks)
	u, err := store.Create(t.Context(), id)
	require.NoError(t, err)
	_, err = u.Write(imagestoretest.Noise(1, partBytes+1))
	require.NoError(t, err)
	server.Stop()
	var failed error
	for range 4 {
		if _, failed = u.Write(imagestoretest.Noise(2, partBytes)); failed != nil {
			break
		}
	}
	require.True(t, fault.Is(failed, fault.Unavailable), "%v", failed)
	require.Error(t, u.Commit(""), "nothing that is not whole is published")
	require.Error(t, u.Abort(), "what is there cannot be taken away now")
	server.Restart()
	_, err = imagestoretest.Sweep(t.Context(), store)
	require.NoError(t, err)
	ids, err := store.IDs(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids)
	require.NoError(t, imagestoretest.Put(t.Context(), store, id, []byte("again")), "the lock is free")
}

func TestImagesOfOtherInstallationsInTheBucketAreLeftAlone(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.Bucket("images")
	mine := bucketOn(t, server.URL, bucket, t.TempDir())
	other, err := imagestore.OpenS3(imagestore.S3Options{
		Name: "cold", Endpoint: server.URL, Bucket: bucket, Prefix: "cloud/oneother", Region: s3test.Region, PartBytes: partBytes,
		Credentials: imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey}, Locks: imagestore.FolderLocks(t.TempDir()),
	})
	require.NoError(t, err)
	require.NoError(t, imagestoretest.Put(t.Context(), other, id, []byte("theirs")))
	u, err := other.Create(t.Context(), otherID)
	require.NoError(t, err)
	_, err = u.Write(imagestoretest.Noise(1, partBytes))
	require.NoError(t, err)
	ids, err := mine.IDs(t.Context())
	require.NoError(t, err)
	require.Empty(t, ids)
	removed, err := imagestoretest.Sweep(t.Context(), mine)
	require.NoError(t, err)
	require.Zero(t, removed)
	require.NoError(t, u.Commit(""))
	require.NoError(t, u.Close())
}

// lost is a lock that somebody else has got meanwhile.
type lost struct{ imagestore.FolderLocks }

type lostLock struct{ imagestore.Lock }

func (l lost) Lock(ctx context.Context, name string) (imagestore.Lock, error) {
	lock, err := l.FolderLocks.Lock(ctx, name)
	return lostLock{lock}, err
}

func (lostLock) Held(context.Context) error {
	return fault.New(fault.Unavailable, "The lock was lost.")
}

func TestAnUploadThatLostItsLockPublishesNothing(t *testing.T) {
	server := s3test.Start(t)
	bucket := server.Bucket("images")
	store, err := imagestore.OpenS3(imagestore.S3Options{
		Name: "cold", Endpoint: server.URL, Bucket: bucket, Region: s3test.Region, PartBytes: partBytes,
		Credentials: imagestore.Credentials{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey},
		Locks:       lost{imagestore.FolderLocks(t.TempDir())},
	})
	require.NoError(t, err)
	for _, size := range []int{100, 2*partBytes + 1} {
		u, err := store.Create(t.Context(), id)
		require.NoError(t, err)
		_, err = u.Write(imagestoretest.Noise(1, size))
		require.NoError(t, err)
		require.True(t, fault.Is(u.Commit(""), fault.Unavailable))
		require.NoError(t, u.Close())
		ids, err := store.IDs(t.Context())
		require.NoError(t, err)
		require.Empty(t, ids)
	}
}

// A process is killed before each request of an upload and after each one's effect, until one upload lives.
func TestAnUploadKilledAtAnyRequestLeavesNothingAfterTheSweep(t *testing.T) {
	data := imagestoretest.Noise(1, 2*partBytes+1000)
	if address := os.Getenv("IMAGESTORE_S3"); address != "" {
		c := newCable(t, address)
		at := func(when string) func(int64, *http.Request) {
			return func(n int64, _ *http.Request) {
				if fmt.Sprint(when, " ", n) == os.Getenv("IMAGESTORE_STEP") {
					killed()
				}
			}
		}
		c.before, c.after = at("before"), at("after")
		store := bucketOn(t, c.URL, "images", os.Getenv("IMAGESTORE_LOCKS"))
		require.NoError(t, imagestoretest.Put(t.Context(), store, id, data))
		fmt.Printf("requests: %d\n", c.requests.Load())
		killed()
	}
	server, locks := s3test.Start(t), t.TempDir()
	bucket := server.Bucket("images")
	store := bucketOn(t, server.URL, bucket, locks)
	require.NoError(t, imagestoretest.Put(t.Context(), store, otherID, data))
	before := stored(t, server, bucket)
	published := 0
	const requests = 7 // look at the mark, list, begin, three parts, complete
	for n := 1; n <= requests; n++ {
		for _, when := range []string{"before", "after"} {
			child(t, "IMAGESTORE_S3="+server.URL, "IMAGESTORE_LOCKS="+locks, fmt.Sprintf("IMAGESTORE_STEP=%s %d", when, n))
			_, err := imagestoretest.Sweep(t.Context(), store)
			require.NoError(t, err)
			got, err := imagestoretest.Get(t.Context(), store, id, 0, -1)
			if err == nil {
				published++
				require.Equal(t, fmt.Sprint("after ", requests), fmt.Sprint(when, " ", n), "only the last request publishes")
				require.True(t, bytes.Equal(data, got))
				hold, err := store.Hold(t.Context(), id)
				require.NoError(t, err, "the lock of a dead process is free")
				require.NoError(t, hold.Abort())
			} else {
				require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			}
			require.ElementsMatch(t, before, stored(t, server, bucket), "%s %d", when, n)
		}
	}
	require.Equal(t, 1, published)
	got, err := imagestoretest.Get(t.Context(), store, otherID, 0, -1)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
}

func TestWhatAnObjectStoreNeedsIsToldBeforeItIsUsed(t *testing.T) {
	good := imagestore.S3Options{Name: "cold", Endpoint: "https://s3.example.org", Bucket: "b", Credentials: imagestore.Credentials{AccessKey: "a", SecretKey: "hunter2"}}
	_, err := imagestore.OpenS3(good)
	require.NoError(t, err)
	for want, change := range map[string]func(*imagestore.S3Options){
		"not the address of an S3 endpoint": func(o *imagestore.S3Options) { o.Endpoint = "s3.example.org" },
		"a bucket is needed":                func(o *imagestore.S3Options) { o.Bucket = "" },
		"has no credentials: add a line":    func(o *imagestore.S3Options) { o.Credentials.SecretKey = "" },
		"are too small":                     func(o *imagestore.S3Options) { o.PartBytes = 1 << 20 },
	} {
		o := good
		change(&o)
		_, err := imagestore.OpenS3(o)
		require.ErrorContains(t, err, want)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		require.NotContains(t, fmt.Sprintf(format, good), "hunter2", format)
	}
}

func TestALivingUploadThatStandsStillIsNotSwept(t *testing.T) {
	server := s3test.Start(t)
	bucket, locks := server.Bucket("images"), t.TempDir()
	c := newCable(t, server.URL)
	standing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.before = func(_ int64, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "partNumber=2") {
			once.Do(func() { close(standing) })
			<-goOn
		}
	}
	data := imagestoretest.Noise(1, 3*partBytes)
	done := make(chan error, 1)
	store := bucketOn(t, c.URL, bucket, locks)
	go func() { done <- imagestoretest.Put(t.Context(), store, id, data) }()
	select {
	case <-standing:
	case err := <-done:
		t.Fatalf("it did not stand still: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the upload did not come so far")
	}
	removed, err := imagestoretest.Sweep(t.Context(), bucketOn(t, server.URL, bucket, locks))
	require.NoError(t, err)
	require.Zero(t, removed)
	close(goOn)
	require.NoError(t, <-done)
	got, err := imagestoretest.Get(t.Context(), store, id, 0, -1)
	require.NoError(t, err)
	require.True(t, bytes.Equal(data, got))
}
