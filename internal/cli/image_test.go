package cli

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func sha(b []byte) string { s := sha512.Sum512(b); return hex.EncodeToString(s[:]) }

func imageFile(t *testing.T) (name string, content []byte) {
	content = append([]byte("QFI\xfb\x00\x00\x00\x03"), bytes.Repeat([]byte("disk"), 49_998)...)
	name = filepath.Join(t.TempDir(), "disk.qcow2")
	require.NoError(t, os.WriteFile(name, content, 0o600))
	return name, content
}

func stored(content []byte, size int) string {
	return fmt.Sprintf(`{"id":"im-1","name":"debian","status":"active","disk_format":"qcow2","size":%d,"os_hash_algo":"sha512","os_hash_value":"%s","checksum":"x","tags":[],"os_distro":"debian","self":"/v2/images/im-1"}`, size, sha(content))
}

func TestAnUploadIsVerifiedAndShown(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	a.json("PUT /image/v2/images/im-1/file", 204, "")
	a.json("GET /image/v2/images/im-1", 200, stored(content, len(content)))
	got := run(t, "image", "create", "debian", "--file", file, "--property", "os_distro=debian", "--min-disk", "2", "--visibility", "public", "--tag", "lts", "--id", "im-1")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"name":"debian","disk_format":"qcow2","container_format":"bare","os_distro":"debian","min_disk":2,"visibility":"public","tags":["lts"],"id":"im-1"}`,
		a.made("POST /image/v2/images")[0].body)
	put := a.made("PUT /image/v2/images/im-1/file")[0]
	require.Equal(t, string(content), put.body)
	require.Equal(t, "application/octet-stream", put.header.Get("Content-Type"))
	require.Equal(t, "disk format: qcow2, by the content of "+file+"\nuploaded debian: 195.3 KiB in 0 ms\n", got.err)
	require.Contains(t, got.out, "status       active\n")
	require.Contains(t, got.out, "properties   os_distro=debian\n")
}

func TestAnUploadThatFailsLeavesNoImage(t *testing.T) {
	file, content := imageFile(t)
	for _, tc := range []struct {
		name  string
		put   int
		image string
		code  int
		want  string
	}{
		{"refused", 413, "", show.ExitRefused, "cannot upload the image \"debian\"\n  The image is too large (HTTP 413"},
		{"short", 204, stored(content, 17), show.ExitFailed, "the image \"debian\" did not arrive whole\n  it has 200000 bytes, the API says 17"},
		{"changed", 204, stored([]byte("other"), len(content)), show.ExitFailed, "the image \"debian\" did not arrive whole\n  its SHA512 is " + sha(content)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
			a.json("PUT /image/v2/images/im-1/file", tc.put, `{"message":"The image is too large<br /><br />\n\n\n","code":"413 x"}`)
			a.json("GET /image/v2/images/im-1", 200, tc.image)
			a.json("DELETE /image/v2/images/im-1", 204, "")
			got := run(t, "image", "create", "debian", "--file", file)
			require.Equal(t, tc.code, got.code, got.err)
			require.Contains(t, got.err, tc.want)
			require.Len(t, a.made("DELETE /image/v2/images/im-1"), 1)
		})
	}
}

func TestAnUploadWhoseTokenExpiredIsSentAgainFromItsStart(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	puts := 0
	a.mux.HandleFunc("PUT /image/v2/images/im-1/file", func(w http.ResponseWriter, _ *http.Request) {
		if puts++; puts == 1 {
			reply(w, 401, `{"error":{"code":401,"message":"The token has expired."}}`)
			return
		}
		w.WriteHeader(204)
	})
	a.json("GET /image/v2/images/im-1", 200, stored(content, len(content)))
	got := run(t, "image", "create", "debian", "--file", file)
	require.Equal(t, 0, got.code, got.err)
	sent := a.made("PUT /image/v2/images/im-1/file")
	require.Len(t, sent, 2)
	require.Equal(t, string(content), sent[1].body)
}

func TestAnUploadIsAnnouncedAndRefusedBeforeItIsSent(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	var length int64
	a.mux.HandleFunc("PUT /image/v2/images/im-1/file", func(w http.ResponseWriter, r *http.Request) {
		length = r.ContentLength
		w.WriteHeader(204)
	})
	a.json("GET /image/v2/images/im-1", 200, stored(content, len(content)))
	require.Equal(t, 0, run(t, "image", "create", "debian", "--file", file, "--store", "fast").code)
	require.EqualValues(t, len(content), length)
	sent := a.made("PUT /image/v2/images/im-1/file")[0].header
	require.Equal(t, "fast", sent.Get("X-Image-Meta-Store"))
	require.Equal(t, fmt.Sprint(len(content)), sent.Get("X-OpenStack-Image-Size"))
	require.Equal(t, "100-continue", sent.Get("Expect"))
}

func TestStandardInputIsUploadedUnderAFormatThatItShows(t *testing.T) {
	_, content := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	a.json("PUT /image/v2/images/im-1/file", 204, "")
	sum := md5.Sum(content)
	a.json("GET /image/v2/images/im-1", 200, fmt.Sprintf(`{"id":"im-1","name":"debian","size":%d,"checksum":"%x"}`, len(content), sum))
	got := runWith(t, t.Context(), string(content), "image", "create", "debian", "--file", "-")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "qcow2", asJSON(t, a.made("POST /image/v2/images")[0].body)["disk_format"])
	require.Equal(t, string(content), a.made("PUT /image/v2/images/im-1/file")[0].body)
}

func TestAFileIsReadAgainForAnAPIThatKeepsOnlyAnMD5(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	a.json("PUT /image/v2/images/im-1/file", 204, "")
	a.json("GET /image/v2/images/im-1", 200, fmt.Sprintf(`{"id":"im-1","name":"debian","size":%d,"checksum":"%x"}`, len(content), md5.Sum(content)))
	require.Equal(t, 0, run(t, "image", "create", "debian", "--file", file).code)
}

func TestAFailedUploadKeepsTheImageOnlyWhenAskedTo(t *testing.T) {
	file, _ := imageFile(t)
	a := newAPI(t)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	a.json("PUT /image/v2/images/im-1/file", 503, `{"message":"no store"}`)
	a.sequence("GET /image/v2/images/im-1", `{"id":"im-1","status":"queued"}`, `{"id":"im-1","status":"saving"}`)
	a.json("PATCH /image/v2/images/im-1", 200, `{"id":"im-1"}`)
	a.json("DELETE /image/v2/images/im-1", 204, "")
	got := run(t, "image", "create", "debian", "--file", file, "--keep")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "the image im-1 was kept: slipway image upload im-1 --file F")
	got = run(t, "image", "create", "debian", "--file", file, "--keep")
	require.Contains(t, got.err, "the image im-1 was kept, its status is saving: slipway image show im-1")
	require.Empty(t, a.made("DELETE /image/v2/images/im-1"))

	got = run(t, "image", "create", "debian", "--file", file, "--protected")
	require.Contains(t, got.err, "the image im-1 was removed again")
	require.JSONEq(t, `[{"op":"replace","path":"/protected","value":false}]`, a.made("PATCH /image/v2/images/im-1")[0].body)
	require.Len(t, a.made("DELETE /image/v2/images/im-1"), 1)
}

func TestAnInterruptedUploadRemovesItsImage(t *testing.T) {
	file, _ := imageFile(t)
	a := newAPI(t)
	ctx, interrupt := context.WithCancel(t.Context())
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	a.mux.HandleFunc("PUT /image/v2/images/im-1/file", func(_ http.ResponseWriter, r *http.Request) {
		interrupt()
		<-r.Context().Done()
	})
	a.json("DELETE /image/v2/images/im-1", 204, "")
	got := runWith(t, ctx, "", "image", "create", "debian", "--file", file)
	require.Equal(t, show.ExitInterrupted, got.code, got.err)
	require.Contains(t, got.err, "Error: cannot upload the image \"debian\"\n  interrupted\n  → the image im-1 was removed again")
	require.Len(t, a.made("DELETE /image/v2/images/im-1"), 1)
}

func TestAnImageWhoseBytesHaveArrivedIsNotRemovedForWhatFailsAfterwards(t *testing.T) {
	file, _ := imageFile(t)
	for _, args := range [][]string{{}, {"--keep"}, {"--import"}, {"--import", "--wait"}} {
		a := newAPI(t)
		a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
		a.json("PUT /image/v2/images/im-1/file", 204, "")
		a.json("PUT /image/v2/images/im-1/stage", 204, "")
		a.json("GET /image/v2/images/im-1/tasks", 200, `{"tasks":[]}`)
		a.json("POST /image/v2/images/im-1/import", 202, "")
		a.json("GET /image/v2/images/im-1", 403, `{"message":"not now"}`)
		a.json("DELETE /image/v2/images/im-1", 204, "")
		got := run(t, append([]string{"image", "create", "debian", "--file", file}, args...)...)
		require.Equal(t, show.ExitRefused, got.code, got.err)
		require.Contains(t, got.err, "not now")
		require.Contains(t, got.err, "slipway image show im-1")
		require.NotContains(t, got.err, "slipway image upload")
		require.Empty(t, a.made("DELETE /image/v2/images/im-1"))
	}
}

// noticing tells of the read that will find nothing in a pipe.
type noticing struct {
	io.Reader
	reads  int // before that one
	silent func()
}

func (n *noticing) Read(p []byte) (int, error) {
	if n.reads == 0 {
		n.silent()
	}
	n.reads--
	return n.Reader.Read(p)
}

func TestAnInterruptEndsTheWaitForASilentPipe(t *testing.T) {
	for _, tc := range []struct {
		name, sent, format string
		made               int
	}{
		{"as its format is looked for", "QFI\xfb", "", 0},
		{"before its first byte", "", "raw", 1},
		{"in its middle", "some bytes", "raw", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
			a.json("PUT /image/v2/images/im-1/file", 400, `{"message":"bytes are missing"}`)
			a.json("DELETE /image/v2/images/im-1", 204, "")
			in, writer, err := os.Pipe()
			require.NoError(t, err)
			defer in.Close()
			defer writer.Close()
			_, err = writer.WriteString(tc.sent)
			require.NoError(t, err)
			ctx, interrupt := context.WithCancel(t.Context())
			root := &cobra.Command{Use: "slipway", SilenceErrors: true, SilenceUsage: true}
			root.AddCommand(newClient().commands()...)
			var errs bytes.Buffer
			root.SetErr(&errs)
			root.SetIn(&noticing{in, min(len(tc.sent), 1), interrupt})
			root.SetArgs([]string{"image", "create", "debian", "--file", "-", "--disk-format", tc.format})
			require.Equal(t, show.ExitInterrupted, Exit(&errs, root.ExecuteContext(ctx)), errs.String())
			require.Len(t, a.made("POST /image/v2/images"), tc.made)
			require.Len(t, a.made("DELETE /image/v2/images/im-1"), tc.made)
		})
	}
}

func TestTheOpeningOfAPipeThatNobodyWritesEndsWithItsContext(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := openWithin(ctx, fifo)
	require.ErrorIs(t, err, context.Canceled)
	writer, err := os.OpenFile(fifo, os.O_RDWR, 0) // lets the opening go
	require.NoError(t, err)
	require.NoError(t, writer.Close())
}

func TestAStreamGivesAgainWhatWasLookedAt(t *testing.T) {
	content := strings.Repeat("0123456789", 7_000)
	s := newStream(iotest.OneByteReader(strings.NewReader(content)))
	defer s.close()
	head, err := s.peek(t.Context(), 5)
	require.NoError(t, err)
	require.Equal(t, "01234", string(head))
	head, err = s.peek(t.Context(), len(content)+1)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, content, string(head))
	all, err := io.ReadAll(&outgoing{ctx: t.Context(), source: &source{stream: s}, transfer: &show.Transfer{}, sums: newChecksums("md5")})
	require.NoError(t, err)
	require.Equal(t, content, string(all))
}

func TestAnImageWhoseCreationWasNeverAnsweredIsRemovedByTheIdThatWasChosenForIt(t *testing.T) {
	a := newAPI(t)
	a.mux.HandleFunc("POST /image/v2/images", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	var removed string
	a.mux.HandleFunc("DELETE /image/v2/images/{id}", func(w http.ResponseWriter, r *http.Request) {
		removed = r.PathValue("id")
		w.WriteHeader(204)
	})
	file, _ := imageFile(t)
	got := run(t, "image", "create", "debian", "--file", file)
	require.Equal(t, show.ExitFailed, got.code)
	require.Equal(t, asJSON(t, a.made("POST /image/v2/images")[0].body)["id"], removed)
}

func TestAnIdThatIsTakenIsNotRemoved(t *testing.T) {
	a := newAPI(t)
	a.json("POST /image/v2/images", 409, `{"message":"Image ID im-1 already exists!"}`)
	got := run(t, "image", "create", "debian", "--id", "im-1")
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "already exists")
}

func TestWithoutAFileAnImageStaysQueued(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/auth/projects", 200, `{"projects":[{"id":"p-2","name":"other"}]}`)
	a.json("POST /image/v2/images", 201, `{"id":"im-1","name":"debian","status":"queued"}`)
	got := run(t, "image", "create", "debian", "--id", "im-1", "--disk-format", "aki", "--community", "--hidden", "--project", "other", "--os-distro", "debian", "--min-disk", "0")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"id":"im-1","name":"debian","disk_format":"aki","container_format":"aki","visibility":"community","os_hidden":true,"owner":"p-2","os_distro":"debian","min_disk":0}`,
		a.made("POST /image/v2/images")[0].body)
	require.Contains(t, got.err, "image debian is queued: slipway image upload im-1 --file F")
}

