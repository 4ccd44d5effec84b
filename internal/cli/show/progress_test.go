package show

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAStepIsALineWithItsSignDurationHostAndFault(t *testing.T) {
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		step Step
		now  time.Duration
		want string
	}{
		{Step{name: "SelectHost", started: began, finished: began.Add(12 * time.Millisecond), result: "Success"}, 0, "  ✓ SelectHost           12 ms"},
		{Step{name: "FetchImage", host: "hv1", started: began}, 2300 * time.Millisecond, "  ⠸ FetchImage           2.3 s  hv1"},
		{Step{name: "FetchImage", host: "hv1", started: began}, -time.Second, "  ⠋ FetchImage            0 ms  hv1"},
		{Step{name: "StartDomain", host: "hv1", started: began, finished: began.Add(75 * time.Second), result: "Error", details: "no memory\nleft"}, 0,
			"  ✗ StartDomain          1m15s  hv1  no memory left"},
	} {
		require.Equal(t, tc.want, stepLine(tc.step, began.Add(tc.now)))
	}
}

func TestStepsAreReadOldestFirstAndThoseNotBegunAreLeftOut(t *testing.T) {
	var action Object
	require.NoError(t, json.Unmarshal([]byte(`{"events":[
	 {"event":"FetchImage","start_time":"2030-01-02T03:04:06.500000","finish_time":null,"result":null,"host":null,"hostId":"0123456789abcdef"},
	 {"event":"StartDomain","start_time":null,"finish_time":null,"result":null},
	 {"event":"SelectHost","start_time":"2030-01-02T03:04:05.000000","finish_time":"2030-01-02T03:04:05.012000","result":"Success","host":"ctl"}]}`), &action))
	steps := StepsOf(action)
	require.Len(t, steps, 2)
	require.Equal(t, "SelectHost", steps[0].name)
	require.Equal(t, 12*time.Millisecond, steps[0].finished.Sub(steps[0].started))
	require.False(t, steps[0].Running())
	require.Equal(t, "FetchImage", steps[1].name)
	require.Equal(t, "01234567", steps[1].host)
	require.True(t, steps[1].Running())
}

func TestAStepKeepsItsLineWhenOthersOfItsNameFollow(t *testing.T) {
	require.Equal(t, []string{"AllocateNetwork#1", "AllocateNetwork#2", "StartDomain#1", "StartDomain#2"},
		keys([]Step{{name: "AllocateNetwork"}, {name: "AllocateNetwork"}, {name: "StartDomain"}, {name: "StartDomain"}}))
}

func TestWithoutATerminalEachStepIsPrintedOnceWhenItHasEnded(t *testing.T) {
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	view := NewStepView(&out, false, time.Now)
	running := Step{name: "BuildDisk", started: began}
	done := Step{name: "BuildDisk", started: began, finished: began.Add(time.Second), result: "Success"}
	view.Show([]Step{running})
	require.Empty(t, out.String())
	view.Show([]Step{done})
	view.Show([]Step{done, {name: "DefineDomain", started: began.Add(time.Second)}})
	view.Close()
	require.Equal(t, "  ✓ BuildDisk            1.0 s\n", out.String())
}

func TestALineNeverWrapsTheTerminal(t *testing.T) {
	require.Equal(t, "  ✓ Bu…", cut("  ✓ BuildDisk", 7))
	require.Equal(t, "  ✓ BuildDisk", cut("  ✓ BuildDisk", 13))
}
