package servers

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

// Request is what is asked for: one server, or several that differ in nothing but their number.
type Request struct {
	Name        string // "": made of the server's id
	Hostname    string // "": made of the name
	Description string
	ImageID     string
	KernelID    string // in place of the image's; "" is that
	RamdiskID   string
	FlavorID    string
	Zone        string // availability zone; "" is any
	// Host is the only one that will do, by its name; "" is any. Admins alone name one, and it outdoes Zone.
	Host    string
	KeyName string // of the caller's key pairs; "" is none
	NICs    NICs
	// BlockDevices are its disks, where the request maps them; none are the image's and the flavor's.
	BlockDevices []BlockDevice
	// SecurityGroups are names or ids of those that its ports are made in; none is the project's default. Ports that are there keep theirs.
	SecurityGroups []string
	Metadata       map[string]string
	Tags           []string
	UserData       []byte
	Files          []contract.File
	Hints          map[string]any // of the scheduler
	AdminPass      *string        // nil: one is made up
	ConfigDrive    bool
	AccessIPv4     string
	AccessIPv6     string
	// TrustedCertificates are the ids of those of which one has to have signed the image; none asks for no signature.
	TrustedCertificates []string
	// AutoDiskConfig has the root filesystem grown to its disk; nil is what the image says.
	AutoDiskConfig *bool
	// Protected servers are not terminated by the EC2 API.
	Protected bool
	// EndsAtShutdown servers are deleted when their guest shuts itself down.
	EndsAtShutdown bool
	Min, Max       int // how many servers, at least and at most

	// Key is what a client calls its request by, so that it may ask again; "" is nothing. Hash tells requests under one key
	// apart: made of all that was asked for, and of the key, since it is kept and what was asked for may hold a password.
	Key, Hash string
}

// Accepted is a build that was accepted: the only one, or the first of several.
type Accepted struct {
	ServerID      string
	ReservationID string
	// AdminPass is known to the request that was accepted alone; "" where it was an earlier one with the same key.
	AdminPass string
	Earlier   bool // it was such a one
}

// Boot has servers built. They are accepted when it returns, and built when they are ACTIVE.
func (s Servers) Boot(ctx context.Context, r Request) (Accepted, error) {
	if r.Key != "" {
		// Before anything that the request names is looked at: its first try has used it, perhaps.
		if made, ok, err := s.Accepted(ctx, r.Key, r.Hash); ok || err != nil {
			return made, err
		}
	}
	return s.Submit(ctx, r)
}

// Submit is Boot, for whoever has asked Accepted.
func (s Servers) Submit(ctx context.Context, r Request) (Accepted, error) {
	id := uuid.NewString()
	if r.Key != "" {
		id = ids.Server(s.caller.ProjectID, r.Key)
	}
	in, err := s.input(ctx, id, r)
	if err != nil {
		return Accepted{}, err
	}
	var refused error
	if r.Max == 1 {
		if in.Hostname == "" {
			in.Hostname = ids.Hostname(id)
		}
		refused = s.engine.Submit(ctx, in)
	} else {
		_, refused = s.engine.Reserve(ctx, contract.ReserveInput{Boot: in, Min: r.Min, Max: r.Max})
	}
	if refused == nil && r.Key == "" {
		return accepted(id, in.AdminPass), nil
	}
	// The row says who was accepted, whatever the answer says. That of the request which was may have got lost, and another run
	// have refused it when it was asked again; and another request with the same key may be what was accepted, or what is in
	// the way.
	made, err := s.madeBy(ctx, id, r.Hash)
	switch {
	case err != nil:
		return Accepted{}, err
	case made == byAnother:
		return earlier(id), nil
	case refused != nil && made == byNobody:
		return Accepted{}, fmt.Errorf("submit server %s: %w", id, refused)
	}
	return accepted(id, in.AdminPass), nil
}

// Accepted is what an earlier request under a key was accepted for; ok is whether there was one. Conflict, with KeyUsed as its cause,
// where it was another request.
func (s Servers) Accepted(ctx context.Context, key, hash string) (made Accepted, ok bool, err error) {
	id := ids.Server(s.caller.ProjectID, key)
	by, err := s.madeBy(ctx, id, hash)
	if err != nil || by != byAnother {
		return Accepted{}, false, err
	}
	return earlier(id), true, nil
}

func accepted(id, adminPass string) Accepted {
	return Accepted{ServerID: id, ReservationID: ids.Reservation(id), AdminPass: adminPass}
}

func earlier(id string) Accepted {
	made := accepted(id, "")
	made.Earlier = true
	return made
}

// maker is whose request a server was accepted for.
type maker int

const (
	byNobody  maker = iota // not yet, or never
	byThis                 // the request that asks
	byAnother              // with the same key, for the same; the answer to it has no adminPass, which only its first one knew
)

// madeBy says who made the server of an id; Conflict where it was made by another request under the key of this one, for
// something else.
func (s Servers) madeBy(ctx context.Context, id, hash string) (maker, error) {
	made, by, err := s.store.ServerMade(ctx, id, s.caller.RequestID)
	switch {
	case fault.Is(err, fault.NotFound):
		return byNobody, nil
	case err != nil:
		return byNobody, fmt.Errorf("look for the server %s that was asked for: %w", id, err)
	case by:
		return byThis, nil
	case made != nil && *made != hash:
		return byNobody, fault.Wrap(fault.Conflict, KeyUsed,
			"This Idempotency-Key was used for another request, which made server %s. Repeat that request, or use a new key.", id)
	}
	return byAnother, nil
}