func TestWhatIsNoPropertyIsRefusedWithItsFlag(t *testing.T) {
	newAPI(t)
	for property, want := range map[string]string{
		"visibility=public": "visibility is a field of the image and no property: use --visibility",
		"size=4":            "size is set by the API alone", "os_glance_import_task=x": "os_glance_import_task is set by the API alone",
	} {
		got := run(t, "image", "create", "debian", "--property", property)
		require.Equal(t, show.ExitUsage, got.code)
		require.Contains(t, got.err, want)
	}
}

func TestAQueuedImageIsUploadedAndVerified(t *testing.T) {
	file, content := imageFile(t)
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian","status":"queued","disk_format":"qcow2","container_format":"bare"}]}`)
	a.json("PUT /image/v2/images/im-1/file", 204, "")
	a.sequence("GET /image/v2/images/im-1", stored(content, len(content)), stored([]byte("other"), len(content)))
	require.Equal(t, 0, run(t, "image", "upload", "debian", "--file", file).code)
	got := run(t, "image", "upload", "debian", "--file", file)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "did not arrive whole")
	require.Contains(t, got.err, "slipway image delete im-1")
}

func TestOnlyAQueuedImageWithFormatsTakesBytes(t *testing.T) {
	file, _ := imageFile(t)
	for image, want := range map[string]string{
		`{"id":"im-1","name":"debian","status":"active"}`: "takes no bytes",
		`{"id":"im-1","name":"debian","status":"queued"}`: "slipway image set im-1 --disk-format qcow2 --container-format bare",
	} {
		a := newAPI(t)
		a.json("GET /image/v2/images", 200, `{"images":[`+image+`]}`)
		for _, verb := range []string{"upload", "stage"} {
			got := run(t, "image", verb, "debian", "--file", file)
			require.Equal(t, show.ExitRefused, got.code)
			require.Contains(t, got.err, want)
		}
	}
}

