package main

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/models"
)

func TestALostAdminIsRecoveredFromTheDatabase(t *testing.T) {
	ctx := t.Context()
	c := config.Default()
	c.Database.DSN = testenv.Database(t)
	store, err := openStore(ctx, c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	t.Setenv("SLIPWAY_DATABASE_DSN", c.Database.DSN)
	said := regexp.MustCompile(`^(\w+) is an admin of the project admin and of the system\. Its password is (\w+): log in, and change it\.\n$`)
	recovered := func(args ...string) (name, password string) {
		var out bytes.Buffer
		cmd := adminCommand()
		cmd.SetArgs(append([]string{"recover"}, args...))
		cmd.SetOut(&out)
		require.NoError(t, cmd.ExecuteContext(ctx))
		found := said.FindStringSubmatch(out.String())
		require.Len(t, found, 3, out.String())
		return found[1], found[2]
	}
	isAdmin := func(name, password string) {
		t.Helper()
		u, err := store.UserByName(ctx, models.DefaultDomain, name)
		require.NoError(t, err)
		require.True(t, u.Enabled)
		require.True(t, auth.CheckPassword(u.PasswordHash, password))
		p, err := store.ProjectByName(ctx, models.DefaultDomain, "admin")
		require.NoError(t, err)
		for _, on := range []models.Scope{{System: true}, {ProjectID: p.ID}} {
			roles, err := store.Roles(ctx, u.ID, on)
			require.NoError(t, err)
			require.Equal(t, []string{auth.RoleAdmin}, roles)
		}
	}
	name, first := recovered()
	require.Equal(t, "admin", name)
	isAdmin("admin", first)
	name, _ = recovered("--user", "alice")
	require.Equal(t, "alice", name)

	admin, err := store.UserByName(ctx, models.DefaultDomain, "admin")
	require.NoError(t, err)
	_, err = store.UpdateUser(ctx, admin.ID, models.UserPatch{Enabled: new(false)})
	require.NoError(t, err)
	_, second := recovered()
	require.NotEqual(t, first, second)
	isAdmin("admin", second)
}
