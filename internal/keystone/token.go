package keystone

import (
	"errors"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Named is an id with its name, and its domain's where it has one.
type Named struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Domain *Named `json:"domain"`
}

// Token is what Keystone says of one. The parts that its scope has not are zero.
type Token struct {
	User, Project, Domain Named
	System                bool
	Roles                 []string // by name, with what they imply
	Methods, AuditIDs     []string
	IssuedAt, ExpiresAt   time.Time

	Application Named // credential that was logged in with
	Restricted  bool  // and whether it may make others
}

// answer is Keystone's body (api-ref/identity/v3, "Validate and show information for token").
type answer struct {
	Token struct {
		User    Named  `json:"user"`
		Project *Named `json:"project"`
		Domain  *Named `json:"domain"`
		System  struct {
			All bool `json:"all"`
		} `json:"system"`
		Roles       []Named   `json:"roles"`
		Methods     []string  `json:"methods"`
		AuditIDs    []string  `json:"audit_ids"`
		IssuedAt    time.Time `json:"issued_at"`
		ExpiresAt   time.Time `json:"expires_at"`
		IsDomain    bool      `json:"is_domain"`
		Application *struct {
			Named
			Restricted  bool  `json:"restricted"`
			AccessRules []any `json:"access_rules"`
		} `json:"application_credential"`
	} `json:"token"`
}

// token is the answer, checked.
func (a answer) token(now time.Time) (Token, error) {
	in := a.Token
	out := Token{
		User: in.User, System: in.System.All, Methods: in.Methods, AuditIDs: in.AuditIDs, IssuedAt: in.IssuedAt.UTC(), ExpiresAt: in.ExpiresAt.UTC(),
	}
	if in.ExpiresAt.IsZero() || !in.User.whole(true) {
		return Token{}, malformed("a token without its user or its end")
	}
	if !out.ExpiresAt.After(now) {
		return Token{}, errNoToken
	}
	scopes := 0
	if in.System.All {
		scopes++
	}
	if in.Domain != nil {
		out.Domain = *in.Domain
		if scopes++; !in.Domain.whole(false) {
			return Token{}, malformed("a token without its domain's name")
		}
	}
	if in.Project != nil {
		if in.IsDomain {
			return Token{}, fault.New(fault.Forbidden, "This token is scoped to a domain that acts as a project: name a project when you authenticate.")
		}
		out.Project = *in.Project
		if scopes++; !in.Project.whole(true) {
			return Token{}, malformed("a token without its project's name or domain")
		}
	}
	for _, role := range in.Roles {
		if !text(role.Name) {
			return Token{}, malformed("a role without a name")
		}
		out.Roles = append(out.Roles, role.Name)
	}
	switch {
	case scopes > 1:
		return Token{}, malformed("a token with two scopes")
	case scopes == 1 && len(out.Roles) == 0:
		return Token{}, errNoToken // nothing is asked without a role
	case scopes == 0:
		out.Roles = nil
	}
	if as := in.Application; as != nil {
		if len(as.AccessRules) > 0 {
			return Token{}, fault.New(fault.Forbidden, "This application credential has access rules, which are not held here: make one without.")
		}
		out.Application, out.Restricted = as.Named, as.Restricted
	}
	return out, nil
}

// maxText is the longest id or name that Keystone keeps.
const maxText = 255

func text(s string) bool { return s != "" && len(s) <= maxText*4 && !strings.ContainsRune(s, 0) }

// whole says whether all is there that a record needs.
func (n Named) whole(inDomain bool) bool {
	return text(n.ID) && text(n.Name) && (!inDomain || n.Domain != nil && n.Domain.whole(false))
}

func malformed(what string) error {
	return fault.Wrap(fault.Unavailable, errors.New("keystone answered with "+what), "The identity service's answer cannot be read. Please try again later.")
}
