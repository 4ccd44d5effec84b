package main

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

func TestAKeyThatASpecIsSealedWithGoesOnlyAfterTheSpecIsSealedAnew(t *testing.T) {
	ctx := t.Context()
	c := config.Default()
	c.Database.DSN = testenv.Database(t)
	c.Temporal.PayloadKeys = filepath.Join(t.TempDir(), "keys")
	store, err := openStore(ctx, c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	old, fresh := "old "+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32)), "new "+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{2}, 32))
	keys := func(lines ...string) (*payload.Keys, error) {
		require.NoError(t, os.WriteFile(c.Temporal.PayloadKeys, []byte(strings.Join(lines, "\n")), 0o600))
		return openKeys(ctx, c.Temporal, store)
	}

	_, err = store.EnsureProject(ctx, models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	_, err = store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	image, err := store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "public"}, nil)
	require.NoError(t, err)
	before, err := keys(old)
	require.NoError(t, err)
	id, spec := uuid.NewString(), contract.ServerSpec{UserData: []byte("#!/bin/sh")}
	sealed, err := serverspec.Spec.Seal(before, id, spec)
	require.NoError(t, err)
	require.NoError(t, store.RecordServer(ctx, models.Server{ID: id, ProjectID: "p1", UserID: "u1", Name: "s", Hostname: "s", ImageID: image.ID, FlavorID: "1"},
		models.InstanceAction{ServerID: id, RequestID: "req-1", Action: "create", UserID: "u1", ProjectID: "p1"},
		models.ServerSpec{KeyID: sealed.KeyID, Sealed: sealed.Bytes}))

	alice := identity.New(store, before).For(auth.Caller{UserID: "u1", ProjectID: "p1", Roles: []string{auth.RoleAdmin}})
	key, err := alice.CreateAccessKey(ctx, "u1", "p1")
	require.NoError(t, err)

	_, err = keys(fresh)
	require.ErrorContains(t, err, "has no key old any more, and the specs of 1 servers are sealed with it")
	_, err = keys(fresh, old)
	require.NoError(t, err)

	t.Setenv("SLIPWAY_DATABASE_DSN", c.Database.DSN)
	say := func() string {
		var out bytes.Buffer
		cmd := keysCommand()
		cmd.SetArgs([]string{"reseal", "--temporal.payload_keys", c.Temporal.PayloadKeys})
		cmd.SetOut(&out)
		require.NoError(t, cmd.ExecuteContext(ctx))
		return out.String()
	}
	require.Equal(t, "Sealed the specs of 1 servers and 1 credentials anew, with key new.\n", say())
	require.Equal(t, "Sealed the specs of 0 servers and 0 credentials anew, with key new.\n", say())

	after, err := keys(fresh)
	require.NoError(t, err)
	kept, err := store.ServerSpecs(ctx, id)
	require.NoError(t, err)
	opened, err := serverspec.Spec.Open(after, id, payload.Sealed{KeyID: kept[id].KeyID, Bytes: kept[id].Sealed})
	require.NoError(t, err)
	require.Equal(t, spec, opened)
	require.NoError(t, store.EnsureRole(ctx, "u1", "p1", auth.RoleMember))
	secret, who, err := identity.New(store, after).EC2Key(ctx, key.Access)
	require.NoError(t, err)
	require.Equal(t, key.Secret, secret)
	require.Equal(t, auth.Caller{UserID: "u1", ProjectID: "p1", Roles: []string{auth.RoleMember}}, who)
}

func TestAKeyThatACredentialIsSealedWithIsNeeded(t *testing.T) {
	ctx := t.Context()
	c := config.Default()
	c.Database.DSN = testenv.Database(t)
	c.Temporal.PayloadKeys = filepath.Join(t.TempDir(), "keys")
	store, err := openStore(ctx, c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer store.Close()
	require.NoError(t, os.WriteFile(c.Temporal.PayloadKeys, []byte("new "+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{2}, 32))), 0o600))
	u, err := store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	require.NoError(t, store.CreateCredential(ctx, models.Credential{ID: "c1", Type: "cert", UserID: u.ID, KeyID: "old", Sealed: []byte("s"), CreatedAt: time.Now()}))
	_, err = openKeys(ctx, c.Temporal, store)
	require.ErrorContains(t, err, "has no key old any more, and 1 credentials of users are sealed with it")
}