func TestDiskFormatsAreGuessedFromTheFilesMarks(t *testing.T) {
	at := func(offset int, mark string) string {
		return strings.Repeat("\x00", offset) + mark + strings.Repeat("\x00", 600)
	}
	for _, tc := range []struct{ name, head, tail, want string }{
		{"qcow2", at(0, "QFI\xfb\x00\x00\x00\x02"), "", "qcow2"},
		{"sparse vmdk", at(0, "KDMV\x01"), "", "vmdk"},
		{"vmdk descriptor", "# Disk DescriptorFile\nversion=1", "", "vmdk"},
		{"vdi", at(0x40, "\x7f\x10\xda\xbe"), "", "vdi"},
		{"vhdx", at(0, "vhdxfile"), "", "vhdx"},
		{"dynamic vhd", at(0, "conectix"), "", "vhd"},
		{"fixed vhd", at(510, "\x55\xaa"), "conectix\x00", "vhd"},
		{"iso", at(0x8001, "CD001"), "", "iso"},
		{"kernel", at(0x202, "HdrS"), "", "aki"},
		{"arm kernel", at(0x38, "ARM\x64"), "", "aki"},
		{"cpio", "0707010000", "", "ari"},
		{"disk with a boot sector", at(510, "\x55\xaa"), "", "raw"},
		{"nothing known", "hello", "", "raw"},
		{"nothing", "", "", "raw"},
	} {
		got, err := guessFormat("f", []byte(tc.head), []byte(tc.tail))
		require.NoError(t, err, tc.name)
		require.Equal(t, tc.want, got, tc.name)
	}
	for _, head := range []string{"QED\x00", "\x1f\x8b\x08", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "BZh91AY&SY", "PK\x03\x04", "<!DOCTYPE html>", "QFI\xfb\x00\x00\x00\x01"} {
		_, err := guessFormat("f", []byte(head), nil)
		require.Error(t, err, "%q", head)
		require.Contains(t, err.Error(), "f is ")
	}
}
