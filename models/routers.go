// Routers. Whatever changes a router, its ports or what stands behind it holds the router's row; then the networks' rows, as whoever takes an
// address does. The refusals are Neutron's (neutron/db/l3_db.py, extraroute_db.py).

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
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
)

// Router joins networks, and leads out by its gateway.
type Router struct {
	ID           string `gorm:"primaryKey"`
	ProjectID    string
	Name         string
	Description  string
	AdminStateUp bool
	EnableSNAT   bool         `gorm:"column:enable_snat"`
	Routes       []ipam.Route `gorm:"serializer:json"`
	Tags         []string     `gorm:"serializer:json"`
	Revision     int64
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Gateway      *Gateway `gorm:"-"` // nil is none
}

// Gateway is where a router leads out.
type Gateway struct {
	NetworkID string
	FixedIPs  []FixedIP // of what is asked for nil is what it has, or one of each family
	port      string
}

// OwnedFilter selects what projects have each for themselves.
type OwnedFilter struct {
	ProjectID string // "" is all
	Match     []Match
	Sort      []Sort // by created_at where there is none
	Marker    string
	Limit     int // 0 is all
}

// list reads a page of a table.
func (f OwnedFilter) list(tx *gorm.DB, all, table any, m matching, o order) error {
	visible := func() *gorm.DB {
		q := tx.Model(table)
		if f.ProjectID != "" {
			q = q.Where("project_id = ?", f.ProjectID)
		}
		return q
	}
	q, err := m.of(visible(), f.Match)
	if err != nil {
		return err
	}
	if q, err = o.page(q, visible(), f.Sort, f.Marker, f.Limit); err != nil {
		return err
	}
	return q.Find(all).Error
}

// Interface is a router's port on a network that it routes, with those of its subnets that were added or removed together.
type Interface struct {
	PortID, NetworkID string
	SubnetIDs         []string
}

// What Neutron calls the devices of ports that no server has.
const (
	InterfaceOwner = "network:router_interface"
	GatewayOwner   = "network:router_gateway"
	FloatingOwner  = "network:floatingip"
)

var (
	routerOrder    = order{id: "id", preset: Sort{Key: "created_at"}, keys: neutronSorts(map[string]string{"admin_state_up": "admin_state_up", "status": "'ACTIVE'::text"})}
	routerMatching = matching{"admin_state_up": flagIs("admin_state_up"), "status": textIs("'ACTIVE'")}.with("routers")
)

func noRouter(id string) error { return ipam.Absent("Router", id) }

func badRouter(format string, args ...any) error { return BadResource("router", format, args...) }

// BadResource is Neutron's BadRequest, which says of what.
func BadResource(of, format string, args ...any) error {
	return ipam.Refuse("BadRequest", fault.Invalid, "Bad %s request: "+format+".", append([]any{of}, args...)...)
}

// CreateRouters adds routers, all or none; OverQuota when a project has too many then. An empty id is chosen here.
func (s *Store) CreateRouters(ctx context.Context, drafts []Router, defaults NetworkQuota) ([]Router, error) {
	var all []Router
	err := s.tx(ctx, func(tx *gorm.DB) error {
		all = slices.Clone(drafts)
		owners := perProject(all, func(r Router) string { return r.ProjectID })
		if err := s.claimNetworking(tx, defaults, QuotaRouters, owners); err != nil {
			return err
		}
		for i := range all {
			r := &all[i]
			r.ID = cmp.Or(r.ID, uuid.NewString())
			r.CreatedAt, r.Revision = now(), 1
			r.UpdatedAt = r.CreatedAt
			r.Tags, r.Routes = append([]string{}, r.Tags...), append([]ipam.Route{}, r.Routes...)
			if err := tx.Create(r).Error; err != nil {
				return err
			}
			asked := r.Gateway
			r.Gateway = nil
			if err := redirect(tx, r, asked); err != nil {
				return err
			}
			if err := routed(tx, *r); err != nil {
				return err
			}
		}
		return completeRouters(tx, all)
	})
	if violates(err, "routers_project_id_fkey") && len(drafts) > 0 {
		return nil, noProject(drafts[0].ProjectID)
	}
	return all, failed(err, "create %d routers", len(drafts))
}

