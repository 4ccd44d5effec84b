// Package apitest gives the API's tests a running HTTP server on a database of their own, with users who hold tokens.
package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/service/identity"
	"github.com/slipway-cloud/slipway/models"
)

// Env is a database and a server in front of it.
type Env struct {
	Store *models.Store
	URL   string
	DSN   string // of the database
}

// User is somebody with a token for one project.
type User struct {
	UserID    string
	ProjectID string
	Token     string
}

// New starts a server with what mount adds to it.
func New(t testing.TB, mount func(e *echo.Echo, store *models.Store)) *Env {
	t.Helper()
	dsn := testenv.Migrated(t)
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	store, err := models.Open(t.Context(), dsn, models.Options{Logger: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	e := echo.New()
	e.Pre(rest.CanonicalPath)
	e.Use(rest.Parameters)
	e.Use(rest.Begin(rest.Options{Logger: log, Tokens: identity.New(store, nil)}))
	mount(e, store)
	server := httptest.NewServer(e)
	t.Cleanup(server.Close)
	return &Env{Store: store, URL: server.URL, DSN: dsn}
}

// User makes a user with the role on the project, which is made too if it is new.
func (e *Env) User(t testing.TB, project, role string) User {
	t.Helper()
	return e.UserUntil(t, project, role, time.Now().Add(time.Hour))
}

// UserUntil is User with a token that ends at the time.
func (e *Env) UserUntil(t testing.TB, project, role string, until time.Time) User {
	t.Helper()
	ctx := context.Background()
	p, err := e.Store.EnsureProject(ctx, models.Project{ID: newID(), Name: project, DomainID: "default", Enabled: true})
	require.NoError(t, err)
	u, err := e.Store.EnsureUser(ctx, models.User{ID: newID(), Name: "user-" + newID(), DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	require.NoError(t, e.Store.EnsureRole(ctx, u.ID, p.ID, role))
	token, hash := auth.NewToken()
	require.NoError(t, e.Store.CreateToken(ctx, models.Token{
		Hash: hash, AuditID: auth.NewAuditID(), UserID: u.ID, Scope: models.Scope{ProjectID: p.ID}, Methods: "password",
		IssuedAt: time.Now().Add(-time.Hour), ExpiresAt: until,
	}))
	return User{UserID: u.ID, ProjectID: p.ID, Token: token}
}

func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }

// Answer is what came back.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// JSON reads the body.
func (a Answer) JSON(t testing.TB) map[string]any {
	t.Helper()
	var v map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.Body), &v), "body: %s", a.Body)
	return v
}

// At follows keys and reads what lies there.
func (a Answer) At(t testing.TB, keys ...string) any {
	t.Helper()
	var v any = a.JSON(t)
	for _, k := range keys {
		m, ok := v.(map[string]any)
		require.True(t, ok, "no %s in %s", k, a.Body)
		v = m[k]
	}
	return v
}

// Message is the text of an error body, whatever its style.
func (a Answer) Message(t testing.TB) string {
	t.Helper()
	for _, v := range a.JSON(t) {
		if m, ok := v.(map[string]any); ok {
			if s, ok := m["message"].(string); ok {
				return s
			}
		}
	}
	return ""
}

// Do sends a request. body is sent as it is where it is a string, else as JSON; headers are pairs.
func (e *Env) Do(t testing.TB, method, path, token string, body any, headers ...string) Answer {
	t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		require.NoError(t, err)
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, e.URL+path, content)
	require.NoError(t, err)
	if content != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return Answer{Status: res.StatusCode, Header: res.Header, Body: string(raw)}
}
