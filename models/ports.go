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
	"gorm.io/gorm/clause"

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
	ProjectID   string // "" where a gateway or a floating IP has it
	Name        string
	MAC         string  `gorm:"column:mac"`
	ServerID    *string // Neutron's device_id
	NICIndex    int     `gorm:"column:nic_index"`
	MadeByBuild bool
	HostID      *string
	Tag         *string // of the server's device
	Description string
	// DeviceID and DeviceOwner are what a user says that has it, where no server has.
	DeviceID     string
	DeviceOwner  string
	RouterID     *string // a router has it: DeviceOwner says for what
	FloatingIPID *string `gorm:"column:floating_ip_id"`
	AdminStateUp bool
	PortSecurity bool
	AddressPairs []AddressPair `gorm:"serializer:json"`
	DHCPOptions  []DHCPOption  `gorm:"serializer:json;column:dhcp_options"`
	// Grouped ports are in their project's default security group, and all in these.
	Grouped       bool
	FurtherGroups []GroupRef `gorm:"-" db:"-"`
	Tags          []string   `gorm:"serializer:json"`
	Revision      int64
	// IPAllocation is AllocateIPs, or NoIPs for a port that was asked for without any address.
	IPAllocation string `gorm:"column:ip_allocation"`
	CreatedAt    time.Time
	UpdatedAt    time.Time
	Network      *Network  `gorm:"-"`
	FixedIPs     []FixedIP `gorm:"-"`
	Floating     []Floats  `gorm:"-"`
}

// Floats is a floating IP that stands for an address of a port.
type Floats struct {
	PortID  string
	FixedIP string `gorm:"column:fixed_ip"`
	IP      string `gorm:"column:ip"`
}

// Device is what has the port; "" is nothing.
func (p Port) Device() string {
	if p.ServerID != nil {
		return *p.ServerID
	}
	return p.DeviceID
}

// AddressPair is what a port may send as beside its own addresses (Neutron's allowed_address_pairs).
type AddressPair struct {
	IP  string `json:"ip_address"` // an address or a range
	MAC string `json:"mac_address"`
}

