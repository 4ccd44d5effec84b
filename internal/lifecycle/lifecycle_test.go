package lifecycle

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryActionOfTheTableCanBeginAndEndsSomewhere(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range append([]Action{ResumeGuest}, Actions...) {
		require.False(t, seen[a.Name], "%s stands twice", a.Name)
		seen[a.Name] = true
		require.NotEmpty(t, a.From, a.Name)
		for _, s := range append(slices.Clone(a.From), a.To) {
			require.Contains(t, States(), s, a.Name)
		}
		for _, text := range []string{a.Method, a.Task, a.Does, a.Workflow} {
			require.NotEmpty(t, text, a.Name)
		}
		found, ok := Find(a.Name)
		require.True(t, ok)
		require.Equal(t, a.Task, found.Task)
	}
	for _, a := range Actions {
		require.NotEmpty(t, a.Policy, a.Name)
		require.Positive(t, a.Since, a.Name)
		_, ok := OfUsers(a.Name, a.Since)
		require.True(t, ok, a.Name)
		_, ok = OfUsers(a.Name, a.Since-1)
		require.False(t, ok, "%s before it was there", a.Name)
	}
	_, ok := OfUsers(ResumeGuest.Name, 1000)
	require.False(t, ok, "it is no user's")
}

func TestEveryStateHasAStatusAndTheWayBack(t *testing.T) {
	for _, s := range States() {
		require.Contains(t, OfStatus(Status(s)), s)
	}
	require.Equal(t, "UNKNOWN", Status("flying"))
	require.Empty(t, OfStatus("UNKNOWN"))
}

func TestEveryStateCanBeReachedAndADeletedServerStaysDeleted(t *testing.T) {
	reached := map[VMState]bool{Building: true}
	for _, way := range Transitions() {
		for _, from := range way.From {
			require.Contains(t, States(), from, way.By)
			require.NotEqual(t, Deleted, from, way.By)
		}
		require.Contains(t, States(), way.To, way.By)
		require.NotEqual(t, Building, way.To, "%s: no server is built twice", way.By)
		reached[way.To] = true
	}
	for _, s := range States() {
		require.True(t, reached[s], s)
	}
}
