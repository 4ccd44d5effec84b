package imageprops

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func properties(kv ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(kv); i += 2 {
		m[kv[i]] = kv[i+1]
	}
	return m
}

var random = RNG{Present: true}

func TestAnImageGetsTheHardwareThatItAsksFor(t *testing.T) {
	for _, c := range []struct {
		properties []string
		want       Hardware
	}{
		{nil, Hardware{}},
		{[]string{"vendor_secret", "x", "os_distro", "plan9", "hw_cpu_policy", "shared", "hw_mem_page_size", "small", "hw_disk_bus", ""}, Hardware{}},
		{[]string{"architecture", "amd64"}, Hardware{Architecture: "x86_64"}},
		{[]string{"architecture", "ARM64"}, Hardware{Architecture: "aarch64"}},
		{[]string{"hw_architecture", "i586"}, Hardware{Architecture: "i686"}},
		{[]string{"hw_architecture", "x86_64", "architecture", "ppc64"}, Hardware{Architecture: "x86_64"}}, // the present name counts
		{[]string{"hw_machine_type", "pc-i440fx-7.2", "hw_disk_bus", "ide"}, Hardware{Machine: "pc-i440fx-7.2", DiskBus: "ide"}},
		{[]string{"hw_machine_type", "q35", "hw_firmware_type", "UEFI"}, Hardware{Machine: "q35", Firmware: "uefi"}},
		{[]string{"hw_disk_bus", " SCSI ", "hw_scsi_model", "LsiLogicSAS"}, Hardware{DiskBus: "scsi", SCSI: "lsisas1068"}},
		{[]string{"vmware_adaptertype", "paraVirtual"}, Hardware{DiskBus: "scsi", SCSI: "vmpvscsi"}},
		{[]string{"vmware_adaptertype", "ide"}, Hardware{DiskBus: "ide"}},
		{[]string{"vmware_adaptertype", "ide", "hw_disk_bus", "virtio"}, Hardware{DiskBus: "virtio"}},
		{[]string{"hw_cdrom_bus", "usb"}, Hardware{CDROMBus: "usb"}},
		{[]string{"hw_vif_model", "VirtualE1000"}, Hardware{VIF: "e1000"}},
		{[]string{"hw_video_model", "none"}, Hardware{Video: "none"}},
		{[]string{"hw_rng_model", "virtio"}, Hardware{}},
		{[]string{"hw_qemu_guest_agent", "True"}, Hardware{GuestAgent: true}},
		{[]string{"hw_qemu_guest_agent", "off"}, Hardware{}},
		{[]string{"os_type", "Windows"}, Hardware{OSType: "windows"}},
		{[]string{"auto_disk_config", "True"}, Hardware{AutoDiskConfig: "yes"}},
		{[]string{"auto_disk_config", "MANUAL"}, Hardware{AutoDiskConfig: "no"}},
		{[]string{"auto_disk_config", " Disabled"}, Hardware{AutoDiskConfig: "disabled"}},
		{[]string{"img_config_drive", "mandatory"}, Hardware{ConfigDrive: true}},
		{[]string{"img_config_drive", "optional"}, Hardware{}},
		{[]string{"img_config_drive_format", "VFAT"}, Hardware{ConfigDriveFormat: "vfat"}},
		{[]string{"hypervisor_type", "QEMU", "vm_mode", "hvm"}, Hardware{}},
		{[]string{"os_secure_boot", "optional", "hw_mem_encryption", "False", "trait:HW_CPU_X86_AVX2", "forbidden"}, Hardware{}},
	} {
		got, err := Parse(properties(c.properties...), nil)
		require.NoError(t, err, "%v", c.properties)
		c.want.RNG = random
		require.Equal(t, c.want, got, "%v", c.properties)
	}
}

func TestEveryValueThatIsListedIsTakenAndEveryForeignOneRefused(t *testing.T) {
	for _, p := range Obeyed {
		if p.set == nil {
			continue
		}
		for _, value := range p.Values {
			_, err := Parse(properties(p.Name, value), nil)
			require.NoError(t, err, "%s=%s", p.Name, value)
			_, err = Parse(properties(p.Name, strings.ToUpper(value)), nil)
			require.NoError(t, err, "%s=%s", p.Name, value)
		}
		for _, value := range p.Foreign {
			_, err := Parse(properties(p.Name, value), nil)
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%s=%s", p.Name, value)
			require.Contains(t, fault.Public(err), "Requested hardware '"+value+"' is not supported by the 'qemu' virt driver. Image property "+p.Name+" may be ")
		}
		if len(p.Values) > 0 {
			_, err := Parse(properties(p.Name, "of no such kind"), nil)
			require.Equal(t, fault.Invalid, fault.KindOf(err), p.Name)
			require.Contains(t, fault.Public(err), "may be "+strings.Join(p.Values, ", "))
		}
	}
}

