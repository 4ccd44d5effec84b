// Package bench measures what users wait for, beside the same work done with the bare tools in the same run, and writes
// docs/benchmarks.md: `make bench`.
package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/test/system"
)

var (
	write = flag.String("write", "", "file for the report")
	runs  = flag.Int("runs", 15, "how often each thing is done one after another")
)

const (
	burst    = 50
	atATime  = 8
	patience = time.Minute
	// A client alone asks often, for a fine measure; eight at once ask as clients do, so that the asking is not what is
	// measured.
	pollAlone  = 5 * time.Millisecond
	pollCrowd  = 100 * time.Millisecond
	submission = 40

	// libvirt stops a guest in 0.2 s where ended processes are reaped at once.
	slowReaper = 700 * time.Millisecond
)

// BenchmarkReport does everything once and writes the report; b.N is of no use here, since one run is many builds.
func BenchmarkReport(b *testing.B) {
	r := &report{}
	b.Run("fake", func(b *testing.B) { benchFake(b, r) })
	b.Run("libvirt", func(b *testing.B) { benchLibvirt(b, r) })
	b.Run("power", func(b *testing.B) { benchPower(b, &r.powerReport) })
	b.Run("guests", func(b *testing.B) { benchGuests(b, &r.guestReport) })
	b.Run("servers", func(b *testing.B) { benchServers(b, &r.serverReport) })
	b.Run("drive", func(b *testing.B) { benchDrive(b, r) })
	b.Run("injection", func(b *testing.B) { benchInjection(b, r) })
	b.Run("crowd", func(b *testing.B) { benchCrowd(b, r) })
	b.Run("transfer", func(b *testing.B) { benchTransfer(b, &r.transferReport) })
	b.Run("images", func(b *testing.B) { benchImages(b, r) })
	if b.Failed() {
		return
	}
	text := r.text()
	fmt.Println(text)
	whole := len(r.submit) > 0 && len(r.libvirt) > 0 && len(r.pause) > 0 && len(r.move) > 0 && len(r.show) > 0 && len(r.drive) > 0 && len(r.injection) > 0 && len(r.crowd) > 0 && len(r.transfer) > 0 && len(r.upload) > 0
	if *write != "" {
		require.True(b, whole, "only a part was measured: the report stays as it is")
		_, certificates := parts(b)
		require.NoError(b, os.WriteFile(*write, []byte(text+"\n"+certificates), 0o644))
	}
}

// report is what was measured.
type report struct {
	imageReport
	guestDataReport
	guestReport
	powerReport
	serverReport
	transferReport
	submit, fakeActive, fakeDelete        series
	run, posted                           series // of an instance with one network; of the same server
	burstActive                           series
	burstRate                             []float64
	idle, loaded                          []memory
	libvirt, libvirtNIC, libvirtGone, raw series
	rawGone                               series
	crowd                                 map[int]series // processor time of a build, by how many run at once
}

// series is one measurement, many times.
type series []time.Duration

func (s series) at(q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func (s series) String() string {
	if len(s) == 0 {
		return "not measured"
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d.Microseconds())/1000) }
	return fmt.Sprintf("%s ms (%s–%s, %d runs)", ms(s.at(.5)), ms(s.at(0)), ms(s.at(1)), len(s))
}

// times is how many times as long one takes as another, by their medians.
func times(one, other series) float64 { return float64(one.at(.5)) / float64(other.at(.5)) }

type memory struct {
	process string
	mib     int
}

// cloud is a system with what a build needs.
type cloud struct {
	*system.System
	b       *testing.B
	compute *gophercloud.ServiceClient
	image   string
}

func start(b *testing.B, o system.Options) *cloud {
	o.Settings = map[string]any{"quota": map[string]any{"instances": -1, "cores": -1, "ram_mib": -1}}
	s := system.Start(b, o)
	s.Flavor(b, "bench", 128)
	f, err := os.Open(filepath.Join(testenv.Guest(b), "slipway-demo.qcow2"))
	require.NoError(b, err)
	defer f.Close()
	return &cloud{
		System: s, b: b, compute: system.Compute(b, s.Demo()),
		image: system.Upload(b, system.Image(b, s.Demo()), images.CreateOpts{Name: "bench", DiskFormat: "qcow2", ContainerFormat: "bare"}, f),
	}
}

