package hypervisor

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/slipway-cloud/slipway/internal/imageprops"
)

// Virt is how a host's guests run, as the settings say it, in the words of Nova's section [libvirt]
// (https://docs.openstack.org/nova/latest/configuration/config.html#libvirt). The zero value leaves all of it to the trial.
type Virt struct {
	Type     string            // kvm, qemu, or auto ("") for the first of them that runs a guest
	CPUMode  string            // host-passthrough, host-model, custom, none; "" is by the type
	Models   []string          // with custom: the first that runs a guest
	Features []string          // name or +name asks for a feature of the CPU, -name forbids it
	Machines map[string]string // machine types of servers whose image names none, by architecture
}

// Words of Virt.
const (
	Auto = "auto"
	KVM  = "kvm"
	QEMU = "qemu"

	HostPassthrough = "host-passthrough"
	HostModel       = "host-model"
	Custom          = "custom"
	NoCPU           = "none"
)

var (
	modelName   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	featureName = regexp.MustCompile(`^[+-]?[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

// Validate says what is wrong, by the names of the settings of a host.
func (v Virt) Validate() error {
	switch {
	case !slices.Contains([]string{"", Auto, KVM, QEMU}, v.Type):
		return fmt.Errorf("host.virt_type must be auto, kvm or qemu, not %q", v.Type)
	case !slices.Contains([]string{"", HostPassthrough, HostModel, Custom, NoCPU}, v.CPUMode):
		return fmt.Errorf("host.cpu_mode must be host-passthrough, host-model, custom, none or empty, not %q", v.CPUMode)
	case v.CPUMode == Custom && len(v.Models) == 0:
		return fmt.Errorf("host.cpu_mode custom needs host.cpu_models: names of QEMU's models (virsh cpu-models x86_64), the best first")
	case v.CPUMode != Custom && len(v.Models) > 0:
		return fmt.Errorf("host.cpu_models is of no use with host.cpu_mode %q: set that to custom", v.CPUMode)
	case v.CPUMode == HostPassthrough && v.Type == QEMU:
		return fmt.Errorf("host.cpu_mode host-passthrough needs hardware that runs guests: set host.virt_type to kvm or auto, or host.cpu_mode to custom")
	case v.CPUMode == NoCPU && len(v.Features) > 0:
		return fmt.Errorf("host.cpu_features is of no use with host.cpu_mode none: there is no CPU to change")
	}
	for _, m := range v.Models {
		if !modelName.MatchString(m) {
			return fmt.Errorf("host.cpu_models: %q is no name of a CPU model", m)
		}
	}
	for _, f := range v.Features {
		if !featureName.MatchString(f) {
			return fmt.Errorf("host.cpu_features: %q is not like +pcid or -vmx", f)
		}
	}
	for arch, machine := range v.Machines {
		asked, err := imageprops.Parse(map[string]string{"hw_architecture": arch, "hw_machine_type": machine}, nil)
		if err != nil || asked.Architecture != arch || asked.Machine == "" {
			return fmt.Errorf("host.machine_type: %s=%s is not like x86_64=q35", arch, machine)
		}
	}
	return nil
}