// DHCPOption is what the guest behind a port is told beside the rest (Neutron's extra_dhcp_opts).
type DHCPOption struct {
	Name      string `json:"opt_name"`
	Value     string `json:"opt_value"`
	IPVersion int    `json:"ip_version"`
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

const deviceOwnerSQL = `CASE WHEN server_id IS NULL THEN device_owner ELSE '` + ComputeOwner + `' END`

// ComputeOwner is Neutron's device_owner of a server's port.
const ComputeOwner = "compute:nova"

var (
	portOrder = order{id: "id", preset: Sort{Key: "created_at"}, keys: neutronSorts(map[string]string{
		"mac_address": "mac", "network_id": "network_id", "admin_state_up": "admin_state_up", "device_id": "COALESCE(server_id, device_id)",
		"device_owner": deviceOwnerSQL, "status": portStatusSQL, "project_id": "COALESCE(project_id, '')",
	})}
	portMatching = matching{
		"network_id": textIs("network_id"), "mac_address": textIs("mac"), "admin_state_up": flagIs("admin_state_up"),
		"port_security_enabled": flagIs("port_security"), "device_id": textIs("COALESCE(server_id, device_id)"), "device_owner": textIs(deviceOwnerSQL),
		"status": textIs(portStatusSQL), "ip_allocation": textIs("ip_allocation"), "binding:vnic_type": textIs("'normal'"),
		"security_groups": `EXISTS (SELECT FROM security_groups g WHERE g.id = ANY(?::text[]) AND (g.is_default AND g.project_id = ports.project_id AND ports.grouped
			OR EXISTS (SELECT FROM port_security_groups m WHERE m.port_id = ports.id AND m.group_id = g.id)))`,
		"binding:host_id": "COALESCE((SELECT h.hostname FROM hosts h WHERE h.id = ports.host_id), '') = ANY(?::text[])",
	}.with("ports")
)

// portStatusSQL is up where a server or a router uses it: nothing else is behind a port.
const portStatusSQL = "CASE WHEN server_id IS NOT NULL OR router_id IS NOT NULL THEN 'ACTIVE' WHEN floating_ip_id IS NOT NULL THEN 'N/A' ELSE 'DOWN' END"

// Status is Neutron's.
func (p Port) Status() string {
	switch {
	case p.ServerID != nil, p.RouterID != nil:
		return "ACTIVE"
	case p.FloatingIPID != nil:
		return "N/A"
	}
	return "DOWN"
}

func noPort(id string) error { return ipam.Absent("Port", id) }

const (
	lockNetworkSQL = `SELECT FROM networks WHERE id = $1 FOR NO KEY UPDATE`

	// lowestFreeSQL is the lowest address of subnet s that nobody has: where a pool starts, what follows the gateway, or the first that
	// follows a taken one. Each of these few is looked up: as a join it would read every address of the subnet.
	lowestFreeSQL = `LATERAL (
    SELECT free.ip FROM jsonb_to_recordset(s.pools) AS pool(start inet, "end" inet), LATERAL (
        SELECT pool.start AS ip
        UNION ALL SELECT s.gateway_ip + 1 WHERE s.gateway_ip >= pool.start AND s.gateway_ip < pool."end"
        UNION ALL (SELECT f.free_after FROM fixed_ips f
                   WHERE f.subnet_id = s.id AND f.free_after > pool.start AND f.free_after <= pool."end"
                     AND f.free_after IS DISTINCT FROM s.gateway_ip
                   ORDER BY f.free_after LIMIT 1)) free
    WHERE free.ip IS DISTINCT FROM s.gateway_ip AND (SELECT t.ip FROM fixed_ips t WHERE t.subnet_id = s.id AND t.ip = free.ip) IS NULL
    ORDER BY free.ip LIMIT 1) lowest`

	// makePortSQL makes a port with its addresses, or nothing, and says what it saw. It runs with the network locked, so the
	// addresses and MACs it finds free are free.
	makePortSQL = `
WITH net AS (SELECT id, port_security FROM networks WHERE id = @network_id AND (project_id = @project_id OR shared)),
     quota AS (SELECT COALESCE((SELECT (limits ->> 'port')::integer FROM network_quotas WHERE project_id = @project_id), @limit::integer) AS most),
     exceeded AS (SELECT FROM quota WHERE most >= 0 AND (
         SELECT count(*) FROM (SELECT FROM ports WHERE project_id = @project_id LIMIT (SELECT GREATEST(most, 0) FROM quota)) c) >= most),
     server AS (SELECT id, vm_state FROM servers WHERE id = @server_id AND deleted_at IS NULL FOR NO KEY UPDATE),
     same AS (SELECT * FROM ports WHERE id = @id),
     wanted AS (SELECT w.subnet_id, w.ip::inet AS ip FROM jsonb_to_recordset(@wanted) AS w(subnet_id text, ip text)),
     placed AS (SELECT w.ip, s.id AS subnet_id FROM wanted w JOIN subnets s ON s.id = w.subnet_id AND s.network_id = @network_id WHERE w.ip IS NOT NULL AND w.ip IS DISTINCT FROM s.gateway_ip),
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
         INSERT INTO ports (id, network_id, project_id, name, mac, server_id, nic_index, made_by_build, host_id, tag, ip_allocation,
             description, device_id, device_owner, admin_state_up, port_security, address_pairs, dhcp_options, grouped, tags, created_at, updated_at)
         SELECT @id, net.id, @project_id, draft.name, free_mac.mac, @server_id, @nic_index, @server_id::text IS NOT NULL,
             (SELECT id FROM hosts WHERE hostname = @hostname), NULLIF(@tag::text, ''), @ip_allocation::text,
             draft.description, draft.device_id, draft.device_owner, draft.admin_state_up, COALESCE(draft.port_security, net.port_security),
             draft.address_pairs, draft.dhcp_options, draft.grouped AND COALESCE(draft.port_security, net.port_security), draft.tags, @at, @at
         FROM net, free_mac, families, jsonb_to_record(@draft) AS draft(name text, description text, device_id text, device_owner text,
             admin_state_up boolean, port_security boolean, address_pairs jsonb, dhcp_options jsonb, grouped boolean, tags jsonb)
         WHERE NOT EXISTS (SELECT FROM same) AND NOT EXISTS (SELECT FROM taken) AND NOT EXISTS (SELECT FROM exceeded)
           AND (@server_id::text IS NULL OR families.n > 0 AND EXISTS (SELECT FROM server WHERE ` + isBuilding + `))
           AND (@ip_allocation::text = 'none' OR (SELECT count(*) FROM chosen) = COALESCE(NULLIF((SELECT count(*) FROM wanted), 0), families.n))
         RETURNING id, port_security),
     joined AS (
         INSERT INTO port_security_groups (port_id, group_id)
         SELECT made.id, g.id FROM made, unnest(@groups::text[]) g (id) WHERE made.port_security),
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
       (SELECT ip FROM taken), (SELECT subnet_id FROM taken), (SELECT server_id FROM taken), EXISTS (SELECT FROM free_mac),
       EXISTS (SELECT FROM exceeded)`

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
           AND (p.server_id IS NULL AND p.device_id = '' OR p.server_id = server.id AND p.nic_index = @nic_index -- on the next host of the same build
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
	b.Queue(`SELECT id, network_id, COALESCE(project_id, '') AS project_id, name, mac, server_id, nic_index, made_by_build, host_id, tag, ip_allocation,
			description, device_id, device_owner, router_id, floating_ip_id, admin_state_up, port_security, address_pairs, dhcp_options, grouped, tags, revision, created_at, updated_at
		FROM ports WHERE id = $1`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Port])
		if *found = len(all) == 1; *found {
			*p = all[0]
		}
		return err
	})
	b.Queue(`SELECT id, project_id, name, description, shared, mtu, admin_state_up, port_security, physical_network, vlan, tags, revision, created_at, updated_at
		FROM networks WHERE id = (SELECT network_id FROM ports WHERE id = $1)`, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Network])
		if len(all) == 1 {
			net = all[0]
			p.Network = &net
		}
		return err
	})
	b.Queue(`SELECT id, network_id, project_id, name, description, cidr::text, host(gateway_ip) AS gateway_ip, dns_servers, pools, host_routes,
			enable_dhcp, ipv6_ra_mode, ipv6_address_mode, tags, revision, created_at, updated_at
		FROM subnets WHERE network_id = (SELECT network_id FROM ports WHERE id = $1) ORDER BY created_at, id`, id).
		Query(func(rows pgx.Rows) error {
			all, err := pgx.CollectRows(rows, pgx.RowToStructByNameLax[Subnet])
			net.Subnets = all
			return err
		})
	b.Queue(`SELECT g.id, g.name FROM port_security_groups m JOIN security_groups g ON g.id = m.group_id WHERE m.port_id = $1 ORDER BY g.created_at, g.id`, id).
		Query(func(rows pgx.Rows) error {
			all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[GroupRef])
			p.FurtherGroups = all
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
		p.FixedIPs, p.FurtherGroups = []FixedIP{}, []GroupRef{}
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
	var members []struct{ PortID, ID, Name string }
	err := tx.Raw(`SELECT m.port_id, g.id, g.name FROM port_security_groups m JOIN security_groups g ON g.id = m.group_id
		WHERE m.port_id = ANY(?) ORDER BY g.created_at, g.id`, ids).Scan(&members).Error
	for _, m := range members {
		at[m.PortID].FurtherGroups = append(at[m.PortID].FurtherGroups, GroupRef{m.ID, m.Name})
	}
	if err != nil {
		return err
	}
	var floating []Floats
	err = tx.Raw(`SELECT port_id, host(fixed_ip) AS fixed_ip, host(ip) AS ip FROM floating_ips WHERE port_id = ANY(?) ORDER BY created_at, id`, ids).
		Scan(&floating).Error
	for _, f := range floating {
		at[f.PortID].Floating = append(at[f.PortID].Floating, f)
	}
	return err
}

