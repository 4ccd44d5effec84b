package control

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// starts notes which builds were asked for, and fails some.
type starts struct {
	Builds
	mu      sync.Mutex
	running int
	most    int
	places  []int
	fail    map[int]fault.Kind
	full    chan struct{} // closed when as many run as may; until then none ends
}

func (s *starts) Start(_ context.Context, in contract.BootInput) error {
	s.mu.Lock()
	s.running++
	if s.running == parallelStarts && s.most < parallelStarts {
		close(s.full)
	}
	s.most = max(s.most, s.running)
	s.mu.Unlock()
	<-s.full
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.places = append(s.places, in.LaunchIndex)
	if kind, ok := s.fail[in.LaunchIndex]; ok {
		return fault.New(kind, "no %d", in.LaunchIndex)
	}
	return nil
}

func TestBuildsAreStartedOnceEachAndSomeAtATime(t *testing.T) {
	for name, c := range map[string]struct {
		fail map[int]fault.Kind
		want contract.StartedBuilds
		err  fault.Kind
	}{
		"all begin":            {nil, contract.StartedBuilds{}, ""},
		"some are refused":     {map[int]fault.Kind{61: fault.Internal, 42: fault.Internal}, contract.StartedBuilds{Refused: []int{42, 61}, Reason: "no 42"}, ""},
		"one is not answered":  {map[int]fault.Kind{55: fault.Unavailable}, contract.StartedBuilds{}, fault.Unavailable},
		"both, and tried anew": {map[int]fault.Kind{55: fault.Unavailable, 42: fault.Internal}, contract.StartedBuilds{}, fault.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := &starts{fail: c.fail, full: make(chan struct{})}
			a := New(Options{Builds: s})
			out, err := a.StartBuilds(t.Context(), contract.StartBuildsInput{
				Boot: contract.BootInput{Server: contract.Server{ServerID: uuid.NewString(), Name: "web"}}, Admitted: 70, From: 40, To: 70,
			})
			if c.err != "" {
				require.True(t, fault.Is(err, c.err), "%v", err)
			} else {
				require.NoError(t, err)
			}
			require.Equal(t, c.want, out)
			slices.Sort(s.places)
			require.Len(t, s.places, 30, "one that fails does not keep the others")
			require.Equal(t, []int{40, 69}, []int{s.places[0], s.places[29]})
			require.Len(t, slices.Compact(s.places), 30)
			require.Equal(t, parallelStarts, s.most)
		})
	}
}
