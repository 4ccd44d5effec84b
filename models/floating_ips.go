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

// FloatingIP is an address of an external network that a project has, and that may stand for one of a port's.
type FloatingIP struct {
	ID          string `gorm:"primaryKey"`
	ProjectID   string
	Description string
	NetworkID   string
	IP          string  `gorm:"column:ip"` // of a draft "" is the lowest free one
	Subnet      string  `gorm:"-"`         // of a draft: which one that is of; "" is any with IPv4
	RouterID    *string // by which it is reached
	PortID      *string // nil: it stands for none
	SubnetID    *string
	FixedIP     *string  `gorm:"column:fixed_ip"` // of a draft nil is the port's only one
	Tags        []string `gorm:"serializer:json"`
	Revision    int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// TableName is for gorm, which would write floating_ip_s.
func (FloatingIP) TableName() string { return "floating_ips" }

const floatingStatusSQL = "CASE WHEN port_id IS NULL THEN 'DOWN' ELSE 'ACTIVE' END"

// Status is Neutron's.
func (f FloatingIP) Status() string {
	if f.PortID == nil {
		return "DOWN"
	}
	return "ACTIVE"
}

var (
	floatingOrder = order{id: "id", preset: Sort{Key: "created_at"}, keys: map[string]string{
		"id": "id", "project_id": "project_id", "created_at": "created_at", "updated_at": "updated_at", "floating_ip_address": "host(ip)",
		"floating_network_id": "network_id", "router_id": "COALESCE(router_id, '')", "port_id": "COALESCE(port_id, '')",
		"fixed_ip_address": "COALESCE(host(fixed_ip), '')", "status": floatingStatusSQL,
	}}
	floatingMatching = matching{
		"floating_network_id": textIs("network_id"), "floating_ip_address": textIs("host(ip)"), "router_id": textIs("router_id"), "port_id": textIs("port_id"),
		"fixed_ip_address": textIs("host(fixed_ip)"), "status": textIs(floatingStatusSQL),
	}.with("floating_ips")
)

func noFloatingIP(id string) error {
	return ipam.Refuse("FloatingIPNotFound", fault.NotFound, "Floating IP %s could not be found", id)
}

func badFloating(format string, args ...any) error {
	return BadResource("floatingip", format, args...)
}

// CreateFloatingIPs takes addresses of external networks, all or none, and lets them stand for what the drafts say; OverQuota when a project has too many
// then. An empty id is chosen here.
func (s *Store) CreateFloatingIPs(ctx context.Context, drafts []FloatingIP, defaults NetworkQuota) ([]FloatingIP, error) {
	var all []FloatingIP
	err := s.tx(ctx, func(tx *gorm.DB) error {
		all = slices.Clone(drafts)
		owners := perProject(all, func(f FloatingIP) string { return f.ProjectID })
		if err := s.claimNetworking(tx, defaults, QuotaFloatingIPs, owners); err != nil {
			return err
		}
		for i := range all {
			if err := addFloatingIP(tx, &all[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if violates(err, "floating_ips_project_id_fkey") && len(drafts) > 0 {
		return nil, noProject(drafts[0].ProjectID)
	}
	return all, failed(err, "create %d floating IPs", len(drafts))
}

func addFloatingIP(tx *gorm.DB, f *FloatingIP) error {
	f.ID = cmp.Or(f.ID, uuid.NewString())
	f.CreatedAt, f.Revision, f.Tags = now(), 1, append([]string{}, f.Tags...)
	f.UpdatedAt = f.CreatedAt
	// The router comes before the networks.
	if err := stand(tx, f); err != nil {
		return err
	}
	network, err := external(tx, f.NetworkID, func() error { return badFloating("Network %s is not a valid external network", f.NetworkID) })
	if err != nil {
		return err
	}
	address, err := floating(tx, network, f.Subnet, f.IP)
	if err != nil {
		return err
	}
	f.IP = address.IP
	if err := tx.Create(f).Error; err != nil {
		return unstanding(err, *f)
	}
	return addPort(tx, &Port{NetworkID: f.NetworkID, DeviceID: f.ID, DeviceOwner: FloatingOwner, FloatingIPID: &f.ID}, []FixedIP{address})
}

// floating is the address of an external network, which is held, that a floating IP gets.
func floating(tx *gorm.DB, n Network, subnetID, ip string) (FixedIP, error) {
	if subnetID != "" || ip != "" {
		wanted, err := place(tx, n, []FixedIP{{SubnetID: subnetID, IP: ip}})
		if err != nil {
			return FixedIP{}, err
		}
		one := wanted[0]
		if one.IP == "" {
			if one.IP, err = lowestOf(tx, n.ID, one.SubnetID); err != nil {
				return FixedIP{}, err
			}
		}
		if netip.MustParseAddr(one.IP).Is6() {
			return FixedIP{}, badFloating("Floating IPs are IPv4 addresses, and %s is none", one.IP)
		}
		return one, nil
	}
	free, err := lowest(tx, n.ID)
	for _, one := range free {
		if netip.MustParseAddr(one.IP).Is4() {
			return one, err
		}
	}
	return FixedIP{}, cmp.Or(err, noAddress(n.ID))
}

// stand finds the address and the router of the port that a floating IP is to stand for, and holds the router.
func stand(tx *gorm.DB, f *FloatingIP) error {
	f.RouterID, f.SubnetID = nil, nil
	if f.PortID == nil {
		if f.FixedIP != nil {
			return badFloating("fixed_ip_address cannot be specified without a port_id")
		}
		return nil
	}
	one := make([]Port, 1)
	err := tx.Where("id = ?", *f.PortID).Take(&one[0]).Error
	if isAbsent(err) {
		return noPort(*f.PortID)
	}
	if err != nil {
		return err
	}
	if err := completePorts(tx, one); err != nil {
		return err
	}
	fixed, err := one[0].floats(f.FixedIP)
	if err != nil {
		return err
	}
	f.SubnetID, f.FixedIP = &fixed.SubnetID, &fixed.IP
	unreachable := ipam.Refuse("ExternalGatewayForFloatingIPNotFound", fault.NotFound,
		"External network %s is not reachable from subnet %s.  Therefore, cannot associate Port %s with a Floating IP.", f.NetworkID, fixed.SubnetID, *f.PortID)
	for range 2 { // found, and then held and still so
		var routerID string
		err = tx.Raw(`
SELECT i.router_id FROM fixed_ips f JOIN ports i ON i.id = f.port_id AND i.device_owner = @inner
JOIN ports g ON g.router_id = i.router_id AND g.device_owner = @gateway AND g.network_id = @network_id
JOIN subnets s ON s.id = f.subnet_id
WHERE f.subnet_id = @subnet_id AND i.router_id IS NOT NULL ORDER BY f.ip IS DISTINCT FROM s.gateway_ip, i.router_id LIMIT 1`,
			map[string]any{"inner": InterfaceOwner, "gateway": GatewayOwner, "network_id": f.NetworkID, "subnet_id": fixed.SubnetID}).Scan(&routerID).Error
		switch {
		case err != nil:
			return err
		case routerID == "":
			return unreachable
		case f.RouterID != nil && *f.RouterID == routerID:
			return nil
		}
		if err := tx.Exec(`SELECT FROM routers WHERE id = ? FOR NO KEY UPDATE`, routerID).Error; err != nil {
			return err
		}
		f.RouterID = &routerID
	}
	return unreachable
}

// floats is the address of a port that a floating IP is to stand for; nil is the only one.
func (p Port) floats(asked *string) (FixedIP, error) {
	var all []FixedIP
	for _, ip := range p.FixedIPs {
		switch {
		case asked != nil && *asked == ip.IP && netip.MustParseAddr(ip.IP).Is4():
			return ip, nil
		case netip.MustParseAddr(ip.IP).Is4():
			all = append(all, ip)
		}
	}
	switch {
	case asked != nil:
		return FixedIP{}, badFloating("Port %s does not have fixed ip %s", p.ID, *asked)
	case len(all) == 0:
		return FixedIP{}, badFloating("Cannot add floating IP to port %s that has no fixed IPv4 addresses", p.ID)
	case len(all) > 1:
		return FixedIP{}, badFloating("Port %s has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a floating IP", p.ID)
	}
	return all[0], nil
}

// unstanding is why a floating IP cannot stand for what it was to.
func unstanding(err error, f FloatingIP) error {
	switch {
	case violates(err, "floating_ips_one"):
		return ipam.Refuse("FloatingIPPortAlreadyAssociated", fault.Conflict,
			"Cannot associate floating IP %s (%s) with port %s using fixed IP %s, as that fixed IP already has a floating IP on external network %s.",
			f.IP, f.ID, *f.PortID, *f.FixedIP, f.NetworkID)
	case violates(err, "floating_ips_fixed"): // the port, or its address, went meanwhile
		return noPort(*f.PortID)
	}
	return err
}

// UpdateFloatingIP changes a floating IP while nobody else does; change may be called again.
func (s *Store) UpdateFloatingIP(ctx context.Context, id string, change func(*FloatingIP)) (FloatingIP, error) {
	var f FloatingIP
	err := s.tx(ctx, func(tx *gorm.DB) error {
		f = FloatingIP{}
		if err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", id).Take(&f).Error; isAbsent(err) {
			return noFloatingIP(id)
		} else if err != nil {
			return err
		}
		if err := s.unrevised(f.Revision); err != nil {
			return err
		}
		before := f
		change(&f)
		if !reflect.DeepEqual(before.PortID, f.PortID) || !reflect.DeepEqual(before.FixedIP, f.FixedIP) {
			if err := stand(tx, &f); err != nil {
				return err
			}
		}
		if err := saveRevised(tx, &before, &f, "description", "router_id", "port_id", "subnet_id", "fixed_ip", "tags"); err != nil {
			return unstanding(err, f)
		}
		return tx.Where("id = ?", id).Take(&f).Error
	})
	return f, failed(err, "change floating IP %s", id)
}

// FloatingIP by id, whoever asks.
func (s *Store) FloatingIP(ctx context.Context, id string) (FloatingIP, error) {
	var f FloatingIP
	err := s.db.WithContext(ctx).Where("id = ?", id).Take(&f).Error
	if isAbsent(err) {
		return f, noFloatingIP(id)
	}
	return f, failed(err, "read floating IP %s", id)
}

// ListFloatingIPs lists what the filter selects.
func (s *Store) ListFloatingIPs(ctx context.Context, f OwnedFilter) ([]FloatingIP, error) {
	all := []FloatingIP{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		return f.list(tx, &all, &FloatingIP{}, floatingMatching, floatingOrder)
	})
	return all, failed(err, "list the floating IPs")
}

// DeleteFloatingIP gives its address back.
func (s *Store) DeleteFloatingIP(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`SELECT FROM networks WHERE id = (SELECT network_id FROM floating_ips WHERE id = ?) FOR NO KEY UPDATE`, id).Error; err != nil {
			return err
		}
		var f FloatingIP
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("id = ?", id).Take(&f).Error; isAbsent(err) {
			return noFloatingIP(id)
		} else if err != nil {
			return err
		}
		if err := s.unrevised(f.Revision); err != nil {
			return err
		}
		return tx.Delete(&FloatingIP{ID: id}).Error
	})
	return failed(err, "delete floating IP %s", id)
}