// making is a port to make, for a user or for a build.
type making struct {
	PortRequest
	draft  Port
	macs   []string
	secure *bool // nil is as its network says
	limit  int   // of the project's ports, where none is set for it; -1 is none
}

// place finds the subnet of the network that each wanted address is to come from.
func place(tx *gorm.DB, network Network, wanted []FixedIP) ([]FixedIP, error) {
	if len(wanted) > 0 && len(network.Subnets) == 0 {
		return nil, ipam.BadInput("IP allocation requires subnets for network")
	}
	wanted = slices.Clone(wanted)
	for i := range wanted {
		if err := placeOne(tx, network, &wanted[i]); err != nil {
			return nil, err
		}
	}
	return wanted, nil
}

// placeOne is Neutron's _get_subnet_for_fixed_ip.
func placeOne(tx *gorm.DB, network Network, w *FixedIP) error {
	var ip netip.Addr
	if w.IP != "" {
		var err error
		if ip, err = ipam.Address("fixed_ips", w.IP); err != nil {
			return err
		}
		w.IP = ip.String()
	}
	switch {
	case w.SubnetID != "":
		i := slices.IndexFunc(network.Subnets, func(sub Subnet) bool { return sub.ID == w.SubnetID })
		if i < 0 {
			err := tx.Where("id = ?", w.SubnetID).Take(&Subnet{}).Error
			if isAbsent(err) {
				return noSubnet(w.SubnetID)
			}
			return cmp.Or(err, ipam.BadInput("Failed to create port on network %s, because fixed_ips included invalid subnet %s", network.ID, w.SubnetID))
		}
		if w.IP != "" && !network.Subnets[i].Gives(ip) {
			return ipam.Refuse("InvalidIpForSubnet", fault.Invalid, "IP address %s is not a valid IP for the specified subnet.", w.IP)
		}
	case w.IP == "":
		return ipam.BadInput("IP allocation requires subnet_id or ip_address")
	default:
		i := slices.IndexFunc(network.Subnets, func(sub Subnet) bool { return sub.Gives(ip) })
		if i < 0 {
			return ipam.Refuse("InvalidIpForNetwork", fault.Invalid, "IP address %s is not a valid IP for any of the subnets on the specified network.", w.IP)
		}
		w.SubnetID = network.Subnets[i].ID
	}
	return nil
}

