// Package imports brings images in through the running system, whose processes are killed and whose web server misbehaves
// meanwhile: an import ends as its task says, and leaves nothing behind.
package imports

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imageimport"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/imagestore/imagestoretest"
	service "github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

const patience = time.Minute

// rig is a system with two stores, and a web server that images come from.
type rig struct {
	*system.System
	demo, admin *gophercloud.ServiceClient
	web         string // its address
	stores      *imagestore.Stores
	service     *service.Service

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // of the web server, by path
}

func newRig(t *testing.T) *rig {
	r := &rig{answers: map[string]http.HandlerFunc{}}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		answer := r.answers[req.URL.Path]
		r.mu.Unlock()
		if answer == nil {
			http.NotFound(w, req)
			return
		}
		answer(w, req)
	}))
	t.Cleanup(web.Close)
	r.web = web.URL
	dir := t.TempDir()
	stores := fmt.Sprintf("hot=file:%s,cold=file:%s", filepath.Join(dir, "hot"), filepath.Join(dir, "cold"))
	r.System = system.Start(t, system.Options{Hypervisor: "fake", Faults: true, Settings: map[string]any{
		"images": map[string]any{
			"stores": stores, "web_download_hosts": "127.0.0.1", "web_download_networks": "127.0.0.0/8", "import_patience": "20s",
			"web_download_ports": strconv.Itoa(web.Listener.Addr().(*net.TCPAddr).Port), "max_bytes": 64 << 20,
		},
		"build": map[string]any{"undo_patience": "1s"},
	}})
	r.demo, r.admin = system.Image(t, r.Demo()), system.Image(t, r.System.Admin())
	var err error
	r.stores, err = imagestore.OpenStores(imagestore.Settings{Stores: stores, Locks: imagestore.FolderLocks(dir)})
	require.NoError(t, err)
	r.service = service.New(r.Store, r.stores, service.Config{}, slog.New(slog.DiscardHandler))
	return r
}

// serve answers a path of the web server, and gives its URI.
func (r *rig) serve(path string, answer http.HandlerFunc) (uri string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers[path] = answer
	return r.web + path
}

// data is a raw image of some MiB.
func data(mib int) []byte {
	b := make([]byte, mib<<20)
	_, _ = rand.NewChaCha8([32]byte{byte(mib)}).Read(b)
	b[0], b[1] = 0, 0 // nobody's format
	return b
}

