package models

import (
	"cmp"
	"context"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// Network is an isolated segment: one Linux bridge on each host that has a port of it.
type Network struct {
	ID          string `gorm:"primaryKey"`
	ProjectID   string
	Name        string
	Description string
	Shared      bool
	MTU         int `gorm:"column:mtu"`
	// AdminStateUp of false stops its traffic, and PortSecurity is what its ports have that say nothing.
	AdminStateUp bool
	PortSecurity bool
	// PhysicalNetwork is the network outside that it is part of, in a VLAN or untagged; nil is none.
	PhysicalNetwork *string
	VLAN            *int     `gorm:"column:vlan"`
	Tags            []string `gorm:"serializer:json"`
	Revision        int64
	CreatedAt       time.Time
	UpdatedAt       time.Time
	Subnets         []Subnet `gorm:"-"`
}

// External says whether it leads out: routers have gateways on it and not servers.
func (n Network) External() bool { return n.PhysicalNetwork != nil }

// Subnet is a range of addresses on a network.
type Subnet struct {
	ID              string `gorm:"primaryKey"`
	NetworkID       string
	ProjectID       string
	Name            string
	Description     string
	CIDR            string `gorm:"column:cidr"`
	GatewayIP       *string
	DNSServers      []string     `gorm:"serializer:json"`
	Pools           []ipam.Pool  `gorm:"serializer:json"` // in order; nil until it is stored: what the gateway leaves
	HostRoutes      []ipam.Route `gorm:"serializer:json"`
	EnableDHCP      bool         `gorm:"column:enable_dhcp"`
	IPv6RAMode      *string      `gorm:"column:ipv6_ra_mode"`
	IPv6AddressMode *string      `gorm:"column:ipv6_address_mode"`
	Tags            []string     `gorm:"serializer:json"`
	Revision        int64
	CreatedAt       time.Time
	UpdatedAt       time.Time
}

// Gives says whether a port can ask for the address: neither the gateway nor what no host can have.
func (n Subnet) Gives(ip netip.Addr) bool {
	return ipam.Usable(netip.MustParsePrefix(n.CIDR), ip) && (n.GatewayIP == nil || *n.GatewayIP != ip.String())
}

// NetworkFilter selects networks. A project sees its own and the shared ones, an admin all.
type NetworkFilter struct {
	ProjectID string // who asks
	Admin     bool
	IDs       []string
	Match     []Match
	Sort      []Sort // by created_at where there is none
	Marker    string
	Limit     int // 0 is all
}

// SubnetFilter selects subnets of networks that the asker sees.
type SubnetFilter struct {
	ProjectID string // who asks
	Admin     bool
	IDs       []string
	Match     []Match
	Sort      []Sort // by created_at where there is none
	Marker    string
	Limit     int // 0 is all
}

// PortFilter selects ports.
type PortFilter struct {
	ProjectID  string // "" is all
	IDs        []string
	ServerIDs  []string
	NetworkIDs []string
	IPs        []string // any of its fixed addresses
	SubnetIDs  []string
	Match      []Match
	Sort       []Sort // by created_at where there is none
	Marker     string
	Limit      int // 0 is all
}

// PortRequest asks for one NIC's port: on NetworkID (a port with ID is made) or PortID (it is bound).
type PortRequest struct {
	ID        string // of the port to make
	ServerID  string
	ProjectID string
	NetworkID string
	PortID    string
	FixedIP   string // "" is the lowest free one
	Index     int
	Hostname  string // of the hypervisor
	Tag       string
	TaskState *string // shown on the server then; nil leaves it

	SecurityGroups []string // ids of those that the port is made in; none is its project's default
}

// DefaultMTU is a network's where nobody names one: an Ethernet link's.
const DefaultMTU = 1500

var (
	networkOrder = order{id: "id", preset: Sort{Key: "created_at"}, keys: neutronSorts(map[string]string{
		"mtu": "mtu", "admin_state_up": "admin_state_up", "status": "'ACTIVE'::text",
	})}
	subnetOrder = order{id: "id", preset: Sort{Key: "created_at"}, keys: neutronSorts(map[string]string{
		"cidr": "cidr::text", "network_id": "network_id", "ip_version": "family(cidr)", "gateway_ip": "COALESCE(host(gateway_ip), '')",
		"enable_dhcp": "enable_dhcp", "ipv6_ra_mode": "COALESCE(ipv6_ra_mode, '')", "ipv6_address_mode": "COALESCE(ipv6_address_mode, '')",
	})}

	networkMatching = matching{
		"shared": flagIs("shared"), "admin_state_up": flagIs("admin_state_up"), "port_security_enabled": flagIs("port_security"),
		"status": textIs("'ACTIVE'"), "mtu": numberIs("mtu"), "router:external": flagIs("(physical_network IS NOT NULL)"), "is_default": flagIs("false"),
		"provider:network_type": textIs(networkTypeSQL), "provider:physical_network": textIs("physical_network"), "provider:segmentation_id": numberIs("vlan"),
	}.with("networks")
	subnetMatching = matching{
		"network_id": textIs("network_id"), "ip_version": numberIs("family(cidr)"), "cidr": textIs("cidr::text"), "gateway_ip": textIs("host(gateway_ip)"),
		"enable_dhcp": flagIs("enable_dhcp"), "ipv6_ra_mode": textIs("ipv6_ra_mode"), "ipv6_address_mode": textIs("ipv6_address_mode"),
		"shared":          "(SELECT n.shared FROM networks n WHERE n.id = subnets.network_id) = ANY(?::boolean[])",
		"router:external": "(SELECT n.physical_network IS NOT NULL FROM networks n WHERE n.id = subnets.network_id) = ANY(?::boolean[])",
	}.with("subnets")
)

const networkTypeSQL = "CASE WHEN physical_network IS NULL THEN '" + TypeGeneve + "' WHEN vlan IS NULL THEN '" + TypeFlat + "' ELSE '" + TypeVLAN + "' END"

// Neutron's types of networks.
const (
	TypeGeneve = "geneve"
	TypeFlat   = "flat"
	TypeVLAN   = "vlan"
)

// Type is one of those.
func (n Network) Type() string {
	switch {
	case n.PhysicalNetwork == nil:
		return TypeGeneve
	case n.VLAN == nil:
		return TypeFlat
	}
	return TypeVLAN
}

func noNetwork(id string) error { return ipam.Absent("Network", id) }
func noSubnet(id string) error  { return ipam.Absent("Subnet", id) }

// complete fills in what a caller may leave out.
func (n *Network) complete() {
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	if n.MTU == 0 {
		n.MTU = DefaultMTU
	}
	if n.CreatedAt.IsZero() {
		n.CreatedAt = now()
	}
	if n.Tags == nil {
		n.Tags = []string{}
	}
	n.UpdatedAt, n.Revision = n.CreatedAt, 1
}

// CreateNetwork is CreateNetworks for one that is up, which nothing limits.
func (s *Store) CreateNetwork(ctx context.Context, n Network) (Network, error) {
	n.AdminStateUp, n.PortSecurity = true, true
	return first(s.CreateNetworks(ctx, []Network{n}, nil))
}

// first is the only one of those that were made.
func first[T any](made []T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return made[0], nil
}

// CreateNetworks adds networks, all or none; Conflict when an id is taken, OverQuota when a project has too many then. An empty id
// is chosen here, an MTU of 0 is DefaultMTU.
func (s *Store) CreateNetworks(ctx context.Context, drafts []Network, defaults NetworkQuota) ([]Network, error) {
	var all []Network
	err := s.tx(ctx, func(tx *gorm.DB) error {
		all = make([]Network, len(drafts))
		owners := map[string]int{}
		for i, n := range drafts {
			n.complete()
			n.Subnets = []Subnet{}
			all[i] = n
			owners[n.ProjectID]++
		}
		if err := s.claimNetworking(tx, defaults, QuotaNetworks, owners); err != nil {
			return err
		}
		for i := range all {
			err := tx.Create(&all[i]).Error
			switch {
			case violates(err, "networks_pkey"):
				return fault.New(fault.Conflict, "Network %s already exists.", all[i].ID)
			case violates(err, "networks_project_id_fkey"):
				return noProject(all[i].ProjectID)
			case violates(err, "networks_segment") && all[i].VLAN == nil:
				return ipam.Refuse("FlatNetworkInUse", fault.Conflict, "Unable to create the flat network. Physical network %s is in use.", *all[i].PhysicalNetwork)
			case violates(err, "networks_segment"):
				return ipam.Refuse("VlanIdInUse", fault.Conflict, "Unable to create the network. The VLAN %d on physical network %s is in use.",
					*all[i].VLAN, *all[i].PhysicalNetwork)
			case err != nil:
				return err
			}
		}
		return nil
	})
	return all, failed(err, "create %d networks", len(drafts))
}

// UpdateNetwork changes a network while nobody else does. What change returns is why it is not to be; it may be called again.
func (s *Store) UpdateNetwork(ctx context.Context, id string, change func(*Network) error) (Network, error) {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		n, err := lockNetwork(tx, id)
		if err != nil {
			return err
		}
		if err := s.unrevised(n.Revision); err != nil {
			return err
		}
		one := []Network{n}
		if err := completeNetworks(tx, one); err != nil {
			return err
		}
		if err := change(&one[0]); err != nil {
			return err
		}
		for _, sub := range one[0].Subnets {
			if err := ipam.MTUOf(id, one[0].MTU, netip.MustParsePrefix(sub.CIDR)); err != nil {
				return err
			}
		}
		if n.Shared && !one[0].Shared {
			var others int64
			if err := tx.Model(&Port{}).Where("network_id = ? AND project_id <> ?", id, n.ProjectID).Count(&others).Error; err != nil {
				return err
			}
			if others > 0 {
				return ipam.Refuse("InvalidSharedSetting", fault.Conflict,
					"Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", n.Name)
			}
		}
		n.Subnets = one[0].Subnets
		return saveRevised(tx, &n, &one[0], "name", "description", "shared", "mtu", "admin_state_up", "port_security", "tags")
	})
	if err != nil {
		return Network{}, failed(err, "change network %s", id)
	}
	return s.Network(ctx, id)
}

