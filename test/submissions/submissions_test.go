// Package submissions asks a running system whose engine answers at once, late, or not at all: whoever's submission took
// effect is told so, and nobody else is.
package submissions

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/faultinject"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	slipway "github.com/slipway-cloud/slipway/internal/engine"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

const (
	patience = time.Minute
	clients  = 24 // at once: more than the engine lets be in flight on one workflow
)

type rig struct {
	*system.System
	engine   *engine
	temporal client.Client
	image    *gophercloud.ServiceClient
	compute  *gophercloud.ServiceClient
	booted   string // an image
	web      string // address of a server that has images
	release  func() // what it holds back
}

func newRig(t *testing.T) *rig {
	held := make(chan struct{})
	r := &rig{release: sync.OnceFunc(func() { close(held) })}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/none":
			http.NotFound(w, req)
			return
		case "/held":
			<-held
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 4096))
	}))
	t.Cleanup(web.Close)
	t.Cleanup(r.release)
	r.web = web.URL
	temporal := testenv.Temporal(t)
	r.engine = newEngine(t, temporal)
	r.System = system.Start(t, system.Options{
		Hypervisor: "fake", Faults: true, Temporal: temporal, APITemporal: r.engine.address,
		Settings: map[string]any{
			"images": map[string]any{
				"web_download_hosts": "127.0.0.1", "web_download_networks": "127.0.0.0/8",
				"web_download_ports": strconv.Itoa(web.Listener.Addr().(*net.TCPAddr).Port),
			},
			"quota": map[string]any{"instances": -1, "cores": -1, "ram_mib": -1},
		},
	})
	r.temporal = r.System.Temporal()
	r.image, r.compute = system.Image(t, r.Demo()), system.Compute(t, r.Demo())
	r.Flavor(t, "small", 64)
	r.booted = system.Upload(t, r.image, images.CreateOpts{Name: "raw"}, strings.NewReader(strings.Repeat("x", 4096)))
	return r
}

func TestWhoeversSubmissionTookEffectIsToldSo(t *testing.T) {
	r := newRig(t)
	for name, test := range map[string]func(*rig, *testing.T){
		"of many imports at once":                              (*rig).importsAtOnce,
		"of many imports that wait for a worker":               (*rig).importsWaiting,
		"of many imports, although the others began meanwhile": (*rig).importsMeanwhile,
		"of an import that failed, and another runs":           (*rig).importAfterImport,
		"of a server":                    (*rig).server,
		"of a server, too late":          (*rig).tooLate,
		"of several servers":             (*rig).several,
		"of many requests with one key":  (*rig).oneKey,
		"of a delete, of as many as ask": (*rig).deletes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { require.NoError(t, r.Faults.Clear()) })
			test(r, t)
		})
	}
}

// at once sends as many requests as clients together and counts the answers by status.
func atOnce(ask func(i int) int) map[int]int {
	answers := make([]int, clients)
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { answers[i] = ask(i) })
	}
	all.Wait()
	counts := map[int]int{}
	for _, status := range answers {
		counts[status]++
	}
	return counts
}

// post gives the status and body of an answer; 0 for none.
func post(as *gophercloud.ServiceClient, path string, body any, headers map[string]string) (status int, said map[string]any) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := as.Post(ctx, as.ServiceURL(path), body, nil, &gophercloud.RequestOpts{
		OkCodes: []int{202, 400, 403, 404, 409, 500, 503}, MoreHeaders: headers, KeepResponseBody: true,
	})
	if err != nil {
		return 0, nil
	}
	defer answer.Body.Close()
	_ = json.NewDecoder(answer.Body).Decode(&said) // some have none
	return answer.StatusCode, said
}