func (r *rig) create(t *testing.T) string {
	t.Helper()
	image, err := images.Create(t.Context(), r.demo, images.CreateOpts{Name: "im", DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	require.NoError(t, err)
	return image.ID
}

// ask asks for an import and gives the status of the answer.
func (r *rig) ask(t *testing.T, as *gophercloud.ServiceClient, id string, body any) (status int, text string) {
	t.Helper()
	answer, err := as.Post(t.Context(), as.ServiceURL("images", id, "import"), body, nil, &gophercloud.RequestOpts{
		OkCodes: []int{202, 400, 403, 404, 409}, KeepResponseBody: true,
	})
	require.NoError(t, err)
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(said)
}

func method(name, uri string) map[string]any {
	m := map[string]any{"name": name}
	if uri != "" {
		m["uri"] = uri
	}
	return map[string]any{"method": m}
}

func with(body map[string]any, more ...any) map[string]any {
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return body
}

func (r *rig) accepted(t *testing.T, as *gophercloud.ServiceClient, id string, body any) {
	t.Helper()
	status, text := r.ask(t, as, id, body)
	require.Equal(t, http.StatusAccepted, status, text)
	require.Empty(t, text)
}

// task waits until the newest task of an image has ended.
func (r *rig) task(t *testing.T, id, status string) map[string]any {
	t.Helper()
	var last map[string]any
	system.Eventually(t, patience, func() (bool, string) {
		var body struct{ Tasks []map[string]any }
		_, err := r.demo.Get(t.Context(), r.demo.ServiceURL("images", id, "tasks"), &body, nil)
		if err != nil || len(body.Tasks) == 0 {
			return false, fmt.Sprint("no task: ", err)
		}
		last = body.Tasks[len(body.Tasks)-1]
		return last["status"] != "processing", fmt.Sprint(last)
	})
	require.Equal(t, status, last["status"], "%v", last)
	require.NotNil(t, last["expires_at"])
	return last
}

func (r *rig) image(t *testing.T, id string) *images.Image {
	t.Helper()
	image, err := images.Get(t.Context(), r.demo, id).Extract()
	require.NoError(t, err)
	return image
}

// lies waits until the workflow has ended, and requires that the stores have the image as said and nothing else of it.
func (r *rig) lies(t *testing.T, id string, want []byte, in ...string) {
	t.Helper()
	run := r.Temporal().GetWorkflow(t.Context(), ids.ImageWorkflow(id), "")
	_ = run.Get(t.Context(), nil)
	settled, err := r.service.Settle(t.Context())
	require.NoError(t, err)
	require.Zero(t, settled, "nothing was left to settle")
	for _, name := range r.stores.Names() {
		store, err := r.stores.Store(name)
		require.NoError(t, err)
		ids, err := store.IDs(t.Context())
		require.NoError(t, err)
		ids = slices.DeleteFunc(ids, func(s string) bool { return !strings.HasPrefix(s, id) })
		if !slices.Contains(in, name) {
			require.Empty(t, ids, "in store %s", name)
			continue
		}
		require.Equal(t, []string{id}, ids, "in store %s", name)
		body, err := store.Open(t.Context(), id, 0, -1)
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		require.NoError(t, body.Close())
		require.True(t, bytes.Equal(want, got), "the bytes in store %s", name)
	}
}

// active requires what an image is that was imported.
func (r *rig) active(t *testing.T, id string, want []byte, in ...string) {
	t.Helper()
	r.lies(t, id, want, in...)
	image := r.image(t, id)
	require.EqualValues(t, "active", image.Status)
	require.EqualValues(t, len(want), image.SizeBytes)
	sum := sha512.Sum512(want)
	require.Equal(t, hex.EncodeToString(sum[:]), image.Properties["os_hash_value"])
	require.Equal(t, "", image.Properties["os_glance_importing_to_stores"])
	require.NotContains(t, image.Properties, "os_glance_import_task")
	stores := strings.Split(image.Properties["stores"].(string), ",")
	slices.Sort(stores)
	slices.Sort(in)
	require.Equal(t, in, stores)
}

// queued requires what an image is whose import failed.
func (r *rig) queued(t *testing.T, id string) {
	t.Helper()
	r.lies(t, id, nil)
	image := r.image(t, id)
	require.EqualValues(t, "queued", image.Status)
	require.Nil(t, image.Properties["os_hash_value"])
	require.NotContains(t, image.Properties, "os_glance_import_task")
	require.Zero(t, image.SizeBytes)
}

func TestImages(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]func(*rig, *testing.T){
		"come from the web to every store":                             (*rig).fromWeb,
		"come from where they were staged":                             (*rig).staged,
		"are taken by one of many imports at once":                     (*rig).race,
		"are imported wherever the worker dies, or does a step twice":  (*rig).dying,
		"come by the command line, which waits for them":               (*rig).fromTheCommandLine,
		"are copied to more stores by an admin":                        (*rig).copied,
		"are imported although the worker is killed in the middle":     (*rig).workerKilled,
		"are imported although the API is killed after its answer":     (*rig).apiKilled,
		"whose download fails return to queued":                        (*rig).failing,
		"that are deleted during an import leave nothing":              (*rig).deleted,
		"that one store does not take are imported to the others":      (*rig).partly,
		"that one store does not take are nowhere if all have to":      (*rig).allOrNothing,
		"are not imported where the request or their state forbids it": (*rig).refused,
		"whose import cannot be taken back at once are so in the end":  (*rig).undoAgain,
		"are tasks for admins, and for their own project":              (*rig).tasks,
		"are made of bytes that no image has, whatever dies meanwhile": (*rig).adopted,
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, r.Faults.Clear()) })
			test(r, t)
		})
	}
}

