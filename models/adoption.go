package models

import (
	"context"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Adoption is a server whose guest lies on a host and of which no row tells, with all that it had.
type Adoption struct {
	Server Server // with Metadata, Tags and Ports, and these with their FixedIPs; what it is, is by its PowerState
	Spec   ServerSpec
	Claim  Claim
	Room   Placement // its host is by hostname
	Host   string    // hostname
	Action InstanceAction
}

// AdoptServer makes all rows of a server in one transaction, beyond the limits of its project and its host too: what it has is in
// use. The same request again is success. Conflict says what is in the way: a row of that server, also of one that was deleted,
// an address or a port that another one has, or something that it names and the database does not know.
func (s *Store) AdoptServer(ctx context.Context, a Adoption) error {
	v, at := a.Server, now()
	err := s.tx(ctx, func(tx *gorm.DB) error {
		// As whatever takes an address.
		var networks []string
		for _, p := range v.Ports {
			networks = append(networks, p.NetworkID)
		}
		if err := tx.Exec(`SELECT FROM networks WHERE id = ANY(?) ORDER BY id FOR NO KEY UPDATE`, texts(networks)).Error; err != nil {
			return err
		}
		var was Server
		found := tx.Where("id = ?", v.ID).Take(&was)
		switch {
		case found.Error == nil:
			return s.adopted(tx, was, a.Action)
		case !isAbsent(found.Error):
			return found.Error
		}
		var host Host
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where("hostname = ?", a.Host).Take(&host).Error
		if isAbsent(err) {
			return noHost(a.Host)
		}
		var forgotten bool
		if err == nil {
			err = tx.Raw(`SELECT EXISTS (SELECT FROM forgotten_hosts WHERE host_id = ?)`, host.ID).Scan(&forgotten).Error
		}
		if err != nil {
			return err
		}
		if forgotten {
			return fault.New(fault.Conflict, "Host %s is given up.", a.Host)
		}
		var late bool
		if err := tx.Raw(`SELECT `+isLate("?"), optionalTime(a.Action.AnswerBy)).Scan(&late).Error; err != nil {
			return err
		} else if late {
			return tooLate()
		}
		v.HostID, v.VMState, v.UpdatedAt = &host.ID, lifecycle.Found(v.PowerState), at
		if v.LaunchedAt == nil {
			v.LaunchedAt = &v.CreatedAt
		}
		if err := tx.Create(&v).Error; err != nil {
			return err
		}
		a.Action.ServerID, a.Action.UpdatedAt = v.ID, at
		a.Spec.ServerID, a.Spec.CreatedAt = v.ID, v.CreatedAt
		a.Claim.ServerID, a.Claim.ProjectID, a.Claim.CreatedAt = v.ID, v.ProjectID, v.CreatedAt
		a.Room.ServerID, a.Room.HostID, a.Room.Role, a.Room.CreatedAt = v.ID, host.ID, PlacementActive, v.CreatedAt
		a.Room.ID = ids.Placement(v.ID, host.ID, PlacementActive)
		// A claim or room that outlived the row, as in an older database, is what it is made again from.
		left := tx.Clauses(clause.OnConflict{UpdateAll: true, Columns: []clause.Column{{Name: "server_id"}}})
		if err := left.Create(&a.Claim).Error; err != nil {
			return err
		}
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&a.Room).Error; err != nil {
			return err
		}
		for _, row := range []any{&a.Spec, &a.Action} {
			if err := tx.Create(row).Error; err != nil {
				return err
			}
		}
		for i, event := range a.Action.Events {
			event.ServerID, event.RequestID, event.Seq = v.ID, a.Action.RequestID, i
			if err := tx.Create(&event).Error; err != nil {
				return err
			}
		}
		for key, value := range v.Metadata {
			if err := tx.Exec(`INSERT INTO server_metadata (server_id, key, value) VALUES (?, ?, ?)`, v.ID, key, value).Error; err != nil {
				return err
			}
		}
		for _, tag := range v.Tags {
			if err := tx.Exec(`INSERT INTO server_tags (server_id, tag) VALUES (?, ?)`, v.ID, tag).Error; err != nil {
				return err
			}
		}
		for _, p := range v.Ports {
			if err := adoptPort(tx, v, host.ID, p, at); err != nil {
				return err
			}
		}
		return tellUpdate(tx, v, a.Action)
	})
	return unadoptable(err, v)
}