// boot submits a server and gives its id and how long the answer took.
func (c *cloud) boot(networks any) (string, time.Duration) {
	on := true
	began := time.Now()
	server, err := servers.Create(context.Background(), c.compute, servers.CreateOpts{
		Name: "bench", ImageRef: c.image, FlavorRef: "bench", ConfigDrive: &on, Networks: networks,
		Metadata: map[string]string{"k": "v"}, UserData: []byte("#!/bin/sh\necho hello\n"),
	}, nil).Extract()
	require.NoError(c.b, err)
	return server.ID, time.Since(began)
}

// waitActive asks again and again, as a client does, with a pause between.
func (c *cloud) waitActive(id string, pause time.Duration) {
	poll(c.b, pause, func() (bool, string) {
		server, err := servers.Get(context.Background(), c.compute, id).Extract()
		require.NoError(c.b, err)
		require.NotEqual(c.b, "ERROR", server.Status, server.Fault.Message)
		return server.Status == "ACTIVE", "server " + id + " is " + server.Status
	})
}

// poll looks with one pause, which is part of what is measured.
func poll(b *testing.B, pause time.Duration, done func() (bool, string)) {
	for began := time.Now(); ; time.Sleep(pause) {
		ok, word := done()
		if ok {
			return
		}
		require.Less(b, time.Since(began), patience, word)
	}
}

func (c *cloud) remove(id string) time.Duration {
	began := time.Now()
	require.NoError(c.b, servers.Delete(context.Background(), c.compute, id).ExtractErr())
	poll(c.b, pollAlone, func() (bool, string) {
		_, err := servers.Get(context.Background(), c.compute, id).Extract()
		return gophercloud.ResponseCodeIs(err, 404), "not gone"
	})
	return time.Since(began)
}

func benchFake(b *testing.B, r *report) {
	c := start(b, system.Options{Hypervisor: "fake", Hosts: 2})
	c.removeAll([]string{c.bootActive("none", pollAlone)}) // the hosts have the image now
	time.Sleep(time.Second)                                // what the start has left to do is not what is measured
	r.idle = c.memory()
	for range submission {
		began := time.Now()
		id, answered := c.boot("none")
		c.waitActive(id, pollAlone)
		r.submit, r.fakeActive = append(r.submit, answered), append(r.fakeActive, time.Since(began))
		r.fakeDelete = append(r.fakeDelete, c.remove(id))
	}
	amazon := newAmazon(c)
	amazon.remove(amazon.runs(nil))
	for range submission / 2 {
		amazon.remove(amazon.runs(&r.run))
		id, answered := c.boot("auto")
		r.posted = append(r.posted, answered)
		c.waitActive(id, pollAlone)
		c.remove(id)
	}
	for range 3 {
		ids, rate := c.burst(burst, atATime, &r.burstActive)
		r.burstRate = append(r.burstRate, rate)
		r.loaded = c.memory()
		c.removeAll(ids)
	}
}

func (c *cloud) bootActive(networks any, pause time.Duration) string {
	id, _ := c.boot(networks)
	c.waitActive(id, pause)
	return id
}

