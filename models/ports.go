// Ports and their addresses. Everything that takes an address holds the lock on the network's row; the unique constraint on
// (subnet, address) is what would stop a way around it.

package models

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Port is a NIC's place on a network. A port that a build made goes with the server; one that the user made is only bound
// and unbound.
type Port struct {
	ID          string `gorm:"primaryKey"`
	NetworkID   string
	ProjectID   string
	Name        string
	MAC         string  `gorm:"column:mac"`
	ServerID    *string // Neutron's device_id
	NICIndex    int     `gorm:"column:nic_index"`
	MadeByBuild bool
	HostID      *string
	Tag         *string
	// IPAllocation is AllocateIPs, or NoIPs for a port that was asked for without any address.
	IPAllocation string `gorm:"column:ip_allocation"`
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Network      *Network  `gorm:"-"`
	FixedIPs     []FixedIP `gorm:"-"`
}

// How a port comes to its addresses (Neutron's ip_allocation).
const (
	AllocateIPs = "immediate"
	NoIPs       = "none"
)

// FixedIP is one address of a port.
type FixedIP struct {
	PortID   string `gorm:"primaryKey"`
	SubnetID string `gorm:"primaryKey"`
	IP       string `gorm:"primaryKey;column:ip"`
}

var portOrder = order{
	id: "id", preset: Sort{Key: "created_at"},
	keys: map[string]string{"created_at": "created_at", "name": "name", "mac_address": "mac", "id": "id"},
}

func noPort(id string) error { return ipam.Absent("Port", id) }

