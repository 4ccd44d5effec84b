package models

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

func specOf(v Server, key string) ServerSpec {
	return ServerSpec{ServerID: v.ID, KeyID: key, Sealed: []byte("sealed with " + key)}
}

func TestASpecComesWithItsServerAndGoesWithIt(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v, create := w.server("web")
	require.NoError(t, w.RecordServer(ctx, v, create, specOf(v, "k1")))
	require.NoError(t, w.RecordServer(ctx, v, create, specOf(v, "k2")), "the step is done again")
	plain := w.record(t, "of the version before")

	got, err := w.ServerSpecs(ctx, v.ID, plain.ID)
	require.NoError(t, err)
	require.Len(t, got, 1)
	require.Equal(t, "sealed with k1", string(got[v.ID].Sealed), "what is there stays")
	records, err := w.AuditRecords(ctx, AuditQuestion{Servers: []string{v.ID, plain.ID}})
	require.NoError(t, err)
	require.Equal(t, []string{v.ID}, records.Specs)

	require.NoError(t, w.FailServer(ctx, v.ID, create.RequestID, ServerFault{Code: 500, Message: "x"}, nil))
	require.NoError(t, w.ForgetServerSpec(ctx, v.ID), "a server in ERROR keeps its own")
	got, err = w.ServerSpecs(ctx, v.ID)
	require.NoError(t, err)
	require.Len(t, got, 1)

	require.NoError(t, w.RemoveServer(ctx, v.ID, "req-delete", nil, now()))
	_ = w.RecordServer(ctx, v, create, specOf(v, "k1")) // a try of the build that was given up comes late
	got, err = w.ServerSpecs(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestAnotherRequestsSpecIsNotTaken(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v, create := w.server("web")
	require.NoError(t, w.RecordServer(ctx, v, create))
	create.RequestID = "req-other"
	require.Error(t, w.RecordServer(ctx, v, create, specOf(v, "k1")))
	got, err := w.ServerSpecs(ctx, v.ID)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestASpecIsRevisedWhileItIsThere(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	v, create := w.server("web")
	other, otherCreate := w.server("other")
	require.NoError(t, w.RecordServer(ctx, v, create, specOf(v, "k1")))
	require.NoError(t, w.RecordServer(ctx, other, otherCreate, specOf(other, "k1")))
	revise := func(s ServerSpec) (ServerSpec, error) {
		s.KeyID, s.Sealed = "k2", append(s.Sealed, " and more"...)
		return s, nil
	}
	require.NoError(t, w.ReviseServerSpec(ctx, v.ID, revise))
	require.ErrorContains(t, w.ReviseServerSpec(ctx, v.ID, func(s ServerSpec) (ServerSpec, error) { return s, errors.New("no key") }), "no key")
	require.NoError(t, w.ReviseServerSpec(ctx, "none", revise))
	got, err := w.ServerSpecs(ctx, v.ID, other.ID)
	require.NoError(t, err)
	require.Equal(t, "sealed with k1 and more", string(got[v.ID].Sealed))
	require.Equal(t, "k2", got[v.ID].KeyID)
	require.Equal(t, "sealed with k1", string(got[other.ID].Sealed))
}

func TestSpecsAreSealedAnewInStepsThatCanBeInterrupted(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	for range 3 {
		v, create := w.server("web")
		require.NoError(t, w.RecordServer(ctx, v, create, specOf(v, "k1")))
	}
	v, create := w.server("new")
	require.NoError(t, w.RecordServer(ctx, v, create, specOf(v, "k2")))
	needed := func() map[string]int {
		keys, err := w.SpecKeys(ctx)
		require.NoError(t, err)
		return keys
	}
	require.Equal(t, map[string]int{"k1": 3, "k2": 1}, needed())

	reseal := func(s ServerSpec) (ServerSpec, error) {
		require.Equal(t, "sealed with k1", string(s.Sealed))
		return ServerSpec{KeyID: "k2", Sealed: []byte("sealed with k2")}, nil
	}
	n, err := w.ResealSpecs(ctx, "k2", 2, reseal)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, map[string]int{"k1": 1, "k2": 3}, needed())

	_, err = w.ResealSpecs(ctx, "k2", 2, func(ServerSpec) (ServerSpec, error) { return ServerSpec{}, errors.New("no key") })
	require.ErrorContains(t, err, "no key")
	require.Equal(t, map[string]int{"k1": 1, "k2": 3}, needed())

	for want := 1; want >= 0; want-- {
		n, err = w.ResealSpecs(ctx, "k2", 2, reseal)
		require.NoError(t, err)
		require.Equal(t, want, n)
	}
	require.Equal(t, map[string]int{"k2": 4}, needed())
}
