package identity

import (
	"encoding/json"
	"fmt"
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
								"domain": {"type": "object"},
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

// known says whether the reference means the only domain.
func (d *domainRef) known() bool {
	return d != nil && (d.ID == DomainID || (d.ID == "" && strings.EqualFold(d.Name, domainName)))
}

type authRequest struct {
	Auth struct {
		Identity struct {
			Methods  []string `json:"methods"`
			Password *struct {
				User struct {
					ID       string     `json:"id"`
					Name     string     `json:"name"`
					Domain   *domainRef `json:"domain"`
					Password string     `json:"password"`
				} `json:"user"`
			} `json:"password"`
			Token *struct {
				ID string `json:"id"`
			} `json:"token"`
		} `json:"identity"`
		Scope scope `json:"scope"`
	} `json:"auth"`
}

// scope is what a token is to be good for: a project, or nothing in particular.
type scope struct {
	project *struct {
		ID     string     `json:"id"`
		Name   string     `json:"name"`
		Domain *domainRef `json:"domain"`
	}
	other bool // domain, system or trust: nobody has a role on those here
}

func (s *scope) UnmarshalJSON(raw []byte) error {
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		// The string "unscoped"; the schema lets no other type through.
		var word string
		if err := json.Unmarshal(raw, &word); err != nil {
			return err
		}
		s.other = word != "unscoped"
		return nil
	}
	for key, value := range keys {
		switch key {
		case "project":
			if err := json.Unmarshal(value, &s.project); err != nil {
				return err
			}
		case "unscoped":
		default:
			s.other = true
		}
	}
	return nil
}

// refuseLogin is the one answer to every login that fails, so that it tells nothing about which part was wrong.
func refuseLogin(c echo.Context, why string, args ...any) error {
	rest.Logger(c).Info("login refused", "why", fmt.Sprintf(why, args...))
	c.Response().Header().Set("WWW-Authenticate", fmt.Sprintf("Keystone uri='%s'", rest.URL(c, "/v3")))
	return fault.New(fault.Unauthorized, "The request you have made requires authentication.")
}

// createToken is POST /v3/auth/tokens.
func (a *API) createToken(c echo.Context) error {
	ctx := c.Request().Context()
	var in authRequest
	if err := rest.Bind(c, authSchema, &in); err != nil {
		return err
	}
	user, methods, expires, err := a.authenticate(c, in)
	if err != nil {
		return err
	}
	project, roles, err := a.resolveScope(c, user, in.Auth.Scope)
	if err != nil {
		return err
	}

	text, hash := auth.NewToken()
	row := models.Token{
		Hash: hash, AuditID: auth.NewAuditID(), UserID: user.ID,
		Methods: strings.Join(methods, ","), IssuedAt: a.now().UTC(), ExpiresAt: expires,
	}
	if project != nil {
		row.ProjectID = project.ID
	}
	if err := a.store.CreateToken(ctx, row); err != nil {
		return fmt.Errorf("record a token of user %s: %w", user.ID, err)
	}
	h := c.Response().Header()
	h.Set("X-Subject-Token", text)
	h.Set(echo.HeaderVary, "X-Auth-Token")
	h.Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusCreated, tokenBody(c, models.TokenInfo{Token: row, User: user, Project: project, Roles: roles}))
}

// authenticate finds who asks. Every method that is named has to succeed, for the same user.
func (a *API) authenticate(c echo.Context, in authRequest) (models.User, []string, time.Time, error) {
	id := in.Auth.Identity
	var user models.User
	fail := func(err error) (models.User, []string, time.Time, error) {
		return models.User{}, nil, time.Time{}, err
	}
	if len(id.Methods) == 0 {
		return fail(refuseLogin(c, "no method"))
	}
	var methods []string
	expires := a.now().UTC().Add(a.ttl)
	for _, method := range id.Methods {
		var found models.User
		var err error
		switch {
		case method == "password" && id.Password != nil:
			found, err = a.byPassword(c, in)
			methods = append(methods, "password")
		case method == "token" && id.Token != nil:
			var info models.TokenInfo
			info, err = a.byToken(c, id.Token.ID)
			found = info.User
			// A token bought with a token lives no longer, and remembers how its ancestor was got.
			if err == nil && info.Token.ExpiresAt.Before(expires) {
				expires = info.Token.ExpiresAt
			}
			methods = append(methods, "token")
			if err == nil {
				methods = append(methods, strings.Split(info.Token.Methods, ",")...)
			}
		case method == "password" || method == "token":
			return fail(fault.New(fault.Invalid, "Expecting to find %s in identity. The server could not comply with the request since it is either malformed or otherwise incorrect. The client is assumed to be in error.", method))
		default:
			return fail(refuseLogin(c, "unsupported method"))
		}
		if err != nil {
			return fail(err)
		}
		if user.ID != "" && user.ID != found.ID {
			return fail(refuseLogin(c, "the methods name different users"))
		}
		user = found
	}
	slices.Sort(methods)
	return user, slices.Compact(methods), expires, nil
}

