package models

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func (w *world) someImage(t testing.TB) string {
	t.Helper()
	i, err := w.CreateImage(context.Background(), Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "private"}, nil)
	require.NoError(t, err)
	return i.ID
}

func TestAnImageGetsItsEC2NumberOnFirstUseAndBothWaysAgree(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	first, second := w.someImage(t), w.someImage(t)
	require.Empty(t, w.snapshot(t)["ec2_image_ids"])
	numbers := map[int64]string{}
	for _, id := range []string{second, first, w.image.ID} {
		n, err := w.EC2ImageID(ctx, id)
		require.NoError(t, err)
		require.Positive(t, n)
		require.NotContains(t, numbers, n)
		numbers[n] = id
		again, err := w.EC2ImageID(ctx, id)
		require.NoError(t, err)
		require.Equal(t, n, again)
	}
	for n, id := range numbers {
		got, err := w.ImageByEC2ID(ctx, n)
		require.NoError(t, err)
		require.Equal(t, id, got)
	}
	require.Len(t, w.snapshot(t)["ec2_image_ids"], 3)
}

func TestWhoeverAsksForAnEC2NumberAtOnceGetsTheSame(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	const images, each = 5, 8
	ids := make([]string, images)
	for i := range ids {
		ids[i] = w.someImage(t)
	}
	got := make([]int64, images*each)
	for i, err := range atOnce(len(got), func(i int) (err error) {
		got[i], err = w.EC2ImageID(ctx, ids[i%images])
		return err
	}) {
		require.NoError(t, err, i)
	}
	owner := map[int64]string{}
	for i, n := range got {
		require.Equal(t, got[i%images], n, "image %d", i%images)
		owner[n] = ids[i%images]
	}
	require.Len(t, owner, images)
	require.Len(t, w.snapshot(t)["ec2_image_ids"], images)
}

func TestAnEC2NumberIsNeverGivenToAnotherImage(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	id := w.someImage(t)
	n, err := w.EC2ImageID(ctx, id)
	require.NoError(t, err)
	_, err = w.DeleteImage(ctx, id, nil)
	require.NoError(t, err)

	got, err := w.EC2ImageID(ctx, id)
	require.NoError(t, err, "what servers were built from has its number after it was deleted")
	require.Equal(t, n, got)
	back, err := w.ImageByEC2ID(ctx, n)
	require.NoError(t, err)
	require.Equal(t, id, back)

	require.NoError(t, w.exec(ctx, `DELETE FROM images WHERE id = $1`, id))
	_, err = w.ImageByEC2ID(ctx, n)
	requireFault(t, err, fault.NotFound, fmt.Sprintf("The image id '[ami-%08x]' does not exist", n))
	next, err := w.EC2ImageID(ctx, w.someImage(t))
	require.NoError(t, err)
	require.Greater(t, next, n)
}

func TestAnImageThatNeverWasHasNoEC2Number(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	id := uuid.NewString()
	_, err := w.EC2ImageID(ctx, id)
	requireFault(t, err, fault.NotFound, "No image found with ID "+id)
	_, err = w.ImageByEC2ID(ctx, 1)
	requireFault(t, err, fault.NotFound, "The image id '[ami-00000001]' does not exist")
	_, err = w.ImageByEC2ID(ctx, 1<<32)
	requireFault(t, err, fault.NotFound, "The image id '[ami-100000000]' does not exist")
	require.Empty(t, w.snapshot(t)["ec2_image_ids"])
}
