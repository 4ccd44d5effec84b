package rest

import (
	"context"
	"fmt"

	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/models"
)

// Caller is who makes a request, as its token says.
type Caller struct {
	auth.Caller
	UserName    string
	ProjectName string // "" for an unscoped token
}

// CallerOf is who makes this request; zero where no token was asked for.
func CallerOf(c echo.Context) Caller {
	caller, _ := c.Get(keyCaller).(Caller)
	return caller
}

// SetCaller says who makes this request, where something else than a token tells.
func SetCaller(c echo.Context, caller Caller) { c.Set(keyCaller, caller) }

// Tokens is who knows whose tokens are: NotFound for one that is absent, expired, or whose user or project is disabled.
type Tokens interface {
	Token(ctx context.Context, text string) (models.TokenInfo, error)
}

// SetAuthenticate says with a 401 where clients log in (keystonemiddleware's WWW-Authenticate).
func SetAuthenticate(c echo.Context) {
	c.Response().Header().Set("WWW-Authenticate", fmt.Sprintf("Keystone uri='%s'", IdentityURL(c)))
}

// IdentityURL is where clients log in.
func IdentityURL(c echo.Context) string {
	if u := requestOf(c).identityURL; u != "" {
		return u
	}
	return URL(c, "/v3")
}

// RequireToken lets only requests with a good X-Auth-Token through. Others get 401 with the address of the identity
// service, as keystonemiddleware answers.
func RequireToken(style Style) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			caller, err := authenticate(c)
			if err != nil {
				if fault.Is(err, fault.Unauthorized) {
					SetAuthenticate(c)
				}
				writeError(c, style, err)
				return nil
			}
			c.Set(keyCaller, caller)
			if err := Permit(c, policy.OfRoute(c.Request().Method, c.Path())); err != nil {
				writeError(c, style, err)
				return nil
			}
			return next(c)
		}
	}
}

// Permit holds what the operator's file says of the rule of what is asked for. The caller may do that from here on as somebody may who has
// the role that the table asks.
func Permit(c echo.Context, rule string) error {
	caller := CallerOf(c)
	roles, permitted := requestOf(c).rules.Permit(rule, caller.Roles)
	if !permitted {
		return fault.New(fault.Forbidden, "Policy doesn't allow %s to be performed.", rule)
	}
	caller.Roles = roles
	SetCaller(c, caller)
	return nil
}

func authenticate(c echo.Context) (Caller, error) {
	token := c.Request().Header.Get("X-Auth-Token")
	if token == "" {
		return Caller{}, fault.New(fault.Unauthorized, "The request you have made requires authentication.")
	}
	info, err := requestOf(c).tokens.Token(c.Request().Context(), token)
	if fault.Is(err, fault.NotFound) {
		return Caller{}, fault.New(fault.Unauthorized, "The request you have made requires authentication.")
	}
	if err != nil {
		return Caller{}, fmt.Errorf("look a token up: %w", err)
	}
	return Caller{Caller: info.Caller(), UserName: info.User.Name, ProjectName: info.Project.Name}, nil
}

// RequireProject lets only project-scoped tokens through; comes after RequireToken.
func RequireProject(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if CallerOf(c).ProjectID == "" {
			return fault.New(fault.Forbidden, "This needs a token that is scoped to a project: name a project when you authenticate.")
		}
		return next(c)
	}
}

// RequireAdmin refuses everybody else; comes after RequireToken.
func RequireAdmin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !CallerOf(c).Admin() {
			return fault.New(fault.Forbidden, "Policy doesn't allow this to be performed without the role admin.")
		}
		return next(c)
	}
}
