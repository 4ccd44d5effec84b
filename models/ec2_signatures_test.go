package models

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestASignatureIsTakenOnceForAsLongAsItHolds(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	soon := time.Now().Add(time.Minute)
	firsts := make([]bool, 8)
	for i, err := range atOnce(len(firsts), func(i int) (err error) {
		firsts[i], err = w.TakeSignature(ctx, []byte{1}, soon)
		return err
	}) {
		require.NoError(t, err, i)
	}
	n := 0
	for _, first := range firsts {
		if first {
			n++
		}
	}
	require.Equal(t, 1, n)
	first, err := w.TakeSignature(ctx, []byte{2}, time.Now().Add(-time.Second))
	require.NoError(t, err)
	require.True(t, first)
	require.Len(t, w.snapshot(t)["ec2_signatures"], 2)
	first, err = w.TakeSignature(ctx, []byte{3}, soon)
	require.NoError(t, err)
	require.True(t, first)
	require.Len(t, w.snapshot(t)["ec2_signatures"], 2, "what holds no more is forgotten")
	first, err = w.TakeSignature(ctx, []byte{1}, soon)
	require.NoError(t, err)
	require.False(t, first)
}