// placeAll is place for a port that is not there yet.
func (s *Store) placeAll(ctx context.Context, m *making) error {
	if len(m.draft.FixedIPs) == 0 {
		return nil
	}
	network, err := s.Network(ctx, m.NetworkID)
	if err != nil {
		return err
	}
	if network.ProjectID != m.ProjectID && !network.Shared {
		return noNetwork(m.NetworkID)
	}
	m.draft.FixedIPs, err = place(s.db.WithContext(ctx), network, m.draft.FixedIPs)
	return err
}

// seen is what the making of a port found.
type seen struct {
	port                                         Port
	found                                        bool
	made, exists, same, net, freeMAC, overQuotas bool
	state                                        lifecycle.VMState
	families                                     int
	takenIP, takenIn, takenBy                    *string
}

// queueMaking makes a port as part of a pipeline, or nothing.
func queueMaking(b *pgx.Batch, m making, saw *seen) {
	type want struct {
		SubnetID string  `json:"subnet_id"`
		IP       *string `json:"ip"`
	}
	wanted := []want{}
	for _, w := range m.draft.FixedIPs {
		one := want{SubnetID: w.SubnetID}
		if w.IP != "" {
			one.IP = &w.IP
		}
		wanted = append(wanted, one)
	}
	var serverOrNone *string
	if m.ServerID != "" {
		serverOrNone = &m.ServerID
	}
	d := m.draft
	b.Queue(lockProjectSQL, m.ProjectID)
	if m.draft.Grouped {
		queueDefaultGroup(b, m.ProjectID)
	}
	b.Queue(lockNetworkSQL, m.NetworkID)
	b.Queue(makePortSQL, named{
		"id": m.ID, "network_id": m.NetworkID, "project_id": m.ProjectID, "server_id": serverOrNone, "nic_index": m.Index,
		"hostname": m.Hostname, "tag": m.Tag, "macs": m.macs, "wanted": asJSON(wanted), "at": now(), "task_state": m.TaskState,
		"ip_allocation": cmp.Or(d.IPAllocation, AllocateIPs), "limit": m.limit, "groups": groupIDs(d.FurtherGroups),
		"draft": asJSON(map[string]any{
			"name": d.Name, "description": d.Description, "device_id": d.DeviceID, "device_owner": d.DeviceOwner, "admin_state_up": d.AdminStateUp,
			"port_security": m.secure, "address_pairs": append([]AddressPair{}, d.AddressPairs...), "dhcp_options": append([]DHCPOption{}, d.DHCPOptions...),
			"grouped": d.Grouped, "tags": append([]string{}, d.Tags...),
		}),
	}).
		QueryRow(func(r pgx.Row) error {
			return r.Scan(&saw.made, &saw.exists, &saw.same, &saw.net, &saw.state, &saw.families, &saw.takenIP, &saw.takenIn, &saw.takenBy, &saw.freeMAC, &saw.overQuotas)
		})
	queuePort(b, m.ID, &saw.port, &saw.found)
}

