package imageprops

import (
	"cmp"
	"path"
	"slices"
	"strings"
)

// Property is one that builds obey.
type Property struct {
	Name   string
	Values []string // what it may be, in lower case; none is any text
	// Foreign are words of Nova's that belong to other hypervisors or machines.
	Foreign []string
	Default string // in words
	Effect  string // what a build does by it

	synonyms  map[string]string
	canonical func(string) (string, error)
	set       func(*Hardware, string) // nil: it is read elsewhere
}

// olderNames are what properties were called before; Nova reads them still (ImageMetaProps._legacy_property_map).
var olderNames = map[string]string{
	"architecture": "hw_architecture", "hypervisor_type": "img_hv_type", "hypervisor_version_requires": "img_hv_requested_version",
	"vm_mode": "hw_vm_mode", "auto_disk_config": "hw_auto_disk_config", "block_device_mapping": "img_block_device_mapping",
	"mappings": "img_mappings", "root_device_name": "img_root_device_name", "ipxe_boot": "hw_ipxe_boot",
	"vmware_ostype": "os_distro", "vmware_disktype": "hw_disk_type",
}

// OlderNames are the names that a property had before.
func OlderNames(name string) []string {
	var list []string
	for old, present := range olderNames {
		if present == name {
			list = append(list, old)
		}
	}
	slices.Sort(list)
	return list
}

// booleans are oslo.utils' words. Nova takes any other for no; here it is refused, since somebody meant something by it.
var booleans = map[string]string{
	"yes": "yes", "y": "yes", "true": "yes", "t": "yes", "on": "yes", "1": "yes",
	"no": "no", "n": "no", "false": "no", "f": "no", "off": "no", "0": "no",
}