func (a *API) byPassword(c echo.Context, in authRequest) (models.User, error) {
	ctx := c.Request().Context()
	asked := in.Auth.Identity.Password.User
	if asked.ID == "" && (asked.Name == "" || asked.Domain == nil) {
		return models.User{}, fault.New(fault.Invalid, "Expecting to find the user's id, or its name and domain, in identity.")
	}
	key := "id/" + asked.ID
	var user models.User
	var err error
	switch {
	case asked.ID != "":
		user, err = a.store.User(ctx, asked.ID)
	case asked.Domain.known():
		key = "name/" + strings.ToLower(asked.Name)
		user, err = a.store.UserByName(ctx, DomainID, asked.Name)
	default:
		key = "name/" + strings.ToLower(asked.Name)
		err = fault.New(fault.NotFound, "no such domain")
	}
	if err != nil && !fault.Is(err, fault.NotFound) {
		return models.User{}, fmt.Errorf("find the user that logs in: %w", err)
	}
	if err == nil {
		key = "id/" + user.ID // however it is named, the same user has the same count
	}
	known := err == nil && user.Enabled
	good, err := a.throttle.check(ctx, key, func() bool { return auth.CheckPassword(user.PasswordHash, asked.Password) && known })
	if err != nil {
		return models.User{}, err
	}
	if !good {
		return models.User{}, refuseLogin(c, "no such enabled user with that password")
	}
	return user, nil
}

func (a *API) byToken(c echo.Context, token string) (models.TokenInfo, error) {
	info, err := a.store.Token(c.Request().Context(), auth.HashToken(token), a.now())
	if fault.Is(err, fault.NotFound) {
		return info, refuseLogin(c, "no such token")
	}
	if err != nil {
		return info, fmt.Errorf("look up the token that logs in: %w", err)
	}
	return info, nil
}

// resolveScope finds the project that is asked for and the user's roles on it; nil for an unscoped token.
func (a *API) resolveScope(c echo.Context, user models.User, s scope) (*models.Project, []string, error) {
	ctx := c.Request().Context()
	if s.other {
		return nil, nil, refuseLogin(c, "user %s has no role on a domain, the system or a trust", user.ID)
	}
	if s.project == nil {
		return nil, nil, nil
	}
	var project models.Project
	var err error
	switch {
	case s.project.ID != "":
		project, err = a.store.Project(ctx, s.project.ID)
	case s.project.Name != "" && s.project.Domain != nil:
		if !s.project.Domain.known() {
			return nil, nil, refuseLogin(c, "user %s: no such domain", user.ID)
		}
		project, err = a.store.ProjectByName(ctx, DomainID, s.project.Name)
	default:
		return nil, nil, fault.New(fault.Invalid, "Expecting to find the project's id, or its name and domain, in scope.")
	}
	if fault.Is(err, fault.NotFound) || (err == nil && !project.Enabled) {
		return nil, nil, refuseLogin(c, "user %s: no such enabled project", user.ID)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("find the project of the scope: %w", err)
	}
	roles, err := a.store.Roles(ctx, user.ID, project.ID)
	if err != nil {
		return nil, nil, fmt.Errorf("roles of user %s on project %s: %w", user.ID, project.ID, err)
	}
	if len(roles) == 0 {
		return nil, nil, refuseLogin(c, "user %s has no role on project %s", user.ID, project.ID)
	}
	return &project, roles, nil
}

func tokenBody(c echo.Context, info models.TokenInfo) map[string]any {
	domain := map[string]any{"id": DomainID, "name": domainName}
	token := map[string]any{
		"methods":    strings.Split(info.Token.Methods, ","),
		"user":       map[string]any{"id": info.User.ID, "name": info.User.Name, "domain": domain, "password_expires_at": nil},
		"audit_ids":  []string{info.Token.AuditID},
		"issued_at":  rest.TimeMicro(info.Token.IssuedAt),
		"expires_at": rest.TimeMicro(info.Token.ExpiresAt),
	}
	if info.Project != nil {
		roles := []any{}
		for _, r := range auth.Implied(info.Roles) {
			roles = append(roles, map[string]any{"id": ids.Identity("role", r), "name": r})
		}
		token["project"] = map[string]any{"id": info.Project.ID, "name": info.Project.Name, "domain": domain}
		token["is_domain"] = false
		token["roles"] = roles
		if _, without := c.QueryParams()["nocatalog"]; !without {
			token["catalog"] = catalog(c)
		}
	}
	return map[string]any{"token": token}
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
	h := c.Response().Header()
	h.Set("X-Subject-Token", text)
	h.Set(echo.HeaderVary, "X-Auth-Token")
	h.Set(echo.HeaderCacheControl, "no-store")
	return c.JSON(http.StatusOK, tokenBody(c, info))
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
