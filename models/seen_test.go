package models

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func theirToken(user, project Named) TokenInfo {
	home := Named{"acme-id", "Acme"}
	return TokenInfo{User: user, UserDomain: home, Project: project, ProjectDomain: home}
}

func TestWhoIsSeenIsRecordedAsItIsNow(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	ann, web := Named{"u-ann", "ann"}, Named{"p-web", "web"}
	require.NoError(t, w.See(ctx, theirToken(ann, web)))
	require.NoError(t, w.See(ctx, theirToken(ann, web)), "again")
	u, err := w.User(ctx, "u-ann")
	require.NoError(t, err)
	require.Equal(t, "ann", u.Name)
	require.Equal(t, "acme-id", u.DomainID)
	require.Empty(t, u.PasswordHash, "it lets nobody in, should Slipway issue tokens again")
	d, err := w.Domain(ctx, "acme-id")
	require.NoError(t, err)
	require.Equal(t, "Acme", d.Name)

	// Everything has another name by now, and somebody else has the old ones.
	renamed := TokenInfo{
		User: Named{"u-ann", "anna"}, UserDomain: Named{"acme-id", "Acme Corp"}, Project: Named{"p-web", "site"}, ProjectDomain: Named{"acme-id", "Acme Corp"},
	}
	require.NoError(t, w.See(ctx, renamed))
	heirs := TokenInfo{
		User: Named{"u-2", "anna"}, UserDomain: Named{"acme-id", "Acme Corp"}, Project: Named{"p-2", "site"}, ProjectDomain: Named{"acme-id", "Acme Corp"},
		Domain: Named{"other-id", "Acme"},
	}
	require.NoError(t, w.See(ctx, heirs))
	p, err := w.ProjectByName(ctx, "acme-id", "site")
	require.NoError(t, err)
	require.Equal(t, "p-2", p.ID)
	p, err = w.Project(ctx, "p-web")
	require.NoError(t, err, "what it owns is its own, whatever it is called")
	require.NotEqual(t, "site", p.Name)
	require.NoError(t, w.See(ctx, renamed), "and the first one took it back")
	p, err = w.ProjectByName(ctx, "acme-id", "site")
	require.NoError(t, err)
	require.Equal(t, "p-web", p.ID)
}

func TestATokenOfTheSystemOrOfADomainNeedsNoProject(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	info := TokenInfo{User: Named{"u", "u"}, UserDomain: Named{"d", "D"}, Domain: Named{"e", "E"}}
	require.NoError(t, w.See(ctx, info))
	_, err := w.Domain(ctx, "e")
	require.NoError(t, err)
	_, err = w.Project(ctx, "")
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestAProjectThatIsSeenAgainStandsAgain(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	info := theirToken(Named{"u", "u"}, Named{"p", "p"})
	require.NoError(t, w.See(ctx, info))
	require.NoError(t, w.DeleteProject(ctx, "p"))
	require.NoError(t, w.DeleteUser(ctx, "u"))
	require.NoError(t, w.See(ctx, info))
	p, err := w.Project(ctx, "p")
	require.NoError(t, err)
	require.Equal(t, "p", p.Name)
	_, err = w.User(ctx, "u")
	require.NoError(t, err)
}

func TestManyWhoAreSeenAtOnceAreRecordedOnce(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() { // two who change names with each other
			name, other := "a", "b"
			if i%2 == 1 {
				name, other = other, name
			}
			for _, info := range []TokenInfo{theirToken(Named{"u1", name}, Named{"p1", other}), theirToken(Named{"u2", other}, Named{"p2", name})} {
				if err := w.See(ctx, info); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}