func (r *rig) fromWeb(t *testing.T) {
	info, err := imageimport.Get(t.Context(), r.demo).Extract()
	require.NoError(t, err)
	require.Equal(t, []string{"glance-direct", "web-download", "copy-image"}, info.ImportMethods.Value)
	want := data(3)
	uri := r.serve("/web", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	id := r.create(t)
	require.NoError(t, imageimport.Create(t.Context(), r.demo, id, imageimport.CreateOpts{Name: imageimport.WebDownloadMethod, URI: uri}).ExtractErr())
	task := r.task(t, id, "success")
	require.Equal(t, "The image is in hot.", task["message"])
	require.Equal(t, map[string]any{"image_id": id}, task["result"])
	r.active(t, id, want, "hot")

	id = r.create(t)
	// However the keys are written: JSON's reader takes them in any case.
	r.accepted(t, r.demo, id, map[string]any{"Method": map[string]any{"name": "web-download", "URI": uri + "?signature=secret"}, "all_stores": true})
	task = r.task(t, id, "success")
	require.Equal(t, "The image is in hot, cold.", task["message"])
	shown, err := json.Marshal(task["input"])
	require.NoError(t, err)
	require.Contains(t, string(shown), uri)
	require.NotContains(t, string(shown), "secret", "a presigned address is a credential")
	r.active(t, id, want, "hot", "cold")
	status, text := r.ask(t, r.demo, id, method("web-download", uri))
	require.Equal(t, http.StatusConflict, status, text)
	require.Contains(t, text, "Image with status active cannot be target for import")
}

func (r *rig) staged(t *testing.T) {
	want := data(2)
	for _, body := range []map[string]any{method("glance-direct", ""), with(method("glance-direct", ""), "stores", []string{"cold", "hot"})} {
		id := r.create(t)
		require.NoError(t, imagedata.Stage(t.Context(), r.demo, id, bytes.NewReader(want)).ExtractErr())
		require.EqualValues(t, "uploading", r.image(t, id).Status)
		r.accepted(t, r.demo, id, body)
		r.task(t, id, "success")
		in := []string{"hot"}
		if body["stores"] != nil {
			in = []string{"cold", "hot"}
		}
		r.active(t, id, want, in...)
	}
	// What is refused when it is imported was staged without being looked at.
	id := r.create(t)
	require.NoError(t, imagedata.Stage(t.Context(), r.demo, id, strings.NewReader("QFI\xfb\x00\x00\x00\x03 is not raw")).ExtractErr())
	r.accepted(t, r.demo, id, method("glance-direct", ""))
	require.NotEmpty(t, r.task(t, id, "failure")["message"])
	r.queued(t, id)
	require.NoError(t, imagedata.Upload(t.Context(), r.demo, id, bytes.NewReader(want)).ExtractErr(), "it can be tried again")
}

func (r *rig) uploaded(t *testing.T, want []byte) string {
	t.Helper()
	id := r.create(t)
	require.NoError(t, imagedata.Upload(t.Context(), r.demo, id, bytes.NewReader(want)).ExtractErr())
	return id
}

func (r *rig) copied(t *testing.T) {
	want := data(2)
	id := r.uploaded(t, want)
	body := with(method("copy-image", ""), "stores", []string{"cold"})
	status, text := r.ask(t, r.demo, id, body)
	require.Equal(t, http.StatusForbidden, status, text)
	r.accepted(t, r.admin, id, body)
	r.task(t, id, "success")
	r.active(t, id, want, "hot", "cold")
	status, text = r.ask(t, r.admin, id, body)
	require.Equal(t, http.StatusConflict, status, text)
	require.Contains(t, text, "Image is already present at store &#39;cold&#39;")
	r.accepted(t, r.admin, id, with(method("copy-image", ""), "all_stores", true))
	require.Equal(t, "Every store had the image already.", r.task(t, id, "success")["message"])
	r.active(t, id, want, "hot", "cold")
}

func (r *rig) race(t *testing.T) {
	want := data(1)
	uri := r.serve("/race", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	id := r.create(t)
	const clients = 12
	answers := make(chan int, clients)
	for range clients {
		go func() {
			answer, err := r.demo.Post(context.WithoutCancel(t.Context()), r.demo.ServiceURL("images", id, "import"), method("web-download", uri), nil,
				&gophercloud.RequestOpts{OkCodes: []int{202, 409}})
			if err != nil {
				answers <- 0
				return
			}
			answers <- answer.StatusCode
		}()
	}
	got := map[int]int{}
	for range clients {
		got[<-answers]++
	}
	require.Equal(t, map[int]int{202: 1, 409: clients - 1}, got)
	r.task(t, id, "success")
	r.active(t, id, want, "hot")
	tasks, err := r.Store.ImageTasks(t.Context(), id)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
}

func (r *rig) dying(t *testing.T) {
	want := data(1)
	uri := r.serve("/dying", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	for _, rule := range []faultinject.Rule{
		{Step: contract.BeginImport, Mode: faultinject.KillAfter},
		{Step: contract.StoreImage, Mode: faultinject.KillAfter},
		{Step: contract.CopyImage, Mode: faultinject.KillAfter},
		{Step: contract.FinishImport, Mode: faultinject.KillBefore},
		{Step: contract.FinishImport, Mode: faultinject.KillAfter},
		{Step: contract.BeginImport, Mode: faultinject.Twice},
		{Step: contract.StoreImage, Mode: faultinject.Twice},
		{Step: contract.CopyImage, Mode: faultinject.Twice},
		{Step: contract.FinishImport, Mode: faultinject.Twice},
		{Step: contract.StoreImage, Mode: faultinject.FailAfter, Kind: fault.Unavailable},
		{Step: contract.CopyImage, Mode: faultinject.FailAfter, Kind: fault.Unavailable},
	} {
		t.Run(rule.Step+" "+string(rule.Mode), func(t *testing.T) {
			rule.Times = 1
			name := r.inject(t, rule)
			id := r.create(t)
			r.accepted(t, r.demo, id, with(method("web-download", uri), "all_stores", true))
			r.task(t, id, "success")
			r.active(t, id, want, "hot", "cold")
			injected, err := r.Faults.Injected(name)
			require.NoError(t, err)
			require.Len(t, injected, 1)
		})
	}
}

func (r *rig) fromTheCommandLine(t *testing.T) {
	want := data(2)
	uri := r.serve("/line", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	id := r.create(t)
	out, errs, code := r.Slipway(t, "image", "import", id, "--method", "web-download", "--uri", uri, "--all-stores", "--wait")
	require.Zero(t, code, errs)
	require.Contains(t, out, "active")
	r.active(t, id, want, "hot", "cold")
	out, errs, code = r.Slipway(t, "image", "task", "show", id)
	require.Zero(t, code, errs)
	require.Contains(t, out, "The image is in hot, cold.")

	id = r.create(t)
	_, errs, code = r.Slipway(t, "image", "import", id, "--method", "web-download", "--uri", uri+"/none", "--wait")
	require.NotZero(t, code)
	require.Contains(t, errs, "Host 127.0.0.1 answered 404 Not Found, where the image was expected.")
	r.queued(t, id)
}

func (r *rig) adopted(t *testing.T) {
	want := data(2)
	for name, rule := range map[string]faultinject.Rule{
		"nothing dies":                   {},
		"the worker dies after the step": {Step: contract.StoreImage, Mode: faultinject.KillAfter, Times: 1},
		"the step is done twice":         {Step: contract.StoreImage, Mode: faultinject.Twice, Times: 1},
		"the first adoption fails":       {Step: contract.StoreImage, Mode: faultinject.FailBefore, Kind: fault.Invalid, Times: 1},
		"the worker dies at the end":     {Step: contract.FinishImport, Mode: faultinject.KillBefore, Times: 1},
	} {
		for _, store := range r.stores.Names() {
			t.Run(name+" in "+store, func(t *testing.T) {
				id, in := uuid.NewString(), r.storeNamed(t, store)
				require.NoError(t, imagestoretest.Put(t.Context(), in, id, want))
				out, errs, code := r.Slipway(t, "image", "orphans", "list")
				require.Zero(t, code, errs)
				require.Contains(t, out, id)
				if rule.Step != "" {
					r.inject(t, rule)
				}
				adopt := func() {
					_, errs, code := r.Slipway(t, "image", "orphans", "adopt", id, "--name", "found", "--project", "demo")
					require.Zero(t, code, errs)
					require.Contains(t, errs, "adopting it as image "+id)
				}
				adopt()
				if rule.Mode == faultinject.FailBefore {
					r.task(t, id, "failure")
					_ = r.Temporal().GetWorkflow(t.Context(), ids.ImageWorkflow(id), "").Get(t.Context(), nil)
					require.EqualValues(t, "queued", r.image(t, id).Status)
					out, errs, code := r.Slipway(t, "image", "orphans")
					require.Zero(t, code, errs)
					require.Contains(t, out, id)
					adopt()
				}
				r.task(t, id, "success")
				r.active(t, id, want, store)
				require.Equal(t, "found", r.image(t, id).Name)
			})
		}
	}
}

func (r *rig) storeNamed(t *testing.T, name string) imagestore.Store {
	t.Helper()
	store, err := r.stores.Store(name)
	require.NoError(t, err)
	return store
}

// halting serves half of the data to the first who asks and then nothing more, and the whole to others. begun is closed
// when the half is on its way.
func (r *rig) halting(t *testing.T, path string, want []byte) (uri string, begun chan struct{}) {
	begun, asked := make(chan struct{}), 0
	var mu sync.Mutex
	return r.serve(path, func(w http.ResponseWriter, req *http.Request) {
		mu.Lock()
		asked++
		first := asked == 1
		mu.Unlock()
		w.Header().Set("Content-Length", strconv.Itoa(len(want)))
		if !first {
			_, _ = w.Write(want)
			return
		}
		_, _ = w.Write(want[:len(want)/2])
		w.(http.Flusher).Flush()
		close(begun)
		select {
		case <-req.Context().Done():
		case <-t.Context().Done():
		}
	}), begun
}

func (r *rig) workerKilled(t *testing.T) {
	want := data(8)
	uri, begun := r.halting(t, "/killed", want)
	id := r.create(t)
	r.accepted(t, r.demo, id, with(method("web-download", uri), "all_stores", true))
	<-begun
	require.EqualValues(t, "importing", r.image(t, id).Status)
	settled, err := r.service.Settle(t.Context())
	require.NoError(t, err)
	require.Zero(t, settled, "an import that lives is left alone")
	r.Kill("worker")
	r.task(t, id, "success")
	r.active(t, id, want, "hot", "cold")
}

func (r *rig) apiKilled(t *testing.T) {
	want := data(4)
	uri := r.serve("/api", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	id := r.create(t)
	r.accepted(t, r.demo, id, method("web-download", uri))
	r.Kill("api")
	system.Eventually(t, patience, func() (bool, string) {
		_, err := images.Get(t.Context(), r.demo, id).Extract()
		return err == nil, fmt.Sprint(err)
	})
	r.task(t, id, "success")
	r.active(t, id, want, "hot")
}

func (r *rig) failing(t *testing.T) {
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"not found": {func(w http.ResponseWriter, req *http.Request) { http.NotFound(w, req) }, "Host 127.0.0.1 answered 404 Not Found, where the image was expected."},
		"another format": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append([]byte("QFI\xfb\x00\x00\x00\x03"), data(1)...))
		}, "qcow2"},
		"redirects elsewhere": {func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "http://169.254.169.254/latest/meta-data", http.StatusFound)
		}, "Host 127.0.0.1 redirects to an address that is not allowed."},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(65<<20))
			w.WriteHeader(200)
		}, "larger than the 67108864 bytes"},
		"too large, without a length": {func(w http.ResponseWriter, _ *http.Request) {
			for chunk := data(1); ; {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "larger than the 67108864 bytes"},
		"empty": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }, "Host 127.0.0.1 answered with an empty image."},
	} {
		t.Run(name, func(t *testing.T) {
			uri := r.serve("/fails/"+strings.ReplaceAll(name, " ", "-"), tc.answer)
			id := r.create(t)
			r.accepted(t, r.demo, id, with(method("web-download", uri), "stores", []string{"hot", "cold"}))
			require.Contains(t, r.task(t, id, "failure")["message"], tc.want)
			r.queued(t, id)
			require.Equal(t, "hot,cold", r.image(t, id).Properties["os_glance_failed_import"])
		})
	}
}