func TestAnImageThatCannotBootIsRefusedInNovasWords(t *testing.T) {
	for _, c := range []struct {
		properties []string
		text       string
	}{
		{[]string{"hw_disk_bus", "floppy"}, "Invalid image metadata. Error: Field value floppy is invalid."},
		{[]string{"hw_disk_bus", "fdc"}, "Requested hardware 'fdc' is not supported by the 'qemu' virt driver."},
		{[]string{"hw_cdrom_bus", "virtio"}, "Requested hardware 'virtio' is not supported"},
		{[]string{"hw_qemu_guest_agent", "maybe"}, "Field value maybe is invalid."},
		{[]string{"architecture", "z80"}, "Architecture name 'z80' is not valid"},
		{[]string{"img_config_drive_format", "ext4"}, "Image property img_config_drive_format may be iso9660, vfat"},
		{[]string{"img_config_drive", "always"}, "Image's config drive option 'always' is invalid"},
		{[]string{"hw_machine_type", "microvm"}, "Machine type microvm is not supported."},
		{[]string{"hw_machine_type", "pc,accel=kvm"}, "Machine type pc,accel=kvm is not supported."},
		{[]string{"hypervisor_type", "xen"}, "Requested hardware 'xen' is not supported"},
		{[]string{"vm_mode", "xen"}, "Requested hardware 'xen' is not supported"},
		{[]string{"hw_machine_type", "q35", "hw_disk_bus", "ide"}, "hw_disk_bus is ide, and machine type q35 (hw_machine_type) has no IDE controller: use virtio, scsi or sata."},
		{[]string{"hw_machine_type", "pc-q35-7.2", "hw_cdrom_bus", "ide"}, "hw_cdrom_bus is ide, and machine type pc-q35-7.2 (hw_machine_type) has no IDE controller: use sata or scsi."},
		{[]string{"architecture", "arm64", "hw_disk_bus", "ide"}, "machine type virt"},
		{[]string{"architecture", "ppc64le", "hw_firmware_type", "uefi"}, "UEFI is not supported: machine type pseries"},
		{[]string{"os_secure_boot", "Required"}, "Secure Boot is not supported by host."},
		{[]string{"hw_mem_encryption", "true"}, "not encrypted"},
		{[]string{"hw_ephemeral_encryption", "1"}, "not encrypted"},
		{[]string{"hw_tpm_version", "2.0"}, "A TPM is not offered."},
		{[]string{"hw_emulation_architecture", "aarch64"}, "Emulating another architecture"},
		{[]string{"hw_cpu_policy", "dedicated"}, "vCPUs and memory are not pinned here: the host's kernel places them. Image property hw_cpu_policy is \"dedicated\"."},
		{[]string{"hw_numa_nodes", "2"}, "not pinned"},
		{[]string{"hw_mem_page_size", "1GB"}, "small pages"},
		{[]string{"cinder_encryption_key_id", "k"}, "Direct booting of an image uploaded from an encrypted volume is unsupported."},
		{[]string{"trait:HW_CPU_X86_AVX2", "required"}, "Image property trait:HW_CPU_X86_AVX2 is \"required\"."},
	} {
		_, err := Parse(properties(c.properties...), nil)
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%v: %v", c.properties, err)
		require.Contains(t, fault.Public(err), c.text)
	}
}

func TestAFlavorSaysHowMuchRandomThereIs(t *testing.T) {
	for _, c := range []struct {
		specs []string
		want  RNG
	}{
		{nil, random},
		{[]string{"hw_rng:allowed", "True"}, random},
		{[]string{"hw_rng:allowed", "False"}, RNG{}},
		{[]string{"hw_rng:allowed", "what"}, RNG{}}, // as oslo reads it
		{[]string{"hw_rng:rate_bytes", "2048", "hw_rng:rate_period", "1000"}, RNG{true, 2048, 1000}},
		{[]string{"hw_rng:rate_bytes", "2048"}, random},
	} {
		got, err := Parse(nil, properties(c.specs...))
		require.NoError(t, err)
		require.Equal(t, c.want, got.RNG, "%v", c.specs)
	}
	for _, bad := range []string{"-1", "many", "2147483648"} {
		_, err := Parse(nil, properties("hw_rng:rate_bytes", bad))
		require.Equal(t, fault.Invalid, fault.KindOf(err), bad)
	}
}