// refusal is why a port was not made; nil where it was. The texts are Neutron's, or Nova's where a build is what fails.
func (saw seen) refusal(m making) error {
	building := m.ServerID != ""
	switch {
	case (saw.made || saw.same) && saw.found:
		return nil
	case building && saw.state == "":
		return noServer(m.ServerID)
	case saw.exists:
		return fault.New(fault.Conflict, "Port %s already exists.", m.ID)
	case building && saw.state != lifecycle.Building:
		return wrongState(m.ServerID, saw.state, "allocate a port")
	case !saw.net:
		return noNetwork(m.NetworkID)
	case saw.overQuotas && building:
		return fault.New(fault.OverQuota, "Maximum number of ports exceeded")
	case saw.overQuotas:
		return overNetworkQuota(QuotaPorts)
	case building && saw.families == 0:
		return fault.New(fault.Invalid, "Network %s requires a subnet in order to boot instances on.", m.NetworkID)
	case saw.takenIP != nil && building && saw.takenBy != nil:
		return fault.New(fault.Conflict, "Fixed IP address %s is already in use on instance %s.", *saw.takenIP, *saw.takenBy)
	case saw.takenIP != nil:
		return ipam.Refuse("IpAddressAlreadyAllocated", fault.Conflict, "IP address %s already allocated in subnet %s", *saw.takenIP, *saw.takenIn)
	case !saw.freeMAC:
		return macInUse(m.NetworkID, m.macs[0])
	}
	return noAddress(m.NetworkID)
}

func macInUse(networkID, mac string) error {
	return ipam.Refuse("MacAddressInUse", fault.Conflict, "Unable to complete operation for network %s. The mac address %s is in use.", networkID, mac)
}

func noAddress(networkID string) error {
	return ipam.Refuse("IpAddressGenerationFailure", fault.Conflict, "No more IP addresses available on network %s.", networkID)
}