func (r *rig) deleted(t *testing.T) {
	want := data(8)
	uri, begun := r.halting(t, "/deleted", want)
	id := r.create(t)
	r.accepted(t, r.demo, id, method("web-download", uri))
	<-begun
	require.NoError(t, images.Delete(t.Context(), r.demo, id).ExtractErr())
	r.lies(t, id, nil)
	tasks, err := r.Store.ImageTasks(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, []string{"failure", "Image " + id + " was deleted during its import."}, []string{tasks[0].Status, tasks[0].Message})

	// With its bytes in the first store already.
	want = data(1)
	uri = r.serve("/deleted-late", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	rule := r.inject(t, faultinject.Rule{Step: contract.CopyImage, Mode: faultinject.HoldBefore, Times: 1})
	id = r.create(t)
	r.accepted(t, r.demo, id, with(method("web-download", uri), "all_stores", true))
	r.held(t, rule)
	require.EqualValues(t, "importing", r.image(t, id).Status)
	require.NoError(t, images.Delete(t.Context(), r.demo, id).ExtractErr())
	require.NoError(t, r.Faults.Release(rule))
	r.lies(t, id, nil)
	deleted, err := r.Store.ImagesByStatus(t.Context(), models.ImageDeleted, time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(deleted, func(i models.Image) bool { return i.ID == id }))
}

func (r *rig) inject(t *testing.T, rules ...faultinject.Rule) string {
	t.Helper()
	ids, err := r.Faults.Set(rules...)
	require.NoError(t, err)
	return ids[0]
}

func (r *rig) held(t *testing.T, rule string) {
	t.Helper()
	system.Eventually(t, patience, func() (bool, string) {
		calls, err := r.Faults.Held(rule)
		return err == nil && len(calls) > 0, fmt.Sprint("nothing is held: ", err)
	})
}

func (r *rig) partly(t *testing.T) {
	want := data(1)
	uri := r.serve("/partly", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	r.inject(t, faultinject.Rule{Step: contract.CopyImage, Mode: faultinject.FailBefore, Kind: fault.Internal})
	id := r.create(t)
	r.accepted(t, r.demo, id, with(method("web-download", uri), "all_stores", true, "all_stores_must_succeed", false))
	require.Contains(t, r.task(t, id, "success")["message"], "The image is in hot. It could not be brought to cold:")
	r.active(t, id, want, "hot")
	require.Equal(t, "cold", r.image(t, id).Properties["os_glance_failed_import"])
}

func (r *rig) allOrNothing(t *testing.T) {
	want := data(1)
	uri := r.serve("/all", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	r.inject(t, faultinject.Rule{Step: contract.CopyImage, Mode: faultinject.FailAfter, Kind: fault.Internal})
	id := r.create(t)
	r.accepted(t, r.demo, id, with(method("web-download", uri), "all_stores", true))
	r.task(t, id, "failure")
	r.queued(t, id)
	// A copy that fails leaves the image where it was.
	id = r.uploaded(t, want)
	r.accepted(t, r.admin, id, with(method("copy-image", ""), "stores", []string{"cold"}))
	r.task(t, id, "failure")
	r.active(t, id, want, "hot")
	require.Equal(t, "cold", r.image(t, id).Properties["os_glance_failed_import"])
}

func (r *rig) undoAgain(t *testing.T) {
	uri := r.serve("/undo", func(w http.ResponseWriter, req *http.Request) { http.NotFound(w, req) })
	r.inject(t, faultinject.Rule{Step: contract.AbandonImport, Mode: faultinject.FailAfter, Kind: fault.Internal, Times: 1},
		faultinject.Rule{Step: contract.AbandonImport, Mode: faultinject.KillBefore, Times: 1})
	id := r.create(t)
	r.accepted(t, r.demo, id, method("web-download", uri))
	require.Contains(t, r.task(t, id, "failure")["message"], "404")
	r.queued(t, id)
}

func (r *rig) refused(t *testing.T) {
	uri := r.serve("/refused", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data(1)) })
	id := r.create(t)
	bare, err := images.Create(t.Context(), r.demo, images.CreateOpts{Name: "bare"}).Extract()
	require.NoError(t, err)
	web := func() map[string]any { return method("web-download", uri) }
	for _, tc := range []struct {
		image  string
		body   any
		status int
		text   string
	}{
		{id, map[string]any{}, 400, "Import request requires a &#39;method&#39; field."},
		{id, map[string]any{"method": map[string]any{}}, 400, "Import request requires a &#39;name&#39; field."},
		{id, method("glance-download", ""), 400, "Unknown import method name &#39;glance-download&#39;."},
		{id, with(web(), "all_stores", "yes"), 400, "&#39;all_stores&#39; must be boolean value only"},
		{id, with(web(), "all_stores_must_succeed", 1), 400, "&#39;all_stores_must_succeed&#39; must be boolean value only"},
		{id, with(web(), "all_stores", true, "stores", []string{"hot"}), 400, "All_stores parameter can&#39;t be used"},
		{id, with(web(), "stores", []string{"warm"}), 409, "There is no image store &#39;warm&#39;"},
		{id, with(web(), "stores", []string{}), 400, "at least one store"},
		{id, method("web-download", ""), 400, "URI for web-download does not pass filtering"},
		{id, method("web-download", "http://169.254.169.254/"), 400, "URI for web-download does not pass filtering"},
		{id, method("web-download", "file:///etc/passwd"), 400, "URI for web-download does not pass filtering"},
		{id, method("glance-direct", ""), 409, "Image needs to be staged before"},
		{bare.ID, web(), 409, "&#39;container_format&#39; needs to be set before import"},
		{"11111111-2222-3333-4444-555555555555", web(), 404, "No image found"},
	} {
		status, text := r.ask(t, r.demo, tc.image, tc.body)
		require.Equal(t, tc.status, status, "%v: %s", tc.body, text)
		require.Contains(t, text, tc.text)
	}
	status, text := r.ask(t, r.admin, id, method("copy-image", ""))
	require.Equal(t, 409, status)
	require.Contains(t, text, "Only images with status active can be targeted for copying")
	tasks, err := r.Store.ImageTasks(t.Context(), id)
	require.NoError(t, err)
	require.Empty(t, tasks)
	r.queued(t, id)

	uri, begun := r.halting(t, "/busy", data(1))
	r.accepted(t, r.demo, id, method("web-download", uri))
	<-begun
	status, text = r.ask(t, r.demo, id, web())
	require.Equal(t, 409, status)
	require.Contains(t, text, "is being imported already")
	require.NoError(t, images.Delete(t.Context(), r.demo, id).ExtractErr())
	r.lies(t, id, nil)
}

func (r *rig) tasks(t *testing.T) {
	want := data(1)
	uri := r.serve("/tasks", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) })
	id := r.create(t)
	r.accepted(t, r.demo, id, with(method("web-download", uri), "stores", []string{"cold"}))
	task := r.task(t, id, "success")
	require.Equal(t, map[string]any{
		"image_id": id, "backend": []any{"cold"},
		"import_req": map[string]any{"method": map[string]any{"name": "web-download", "uri": uri}, "stores": []any{"cold"}},
	}, task["input"])
	var one map[string]any
	_, err := r.admin.Get(t.Context(), r.admin.ServiceURL("tasks", task["id"].(string)), &one, nil)
	require.NoError(t, err)
	require.Equal(t, task, one)
	var list struct {
		Tasks []map[string]any
		Next  string
	}
	_, err = r.admin.Get(t.Context(), r.admin.ServiceURL("tasks")+"?status=success&sort_key=created_at&sort_dir=desc&limit=1", &list, nil)
	require.NoError(t, err)
	require.Equal(t, task["id"], list.Tasks[0]["id"])
	require.NotContains(t, list.Tasks[0], "input")
	require.Contains(t, list.Next, "marker="+task["id"].(string))
	for _, path := range []string{"tasks", "tasks/" + task["id"].(string)} {
		_, err = r.demo.Get(t.Context(), r.demo.ServiceURL(path), nil, nil)
		require.True(t, gophercloud.ResponseCodeIs(err, http.StatusForbidden), "%v", err)
	}
	_, err = r.admin.Post(t.Context(), r.admin.ServiceURL("tasks"), map[string]any{"type": "import"}, nil, nil)
	require.True(t, gophercloud.ResponseCodeIs(err, http.StatusMethodNotAllowed), "%v", err)
	var usage struct{ Usage map[string]map[string]int64 }
	_, err = r.demo.Get(t.Context(), r.demo.ServiceURL("info", "usage"), &usage, nil)
	require.NoError(t, err)
	require.Positive(t, usage.Usage["image_size_total"]["usage"])
	require.EqualValues(t, -1, usage.Usage["image_size_total"]["limit"])
	require.Positive(t, usage.Usage["image_count_total"]["usage"])
}
