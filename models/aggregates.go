package models

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// Aggregate is hosts that have something in common (Nova's host aggregate).
type Aggregate struct {
	ID        int64 `gorm:"primaryKey"`
	UUID      string
	Name      string
	Metadata  map[string]string `gorm:"serializer:json"`
	CreatedAt time.Time
	UpdatedAt *time.Time `gorm:"autoUpdateTime:false"`

	Hosts []string `gorm:"-"` // names, read with it
}

// ZoneKey is the metadata that makes an aggregate an availability zone.
const ZoneKey = "availability_zone"

// AggregateChange is what changes of one; nil leaves it. Metadata is merged, and a nil value takes a name away.
type AggregateChange struct {
	Name     *string
	Metadata map[string]*string
}

func noAggregate(id int64) error {
	return fault.New(fault.NotFound, "Aggregate %d could not be found.", id)
}

// CreateAggregate adds one without hosts; Conflict where its name is taken.
func (s *Store) CreateAggregate(ctx context.Context, name string, metadata map[string]string) (Aggregate, error) {
	a := Aggregate{UUID: uuid.NewString(), Name: name, Metadata: metadata, CreatedAt: now()}
	if a.Metadata == nil {
		a.Metadata = map[string]string{}
	}
	err := s.db.WithContext(ctx).Create(&a).Error
	a.Hosts = []string{}
	return a, failed(aggregateNamed(err, name), "create aggregate %s", name)
}

func aggregateNamed(err error, name string) error {
	if violates(err, "aggregates_name_key") {
		return fault.New(fault.Conflict, "Aggregate %s already exists.", name)
	}
	return err
}

// Aggregate by id.
func (s *Store) Aggregate(ctx context.Context, id int64) (a Aggregate, err error) {
	err = s.read(ctx, func(tx *gorm.DB) error {
		a, err = aggregate(tx, id)
		return err
	})
	return a, failed(err, "read aggregate %d", id)
}

func aggregate(tx *gorm.DB, id int64) (Aggregate, error) {
	one := make([]Aggregate, 1)
	if err := tx.Where("id = ?", id).Take(&one[0]).Error; isAbsent(err) {
		return Aggregate{}, noAggregate(id)
	} else if err != nil {
		return Aggregate{}, err
	}
	err := loadHosts(tx, one)
	return one[0], err
}

// ListAggregates lists all of them.
func (s *Store) ListAggregates(ctx context.Context) ([]Aggregate, error) {
	all := []Aggregate{}
	err := s.read(ctx, func(tx *gorm.DB) error {
		all = all[:0]
		if err := tx.Order("id").Find(&all).Error; err != nil {
			return err
		}
		return loadHosts(tx, all)
	})
	return all, failed(err, "list the aggregates")
}

func loadHosts(tx *gorm.DB, aggregates []Aggregate) error {
	at := make(map[int64]*Aggregate, len(aggregates))
	for i := range aggregates {
		aggregates[i].Hosts, at[aggregates[i].ID] = []string{}, &aggregates[i]
	}
	var rows []struct {
		AggregateID int64
		Hostname    string
	}
	err := tx.Raw("SELECT aggregate_id, hostname FROM aggregate_hosts JOIN hosts ON id = host_id WHERE aggregate_id IN ? ORDER BY hostname",
		slices.Collect(maps.Keys(at))).Scan(&rows).Error
	for _, r := range rows {
		at[r.AggregateID].Hosts = append(at[r.AggregateID].Hosts, r.Hostname)
	}
	return err
}