// makePorts makes all of the ports or none, in one round trip where no address is asked for.
func (s *Store) makePorts(ctx context.Context, all ...making) ([]Port, error) {
	ids := make([]string, len(all))
	for i := range all {
		if err := s.placeAll(ctx, &all[i]); err != nil {
			return nil, err
		}
		ids[i] = all[i].ID
	}
	var saw []seen
	err := s.batch(ctx, func(b *pgx.Batch) {
		saw = make([]seen, len(all))
		for i, m := range all {
			queueMaking(b, m, &saw[i])
		}
		if len(all) > 1 {
			b.Queue(`SELECT all_or_none((SELECT count(*) FROM ports WHERE id = ANY($1)), $2)`, ids, len(ids))
		}
	})
	first := all[0]
	switch {
	case violates(err, "ports_nic_key"):
		return nil, fault.New(fault.Conflict, "Instance %s has another port on interface %d already.", first.ServerID, first.Index)
	case violates(err, "fixed_ips_ip_key"), violates(err, "fixed_ips_pkey"):
		return nil, fault.New(fault.Invalid, "Duplicate fixed IP addresses were requested on network %s.", first.NetworkID)
	case violates(err, "port_security_groups_group_id_fkey"):
		return nil, noMember(err)
	case violates(err, "ports_project_id_fkey"), violates(err, "security_groups_project_id_fkey"):
		return nil, noProject(first.ProjectID)
	case violates(err, "ports_pkey"):
		return nil, fault.New(fault.Conflict, "Port %s already exists.", first.ID)
	case err != nil && sqlState(err) != notAll:
		return nil, failed(err, "make port %s on network %s", first.ID, first.NetworkID)
	}
	made := make([]Port, len(all))
	for i, m := range all {
		if err := saw[i].refusal(m); err != nil {
			return nil, err
		}
		made[i] = saw[i].port
	}
	return made, failed(err, "make %d ports", len(all))
}

// notAll is what all_or_none raises.
const notAll = "SW002"

// CreatePort is CreatePorts for one that is up and in its project's group, which nothing limits.
func (s *Store) CreatePort(ctx context.Context, p Port) (Port, error) {
	p.AdminStateUp, p.PortSecurity, p.Grouped = true, true, true
	return first(s.CreatePorts(ctx, []Port{p}, nil))
}

// CreatePorts makes ports for a user, all or none. With FixedIPs one gets those (an empty SubnetID is found by address, an empty IP
// is the subnet's lowest free one), without the lowest free address of each family that the network has, with NoIPs none. An
// empty id is chosen here, an empty MAC is derived from the id. What cannot be is an ipam.Refusal.
func (s *Store) CreatePorts(ctx context.Context, drafts []Port, defaults NetworkQuota) ([]Port, error) {
	limit, limited := defaults[QuotaPorts]
	if !limited {
		limit = -1
	}
	all := make([]making, len(drafts))
	for i, p := range drafts {
		if p.ID == "" {
			p.ID = uuid.NewString()
		}
		all[i] = making{
			PortRequest: PortRequest{ID: p.ID, ProjectID: p.ProjectID, NetworkID: p.NetworkID}, draft: p, macs: ids.MACs(p.ID),
			secure: &p.PortSecurity, limit: limit,
		}
		if p.MAC != "" {
			mac, err := ipam.MAC(p.MAC)
			if err != nil {
				return nil, err
			}
			all[i].macs = []string{mac}
		}
	}
	return s.makePorts(ctx, all...)
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
	m := making{PortRequest: r, macs: ids.MACs(r.ID), draft: Port{AdminStateUp: true, Grouped: len(r.SecurityGroups) == 0}, limit: -1}
	for _, id := range r.SecurityGroups {
		if id == ids.SecurityGroup(r.ProjectID) {
			m.draft.Grouped = true
		} else {
			m.draft.FurtherGroups = append(m.draft.FurtherGroups, GroupRef{ID: id})
		}
	}
	if r.FixedIP != "" {
		m.draft.FixedIPs = []FixedIP{{IP: r.FixedIP}}
	}
	return first(s.makePorts(ctx, m))
}