// Obeyed are the properties that decide how a server is built, in the order in which they are documented.
var Obeyed = []Property{
	{
		Name: "min_disk", Default: "0",
		Effect: "GiB. A flavor whose root disk is smaller is refused; one of 0 GiB takes the image's own size. A field of the image, not of its properties.",
	},
	{
		Name: "min_ram", Default: "0",
		Effect: "MiB. A flavor with less memory is refused. A field of the image, not of its properties.",
	},
	{
		Name: "hw_architecture", Default: "any",
		Effect: "Only hosts that run it are chosen. Names are libvirt's (x86_64, i686, aarch64, ...); amd64, i386 and arm64 are understood.",
		set:    func(h *Hardware, v string) { h.Architecture = v }, canonical: architecture,
	},
	{
		Name: "hw_machine_type", Default: "pc on x86_64, virt on aarch64",
		Effect: "The machine that QEMU emulates: pc, q35 or a versioned name that the host's QEMU has. A host that lacks it is left for the next.",
		set:    func(h *Hardware, v string) { h.Machine = v }, canonical: machine,
	},
	{
		Name: "hw_firmware_type", Values: []string{"bios", "uefi"}, Default: "bios; uefi on aarch64",
		Effect: "uefi: only hosts that have UEFI firmware are chosen (Debian's package ovmf), and the server has variables of its own. Without Secure Boot.",
		set:    func(h *Hardware, v string) { h.Firmware = v },
	},
	{
		Name: "hw_disk_bus", Values: []string{"virtio", "scsi", "sata", "ide", "usb"}, Foreign: []string{"fdc", "lxc", "uml", "xen"}, Default: "virtio",
		Effect: "The bus of the root, ephemeral and swap disks. ide needs a pc machine and takes four disks. QEMU's floppies (fdc) are too small for a disk.",
		set:    func(h *Hardware, v string) { h.DiskBus = v },
	},
	{
		Name: "hw_rescue_device", Values: []string{"disk", "cdrom"}, Foreign: []string{"floppy", "fs", "lun"}, Default: "none; disk where hw_rescue_bus is set",
		Effect: "A server that is rescued by the image keeps all its devices as they are, and boots from the rescue disk, which is such a one behind them. " +
			"Without this and hw_rescue_bus the rescue disk is the first, and the server's root disk the second. Not with kernel_id.",
	},
	{
		Name: "hw_rescue_bus", Values: []string{"virtio", "scsi", "sata", "ide", "usb"}, Foreign: []string{"fdc", "lxc", "uml", "xen"},
		Default: "the image's hw_disk_bus or virtio; of a cdrom its hw_cdrom_bus or the server's",
		Effect:  "The bus of that disk. A cdrom is not on virtio.",
	},
	{
		Name: "hw_scsi_model", Values: []string{"virtio-scsi", "lsilogic", "lsisas1068", "lsisas1078", "vmpvscsi"}, Foreign: []string{"buslogic", "ibmvscsi"}, Default: "virtio-scsi",
		Effect:   "The controller that scsi disks and cdroms hang on.",
		set:      func(h *Hardware, v string) { h.SCSI = v },
		synonyms: map[string]string{"lsilogicsas": "lsisas1068", "paravirtual": "vmpvscsi"},
	},
	{
		Name: "hw_cdrom_bus", Values: []string{"ide", "sata", "scsi", "usb"}, Foreign: []string{"fdc", "lxc", "uml", "virtio", "xen"}, Default: "ide on pc, sata on q35, scsi elsewhere",
		Effect: "The bus of the config drive, and of the root disk of an iso image. ide needs a pc machine.",
		set:    func(h *Hardware, v string) { h.CDROMBus = v },
	},
	{
		Name: "hw_vif_model", Values: []string{"virtio", "e1000", "e1000e", "igb", "ne2k_pci", "pcnet", "rtl8139", "vmxnet3"},
		Foreign: []string{"lan9118", "netfront", "spapr-vlan", "sriov", "vmxnet"}, Default: "virtio",
		Effect: "The network cards. A host whose QEMU lacks the model (igb came with QEMU 8.0) is left for the next.",
		set:    func(h *Hardware, v string) { h.VIF = v },
		synonyms: map[string]string{
			"virtuale1000": "e1000", "virtuale1000e": "e1000e", "virtualpcnet32": "pcnet", "virtualsriovethernetcard": "sriov",
			"virtualvmxnet": "vmxnet", "virtualvmxnet3": "vmxnet3",
		},
	},
	{
		Name: "hw_video_model", Values: []string{"none", "vga", "cirrus", "virtio", "qxl", "bochs", "vmvga"}, Foreign: []string{"gop", "xen"}, Default: "vga",
		Effect: "The display adapter, and with it the screen that a VNC console shows; none is no screen. Other machines than x86's have one only if they ask for it.",
		set:    func(h *Hardware, v string) { h.Video = v },
	},
	{
		Name: "hw_rng_model", Values: []string{"virtio"}, Default: "virtio",
		Effect: "The source of random bytes, fed from the host's /dev/urandom. A server has it unless its flavor says hw_rng:allowed=False; " +
			"hw_rng:rate_bytes in each hw_rng:rate_period milliseconds bound it.",
		set: func(*Hardware, string) {},
	},
	{
		Name: "hw_qemu_guest_agent", Values: []string{"yes", "no"}, Default: "no", synonyms: booleans,
		Effect: "yes: the server has the channel org.qemu.guest_agent.0, by which changePassword reaches an agent in the guest, and createImage has it flush and freeze the filesystems while a copy begins. true, on and 1 are understood too.",
		set:    func(h *Hardware, v string) { h.GuestAgent = v == "yes" },
	},
	{
		Name: "os_admin_user", Default: "root; Administrator where os_type is windows",
		Effect: "The user of the guest whose password changePassword sets. The admin password of a build is root's all the same: cloud-init names its user itself.",
	},
	{
		Name: "os_require_quiesce", Values: []string{"yes", "no"}, Default: "no",
		Effect: "yes: no image is made of the server while it runs unless the agent in its guest (hw_qemu_guest_agent) has frozen the filesystems for the moment at which the copy begins. Any other word than yes, true, on and 1 is no.",
	},
	{
		Name: "os_type", Values: []string{"linux", "windows"}, Default: "not said",
		Effect: "windows: the clock starts in local time, and with KVM the guest has Hyper-V's timers. linux: ephemeral disks are ext4 instead of vfat.",
		set:    func(h *Hardware, v string) { h.OSType = v },
	},
	{
		Name: "hw_auto_disk_config", Default: "no",
		Effect: "yes, true, on or 1: OS-DCF:diskConfig is AUTO unless the request says otherwise, and the root filesystem is grown to the flavor's disk. disabled: a request for AUTO is refused. Any other word is a no, as Nova takes it.",
		canonical: func(v string) (string, error) {
			word := strings.ToLower(v)
			if word != "disabled" {
				word = cmp.Or(booleans[word], "no")
			}
			return word, nil
		},
		set: func(h *Hardware, v string) { h.AutoDiskConfig = v },
	},
	{
		Name: "img_config_drive", Values: []string{"mandatory", "optional"}, Default: "optional",
		Effect: "mandatory: the server has a config drive whatever the request says.",
		set:    func(h *Hardware, v string) { h.ConfigDrive = v == "mandatory" },
	},
	{
		Name: "img_config_drive_format", Values: []string{"iso9660", "vfat"}, Default: "the installation's (build.config_drive_format)",
		Effect: "The format of the config drive, for guests that read but one. iso9660 is a cdrom on hw_cdrom_bus, vfat a disk on hw_disk_bus. Slipway's own property: Nova has the setting alone.",
		set:    func(h *Hardware, v string) { h.ConfigDriveFormat = v },
	},
	{
		Name: "kernel_id", Default: "none",
		Effect: "The image of a kernel that the server is started with, instead of what its disk holds.",
	},
	{
		Name: "ramdisk_id", Default: "none",
		Effect: "The image of the ramdisk beside it. Refused without kernel_id.",
	},
	{
		Name: "os_command_line", Default: "root on the first disk, console=ttyS0",
		Effect: "The command line of that kernel.",
	},
	{
		Name: "img_hv_type", Values: []string{"qemu", "kvm"}, Default: "any", Foreign: []string{
			"baremetal", "bhyve", "docker", "fake", "hyperv", "ironic", "kqemu", "lxc", "lxd", "openvz", "parallels", "phyp", "prsm",
			"test", "uml", "vbox", "virtuozzo", "vmware", "vz", "xapi", "xen", "zvm",
		},
		Effect: "An image for another hypervisor is refused. Whether QEMU has hardware virtualisation is the host's affair.",
		set:    func(*Hardware, string) {},
	},
	{
		Name: "hw_vm_mode", Values: []string{"hvm"}, Foreign: []string{"exe", "pv", "uml", "xen"}, Default: "hvm", synonyms: map[string]string{"hv": "hvm", "baremetal": "hvm"},
		Effect: "An image for another kind of virtual machine is refused.",
		set:    func(*Hardware, string) {},
	},
}