// lockRouter holds a router's row, with its gateway.
func lockRouter(tx *gorm.DB, id string) (Router, error) {
	one := make([]Router, 1)
	err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("id = ?", id).Take(&one[0]).Error
	if isAbsent(err) {
		return Router{}, noRouter(id)
	}
	if err == nil {
		err = completeRouters(tx, one)
	}
	return one[0], err
}

// completeRouters reads their gateways.
func completeRouters(tx *gorm.DB, routers []Router) error {
	all := texts{}
	for _, r := range routers {
		all = append(all, r.ID)
	}
	if len(all) == 0 {
		return nil
	}
	var ports []Port
	if err := tx.Where("router_id = ANY(?) AND device_owner = ?", all, GatewayOwner).Find(&ports).Error; err != nil {
		return err
	}
	if err := completePorts(tx, ports); err != nil {
		return err
	}
	for i := range routers {
		routers[i].Gateway = nil
		for _, p := range ports {
			if *p.RouterID == routers[i].ID {
				routers[i].Gateway = &Gateway{NetworkID: p.NetworkID, FixedIPs: p.FixedIPs, port: p.ID}
			}
		}
	}
	return nil
}

// UpdateRouter changes a router while nobody else does. What change returns is why it is not to be; it may be called again. A Gateway on the
// same network without FixedIPs is the one that it has.
func (s *Store) UpdateRouter(ctx context.Context, id string, change func(*Router) error) (Router, error) {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r, err := lockRouter(tx, id)
		if err != nil {
			return err
		}
		if err := s.unrevised(r.Revision); err != nil {
			return err
		}
		before := r
		if err := change(&r); err != nil {
			return err
		}
		asked := r.Gateway
		r.Gateway = before.Gateway
		if err := redirect(tx, &r, asked); err != nil {
			return err
		}
		if err := routed(tx, r); err != nil {
			return err
		}
		moved := !reflect.DeepEqual(before.Gateway, r.Gateway)
		r.Gateway = before.Gateway
		switch {
		case !reflect.DeepEqual(before, r):
			return tx.Model(&r).Select("name", "description", "admin_state_up", "enable_snat", "routes", "tags", "updated_at").Updates(&r).Error
		case moved:
			return tx.Model(&r).Update("updated_at", now()).Error
		}
		return nil
	})
	if err != nil {
		return Router{}, failed(err, "change router %s", id)
	}
	return s.Router(ctx, id)
}

// redirect gives a router whose row is held the gateway that is asked for.
func redirect(tx *gorm.DB, r *Router, asked *Gateway) error {
	has := r.Gateway
	same := has != nil && asked != nil && has.NetworkID == asked.NetworkID
	if has != nil && !same {
		var floating int64
		if err := tx.Model(&FloatingIP{}).Where("router_id = ?", r.ID).Count(&floating).Error; err != nil {
			return err
		}
		if floating > 0 {
			return ipam.Refuse("RouterExternalGatewayInUseByFloatingIp", fault.Conflict,
				"Gateway cannot be updated for router %s, since a gateway to external network %s is required by one or more floating IPs.", r.ID, has.NetworkID)
		}
		if err := dropPort(tx, has.port); err != nil {
			return err
		}
		r.Gateway = nil
	}
	if asked == nil || asked == has || same && len(asked.FixedIPs) == 0 {
		return nil
	}
	network, err := external(tx, asked.NetworkID, func() error { return badRouter("Network %s is not an external network", asked.NetworkID) })
	if err != nil {
		return err
	}
	wanted, err := outside(tx, network, asked.FixedIPs)
	if err != nil {
		return err
	}
	var fresh []Subnet
	for _, sub := range network.Subnets {
		if slices.ContainsFunc(wanted, func(w FixedIP) bool { return w.SubnetID == sub.ID }) {
			fresh = append(fresh, sub)
		}
	}
	if err := apart(tx, r.ID, fresh, has != nil && same); err != nil {
		return err
	}
	port := Port{NetworkID: network.ID, DeviceID: r.ID, DeviceOwner: GatewayOwner, RouterID: &r.ID}
	if same {
		port = Port{ID: has.port, NetworkID: network.ID, Network: &network, FixedIPs: has.FixedIPs}
		before := port
		port.FixedIPs = wanted
		if _, err := readdress(tx, before, &port); err != nil {
			return err
		}
	} else if err := addPort(tx, &port, wanted); err != nil {
		return err
	}
	one := []Router{*r}
	err = completeRouters(tx, one)
	r.Gateway = one[0].Gateway
	return err
}