// UpdatePort changes a port while nobody takes an address of its network. What change returns is why it is not to be; it may be
// called again. Of the FixedIPs that it leaves those that the port has stay, and an empty IP is one of the subnet that it has or the
// lowest free one.
func (s *Store) UpdatePort(ctx context.Context, id string, change func(*Port) error) (Port, error) {
	err := s.tx(ctx, func(tx *gorm.DB) error {
		one := make([]Port, 1)
		take := func(tx *gorm.DB) error {
			one[0] = Port{}
			err := tx.Where("id = ?", id).Take(&one[0]).Error
			if isAbsent(err) {
				return noPort(id)
			}
			return err
		}
		if err := take(tx); err != nil {
			return err
		}
		if _, err := lockNetwork(tx, one[0].NetworkID); err != nil {
			return err
		}
		if err := take(tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"})); err != nil { // as it is now that nobody changes it
			return err
		}
		if err := s.unrevised(one[0].Revision); err != nil {
			return err
		}
		if err := completePorts(tx, one); err != nil {
			return err
		}
		before, p := one[0], one[0]
		if err := change(&p); err != nil {
			return err
		}
		readdressed, err := readdress(tx, before, &p)
		if err != nil {
			return err
		}
		if !readdressed {
			before.FixedIPs = p.FixedIPs // the same, said in another way
		}
		if sameGroups(before.FurtherGroups, p.FurtherGroups) {
			p.FurtherGroups = before.FurtherGroups
		} else if err := regroup(tx, id, p.FurtherGroups); err != nil {
			return err
		}
		err = saveRevised(tx, &before, &p, "name", "description", "mac", "device_id", "device_owner", "admin_state_up", "port_security",
			"address_pairs", "dhcp_options", "grouped", "tags")
		if violates(err, "ports_mac_key") {
			return macInUse(p.NetworkID, p.MAC)
		}
		return err
	})
	if err != nil {
		return Port{}, failed(err, "change port %s", id)
	}
	return s.Port(ctx, id)
}

// Readdressed compares the addresses that a port has with those that are wanted: lost it gives back, fresh it has yet to get. An empty IP is any
// of its subnet, and an empty SubnetID the address's.
func (p Port) Readdressed(wanted []FixedIP) (lost, fresh []FixedIP) {
	lost, fresh = slices.Clone(p.FixedIPs), slices.Clone(wanted)
	keep := func(same func(has, w FixedIP) bool) {
		fresh = slices.DeleteFunc(fresh, func(w FixedIP) bool {
			i := slices.IndexFunc(lost, func(has FixedIP) bool { return same(has, w) })
			if i >= 0 {
				lost = slices.Delete(lost, i, i+1)
			}
			return i >= 0
		})
	}
	keep(func(has, w FixedIP) bool { return has.IP == w.IP && (w.SubnetID == "" || has.SubnetID == w.SubnetID) })
	keep(func(has, w FixedIP) bool { return w.IP == "" && has.SubnetID == w.SubnetID })
	return lost, fresh
}

// readdress gives a port the addresses that p asks for, and says whether it had others.
func readdress(tx *gorm.DB, before Port, p *Port) (bool, error) {
	if slices.Equal(before.FixedIPs, p.FixedIPs) {
		return false, nil
	}
	wanted, err := place(tx, *before.Network, p.FixedIPs)
	if err != nil {
		return false, err
	}
	lost, fresh := before.Readdressed(wanted)
	for _, gone := range lost {
		if err := tx.Where("port_id = ? AND subnet_id = ? AND ip = ?::inet", p.ID, gone.SubnetID, gone.IP).Delete(&FixedIP{}).Error; err != nil {
			return false, err
		}
	}
	if _, err := take(tx, *p, fresh); err != nil {
		return false, err
	}
	return len(lost)+len(fresh) > 0, nil
}