const (
	lockNetworkSQL = `SELECT FROM networks WHERE id = $1 FOR NO KEY UPDATE`

	// lowestFreeSQL is the lowest address of subnet s that nobody has: where its pool starts, or what follows the gateway or
	// the first taken address that is followed by a free one (a walk along the unique index that stops there).
	lowestFreeSQL = `LATERAL (
    SELECT c.ip FROM (
        SELECT s.pool_start AS ip
        UNION ALL SELECT s.gateway_ip + 1
        UNION ALL (SELECT f.ip + 1 FROM (
                       SELECT ip, lead(ip) OVER (ORDER BY ip) AS next FROM fixed_ips
                       WHERE subnet_id = s.id AND ip >= s.pool_start AND ip < s.pool_end) f
                   WHERE f.next IS DISTINCT FROM f.ip + 1 AND f.ip + 1 IS DISTINCT FROM s.gateway_ip
                   ORDER BY f.ip LIMIT 1)) c
    WHERE c.ip BETWEEN s.pool_start AND s.pool_end AND c.ip IS DISTINCT FROM s.gateway_ip
      AND NOT EXISTS (SELECT FROM fixed_ips t WHERE t.subnet_id = s.id AND t.ip = c.ip)
    ORDER BY c.ip LIMIT 1) lowest`

	// makePortSQL makes a port with its addresses, or nothing, and says what it saw. It runs with the network locked, so the
	// addresses and MACs it finds free are free.
	makePortSQL = `
WITH net AS (SELECT id FROM networks WHERE id = @network_id AND (project_id = @project_id OR shared)),
     server AS (SELECT id, vm_state FROM servers WHERE id = @server_id AND deleted_at IS NULL FOR NO KEY UPDATE),
     same AS (SELECT * FROM ports WHERE id = @id),
     wanted AS (SELECT w.subnet_id, w.ip::inet AS ip FROM jsonb_to_recordset(@wanted) AS w(subnet_id text, ip text)),
     placed AS (SELECT w.ip, s.id AS subnet_id FROM wanted w JOIN subnets s ON s.id = w.subnet_id AND s.network_id = @network_id WHERE w.ip IS NOT NULL),
     taken AS (
         SELECT host(f.ip) AS ip, f.subnet_id, p.server_id FROM placed JOIN fixed_ips f ON f.subnet_id = placed.subnet_id AND f.ip = placed.ip
         JOIN ports p ON p.id = f.port_id LIMIT 1),
     chosen AS (
         SELECT subnet_id, ip FROM placed
         UNION ALL
         SELECT s.id, lowest.ip FROM wanted w JOIN subnets s ON s.id = w.subnet_id AND s.network_id = @network_id, ` + lowestFreeSQL + ` WHERE w.ip IS NULL
         UNION ALL
         (SELECT DISTINCT ON (family(s.cidr)) s.id, lowest.ip FROM subnets s, ` + lowestFreeSQL + `
          WHERE s.network_id = @network_id AND @ip_allocation::text = 'immediate' AND NOT EXISTS (SELECT FROM wanted)
          ORDER BY family(s.cidr), s.created_at, s.id)),
     families AS (SELECT count(DISTINCT family(cidr)) AS n FROM subnets WHERE network_id = @network_id),
     free_mac AS (
         SELECT m.mac FROM unnest(@macs::text[]) WITH ORDINALITY AS m(mac, n)
         WHERE NOT EXISTS (SELECT FROM ports p WHERE p.network_id = @network_id AND p.mac = m.mac) ORDER BY m.n LIMIT 1),
     made AS (
         INSERT INTO ports (id, network_id, project_id, name, mac, server_id, nic_index, made_by_build, host_id, tag, ip_allocation, created_at, updated_at)
         SELECT @id, net.id, @project_id, @name, free_mac.mac, @server_id, @nic_index, @server_id::text IS NOT NULL,
             (SELECT id FROM hosts WHERE hostname = @hostname), NULLIF(@tag::text, ''), @ip_allocation::text, @at, @at
         FROM net, free_mac, families
         WHERE NOT EXISTS (SELECT FROM same) AND NOT EXISTS (SELECT FROM taken)
           AND (@server_id::text IS NULL OR families.n > 0 AND EXISTS (SELECT FROM server WHERE ` + isBuilding + `))
           AND (@ip_allocation::text = 'none' OR (SELECT count(*) FROM chosen) = COALESCE(NULLIF((SELECT count(*) FROM wanted), 0), families.n))
         RETURNING id),
     addressed AS (INSERT INTO fixed_ips (port_id, subnet_id, ip) SELECT made.id, chosen.subnet_id, chosen.ip FROM made, chosen),
     moved AS ( -- on the next host of the same build
         UPDATE ports p SET host_id = h.id, updated_at = @at FROM hosts h, server
         WHERE p.id = @id AND p.server_id = @server_id AND p.nic_index = @nic_index AND server.` + isBuilding + `
           AND h.hostname = @hostname AND p.host_id IS DISTINCT FROM h.id
         RETURNING p.id),
     shown AS (
         UPDATE servers SET task_state = @task_state::text, updated_at = @at
         WHERE id IN (SELECT server.id FROM server, (SELECT id FROM made UNION ALL SELECT id FROM moved) taken_now) AND @task_state::text IS NOT NULL)
SELECT EXISTS (SELECT FROM made), EXISTS (SELECT FROM same),
       EXISTS (SELECT FROM same WHERE network_id = @network_id AND server_id = @server_id AND nic_index = @nic_index),
       EXISTS (SELECT FROM net), COALESCE((SELECT vm_state FROM server), ''), (SELECT n FROM families),
       (SELECT ip FROM taken), (SELECT subnet_id FROM taken), (SELECT server_id FROM taken), EXISTS (SELECT FROM free_mac)`

	// bindPortSQL gives a server the port that its user made, if no server has it.
	bindPortSQL = `
WITH server AS (SELECT id, vm_state FROM servers WHERE id = @server_id AND deleted_at IS NULL FOR NO KEY UPDATE),
     same AS (SELECT * FROM ports WHERE id = @id AND project_id = @project_id),
     bound AS (
         UPDATE ports p
         SET server_id = server.id, nic_index = @nic_index, host_id = (SELECT id FROM hosts WHERE hostname = @hostname),
             tag = NULLIF(@tag::text, ''), updated_at = @at
         FROM server
         WHERE p.id = @id AND p.project_id = @project_id AND server.` + isBuilding + `
           AND (p.server_id IS NULL OR p.server_id = server.id AND p.nic_index = @nic_index -- on the next host of the same build
                AND p.host_id IS DISTINCT FROM (SELECT id FROM hosts WHERE hostname = @hostname))
         RETURNING p.id),
     shown AS (
         UPDATE servers SET task_state = @task_state::text, updated_at = @at
         WHERE id IN (SELECT server.id FROM server, bound) AND @task_state::text IS NOT NULL)
SELECT EXISTS (SELECT FROM bound), EXISTS (SELECT FROM same), EXISTS (SELECT FROM same WHERE server_id = @server_id AND nic_index = @nic_index),
       COALESCE((SELECT vm_state FROM server), '')`
)