// external is a network that leads out, held; no is why it is not one.
func external(tx *gorm.DB, id string, no func() error) (Network, error) {
	n, err := lockNetwork(tx, id)
	if err != nil {
		return n, err
	}
	if !n.External() {
		return n, no()
	}
	one := []Network{n}
	err = completeNetworks(tx, one)
	return one[0], err
}

// outside are the addresses that a router gets on an external network: those that are asked for, or one of each family.
func outside(tx *gorm.DB, n Network, asked []FixedIP) ([]FixedIP, error) {
	if len(asked) > 0 {
		return place(tx, n, asked)
	}
	wanted, err := lowest(tx, n.ID)
	if err == nil && len(wanted) == 0 {
		return nil, noAddress(n.ID)
	}
	return wanted, err
}

// lowest are the free addresses of a network whose row is held, one of each family.
func lowest(tx *gorm.DB, networkID string) ([]FixedIP, error) {
	var found []FixedIP
	err := tx.Raw(`SELECT DISTINCT ON (family(s.cidr)) s.id AS subnet_id, host(lowest.ip) AS ip FROM subnets s, `+lowestFreeSQL+`
		WHERE s.network_id = ? ORDER BY family(s.cidr), s.created_at, s.id`, networkID).Scan(&found).Error
	return found, err
}

// apart refuses subnets that overlap others which the router reaches; regated leaves those of its gateway out, which are about to be others.
func apart(tx *gorm.DB, routerID string, fresh []Subnet, regated bool) error {
	q := tx.Where(`id IN (SELECT f.subnet_id FROM fixed_ips f JOIN ports p ON p.id = f.port_id WHERE p.router_id = ?)`, routerID)
	if regated {
		q = tx.Where(`id IN (SELECT f.subnet_id FROM fixed_ips f JOIN ports p ON p.id = f.port_id WHERE p.router_id = ? AND p.device_owner = ?)`,
			routerID, InterfaceOwner)
	}
	var there []Subnet
	if err := q.Order("created_at, id").Find(&there).Error; err != nil {
		return err
	}
	for _, has := range there {
		for _, sub := range fresh {
			switch {
			case has.ID == sub.ID:
				return badRouter("Router already has a port on subnet %s", sub.ID)
			case netip.MustParsePrefix(has.CIDR).Overlaps(netip.MustParsePrefix(sub.CIDR)):
				return badRouter("Cidr %s of subnet %s overlaps with cidr %s of subnet %s", sub.CIDR, sub.ID, has.CIDR, has.ID)
			}
		}
	}
	return nil
}

// routed refuses routes through what the router does not reach, or is itself.
func routed(tx *gorm.DB, r Router) error {
	if len(r.Routes) == 0 {
		return nil
	}
	var near []struct {
		CIDR string `gorm:"column:cidr"`
		IP   string `gorm:"column:ip"`
	}
	err := tx.Raw(`SELECT s.cidr::text AS cidr, host(f.ip) AS ip FROM ports p JOIN fixed_ips f ON f.port_id = p.id JOIN subnets s ON s.id = f.subnet_id
		WHERE p.router_id = ?`, r.ID).Scan(&near).Error
	if err != nil {
		return err
	}
	for _, route := range r.Routes {
		hop, reached := netip.MustParseAddr(route.NextHop), false
		for _, n := range near {
			if n.IP == route.NextHop {
				return badRoutes(r.Routes, "the nexthop is used by router")
			}
			reached = reached || netip.MustParsePrefix(n.CIDR).Contains(hop)
		}
		if !reached {
			return badRoutes(r.Routes, "the nexthop is not connected with router")
		}
	}
	return nil
}

func badRoutes(routes []ipam.Route, reason string) error {
	return ipam.Refuse("InvalidRoutes", fault.Invalid, "Invalid format for routes: %s, %s", asJSON(routes), reason)
}