// take gives a port addresses of a network whose row is held; an empty IP is the subnet's lowest free one.
func take(tx *gorm.DB, p Port, wanted []FixedIP) ([]FixedIP, error) {
	wanted = slices.Clone(wanted)
	for i := range wanted {
		w := &wanted[i]
		if w.IP == "" {
			var err error
			if w.IP, err = lowestOf(tx, p.NetworkID, w.SubnetID); err != nil {
				return nil, err
			}
		}
		var taken int64
		if err := tx.Model(&FixedIP{}).Where("subnet_id = ? AND ip = ?::inet", w.SubnetID, w.IP).Count(&taken).Error; err != nil {
			return nil, err
		}
		if taken > 0 {
			return nil, ipam.Refuse("IpAddressAlreadyAllocated", fault.Conflict, "IP address %s already allocated in subnet %s", w.IP, w.SubnetID)
		}
		w.PortID = p.ID
		if err := tx.Create(w).Error; err != nil {
			return nil, err
		}
	}
	return wanted, nil
}

// lowestOf is the lowest free address of a subnet.
func lowestOf(tx *gorm.DB, networkID, subnetID string) (string, error) {
	var ip string
	if err := tx.Raw(`SELECT host(lowest.ip) FROM subnets s, `+lowestFreeSQL+` WHERE s.id = ?`, subnetID).Scan(&ip).Error; err != nil {
		return "", err
	}
	if ip == "" {
		return "", noAddress(networkID)
	}
	return ip, nil
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
	// The network before its addresses, as who takes one: its neighbour is told that the next one is free.
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`SELECT FROM networks WHERE id IN (SELECT network_id FROM ports WHERE server_id = $1 AND nic_index = $2) ORDER BY id FOR NO KEY UPDATE`, serverID, index)
		b.Queue(`
WITH gone AS (DELETE FROM ports WHERE server_id = $1 AND nic_index = $2 AND made_by_build)
UPDATE ports SET server_id = NULL, nic_index = 0, host_id = NULL, tag = NULL, updated_at = $3
WHERE server_id = $1 AND nic_index = $2 AND NOT made_by_build`, serverID, index, now())
	})
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
		if len(f.IPs) > 0 {
			q = q.Where("EXISTS (SELECT FROM fixed_ips i WHERE i.port_id = ports.id AND i.ip = ANY(?::inet[]))", texts(f.IPs))
		}
		if len(f.SubnetIDs) > 0 {
			q = q.Where("EXISTS (SELECT FROM fixed_ips i WHERE i.port_id = ports.id AND i.subnet_id = ANY(?))", texts(f.SubnetIDs))
		}
		q, err := portMatching.of(q, f.Match)
		if err != nil {
			return err
		}
		q, err = portOrder.page(q, visible(), f.Sort, f.Marker, f.Limit)
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

// DeletePort removes a port; Conflict while a server, a router or a floating IP uses it.
func (s *Store) DeletePort(ctx context.Context, id string) error {
	var gone int64
	err := s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec(`SELECT FROM networks WHERE id = (SELECT network_id FROM ports WHERE id = ?) FOR NO KEY UPDATE`, id).Error; err != nil {
			return err
		}
		d := tx.Where("id = ? AND num_nonnulls(server_id, router_id, floating_ip_id) = 0 AND (?::bigint IS NULL OR revision = ?)", id, s.revision, s.revision).
			Delete(&Port{})
		gone = d.RowsAffected
		return d.Error
	})
	if err != nil || gone == 1 {
		return failed(err, "delete port %s", id)
	}
	p, err := s.Port(ctx, id)
	if err != nil {
		return err
	}
	if err := s.unrevised(p.Revision); err != nil {
		return err
	}
	switch {
	case p.ServerID != nil:
		return PortInUse(p)
	case p.RouterID != nil, p.FloatingIPID != nil:
		return ipam.Refuse("ServicePortInUse", fault.Conflict, "Port %s cannot be deleted directly via the port API: has device owner %s.", p.ID, p.DeviceOwner)
	}
	return s.DeletePort(ctx, id) // released in between
}

// PortInUse is Neutron's refusal of what cannot be done to a port that something has.
func PortInUse(p Port) error {
	return ipam.Refuse("PortInUse", fault.Conflict,
		"Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, p.Device())
}
