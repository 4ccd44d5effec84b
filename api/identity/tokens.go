package identity

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// authSchema is Keystone's (keystone/auth/schema.py token_issue), with bounds on what is kept or hashed.
var authSchema = rest.Schema(`{
	"type": "object",
	"properties": {
		"auth": {
			"type": "object",
			"properties": {
				"identity": {
					"type": "object",
					"properties": {
						"methods": {"type": "array", "items": {"type": "string", "maxLength": 64}, "maxItems": 8},
						"password": {
							"type": "object",
							"properties": {
								"user": {
									"type": "object",
									"properties": {
										"id": {"type": "string", "maxLength": 255},
										"name": {"type": "string", "maxLength": 255},
										"password": {"type": "string", "maxLength": 4096},
										"domain": {"$ref": "#/$defs/domain"}
									},
									"required": ["password"]
								}
							},
							"required": ["user"]
						},
						"token": {
							"type": "object",
							"properties": {"id": {"type": "string", "maxLength": 4096}},
							"required": ["id"]
						},
						"application_credential": {
							"type": "object",
							"properties": {
								"id": {"type": "string", "maxLength": 64},
								"name": {"type": "string", "maxLength": 255},
								"secret": {"type": "string", "maxLength": 4096},
								"user": {
									"type": "object",
									"properties": {
										"id": {"type": "string", "maxLength": 255},
										"name": {"type": "string", "maxLength": 255},
										"domain": {"$ref": "#/$defs/domain"}
									}
								}
							},
							"required": ["secret"]
						}
					},
					"required": ["methods"]
				},
				"scope": {
					"anyOf": [
						{"type": "string", "maxLength": 64},
						{
							"type": "object",
							"properties": {
								"project": {
									"type": ["object", "null"],
									"properties": {
										"id": {"type": "string", "maxLength": 255},
										"name": {"type": "string", "maxLength": 255},
										"domain": {"$ref": "#/$defs/domain"}
									}
								},
								"domain": {"$ref": "#/$defs/domain"},
								"system": {"type": "object"},
								"unscoped": {"type": "object"},
								"OS-TRUST:trust": {"type": "object"}
							}
						}
					]
				}
			},
			"required": ["identity"]
		}
	},
	"required": ["auth"],
	"$defs": {
		"domain": {
			"type": "object",
			"properties": {
				"id": {"type": "string", "maxLength": 255},
				"name": {"type": "string", "maxLength": 255}
			}
		}
	}
}`)

type domainRef struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// userRef is a user by id, or by name and domain.
type userRef struct {
	ID     string     `json:"id"`
	Name   string     `json:"name"`
	Domain *domainRef `json:"domain"`
}

type authRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User struct {
					userRef
					Password string `json:"password"`
				} `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
			Application *struct {
				ID     string   `json:"id"`
				Name   string   `json:"name"`
				Secret string   `json:"secret"`
				User   *userRef `json:"user"`
			} `json:"application_credential"`
		} `json:"identity"`
		Scope scope `json:"scope"`
	} `json:"auth"`
}

// scope is what a token is to be good for. Where nothing is said it is the user's default project.
type scope struct {
	project *struct {
		ID     string     `json:"id"`
		Name   string     `json:"name"`
		Domain *domainRef `json:"domain"`
	}
	domain           *domainRef
	system, unscoped bool
	trust            bool
	given            bool
}

func (s *scope) UnmarshalJSON(raw []byte) error {
	s.given = true
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		// The string "unscoped"; the schema lets no other type through.
		var word string
		if err := json.Unmarshal(raw, &word); err != nil {
			return err
		}
		keys = map[string]json.RawMessage{word: nil}
	}
	for key, value := range keys {
		var err error
		switch key {
		case "project":
			err = json.Unmarshal(value, &s.project)
		case "domain":
			err = json.Unmarshal(value, &s.domain)
		case "system":
			s.system = true
		case "unscoped":
			s.unscoped = true
		default:
			s.trust = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// refuseLogin is the one answer to every login that fails, so that it tells nothing about which part was wrong.
func refuseLogin(c echo.Context, why string, args ...any) error {
	rest.Logger(c).Info("login refused", "why", fmt.Sprintf(why, args...))
	rest.SetAuthenticate(c)
	return fault.New(fault.Unauthorized, "The request you have made requires authentication.")
}

// createToken is POST /v3/auth/tokens.
func (a *API) createToken(c echo.Context) error {
	var in authRequest
	if err := rest.Bind(c, authSchema, &in); err != nil {
		return err
	}
	who, err := a.authenticate(c, in)
	if err != nil {
		return err
	}
	scope, err := a.resolveScope(c, who, in.Auth.Scope)
	if err != nil {
		return err
	}

	text, info, err := a.issue(c, models.Token{
		Chain: who.chain, Parent: who.parent, UserID: who.ID, Scope: scope,
		Methods: strings.Join(who.methods, ","), ExpiresAt: who.expires, ApplicationCredentialID: who.application.id,
	})
	if err != nil {
		return err
	}
	for _, renew := range who.renew {
		renew()
	}
	return a.answerToken(c, http.StatusCreated, text, info)
}

// issue makes a token, and looks it up: one that would let nobody in is refused as a login is.
func (a *API) issue(c echo.Context, row models.Token) (text string, info models.TokenInfo, err error) {
	ctx := c.Request().Context()
	text, row.Hash = auth.NewToken()
	row.AuditID, row.IssuedAt = auth.NewAuditID(), a.now().UTC()
	if err := a.store.CreateToken(ctx, row); fault.Is(err, fault.NotFound) {
		return "", info, refuseLogin(c, "user %s: what the token stands on is gone", row.UserID)
	} else if err != nil {
		return "", info, fmt.Errorf("record a token of user %s: %w", row.UserID, err)
	}
	info, err = a.store.Token(ctx, row.Hash, a.now())
	if fault.Is(err, fault.NotFound) { // it would let nobody in
		if err := a.store.DeleteToken(ctx, row.Hash); err != nil {
			return "", info, fmt.Errorf("take a token of user %s back: %w", row.UserID, err)
		}
		return "", info, refuseLogin(c, "user %s: its domain is disabled, or what the token is for", row.UserID)
	}
	if err != nil {
		return "", info, fmt.Errorf("read a new token of user %s: %w", row.UserID, err)
	}
	return text, info, nil
}

// known is who has logged in, and how.
type known struct {
	models.User
	methods []string
	expires time.Time
	parent  []byte // of a token that was bought with another one
	chain   string
	// application is what application credential was logged in with, now or for the token that is given, and its project.
	application struct{ id, project string }
	renew       []func() // what is made anew of what was checked, once the login holds
}

// with notes the application credential; two different ones are refused.
func (k *known) with(id, project string) bool {
	if k.application.id != "" && k.application.id != id {
		return false
	}
	k.application.id, k.application.project = id, project
	return true
}

// authenticate finds who asks. Every method that is named has to succeed, for the same user.
func (a *API) authenticate(c echo.Context, in authRequest) (known, error) {
	id := in.Auth.Identity
	who := known{expires: a.now().UTC().Add(a.ttl)}
	if len(id.Methods) == 0 {
		return who, refuseLogin(c, "no method")
	}
	for i, method := range id.Methods {
		if slices.Contains(id.Methods[:i], method) {
			continue // named again, it is not checked again
		}
		var found models.User
		var err error
		switch {
		case method == "password" && id.Password != nil:
			found, err = a.byPassword(c, in, &who)
		case method == "token" && id.Token != nil:
			found, err = a.byToken(c, id.Token.ID, &who)
		case method == "application_credential" && id.Application != nil:
			found, err = a.byApplication(c, in, &who)
		case method == "password" || method == "token" || method == "application_credential":
			return who, fault.New(fault.Invalid, "Expecting to find %s in identity. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.", method)
		default:
			return who, refuseLogin(c, "unsupported method")
		}
		if err != nil {
			return who, err
		}
		if who.ID != "" && who.ID != found.ID {
			return who, refuseLogin(c, "the methods name different users")
		}
		who.User, who.methods = found, append(who.methods, method)
	}
	slices.Sort(who.methods)
	who.methods = slices.Compact(who.methods)
	return who, nil
}

// domainOf is the id of the domain that is meant; NotFound for one that is not there.
func (a *API) domainOf(c echo.Context, ref domainRef) (string, error) {
	if ref.ID != "" {
		return ref.ID, nil
	}
	d, err := a.store.DomainByName(c.Request().Context(), ref.Name)
	return d.ID, err
}

// named finds a user, and what its failures are counted by: however it is named, the same user has the same count.
func (a *API) named(c echo.Context, ref userRef) (user models.User, key string, err error) {
	if ref.ID == "" && (ref.Name == "" || ref.Domain == nil) {
		return user, "", fault.New(fault.Invalid, "Expecting to find the user's id, or its name and domain, in identity.")
	}
	key = "id/" + ref.ID
	if ref.ID != "" {
		user, err = a.store.User(c.Request().Context(), ref.ID)
	} else {
		key = "name/" + strings.ToLower(ref.Name)
		var domain string
		if domain, err = a.domainOf(c, *ref.Domain); err == nil {
			user, err = a.store.UserByName(c.Request().Context(), domain, ref.Name)
		}
	}
	switch {
	case err == nil:
		key = "id/" + user.ID
	case !fault.Is(err, fault.NotFound):
		err = fmt.Errorf("find the user that logs in: %w", err)
	}
	return user, key, err
}

func (a *API) byPassword(c echo.Context, in authRequest, who *known) (models.User, error) {
	ctx := c.Request().Context()
	asked := in.Auth.Identity.Password.User
	user, key, err := a.named(c, asked.userRef)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return models.User{}, err
	}
	known := err == nil && user.Enabled
	good, err := a.throttle.check(ctx, clientOf(c.Request().RemoteAddr), key, func() bool { return auth.CheckPassword(user.PasswordHash, asked.Password) && known })
	if err != nil {
		return models.User{}, err
	}
	if !good {
		return models.User{}, refuseLogin(c, "no such enabled user with that password")
	}
	who.renew = append(who.renew, func() { rehash(c, user.ID, user.PasswordHash, asked.Password, a.store.RehashPassword) })
	return user, nil
}

// rehash makes a hash anew that has other parameters than today's, now that what it is of is known. Nobody is kept out where that fails.
func rehash(c echo.Context, id, old, secret string, replace func(ctx context.Context, id, from, to string) error) {
	if !auth.Outdated(old) {
		return
	}
	fresh, err := auth.HashPassword(secret)
	if err == nil {
		err = replace(c.Request().Context(), id, old, fresh)
	}
	if err != nil {
		rest.Logger(c).Warn("a hash of before was left as it is", "id", id, "error", err)
	}
}

// byApplication finds whose application credential it is. Its failures count by themselves: they keep nobody from using the password.
func (a *API) byApplication(c echo.Context, in authRequest, who *known) (models.User, error) {
	ctx := c.Request().Context()
	asked := in.Auth.Identity.Application
	if in.Auth.Scope.given {
		return models.User{}, fault.New(fault.Unauthorized, "Error authenticating with application credential: Application credentials cannot request a scope.")
	}
	var (
		user models.User
		key  string
		as   models.ApplicationCredential
		err  error
	)
	switch {
	case asked.ID != "":
		if as, err = a.store.ApplicationCredential(ctx, asked.ID); err == nil {
			user, err = a.store.User(ctx, as.UserID)
		}
		key = "application/" + asked.ID
	case asked.Name != "" && asked.User != nil:
		if user, key, err = a.named(c, *asked.User); err == nil {
			as, err = a.store.ApplicationCredentialByName(ctx, user.ID, asked.Name)
		}
		key = "application/" + cmp.Or(as.ID, key)
	default:
		err = fault.New(fault.Invalid, "Expecting to find the application credential's id, or its name and user, in identity.")
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return models.User{}, err
	}
	known := err == nil && user.Enabled && (as.ExpiresAt == nil || as.ExpiresAt.After(a.now()))
	good, err := a.throttle.check(ctx, clientOf(c.Request().RemoteAddr), key, func() bool { return auth.CheckPassword(as.SecretHash, asked.Secret) && known })
	if err != nil {
		return models.User{}, err
	}
	if !good || !who.with(as.ID, as.ProjectID) {
		return models.User{}, refuseLogin(c, "no such application credential of an enabled user with that secret")
	}
	who.renew = append(who.renew, func() { rehash(c, as.ID, as.SecretHash, asked.Secret, a.store.RehashSecret) })
	if as.ExpiresAt != nil && as.ExpiresAt.Before(who.expires) {
		who.expires = *as.ExpiresAt
	}
	return user, nil
}

// byToken finds whose token it is. What is bought with a token lives no longer, dies with it, and remembers how it was got.
func (a *API) byToken(c echo.Context, token string, who *known) (models.User, error) {
	ctx := c.Request().Context()
	info, err := a.store.Token(ctx, auth.HashToken(token), a.now())
	if fault.Is(err, fault.NotFound) {
		return models.User{}, refuseLogin(c, "no such token")
	}
	if err != nil {
		return models.User{}, fmt.Errorf("look up the token that logs in: %w", err)
	}
	if info.Token.ExpiresAt.Before(who.expires) {
		who.expires = info.Token.ExpiresAt
	}
	if info.Application.ID != "" && !who.with(info.Application.ID, info.Token.Scope.ProjectID) {
		return models.User{}, refuseLogin(c, "the token is of another application credential")
	}
	who.parent, who.chain = info.Token.Hash, cmp.Or(info.Token.Chain, info.Token.AuditID)
	who.methods = append(who.methods, strings.Split(info.Token.Methods, ",")...)
	u, err := a.store.User(ctx, info.User.ID)
	if fault.Is(err, fault.NotFound) {
		return u, refuseLogin(c, "the token's user is gone")
	}
	return u, err
}

// resolveScope finds what the token is asked for, on which the user has to have a role; nothing for an unscoped token. Who logs in
// with an application credential gets its project, and nothing else by a token of it.
func (a *API) resolveScope(c echo.Context, who known, s scope) (models.Scope, error) {
	user := who.User
	on, err := a.scopeOf(c, user, s)
	if own := who.application.project; err == nil && own != "" {
		if s.given && on != (models.Scope{ProjectID: own}) {
			return on, refuseLogin(c, "user %s: an application credential is for its project alone", user.ID)
		}
		on = models.Scope{ProjectID: own}
	}
	if fault.Is(err, fault.NotFound) {
		return on, refuseLogin(c, "user %s: no such project or domain", user.ID)
	}
	if err != nil || on == (models.Scope{}) {
		return on, err
	}
	has, err := a.hasRoleOn(c, user, on)
	if err == nil && !has {
		return on, refuseLogin(c, "user %s has no role there, or it is disabled: %+v", user.ID, on)
	}
	return on, err
}

func (a *API) scopeOf(c echo.Context, user models.User, s scope) (on models.Scope, err error) {
	switch {
	case s.trust:
		return on, fault.New(fault.Invalid, "Trusts are not served: scope the token to a project, a domain or the system.")
	case s.system:
		on.System = true
	case s.domain != nil:
		on.DomainID, err = a.domainOf(c, *s.domain)
	case s.project != nil:
		on.ProjectID, err = a.projectOf(c, s)
	case s.unscoped, user.DefaultProjectID == nil:
		return on, nil
	default:
		return a.defaultScope(c, user)
	}
	return on, err
}

func (a *API) projectOf(c echo.Context, s scope) (string, error) {
	switch p := s.project; {
	case p.ID != "":
		return p.ID, nil
	case p.Name != "" && p.Domain != nil:
		domain, err := a.domainOf(c, *p.Domain)
		if err != nil {
			return "", err
		}
		project, err := a.store.ProjectByName(c.Request().Context(), domain, p.Name)
		return project.ID, err
	}
	return "", fault.New(fault.Invalid, "Expecting to find the project's id, or its name and domain, in scope.")
}

// defaultScope is the user's default project where that is enabled and the user has a role on it, else nothing.
func (a *API) defaultScope(c echo.Context, user models.User) (models.Scope, error) {
	on := models.Scope{ProjectID: *user.DefaultProjectID}
	if p, err := a.store.Project(c.Request().Context(), on.ProjectID); fault.Is(err, fault.NotFound) || err == nil && !p.Enabled {
		return models.Scope{}, nil
	} else if err != nil {
		return models.Scope{}, err
	}
	if has, err := a.hasRoleOn(c, user, on); err != nil || !has {
		return models.Scope{}, err
	}
	return on, nil
}

// hasRoleOn says whether the user has a role on something that is enabled.
func (a *API) hasRoleOn(c echo.Context, user models.User, on models.Scope) (bool, error) {
	roles, err := a.store.Roles(c.Request().Context(), user.ID, on)
	if err != nil {
		return false, fmt.Errorf("roles of user %s: %w", user.ID, err)
	}
	return len(roles) > 0, nil
}

// answerToken answers with a token and what it stands for.
func (a *API) answerToken(c echo.Context, status int, text string, info models.TokenInfo) error {
	roles, err := a.rolesOf(c, info.Roles)
	if err != nil {
		return err
	}
	body, err := a.tokenBody(c, info, roles)
	if err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("X-Subject-Token", text)
	h.Set(echo.HeaderVary, "X-Auth-Token")
	h.Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(status, body)
}

// rolesOf are the roles of those names, with what they imply, as a token shows them.
func (a *API) rolesOf(c echo.Context, names []string) ([]any, error) {
	return a.rolesNamed(c, append(slices.Clone(names), auth.Implied(names)...))
}

// rolesNamed are the roles of those names, by name. Those of the policy have the ids that they had from the beginning; only others
// are looked up.
func (a *API) rolesNamed(c echo.Context, names []string) ([]any, error) {
	found, others := map[string]string{}, []string{}
	for _, name := range names {
		if slices.Contains(auth.Roles(), name) {
			found[name] = ids.Identity("role", name)
		} else {
			others = append(others, name)
		}
	}
	if len(others) > 0 {
		rows, err := a.store.RolesNamed(c.Request().Context(), others)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			found[r.Name] = r.ID
		}
	}
	roles := []any{}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		roles = append(roles, object{"id": found[name], "name": name})
	}
	return roles, nil
}

func (a *API) tokenBody(c echo.Context, info models.TokenInfo, roles []any) (object, error) {
	named := func(n models.Named, domain *models.Named) object {
		o := object{"id": n.ID, "name": n.Name}
		if domain != nil {
			o["domain"] = object{"id": domain.ID, "name": domain.Name}
		}
		return o
	}
	user := named(info.User, &info.UserDomain)
	user["password_expires_at"] = nil
	audit := []string{info.Token.AuditID}
	if info.Token.Chain != "" {
		audit = append(audit, info.Token.Chain)
	}
	token := object{
		"methods": strings.Split(info.Token.Methods, ","), "user": user, "audit_ids": audit,
		"issued_at": rest.TimeMicro(info.Token.IssuedAt), "expires_at": rest.TimeMicro(info.Token.ExpiresAt),
	}
	scope := info.Token.Scope
	switch {
	case scope.ProjectID != "":
		token["project"], token["is_domain"] = named(info.Project, &info.ProjectDomain), false
	case scope.DomainID != "":
		token["domain"] = named(info.Domain, nil)
	case scope.System:
		token["system"] = object{"all": true}
	default:
		return object{"token": token}, nil
	}
	if as := info.Application; as.ID != "" {
		token["application_credential"] = object{"id": as.ID, "name": as.Name, "restricted": !as.Unrestricted}
	}
	token["roles"] = roles
	if _, without := c.QueryParams()["nocatalog"]; !without {
		list, err := a.catalog(c, scope.ProjectID, info.User.ID)
		if err != nil {
			return nil, err
		}
		token["catalog"] = list
	}
	return object{"token": token}, nil
}

// subject is the token that X-Subject-Token names, if the caller may look at it: its own user's, or any for an admin.
func (a *API) subject(c echo.Context) (models.TokenInfo, string, error) {
	text := c.Request().Header.Get("X-Subject-Token")
	info, err := a.store.Token(c.Request().Context(), auth.HashToken(text), a.now())
	if fault.Is(err, fault.NotFound) {
		return info, "", fault.New(fault.NotFound, "Could not find token.") // never with the token in it
	}
	if err != nil {
		return info, "", fmt.Errorf("look a subject token up: %w", err)
	}
	caller := rest.CallerOf(c)
	if info.User.ID != caller.UserID && !caller.Admin() {
		return info, "", fault.New(fault.Forbidden, "You are not authorized to perform the requested action.")
	}
	return info, text, nil
}

// showToken is GET and HEAD /v3/auth/tokens.
func (a *API) showToken(c echo.Context) error {
	info, text, err := a.subject(c)
	if err != nil {
		return err
	}
	return a.answerToken(c, http.StatusOK, text, info)
}

// deleteToken revokes X-Subject-Token.
func (a *API) deleteToken(c echo.Context) error {
	info, _, err := a.subject(c)
	if err != nil {
		return err
	}
	if err := a.store.DeleteToken(c.Request().Context(), info.Token.Hash); err != nil {
		return fmt.Errorf("revoke token %s: %w", info.Token.AuditID, err)
	}
	return rest.NoContent(c)
}
