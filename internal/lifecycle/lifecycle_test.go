package lifecycle

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryActionOfTheTableCanBeginAndEndsSomewhere(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range append([]Action{ResumeGuest}, Tabled()...) {
		require.False(t, seen[a.Name], "%s stands twice", a.Name)
		seen[a.Name] = true
		require.NotEmpty(t, a.From, a.Name)
		for _, s := range append(slices.Clone(a.From), a.To) {
			require.True(t, s == "" || slices.Contains(States(), s), "%s: %s", a.Name, s)
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
		names := func(minor int) (names []string) {
			for _, means := range OfUsers(a.Says(), minor) {
				names = append(names, means.Name)
			}
			return names
		}
		require.Contains(t, names(a.Since), a.Name)
		require.NotContains(t, names(a.Since-1), a.Name, "before it was there")
		if a.Until > 0 {
			require.Contains(t, names(a.Until), a.Name)
			require.NotContains(t, names(a.Until+1), a.Name, "since it is gone")
		}
	}
	require.Empty(t, OfUsers(ResumeGuest.Name, 1000), "it is no user's")
}

// fromOfNova are the states in which Nova lets an action begin: check_instance_state in nova/compute/api.py of Zed, those states left out
// that no server has here; nil is any.
var fromOfNova = map[string][]VMState{
	"os-stop": {Active, Error}, "os-start": {Stopped}, "reboot-soft": {Active}, "reboot-hard": {Active, Stopped, Paused, Suspended, Error},
	"pause": {Active}, "unpause": {Paused}, "suspend": {Active}, "resume": {Suspended},
	"rebuild": {Active, Stopped, Error}, "rescue": {Active, Stopped, Error}, "unrescue": {Rescued}, "restore": {SoftDeleted},
	"createImage": {Active, Paused, Suspended, Stopped}, "createBackup": {Active, Paused, Suspended, Stopped},
	"shelve": {Active, Paused, Suspended, Stopped}, "shelve-at-once": {Active, Paused, Suspended, Stopped}, "shelveOffload": {Shelved},
	"unshelve": {Shelved}, "unshelve-offloaded": {ShelvedOffloaded},
	"resize": {Active, Stopped}, "confirmResize": {Resized}, "revertResize": {Resized}, "migrate": {Active, Stopped},
	"changePassword": {Active}, "trigger_crash_dump": {Active, Paused, Rescued, Error},
	"lock": nil, "unlock": nil, "addSecurityGroup": nil, "removeSecurityGroup": nil, "os-getConsoleOutput": nil, "os-getVNCConsole": nil, "os-getSerialConsole": nil, "os-resetState": nil, "forceDelete": nil,
}

func TestEveryActionMayBeginInTheStatesInWhichNovaLetsIt(t *testing.T) {
	for _, a := range Actions {
		states, known := fromOfNova[a.Name]
		require.True(t, known, a.Name)
		require.ElementsMatch(t, states, a.From, a.Name)
	}
	for _, s := range append(WasBuilt(), Error) {
		if s != SoftDeleted { // as in Nova: a deferred delete of a server that ran once is never refused
			require.True(t, SoftDelete(s).Allows(s), s)
		}
	}
	require.False(t, SoftDelete(Building).Allows(Building), "which is deleted at once")
}

func TestAPhaseWithoutANameOfItsOwnIsToldAsTheOneBefore(t *testing.T) {
	atOnce, _ := Find("shelve-at-once")
	require.Equal(t, []string{"shelve", "shelve", "shelve", "shelve_offload"}, []string{atOnce.ToldIn(0), atOnce.ToldIn(1), atOnce.ToldIn(2), atOnce.ToldLast()})
	resize, _ := Find("resize")
	require.Equal(t, []string{"resize_prep", "resize", "resize_finish"}, []string{resize.Told(), resize.ToldIn(1), resize.ToldLast()})
	kept, _ := Find("shelve")
	require.Equal(t, "shelve", kept.ToldLast())
}

func TestEveryStateHasAStatusAndTheWayBack(t *testing.T) {
	for _, s := range States() {
		states, tasks := OfStatus(Status(s, ""))
		require.Equal(t, []VMState{s}, states)
		require.Empty(t, tasks)
	}
	for _, u := range underway {
		states, tasks := OfStatus(u.status)
		require.Contains(t, tasks, u.task)
		for _, s := range u.in {
			require.Equal(t, u.status, Status(s, u.task))
			require.Contains(t, states, s)
		}
	}
	require.Equal(t, "UNKNOWN", Status("flying", ""))
	states, _ := OfStatus("UNKNOWN")
	require.Empty(t, states)
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
	for _, power := range []int{NoState, Running, PausedGuest, Shutdown} {
		reached[Found(power)] = true
	}
	for _, s := range States() {
		require.True(t, reached[s], s)
	}
}
