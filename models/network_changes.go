// What a network engine has to be told of (internal/sdn): the database keeps a row for each resource that changed, in the transaction of the
// change, while an engine is kept (migration 42).

package models

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/audit"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/sdn"
)

// networkChannel is the Postgres channel on which a change wakes whoever brings it to the engine.
const networkChannel = "slipway_network_changes"

// KeepNetworkChanges has changes kept for an engine from now on; "" is for none, and forgets those that are kept. A transaction that runs
// now may still be without: what compares both sides finds its change.
func (s *Store) KeepNetworkChanges(ctx context.Context, engine string) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`DELETE FROM network_engines WHERE name <> $1`, engine)
		if engine == "" {
			b.Queue(`DELETE FROM network_changes`)
			return
		}
		b.Queue(`INSERT INTO network_engines (name, since) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, engine, now())
	})
	return failed(err, "keep the changes of networks")
}

// NetworkChanges are those that are due, up to limit, in their order.
func (s *Store) NetworkChanges(ctx context.Context, limit int) ([]sdn.Change, error) {
	var all []sdn.Change
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `
SELECT kind, resource_id, sequence, attempts FROM network_changes WHERE due_at <= now() ORDER BY sequence LIMIT $1`, limit)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c sdn.Change, err error) {
			err = row.Scan(&c.Kind, &c.ID, &c.Sequence, &c.Attempts)
			return c, err
		})
		return err
	})
	return all, failed(err, "read the changes of networks")
}

// changeColumns are changes as columns.
type changeColumns struct {
	kinds, ids []string
	sequences  []int64
}

func asColumns(all []sdn.Change) (c changeColumns) {
	for _, one := range all {
		c.kinds, c.ids, c.sequences = append(c.kinds, string(one.Kind)), append(c.ids, one.ID), append(c.sequences, one.Sequence)
	}
	return c
}

// NetworkChangesApplied forgets changes, but for those that are others by now or are just becoming that. The answer need not outlive
// Postgres: what was applied is applied once more then.
func (s *Store) NetworkChangesApplied(ctx context.Context, all ...sdn.Change) error {
	c := asColumns(all)
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`SET LOCAL synchronous_commit = off`)
		b.Queue(`
DELETE FROM network_changes n USING (
    SELECT n.kind, n.resource_id FROM network_changes n
    JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS c(kind, resource_id, sequence) USING (kind, resource_id, sequence)
    FOR UPDATE OF n SKIP LOCKED) settled
WHERE n.kind = settled.kind AND n.resource_id = settled.resource_id`, c.kinds, c.ids, c.sequences)
	})
	return failed(err, "record %d changes of networks as applied", len(all))
}

// NetworkChangeFailed puts a change aside for a while, if it is the same still.
func (s *Store) NetworkChangeFailed(ctx context.Context, c sdn.Change, cause error, pause time.Duration) error {
	err := s.exec(ctx, `
UPDATE network_changes SET due_at = now() + @pause::interval, attempts = attempts + 1, last_error = @error
WHERE kind = @kind AND resource_id = @id AND sequence = @sequence`,
		named{"kind": string(c.Kind), "id": c.ID, "sequence": c.Sequence, "pause": pause, "error": storable(cause)})
	return failed(err, "record that the change of %s failed", c.Ref)
}

// MarkNetworkChanges has resources looked at, and gives those of them that were not to be anyway.
func (s *Store) MarkNetworkChanges(ctx context.Context, refs ...sdn.Ref) ([]sdn.Ref, error) {
	var marked []sdn.Ref
	c := changeColumns{}
	for _, r := range refs {
		c.kinds, c.ids = append(c.kinds, string(r.Kind)), append(c.ids, r.ID)
	}
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `
INSERT INTO network_changes (kind, resource_id, sequence, changed_at, due_at, attempts)
SELECT kind, resource_id, nextval('network_changes_sequence'), now(), now(), 0
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS c(kind, resource_id, n) ORDER BY n
ON CONFLICT DO NOTHING RETURNING kind, resource_id`, c.kinds, c.ids)
		if err != nil {
			return err
		}
		marked, err = pgx.CollectRows(rows, pgx.RowToStructByPos[sdn.Ref])
		return err
	})
	return marked, failed(err, "mark %d resources of networks as changed", len(refs))
}

// NetworkRefs lists the resources of a kind behind an id, in the order of ids; none is the end, and a page that is not full need not be. Of
// ports, the places of metadata services are behind all others.
func (s *Store) NetworkRefs(ctx context.Context, kind sdn.Kind, after string, limit int) ([]sdn.Ref, error) {
	if kind != sdn.KindPort {
		return s.networkRefs(ctx, kind, after, limit)
	}
	behind, services := ids.NetworkOfMetadataPort(after)
	if !services {
		if all, err := s.networkRefs(ctx, kind, after, limit); err != nil || len(all) > 0 {
			return all, err
		}
		behind = ""
	}
	all, err := s.networkRefs(ctx, sdn.KindNetwork, behind, limit)
	for i := range all {
		all[i] = servicePlace(all[i].ID)
	}
	return all, err
}

// servicePlace is where the metadata service of a network is.
func servicePlace(networkID string) sdn.Ref {
	return sdn.Ref{Kind: sdn.KindPort, ID: ids.MetadataPort(networkID)}
}

func (s *Store) networkRefs(ctx context.Context, kind sdn.Kind, after string, limit int) ([]sdn.Ref, error) {
	table, known := map[sdn.Kind]string{
		sdn.KindNetwork: "networks", sdn.KindSubnet: "subnets", sdn.KindPort: "ports", sdn.KindGroup: "security_groups", sdn.KindRouter: "routers",
		sdn.KindFloatingIP: "floating_ips",
	}[kind]
	if !known {
		return nil, fmt.Errorf("list the resources of networks: there is no kind %q", kind)
	}
	var all []sdn.Ref
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `SELECT id FROM `+table+` WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
		if err != nil {
			return err
		}
		all, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (sdn.Ref, error) {
			ref := sdn.Ref{Kind: kind}
			err := row.Scan(&ref.ID)
			return ref, err
		})
		return err
	})
	return all, failed(err, "list the resources of networks")
}