// Refusal is a property with which an image cannot be booted, or an extra spec of its flavor with which none can: what it
// promises would silently not be kept. An extra spec stands under the name of its property, where it has one.
type Refusal struct {
	Name   string   // * stands for any part
	Values []string // that are refused; none: any but no
	But    []string // any but these
	Flavor bool     // an extra spec alone
	Why    string   // Nova's words where it has some
}

func (r Refusal) refuses(value string) bool {
	switch {
	case value == "":
		return false
	case len(r.Values) > 0:
		return slices.Contains(r.Values, value)
	case len(r.But) > 0:
		return !slices.Contains(r.But, value)
	}
	return booleans[value] != "no"
}

// When says which values are refused, in words.
func (r Refusal) When() string {
	switch {
	case len(r.Values) > 0:
		return strings.Join(r.Values, " or ")
	case slices.Equal(r.But, anything):
		return "set"
	case len(r.But) > 0:
		return "set, and not to " + strings.Join(r.But, " or ")
	}
	return "set, and not to no"
}

// refusal finds what refuses a property's value.
func refusal(name, value string, ofFlavor bool) (Refusal, bool) {
	value = strings.ToLower(strings.TrimSpace(value))
	for _, r := range Refused {
		if matches, _ := path.Match(r.Name, name); matches && (ofFlavor || !r.Flavor) && r.refuses(value) {
			return r, true
		}
	}
	return Refusal{}, false
}

const (
	notPinned = "vCPUs and memory are not pinned here: the host's kernel places them."
	noTPM     = "A TPM is not offered."
)

// anything is what a property may be that asks for something whatever it is: only to be absent.
var anything = []string{""}