func TestAHostCompletesWhatTheImageLeavesOpen(t *testing.T) {
	for _, c := range []struct {
		asked        Hardware
		architecture string
		want         Hardware
	}{
		{Hardware{}, "", Hardware{Machine: "pc", Firmware: "bios", DiskBus: "virtio", CDROMBus: "ide", SCSI: "virtio-scsi", VIF: "virtio"}},
		{Hardware{Machine: "q35"}, "x86_64", Hardware{Machine: "q35", Firmware: "bios", DiskBus: "virtio", CDROMBus: "sata", SCSI: "virtio-scsi", VIF: "virtio"}},
		{Hardware{VIF: "e1000"}, "aarch64", Hardware{Machine: "virt", Firmware: "uefi", DiskBus: "virtio", CDROMBus: "scsi", SCSI: "virtio-scsi", VIF: "e1000"}},
		{Hardware{}, "s390x", Hardware{Machine: "s390-ccw-virtio", Firmware: "bios", DiskBus: "virtio", CDROMBus: "scsi", SCSI: "virtio-scsi", VIF: "virtio"}},
	} {
		got, err := c.asked.On(c.architecture)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := Hardware{DiskBus: "ide"}.On("aarch64")
	require.Equal(t, fault.Invalid, fault.KindOf(err), "what the image left open may decide")
}

func TestWhatIsKnownAndNotObeyedIsNamedWithItsReason(t *testing.T) {
	got := IgnoredOf(properties("os_version", "13", "hw_watchdog_action", "reset", "hw_disk_bus", "scsi", "mine", "1", "hw_boot_menu", ""))
	require.Equal(t, []string{"hw_watchdog_action", "os_version"}, []string{got[0].Name, got[1].Name})
	require.Len(t, got, 2)
	require.Contains(t, got[0].Why, "watchdog")
	require.Equal(t, "img_mappings", IgnoredOf(properties("mappings", "x"))[0].Name)
}

func TestAFlavorThatAsksForWhatNobodyKeepsIsRefused(t *testing.T) {
	for _, specs := range [][]string{
		nil,
		{"anything", "at all", "vendor:thing", "1", "hw:of_a_later_nova", "1"},
		{"hw:cpu_policy", "shared", "hw:cpu_thread_policy", "prefer", "hw:mem_page_size", "small", "hw:pci_numa_affinity_policy", "legacy"},
		{"hw:mem_encryption", "False", "os:secure_boot", "disabled", "trait:HW_CPU_X86_AVX2", "forbidden", "hw:cpu_realtime", "no"},
		{"hw_rng:allowed", "True", "hw_rng:rate_bytes", "2048", "quota:cpu_limit", "0"},
		{"hw:cpu_sockets", "2", "hw:watchdog_action", "reset", "hide_hypervisor_id", "true", "vmware:hw_version", "vmx-13"},
	} {
		require.NoError(t, CheckFlavor(properties(specs...)), "%v", specs)
	}
	for _, c := range []struct{ name, value, text string }{
		{"os:secure_boot", "required", "Secure Boot is not supported by host. The flavor's extra spec os:secure_boot is \"required\"."},
		{"hw:mem_encryption", "true", "not encrypted"},
		{"hw:tpm_version", "2.0", "A TPM is not offered."},
		{"hw:tpm_model", "tpm-crb", "A TPM is not offered."},
		{"hw:cpu_policy", "dedicated", "not pinned"},
		{"hw:cpu_policy", "bogus", "Validation failed; 'bogus' is not one of: dedicated, shared, mixed."},
		{"hw:cpu_realtime", "1", "real-time"},
		{"hw:cpu_realtime_mask", "0", "real-time"},
		{"hw:numa_nodes", "1", "not pinned"},
		{"hw:numa_cpus.0", "0", "not pinned"},
		{"hw:mem_page_size", "large", "small pages"},
		{"hw:mem_page_size", "2 pages", "Validation failed; '2 pages' is not of the format"},
		{"hw:pmem", "6GB", "Persistent memory"},
		{"trait:CUSTOM_NONE", "required", "no traits"},
		{"trait1:CUSTOM_NONE", "required", "no traits"},
		{"resources:VGPU", "1", "not offered"},
		{"resources_gpu:CUSTOM_A", "0", "not offered"},
		{"pci_passthrough:alias", "gpu:1", "PCI"},
		{"accel:device_profile", "fpga", "Accelerators"},
		{"quota:disk_read_iops_sec", "100", "not limited"},
		{"quota:cpu_shares", "many", "Validation failed; 'many' is not a valid integer value."},
		{"quota:cpu_limit", "-1", "Validation failed; '-1' is less than the min value of '0'."},
		{"hw:redirected_usb_ports", "16", "Validation failed; '16' is greater than the max value of '15'."},
		{"hw:boot_menu", "maybe", "Validation failed; 'maybe' is not a valid boolean-like value."},
		{"capabilities:hypervisor_type", "s== QEMU", "capabilities"},
	} {
		err := CheckFlavor(properties(c.name, c.value))
		require.Equal(t, fault.Invalid, fault.KindOf(err), "%s=%s: %v", c.name, c.value, err)
		require.Contains(t, fault.Public(err), c.text, "%s=%s", c.name, c.value)
		require.Contains(t, fault.Public(err), c.name)
	}
}

func TestAnExtraSpecOfNovasNamespacesIsOneThatNovaKnows(t *testing.T) {
	require.NoError(t, CheckExtraSpec("anything", "at all"))
	require.NoError(t, CheckExtraSpec("vendor:thing", "1"))
	require.NoError(t, CheckExtraSpec("hw:numa_mem.1", "512"))
	require.NoError(t, CheckExtraSpec("hw:tpm_version", "2.0"), "whether it can be kept is found out when a server is made")
	for _, name := range []string{"hw:cpu_polcy", "hw:numa_cpus.x", "os:boot", "trait:", "traits_of_mine:lower", "quota:disk"} {
		err := CheckExtraSpec(name, "1")
		require.Equal(t, "Validation failed; extra spec '"+name+"' does not appear to be a valid extra spec.", fault.Public(err))
	}
	require.NoError(t, CheckFlavor(properties("hw:cpu_polcy", "1")), "a flavor that got it by an older microversion can be used")
}

func TestEveryExtraSpecIsObeyedRefusedOrLeftAlone(t *testing.T) {
	obeyed := 0
	for _, s := range ExtraSpecs {
		require.True(t, (s.Kind == "") != (len(s.Values) == 0), s.Name)
		if s.Fate() == "Obeyed: see hw_rng_model." {
			obeyed++
			require.True(t, strings.HasPrefix(s.Name, "hw_rng:"), s.Name)
		}
	}
	require.Equal(t, 3, obeyed)
	require.Equal(t, []Ignored{{"hw:watchdog_action", "A watchdog is not offered; a guest that hangs is left as it is."}},
		IgnoredSpecsOf(properties("hw:watchdog_action", "reset", "mine", "1", "hw:tpm_model", "tpm-tis")))
}

func TestEveryPropertyStandsInOneTableAndSaysWhatItDoes(t *testing.T) {
	var names []string
	for _, p := range Obeyed {
		names = append(names, p.Name)
		require.NotEmpty(t, p.Effect, p.Name)
		require.NotEmpty(t, p.Default, p.Name)
		for word, means := range p.synonyms {
			require.True(t, slices.Contains(p.Values, means) || slices.Contains(p.Foreign, means), "%s: %s", p.Name, word)
		}
	}
	for _, r := range Refused {
		names = append(names, r.Name)
		require.NotEmpty(t, r.Why, r.Name)
	}
	for _, n := range LeftAlone {
		names = append(names, n.Names...)
		require.NotEmpty(t, n.Why, n.Names)
	}
	slices.Sort(names)
	require.Equal(t, slices.Compact(slices.Clone(names)), names)
	for old, present := range olderNames {
		require.NotContains(t, names, old)
		require.Contains(t, names, present)
	}
	require.Equal(t, []string{"architecture"}, OlderNames("hw_architecture"))
}

func BenchmarkParse(b *testing.B) {
	p := properties("hw_disk_bus", "scsi", "hw_vif_model", "virtio", "os_type", "linux", "os_distro", "debian", "hw_machine_type", "q35", "owner_specified.openstack.md5", "x")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(p, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTheAdminIsWhomTheImageNames(t *testing.T) {
	for _, c := range []struct {
		properties map[string]string
		want       string
	}{
		{nil, "root"},
		{map[string]string{"os_type": "linux"}, "root"},
		{map[string]string{"os_type": "Windows"}, "Administrator"},
		{map[string]string{"os_type": "windows", "os_admin_user": "ops"}, "ops"},
	} {
		require.Equal(t, c.want, AdminUser(c.properties), "%v", c.properties)
	}
}

func TestAnImageThatHasToBeQuietSaysSoInNovasWords(t *testing.T) {
	for word, required := range map[string]bool{"": false, "yes": true, "True": true, "1": true, "no": false, "perhaps": false} {
		require.Equal(t, required, RequiresQuiesce(properties("os_require_quiesce", word)), word)
	}
}
