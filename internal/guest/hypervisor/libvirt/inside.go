package libvirt

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// agentSeconds is how long libvirt waits for a guest's agent. It would wait for ever for one that took a command up.
const agentSeconds = 10

// SetUserPassword has the guest's agent set a user's password. Its refusals are Nova's (nova/exception.py), but for an agent that
// does not answer, which Nova calls not implemented.
func (h *Hypervisor) SetUserPassword(ctx context.Context, id, user, password string) error {
	return h.of(ctx, "set a password in domain ", id, func(c *client, dom golibvirt.Domain) error {
		if _, err := c.DomainAgentSetResponseTimeout(dom, agentSeconds, 0); err != nil {
			return err
		}
		err := c.DomainSetUserPassword(dom, golibvirt.OptString{user}, golibvirt.OptString{password}, 0)
		return agentFault(err, "set a password in domain ", id, "set admin password on", "error setting admin password")
	})
}

// agentFault says why a guest's agent did not do what it was asked, and otherwise where that is not known.
func agentFault(err error, doing, id, what, otherwise string) error {
	cause := &callError{doing: doing + id, cause: err}
	switch {
	case hasCode(err, errNotConfigured):
		return fault.Wrap(fault.Conflict, cause, "QEMU guest agent is not enabled")
	case hasCode(err, errAgentUnresponsive), hasCode(err, errAgentTimeout):
		return fault.Wrap(fault.Conflict, cause, "Failed to %s %s because its QEMU guest agent does not answer", what, id)
	case hasCode(err, errAgentFailed), hasCode(err, errInternal):
		return fault.Wrap(fault.Conflict, cause, "Failed to %s %s because %s", what, id, otherwise)
	case hasCode(err, errOperationInvalid):
		return fault.Wrap(fault.Conflict, cause, "Failed to %s %s because instance %s is not running", what, id, id)
	}
	return err
}

// InjectNMI interrupts the guest.
func (h *Hypervisor) InjectNMI(ctx context.Context, id string) error {
	return h.of(ctx, "inject an NMI into domain ", id, func(c *client, dom golibvirt.Domain) error {
		return c.DomainInjectNmi(dom, 0)
	})
}

// counted is what Diagnostics asks libvirt to count.
const counted = golibvirt.DomainStatsBalloon | golibvirt.DomainStatsVCPU | golibvirt.DomainStatsInterface | golibvirt.DomainStatsBlock

// Diagnostics reads what was counted of a guest.
func (h *Hypervisor) Diagnostics(ctx context.Context, id string) (out contract.Diagnostics, err error) {
	err = h.of(ctx, "read the statistics of domain ", id, func(c *client, dom golibvirt.Domain) error {
		doc, err := c.DomainGetXMLDesc(dom, 0)
		if err != nil {
			return err
		}
		records, err := c.ConnectGetAllDomainStats([]golibvirt.Domain{dom}, uint32(counted), 0)
		if err != nil {
			return err
		}
		if active, err := c.DomainIsActive(dom); err != nil {
			return err
		} else if active == 0 || len(records) != 1 {
			return fault.New(fault.Conflict, "The domain %s does not run on %s", id, h.host)
		}
		out, err = diagnosticsOf(doc, records[0].Params)
		return err
	})
	return out, err
}

// of does something with a domain that is defined.
func (h *Hypervisor) of(ctx context.Context, doing, id string, f func(*client, golibvirt.Domain) error) error {
	key, err := parseUUID(id)
	if err != nil {
		return err
	}
	return h.do(ctx, doing+id, func(_ context.Context, c *client) error {
		dom, err := c.DomainLookupByUUID(key)
		if err != nil {
			return err
		}
		return f(c, dom)
	})
}

// diagnosticsOf reads a domain's statistics (virConnectGetAllDomainStats), and of its definition what they leave out.
func diagnosticsOf(doc string, params []golibvirt.TypedParam) (out contract.Diagnostics, err error) {
	var defined struct {
		Type       string `xml:"type,attr"`
		Interfaces []struct {
			MAC struct {
				Address string `xml:"address,attr"`
			} `xml:"mac"`
			Target struct {
				Device string `xml:"dev,attr"`
			} `xml:"target"`
		} `xml:"devices>interface"`
	}
	if err := xml.Unmarshal([]byte(doc), &defined); err != nil {
		return out, fmt.Errorf("parse the definition: %w", err)
	}
	names, numbers := map[string]string{}, map[string]uint64{}
	for _, p := range params {
		switch v := p.Value.I.(type) {
		case string:
			names[p.Field] = v
		case uint64:
			numbers[p.Field] = v
		case uint32:
			numbers[p.Field] = uint64(v)
		}
	}
	out = contract.Diagnostics{Hypervisor: defined.Type, MemoryKiB: numbers[golibvirt.DomainStatsBalloonMaximum], Memory: map[string]uint64{}}
	for name, n := range numbers {
		switch tag, ok := strings.CutPrefix(name, "balloon."); {
		case name == golibvirt.DomainStatsBalloonCurrent:
			out.Memory["actual"] = n
		case ok && name != golibvirt.DomainStatsBalloonMaximum:
			out.Memory[strings.ReplaceAll(tag, "-", "_")] = n
		}
	}
	for i := range int(numbers[golibvirt.DomainStatsVCPUMaximum]) {
		if n, ok := numbers[fmt.Sprintf("vcpu.%d.time", i)]; ok {
			out.CPUs = append(out.CPUs, contract.CPUDiagnostics{ID: i, Time: n})
		}
	}
	for i := range int(numbers[golibvirt.DomainStatsBlockCount]) {
		of := fmt.Sprintf("block.%d.", i)
		d := contract.DiskDiagnostics{
			Device: names[of+"name"], Reads: numbers[of+"rd.reqs"], ReadBytes: numbers[of+"rd.bytes"],
			Writes: numbers[of+"wr.reqs"], WriteBytes: numbers[of+"wr.bytes"], Errors: -1,
		}
		if n, ok := numbers[of+"errors"]; ok {
			d.Errors = int64(n)
		}
		out.Disks = append(out.Disks, d)
	}
	traffic := func(of string) contract.Traffic {
		return contract.Traffic{Bytes: numbers[of+"bytes"], Packets: numbers[of+"pkts"], Errors: numbers[of+"errs"], Drops: numbers[of+"drop"]}
	}
	for i := range int(numbers[golibvirt.DomainStatsNetCount]) {
		of := fmt.Sprintf("net.%d.", i)
		n := contract.NICDiagnostics{Device: names[of+"name"], RX: traffic(of + "rx."), TX: traffic(of + "tx.")}
		for _, nic := range defined.Interfaces {
			if nic.Target.Device == n.Device {
				n.MAC = nic.MAC.Address
			}
		}
		out.NICs = append(out.NICs, n)
	}
	return out, nil
}
