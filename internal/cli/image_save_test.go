package cli

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestASavedImageAppearsOnlyWhenItsChecksumHolds(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	image := stored(content, len(content))
	a.json("GET /image/v2/images", 200, `{"images":[`+image+`]}`)
	bytesNow := content
	a.mux.HandleFunc("GET /image/v2/images/im-1/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytesNow) })
	dir := t.TempDir()
	target := filepath.Join(dir, "out.qcow2")

	bytesNow = append(bytes.Clone(content[:len(content)-1]), 'X')
	got := run(t, "image", "save", "debian", "--file", target)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "did not arrive whole")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	bytesNow = content
	got = run(t, "image", "save", "debian", "--file", target)
	require.Equal(t, 0, got.code, got.err)
	saved, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, content, saved)
	require.Equal(t, string(content), run(t, "image", "save", "debian", "--file", "-").out)
}

func TestAnImageWithOnlyAnMD5IsVerifiedByIt(t *testing.T) {
	sums := newChecksums("sha512", "md5")
	sums.write([]byte("abc"))
	md := md5.Sum([]byte("abc"))
	require.NoError(t, sums.compare(show.Object{"checksum": hex.EncodeToString(md[:])}, 3))
	require.Error(t, sums.compare(show.Object{"checksum": "00"}, 3))
	require.ErrorIs(t, sums.compare(show.Object{}, 3), errNoChecksum)
}

// cutting serves an image over connections that break off: each gives at most the next of these numbers of bytes, and the
// last one the rest. It knows ranges if ranges is set.
func (a *api) cutting(content []byte, ranges bool, after ...int) {
	n := 0
	a.mux.HandleFunc("GET /image/v2/images/im-1/file", func(w http.ResponseWriter, r *http.Request) {
		from, limit := 0, len(content)
		if n < len(after) {
			limit = after[n]
		}
		n++
		status := http.StatusOK
		if spec := r.Header.Get("Range"); ranges && spec != "" && r.Header.Get("If-Range") == `"tag"` {
			_, _ = fmt.Sscanf(spec, "bytes=%d-", &from)
			status = http.StatusPartialContent
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		}
		w.Header().Set("ETag", `"tag"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
		w.WriteHeader(status)
		_, _ = w.Write(content[from:min(len(content), from+limit)])
		if from+limit < len(content) {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
}

func TestADownloadThatIsCutOffGoesOnWhereItBrokeOff(t *testing.T) {
	_, content := imageFile(t)
	for _, tc := range []struct {
		name   string
		ranges bool
		asked  []string
	}{
		{"in ranges", true, []string{"", "bytes=1000-", "bytes=71000-", "bytes=71000-"}},
		{"from its start, where the API has no ranges", false, []string{"", "bytes=1000-", "bytes=70000-", "bytes=70000-"}},
	} {
		for _, file := range []string{filepath.Join(t.TempDir(), "out"), "-"} {
			t.Run(tc.name+" to "+filepath.Base(file), func(t *testing.T) {
				a := newAPI(t)
				a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
				a.cutting(content, tc.ranges, 1000, 70000, 0)
				got := run(t, "image", "save", "debian", "--file", file)
				require.Equal(t, 0, got.code, got.err)
				saved := []byte(got.out)
				if file != "-" {
					var err error
					saved, err = os.ReadFile(file)
					require.NoError(t, err)
				}
				require.True(t, bytes.Equal(content, saved))
				var asked []string
				for _, c := range a.made("GET /image/v2/images/im-1/file") {
					asked = append(asked, c.header.Get("Range"))
				}
				require.Equal(t, tc.asked, asked)
				require.Contains(t, got.err, "cut off after 1000 B (unexpected EOF): goes on from there\n")
				require.Contains(t, got.err, "saved debian: 195.3 KiB")
			})
		}
	}
}

func TestADownloadThatBringsNothingAnyMoreIsGivenUp(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	a.cutting(content, true, 1000, 0, 0, 0, 0, 0)
	dir := t.TempDir()
	got := run(t, "image", "save", "debian", "--file", filepath.Join(dir, "out"))
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "cannot download the image \"debian\"\n  unexpected EOF")
	require.Len(t, a.made("GET /image/v2/images/im-1/file"), 1+fruitlessTries)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestARefusedDownloadIsNotTriedAgain(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(nil, 0)+`]}`)
	a.json("GET /image/v2/images/im-1/file", 403, `{"message":"The requested image has been deactivated."}`)
	got := run(t, "image", "save", "debian", "--file", "-")
	require.Equal(t, show.ExitRefused, got.code)
	require.Len(t, a.made("GET /image/v2/images/im-1/file"), 1)
}

func TestBytesOfAnotherRangeAreNotTaken(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	a.mux.HandleFunc("GET /image/v2/images/im-1/file", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		if r.Header.Get("Range") != "" {
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content[:1000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	got := run(t, "image", "save", "debian", "--file", "-")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, `the range "5-9/10" instead of the one from 1000`)
}

func TestWhatGoesToStandardOutputIsVerifiedAtItsEnd(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored([]byte("other"), len(content))+`]}`)
	a.cutting(content, true)
	got := run(t, "image", "save", "debian", "--file", "-")
	require.Equal(t, show.ExitFailed, got.code)
	require.Equal(t, string(content), got.out)
	require.Contains(t, got.err, "did not arrive whole")
}

func TestAnImageWithoutBytesIsNotSaved(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian","status":"queued"}]}`)
	a.json("GET /image/v2/images/im-1/file", 204, "")
	got := run(t, "image", "save", "debian", "--file", filepath.Join(t.TempDir(), "out"))
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "the image \"debian\" has no bytes\n  its status is queued")
}

