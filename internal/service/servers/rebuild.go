package servers

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/service/facts"
	"github.com/slipway-cloud/slipway/models"
)

// Rebuild is what a server is to become; a nil field leaves what it was.
type Rebuild struct {
	ImageID     string
	Name        *string
	Hostname    *string
	Description *string // "" is none
	Metadata    *map[string]string
	KeyName     *string // of the caller's key pairs; "" is none
	UserData    *[]byte
	Files       []contract.File
	AdminPass   *string // nil: one is made up
	AccessIPv4  *string
	AccessIPv6  *string
	// AutoDiskConfig and TrustedCertificates are Request's; certificates of nobody are none.
	AutoDiskConfig      *bool
	TrustedCertificates *[]string
}

// Rebuilt is a rebuild that was accepted.
type Rebuilt struct {
	Server    models.Server
	AdminPass string
	UserData  []byte
}

// Rebuild has a server's guest made anew. It is accepted when it returns.
func (s Servers) Rebuild(ctx context.Context, v models.Server, action lifecycle.Action, r Rebuild) (Rebuilt, error) {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return Rebuilt{}, err
	}
	to := contract.Rebuild{
		ImageID: r.ImageID, Roles: s.caller.Roles, Flavor: contract.Flavor(v.Flavor), Name: r.Name, Hostname: r.Hostname,
		Description: r.Description, Metadata: r.Metadata, UserData: r.UserData, Files: r.Files, Seed: newSeed(), Inject: s.config.Inject,
		AccessIPv4: r.AccessIPv4, AccessIPv6: r.AccessIPv6, AutoDiskConfig: r.AutoDiskConfig, TrustedCertificates: v.TrustedCertificates,
	}
	if r.TrustedCertificates != nil {
		to.TrustedCertificates = *r.TrustedCertificates
	}
	guest := Request{Files: r.Files}
	if r.Metadata != nil {
		guest.Metadata = *r.Metadata
	}
	q, err := s.Quota(ctx, v.ProjectID)
	if err != nil {
		return Rebuilt{}, err
	}
	if err := checkSizes(guest, q); err != nil {
		return Rebuilt{}, err
	}
	if r.KeyName != nil {
		keys, err := s.keyPairs(ctx, *r.KeyName)
		if err != nil {
			return Rebuilt{}, err
		}
		to.KeyPairs = &keys
	}
	out := Rebuilt{}
	if r.UserData != nil {
		out.UserData = *r.UserData
	} else if kept, err := s.store.ServerSpecs(ctx, v.ID); err != nil {
		return out, err
	} else if k, is := kept[v.ID]; is {
		spec, err := facts.Spec(s.config.Keys, k)
		if err != nil {
			return out, err
		}
		out.UserData = spec.UserData
	}
	if to.AdminPass = newPassword(); r.AdminPass != nil {
		to.AdminPass = *r.AdminPass
	}
	out.AdminPass = to.AdminPass
	if err := s.Act(ctx, v, action, contract.ActionArguments{Rebuild: &to}); err != nil {
		return out, err
	}
	out.Server, err = s.Get(ctx, v.ID)
	return out, err
}

// keyPairs is the caller's of a name; none for "".
func (s Servers) keyPairs(ctx context.Context, name string) ([]contract.KeyPair, error) {
	if name == "" {
		return []contract.KeyPair{}, nil
	}
	k, err := s.store.KeyPair(ctx, s.caller.UserID, name)
	if err != nil {
		return nil, fault.Absent(err, fault.Invalid, "Invalid key_name provided.")
	}
	return []contract.KeyPair{{Name: k.Name, PublicKey: k.PublicKey, Type: k.Type}}, nil
}