// adopted says whether the row that is there is this request's.
func (s *Store) adopted(tx *gorm.DB, was Server, a InstanceAction) error {
	var n int64
	err := tx.Model(&InstanceAction{}).Where("server_id = ? AND request_id = ? AND action = ?", was.ID, a.RequestID, a.Action).Count(&n).Error
	switch {
	case err != nil || n == 1 && was.VMState != lifecycle.Deleted:
		return err
	case was.VMState == lifecycle.Deleted:
		return fault.New(fault.Conflict, "Instance %s was deleted.", was.ID)
	}
	return fault.New(fault.Conflict, "Instance %s already exists.", was.ID)
}

// adoptPort makes a port as its guest has it, or binds the one of that id that is there and that no server has.
func adoptPort(tx *gorm.DB, v Server, hostID string, p Port, at time.Time) error {
	var was Port
	found := tx.Where("id = ?", p.ID).Take(&was)
	if found.Error != nil && !isAbsent(found.Error) {
		return found.Error
	}
	if found.Error == nil {
		bound := tx.Exec(`UPDATE ports SET server_id = ?, nic_index = ?, host_id = ?, tag = ?, updated_at = ?
			WHERE id = ? AND mac = ? AND (server_id IS NULL OR server_id = ?)`, v.ID, p.NICIndex, hostID, p.Tag, at, p.ID, p.MAC, v.ID)
		if bound.Error == nil && bound.RowsAffected == 0 {
			return fault.New(fault.Conflict, "Port %s is still in use.", p.ID)
		}
		return bound.Error
	}
	p.ServerID, p.HostID, p.ProjectID, p.CreatedAt, p.UpdatedAt = &v.ID, &hostID, v.ProjectID, v.CreatedAt, at
	p.AddressPairs, p.DHCPOptions, p.Tags, p.Revision = []AddressPair{}, []DHCPOption{}, []string{}, 1
	p.AdminStateUp, p.PortSecurity, p.Grouped = true, true, true
	p.IPAllocation = AllocateIPs
	if len(p.FixedIPs) == 0 {
		p.IPAllocation = NoIPs
	}
	if err := tx.Create(&p).Error; err != nil {
		return unadoptablePort(err, p)
	}
	for _, ip := range p.FixedIPs {
		ip.PortID = p.ID
		if err := tx.Create(&ip).Error; err != nil {
			return unadoptablePort(err, Port{ID: p.ID, MAC: p.MAC, NetworkID: p.NetworkID, FixedIPs: []FixedIP{ip}})
		}
	}
	return nil
}

// unadoptable says what a row lacks.
func unadoptable(err error, v Server) error {
	missing := func(what, id string) error {
		return fault.New(fault.Conflict, "Instance %s belongs to %s %s, which is not known here.", v.ID, what, id)
	}
	switch {
	case violates(err, "servers_project_id_fkey"):
		return missing("project", v.ProjectID)
	case violates(err, "servers_user_id_fkey"):
		return missing("user", v.UserID)
	case violates(err, "servers_image_id_fkey"):
		return fault.New(fault.Conflict, "Instance %s was built of image %s, which is not known here: create an image of that id first.", v.ID, v.ImageID)
	case violates(err, "ports_nic_key"):
		return fault.New(fault.Conflict, "Instance %s has another port on one of its interfaces already.", v.ID)
	}
	return failed(err, "adopt server %s", v.ID)
}

func unadoptablePort(err error, p Port) error {
	switch {
	case violates(err, "ports_network_id_fkey"):
		return fault.New(fault.Conflict, "The guest is on network %s, which is not known here.", p.NetworkID)
	case violates(err, "fixed_ips_subnet_id_fkey"):
		return fault.New(fault.Conflict, "The guest has address %s of subnet %s, which is not known here.", p.FixedIPs[0].IP, p.FixedIPs[0].SubnetID)
	case violates(err, "fixed_ips_ip_key"):
		return fault.New(fault.Conflict, "The guest's address %s belongs to another port by now.", p.FixedIPs[0].IP)
	case violates(err, "ports_mac_key"):
		return fault.New(fault.Conflict, "The guest's MAC address %s belongs to another port by now.", p.MAC)
	}
	return err
}