func TestAPipeAndADeviceAreWrittenAsTheBytesComeAndStay(t *testing.T) {
	content := bytes.Repeat([]byte("image "), 1<<18) // more than a pipe holds
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	bytesNow := content
	a.mux.HandleFunc("GET /image/v2/images/im-1/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytesNow) })
	got := run(t, "image", "save", "debian", "--file", "/dev/null")
	require.Equal(t, 0, got.code, got.err)

	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(pipe, link))
	read := make(chan []byte, 1)
	reader := func() {
		came, err := os.ReadFile(pipe)
		if err != nil {
			t.Error(err)
		}
		read <- came
	}
	go reader()
	got = run(t, "image", "save", "debian", "--file", link)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, content, <-read)

	bytesNow = append(bytes.Clone(content[:len(content)-1]), 'X')
	go reader()
	got = run(t, "image", "save", "debian", "--file", pipe)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "do not use what was written")
	<-read
	info, err := os.Stat(pipe)
	require.NoError(t, err)
	require.Equal(t, os.ModeNamedPipe, info.Mode().Type(), "it is still there")
	left, err := os.ReadDir(filepath.Dir(pipe))
	require.NoError(t, err)
	require.Len(t, left, 1)

	go func() { // a reader that goes away
		f, err := os.Open(pipe)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Error(err)
		}
		read <- nil
	}()
	bytesNow = content
	got = run(t, "image", "save", "debian", "--file", pipe)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "broken pipe")
	<-read

	got = run(t, "image", "save", "debian", "--file", t.TempDir())
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "is a folder: name a file in it")
}

func TestAPipeThatNobodyReadsIsGivenUpWithTheProgram(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- runWith(t, ctx, "", "image", "save", "debian", "--file", pipe) }()
	require.Eventually(t, func() bool { return len(a.made("GET /image/v2/images")) > 0 }, time.Minute, time.Millisecond)
	cancel()
	require.Equal(t, show.ExitInterrupted, (<-done).code)
	f, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0) // lets the open go that waits in the test's own process
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func TestStandardOutputIsWrittenByAnyOfItsNames(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	a.mux.HandleFunc("GET /image/v2/images/im-1/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) })
	name := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.WriteFile(name, []byte("before "), 0o600))
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	defer out.Close()
	cmd := &cobra.Command{Use: "slipway", SilenceErrors: true, SilenceUsage: true}
	cmd.AddCommand(newClient().commands()...)
	cmd.SetOut(out)
	cmd.SetErr(out)
	cmd.SetArgs([]string{"image", "save", "debian", "--progress", "--file", fmt.Sprintf("/proc/self/fd/%d", out.Fd())})
	require.NoError(t, cmd.ExecuteContext(t.Context()))
	saved, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, "before "+string(content), string(saved), "added to what is there, and no word among the bytes")
}

func TestAFileThatIsReplacedKeepsItsMode(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	a.cutting(content, true)
	for _, mode := range []os.FileMode{0o600, 0o666, 0o440} {
		target := filepath.Join(t.TempDir(), "out")
		require.NoError(t, os.WriteFile(target, []byte("before"), 0o600))
		require.NoError(t, os.Chmod(target, mode))
		got := run(t, "image", "save", "debian", "--file", target)
		require.Equal(t, 0, got.code, got.err)
		info, err := os.Stat(target)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode())
		require.EqualValues(t, len(content), info.Size())
	}
}

func TestALinkThatLeadsNowhereIsNotReplaced(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(nil, 0)+`]}`)
	link := filepath.Join(t.TempDir(), "out")
	require.NoError(t, os.Symlink("nowhere", link))
	got := run(t, "image", "save", "debian", "--file", link)
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "is a symbolic link that leads nowhere")
}

func TestAConnectionThatBringsNothingCountsAsCut(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+stored(content, len(content))+`]}`)
	tries := 0
	a.mux.HandleFunc("GET /image/v2/images/im-1/file", func(w http.ResponseWriter, r *http.Request) {
		if tries++; tries > 1 {
			_, _ = w.Write(content)
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		_, _ = w.Write(content[:1000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	c := newClient()
	c.stall = time.Second
	got := runClient(t, t.Context(), c, "", "image", "save", "debian", "--file", "-")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, string(content), got.out)
	require.Contains(t, got.err, "(nothing came for too long): goes on from there")
}
