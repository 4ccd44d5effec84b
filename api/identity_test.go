package api

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/identity"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/models"
)

type object = map[string]any

func login(user, pass object, scope any) object {
	for k, v := range pass {
		user[k] = v
	}
	a := object{"identity": object{"methods": []string{"password"}, "password": object{"user": user}}}
	if scope != nil {
		a["scope"] = scope
	}
	return object{"auth": a}
}

func byName(name string) object { return object{"name": name, "domain": object{"id": "default"}} }
func with(pass string) object   { return object{"password": pass} }

func TestLoggingInGivesATokenThatWorks(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		user    object
		scope   any
		project string
	}{
		"by name":            {byName("demo"), object{"project": byName("demo")}, demoProject},
		"by domain name":     {object{"name": "demo", "domain": object{"name": "Default"}}, object{"project": object{"name": "demo", "domain": object{"name": "Default"}}}, demoProject},
		"by id":              {object{"id": demoUser}, object{"project": object{"id": demoProject}}, demoProject},
		"without scope":      {byName("demo"), nil, ""},
		"unscoped":           {byName("demo"), object{"unscoped": object{}}, ""},
		"unscoped as a word": {byName("demo"), "unscoped", ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("", "POST", "/v3/auth/tokens", login(c.user, with(password), c.scope))
			require.Equal(t, 201, a.status, string(a.body))
			subject := a.header.Get("X-Subject-Token")
			require.Len(t, subject, 43)
			token := a.json(t)["token"].(object)
			require.Equal(t, object{"id": demoUser, "name": "demo", "domain": object{"id": "default", "name": "Default"}, "password_expires_at": nil}, token["user"])
			require.Equal(t, []any{"password"}, token["methods"])
			require.Len(t, token["audit_ids"], 1)
			expires, err := time.Parse("2006-01-02T15:04:05.000000Z", token["expires_at"].(string))
			require.NoError(t, err)
			require.WithinDuration(t, time.Now().Add(config.Default().API.TokenTTL), expires, time.Minute)
			if c.project == "" {
				for _, absent := range []string{"project", "roles", "catalog", "is_domain"} {
					require.NotContains(t, token, absent)
				}
			} else {
				require.Equal(t, object{"id": c.project, "name": "demo", "domain": object{"id": "default", "name": "Default"}}, token["project"])
				require.Equal(t, false, token["is_domain"])
				var roles []string
				for _, r := range token["roles"].([]any) {
					roles = append(roles, r.(object)["name"].(string))
				}
				require.Equal(t, []string{"member", "reader"}, roles)
				require.Len(t, token["catalog"], 5)
			}
			w.tokens["new"] = subject
			seen := w.do("new", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", subject)
			require.Equal(t, 200, seen.status)
			require.Equal(t, subject, seen.header.Get("X-Subject-Token"))
			require.JSONEq(t, string(a.body), string(seen.body), "what is shown of a token is what was answered when it was made")
		})
	}
	require.NotContains(t, w.log.String(), password)
}

