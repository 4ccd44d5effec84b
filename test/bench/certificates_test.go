package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/dev/stack"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/test/system"
)

const (
	// Turns are short, so that what else the machine does falls on both alike.
	certificateRounds = 30
	certificateBurst  = 20
	// What they may cost, in percent of the processor time of a build.
	certificateTarget = 5
)

// BenchmarkCertificates has two installations that differ in nothing but certificates build in turns, and takes the processor
// time of all that belongs to each: its Postgres, its Temporal, api, worker and hosts, with their children.
func BenchmarkCertificates(b *testing.B) {
	sites := map[bool]*site{true: startSite(b, true), false: startSite(b, false)}
	took := map[bool]series{}
	for round := range certificateRounds + 1 {
		for _, on := range []bool{round%2 == 0, round%2 != 0} { // who comes second has it no better
			each := sites[on].round(certificateBurst, atATime)
			if b.Failed() { // a client of its own that does not end this one
				return
			}
			if round > 0 { // the first one warms both up
				took[on] = append(took[on], each)
			}
		}
	}
	text := certificatesText(took[true], took[false])
	fmt.Println(text)
	if *write != "" {
		builds, _ := parts(b)
		require.NoError(b, os.WriteFile(*write, []byte(builds+text), 0o644))
	}
}

const certificatesTitle = "## What certificates cost\n"

// parts are those of the report, each of which is written by the benchmark that measures it.
func parts(b *testing.B) (builds, certificates string) {
	text, err := os.ReadFile(*write)
	require.NoError(b, err)
	builds, certificates, found := strings.Cut(string(text), certificatesTitle)
	if !found {
		return builds + "\n", ""
	}
	return builds, certificatesTitle + certificates
}

func certificatesText(on, off series) string {
	more := make([]float64, len(on))
	for i := range on {
		more[i] = 100 * (float64(on[i])/float64(off[i]) - 1)
	}
	slices.Sort(more)
	return fmt.Sprintf(`%[1]s
Written by %[2]smake bench%[2]s on %[3]s, on %[4]d cores whose load average over 15 minutes was %[13]s at the end: a busy machine spreads
the figures. Two installations on the fake hypervisor, each with a Postgres and a Temporal of its own, built %[5]d servers in turns,
%[6]d at a time: one with certificates everywhere and Temporal's authorizer, one in plain text. Processor time is that of all processes of
the installation, not of its clients. Medians; in brackets the smallest and the largest turn.

| what | processor time of a build |
|---|---|
| with certificates and authorizer | %[7]v |
| in plain text | %[8]v |

They cost %.1[9]f %%, the median of the pairs of turns, half of which are between %.1[10]f and %.1[11]f %%. They may cost %[12]d %%.
`, certificatesTitle, "`", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), certificateBurst, atATime, on, off,
		more[len(more)/2], more[len(more)/4], more[len(more)*3/4], certificateTarget, load())
}

// load is the machine's over the last 15 minutes: proc_loadavg(5).
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	return strings.Fields(string(text))[2]
}

// site is a cloud with parts of its own.
type site struct {
	*cloud
	postgres *stack.Postgres
	temporal *stack.Temporal
}

func startSite(b *testing.B, certificates bool) *site {
	ctx, cancel := context.WithTimeout(b.Context(), 3*patience)
	defer cancel()
	s := &site{}
	dir, log := testenv.GuestDir(b), slog.New(slog.DiscardHandler)
	var err error
	s.postgres, err = stack.StartPostgres(ctx, stack.PostgresOptions{Dir: filepath.Join(dir, "postgres"), Logger: log})
	require.NoError(b, err)
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(b, s.postgres.Stop(ctx))
	})
	require.NoError(b, s.postgres.EnsureDatabase(ctx, "slipway"))
	o := stack.TemporalOptions{
		Binary: filepath.Join(filepath.Dir(testenv.Guest(b)), "bin", "slipway-temporal"), Postgres: s.postgres,
		FrontendAddr: "127.0.0.1:0", LogFile: filepath.Join(dir, "temporal.log"), Logger: log,
	}
	if certificates {
		o.TLS = stack.TemporalTLSIn(testenv.PKI(b))
	}
	s.temporal, err = stack.StartTemporal(ctx, o)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.temporal.Stop()) })
	s.cloud = start(b, system.Options{
		Hypervisor: "fake", Hosts: 2, DSN: s.postgres.DSN("slipway"), Temporal: s.temporal.FrontendAddr, Plaintext: !certificates,
	})
	return s
}

// round builds n servers, so many at a time, and gives the processor time of one.
func (s *site) round(n, at int) time.Duration {
	before := s.processorTime()
	ids, _ := s.burst(n, at, new(series))
	each := (s.processorTime() - before) / time.Duration(n)
	s.removeAll(ids)
	return each
}

func (s *site) processorTime() (sum time.Duration) {
	all := processes()
	pids := []int{s.postgres.Pid(), s.temporal.Pid(), s.Pid("api"), s.Pid("worker")}
	for _, host := range s.Hosts {
		pids = append(pids, s.Pid(host))
	}
	for _, pid := range pids {
		sum += all.time(pid)
	}
	return sum
}