// queuePort reads a port with its network, subnets and addresses as part of a pipeline. found stays false where it is not.
func queuePort(b *pgx.Batch, id string, p *Port, found *bool) {
	var net Network
	b.Queue(`SELECT id, network_id, project_id, name, mac, server_id, nic_index, made_by_build, host_id, tag, ip_allocation, created_at, updated_at
		FROM ports WHERE id = $1`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Port])
		if *found = len(all) == 1; *found {
			*p = all[0]
		}
		return err
	})
	b.Queue(`SELECT id, project_id, name, description, shared, mtu, created_at, updated_at
		FROM networks WHERE id = (SELECT network_id FROM ports WHERE id = $1)`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Network])
		if len(all) == 1 {
			net = all[0]
			p.Network = &net
		}
		return err
	})
	b.Queue(`SELECT id, network_id, project_id, name, cidr::text, host(gateway_ip) AS gateway_ip, dns_servers, host(pool_start) AS pool_start,
			host(pool_end) AS pool_end, enable_dhcp, created_at, updated_at
		FROM subnets WHERE network_id = (SELECT network_id FROM ports WHERE id = $1) ORDER BY created_at, id`, id).
		Query(func(rows pgx.Rows) error {
			all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Subnet])
			net.Subnets = all
			return err
		})
	b.Queue(`SELECT port_id, subnet_id, host(ip) AS ip FROM fixed_ips WHERE port_id = $1 ORDER BY fixed_ips.ip`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[FixedIP])
		p.FixedIPs = all
		return err
	})
}

