package cli

import (
	"bytes"
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func sha(b []byte) string { s := sha512.Sum512(b); return hex.EncodeToString(s[:]) }

func imageFile(t *testing.T) (name string, content []byte) {
	content = bytes.Repeat([]byte("disk"), 50_000)
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
	a.json("POST /image/v2/images", 201, `{"id":"im-1","status":"queued"}`)
	a.json("PUT /image/v2/images/im-1/file", 204, "")
	a.json("GET /image/v2/images/im-1", 200, stored(content, len(content)))
	got := run(t, "image", "create", "debian", "--file", file, "--property", "os_distro=debian", "--min-disk", "2", "--visibility", "public", "--tag", "lts", "--id", "im-1")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"name":"debian","disk_format":"qcow2","container_format":"bare","os_distro":"debian","min_disk":2,"visibility":"public","tags":["lts"],"id":"im-1"}`,
		a.made("POST /image/v2/images")[0].body)
	put := a.made("PUT /image/v2/images/im-1/file")[0]
	require.Equal(t, string(content), put.body)
	require.Equal(t, "application/octet-stream", put.header.Get("Content-Type"))
	require.Equal(t, "uploaded debian: 195.3 KiB in 0 ms\n", got.err)
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
		{"refused", 413, "", ExitRefused, "cannot upload the image \"debian\"\n  The image is too large (HTTP 413"},
		{"short", 204, stored(content, 17), ExitFailed, "the image \"debian\" did not arrive whole\n  it has 200000 bytes, the API says 17"},
		{"changed", 204, stored([]byte("other"), len(content)), ExitFailed, "the image \"debian\" did not arrive whole\n  its SHA-512 is " + sha(content)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := newAPI(t)
			a.json("POST /image/v2/images", 201, `{"id":"im-1","status":"queued"}`)
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
	a.json("POST /image/v2/images", 201, `{"id":"im-1","status":"queued"}`)
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
	require.Equal(t, ExitFailed, got.code)
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
	sums := newChecksums()
	sums.write([]byte("abc"))
	md := md5.Sum([]byte("abc"))
	require.NoError(t, sums.compare(object{"checksum": hex.EncodeToString(md[:])}, 3))
	require.Error(t, sums.compare(object{"checksum": "00"}, 3))
	require.ErrorIs(t, sums.compare(object{}, 3), errNoChecksum)
}
