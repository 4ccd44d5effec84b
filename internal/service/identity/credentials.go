package identity

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/sigv4"
	"github.com/slipway-cloud/slipway/models"
)

// Credential is what a user keeps here, opened.
type Credential struct {
	ID, Type, UserID string
	ProjectID        *string
	Blob             string
}

// typeTOTP would promise a second factor, which no login here asks for.
const typeTOTP = "totp"

// sealedAs is what a credential's blob is sealed as: it opens as that of no other one, and of no other user.
func sealedAs(c models.Credential) string { return "credential " + c.ID + " of user " + c.UserID }

func (s *Service) seal(c models.Credential, blob string) (models.Credential, error) {
	sealed, err := s.keys.Seal([]byte(blob), sealedAs(c))
	c.KeyID, c.Sealed = sealed.KeyID, sealed.Bytes
	return c, err
}

func (s *Service) opened(c models.Credential) (Credential, error) {
	blob, err := s.keys.Open(payload.Sealed{KeyID: c.KeyID, Bytes: c.Sealed}, sealedAs(c))
	if err != nil {
		return Credential{}, fmt.Errorf("credential %s: %w", c.ID, err)
	}
	return Credential{ID: c.ID, Type: c.Type, UserID: c.UserID, ProjectID: c.ProjectID, Blob: string(blob)}, nil
}

// Reseal seals some credentials, at most limit, with the first key, and says how many; 0 is none left.
func (s *Service) Reseal(ctx context.Context, limit int) (int, error) {
	return s.store.ResealCredentials(ctx, s.keys.First(), limit, func(c models.Credential) (models.Credential, error) {
		plain, err := s.opened(c)
		if err != nil {
			return c, err
		}
		return s.seal(c, plain.Blob)
	})
}

// pair is the blob of an access key's credential.
type pair struct {
	Access string `json:"access"`
	Secret string `json:"secret"`
	// What Keystone limits a key by. A row's column says so here, and there are no trusts.
	Trust       any `json:"trust_id"`
	Application any `json:"app_cred_id,omitempty"`
	Token       any `json:"access_token_id,omitempty"`
}

// pairOf reads the blob of an access key's credential, in whose place users put their own.
func pairOf(blob string) (pair, error) {
	var p pair
	if err := json.Unmarshal([]byte(blob), &p); err != nil {
		return p, fault.Wrap(fault.Invalid, err, "Invalid blob in credential: of type ec2 it is a JSON object with the texts access and secret.")
	}
	if p.Access == "" || p.Secret == "" {
		return p, fault.New(fault.Invalid, "Invalid blob in credential: access and secret are needed.")
	}
	if p.Trust != nil || p.Application != nil || p.Token != nil {
		return p, fault.New(fault.Invalid, "Invalid blob in credential: trust_id, app_cred_id and access_token_id are not taken from it.")
	}
	return p, nil
}

// accessID is the id of an access key's credential.
func accessID(access string) string {
	sum := sha256.Sum256([]byte(access))
	return hex.EncodeToString(sum[:])
}

// Owns is whether a user's credentials are the caller's to see, make and change; others' are an admin's alone, a domain's being none of
// them. A reader of the system is not shown what lets in with more (Keystone shows it).
func (r *Repository) Owns(rule, userID string) error {
	if err := r.unrestricted(rule); err != nil {
		return err
	}
	if userID != r.caller.UserID {
		return r.may(writes, rule, "")
	}
	return nil
}

// unrestricted refuses who logged in with an application credential that is restricted: what it made or saw here could let in with
// more than it may, or longer.
func (r *Repository) unrestricted(rule string) error {
	if r.caller.Restricted {
		return fault.New(fault.Forbidden, "This application credential is restricted: identity:%s is not for who logs in with it.", rule)
	}
	return nil
}

// Credentials lists the caller's, or all to an admin.
func (r *Repository) Credentials(ctx context.Context, f models.CredentialFilter) ([]Credential, error) {
	if err := r.unrestricted("list_credentials"); err != nil {
		return nil, err
	}
	if !r.caller.Admin() {
		if f.UserID != "" && f.UserID != r.caller.UserID {
			return []Credential{}, nil
		}
		f.UserID = r.caller.UserID
	}
	return r.service.credentials(ctx, f)
}