// completePorts reads the networks, subnets and addresses of the ports, in as many queries for a thousand as for one.
func completePorts(tx *gorm.DB, ports []Port) error {
	ids, networkIDs := texts{}, texts{}
	at := make(map[string]*Port, len(ports))
	for i := range ports {
		p := &ports[i]
		p.FixedIPs = []FixedIP{}
		ids, at[p.ID] = append(ids, p.ID), p
		if !slices.Contains(networkIDs, p.NetworkID) {
			networkIDs = append(networkIDs, p.NetworkID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var networks []Network
	if err := tx.Where("id = ANY(?)", networkIDs).Find(&networks).Error; err != nil {
		return err
	}
	if err := completeNetworks(tx, networks); err != nil {
		return err
	}
	for i := range ports {
		for j := range networks {
			if networks[j].ID == ports[i].NetworkID {
				ports[i].Network = &networks[j]
			}
		}
	}
	var ips []FixedIP
	if err := tx.Where("port_id = ANY(?)", ids).Order("port_id, ip").Find(&ips).Error; err != nil {
		return err
	}
	for _, ip := range ips {
		at[ip.PortID].FixedIPs = append(at[ip.PortID].FixedIPs, ip)
	}
	return nil
}

// making is a port to make, for a user or for a build.
type making struct {
	PortRequest
	name         string
	macs         []string
	ipAllocation string
	wanted       []FixedIP
}

// place finds the subnet of the network that each wanted address is to come from.
func (s *Store) place(ctx context.Context, m *making) error {
	if len(m.wanted) == 0 {
		return nil
	}
	network, err := s.Network(ctx, m.NetworkID)
	if err != nil {
		return err
	}
	if network.ProjectID != m.ProjectID && !network.Shared {
		return noNetwork(m.NetworkID)
	}
	if len(network.Subnets) == 0 {
		return ipam.BadInput("IP allocation requires subnets for network")
	}
	m.wanted = slices.Clone(m.wanted)
	for i := range m.wanted {
		if err := s.placeOne(ctx, network, &m.wanted[i]); err != nil {
			return err
		}
	}
	return nil
}

// placeOne is Neutron's _get_subnet_for_fixed_ip.
func (s *Store) placeOne(ctx context.Context, network Network, w *FixedIP) error {
	var ip netip.Addr
	if w.IP != "" {
		var err error
		if ip, err = ipam.Address("fixed_ips", w.IP); err != nil {
			return err
		}
		w.IP = ip.String()
	}
	fits := func(sub Subnet) bool { return ipam.Usable(netip.MustParsePrefix(sub.CIDR), ip) }
	switch {
	case w.SubnetID != "":
		i := slices.IndexFunc(network.Subnets, func(sub Subnet) bool { return sub.ID == w.SubnetID })
		if i < 0 {
			if _, err := s.Subnet(ctx, w.SubnetID); err != nil {
				return err
			}
			return ipam.BadInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s", network.ID, w.SubnetID)
		}
		if w.IP != "" && !fits(network.Subnets[i]) {
			return ipam.Refuse("InvalidIpForSubnet", fault.Invalid, "IP address %s is not a valid IP for the specified subnet.", w.IP)
		}
	case w.IP == "":
		return ipam.BadInput("IP allocation requires subnet_id or ip_address")
	default:
		i := slices.IndexFunc(network.Subnets, fits)
		if i < 0 {
			return ipam.Refuse("InvalidIpForNetwork", fault.Invalid, "IP address %s is not a valid IP for any of the subnets on the specified network.", w.IP)
		}
		w.SubnetID = network.Subnets[i].ID
	}
	return nil
}

// makePort is one round trip where no address is asked for. The texts are Neutron's, or Nova's where a build is what fails.
func (s *Store) makePort(ctx context.Context, m making) (Port, error) {
	if err := s.place(ctx, &m); err != nil {
		return Port{}, err
	}
	type want struct {
		SubnetID string  `json:"subnet_id"`
		IP       *string `json:"ip"`
	}
	wanted := []want{}
	for _, w := range m.wanted {
		one := want{SubnetID: w.SubnetID}
		if w.IP != "" {
			one.IP = &w.IP
		}
		wanted = append(wanted, one)
	}
	var (
		p                                       Port
		found                                   bool
		made, exists, same, net, freeMAC        bool
		state                                   lifecycle.VMState
		families                                int
		takenIP, takenIn, takenBy, serverOrNone *string
	)
	if m.ServerID != "" {
		serverOrNone = &m.ServerID
	}
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockNetworkSQL, m.NetworkID)
		b.Queue(makePortSQL, named{
			"id": m.ID, "network_id": m.NetworkID, "project_id": m.ProjectID, "server_id": serverOrNone, "nic_index": m.Index,
			"hostname": m.Hostname, "tag": m.Tag, "macs": m.macs, "wanted": asJSON(wanted), "at": now(), "name": m.name,
			"task_state": m.TaskState, "ip_allocation": m.ipAllocation,
		}).
			QueryRow(func(r pgx.Row) error {
				return r.Scan(&made, &exists, &same, &net, &state, &families, &takenIP, &takenIn, &takenBy, &freeMAC)
			})
		queuePort(b, m.ID, &p, &found)
	})
	building := serverOrNone != nil
	switch {
	case violates(err, "ports_nic_key"):
		return Port{}, fault.New(fault.Conflict, "Instance %s has another port on interface %d already.", m.ServerID, m.Index)
	case violates(err, "fixed_ips_ip_key"), violates(err, "fixed_ips_pkey"):
		return Port{}, fault.New(fault.Invalid, "Duplicate fixed IP addresses were requested on network %s.", m.NetworkID)
	case violates(err, "ports_project_id_fkey"):
		return Port{}, noProject(m.ProjectID)
	case violates(err, "ports_pkey"):
		return Port{}, fault.New(fault.Conflict, "Port %s already exists.", m.ID)
	case err != nil:
		return Port{}, failed(err, "make port %s on network %s", m.ID, m.NetworkID)
	case (made || same) && found:
		return p, nil
	case building && state == "":
		return Port{}, noServer(m.ServerID)
	case exists:
		return Port{}, fault.New(fault.Conflict, "Port %s already exists.", m.ID)
	case building && state != lifecycle.Building:
		return Port{}, wrongState(m.ServerID, state, "allocate a port")
	case !net:
		return Port{}, noNetwork(m.NetworkID)
	case building && families == 0:
		return Port{}, fault.New(fault.Invalid, "Network %s requires a subnet in order to boot instances on.", m.NetworkID)
	case takenIP != nil && building && takenBy != nil:
		return Port{}, fault.New(fault.Conflict, "Fixed IP address %s is already in use on instance %s.", *takenIP, *takenBy)
	case takenIP != nil:
		return Port{}, ipam.Refuse("IpAddressAlreadyAllocated", fault.Conflict, "IP address %s already allocated in subnet %s", *takenIP, *takenIn)
	case !freeMAC:
		return Port{}, ipam.Refuse("MacAddressInUse", fault.Conflict,
			"Unable to complete operation for network %s. The mac address %s is in use.", m.NetworkID, m.macs[0])
	}
	return Port{}, ipam.Refuse("IpAddressGenerationFailure", fault.Conflict, "No more IP addresses available on network %s.", m.NetworkID)
}