func TestEveryRefusedLoginGetsTheSameAnswerAndLeavesNothing(t *testing.T) {
	w := newWorld(t)
	before := w.everything()
	demo := object{"project": byName("demo")}
	for name, body := range map[string]object{
		"wrong password":             login(byName("demo"), with("wrong"), demo),
		"empty password":             login(byName("demo"), with(""), demo),
		"overlong password":          login(byName("demo"), with(password+strings.Repeat("x", 100)), demo),
		"unknown user":               login(byName("nobody"), with(password), demo),
		"unknown user id":            login(object{"id": "nobody"}, with(password), demo),
		"unknown domain":             login(object{"name": "demo", "domain": object{"id": "elsewhere"}}, with(password), demo),
		"disabled user":              login(byName("disabled"), with(password), demo),
		"unknown project":            login(byName("demo"), with(password), object{"project": byName("nothing")}),
		"somebody else's project":    login(byName("demo"), with(password), object{"project": object{"id": otherProject}}),
		"project in another domain":  login(byName("demo"), with(password), object{"project": object{"name": "demo", "domain": object{"id": "elsewhere"}}}),
		"domain scope":               login(byName("admin"), with(password), object{"domain": object{"id": "default"}}),
		"system scope":               login(byName("admin"), with(password), object{"system": object{"all": true}}),
		"a method that is not known": {"auth": object{"identity": object{"methods": []string{"totp"}}}},
		"no method":                  {"auth": object{"identity": object{"methods": []string{}}}},
		"unknown token":              {"auth": object{"identity": object{"methods": []string{"token"}, "token": object{"id": "nonsense"}}}},
		"expired token":              {"auth": object{"identity": object{"methods": []string{"token"}, "token": object{"id": w.tokens["expired"]}}}},
		"two users at once": {"auth": object{"identity": object{"methods": []string{"password", "token"},
			"password": object{"user": object{"id": adminUser, "password": password}}, "token": object{"id": w.tokens["demo"]}}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("", "POST", "/v3/auth/tokens", body)
			require.Equal(t, 401, a.status, string(a.body))
			require.JSONEq(t, `{"error": {"code": 401, "message": "The request you have made requires authentication.", "title": "Unauthorized"}}`, string(a.body))
			require.Equal(t, fmt.Sprintf("Keystone uri='%s/v3'", w.url), a.header.Get("WWW-Authenticate"))
			require.Empty(t, a.header.Get("X-Subject-Token"))
		})
	}
	require.Equal(t, before, w.everything())
	require.NotContains(t, w.log.String(), password)
}

func TestALoginThatIsNoLoginIsRefusedAsSuch(t *testing.T) {
	w := newWorld(t)
	before := w.everything()
	for name, c := range map[string]struct {
		body   any
		status int
	}{
		"no JSON":               {`{"auth": `, 400},
		"nothing":               {``, 400},
		"wrong type":            {`{"auth": []}`, 400},
		"no identity":           {`{"auth": {}}`, 400},
		"methods are no list":   {`{"auth": {"identity": {"methods": "password"}}}`, 400},
		"password is a number":  {login(byName("demo"), object{"password": 5}, nil), 400},
		"no password":           {login(byName("demo"), nil, nil), 400},
		"method without part":   {`{"auth": {"identity": {"methods": ["password"]}}}`, 400},
		"name without domain":   {login(object{"name": "demo"}, with(password), nil), 400},
		"over-long name":        {login(byName(strings.Repeat("n", 256)), with(password), nil), 400},
		"endless password":      {login(byName("demo"), with(strings.Repeat("p", 5000)), nil), 400},
		"scope is a list":       {login(byName("demo"), with(password), []string{"x"}), 400},
		"project without a key": {login(byName("demo"), with(password), object{"project": object{}}), 400},
		"null character":        {login(byName("de\x00mo"), with(password), nil), 400},
		"over-large":            {login(byName("demo"), with(strings.Repeat("p", 200_000)), nil), 413},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("", "POST", "/v3/auth/tokens", c.body)
			require.Equal(t, c.status, a.status, string(a.body))
			require.EqualValues(t, c.status, a.json(t)["error"].(object)["code"])
		})
	}
	require.Equal(t, 415, w.do("", "POST", "/v3/auth/tokens", `{}`, "Content-Type", "text/plain").status)
	require.Equal(t, before, w.everything())
}

func TestTooManyFailedLoginsOfAUserWaitAndOthersDoNot(t *testing.T) {
	w := newWorld(t)
	var statuses []int
	for range 12 {
		statuses = append(statuses, w.do("", "POST", "/v3/auth/tokens", login(byName("demo"), with("guess"), nil)).status)
	}
	require.Equal(t, []int{401, 401, 401, 401, 401, 401, 401, 401, 401, 401, 429, 429}, statuses)
	a := w.do("", "POST", "/v3/auth/tokens", login(object{"id": demoUser}, with(password), nil))
	require.Equal(t, 429, a.status, "by another name it is the same user, and even the right password waits")
	require.Equal(t, "3", a.header.Get("Retry-After"))
	require.EqualValues(t, 429, a.json(t)["error"].(object)["code"])
	require.Equal(t, 201, w.do("", "POST", "/v3/auth/tokens", login(byName("other"), with(password), nil)).status)
}