// changeAggregate runs f on an aggregate that nobody else changes meanwhile: all changes of aggregates wait for each other, since what zones
// there are is decided by all of them. Afterwards its hosts have the zone that is theirs then.
func (s *Store) changeAggregate(ctx context.Context, id int64, f func(tx *gorm.DB, a *Aggregate) error) (a Aggregate, err error) {
	err = s.tx(ctx, func(tx *gorm.DB) error {
		if err := tx.Exec("LOCK TABLE aggregates IN SHARE ROW EXCLUSIVE MODE").Error; err != nil {
			return err
		}
		if a, err = aggregate(tx, id); err != nil {
			return err
		}
		before := a.Hosts
		if err := f(tx, &a); err != nil {
			return err
		}
		if a.ID == 0 {
			return nil // it is gone
		}
		if a, err = aggregate(tx, id); err != nil {
			return err
		}
		// The trigger makes it what it is.
		return tx.Exec("UPDATE hosts SET availability_zone = availability_zone WHERE hostname = ANY(?)", texts(append(before, a.Hosts...))).Error
	})
	return a, err
}

// ChangeAggregate changes its name and metadata. Conflict where the name is taken; Invalid, in Nova's words, where hosts of it would be in two
// zones, or servers of theirs in another.
func (s *Store) ChangeAggregate(ctx context.Context, id int64, c AggregateChange) (Aggregate, error) {
	a, err := s.changeAggregate(ctx, id, func(tx *gorm.DB, a *Aggregate) error {
		was := a.Metadata[ZoneKey]
		metadata := maps.Clone(a.Metadata)
		for name, value := range c.Metadata {
			if value == nil {
				delete(metadata, name)
			} else {
				metadata[name] = *value
			}
		}
		if zone := metadata[ZoneKey]; zone != was && len(a.Hosts) > 0 {
			refused := func(reason string) error {
				return fault.New(fault.Invalid, "Cannot update aggregate %d. Reason: %s.", id, reason)
			}
			if err := onlyZone(tx, *a, zone, a.Hosts, refused); err != nil {
				return err
			}
			servers, err := serversOn(tx, a.Hosts)
			if err != nil {
				return err
			}
			if servers > 0 {
				return refused("One or more hosts contain instances in this zone")
			}
		}
		name := a.Name
		set := map[string]any{"metadata": asJSON(metadata), "updated_at": now()}
		if c.Name != nil {
			name = *c.Name
			set["name"] = name
		}
		return aggregateNamed(tx.Model(&Aggregate{}).Where("id = ?", id).Updates(set).Error, name)
	})
	return a, failed(err, "change aggregate %d", id)
}

// serversOn counts the servers that have room on hosts, until the transaction ends: whoever places one has locked its host, and is there
// before the look or sees what has changed.
func serversOn(tx *gorm.DB, hosts []string) (servers int64, err error) {
	if err := tx.Exec("SELECT FROM hosts WHERE hostname = ANY(?) ORDER BY id FOR NO KEY UPDATE", texts(hosts)).Error; err != nil {
		return 0, err
	}
	err = tx.Raw("SELECT count(DISTINCT p.server_id) FROM placements p JOIN hosts h ON h.id = p.host_id WHERE h.hostname = ANY(?)", texts(hosts)).Scan(&servers).Error
	return servers, err
}

// moveHost refuses to bring a host with servers into another zone: they were asked for in this one.
func moveHost(tx *gorm.DB, hostname, from, to string, refused func(reason string) error) error {
	if from == to {
		return nil
	}
	servers, err := serversOn(tx, []string{hostname})
	if err == nil && servers > 0 {
		err = refused(fmt.Sprintf("The availability zone of the host would change from '%s' to '%s', and it has %d instance(s)", from, to, servers))
	}
	return err
}

// onlyZone refuses a zone for hosts of which one is in another by another aggregate.
func onlyZone(tx *gorm.DB, a Aggregate, zone string, hosts []string, refused func(reason string) error) error {
	if zone == "" {
		return nil
	}
	var others []string
	err := tx.Raw(`
SELECT DISTINCT o.metadata ->> 'availability_zone' AS zone
FROM aggregates o JOIN aggregate_hosts m ON m.aggregate_id = o.id JOIN hosts h ON h.id = m.host_id
WHERE o.id <> ? AND h.hostname = ANY(?) AND o.metadata ->> 'availability_zone' <> ? ORDER BY 1`, a.ID, texts(hosts), zone).Scan(&others).Error
	if err == nil && len(others) > 0 {
		err = refused(fmt.Sprintf("One or more hosts already in different availability zone(s) ['%s']", strings.Join(others, "', '")))
	}
	return err
}