func (s *Service) credentials(ctx context.Context, f models.CredentialFilter) ([]Credential, error) {
	rows, err := s.store.ListCredentials(ctx, f)
	if err != nil {
		return nil, err
	}
	all := make([]Credential, len(rows))
	for i, row := range rows {
		if all[i], err = s.opened(row); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Credential by id.
func (r *Repository) Credential(ctx context.Context, id string) (Credential, error) {
	row, err := r.credentialFor(ctx, r.Owns, "get_credential", id)
	if err != nil {
		return Credential{}, err
	}
	return r.service.opened(row)
}

// credentialFor is a credential that the caller has the right to. That there is none is told to who has it everywhere, and another's
// is to others as one that never was, so that nobody finds out access keys by their hash.
func (r *Repository) credentialFor(ctx context.Context, has func(rule, userID string) error, rule, id string) (models.Credential, error) {
	if err := r.unrestricted(rule); err != nil {
		return models.Credential{}, err
	}
	row, err := r.store.Credential(ctx, id)
	if err != nil {
		return row, err
	}
	if has(rule, row.UserID) != nil {
		return models.Credential{}, fault.New(fault.NotFound, "Could not find credential: %s.", id)
	}
	return row, nil
}

// CreateCredential keeps one.
func (r *Repository) CreateCredential(ctx context.Context, c Credential) (Credential, error) {
	if err := r.Owns("create_credential", c.UserID); err != nil {
		return c, err
	}
	c.ID = newID()
	switch c.Type {
	case typeTOTP:
		return c, fault.New(fault.Invalid, "Credentials of type totp are not kept: no login here asks for a second factor.")
	case models.CredentialEC2:
		p, err := pairOf(c.Blob)
		if err != nil {
			return c, err
		}
		if c.ProjectID == nil {
			return c, fault.New(fault.Invalid, "Invalid input for field 'project_id': a credential of type ec2 is for a project.")
		}
		c.ID = accessID(p.Access)
	}
	return c, r.keep(ctx, c)
}

// keep records a credential, on a project that the caller knows of.
func (r *Repository) keep(ctx context.Context, c Credential) error {
	if err := r.knows(ctx, c.UserID, c.ProjectID); err != nil {
		return err
	}
	row := models.Credential{ID: c.ID, Type: c.Type, UserID: c.UserID, ProjectID: c.ProjectID, CreatedAt: time.Now().UTC()}
	if r.caller.Application != "" && c.UserID == r.caller.UserID {
		if c.ProjectID != nil && *c.ProjectID != r.caller.ProjectID {
			return fault.New(fault.Forbidden, "Who logs in with an application credential makes credentials for its project alone.")
		}
		row.ApplicationCredentialID = &r.caller.Application
	}
	row, err := r.service.seal(row, c.Blob)
	if err != nil {
		return err
	}
	return r.store.CreateCredential(ctx, row)
}

// knows refuses a project on which the user has no role as one that there is not. An admin may name any.
func (r *Repository) knows(ctx context.Context, userID string, projectID *string) error {
	if projectID == nil || r.caller.Admin() {
		return nil
	}
	roles, err := r.store.Roles(ctx, userID, models.Scope{ProjectID: *projectID})
	if err == nil && len(roles) == 0 {
		return fault.New(fault.NotFound, "Could not find project: %s.", *projectID)
	}
	return err
}

// CredentialPatch is what changes of a credential; nil leaves it.
type CredentialPatch struct {
	Blob, Type, UserID, ProjectID *string
}

// UpdateCredential changes one. Whose it is, of what type and of which access key stays: these are what it was kept as.
func (r *Repository) UpdateCredential(ctx context.Context, id string, p CredentialPatch) (Credential, error) {
	was, err := r.credentialFor(ctx, r.Owns, "update_credential", id)
	if err != nil {
		return Credential{}, err
	}
	for field, change := range map[string]struct {
		to  *string
		was string
	}{"type": {p.Type, was.Type}, "user_id": {p.UserID, was.UserID}} {
		if change.to != nil && *change.to != change.was {
			return Credential{}, fault.New(fault.Invalid, "The %s of a credential does not change: make another one.", field)
		}
	}
	if err := r.knows(ctx, was.UserID, p.ProjectID); err != nil {
		return Credential{}, err
	}
	if was.ApplicationCredentialID != nil && p.ProjectID != nil && (was.ProjectID == nil || *p.ProjectID != *was.ProjectID) {
		return Credential{}, fault.New(fault.Invalid, "The project of a credential that an application credential made does not change.")
	}
	if p.Blob != nil && was.Type == models.CredentialEC2 {
		if pair, err := pairOf(*p.Blob); err != nil {
			return Credential{}, err
		} else if accessID(pair.Access) != id {
			return Credential{}, fault.New(fault.Invalid, "The access key of a credential does not change: make another one.")
		}
	}
	row, err := r.store.ReviseCredential(ctx, id, func(c models.Credential) (models.Credential, error) {
		if p.ProjectID != nil {
			c.ProjectID = p.ProjectID
		}
		if p.Blob == nil {
			return c, nil
		}
		return r.service.seal(c, *p.Blob)
	})
	if err != nil {
		return Credential{}, err
	}
	return r.service.opened(row)
}

// DeleteCredential deletes one.
func (r *Repository) DeleteCredential(ctx context.Context, id string) error {
	if _, err := r.credentialFor(ctx, r.Owns, "delete_credential", id); err != nil {
		return err
	}
	return r.store.DeleteCredential(ctx, id)
}

// AccessKey is one of the EC2 API's.
type AccessKey struct{ Access, Secret, UserID, ProjectID string }

func accessKeyOf(c Credential) (AccessKey, error) {
	p, err := pairOf(c.Blob)
	if err != nil {
		return AccessKey{}, fmt.Errorf("credential %s holds no access key: %w", c.ID, err)
	}
	return AccessKey{Access: p.Access, Secret: p.Secret, UserID: c.UserID, ProjectID: *c.ProjectID}, nil
}

// CreateAccessKey makes one of random texts, as Keystone's are.
func (r *Repository) CreateAccessKey(ctx context.Context, userID, projectID string) (AccessKey, error) {
	k := AccessKey{Access: newID(), Secret: newID(), UserID: userID, ProjectID: projectID}
	if err := r.Owns("ec2_create_credential", userID); err != nil {
		return k, err
	}
	blob, err := json.Marshal(pair{Access: k.Access, Secret: k.Secret})
	if err != nil {
		return k, err
	}
	return k, r.keep(ctx, Credential{ID: accessID(k.Access), Type: models.CredentialEC2, UserID: userID, ProjectID: &projectID, Blob: string(blob)})
}

// AccessKeys lists a user's.
func (r *Repository) AccessKeys(ctx context.Context, userID string) ([]AccessKey, error) {
	if err := r.Owns("ec2_list_credentials", userID); err != nil {
		return nil, err
	}
	if _, err := r.store.User(ctx, userID); err != nil {
		return nil, err
	}
	found, err := r.service.credentials(ctx, models.CredentialFilter{UserID: userID, Type: models.CredentialEC2})
	if err != nil {
		return nil, err
	}
	keys := make([]AccessKey, len(found))
	for i, c := range found {
		if keys[i], err = accessKeyOf(c); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// accessKeyFor is the credential of a user's access key.
func (r *Repository) accessKeyFor(ctx context.Context, has func(rule, userID string) error, rule, userID, access string) (models.Credential, error) {
	if err := has(rule, userID); err != nil {
		return models.Credential{}, err
	}
	row, err := r.store.Credential(ctx, accessID(access))
	if fault.Is(err, fault.NotFound) || err == nil && (row.UserID != userID || row.Type != models.CredentialEC2) {
		return models.Credential{}, fault.New(fault.NotFound, "Could not find credential: %s.", access)
	}
	return row, err
}

// AccessKey is one of a user's.
func (r *Repository) AccessKey(ctx context.Context, userID, access string) (AccessKey, error) {
	row, err := r.accessKeyFor(ctx, r.Owns, "ec2_get_credential", userID, access)
	if err != nil {
		return AccessKey{}, err
	}
	c, err := r.service.opened(row)
	if err != nil {
		return AccessKey{}, err
	}
	return accessKeyOf(c)
}

// DeleteAccessKey deletes one of a user's: nothing that is signed with it is let in any more.
func (r *Repository) DeleteAccessKey(ctx context.Context, userID, access string) error {
	row, err := r.accessKeyFor(ctx, r.Owns, "ec2_delete_credential", userID, access)
	if err != nil {
		return err
	}
	return r.store.DeleteCredential(ctx, row.ID)
}

// Signer is who signed a request, as EC2Key says, and whether it is the request that was signed.
func (s *Service) Signer(ctx context.Context, r sigv4.Request, signature sigv4.Signature) (caller auth.Caller, matches bool, err error) {
	secret, caller, err := s.EC2Key(ctx, signature.Access)
	return caller, err == nil && signature.Matches(r, secret), err
}

// EC2Key is what a request that is signed with an access key is checked with, and who asks where it holds: the key's user on its
// project, with the roles as they are now. Unauthorized where there is no such key, or its user or project is disabled or gone, or
// the one has no role on the other any more.
func (s *Service) EC2Key(ctx context.Context, access string) (secret string, caller auth.Caller, err error) {
	found, err := s.store.AccessKey(ctx, accessID(access), time.Now())
	if fault.Is(err, fault.NotFound) {
		return "", auth.Caller{}, fault.New(fault.Unauthorized, "No access key %q lets anybody in.", access)
	}
	if err != nil {
		return "", auth.Caller{}, err
	}
	c, err := s.opened(found.Credential)
	if err != nil {
		return "", auth.Caller{}, err
	}
	key, err := accessKeyOf(c)
	if err != nil {
		return "", auth.Caller{}, err
	}
	return key.Secret, auth.Caller{
		UserID: found.User.ID, ProjectID: found.Project.ID, Roles: found.Roles,
		Application: found.Application.ID, Restricted: found.Application.ID != "" && !found.Application.Unrestricted,
	}, nil
}
