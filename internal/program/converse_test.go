package program

import (
	"bufio"
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestAProgramIsTalkedToUntilItIsToldNothingMore(t *testing.T) {
	for name, confine := range map[string]*Confinement{"plain": nil, "confined": {}} {
		t.Run(name, func(t *testing.T) {
			v, err := Converse(t.Context(), Command{Name: "sh", Confine: confine, Mixed: true, Args: []string{"-c", `while read -r line; do echo "$line" >&2; done; echo the end`}})
			require.NoError(t, err)
			out := bufio.NewReader(v.Out)
			for _, said := range []string{"one\n", "two\n"} {
				_, err := v.In.WriteString(said)
				require.NoError(t, err)
				answer, err := out.ReadString('\n')
				require.NoError(t, err)
				require.Equal(t, said, answer)
			}
			rest, err := v.End()
			require.NoError(t, err)
			require.Equal(t, "the end\n", string(rest))
		})
	}
}

func TestHowAConversationEndedIsSaid(t *testing.T) {
	_, err := Converse(t.Context(), Command{Name: "true", Confine: &Confinement{Files: []File{{Path: "/none/such"}}}})
	require.ErrorContains(t, err, "/none/such")

	v, err := Converse(t.Context(), Command{Name: "sh", Args: []string{"-c", "read -r line; echo why >&2; exit 3"}})
	require.NoError(t, err)
	_, err = v.End()
	require.ErrorContains(t, err, "exit status 3: why")

	v, err = Converse(t.Context(), Command{Name: "sleep", Args: []string{"1000"}, Limits: Limits{Deadline: 10 * time.Millisecond}})
	require.NoError(t, err)
	defer v.Watch(t.Context())()
	_, err = v.Out.Read(make([]byte, 1))
	require.Error(t, err, "it was killed")
	_, err = v.End()
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, fault.Is(Fault(err, "testing"), fault.Unavailable))
}
