package models

import (
	"context"
	"net/netip"
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
	CreatedAt   time.Time
	UpdatedAt   time.Time
	Subnets     []Subnet `gorm:"-"`
}

// Subnet is a range of addresses on a network.
type Subnet struct {
	ID         string `gorm:"primaryKey"`
	NetworkID  string
	ProjectID  string
	Name       string
	CIDR       string `gorm:"column:cidr"`
	GatewayIP  *string
	DNSServers []string `gorm:"serializer:json"`
	PoolStart  string
	PoolEnd    string
	EnableDHCP bool `gorm:"column:enable_dhcp"`
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// NetworkFilter selects networks. A project sees its own and the shared ones, an admin all. Sort keys: created_at
// (default), name, id.
type NetworkFilter struct {
	ProjectID string // who asks
	Admin     bool
	IDs       []string
	Names     []string
	OwnerID   string
	Shared    *bool
	Sort      []Sort
	Marker    string
	Limit     int // 0 is all
}

// SubnetFilter selects subnets of networks that the asker sees. Sort keys: created_at (default), name, cidr, id.
type SubnetFilter struct {
	ProjectID  string // who asks
	Admin      bool
	IDs        []string
	NetworkIDs []string
	Names      []string
	CIDR       string
	Sort       []Sort
	Marker     string
	Limit      int // 0 is all
}

// PortFilter selects ports. Sort keys: created_at (default), name, mac_address, id.
type PortFilter struct {
	ProjectID  string // "" is all
	IDs        []string
	ServerIDs  []string
	NetworkIDs []string
	Names      []string
	MACs       []string
	IPs        []string // any of its fixed addresses
	SubnetIDs  []string
	Sort       []Sort
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
}

// defaultMTU leaves room for VXLAN on a link of 1500.
const defaultMTU = 1450

var (
	networkOrder = order{
		id: "id", preset: Sort{Key: "created_at"},
		keys: map[string]string{"created_at": "created_at", "name": "name", "id": "id"},
	}
	subnetOrder = order{
		id: "id", preset: Sort{Key: "created_at"},
		keys: map[string]string{"created_at": "created_at", "name": "name", "cidr": "cidr::text", "id": "id"},
	}
)

func noNetwork(id string) error { return ipam.Absent("Network", id) }
func noSubnet(id string) error  { return ipam.Absent("Subnet", id) }

// complete fills in what a caller may leave out.
func (n *Network) complete() {
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	if n.MTU == 0 {
		n.MTU = defaultMTU
	}
	if n.CreatedAt.IsZero() {
		n.CreatedAt = now()
	}
	n.UpdatedAt = n.CreatedAt
}

// CreateNetwork adds a network; Conflict when the id is taken. An empty id is chosen here, an MTU of 0 is 1450.
func (s *Store) CreateNetwork(ctx context.Context, n Network) (Network, error) {
	n.complete()
	n.Subnets = []Subnet{}
	err := s.db.WithContext(ctx).Create(&n).Error
	switch {
	case violates(err, "networks_pkey"):
		return Network{}, fault.New(fault.Conflict, "Network %s already exists.", n.ID)
	case violates(err, "networks_project_id_fkey"):
		return Network{}, noProject(n.ProjectID)
	}
	return n, failed(err, "create network %s", n.ID)
}

// EnsureNetwork returns the project's network of that name (the oldest, where there are several) with its subnets, making
// both if it is not there.
func (s *Store) EnsureNetwork(ctx context.Context, n Network, subnets ...Subnet) (Network, error) {
	n.complete()
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
				q = q.Where("(project_id = ? OR shared)", f.ProjectID)
			}
			return q
		}
		q := visible()
		q = among(q, "id", f.IDs)
		q = among(q, "name", f.Names)
		if f.OwnerID != "" {
			q = q.Where("project_id = ?", f.OwnerID)
		}
		if f.Shared != nil {
			q = q.Where("shared = ?", *f.Shared)
		}
		q, err := networkOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
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
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Network{})
	switch {
	case violates(d.Error, "ports_network_id_fkey"), violates(d.Error, "fixed_ips_subnet_id_fkey"):
		return ipam.Refuse("NetworkInUse", fault.Conflict, "Unable to complete operation on network %s. There are one or more ports still in use on the network.", id)
	case d.Error == nil && d.RowsAffected == 0:
		return noNetwork(id)
	}
	return failed(d.Error, "delete network %s", id)
}

// CreateSubnet adds a subnet; an ipam.Refusal when its addresses do not fit together, overlap another subnet of the network or
// want a larger MTU than it has. An empty id is chosen here; an empty pool is every address for hosts that follows the gateway,
// or, where none does, that comes before.
func (s *Store) CreateSubnet(ctx context.Context, n Subnet) (Subnet, error) {
	err := s.tx(ctx, func(tx *gorm.DB) error { return addSubnet(tx, &n) })
	if err != nil {
		return Subnet{}, failed(err, "create subnet %s of network %s", n.ID, n.NetworkID)
	}
	return n, nil
}

func addSubnet(tx *gorm.DB, n *Subnet) error {
	if n.ID == "" {
		n.ID = uuid.NewString()
	}
	if n.DNSServers == nil {
		n.DNSServers = []string{}
	}
	if n.CreatedAt.IsZero() {
		n.CreatedAt = now()
	}
	n.UpdatedAt = n.CreatedAt
	if err := n.complete(); err != nil {
		return err
	}
	var network Network
	err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", n.NetworkID).Take(&network).Error
	if isAbsent(err) {
		return noNetwork(n.NetworkID)
	}
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

// complete brings the addresses into their usual form, fills in the pool and refuses what does not fit together.
func (n *Subnet) complete() error {
	of := ipam.Subnet{
		CIDR: n.CIDR, GatewayIP: n.GatewayIP, PoolStart: n.PoolStart, PoolEnd: n.PoolEnd, DNSServers: n.DNSServers, EnableDHCP: n.EnableDHCP,
	}
	err := of.Complete()
	n.CIDR, n.GatewayIP, n.PoolStart, n.PoolEnd = of.CIDR, of.GatewayIP, of.PoolStart, of.PoolEnd
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
				q = q.Where("network_id IN (SELECT id FROM networks WHERE project_id = ? OR shared)", f.ProjectID)
			}
			return q
		}
		q := visible()
		q = among(q, "id", f.IDs)
		q = among(q, "network_id", f.NetworkIDs)
		q = among(q, "name", f.Names)
		if f.CIDR != "" {
			q = q.Where("cidr::text = ?", f.CIDR)
		}
		q, err := subnetOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		return q.Find(&all).Error
	})
	return all, failed(err, "list the subnets")
}

// DeleteSubnet removes a subnet; Conflict while a port has an address of it.
func (s *Store) DeleteSubnet(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ?", id).Delete(&Subnet{})
	switch {
	case violates(d.Error, "fixed_ips_subnet_id_fkey"):
		return ipam.Refuse("SubnetInUse", fault.Conflict, "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", id)
	case d.Error == nil && d.RowsAffected == 0:
		return noSubnet(id)
	}
	return failed(d.Error, "delete subnet %s", id)
}
