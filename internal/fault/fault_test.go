package fault

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryKindHasItsTraits(t *testing.T) {
	require.Len(t, kinds, len(Kinds()))
	for _, k := range Kinds() {
		require.Contains(t, kinds, k)
		require.GreaterOrEqual(t, k.Status(), 400)
	}
}

func TestAFaultSurvivesTheWayThroughTemporal(t *testing.T) {
	for _, k := range Kinds() {
		in := fmt.Errorf("while building: %w", Wrap(k, errors.New("disk sda is gone"), "The disk could not be made."))
		out := FromTemporal(ToTemporal(in))
		require.Equal(t, k, out.Kind)
		require.Equal(t, "The disk could not be made.", out.Text)
		require.ErrorContains(t, out, "disk sda is gone")
	}
}

func TestAnUnknownErrorIsInternalAndHidesItsCauseFromUsers(t *testing.T) {
	out := FromTemporal(ToTemporal(errors.New("pq: password of slipway is hunter2")))
	require.Equal(t, Internal, out.Kind)
	require.NotContains(t, out.Text, "hunter2")
	require.ErrorContains(t, out, "hunter2", "the operator still sees it")
}
