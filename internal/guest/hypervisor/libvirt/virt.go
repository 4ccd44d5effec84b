package libvirt

import (
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
)

// way is a way to run guests: by hardware (kvm) or emulated, with a CPU.
type way struct {
	kvm bool
	cpu cpu
}

func (w way) domainType() string {
	if w.kvm {
		return hypervisor.KVM
	}
	return hypervisor.QEMU
}

// cpu is what a guest sees as its processor, in the words of hypervisor.Virt.
type cpu struct {
	mode, model string // the model with custom only
	features    string // as +pcid -vmx
}

func (c cpu) String() string {
	name := c.model
	if name == "" {
		name = c.mode
	}
	return strings.TrimSpace(name + " " + c.features)
}

// xml is nil for QEMU's own default.
func (c cpu) xml(kvm bool) *libvirtxml.DomainCPU {
	if c.mode == hypervisor.NoCPU {
		return nil
	}
	x := &libvirtxml.DomainCPU{Mode: c.mode}
	if c.mode == hypervisor.Custom {
		x.Match = "exact"
		x.Model = &libvirtxml.DomainCPUModel{Fallback: "forbid", Value: c.model}
		if !kvm || c == plain {
			x.Check = "none" // against the host's CPU, which emulation does not use, and of which the plain model takes what is there
		}
	}
	for _, f := range strings.Fields(c.features) {
		policy := "require"
		if strings.HasPrefix(f, "-") {
			policy = "disable"
		}
		x.Features = append(x.Features, libvirtxml.DomainCPUFeature{Policy: policy, Name: strings.TrimLeft(f, "+-")})
	}
	return x
}

// plain is the CPU that asks least of the host and still boots today's distributions. Emulation offers QEMU's oldest CPU by
// default, which those built for x86-64-v2 do not boot on, and `maximum` makes some guests hang. Nehalem is the first of v2.
var plain = cpu{mode: hypervisor.Custom, model: "Nehalem"}

// ways are those that the settings allow on an architecture, in the order in which they are tried.
func ways(v hypervisor.Virt, arch string) (all []way) {
	add := func(kvm bool, cpus ...cpu) {
		for _, c := range cpus {
			if w := (way{kvm, c}); !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
	}
	asked := cpus(v)
	if v.Type != hypervisor.QEMU {
		switch {
		case asked != nil:
			add(true, asked...)
		case arch == "aarch64": // libvirt knows no host-model there; as Nova
			add(true, cpu{mode: hypervisor.HostPassthrough, features: features(v)})
		default:
			// It gives nearly all of the host's CPU and can still be moved to another host of the same kind.
			add(true, cpu{mode: hypervisor.HostModel, features: features(v)})
		}
	}
	if v.Type != hypervisor.QEMU && v.Type != hypervisor.KVM && arch == "x86_64" {
		add(true, plain)
	}
	if v.Type == hypervisor.KVM {
		return all
	}
	// What stands for the host's CPU goes with KVM, unless emulation is all that was asked for.
	if v.Type == hypervisor.QEMU || v.CPUMode == hypervisor.Custom || v.CPUMode == hypervisor.NoCPU {
		add(false, asked...)
	}
	if v.Type != hypervisor.QEMU || asked == nil {
		emulated := cpu{mode: hypervisor.NoCPU}
		if arch == "x86_64" {
			emulated = plain
			if v.Type == hypervisor.QEMU {
				emulated.features = features(v)
			}
		}
		add(false, emulated)
	}
	return all
}

// cpus are those that the settings name; nil where they leave it to the type.
func cpus(v hypervisor.Virt) []cpu {
	switch v.CPUMode {
	case "":
		return nil
	case hypervisor.Custom:
		all := make([]cpu, len(v.Models))
		for i, m := range v.Models {
			all[i] = cpu{mode: v.CPUMode, model: m, features: features(v)}
		}
		return all
	}
	return []cpu{{mode: v.CPUMode, features: features(v)}}
}

func features(v hypervisor.Virt) string {
	all := make([]string, len(v.Features))
	for i, f := range v.Features {
		all[i] = f
		if !strings.HasPrefix(f, "+") && !strings.HasPrefix(f, "-") {
			all[i] = "+" + f
		}
	}
	return strings.Join(all, " ")
}
