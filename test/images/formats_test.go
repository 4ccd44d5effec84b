package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/imagestore"
)

// declarations are the disk formats that an image can be declared to be: raw, those that QEMU opens, and then those that are
// plain bytes too.
var declarations = []string{"raw", "qcow2", "vmdk", "vdi", "vhd", "vhdx", "iso", "ami", "aki", "ari"}

const opened = 6

// hostileImage is one of internal/imageformat's table.
type hostileImage struct {
	Name, File, Declared string
	Taken                []string // declarations under which it is harmless: a damaged header that nobody reads as one
}

func hostileImages(t *testing.T) (dir string, all []hostileImage) {
	t.Helper()
	dir = t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "test", "-vet=off", "-count=1", "github.com/slipway-cloud/slipway/internal/imageformat")
	cmd.Env = append(os.Environ(), "SLIPWAY_HOSTILE_IMAGES="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(filepath.Join(dir, "index.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &all))
	return dir, all
}

// send uploads the bytes under a declaration and answers the status. An image that was taken is deleted again.
func (s *site) send(t *testing.T, to *string, declared string, data []byte) int {
	if *to == "" {
		*to = s.queued(t, declared)
	}
	a := s.do(t, "PUT", "/images/"+*to+"/file", data)
	if a.status == 204 {
		got := s.do(t, "GET", "/images/"+*to+"/file", nil)
		require.Equal(t, data, got.body, "what is taken is what was sent")
		require.Equal(t, 204, s.do(t, "DELETE", "/images/"+*to, nil).status)
		*to = ""
	}
	return a.status
}

// Every hostile image is sent under its own declaration, as plain bytes, as each format that QEMU would open, and as one of
// the other plain ones in turn. None is taken as what it is declared to be; the few that are harmless as plain bytes, or are
// only declared wrongly, are taken as what they are.
func TestNoHostileImageIsTakenByAnAPI(t *testing.T) {
	t.Parallel()
	dir, table := hostileImages(t)
	require.Greater(t, len(table), 90)
	s := newSite(t, nil, imagestore.Settings{})
	s.peakFromHere(t)
	resident := s.memory(t, "VmRSS")
	sends := make(chan func(queued map[string]*string))
	var workers sync.WaitGroup
	for range 4 {
		queued := map[string]*string{}
		for _, d := range declarations {
			queued[d] = new(string)
		}
		workers.Go(func() {
			for send := range sends {
				send(queued)
			}
		})
	}
	for n, c := range table {
		data, err := os.ReadFile(filepath.Join(dir, c.File))
		require.NoError(t, err)
		if !slices.Contains(declarations, c.Declared) {
			a := s.do(t, "POST", "/images", object{"disk_format": c.Declared, "container_format": "bare"})
			require.Equal(t, 400, a.status, c.Name)
		}
		require.NotContains(t, c.Taken, c.Declared, c.Name)
		for k, declared := range declarations {
			if k >= opened && k != opened+n%(len(declarations)-opened) && declared != c.Declared {
				continue
			}
			want := 400
			if slices.Contains(c.Taken, declared) {
				want = 204
			}
			sends <- func(queued map[string]*string) {
				if got := s.send(t, queued[declared], declared, data); got != want {
					t.Errorf("%s as %s: %d and not %d", c.Name, declared, got, want)
				}
			}
		}
	}
	close(sends)
	workers.Wait()
	require.Less(t, s.memory(t, "VmHWM")-resident, int64(96<<20))
	for _, i := range s.settled(t) {
		require.Nil(t, i.SizeBytes, "image %s", i.ID)
	}
	require.NotContains(t, s.Log("api"), "panic")
}

// watch tells of everybody who opens or reads a file.
func watch(t *testing.T, path string) (touched func() int) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_OPEN|unix.IN_ACCESS)
	require.NoError(t, err)
	return func() int {
		total := 0
		buffer := make([]byte, 4096)
		for {
			n, err := unix.Read(fd, buffer)
			if errors.Is(err, unix.EAGAIN) {
				return total
			}
			require.NoError(t, err)
			total += n / unix.SizeofInotifyEvent
		}
	}
}