// CreatePort makes a port for a user. With FixedIPs it gets those (an empty SubnetID is found by address, an empty IP is
// the subnet's lowest free one), without the lowest free address of each family that the network has, with NoIPs none. An
// empty id is chosen here, an empty MAC is derived from the id. What cannot be is an ipam.Refusal.
func (s *Store) CreatePort(ctx context.Context, p Port) (Port, error) {
	if p.ID == "" {
		p.ID = uuid.NewString()
	}
	m := making{
		PortRequest: PortRequest{ID: p.ID, ProjectID: p.ProjectID, NetworkID: p.NetworkID},
		name:        p.Name, macs: ids.MACs(p.ID), ipAllocation: cmp.Or(p.IPAllocation, AllocateIPs), wanted: p.FixedIPs,
	}
	if p.MAC != "" {
		mac, err := ipam.MAC(p.MAC)
		if err != nil {
			return Port{}, err
		}
		m.macs = []string{mac}
	}
	return s.makePort(ctx, m)
}

// AllocatePort gives a server that is in BUILD its port on a NIC: makes one with the lowest free address of each family, or
// binds the one that the user made. The answer has the network with its subnets and the addresses. The same again gives the
// same answer, with another host it moves the binding. Conflict when the port or the address is taken or no address is left; Invalid when the address lies outside
// every subnet; NotFound when the project cannot see the network or port.
func (s *Store) AllocatePort(ctx context.Context, r PortRequest) (Port, error) {
	if r.PortID != "" {
		return s.bindPort(ctx, r)
	}
	if r.ServerID == "" {
		return Port{}, errors.New("allocate a port: no server is named")
	}
	m := making{PortRequest: r, macs: ids.MACs(r.ID), ipAllocation: AllocateIPs}
	if r.FixedIP != "" {
		m.wanted = []FixedIP{{IP: r.FixedIP}}
	}
	return s.makePort(ctx, m)
}

