package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/slipway-cloud/slipway/internal/fault"
)

// freezeSeconds is how long an agent may take to flush what its guest has not written yet.
const freezeSeconds = 60

// Freeze has the guest's agent freeze its filesystems.
func (h *Hypervisor) Freeze(ctx context.Context, id string) error {
	return h.quiesce(ctx, "freeze the filesystems of domain ", id, freezeSeconds, (*client).DomainFsfreeze)
}

// Thaw has it thaw them.
func (h *Hypervisor) Thaw(ctx context.Context, id string) error {
	return h.quiesce(ctx, "thaw the filesystems of domain ", id, agentSeconds, (*client).DomainFsthaw)
}

func (h *Hypervisor) quiesce(ctx context.Context, doing, id string, seconds int32, how func(*client, golibvirt.Domain, []string, uint32) (int32, error)) error {
	return h.of(ctx, doing, id, func(c *client, dom golibvirt.Domain) error {
		if _, err := c.DomainAgentSetResponseTimeout(dom, seconds, 0); err != nil {
			return err
		}
		_, err := how(c, dom, nil, 0)
		return agentFault(err, doing, id, "quiesce", "its QEMU guest agent could not")
	})
}

// BeginBackup is a push backup of libvirt's (docs/decisions/0056-snapshots-by-backup-jobs.md). libvirtd knows it until it has ended,
// also after a restart of its own.
func (h *Hypervisor) BeginBackup(ctx context.Context, id, disk, target string) error {
	return h.of(ctx, "back up domain ", id, func(c *client, dom golibvirt.Domain) error {
		doc, err := c.DomainGetXMLDesc(dom, 0)
		if err != nil {
			return err
		}
		backup, err := backupXML(doc, disk, target)
		if err != nil {
			return err
		}
		err = c.DomainBackupBegin(dom, backup, nil, 0)
		if hasCode(err, errOperationUnsupported) {
			return fault.Wrap(fault.Conflict, err, "The domain %s does not run on %s", id, h.host)
		}
		return err
	})
}

// backupXML asks for one of a domain's disks, which is named by its file.
func backupXML(doc, disk, target string) (string, error) {
	var d struct {
		Disks []struct {
			Source struct {
				File string `xml:"file,attr"`
			} `xml:"source"`
			Target struct {
				Device string `xml:"dev,attr"`
			} `xml:"target"`
		} `xml:"devices>disk"`
	}
	if err := xml.Unmarshal([]byte(doc), &d); err != nil {
		return "", fmt.Errorf("parse the definition: %w", err)
	}
	push := &libvirtxml.DomainBackupPushDisks{}
	found := false
	for _, x := range d.Disks {
		one := libvirtxml.DomainBackupPushDisk{Name: x.Target.Device, Backup: "no"}
		if x.Source.File == disk {
			found = true
			one.Backup = "yes"
			one.Driver = &libvirtxml.DomainBackupDiskDriver{Type: "qcow2"}
			one.Target = &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: target}}
		}
		push.Disks = append(push.Disks, one)
	}
	if !found {
		return "", fault.New(fault.Internal, "the domain has no disk that is backed up")
	}
	return (&libvirtxml.DomainBackup{Push: &libvirtxml.DomainBackupPush{Disks: push}}).Marshal()
}

// backupLook is how often a backup is looked at.
const backupLook = 500 * time.Millisecond

// AwaitBackup looks at the job until there is none, and then at how the last one has ended.
func (h *Hypervisor) AwaitBackup(ctx context.Context, id string, told func(done, total int64)) error {
	look := time.NewTicker(backupLook)
	defer look.Stop()
	for {
		job, err := h.job(ctx, id, 0)
		if err != nil {
			return err
		}
		if job.kind == golibvirt.DomainJobNone {
			break
		}
		told(job.done, job.total)
		select {
		case <-look.C:
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, context.Cause(ctx), "the backup on %s did not end in time", h.host)
		}
	}
	last, err := h.job(ctx, id, golibvirt.DomainJobStatsCompleted|golibvirt.DomainJobStatsKeepCompleted)
	if err != nil {
		return err
	}
	if last.operation != golibvirt.DomainJobOperationStrBackup || !last.success {
		return fault.New(fault.Unavailable, "The copy of the disk of instance %s on %s broke off", id, h.host)
	}
	told(last.total, last.total)
	return nil
}

// job is one of a domain's jobs as libvirt counts it.
type job struct {
	kind        golibvirt.DomainJobType
	operation   golibvirt.DomainJobOperation
	success     bool
	done, total int64
}

func (h *Hypervisor) job(ctx context.Context, id string, which golibvirt.DomainGetJobStatsFlags) (out job, err error) {
	err = h.of(ctx, "read the jobs of domain ", id, func(c *client, dom golibvirt.Domain) error {
		out = job{}
		kind, params, err := c.DomainGetJobStats(dom, which)
		if hasCode(err, errOperationInvalid) { // it is off, and has none
			return nil
		}
		if err != nil {
			return err
		}
		out.kind = golibvirt.DomainJobType(kind)
		for _, p := range params {
			switch v := p.Value.I.(type) {
			case int32:
				switch p.Field {
				case golibvirt.DomainJobOperationStr:
					out.operation = golibvirt.DomainJobOperation(v)
				case golibvirt.DomainJobSuccess:
					out.success = v != 0
				}
			case uint64:
				switch p.Field {
				case golibvirt.DomainJobDiskProcessed:
					out.done = int64(v)
				case golibvirt.DomainJobDiskTotal:
					out.total = int64(v)
				}
			}
		}
		return nil
	})
	return out, err
}

// EndBackup has libvirt cancel the job, and waits until it is gone.
func (h *Hypervisor) EndBackup(ctx context.Context, id string) error {
	look := time.NewTicker(backupLook)
	defer look.Stop()
	for {
		job, err := h.job(ctx, id, 0)
		if fault.Is(err, fault.NotFound) || err == nil && job.kind == golibvirt.DomainJobNone {
			return nil
		}
		if err != nil {
			return err
		}
		err = h.of(ctx, "end the backup of domain ", id, func(c *client, dom golibvirt.Domain) error {
			if err := c.DomainAbortJob(dom); !hasCode(err, errOperationInvalid) { // invalid: it has ended, or is ending
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, context.Cause(ctx), "the backup on %s does not end", h.host)
		}
	}
}