// Refused are the properties and extra specs that nobody here can keep and that somebody relies on.
var Refused = []Refusal{
	{Name: "os_secure_boot", Values: []string{"required"}, Why: "Secure Boot is not supported by host."},
	{Name: "hw_mem_encryption", Why: "Guest memory is not encrypted here."},
	{Name: "hw_ephemeral_encryption", Why: "Servers' disks are not encrypted here."},
	{Name: "hw_tpm_version", Why: noTPM},
	{Name: "hw_tpm_model", Why: noTPM},
	{Name: "hw_tpm_secret_security", Why: noTPM},
	{Name: "hw_emulation_architecture", Why: "Emulating another architecture than the host's is not offered."},
	{Name: "cinder_encryption_key_id", Why: "Direct booting of an image uploaded from an encrypted volume is unsupported."},
	{Name: "hw_cpu_policy", But: []string{"shared"}, Why: notPinned},
	{Name: "hw_cpu_thread_policy", But: []string{"prefer"}, Why: notPinned},
	{Name: "hw_cpu_dedicated_mask", But: anything, Why: notPinned},
	{Name: "hw_emulator_threads_policy", But: []string{"share"}, Why: notPinned},
	{Name: "hw_cpu_realtime", Why: "vCPUs have no real-time priority here."},
	{Name: "hw_cpu_realtime_mask", But: anything, Why: "vCPUs have no real-time priority here."},
	{Name: "hw_numa_*", But: anything, Why: notPinned},
	{Name: "hw_pci_numa_affinity_policy", But: []string{"preferred", "legacy"}, Why: notPinned},
	{Name: "hw_mem_page_size", But: []string{"small", "any"}, Why: "Guest memory is of small pages here."},
	{Name: "hw_locked_memory", Why: "Guest memory is not locked here."},
	{Name: "hw_pmem", But: anything, Why: "Persistent memory is not offered."},
	{Name: "trait:*", Values: []string{"required"}, Why: "Hosts have no traits here, so none has the one that is required."},
	{Name: "trait?*:*", Flavor: true, Values: []string{"required"}, Why: "Hosts have no traits here, so none has the one that is required."},
	{Name: "resources*:*", Flavor: true, But: anything, Why: "Servers take vCPUs, memory and disk as their flavor's own fields say; other resources are not offered."},
	{Name: "accel:device_profile", Flavor: true, But: anything, Why: "Accelerators are not offered."},
	{Name: "pci_passthrough:alias", Flavor: true, But: anything, Why: "Passing the host's PCI devices through is not offered."},
	{Name: "quota:*", Flavor: true, But: []string{"0"}, Why: "What a server may use of its host's CPU, disks and network is not limited or reserved here."},
	{Name: "capabilities:*", Flavor: true, But: anything, Why: "Hosts are not chosen by their capabilities here."},
}

// NotObeyed are properties of Nova's that a build does nothing with.
type NotObeyed struct {
	Names []string
	Why   string
}

// LeftAlone are the properties and extra specs that are kept, shown and known, and from which nothing follows.
var LeftAlone = []NotObeyed{
	{[]string{"os_distro", "os_version", "hw_disk_type"}, "Devices are chosen by the image's other properties and virtio otherwise, not by a database of operating systems: set hw_disk_bus and hw_vif_model."},
	{[]string{"hw_video_ram"}, "A display adapter has its model's own memory."},
	{[]string{"hw_pointer_model", "hw_input_bus", "hw_sound_model", "hw_usb_model", "hw_redirected_usb_ports"}, "A screen has a PS/2 keyboard and mouse, and a server neither sound nor a USB port that a user could reach."},
	{[]string{"hw_boot_menu", "hw_ipxe_boot"}, "Servers boot from their disk or kernel at once."},
	{[]string{"hw_serial_port_count"}, "A server has one serial port: its console."},
	{[]string{"hw_watchdog_action"}, "A watchdog is not offered; a guest that hangs is left as it is."},
	{[]string{"hw_time_hpet", "hw_pmu", "img_hide_hypervisor_id", "hw_vif_multiqueue_enabled", "hw_virtio_packed_ring", "hw_viommu_model", "hw_maxphysaddr_mode", "hw_maxphysaddr_bits", "hw_firmware_stateless"},
		"Every server has the same of it."},
	{[]string{"hw_cpu_sockets", "hw_cpu_cores", "hw_cpu_threads", "hw_cpu_max_sockets", "hw_cpu_max_cores", "hw_cpu_max_threads"}, "Every vCPU is a socket of one core."},
	{[]string{"hw_mem_encryption_model"}, "It says how memory would be encrypted; asking for that is refused."},
	{[]string{"hw_ephemeral_encryption_format"}, "It says how disks would be encrypted; asking for that is refused."},
	{[]string{"img_hv_requested_version"}, "The hosts' QEMU is the operator's choice; name a hw_machine_type that only newer ones have."},
	{[]string{"img_block_device_mapping", "img_mappings", "img_root_device_name", "img_bdm_v2"}, "A server's disks follow from its image and flavor."},
	{[]string{"group_policy"}, "It says how groups of resources and traits are placed; asking for those is refused."},
	{[]string{"vmware:hw_version", "vmware:storage_policy"}, "They belong to VMware."},
	{[]string{"img_use_agent", "os_skip_agent_inject_files_at_boot", "os_skip_agent_inject_ssh"}, "They belong to Xen's agent."},
}