func (r *rig) queued(t *testing.T) string {
	t.Helper()
	image, err := images.Create(t.Context(), r.image, images.CreateOpts{Name: "im", DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	require.NoError(t, err)
	return image.ID
}

func (r *rig) importFrom(id, path string) int {
	status, _ := post(r.image, "images/"+id+"/import", map[string]any{"method": map[string]any{"name": "web-download", "uri": r.web + path}}, nil)
	return status
}

// ended waits until the newest run of a workflow has ended, however.
func (r *rig) ended(workflowID string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = r.temporal.GetWorkflow(ctx, workflowID, "").Get(ctx, nil)
}

func (r *rig) tasks(t *testing.T, image string) []string {
	t.Helper()
	r.ended(ids.ImageWorkflow(image))
	tasks, err := r.Store.ImageTasks(t.Context(), image)
	require.NoError(t, err)
	var statuses []string
	for _, task := range tasks {
		statuses = append(statuses, task.Status)
	}
	return statuses
}

var onlyOne = map[int]int{202: 1, 409: clients - 1}

func (r *rig) importsAtOnce(t *testing.T) {
	id := r.queued(t)
	require.Equal(t, onlyOne, atOnce(func(int) int { return r.importFrom(id, "/image") }))
	require.Equal(t, []string{"success"}, r.tasks(t, id))
}

// waiting stops the worker until as many submissions as clients have come to the engine.
func (r *rig) waiting(t *testing.T, ask func(i int) int) map[int]int {
	t.Helper()
	r.Stop("worker")
	var mu sync.Mutex
	seen, come := map[string]bool{}, make(chan struct{})
	r.engine.meets(t, func(_ context.Context, c call) (any, error) {
		if update := c.update(); update != "" {
			mu.Lock()
			if seen[update] = true; len(seen) == clients && come != nil {
				close(come)
				come = nil
			}
			mu.Unlock()
		}
		return c.do()
	})
	counts := make(chan map[int]int)
	all := come
	go func() { counts <- atOnce(ask) }()
	select {
	case <-all:
	case <-time.After(patience):
		t.Error("not all submissions have come")
	}
	r.Restart("worker")
	return <-counts
}

func (r *rig) importsWaiting(t *testing.T) {
	id := r.queued(t)
	require.Equal(t, onlyOne, r.waiting(t, func(int) int { return r.importFrom(id, "/image") }))
	require.Equal(t, []string{"success"}, r.tasks(t, id))
}

// The run that took a submission has ended before the others come, and theirs have ended before the lost answer is asked for
// again.
func (r *rig) importsMeanwhile(t *testing.T) {
	for name, how := range losses {
		t.Run(name, func(t *testing.T) {
			id := r.queued(t)
			took, others := make(chan struct{}), make(chan struct{})
			r.engine.loses(t, how, func(workflowID string) {
				r.ended(workflowID)
				close(took)
				<-others
			})
			first := make(chan int, 1)
			go func() { first <- r.importFrom(id, "/image") }()
			<-took
			require.Equal(t, map[int]int{409: clients}, atOnce(func(int) int { return r.importFrom(id, "/image") }))
			close(others)
			require.Equal(t, 202, <-first)
			require.Equal(t, []string{"success"}, r.tasks(t, id))
		})
	}
}

func (r *rig) importAfterImport(t *testing.T) {
	for name, how := range losses {
		t.Run(name, func(t *testing.T) {
			id := r.queued(t)
			second := 0
			r.engine.loses(t, how, func(workflowID string) {
				r.ended(workflowID)
				second = r.importFrom(id, "/held")
			})
			require.Equal(t, 202, r.importFrom(id, "/none"), "it was accepted, and failed")
			require.Equal(t, 202, second)
			require.Equal(t, 409, r.importFrom(id, "/image"), "the second one runs")
			r.release()
			require.Equal(t, []string{"failure", "success"}, r.tasks(t, id))
		})
	}
}

// create asks for servers and gives the first one's id and password.
func (r *rig) create(count int, key string) (status int, id, pass string) {
	headers := map[string]string{}
	if key != "" {
		headers["Idempotency-Key"] = key
	}
	status, body := post(r.compute, "servers", map[string]any{"server": map[string]any{
		"name": "web", "imageRef": r.booted, "flavorRef": "small", "networks": "auto", "min_count": count, "max_count": count,
	}}, headers)
	made, _ := body["server"].(map[string]any)
	id, _ = made["id"].(string)
	pass, _ = made["adminPass"].(string)
	return status, id, pass
}

// become waits until all servers but the deleted are in the state, and gives them.
func (r *rig) become(t *testing.T, count int, state lifecycle.VMState) []models.Server {
	t.Helper()
	var all []models.Server
	system.Eventually(t, patience, func() (bool, string) {
		var err error
		all, err = r.Store.ListServers(t.Context(), models.ServerFilter{})
		word := fmt.Sprint(err)
		for _, s := range all {
			word += " " + s.ID + " " + string(s.VMState)
		}
		return err == nil && len(all) == count && !slices.ContainsFunc(all, func(s models.Server) bool { return s.VMState != state }), word
	})
	return all
}

func (r *rig) delete(id string) int {
	err := servers.Delete(context.Background(), r.compute, id).ExtractErr()
	for _, status := range []int{404, 409, 500, 503} {
		if gophercloud.ResponseCodeIs(err, status) {
			return status
		}
	}
	if err != nil {
		return 0
	}
	return 204
}

// cleared deletes all servers and waits until nothing is held for any.
func (r *rig) cleared(t *testing.T) {
	t.Helper()
	all, err := r.Store.ListServers(t.Context(), models.ServerFilter{})
	require.NoError(t, err)
	for _, s := range all {
		require.Equal(t, 204, r.delete(s.ID))
	}
	r.become(t, 0, lifecycle.Deleted)
	world := r.World(t)
	for _, table := range []string{"claims", "placements", "ports"} {
		require.Empty(t, world[table], table)
	}
}

func (r *rig) server(t *testing.T) {
	for name, how := range losses {
		t.Run("that is built: "+name, func(t *testing.T) {
			r.engine.loses(t, how, r.ended)
			status, id, pass := r.create(1, "")
			require.Equal(t, 202, status)
			require.NotEmpty(t, pass)
			require.Equal(t, id, r.become(t, 1, lifecycle.Active)[0].ID)
			r.cleared(t)
		})
		t.Run("that fails: "+name, func(t *testing.T) {
			_, err := r.Faults.Set(faultinject.Rule{Step: contract.BuildDisk, Mode: faultinject.FailBefore, Kind: fault.Internal})
			require.NoError(t, err)
			r.engine.loses(t, how, r.ended)
			status, id, _ := r.create(1, "")
			require.Equal(t, 202, status)
			require.Equal(t, id, r.become(t, 1, lifecycle.Error)[0].ID)
			require.NoError(t, r.Faults.Clear())
			r.ended(ids.ServerWorkflow(id))
			require.Empty(t, r.World(t)["claims"], "a second run has given back what it took")
			r.cleared(t)
		})
		t.Run("that is gone: "+name, func(t *testing.T) {
			gone := ""
			r.engine.loses(t, how, func(workflowID string) {
				r.ended(workflowID)
				gone = strings.TrimPrefix(workflowID, ids.ServerWorkflow(""))
				r.delete(gone)
				r.ended(workflowID)
			})
			status, id, _ := r.create(1, "")
			require.Equal(t, 202, status)
			require.Equal(t, gone, id)
			require.Equal(t, 404, r.delete(id))
			r.cleared(t)
		})
		t.Run("that is refused: "+name, func(t *testing.T) {
			_, err := r.Faults.Set(faultinject.Rule{Step: contract.ResolveImage, Mode: faultinject.FailBefore, Kind: fault.Invalid})
			require.NoError(t, err)
			r.engine.loses(t, how, r.ended)
			status, _, _ := r.create(1, "")
			require.Equal(t, 400, status)
			require.NoError(t, r.Faults.Clear())
			r.cleared(t)
		})
	}
}

// A worker takes up a submission whose client was told that it was not accepted.
func (r *rig) tooLate(t *testing.T) {
	flavor, err := r.Store.Flavor(t.Context(), "small")
	require.NoError(t, err)
	demo, err := r.Store.ProjectByName(t.Context(), "default", "demo")
	require.NoError(t, err)
	user, err := r.Store.UserByName(t.Context(), "default", "demo")
	require.NoError(t, err)
	in := contract.BootInput{
		Server: contract.Server{
			ServerID: uuid.NewString(), ProjectID: demo.ID, UserID: user.ID, RequestID: "req-" + uuid.NewString(), Name: "web", Hostname: "web",
			ImageID: r.booted, Flavor: contract.Flavor{ID: flavor.ID, Name: flavor.Name, VCPUs: flavor.VCPUs, RAMMiB: flavor.RAMMiB},
		},
		Limits: contract.Quota{Instances: -1, Cores: -1, RAMMiB: -1}, MaxHosts: 1, Deadlines: contract.DefaultDeadlines(),
	}
	api := slipway.NewClient(r.temporal, r.ControlQueue())
	err = api.By(func(ctx context.Context) (time.Time, error) {
		now, err := r.Store.Now(ctx)
		return now.Add(-time.Hour), err
	}).Submit(t.Context(), in)
	require.True(t, fault.Is(err, fault.Conflict), "%v", err)
	r.ended(ids.ServerWorkflow(in.ServerID))
	r.become(t, 0, lifecycle.Active)
	require.Empty(t, r.World(t)["claims"])

	in.RequestID = "req-" + uuid.NewString()
	require.NoError(t, api.By(r.Store.Now).Submit(t.Context(), in), "asked for again")
	r.become(t, 1, lifecycle.Active)
	r.cleared(t)
}

func (r *rig) several(t *testing.T) {
	const many = 3
	for name, how := range losses {
		t.Run(name, func(t *testing.T) {
			r.engine.loses(t, how, r.ended)
			status, id, _ := r.create(many, "")
			require.Equal(t, 202, status)
			all := r.become(t, many, lifecycle.Active)
			require.True(t, slices.ContainsFunc(all, func(s models.Server) bool { return s.ID == id }))
			r.cleared(t)
		})
	}
}

// All are told of the one server; the password is told to the one whose it is.
func (r *rig) oneKey(t *testing.T) {
	for _, count := range []int{1, 3} {
		for name, send := range map[string]func(func(int) int) map[int]int{
			"at once":          atOnce,
			"without a worker": func(ask func(int) int) map[int]int { return r.waiting(t, ask) },
			"with a lost answer": func(ask func(int) int) map[int]int {
				r.engine.loses(t, losses["the update is lost"], r.ended)
				return atOnce(ask)
			},
		} {
			t.Run(fmt.Sprintf("%d servers, %s", count, name), func(t *testing.T) {
				key := uuid.NewString()
				var mu sync.Mutex
				ids, told := map[string]bool{}, 0
				require.Equal(t, map[int]int{202: clients}, send(func(int) int {
					status, id, pass := r.create(count, key)
					mu.Lock()
					defer mu.Unlock()
					ids[id] = true
					if pass != "" {
						told++
					}
					return status
				}))
				require.Len(t, ids, 1, "%v", slices.Collect(maps.Keys(ids)))
				require.Equal(t, 1, told)
				r.become(t, count, lifecycle.Active)
				r.cleared(t)
			})
		}
	}
}

func (r *rig) deletes(t *testing.T) {
	status, id, _ := r.create(1, "")
	require.Equal(t, 202, status)
	r.become(t, 1, lifecycle.Active)
	counts := atOnce(func(int) int { return r.delete(id) })
	require.Positive(t, counts[204])
	require.Equal(t, clients, counts[204]+counts[404], "gone already: %v", counts)
	r.cleared(t)

	status, id, _ = r.create(1, "")
	require.Equal(t, 202, status)
	r.become(t, 1, lifecycle.Active)
	var once sync.Once
	r.engine.meets(t, func(_ context.Context, c call) (any, error) {
		answer, err := c.do()
		if c.method == "SignalWithStartWorkflowExecution" && err == nil {
			once.Do(func() {
				r.ended(ids.ServerWorkflow(id))
				answer, err = nil, errLost
			})
		}
		return answer, err
	})
	require.Equal(t, 204, r.delete(id))
	r.cleared(t)
}