// AddHost puts a host into an aggregate; Conflict where it is in it, or in another zone, or has servers and would change its zone.
func (s *Store) AddHost(ctx context.Context, id int64, hostname string) (Aggregate, error) {
	a, err := s.changeAggregate(ctx, id, func(tx *gorm.DB, a *Aggregate) error {
		var h Host
		if err := tx.Where("hostname = ?", hostname).Take(&h).Error; isAbsent(err) {
			return noHost(hostname)
		} else if err != nil {
			return err
		}
		zone := a.Metadata[ZoneKey]
		refused := func(reason string) error {
			return fault.New(fault.Conflict, "Cannot add host to aggregate %d. Reason: %s.", id, reason)
		}
		if err := onlyZone(tx, *a, zone, []string{hostname}, refused); err != nil {
			return err
		}
		if err := moveHost(tx, hostname, h.AvailabilityZone, cmp.Or(zone, h.AvailabilityZone), refused); err != nil {
			return err
		}
		u := tx.Table("aggregate_hosts").Clauses(clause.OnConflict{DoNothing: true}).Create(map[string]any{"aggregate_id": id, "host_id": h.ID})
		if u.Error == nil && u.RowsAffected == 0 {
			return fault.New(fault.Conflict, "Aggregate %d already has host %s.", id, hostname)
		}
		return u.Error
	})
	return a, failed(err, "put host %s into aggregate %d", hostname, id)
}

// RemoveHost takes a host out of an aggregate; NotFound where it is not in it, Conflict where it has servers and would change its zone.
func (s *Store) RemoveHost(ctx context.Context, id int64, hostname string) (Aggregate, error) {
	absent := fault.New(fault.NotFound, "Cannot remove host %s in aggregate %d", hostname, id)
	a, err := s.changeAggregate(ctx, id, func(tx *gorm.DB, a *Aggregate) error {
		if !slices.Contains(a.Hosts, hostname) {
			return absent
		}
		var zone struct{ Before, After string }
		err := tx.Raw(`
SELECT h.availability_zone AS before, COALESCE((
    SELECT min(o.metadata ->> 'availability_zone') FROM aggregates o JOIN aggregate_hosts m ON m.aggregate_id = o.id WHERE m.host_id = h.id AND o.id <> ?
), h.own_zone) AS after FROM hosts h WHERE h.hostname = ?`, id, hostname).Scan(&zone).Error
		if err != nil {
			return err
		}
		if err := moveHost(tx, hostname, zone.Before, zone.After, func(reason string) error {
			return fault.New(fault.Conflict, "Cannot remove host from aggregate %d. Reason: %s.", id, reason)
		}); err != nil {
			return err
		}
		return tx.Exec("DELETE FROM aggregate_hosts WHERE aggregate_id = ? AND host_id = (SELECT id FROM hosts WHERE hostname = ?)", id, hostname).Error
	})
	if fault.Is(err, fault.NotFound) {
		err = absent
	}
	return a, failed(err, "take host %s out of aggregate %d", hostname, id)
}

// DeleteAggregate deletes one that has no hosts; Invalid, in Nova's words, where it has.
func (s *Store) DeleteAggregate(ctx context.Context, id int64) error {
	_, err := s.changeAggregate(ctx, id, func(tx *gorm.DB, a *Aggregate) error {
		if len(a.Hosts) > 0 {
			return fault.New(fault.Invalid, "Cannot remove aggregate %d. Reason: Host aggregate is not empty.", id)
		}
		a.ID = 0
		return tx.Where("id = ?", id).Delete(&Aggregate{}).Error
	})
	return failed(err, "delete aggregate %d", id)
}