// input checks a request and loads what it names.
func (s Servers) input(ctx context.Context, id string, r Request) (contract.BootInput, error) {
	in := contract.BootInput{
		Server: contract.Server{
			ServerID: id, ProjectID: s.caller.ProjectID, UserID: s.caller.UserID, RequestID: s.caller.RequestID,
			Name: r.Name, Hostname: r.Hostname, Description: r.Description, ImageID: r.ImageID,
			Metadata: r.Metadata, Tags: slices.Compact(slices.Sorted(slices.Values(r.Tags))),
			ConfigDrive: r.ConfigDrive || s.config.ForceConfigDrive, Fingerprint: r.Hash,
			AccessIPv4: r.AccessIPv4, AccessIPv6: r.AccessIPv6, AutoDiskConfig: r.AutoDiskConfig, TrustedCertificates: r.TrustedCertificates,
			KernelID: r.KernelID, RamdiskID: r.RamdiskID, Protected: r.Protected, EndsAtShutdown: r.EndsAtShutdown,
		},
		Roles: s.caller.Roles, UserData: r.UserData, Files: r.Files, Hints: r.Hints, MaxHosts: s.config.MaxHosts, Deadlines: s.config.Deadlines,
		Seed: newSeed(), Drive: s.config.Drive, Inject: s.config.Inject, VendorData: s.config.VendorData, VendorServices: s.config.VendorServices,
	}
	if in.Hostname == "" {
		in.Hostname = Hostname(r.Name)
	}
	if r.Name == "" {
		in.Name = ids.ServerName(id)
	}
	q, err := s.Quota(ctx, in.ProjectID)
	if err != nil {
		return in, err
	}
	if err := checkSizes(r, q); err != nil {
		return in, err
	}
	in.Limits = contract.Quota{Instances: q.Instances, Cores: q.Cores, RAMMiB: q.RAMMiB}
	if r.AdminPass != nil {
		in.AdminPass = *r.AdminPass
	} else {
		in.AdminPass = newPassword()
	}
	if err := s.resolve(ctx, r, &in); err != nil {
		return in, err
	}
	if in.Group, err = s.follow(ctx, r.Hints, q); err != nil {
		return in, err
	}
	return in, s.checkCounts(r, in.Networks)
}

// resolve loads what the request names: flavor, zone, key pair, networks. The image is the build's first step.
func (s Servers) resolve(ctx context.Context, r Request, in *contract.BootInput) (err error) {
	if in.Flavor, err = s.flavor(ctx, r.FlavorID); err != nil {
		return err
	}
	if in.BlockDevices, err = s.blockDevices(r.BlockDevices, in.Flavor); err != nil {
		return err
	}
	if in.AvailabilityZone, in.Host, err = s.place(ctx, r); err != nil {
		return err
	}
	if in.KeyPairs, err = s.keyPairs(ctx, r.KeyName); err != nil {
		return err
	}
	if in.Networks, err = s.interfaces(ctx, r.NICs); err != nil {
		return err
	}
	return s.guard(ctx, r.SecurityGroups, in.Networks)
}

// FlavorFor is a flavor that somebody may see: an admin any, others one that is public or that their project was given.
func (s *Service) FlavorFor(ctx context.Context, who auth.Caller, id string) (models.Flavor, error) {
	if who.Admin() {
		return s.store.Flavor(ctx, id)
	}
	return s.store.FlavorFor(ctx, id, who.ProjectID)
}

// flavor is one that the caller may have: a disabled one nobody.
func (s Servers) flavor(ctx context.Context, id string) (contract.Flavor, error) {
	f, err := s.FlavorFor(ctx, s.caller.Caller, id)
	if err == nil && f.Disabled {
		err = fault.New(fault.NotFound, "for nobody any more")
	}
	if err != nil {
		return contract.Flavor{}, fault.Absent(err, fault.Invalid, "Flavor %s could not be found.", id)
	}
	return contract.Flavor{
		ID: f.ID, Name: f.Name, VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, DiskGiB: f.DiskGiB, EphemeralGiB: f.EphemeralGiB,
		SwapMiB: f.SwapMiB, ExtraSpecs: f.ExtraSpecs,
	}, nil
}

// place is where a server may be built. As in Nova a zone beside a host counts only where the host is in it.
func (s Servers) place(ctx context.Context, r Request) (zone, host string, err error) {
	if r.Host == "" {
		zone, err = s.zone(ctx, r.Zone)
		return zone, "", err
	}
	if !s.caller.Admin() {
		return "", "", fault.New(fault.Forbidden, "Only administrators may choose the host of a server.")
	}
	h, err := s.store.HostByName(ctx, r.Host)
	if err != nil {
		return "", "", fault.Absent(err, fault.Invalid, "Compute host %s could not be found.", r.Host)
	}
	if r.Zone == h.AvailabilityZone {
		zone = r.Zone
	}
	return zone, h.Hostname, nil
}