// addPort makes a port for a router or a floating IP, on a network whose row is held.
func addPort(tx *gorm.DB, p *Port, wanted []FixedIP) error {
	p.ID = uuid.NewString()
	err := tx.Raw(`
INSERT INTO ports (id, network_id, project_id, name, mac, nic_index, made_by_build, ip_allocation, device_id, device_owner, router_id, floating_ip_id,
    port_security, grouped, created_at, updated_at)
SELECT @id, @network_id, NULLIF(@project_id, ''), '', m.mac, 0, false, @allocation, @device_id, @device_owner, @router_id, @floating_ip_id,
    false, false, CAST(@at AS timestamptz), CAST(@at AS timestamptz)
FROM unnest(CAST(@macs AS text[])) WITH ORDINALITY AS m(mac, n)
WHERE NOT EXISTS (SELECT FROM ports o WHERE o.network_id = @network_id AND o.mac = m.mac) ORDER BY m.n LIMIT 1 RETURNING mac`,
		map[string]any{
			"id": p.ID, "network_id": p.NetworkID, "project_id": p.ProjectID, "allocation": AllocateIPs, "device_id": p.DeviceID,
			"device_owner": p.DeviceOwner, "router_id": p.RouterID, "floating_ip_id": p.FloatingIPID, "at": now(), "macs": texts(ids.MACs(p.ID)),
		}).Scan(&p.MAC).Error
	if err == nil && p.MAC == "" {
		return macInUse(p.NetworkID, ids.MACs(p.ID)[0])
	}
	if err != nil {
		return err
	}
	p.FixedIPs, err = take(tx, *p, wanted)
	return err
}

// dropPort removes a port with its addresses.
func dropPort(tx *gorm.DB, id string) error {
	if err := tx.Exec(`SELECT FROM networks WHERE id = (SELECT network_id FROM ports WHERE id = ?) FOR NO KEY UPDATE`, id).Error; err != nil {
		return err
	}
	return tx.Where("id = ?", id).Delete(&Port{}).Error
}

// Router by id, whoever asks.
func (s *Store) Router(ctx context.Context, id string) (Router, error) {
	one := make([]Router, 1)
	err := s.read(ctx, func(tx *gorm.DB) error {
		one[0] = Router{}
		err := tx.Where("id = ?", id).Take(&one[0]).Error
		if isAbsent(err) {
			return noRouter(id)
		}
		if err != nil {
			return err
		}
		return completeRouters(tx, one)
	})
	return one[0], failed(err, "read router %s", id)
}

// ListRouters lists what the filter selects.
func (s *Store) ListRouters(ctx context.Context, f OwnedFilter) ([]Router, error) {
	all := []Router{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		if err := f.list(tx, &all, &Router{}, routerMatching, routerOrder); err != nil {
			return err
		}
		return completeRouters(tx, all)
	})
	return all, failed(err, "list the routers")
}

// DeleteRouter removes a router and its gateway; Conflict while it has interfaces.
func (s *Store) DeleteRouter(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r, err := lockRouter(tx, id)
		if err != nil {
			return err
		}
		if err := s.unrevised(r.Revision); err != nil {
			return err
		}
		var inner int64
		if err := tx.Model(&Port{}).Where("router_id = ? AND device_owner = ?", id, InterfaceOwner).Count(&inner).Error; err != nil {
			return err
		}
		if inner > 0 {
			return ipam.Refuse("RouterInUse", fault.Conflict, "Router %s still has ports", id)
		}
		if err := redirect(tx, &r, nil); err != nil {
			return err
		}
		return tx.Delete(&Router{ID: id}).Error
	})
	return failed(err, "delete router %s", id)
}

// PurgeRouter removes a router with all that is its own; what its interfaces served is served no more.
func (s *Store) PurgeRouter(ctx context.Context, id string) error {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		r, err := lockRouter(tx, id)
		if err != nil {
			return err
		}
		if err := tx.Exec(`UPDATE floating_ips SET port_id = NULL, subnet_id = NULL, fixed_ip = NULL, updated_at = ? WHERE router_id = ?`, now(), id).Error; err != nil {
			return err
		}
		var ports []string
		if err := tx.Model(&Port{}).Where("router_id = ? AND device_owner = ?", id, InterfaceOwner).Order("network_id, id").Pluck("id", &ports).Error; err != nil {
			return err
		}
		for _, p := range ports {
			if err := dropPort(tx, p); err != nil {
				return err
			}
		}
		if err := redirect(tx, &r, nil); err != nil {
			return err
		}
		return tx.Delete(&Router{ID: id}).Error
	})
	return failed(err, "purge router %s", id)
}
