package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// asHost makes the test's binary one of the two hosts: its value is an end.
const asHost = "SLIPWAY_TEST_TRANSFER"

// end is a host that may be killed at any moment.
type end struct {
	PKI       string
	Instances string // of the one that offers; "" is the other one
	Dir       string // of the other one
	Offer     contract.DiskOffer
}

func TestMain(m *testing.M) {
	text := os.Getenv(asHost)
	if text == "" {
		os.Exit(m.Run())
	}
	var e end
	err := json.Unmarshal([]byte(text), &e)
	if err == nil {
		err = e.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (e end) run() error {
	s := &site{TB: &testing.B{}, pki: e.PKI, metrics: NewMetrics(prometheus.NewRegistry()), timing: Timing{Pause: 5 * time.Millisecond}}
	if e.Instances == "" {
		r := s.receiver("host-dst")
		r.Checkpoint = 4 << 20
		return r.Receive(context.Background(), e.Dir, arrival(e.Offer))
	}
	o := NewOffers(Options{Listen: "127.0.0.1:0", Hostname: "src", TLS: s.serverTLS("host-src"), Metrics: s.metrics, Logger: slog.New(slog.DiscardHandler)})
	if err := o.TakeUp(context.Background(), e.Instances); err != nil {
		return err
	}
	select {}
}

// process is an end that runs. Its death is told by over.
type process struct {
	*exec.Cmd
	said bytes.Buffer
	over chan error
}

func (e end) start(t *testing.T) *process {
	t.Helper()
	text, err := json.Marshal(e)
	require.NoError(t, err)
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0]), over: make(chan error, 1)}
	p.Env, p.Stdout, p.Stderr = append(os.Environ(), asHost+"="+string(text)), &p.said, &p.said
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.Start())
	go func() { p.over <- p.Wait() }()
	return p
}

func (p *process) kill() {
	_ = p.Process.Kill()
	<-p.over
}

func TestWhoeverIsKilledTheDisksArriveWholeAndNothingIsBegunAnew(t *testing.T) {
	s := newSite(t)
	s.put("disk", 200<<20, map[int64][]byte{0: noise(1, 96<<20), 120 << 20: noise(2, 32<<20)})
	s.put("disk.eph0", 64<<20, map[int64][]byte{8 << 20: noise(3, 16<<20)})
	s.put("disk.config", 400_000, map[int64][]byte{0: noise(4, 400_000)})
	o := s.offer("disk", "disk.eph0", "disk.config")
	s.offers.Close()
	src, dst := end{PKI: s.pki, Instances: s.instances, Offer: o}, end{PKI: s.pki, Dir: s.target(), Offer: o}
	source := src.start(t)
	defer func() { source.kill() }()
	kills, furthest := 0, state{}
	for arrived := false; !arrived; kills++ {
		require.Less(t, kills, 200, "it gets nowhere: %+v", furthest)
		dest := dst.start(t)
		select {
		case err := <-dest.over:
			require.NoError(t, err, "%s", dest.said.String())
			arrived = true
		case <-time.After(time.Duration(60+rand.IntN(120)+5*kills) * time.Millisecond):
			if rand.IntN(3) == 0 {
				source.kill()
				source = src.start(t)
			}
			dest.kill()
		}
		var now state
		text, err := os.ReadFile(filepath.Join(dst.Dir, stateName))
		if err == nil {
			require.NoError(t, json.Unmarshal(text, &now))
		}
		require.GreaterOrEqual(t, now.Done+now.Part, furthest.Done+furthest.Part)
		furthest = now
	}
	t.Logf("%d deaths", kills)
	s.same(dst.Dir, "disk", "disk.eph0", "disk.config")
}