// saveRevised writes the columns of a row in which something is different.
func saveRevised[T any](tx *gorm.DB, before, after *T, columns ...string) error {
	if reflect.DeepEqual(before, after) {
		return nil
	}
	return tx.Model(after).Select(append(columns, "updated_at")).Updates(after).Error
}

// EnsureNetwork returns the project's network of that name (the oldest, where there are several) with its subnets, making
// both if it is not there.
func (s *Store) EnsureNetwork(ctx context.Context, n Network, subnets ...Subnet) (Network, error) {
	n.complete()
	n.AdminStateUp, n.PortSecurity = true, true
	err := s.tx(ctx, func(tx *gorm.DB) error {
		// The project's row is what serializes those that ensure at once.
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", n.ProjectID).Take(&Project{}).Error
		if isAbsent(err) {
			return noProject(n.ProjectID)
		}
		if err != nil {
			return err
		}
		var there []Network
		if err := tx.Where("project_id = ? AND name = ?", n.ProjectID, n.Name).Order("created_at, id").Limit(1).Find(&there).Error; err != nil {
			return err
		}
		if len(there) == 1 {
			n.ID = there[0].ID
			return nil
		}
		if err := tx.Create(&n).Error; err != nil {
			return err
		}
		for _, sub := range subnets {
			sub.NetworkID, sub.ProjectID = n.ID, n.ProjectID
			if err := addSubnet(tx, &sub); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Network{}, failed(err, "ensure network %s of project %s", n.Name, n.ProjectID)
	}
	return s.Network(ctx, n.ID)
}

// Network by id with its subnets, whoever asks.
func (s *Store) Network(ctx context.Context, id string) (Network, error) {
	one := make([]Network, 1)
	err := s.read(ctx, func(tx *gorm.DB) error {
		one[0] = Network{}
		err := tx.Where("id = ?", id).Take(&one[0]).Error
		if isAbsent(err) {
			return noNetwork(id)
		}
		if err != nil {
			return err
		}
		return completeNetworks(tx, one)
	})
	if err != nil {
		return Network{}, failed(err, "read network %s", id)
	}
	return one[0], nil
}

func completeNetworks(tx *gorm.DB, networks []Network) error {
	ids := texts{}
	for _, n := range networks {
		ids = append(ids, n.ID)
	}
	subnets := []Subnet{}
	if len(ids) > 0 {
		if err := tx.Where("network_id = ANY(?)", ids).Order("created_at, id").Find(&subnets).Error; err != nil {
			return err
		}
	}
	for i := range networks {
		networks[i].Subnets = []Subnet{}
		for _, sub := range subnets {
			if sub.NetworkID == networks[i].ID {
				networks[i].Subnets = append(networks[i].Subnets, sub)
			}
		}
	}
	return nil
}

// ListNetworks lists what the filter selects, each with its subnets.
func (s *Store) ListNetworks(ctx context.Context, f NetworkFilter) ([]Network, error) {
	all := []Network{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB {
			q := tx.Model(&Network{})
			if !f.Admin {
				q = q.Where("(project_id = ? OR shared OR physical_network IS NOT NULL)", f.ProjectID)
			}
			return q
		}
		q := visible()
		q = among(q, "id", f.IDs)
		q, err := networkMatching.of(q, f.Match)
		if err != nil {
			return err
		}
		q, err = networkOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		if err := q.Find(&all).Error; err != nil {
			return err
		}
		return completeNetworks(tx, all)
	})
	return all, failed(err, "list the networks")
}

// DeleteNetwork removes a network and its subnets; Conflict while it has ports.
func (s *Store) DeleteNetwork(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ? AND (?::bigint IS NULL OR revision = ?)", id, s.revision, s.revision).Delete(&Network{})
	switch {
	case violates(d.Error, "ports_network_id_fkey"), violates(d.Error, "fixed_ips_subnet_id_fkey"), violates(d.Error, "floating_ips_network_id_fkey"):
		return ipam.Refuse("NetworkInUse", fault.Conflict, "Unable to complete operation on network %s. There are one or more ports still in use on the network.", id)
	case d.Error == nil && d.RowsAffected == 0:
		n, err := s.Network(ctx, id)
		return cmp.Or(err, s.unrevised(n.Revision), noNetwork(id))
	}
	return failed(d.Error, "delete network %s", id)
}

// CreateSubnet is CreateSubnets for one, which nothing limits.
func (s *Store) CreateSubnet(ctx context.Context, n Subnet) (Subnet, error) {
	return first(s.CreateSubnets(ctx, []Subnet{n}, nil))
}

// CreateSubnets adds subnets, all or none; an ipam.Refusal when the addresses of one do not fit together, overlap another subnet of
// the network or want a larger MTU than it has, OverQuota when a project has too many then. An empty id is chosen here; nil pools
// are what the gateway leaves of the addresses for hosts.
func (s *Store) CreateSubnets(ctx context.Context, drafts []Subnet, defaults NetworkQuota) ([]Subnet, error) {
	var all []Subnet
	err := s.tx(ctx, func(tx *gorm.DB) error {
		all = slices.Clone(drafts)
		owners := perProject(all, func(n Subnet) string { return n.ProjectID })
		if err := s.claimNetworking(tx, defaults, QuotaSubnets, owners); err != nil {
			return err
		}
		for i := range all {
			if err := addSubnet(tx, &all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return all, failed(err, "create %d subnets", len(drafts))
}

func addSubnet(tx *gorm.DB, n *Subnet) error {
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	if n.DNSServers == nil {
		n.DNSServers = []string{}
	}
	if n.Tags == nil {
		n.Tags = []string{}
	}
	if n.CreatedAt.IsZero() {
		n.CreatedAt = now()
	}
	n.UpdatedAt, n.Revision = n.CreatedAt, 1
	if err := n.complete(); err != nil {
		return err
	}
	network, err := lockNetwork(tx, n.NetworkID)
	if err != nil {
		return err
	}
	if err := ipam.MTUOf(n.NetworkID, network.MTU, netip.MustParsePrefix(n.CIDR)); err != nil {
		return err
	}
	var overlapping int64
	if err := tx.Model(&Subnet{}).Where("network_id = ? AND cidr && ?::cidr", n.NetworkID, n.CIDR).Count(&overlapping).Error; err != nil {
		return err
	}
	if overlapping > 0 {
		return ipam.BadInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", n.CIDR, n.NetworkID)
	}
	err = tx.Create(n).Error
	switch {
	case violates(err, "subnets_pkey"):
		return fault.New(fault.Conflict, "Subnet %s already exists.", n.ID)
	case violates(err, "subnets_project_id_fkey"):
		return noProject(n.ProjectID)
	}
	return err
}

// lockNetwork holds a network's row: nobody else takes or gives addresses of it meanwhile.
func lockNetwork(tx *gorm.DB, id string) (Network, error) {
	var n Network
	err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", id).Take(&n).Error
	if isAbsent(err) {
		return n, noNetwork(id)
	}
	return n, err
}

// UpdateSubnet changes a subnet while nobody takes an address of its network. What change returns is why it is not to be; it may
// be called again.
func (s *Store) UpdateSubnet(ctx context.Context, id string, change func(*Subnet) error) (Subnet, error) {
	var n Subnet
	err := s.tx(ctx, func(tx *gorm.DB) error {
		n = Subnet{}
		err := tx.Where("id = ?", id).Take(&n).Error
		if isAbsent(err) {
			return noSubnet(id)
		}
		if err != nil {
			return err
		}
		if _, err := lockNetwork(tx, n.NetworkID); err != nil {
			return err
		}
		n = Subnet{} // as it is now that nobody changes it
		if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", id).Take(&n).Error; isAbsent(err) {
			return noSubnet(id)
		} else if err != nil {
			return err
		}
		if err := s.unrevised(n.Revision); err != nil {
			return err
		}
		before := n
		if err := change(&n); err != nil {
			return err
		}
		if err := n.complete(); err != nil {
			return err
		}
		if err := gatewayMoves(tx, before, n); err != nil {
			return err
		}
		if err := saveRevised(tx, &before, &n, "name", "description", "gateway_ip", "dns_servers", "pools", "host_routes", "enable_dhcp", "tags"); err != nil {
			return err
		}
		return tx.Where("id = ?", id).Take(&n).Error
	})
	return n, failed(err, "change subnet %s", id)
}

// gatewayMoves refuses another gateway where a port has the address of it, or a router the one of the present one.
func gatewayMoves(tx *gorm.DB, before, n Subnet) error {
	if reflect.DeepEqual(before.GatewayIP, n.GatewayIP) {
		return nil
	}
	for _, ip := range []*string{before.GatewayIP, n.GatewayIP} {
		if ip == nil {
			continue
		}
		var has Port
		err := tx.Where("id IN (SELECT port_id FROM fixed_ips WHERE subnet_id = ? AND ip = ?::inet)", n.ID, *ip).Limit(1).Find(&has).Error
		if err != nil {
			return err
		}
		if has.ID != "" {
			return ipam.Refuse("GatewayIpInUse", fault.Conflict, "Current gateway ip %s already in use by port %s. Unable to update.", *ip, has.ID)
		}
	}
	return nil
}

// complete brings the addresses into their usual form, fills in the pools and refuses what does not fit together.
func (n *Subnet) complete() error {
	of := ipam.Subnet{
		CIDR: n.CIDR, GatewayIP: n.GatewayIP, Pools: n.Pools, DNSServers: n.DNSServers, HostRoutes: n.HostRoutes, EnableDHCP: n.EnableDHCP,
		RAMode: n.IPv6RAMode, AddressMode: n.IPv6AddressMode,
	}
	err := of.Complete()
	n.CIDR, n.GatewayIP, n.Pools, n.HostRoutes = of.CIDR, of.GatewayIP, of.Pools, of.HostRoutes
	return err
}

// Subnet by id, whoever asks.
func (s *Store) Subnet(ctx context.Context, id string) (Subnet, error) {
	var n Subnet
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&n).Error
	if isAbsent(err) {
		return n, noSubnet(id)
	}
	return n, failed(err, "read subnet %s", id)
}

// ListSubnets lists what the filter selects.
func (s *Store) ListSubnets(ctx context.Context, f SubnetFilter) ([]Subnet, error) {
	all := []Subnet{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB {
			q := tx.Model(&Subnet{})
			if !f.Admin {
				q = q.Where("network_id IN (SELECT id FROM networks WHERE project_id = ? OR shared OR physical_network IS NOT NULL)", f.ProjectID)
			}
			return q
		}
		q := visible()
		q = among(q, "id", f.IDs)
		q, err := subnetMatching.of(q, f.Match)
		if err != nil {
			return err
		}
		q, err = subnetOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the subnets")
}

// DeleteSubnet removes a subnet; Conflict while a port has an address of it.
func (s *Store) DeleteSubnet(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ? AND (?::bigint IS NULL OR revision = ?)", id, s.revision, s.revision).Delete(&Subnet{})
	switch {
	case violates(d.Error, "fixed_ips_subnet_id_fkey"):
		return ipam.Refuse("SubnetInUse", fault.Conflict, "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id)
	case d.Error == nil && d.RowsAffected == 0:
		n, err := s.Subnet(ctx, id)
		return cmp.Or(err, s.unrevised(n.Revision), noSubnet(id))
	}
	return failed(d.Error, "delete subnet %s", id)
}