// Images that name a file of the machine, made by qemu-img and by hand, are sent under every declaration, and requests name it
// wherever there is room. Nobody opens the file: not the API, nor a program that it starts.
func TestNoImageMakesTheMachinesFilesRead(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "secret")
	scratch := t.TempDir()
	made := map[string][]byte{}
	qemu := func(name string, args ...string) {
		path := filepath.Join(scratch, "image")
		require.NoError(t, os.RemoveAll(path))
		out, err := exec.CommandContext(t.Context(), "qemu-img", append(append([]string{"create", "-q"}, args...), path, "1M")...).CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		made[name] = data
	}
	qemu("qcow2, backing file", "-f", "qcow2", "-u", "-F", "raw", "-b", secret)
	qemu("qcow2 of version 2, backing file", "-f", "qcow2", "-o", "compat=0.10", "-u", "-F", "raw", "-b", secret)
	qemu("qcow2, backing file as JSON", "-f", "qcow2", "-u", "-F", "raw", "-b", `json:{"driver":"raw","file":{"driver":"file","filename":"`+secret+`"}}`)
	qemu("qcow2, backing file as URI", "-f", "qcow2", "-u", "-F", "raw", "-b", "file:"+secret)
	qemu("qcow2, data file", "-f", "qcow2", "-o", "data_file="+secret)
	require.NoError(t, os.Remove(secret))
	qemu("qcow2, raw data file", "-f", "qcow2", "-o", "data_file="+secret+",data_file_raw=on")
	qemu("qcow, backing file", "-f", "qcow", "-u", "-F", "raw", "-b", secret)
	qemu("qed, backing file", "-f", "qed", "-u", "-F", "raw", "-b", secret)
	require.NoError(t, os.Remove(secret))
	out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "vmdk", secret, "1M").CombinedOutput()
	require.NoError(t, err, string(out))
	qemu("vmdk, backing file", "-f", "vmdk", "-F", "vmdk", "-b", secret)
	for _, kind := range []string{"monolithicFlat", "twoGbMaxExtentFlat", "vmfs", "fullDevice"} {
		extent := "FLAT"
		if kind == "vmfs" {
			extent = "VMFS"
		}
		made["vmdk descriptor, "+kind] = fmt.Appendf(nil, "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"%s\"\nRW 8 %s \"%s\" 0\n", kind, extent, secret)
	}
	both := slices.Clone(made["qcow2, backing file"])
	both = append(both, make([]byte, max(0, 0x9000-len(both)))...)
	copy(both[0x8001:], "CD001\x01")
	made["a disc and a qcow2, backing file"] = both
	made["text"] = []byte(`json:{"driver":"raw","file":{"driver":"file","filename":"` + secret + `"}}`)
	made["a path"] = []byte(secret)

	require.NoError(t, os.WriteFile(secret, []byte(strings.Repeat("secret ", 1000)), 0o644))
	s := newSite(t, nil, imagestore.Settings{})
	touched := watch(t, secret)
	harmless := []string{"text", "a path"} // as plain bytes
	for name, data := range made {
		for _, declared := range declarations {
			var id string
			got := s.send(t, &id, declared, data)
			if !slices.Contains(harmless, name) || !slices.Contains([]string{"raw", "ami", "aki", "ari"}, declared) {
				require.Equal(t, 400, got, "%s as %s", name, declared)
			}
		}
	}
	for _, where := range []string{secret, "file://" + secret, "file:" + secret, "../../../../../../../../.." + secret} {
		for _, body := range []object{
			{"locations": []object{{"url": where, "metadata": object{}}}}, {"direct_url": where}, {"file": where}, {"self": where}, {"stores": where},
			{"backing_file": where}, {"kernel_id": where}, {"img_signature_certificate_uuid": where}, {"name": where},
		} {
			body["disk_format"], body["container_format"] = "raw", "bare"
			require.Less(t, s.do(t, "POST", "/images", body).status, 500)
		}
		for _, header := range []string{"X-Image-Meta-Location", "X-Image-Meta-Copy-From", "X-Image-Meta-Store", "X-Glance-Location", "Content-Location"} {
			upload := s.queued(t, "raw")
			a := s.do(t, "PUT", "/images/"+upload+"/file", []byte("bytes"), header, where)
			require.Less(t, a.status, 500)
			require.NotContains(t, string(s.do(t, "GET", "/images/"+upload+"/file", nil).body), "secret")
		}
	}
	s.settled(t)
	require.Zero(t, touched(), "somebody opened the machine's file")
	_, err = os.ReadFile(secret)
	require.NoError(t, err)
	require.NotZero(t, touched(), "the watch sees it when somebody does")
}
