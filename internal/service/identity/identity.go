// Package identity is who there is: domains, projects, users, groups, roles, and who has which role on what. It decides who may
// see and change them as Keystone's default policies do (docs.openstack.org/keystone/latest/configuration/policy.html).
package identity

import (
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/models"
)

// Service is asked by every protocol.
type Service struct {
	store *models.Store
	keys  *payload.Keys
	above []string // the roles that a domain's admin gives nobody, as one that is an admin's
}

// New makes the service. The keys seal credentials; what touches none of these needs none. Further roles that are worth an admin's, as an operator's
// rules lend it to them, are guarded like that one.
func New(store *models.Store, keys *payload.Keys, above ...string) *Service {
	return &Service{store, keys, append([]string{auth.RoleAdmin}, above...)}
}

// Repository is what one caller sees and changes.
type Repository struct {
	store   *models.Store
	service *Service
	caller  auth.Caller
}

// For is the service as a caller has it.
func (s *Service) For(caller auth.Caller) *Repository { return &Repository{s.store, s, caller} }

// Administers refuses who is no admin of everything.
func (r *Repository) Administers(rule string) error { return r.may(writes, rule, "") }

// right is whether a caller may do something to what belongs to a domain; "" is what belongs to none.
type right func(caller auth.Caller, domainID string) bool

// reads has whoever reads the whole system, or the domain.
func reads(c auth.Caller, domainID string) bool {
	return c.Admin() || auth.Has(c.Roles, auth.RoleReader) && (c.System || domainID != "" && c.DomainID == domainID)
}

// writes has an admin, and in its domain the domain's.
func writes(c auth.Caller, domainID string) bool {
	return c.Admin() || auth.Has(c.Roles, auth.RoleAdmin) && domainID != "" && c.DomainID == domainID
}

func forbidden(rule string) error {
	return fault.New(fault.Forbidden, "You are not authorized to perform the requested action: identity:%s.", rule)
}

// may refuses what the caller has no right to.
func (r *Repository) may(has right, rule, domainID string) error {
	if !has(r.caller, domainID) {
		return forbidden(rule)
	}
	return nil
}

// Keeps refuses who changes nothing anywhere, before it is read what is to be changed.
func (r *Repository) Keeps(rule string) error {
	if !auth.Has(r.caller.Roles, auth.RoleAdmin) {
		return forbidden(rule)
	}
	return nil
}

// judged is a row that was read, for who has the right to it. That there is none is told to who has it everywhere.
func judged[T any](r *Repository, has right, rule string, domainOf func(T) string, row T, err error) (T, error) {
	var none T
	switch {
	case fault.Is(err, fault.NotFound):
		if refused := r.may(has, rule, ""); refused != nil {
			return none, refused
		}
		return none, err
	case err != nil:
		return none, err
	}
	return row, r.may(has, rule, domainOf(row))
}

// within narrows a list to the caller's domain where its token is scoped to one.
func (r *Repository) within(rule string, f models.IdentityFilter) (models.IdentityFilter, error) {
	if f.DomainID == "" {
		f.DomainID = r.caller.DomainID
	}
	return f, r.may(reads, rule, f.DomainID)
}

// domainOr is the domain of what is made: the one that is named, else the one that the token is scoped to, else the default.
func (r *Repository) domainOr(named string) string {
	for _, id := range []string{named, r.caller.DomainID} {
		if id != "" {
			return id
		}
	}
	return models.DefaultDomain
}

// stays refuses another domain than the one that something is in.
func stays(to *string, is string) error {
	if to != nil && *to != "" && *to != is {
		return fault.New(fault.Invalid, "Cannot change Domain ID.")
	}
	return nil
}

// newID is an id as Keystone makes them: a UUID without dashes.
func newID() string { return strings.ReplaceAll(uuid.NewString(), "-", "") }
