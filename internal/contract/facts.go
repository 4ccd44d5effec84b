package contract

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// What a guest is made of follows from its server's facts: here, once, for the build and for whatever makes it anew.

// Of is the server with what an image makes of it.
func (s Server) Of(image ResolvedImage) Server {
	s.ConfigDrive = s.ConfigDrive || image.ConfigDrive
	if s.AutoDiskConfig == nil {
		s.AutoDiskConfig = image.AutoDiskConfig
	}
	s.RootDevice, s.KernelID, s.RamdiskID = image.RootDevice, "", ""
	if image.Kernel != nil {
		s.KernelID = image.Kernel.ID
	}
	if image.Ramdisk != nil {
		s.RamdiskID = image.Ramdisk.ID
	}
	return s
}

// Metadata is all that the guest is told, in an availability zone.
func (f ServerFacts) Metadata(zone string) InstanceMetadata {
	image := f.Spec.Image
	var kernel, ramdisk Image
	if image.Kernel != nil {
		kernel = *image.Kernel
	}
	if image.Ramdisk != nil {
		ramdisk = *image.Ramdisk
	}
	hostname := f.Server.Hostname
	if domain := f.Spec.DriveMade().Domain; domain != "" && !strings.Contains(hostname, ".") {
		hostname += "." + domain
	}
	return InstanceMetadata{
		SecurityGroups:    f.securityGroups(),
		ServerID:          f.Server.ServerID,
		ProjectID:         f.Server.ProjectID,
		Name:              f.Server.Name,
		Hostname:          hostname,
		AvailabilityZone:  zone,
		ReservationID:     cmp.Or(f.Server.ReservationID, ids.Reservation(f.Server.ServerID)),
		LaunchIndex:       f.Server.LaunchIndex,
		FlavorName:        f.Spec.Flavor.Name,
		ImageID:           f.Server.ImageID,
		KernelID:          image.Root.Properties["kernel_id"],
		RamdiskID:         image.Root.Properties["ramdisk_id"],
		EC2ImageID:        image.Root.EC2ID,
		EC2KernelID:       kernel.EC2ID,
		EC2RamdiskID:      ramdisk.EC2ID,
		KeyPairs:          f.Spec.KeyPairs,
		Metadata:          f.Server.Metadata,
		UserData:          f.Spec.UserData,
		AdminPass:         f.Spec.AdminPass,
		Files:             f.Spec.Files,
		Ports:             f.Ports,
		Seed:              f.Spec.Seed,
		VendorData:        f.Spec.VendorData,
		DynamicVendorData: f.Spec.DynamicVendorData,
		RootDevice:        image.RootDevice,
		Ephemeral:         f.Spec.Flavor.EphemeralGiB > 0,
		Swap:              f.Spec.Flavor.SwapMiB > 0,
		BlockDevices:      image.BlockDevices,
	}
}

// securityGroups are the names of those that any of its ports is in.
func (f ServerFacts) securityGroups() []string {
	var all []string
	said := false
	for _, p := range f.Ports {
		said = said || p.SecurityGroups != nil
		for _, name := range p.SecurityGroups {
			if !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	if !said && len(f.Networks) > 0 {
		return []string{"default"} // the only one that there was
	}
	return all
}

// Injects says whether the guest is told by injection: only without a config drive, and only when there is something to say
// (Nova injects where inject_partition allows and config_drive is off).
func (f ServerFacts) Injects() bool {
	said := len(f.Spec.KeyPairs) + len(f.Server.Metadata) + len(f.Spec.Files) + len(f.Spec.AdminPass) + len(f.Networks)
	return !f.Server.ConfigDrive && said > 0
}

// BuildDisk is what the disks are made of.
func (f ServerFacts) BuildDisk() BuildDiskInput {
	return BuildDiskInput{
		ServerID:     f.Server.ServerID,
		Image:        f.Spec.Image.Root,
		RootGiB:      f.Spec.Flavor.DiskGiB,
		EphemeralGiB: f.Spec.Flavor.EphemeralGiB,
		SwapMiB:      f.Spec.Flavor.SwapMiB,
		BlockDevices: f.Spec.Image.BlockDevices,
		Grow:         f.Server.AutoDiskConfig != nil && *f.Server.AutoDiskConfig,
	}
}

// BuildConfigDrive is what the config drive is made of.
func (f ServerFacts) BuildConfigDrive(zone string) BuildConfigDriveInput {
	drive := f.Spec.DriveMade()
	return BuildConfigDriveInput{
		ServerID:     f.Server.ServerID,
		Format:       drive.Format,
		Metadata:     f.Metadata(zone),
		SkipVersions: drive.SkipVersions,
	}
}

// Domain is what the domain says.
func (f ServerFacts) Domain() DefineDomainInput {
	return DefineDomainInput{
		ServerID: f.Server.ServerID, ProjectID: f.Server.ProjectID, Name: f.Server.Name,
		Flavor: f.Spec.Flavor, Image: f.Spec.Image, ConfigDrive: f.Server.ConfigDrive, Format: f.Spec.DriveMade().Format, Ports: f.Ports,
	}
}

// Takes is what a server of the flavor takes of its host. A flavor without a root disk takes the image's own size.
func (f Flavor) Takes(image Image) Resources {
	const mib, gib = int64(1) << 20, int64(1) << 30
	disk := int64(f.DiskGiB) * gib
	if f.DiskGiB == 0 {
		disk = image.VirtualBytes
	}
	disk += int64(f.EphemeralGiB)*gib + int64(f.SwapMiB)*mib
	return Resources{VCPUs: f.VCPUs, RAMMiB: f.RAMMiB, DiskGiB: int((disk + gib - 1) / gib)}
}