func (s *Store) bindPort(ctx context.Context, r PortRequest) (Port, error) {
	var (
		p                    Port
		found                bool
		bound, visible, same bool
		state                lifecycle.VMState
	)
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(bindPortSQL, named{
			"id": r.PortID, "project_id": r.ProjectID, "server_id": r.ServerID, "nic_index": r.Index, "hostname": r.Hostname,
			"tag": r.Tag, "at": now(), "task_state": r.TaskState,
		}).
			QueryRow(func(row pgx.Row) error { return row.Scan(&bound, &visible, &same, &state) })
		queuePort(b, r.PortID, &p, &found)
	})
	switch {
	case violates(err, "ports_nic_key"):
		return Port{}, fault.New(fault.Conflict, "Instance %s has another port on interface %d already.", r.ServerID, r.Index)
	case err != nil:
		return Port{}, failed(err, "bind port %s to server %s", r.PortID, r.ServerID)
	case (bound || same) && found:
		return p, nil
	case state == "":
		return Port{}, noServer(r.ServerID)
	case !visible:
		return Port{}, noPort(r.PortID)
	case state != lifecycle.Building:
		return Port{}, wrongState(r.ServerID, state, "bind a port")
	}
	return Port{}, fault.New(fault.Conflict, "Port %s is still in use.", r.PortID)
}

// ReleasePort undoes AllocatePort: a port that the build made is deleted, one that was bound is unbound, absent is success.
func (s *Store) ReleasePort(ctx context.Context, serverID string, index int) error {
	err := s.exec(ctx, `
WITH gone AS (DELETE FROM ports WHERE server_id = $1 AND nic_index = $2 AND made_by_build)
UPDATE ports SET server_id = NULL, nic_index = 0, host_id = NULL, tag = NULL, updated_at = $3
WHERE server_id = $1 AND nic_index = $2 AND NOT made_by_build`, serverID, index, now())
	return failed(err, "release port %d of server %s", index, serverID)
}

// Port by id with its network, subnets and addresses, whoever asks.
func (s *Store) Port(ctx context.Context, id string) (Port, error) {
	var (
		p     Port
		found bool
	)
	err := s.batch(ctx, func(b *pgx.Batch) { queuePort(b, id, &p, &found) })
	if err == nil && !found {
		return Port{}, noPort(id)
	}
	return p, failed(err, "read port %s", id)
}

// ListPorts lists what the filter selects, each with its network, subnets and addresses.
func (s *Store) ListPorts(ctx context.Context, f PortFilter) ([]Port, error) {
	all := []Port{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		visible := func() *gorm.DB {
			q := tx.Model(&Port{})
			if f.ProjectID != "" {
				q = q.Where("project_id = ?", f.ProjectID)
			}
			return q
		}
		q := visible()
		q = among(q, "id", f.IDs)
		q = among(q, "server_id", f.ServerIDs)
		q = among(q, "network_id", f.NetworkIDs)
		q = among(q, "name", f.Names)
		q = among(q, "mac", f.MACs)
		if len(f.IPs) > 0 {
			q = q.Where("EXISTS (SELECT FROM fixed_ips i WHERE i.port_id = ports.id AND i.ip = ANY(?::inet[]))", texts(f.IPs))
		}
		if len(f.SubnetIDs) > 0 {
			q = q.Where("EXISTS (SELECT FROM fixed_ips i WHERE i.port_id = ports.id AND i.subnet_id = ANY(?))", texts(f.SubnetIDs))
		}
		q, err := portOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
		if err != nil {
			return err
		}
		if err := q.Find(&all).Error; err != nil {
			return err
		}
		return completePorts(tx, all)
	})
	if sqlState(err) == "22P02" { // invalid_text_representation: an address that is none
		return nil, fault.Wrap(fault.Invalid, err, "The fixed_ips filter is not a valid IP address.")
	}
	return all, failed(err, "list the ports")
}

// DeletePort removes a port; Conflict while a server uses it.
func (s *Store) DeletePort(ctx context.Context, id string) error {
	d := s.db.WithContext(ctx).Where("id = ? AND server_id IS NULL", id).Delete(&Port{})
	if d.Error != nil || d.RowsAffected == 1 {
		return failed(d.Error, "delete port %s", id)
	}
	p, err := s.Port(ctx, id)
	if err != nil {
		return err
	}
	if p.ServerID == nil { // released in between
		return s.DeletePort(ctx, id)
	}
	return fault.New(fault.Conflict, "Port %s cannot be deleted: it is in use by instance %s.", id, *p.ServerID)
}
