package contract

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryActivityHasOneRow(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range Activities() {
		require.NotEmpty(t, a.Name)
		require.False(t, seen[a.Name], "%s stands twice", a.Name)
		seen[a.Name] = true
		require.Equal(t, a.Name, ActivityOf(a.Name).Name)
		require.Equal(t, reflect.Struct, a.Input.Kind(), "%s: only a struct can grow", a.Name)
	}
}

func TestEveryStepOnAHostNamesTheServerWhoseOrderItKeepsOrSaysWhyNot(t *testing.T) {
	for _, a := range Activities() {
		if a.Scope != OnHost {
			require.Empty(t, a.NoServer, a.Name)
			require.False(t, a.Turn(), a.Name)
			continue
		}
		in := reflect.New(a.Input).Elem()
		if a.NoServer != "" {
			require.Empty(t, a.Server(in.Interface()), a.Name)
			require.NotEqual(t, OwesUndo, a.Owes, "%s would overtake what it undoes", a.Name)
			continue
		}
		in.FieldByName("ServerID").SetString("a")
		require.Equal(t, "a", a.Server(in.Interface()), "%s: say of which server it is, or an undo will not wait for it", a.Name)
	}
}

func TestAnUndoOnAHostWaitsForNoTurn(t *testing.T) {
	for _, a := range Activities() {
		if a.Owes == OwesUndo {
			require.False(t, a.Turn(), a.Name)
		}
	}
	require.True(t, ActivityOf(BuildDisk).Turn())
	require.False(t, ActivityOf(FetchImage).Turn())
}
