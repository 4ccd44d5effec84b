package workers

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/hostapi"
)

func TestAProcessorIsReadAsTheKernelTellsOfIt(t *testing.T) {
	const two = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7B12\nphysical id\t: 0\nsiblings\t: 4\ncpu cores\t: 2\nflags\t\t: fpu sse2\n\n" +
		"processor\t: 1\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7B12\nphysical id\t: 1\nsiblings\t: 4\ncpu cores\t: 2\nflags\t\t: fpu sse2\n"
	cpu := processor([]byte(two))
	require.Equal(t, []any{"AuthenticAMD", "AMD EPYC 7B12", []string{"fpu", "sse2"}, hostapi.Topology{Sockets: 2, Cores: 2, Threads: 2}},
		[]any{cpu.Vendor, cpu.Model, cpu.Features, cpu.Topology})
	cpu = processor([]byte("processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\n\nprocessor\t: 1\n"))
	require.Equal(t, []any{"0x41", "", []string{"fp", "asimd"}, hostapi.Topology{Sockets: 1, Cores: 2, Threads: 1}}, []any{cpu.Vendor, cpu.Model, cpu.Features, cpu.Topology})
	require.Equal(t, hostapi.Topology{Sockets: 1, Cores: 1, Threads: 1}, processor(nil).Topology)

	m := (&Registration{}).machine(t.Context())
	require.NotEmpty(t, m.CPU.Features)
	require.True(t, !m.BootedAt.IsZero() && m.BootedAt.Before(time.Now()))
}