func TestASuccessfulLoginIsNeverThrottled(t *testing.T) {
	w := newWorld(t)
	for range 25 {
		require.Equal(t, 201, w.do("", "POST", "/v3/auth/tokens", login(byName("demo"), with(password), nil)).status)
	}
}

func TestATokenBoughtWithATokenLivesNoLonger(t *testing.T) {
	w := newWorld(t)
	old := w.do("demo", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["unscoped"]).json(t)["token"].(object)
	a := w.do("", "POST", "/v3/auth/tokens", object{"auth": object{
		"identity": object{"methods": []string{"token"}, "token": object{"id": w.tokens["unscoped"]}},
		"scope":    object{"project": object{"id": demoProject}},
	}})
	require.Equal(t, 201, a.status, string(a.body))
	token := a.json(t)["token"].(object)
	require.Equal(t, old["expires_at"], token["expires_at"])
	require.Equal(t, []any{"password", "token"}, token["methods"])
	require.Equal(t, demoProject, token["project"].(object)["id"])
}

func TestATokenEndsWhenItIsRevoked(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 403, w.do("other", "DELETE", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["demo"]).status)
	require.Equal(t, 403, w.do("other", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["demo"]).status)
	head := w.do("admin", "HEAD", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["demo"])
	require.Equal(t, 200, head.status)
	require.Empty(t, head.body)
	require.Equal(t, 404, w.do("demo", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", "nonsense").status)
	require.Equal(t, 404, w.do("demo", "GET", "/v3/auth/tokens", nil).status)
	require.Equal(t, 404, w.do("demo", "GET", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["expired"]).status)

	require.Equal(t, 204, w.do("demo", "DELETE", "/v3/auth/tokens", nil, "X-Subject-Token", w.tokens["demo"]).status)
	require.Equal(t, 401, w.do("demo", "GET", "/v3/auth/projects", nil).status)
	for _, token := range w.tokens {
		require.NotContains(t, w.log.String(), token)
	}
}

func TestEveryProtectedPathRefusesNobodyAndExpiredTokens(t *testing.T) {
	w := newWorld(t)
	before := w.everything()
	const id = "0c1f3a52-7f55-4c1e-9a0e-0d3f3d1f0a11"
	for _, r := range []string{
		"GET /v3/auth/tokens", "DELETE /v3/auth/tokens", "GET /v3/auth/catalog", "GET /v3/auth/projects", "GET /v3/projects",
		"GET /v3/users", "GET /v3/users/" + demoUser, "GET /v3/domains", "GET /v3/regions", "GET /v3/services", "GET /v3/endpoints",
		"GET /image/v2/images", "POST /image/v2/images", "GET /image/v2/images/" + id, "PATCH /image/v2/images/" + id,
		"DELETE /image/v2/images/" + id, "PUT /image/v2/images/" + id + "/file", "GET /image/v2/images/" + id + "/file",
		"PUT /image/v2/images/" + id + "/tags/x", "DELETE /image/v2/images/" + id + "/tags/x", "GET /image/v2/schemas/image",
		"GET /compute/v2.1/servers", "POST /compute/v2.1/servers", "GET /network/v2.0/networks",
	} {
		method, path, _ := strings.Cut(r, " ")
		for _, as := range []string{"", "expired"} {
			a := w.do(as, method, path, nil)
			require.Equal(t, 401, a.status, "%s as %q", r, as)
			require.Equal(t, fmt.Sprintf("Keystone uri='%s/v3'", w.url), a.header.Get("WWW-Authenticate"), r)
		}
	}
	require.Equal(t, before, w.everything())
}

func TestNamesAreShownToThoseWhoMaySeeThem(t *testing.T) {
	w := newWorld(t)
	names := func(a answer, collection string) []string {
		var list []string
		for _, o := range a.json(t)[collection].([]any) {
			list = append(list, o.(object)["name"].(string))
		}
		return list
	}
	require.Equal(t, []string{"demo"}, names(w.do("unscoped", "GET", "/v3/auth/projects", nil), "projects"))
	require.Equal(t, []string{"admin", "demo", "other"}, names(w.do("admin", "GET", "/v3/projects", nil), "projects"))
	require.Equal(t, []string{"other"}, names(w.do("admin", "GET", "/v3/projects?name=other&domain_id=default", nil), "projects"))
	require.Equal(t, []string{"disabled"}, names(w.do("admin", "GET", "/v3/users?enabled=false", nil), "users"))
	require.Equal(t, []string{"demo"}, names(w.do("demo", "GET", "/v3/users/"+demoUser+"/projects", nil), "projects"))
	require.Equal(t, []string{"Default"}, names(w.do("demo", "GET", "/v3/domains?name=Default", nil), "domains"))
	require.Equal(t, []string{"glance"}, names(w.do("demo", "GET", "/v3/services?type=image", nil), "services"))

	for path, want := range map[string][3]int{ // as demo, as other, as admin
		"/v3/projects":                        {403, 403, 200},
		"/v3/projects/" + demoProject:         {200, 403, 200},
		"/v3/projects/nothing":                {403, 403, 404},
		"/v3/users":                           {403, 403, 200},
		"/v3/users/" + demoUser:               {200, 403, 200},
		"/v3/users/nobody":                    {403, 403, 404},
		"/v3/users/" + demoUser + "/projects": {200, 403, 200},
		"/v3/domains/default":                 {200, 200, 200},
		"/v3/domains/nothing":                 {404, 404, 404},
		"/v3/regions/RegionOne":               {200, 200, 200},
		"/v3/roles":                           {200, 200, 200},
		"/v3/endpoints":                       {200, 200, 200},
		"/v3/services/nothing":                {404, 404, 404},
	} {
		for i, as := range []string{"demo", "other", "admin"} {
			require.Equal(t, want[i], w.do(as, "GET", path, nil).status, "%s as %s", path, as)
		}
	}
	require.NotContains(t, string(w.do("admin", "GET", "/v3/users", nil).body), "$2a$", "no password hashes")
}

func TestBootstrapMakesWhoIsThereUntilSomebodyIsAnAdmin(t *testing.T) {
	ctx := context.Background()
	store, err := models.Open(ctx, testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	for name, bad := range map[string]identity.BootstrapOptions{
		"no password":     {Users: []identity.BootstrapUser{{Name: "x"}}},
		"unknown project": {Users: []identity.BootstrapUser{{Name: "x", Password: "y", Roles: map[string]string{"z": "admin"}}}},
	} {
		require.Error(t, identity.Bootstrap(ctx, store, bad), name)
	}
	first := identity.DefaultBootstrap("first", "demo")
	halfway := first
	halfway.Users = halfway.Users[:1]
	require.NoError(t, identity.Bootstrap(ctx, store, halfway), "it died before its last user")
	require.NoError(t, identity.Bootstrap(ctx, store, first))
	once, err := store.Snapshot(ctx)
	require.NoError(t, err)
	require.Len(t, once["users"], 2)
	require.Len(t, once["projects"], 2)
	require.Len(t, once["grants"], 4)

	demo, err := store.ProjectByName(ctx, "default", "demo")
	require.NoError(t, err)
	require.NoError(t, store.DeleteProject(ctx, demo.ID))
	require.NoError(t, identity.Bootstrap(ctx, store, identity.DefaultBootstrap("second", "demo")))
	_, err = store.ProjectByName(ctx, "default", "demo")
	require.Error(t, err, "what its admins have deleted since does not come back")
	admin, err := store.UserByName(ctx, "default", "admin")
	require.NoError(t, err)
	require.True(t, auth.CheckPassword(admin.PasswordHash, "first"), "nor does a password that they may have changed")
	require.Len(t, identity.DefaultBootstrap("a", "").Users, 1, "no demo password, no demo user")
}

func BenchmarkTokenCheckWithPostgres(b *testing.B) {
	w := newWorld(b)
	hash := auth.HashToken(w.tokens["demo"])
	b.Run("lookup", func(b *testing.B) {
		for b.Loop() {
			if _, err := w.store.Token(context.Background(), hash, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("request", func(b *testing.B) {
		for b.Loop() {
			if a := w.do("demo", "GET", "/v3/domains", nil); a.status != 200 {
				b.Fatal(a.status)
			}
		}
	})
}
