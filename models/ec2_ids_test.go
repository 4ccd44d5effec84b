package models

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

func TestAnEC2IDFindsTheOnlyRowThatItIsMadeOf(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v, a := w.server("one")
	require.NoError(t, w.RecordServer(ctx, v, a))
	is, err := ids.ParseEC2(ids.EC2Instance, ids.EC2(ids.EC2Instance, v.ID))
	require.NoError(t, err)
	no, err := ids.ParseEC2(ids.EC2Instance, ids.EC2(ids.EC2Instance, uuid.NewString()))
	require.NoError(t, err)
	found, err := w.OfEC2(ctx, ids.EC2Instance, []ids.UUIDs{no, is})
	require.NoError(t, err)
	require.Equal(t, map[ids.UUIDs]string{is: v.ID}, found)

	// Another with the same first 17 digits: neither may be taken for the other.
	twin, b := w.server("two")
	twin.ID = v.ID[:24] + "000000000000"
	b.ServerID = twin.ID
	require.NoError(t, w.RecordServer(ctx, twin, b))
	found, err = w.OfEC2(ctx, ids.EC2Instance, []ids.UUIDs{is})
	require.NoError(t, err)
	require.Empty(t, found)

	for kind := range ec2Tables {
		_, err := w.OfEC2(ctx, kind, []ids.UUIDs{is})
		require.NoError(t, err, kind)
	}
}

func TestImagesGetTheirEC2IDsTogetherAsTheyDoOneByOne(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	kernel, err := w.CreateImage(ctx, Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "private", ContainerFormat: new("aki")}, nil)
	require.NoError(t, err)
	root, never := w.someImage(t), uuid.NewString()
	got, err := w.EC2ImageIDs(ctx, []string{kernel.ID, root, never, root})
	require.NoError(t, err)
	require.Len(t, got, 2)
	for id, text := range got {
		kind, number, err := ids.ParseEC2Image(text)
		require.NoError(t, err)
		require.Equal(t, map[string]ids.EC2Kind{kernel.ID: ids.EC2Kernel, root: ids.EC2Machine}[id], kind)
		one, err := w.EC2ImageID(ctx, id)
		require.NoError(t, err)
		require.Equal(t, one, number)
	}
	again, err := w.EC2ImageIDs(ctx, []string{root, kernel.ID})
	require.NoError(t, err)
	require.Equal(t, got, again)
	none, err := w.EC2ImageIDs(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestWhatWasDeletedIsListedForAsLongAsItIsAskedFor(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v, a := w.server("one")
	require.NoError(t, w.RecordServer(ctx, v, a))
	_, err := w.pool.Exec(ctx, `UPDATE servers SET vm_state = 'deleted', deleted_at = $1 WHERE id = $2`, time.Now().Add(-30*time.Minute), v.ID)
	require.NoError(t, err)
	list := func(f ServerFilter) int {
		all, err := w.ListServers(ctx, f)
		require.NoError(t, err)
		return len(all)
	}
	require.Equal(t, 0, list(ServerFilter{ProjectID: v.ProjectID}))
	require.Equal(t, 1, list(ServerFilter{ProjectID: v.ProjectID, DeletedSince: new(time.Now().Add(-time.Hour))}))
	require.Equal(t, 1, list(ServerFilter{IDs: []string{v.ID}, DeletedSince: new(time.Now().Add(-time.Hour))}))
	require.Equal(t, 0, list(ServerFilter{DeletedSince: new(time.Now().Add(-time.Minute))}))
	_, err = w.Server(ctx, v.ID)
	require.True(t, fault.Is(err, fault.NotFound))
}