// NetworkBacklog counts what waits for the engine.
func (s *Store) NetworkBacklog(ctx context.Context) (b sdn.Backlog, err error) {
	var oldest *time.Time
	err = withRetries(ctx, func() error {
		return s.pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE attempts > 0), min(changed_at) FROM network_changes`).
			Scan(&b.Waiting, &b.Failing, &oldest)
	})
	if oldest != nil {
		b.Oldest = *oldest
	}
	return b, failed(err, "count the changes of networks that wait")
}

// OverdueNetworkChanges are those that have waited for so long, the oldest first.
func (s *Store) OverdueNetworkChanges(ctx context.Context, longer time.Duration, limit int) ([]audit.NetworkChange, error) {
	var all []audit.NetworkChange
	err := withRetries(ctx, func() error {
		rows, err := s.pool.Query(ctx, `
SELECT kind, resource_id, changed_at, COALESCE(last_error, '') FROM network_changes WHERE changed_at < now() - $1::interval
ORDER BY changed_at, sequence LIMIT $2`, longer, limit)
		if err == nil {
			all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[audit.NetworkChange])
		}
		return err
	})
	return all, failed(err, "read which changes of networks wait for long")
}

// NetworkDesired is how each of the resources shall be.
func (s *Store) NetworkDesired(ctx context.Context, refs ...sdn.Ref) ([]sdn.Desired, error) {
	all := make([]sdn.Desired, len(refs))
	err := s.batch(ctx, func(b *pgx.Batch) {
		for i, ref := range refs {
			all[i] = sdn.Desired{Ref: ref}
			queueDesired(b, ref, func(d sdn.Desired) { all[i] = d })
		}
	})
	return all, failed(err, "read how %d resources of networks shall be", len(refs))
}

// NetworkDesiredAround is how a resource shall be, and then whatever takes something from it: a network's MTU is told by the DHCP of its
// subnets, and at that its ports point; a subnet's gateway is a router's way out; which hosts lead out says where a router's gateway is; and a
// floating IP is where its port is.
func (s *Store) NetworkDesiredAround(ctx context.Context, refs ...sdn.Ref) ([][]sdn.Desired, error) {
	all := make([][]sdn.Desired, len(refs))
	err := s.batch(ctx, func(b *pgx.Batch) {
		for i, ref := range refs {
			all[i] = []sdn.Desired{{Ref: ref}}
			queueDesired(b, ref, func(d sdn.Desired) { all[i][0] = d })
			more := func(d sdn.Desired) { all[i] = append(all[i], d) }
			switch ref.Kind {
			case sdn.KindNetwork:
				all[i] = append(all[i], sdn.Desired{Ref: servicePlace(ref.ID)})
				queueService(b, ref.ID, func(d sdn.Desired) { all[i][1] = d })
				queueSubnets(b, "s.network_id = $1", ref.ID, more)
				queuePorts(b, "p.network_id = $1", ref.ID, more)
			case sdn.KindSubnet:
				queueRouters(b, "r.id IN (SELECT p.router_id FROM ports p JOIN fixed_ips f ON f.port_id = p.id WHERE f.subnet_id = $1)", ref.ID, more)
				queuePorts(b, "p.id IN (SELECT port_id FROM fixed_ips WHERE subnet_id = $1)", ref.ID, more)
			case sdn.KindRouter:
				queuePorts(b, "p.router_id = $1", ref.ID, more)
				queueFloatingIPs(b, "f.router_id = $1", ref.ID, more)
			case sdn.KindPort:
				queueFloatingIPs(b, "f.port_id = $1", ref.ID, more)
			}
		}
	})
	return all, failed(err, "read how %d resources of networks shall be", len(refs))
}

func queueDesired(b *pgx.Batch, ref sdn.Ref, found func(sdn.Desired)) {
	switch ref.Kind {
	case sdn.KindNetwork:
		queueFound(b, `SELECT id, mtu, physical_network, COALESCE(vlan, 0) FROM networks WHERE id = $1`, ref.ID, desiredNetwork, found)
	case sdn.KindSubnet:
		queueSubnets(b, "s.id = $1", ref.ID, found)
	case sdn.KindRouter:
		queueRouters(b, "r.id = $1", ref.ID, found)
	case sdn.KindPort:
		if networkID, service := ids.NetworkOfMetadataPort(ref.ID); service {
			queueService(b, networkID, found)
			return
		}
		queuePorts(b, "p.id = $1", ref.ID, found)
	case sdn.KindGroup:
		queueGroup(b, ref.ID, found)
	case sdn.KindFloatingIP:
		queueFloatingIPs(b, "f.id = $1", ref.ID, found)
	}
}

func queueService(b *pgx.Batch, networkID string, found func(sdn.Desired)) {
	queueFound(b, `SELECT id FROM networks WHERE id = $1`, networkID, desiredService, found)
}

// answersDHCP says of subnet s whether a DHCP server has anything to tell: guests with SLAAC listen to a router.
const answersDHCP = `(s.enable_dhcp AND s.ipv6_address_mode IS DISTINCT FROM 'slaac')`

func queueSubnets(b *pgx.Batch, which, id string, found func(sdn.Desired)) {
	queueFound(b, `
SELECT s.id, s.network_id, n.mtu, s.cidr::text, host(s.gateway_ip), `+answersDHCP+`, COALESCE(s.ipv6_address_mode = 'dhcpv6-stateless', false),
    ARRAY(SELECT jsonb_array_elements_text(s.dns_servers)), s.host_routes
FROM subnets s JOIN networks n ON n.id = s.network_id WHERE `+which+` ORDER BY s.id`, id, desiredSubnet, found)
}

func queuePorts(b *pgx.Batch, which, id string, found func(sdn.Desired)) {
	queueFound(b, `
SELECT p.id, p.network_id, p.mac, COALESCE(h.hostname, ''), NOT (p.admin_state_up AND n.admin_state_up), NOT p.port_security, p.address_pairs,
    a.ips, a.subnets, a.dhcp, COALESCE(p.project_id, ''), p.grouped, ARRAY(SELECT m.group_id FROM port_security_groups m WHERE m.port_id = p.id),
    `+routerPortColumns+`
FROM ports p JOIN networks n ON n.id = p.network_id LEFT JOIN hosts h ON h.id = p.host_id, LATERAL (
    SELECT COALESCE(array_agg(host(f.ip) ORDER BY s.created_at, s.id, f.ip), '{}') AS ips,
        COALESCE(array_agg(s.id ORDER BY s.created_at, s.id, f.ip), '{}') AS subnets,
        COALESCE(array_agg(`+answersDHCP+` AND p.router_id IS NULL ORDER BY s.created_at, s.id, f.ip), '{}') AS dhcp,
        COALESCE(array_agg(masklen(s.cidr) ORDER BY s.created_at, s.id, f.ip), '{}') AS lengths
    FROM fixed_ips f JOIN subnets s ON s.id = f.subnet_id WHERE f.port_id = p.id) a, `+routerPortTells+`
WHERE p.floating_ip_id IS NULL AND `+which+` ORDER BY p.id`, id, desiredPort, found)
}

func queueFound(b *pgx.Batch, query, id string, read pgx.RowToFunc[sdn.Desired], found func(sdn.Desired)) {
	b.Queue(query, id).Query(func(rows pgx.Rows) error {
		all, err := pgx.CollectRows(rows, read)
		for _, d := range all {
			found(d)
		}
		return err
	})
}

func desiredNetwork(row pgx.CollectableRow) (sdn.Desired, error) {
	var (
		n        sdn.Network
		physical sdn.Physical
		name     *string
	)
	err := row.Scan(&n.ID, &n.MTU, &name, &physical.VLAN)
	if name != nil {
		physical.Name, n.Physical = *name, &physical
	}
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindNetwork, ID: n.ID}, Network: &n}, err
}

// desiredService is the place of a network's metadata service: whatever the network, it is found in the same way.
func desiredService(row pgx.CollectableRow) (sdn.Desired, error) {
	var network string
	err := row.Scan(&network)
	ref := servicePlace(network)
	return sdn.Desired{Ref: ref, Port: &sdn.Port{
		ID: ref.ID, NetworkID: network, MAC: ids.MetadataMAC, Unguarded: true, Service: true,
		Addresses: []sdn.Address{{IP: netip.MustParseAddr(ids.MetadataV4)}, {IP: netip.MustParseAddr(ids.MetadataV6)}},
	}}, err
}

func desiredSubnet(row pgx.CollectableRow) (sdn.Desired, error) {
	var (
		s       sdn.Subnet
		cidr    string
		gateway *string
		dns     []string
		routes  []ipam.Route
	)
	err := row.Scan(&s.ID, &s.NetworkID, &s.MTU, &cidr, &gateway, &s.DHCP, &s.Stateless, &dns, &routes)
	if err == nil {
		s.CIDR, err = netip.ParsePrefix(cidr)
	}
	if err == nil && gateway != nil {
		s.Gateway, err = netip.ParseAddr(*gateway)
	}
	for _, text := range dns {
		if err == nil {
			var server netip.Addr
			server, err = netip.ParseAddr(text)
			s.DNS = append(s.DNS, server)
		}
	}
	for _, r := range routes {
		var route sdn.Route
		if err == nil {
			route.To, err = netip.ParsePrefix(r.Destination)
		}
		if err == nil {
			route.Through, err = netip.ParseAddr(r.NextHop)
		}
		s.Routes = append(s.Routes, route)
	}
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindSubnet, ID: s.ID}, Subnet: &s}, err
}

func desiredPort(row pgx.CollectableRow) (sdn.Desired, error) {
	var (
		p            sdn.Port
		ips, subnets []string
		dhcp         []bool
		pairs        []AddressPair
		project      string
		grouped      bool
		groups       []string
		routed       routedPort
	)
	err := row.Scan(append([]any{&p.ID, &p.NetworkID, &p.MAC, &p.Host, &p.Down, &p.Unguarded, &pairs, &ips, &subnets, &dhcp, &project, &grouped, &groups},
		routed.into()...)...)
	if routed.router == nil { // what a router passes on was filtered where it came in
		filter(&p, project, grouped, groups)
	}
	for _, pair := range pairs {
		if err == nil {
			var ip netip.Prefix
			ip, err = prefix(pair.IP)
			p.Also = append(p.Also, sdn.Pair{MAC: pair.MAC, IP: ip})
		}
	}
	for i, text := range ips {
		if err == nil {
			var ip netip.Addr
			ip, err = netip.ParseAddr(text)
			p.Addresses = append(p.Addresses, sdn.Address{IP: ip, SubnetID: subnets[i], DHCP: dhcp[i]})
		}
	}
	if err == nil {
		p.Router, err = routed.of(p)
	}
	return sdn.Desired{Ref: sdn.Ref{Kind: sdn.KindPort, ID: p.ID}, Port: &p}, err
}

// prefix reads a range, or an address, which is one of itself alone.
func prefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		return p.Masked(), err
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// ListenNetworkChanges calls woke when it listens, and after that soon after each change, as ListenNotifications does.
func (s *Store) ListenNetworkChanges(ctx context.Context, woke func()) error {
	return s.listen(ctx, networkChannel, woke)
}
