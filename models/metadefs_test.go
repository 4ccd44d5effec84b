package models

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func TestANamespaceOfDefinitionsIsMadeOnceAndNothingIsPutIntoOneThatGoes(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	all := MetadefViewer{All: true}
	made := atOnce(4, func(int) error {
		_, err := w.CreateMetadefNamespace(ctx, MetadefNamespace{Namespace: "n", Visibility: "public", OwnerID: "p1", Items: []MetadefItem{{Kind: MetadefTag, Name: "t", Body: json.RawMessage("{}")}}})
		return err
	})
	require.Equal(t, 1, succeeded(made))
	for _, err := range made {
		require.True(t, err == nil || fault.Is(err, fault.Conflict), err)
	}
	added := atOnce(4, func(int) error {
		_, err := w.AddMetadefItem(ctx, all, "n", MetadefItem{Kind: MetadefProperty, Name: "p", Body: json.RawMessage(`{"type": "string"}`)})
		return err
	})
	require.Equal(t, 1, succeeded(added))

	errs := atOnce(6, func(i int) error {
		if i == 0 {
			return w.DeleteMetadefNamespace(ctx, all, "n")
		}
		_, err := w.AddMetadefItem(ctx, all, "n", MetadefItem{Kind: MetadefObject, Name: fmt.Sprint(i), Body: json.RawMessage("{}")})
		return err
	})
	require.NoError(t, errs[0])
	for _, err := range errs[1:] {
		require.True(t, err == nil || fault.Is(err, fault.NotFound), err)
	}
	left, err := w.Snapshot(ctx)
	require.NoError(t, err)
	require.Empty(t, left["metadef_namespaces"])
	require.Empty(t, left["metadef_items"])
}

func TestWhatIsInAProtectedNamespaceStaysWhoeverProtectsItMeanwhile(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	all := MetadefViewer{All: true}
	n, err := w.CreateMetadefNamespace(ctx, MetadefNamespace{Namespace: "n", Visibility: "public", OwnerID: "p1", Items: []MetadefItem{
		{Kind: MetadefTag, Name: "a", Body: json.RawMessage("{}")}, {Kind: MetadefTag, Name: "b", Body: json.RawMessage("{}")},
	}})
	require.NoError(t, err)
	n.Protected = true
	errs := atOnce(5, func(i int) error {
		switch i {
		case 0:
			_, err := w.ChangeMetadefNamespace(ctx, all, "n", n)
			return err
		case 1:
			return w.RemoveMetadefItems(ctx, all, "n", MetadefTag)
		case 2:
			return w.SetMetadefTags(ctx, all, "n", []string{"c"}, false)
		}
		return w.RemoveMetadefItem(ctx, all, "n", MetadefTag, "a")
	})
	require.NoError(t, errs[0])
	for _, err := range errs[1:] {
		require.True(t, err == nil || fault.Is(err, fault.Forbidden) || fault.Is(err, fault.NotFound), err)
	}
	before, err := w.MetadefNamespace(ctx, all, "n", MetadefTag)
	require.NoError(t, err)
	require.True(t, before.Protected)
	for _, err := range []error{
		w.DeleteMetadefNamespace(ctx, all, "n"), w.RemoveMetadefItems(ctx, all, "n", MetadefTag),
	} {
		requireFault(t, err, fault.Forbidden, "Metadata definition namespace n is protected and cannot be deleted.")
	}
	after, err := w.MetadefNamespace(ctx, all, "n", MetadefTag)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