// burst builds n servers, so many at a time, each waited for by the one who asked.
func (c *cloud) burst(n, at int, active *series) (ids []string, perSecond float64) {
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var mu sync.Mutex
	var group sync.WaitGroup
	began := time.Now()
	for range at {
		group.Go(func() {
			for range work {
				one := time.Now()
				id := c.bootActive("none", pollCrowd)
				mu.Lock()
				*active, ids = append(*active, time.Since(one)), append(ids, id)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return ids, float64(n) / time.Since(began).Seconds()
}

func (c *cloud) removeAll(ids []string) {
	var group sync.WaitGroup
	for _, id := range ids {
		group.Go(func() { c.remove(id) })
	}
	group.Wait()
}

func benchLibvirt(b *testing.B, r *report) {
	c := start(b, system.Options{Hypervisor: "libvirt"})
	first := c.bootActive("none", pollAlone)
	raw := newRaw(c, first)
	c.remove(first)
	for range *runs {
		began := time.Now()
		id, _ := c.boot("none")
		c.waitActive(id, pollAlone)
		r.libvirt = append(r.libvirt, time.Since(began))
		r.libvirtGone = append(r.libvirtGone, c.remove(id))

		built, gone := raw.run()
		r.raw, r.rawGone = append(r.raw, built), append(r.rawGone, gone)

		began = time.Now()
		id, _ = c.boot("auto")
		c.waitActive(id, pollAlone)
		r.libvirtNIC = append(r.libvirtNIC, time.Since(began))
		c.remove(id)
	}
}

// rawBuild is the work of a build done from a shell with the bare tools: the same base image, the same config drive, the
// same domain XML but for its names.
type rawBuild struct {
	c        *cloud
	xml      string
	old      string // the server that the XML was taken from
	drive    string // an unpacked config drive
	base     string
	instance string // the folder of instances
}

func newRaw(c *cloud, id string) *rawBuild {
	state := c.HostState(c.Hosts[0])
	r := &rawBuild{c: c, old: id, drive: filepath.Join(c.Dir, "drive"), instance: filepath.Join(state, "instances")}
	r.xml = r.shell("virsh -c '%s' dumpxml --inactive %s", r.uri(), id)
	r.shell(`set -e; mkdir -p %s; cd %s
isoinfo -J -f -i %[3]s | grep -E '(json|user_data)$' | while read -r path; do
	mkdir -p ".${path%%/*}"
	isoinfo -J -x "$path" -i %[3]s >".$path"
done`, r.drive, r.drive, filepath.Join(r.instance, id, "disk.config"))
	r.base = strings.TrimSpace(r.shell("qemu-img info -U --output json %s | grep -m1 '\"full-backing-filename\"' | cut -d'\"' -f4", filepath.Join(r.instance, id, "disk")))
	return r
}

func (r *rawBuild) uri() string { return "qemu+unix:///system?socket=" + r.c.Libvirt.Socket }

var inXML = regexp.MustCompile(`(?s)<metadata>.*?</metadata>`)

// run makes a guest and removes it again, and says how long each took.
func (r *rawBuild) run() (built, gone time.Duration) {
	id := uuid.NewString()
	dir := filepath.Join(r.instance, id)
	require.NoError(r.c.b, os.MkdirAll(dir, 0o755))
	xml := filepath.Join(r.c.Dir, id+".xml")
	text := inXML.ReplaceAllString(strings.ReplaceAll(r.xml, r.old, id), "")
	require.NoError(r.c.b, os.WriteFile(xml, []byte(text), 0o644))
	began := time.Now()
	r.shell(`set -e
cd %s
qemu-img create -q -f qcow2 -F qcow2 -b %s disk 1G
genisoimage -quiet -o disk.config -ldots -allow-lowercase -allow-multidot -l -J -r -V config-2 %s
virsh -q -c '%s' define %s
virsh -q -c '%s' start %s`, dir, r.base, r.drive, r.uri(), xml, r.uri(), id)
	built = time.Since(began)
	began = time.Now()
	r.shell("virsh -q -c '%s' destroy %s && virsh -q -c '%s' undefine %s", r.uri(), id, r.uri(), id)
	gone = time.Since(began)
	require.NoError(r.c.b, os.RemoveAll(dir))
	return built, gone
}

func (r *rawBuild) shell(format string, args ...any) string {
	cmd := exec.Command("sh", "-c", fmt.Sprintf(format, args...))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(r.c.b, err, "%s: %s", cmd, stderr.String())
	return string(out)
}

// memory is the proportional set size of each part: shared pages (Postgres has many) count once.
func (c *cloud) memory() []memory {
	var all []memory
	for _, p := range append([]string{"api", "worker"}, c.Hosts[0]) {
		name := p
		if p == c.Hosts[0] {
			name = "host (one of them)"
		}
		all = append(all, memory{name, pss(c.Pid(p))})
	}
	temporal, postgres := c.engine()
	return append(all, memory{"Temporal with its Web UI", temporal}, memory{"Postgres", postgres})
}

// engine is the memory of this run's own Temporal server and of its Postgres with all backends; other stacks may run on
// the machine.
func (c *cloud) engine() (temporal, postgres int) {
	all := processes()
	socket := regexp.MustCompile(`host='?([^' ]+)`).FindStringSubmatch(os.Getenv(testenv.PostgresVariable))[1]
	for pid := range all {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		command := string(text)
		if strings.Contains(command, "slipway-temporal") && strings.Contains(command, testenv.Temporal(c.b)) {
			temporal += pss(pid)
		}
		if strings.Contains(command, "bin/postgres") && strings.Contains(command, socket) {
			postgres += pss(pid)
			for child, p := range all {
				if p.parent == pid {
					postgres += pss(child)
				}
			}
		}
	}
	return temporal, postgres
}

var pssLine = regexp.MustCompile(`(?m)^Pss:\s+(\d+) kB`)

func pss(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0 // it has just ended
	}
	var kib int
	if m := pssLine.FindSubmatch(text); m != nil {
		fmt.Sscan(string(m[1]), &kib)
	}
	return kib / 1024
}

// peer is OpenStack Zed (keystone, glance, placement, neutron, nova, MariaDB, RabbitMQ from Debian 12) on two such cores.
var peer = struct{ submit, fake, libvirt, fakeDelete, libvirtDelete, rate, memory string }{
	"65 ms", "507 ms", "1,209 ms", "394 ms", "1,823 ms", "1.3 builds/s", "2,300 MiB idle, 2,900 MiB after the burst",
}

func (r *report) text() string {
	var w strings.Builder
	fmt.Fprintf(&w, `# Benchmarks

Written by %[1]smake bench%[1]s on %[2]s. Medians; in brackets the smallest and the largest of all runs, which followed each
other in one process on an otherwise quiet machine. Slipway's certificates are on, towards its clients too.

%[3]s

The column Nova is OpenStack Zed, all services on such a machine, measured separately: a figure to compare with, not part
of this run.

| what | Slipway | bare tools, same run | Nova |
|---|---|---|---|
`, "`", time.Now().UTC().Format("2006-01-02"), machine())
	line := func(what string, ours any, raw any, nova string) {
		fmt.Fprintf(&w, "| %s | %v | %v | %s |\n", what, ours, raw, nova)
	}
	if len(r.submit) > 0 {
		r.builds(line)
	}
	for _, n := range crowds {
		if len(r.crowd) > 0 {
			line(fmt.Sprintf("processor time of a build, %d at once, fake hypervisor", n), r.crowd[n], "", "")
		}
	}
	if len(r.pause) > 0 {
		r.powerReport.rows(line)
	}
	if len(r.move) > 0 {
		r.guestReport.rows(line)
	}
	if len(r.show) > 0 {
		r.serverReport.rows(line)
	}
	r.guestDataReport.rows(line)
	if len(r.transfer) > 0 {
		r.transferReport.rows(line)
	}
	if len(r.upload) > 0 {
		r.imageReport.rows(line)
	}
	if len(r.run) > 0 {
		fmt.Fprintf(&w, "\nRunInstances takes %.2f times as long as POST /servers until its answer. It may take 1.2 times as long.\n", times(r.run, r.posted))
	}
	if len(r.raw) > 0 {
		fmt.Fprintf(&w, "\nPOST → ACTIVE on libvirt is %.2f times the bare tools' time. The bare tools are `qemu-img create`, `genisoimage`, `virsh define`\n"+
			"and `virsh start` from one shell, with the same base image, files and domain XML.\n", times(r.libvirt, r.raw))
		if r.rawGone.at(.5) > slowReaper {
			fmt.Fprint(&w, "\nStopping a guest takes long here with the bare tools too. libvirt waits until QEMU has been reaped, and this libvirtd runs\n"+
				"neither under an init that does so at once nor under `slipway dev reap`. Runs that follow each other fall into step with\n"+
				"an init that looks for the dead now and then, so the two medians cannot be compared.\n")
		}
	}
	if len(r.crowd) > 0 {
		alone, most := crowds[0], crowds[len(crowds)-1]
		fmt.Fprintf(&w, "\nOf %d builds at once each takes %.2f times the processor time of a build alone, of all processes of an installation but its clients.\n",
			most, times(r.crowd[most], r.crowd[alone]))
	}
	if len(r.move) > 0 {
		w.WriteString(r.guestReport.text())
	}
	w.WriteString(r.guestDataReport.text())
	if len(r.transfer) > 0 {
		w.WriteString(r.transferReport.text())
	}
	if len(r.upload) > 0 {
		w.WriteString(r.imageReport.text())
	}
	if len(r.idle) > 0 {
		r.memory(&w)
	}
	return w.String()
}

func (r *report) builds(line func(what string, ours, raw any, nova string)) {
	slices.Sort(r.burstRate)
	line("POST → 202, fake hypervisor", r.submit, "", peer.submit)
	line("RunInstances → answer, fake hypervisor, one network", r.run, "", "")
	line("POST → 202, fake hypervisor, one network", r.posted, "", "")
	line("POST → ACTIVE, fake hypervisor", r.fakeActive, "", peer.fake)
	line("DELETE → gone, fake hypervisor", r.fakeDelete, "", peer.fakeDelete)
	line("POST → ACTIVE, libvirt, config drive, no network", r.libvirt, r.raw, peer.libvirt)
	line("POST → ACTIVE, libvirt, config drive, one network", r.libvirtNIC, "", "")
	line("DELETE → gone, libvirt", r.libvirtGone, r.rawGone, peer.libvirtDelete)
	line(fmt.Sprintf("burst of %d, %d at a time, fake hypervisor", burst, atATime),
		fmt.Sprintf("%.1f builds/s (%.1f–%.1f, %d bursts)", r.burstRate[len(r.burstRate)/2], r.burstRate[0], r.burstRate[len(r.burstRate)-1], len(r.burstRate)), "", peer.rate)
	line("POST → ACTIVE in the burst", r.burstActive, "", "")
}

func (r *report) memory(w io.Writer) {
	fmt.Fprintf(w, "\nMemory (proportional set size, MiB). Nova: %s.\n\n| process | idle | after the bursts |\n|---|---|---|\n", peer.memory)
	sumIdle, sumLoaded := 0, 0
	for i, m := range r.idle {
		fmt.Fprintf(w, "| %s | %d | %d |\n", m.process, m.mib, r.loaded[i].mib)
		sumIdle, sumLoaded = sumIdle+m.mib, sumLoaded+r.loaded[i].mib
	}
	fmt.Fprintf(w, "| all | %d | %d |\n", sumIdle, sumLoaded)
}

func machine() string {
	out := func(name string, args ...string) string {
		text, _ := exec.Command(name, args...).Output()
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		return first
	}
	cpu := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if m := regexp.MustCompile(`(?m)^model name\s*: (.*)$`).FindSubmatch(text); m != nil {
			cpu = string(m[1])
		}
	}
	lines := []string{
		fmt.Sprintf("- %d cores, %s, Linux %s; guests are emulated, there is no hardware virtualisation", runtime.NumCPU(), cpu, out("uname", "-r")),
		"- " + out("qemu-system-x86_64", "--version"),
		"- libvirt " + out("virsh", "--version"),
		"- " + out("/usr/lib/postgresql/15/bin/postgres", "--version"),
		"- " + runtime.Version(),
	}
	return strings.Join(lines, "\n")
}
