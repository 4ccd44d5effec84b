// Package networks is the network service: what Neutron does between its API and its rows. Whose a network, a subnet or a port
// may be, who sees it, who may change it and what is taken where nothing is said is decided here, for every protocol.
//
// Which addresses there can be says internal/ipam. They are taken in models, under the network's lock.
package networks

import (
	"cmp"
	"maps"
	"time"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/models"
)

// Config of the service.
type Config struct {
	// Engine carries packets: Bridge or OVN. What nothing would enforce is refused; "" is Bridge.
	Engine string
	// VIFType is how the ports of servers are plugged (contract.VIFBridge, contract.VIFOVS).
	VIFType string
	// Quota is what a project may have for which nothing else was set; what it does not name is unlimited.
	Quota models.NetworkQuota
	// HostDownAfter is how long after its last heartbeat a host counts as down.
	HostDownAfter time.Duration
}

// Engines of network.engine.
const (
	Bridge = "bridge"
	OVN    = "ovn"
)

// DefaultQuota is Neutron's.
func DefaultQuota() models.NetworkQuota {
	return models.NetworkQuota{
		models.QuotaNetworks: 100, models.QuotaSubnets: 100, models.QuotaPorts: 500, models.QuotaSecurityGroups: 10, models.QuotaSecurityGroupRules: 100,
		models.QuotaRouters: 10, models.QuotaFloatingIPs: 50,
	}
}

// Service is the network service of one process.
type Service struct {
	store  *models.Store
	config Config
}

// New makes the service.
func New(store *models.Store, config Config) *Service {
	if config.Quota == nil {
		config.Quota = DefaultQuota()
	}
	if config.Engine != OVN { // nobody can have any
		config.Quota = maps.Clone(config.Quota)
		delete(config.Quota, models.QuotaSecurityGroups)
		delete(config.Quota, models.QuotaSecurityGroupRules)
	}
	return &Service{store, config}
}

// Engine carries packets.
func (s *Service) Engine() string { return cmp.Or(s.config.Engine, Bridge) }

// VIFType is how the ports of servers are plugged.
func (s *Service) VIFType() string { return s.config.VIFType }

// Repository is networks, subnets, ports, routers, floating IPs, security groups and quotas as one caller has them.
//
// Errors are faults in Neutron's words, mostly with the name of its exception (ipam.Refusal): NotFound for what the caller may
// not know of, Forbidden for what it may not do, Invalid, and Conflict for what does not go with what is there.
type Repository struct {
	store  *models.Store
	caller auth.Caller
	config Config
}

// For is the service for one caller.
func (s *Service) For(caller auth.Caller) *Repository { return &Repository{s.store, caller, s.config} }

// AtRevision is the service for a change that is made only while what it changes has this revision.
func (r *Repository) AtRevision(n int64) *Repository {
	return &Repository{r.store.AtRevision(n), r.caller, r.config}
}

// needsEngine refuses a value that nothing enforces without OVN.
func (r *Repository) needsEngine(asked bool, attribute string) error {
	if asked && r.config.Engine != OVN {
		return ipam.BadAttribute(attribute, "nothing enforces it while network.engine is %s", cmp.Or(r.config.Engine, Bridge))
	}
	return nil
}

// May refuses readers what changes something; rule is the name of the policy that they are told ("create_network"). Whatever
// changes something asks it first.
func (r *Repository) May(rule string) error {
	if !r.caller.CanWrite() {
		return forbidden(rule)
	}
	return nil
}

// MayAdmin refuses all but admins.
func (r *Repository) MayAdmin(rule string) error {
	if !r.caller.Admin() {
		return forbidden(rule)
	}
	return nil
}

func forbidden(rule string) error {
	return ipam.Refuse("PolicyNotAuthorized", fault.Forbidden, "rule:%s is disallowed by policy", rule)
}

// ownerOf is whose a new object is: the caller's project's, or another's that an admin names.
func (r *Repository) ownerOf(projectID, rule string) (string, error) {
	switch {
	case projectID == "":
		return r.caller.ProjectID, nil
	case !r.caller.Owns(projectID):
		return "", forbidden(rule)
	}
	return projectID, nil
}

// markerOf gives an unknown marker of a list Neutron's words.
func markerOf(err error, marker string) error {
	if marker != "" && (fault.Is(err, fault.NotFound) || fault.Is(err, fault.Invalid)) {
		return ipam.Refuse("HTTPBadRequest", fault.Invalid, "Invalid input for operation: marker %s not found.", marker)
	}
	return err
}
