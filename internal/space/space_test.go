package space

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
)

func TestAFloorIsBytesOrAShareAndOfSeveralTheLeast(t *testing.T) {
	const total = 1000 << 20
	for text, want := range map[string]int64{
		"": 0, "0": 0, "0%": 0, "1048576": 1 << 20, "5%": 50 << 20, "2.5%": 25 << 20, "5%,1048576": 1 << 20, "1073741824, 5%": 50 << 20,
	} {
		f, err := Parse(text)
		require.NoError(t, err, text)
		require.Equal(t, want, f.of(total), text)
	}
	for _, text := range []string{"-1", "5 %x", "1GiB", "100%", "-1%", "NaN%", "5%,", "much"} {
		_, err := Parse(text)
		require.ErrorContains(t, err, "neither bytes", text)
	}
}

func TestWhatWouldComeBelowTheFloorIsRefusedWithTheFigures(t *testing.T) {
	dir := testenv.SmallDisk(t, "16m")
	f, err := Parse("25%")
	require.NoError(t, err)
	require.NoError(t, f.Check(dir, 12<<20))
	err = f.Check(dir, 12<<20+1)
	require.ErrorIs(t, err, unix.ENOSPC)
	var full *Full
	require.ErrorAs(t, err, &full)
	require.Equal(t, Full{Path: dir, Free: 16 << 20, Floor: 4 << 20, Asked: 12<<20 + 1}, *full)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), make([]byte, 13<<20), 0o600))
	require.ErrorIs(t, f.Check(dir, 0), unix.ENOSPC)
	require.NoError(t, Floor{}.Check(dir, 1<<40), "without a floor the filesystem itself says it")
}

func TestAWatchEndsWhatComesBelowTheFloorAndNothingElse(t *testing.T) {
	dir := testenv.SmallDisk(t, "16m")
	f, err := Parse("8388608")
	require.NoError(t, err)
	ctx, stop := f.Watch(t.Context(), dir)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other"), make([]byte, 9<<20), 0o600))
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), unix.ENOSPC)
	stop()

	require.NoError(t, os.Remove(filepath.Join(dir, "other")))
	ctx, stop = f.Watch(t.Context(), dir)
	stop()
	require.ErrorIs(t, context.Cause(ctx), context.Canceled)
}
