package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/imageprops"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/models"
)

// Resolve is what a server is built of: an image, with the kernel and ramdisk that its properties name, as the build's options have them.
// Faults, in Nova's words: Invalid when the image is absent, not the caller's to see, not active, does not fit the flavor, or when it or the
// flavor asks for hardware that there is not.
func Resolve(ctx context.Context, rows *models.Store, in contract.ResolveImageInput) (contract.ResolvedImage, error) {
	root, err := usable(ctx, rows, asker(in), in.ImageID)
	if err != nil {
		return contract.ResolvedImage{}, err
	}
	root.Properties = maps.Clone(root.Properties)
	for property, id := range map[string]string{"kernel_id": in.KernelID, "ramdisk_id": in.RamdiskID} {
		if id != "" {
			root.Properties[property] = id
		}
	}
	if err := trusted(root, in.TrustedCertificates); err != nil {
		return contract.ResolvedImage{}, err
	}
	if err := Fits(root, in.Flavor); err != nil {
		return contract.ResolvedImage{}, err
	}
	if err := imageprops.CheckFlavor(in.Flavor.ExtraSpecs); err != nil {
		return contract.ResolvedImage{}, err
	}
	hardware, err := imageprops.Parse(root.Properties, in.Flavor.ExtraSpecs)
	if err != nil {
		return contract.ResolvedImage{}, err
	}
	resolved := contract.ResolvedImage{
		Root: root, Architecture: hardware.Architecture, UEFI: hardware.UEFI(), ConfigDrive: hardware.ConfigDrive,
		RootDevice: hardware.RootDevice(), DriveFormat: hardware.ConfigDriveFormat,
	}
	switch hardware.AutoDiskConfig {
	case "disabled": // nova/exception.py, AutoDiskConfigDisabledByImage
		if in.AutoDiskConfig != nil && *in.AutoDiskConfig {
			return contract.ResolvedImage{}, fault.New(fault.Invalid, "Requested image %s has automatic disk resize disabled.", root.ID)
		}
		resolved.AutoDiskConfig = new(false)
	case "yes", "no":
		resolved.AutoDiskConfig = new(hardware.AutoDiskConfig == "yes")
	}
	if len(in.BlockDevices) > 0 {
		if resolved.BlockDevices, err = Disks(in.BlockDevices, root, hardware); err != nil {
			return contract.ResolvedImage{}, err
		}
		resolved.RootDevice = resolved.BlockDevices[0].Path
	}
	if resolved.Kernel, err = part(ctx, rows, asker(in), root, "kernel_id"); err != nil {
		return contract.ResolvedImage{}, err
	}
	if resolved.Ramdisk, err = part(ctx, rows, asker(in), root, "ramdisk_id"); err != nil {
		return contract.ResolvedImage{}, err
	}
	for _, part := range []*contract.Image{resolved.Kernel, resolved.Ramdisk} {
		if part != nil {
			if err := trusted(*part, in.TrustedCertificates); err != nil {
				return contract.ResolvedImage{}, err
			}
		}
	}
	if resolved.Ramdisk != nil && resolved.Kernel == nil {
		return contract.ResolvedImage{}, fault.New(fault.Invalid, "Image %s names a ramdisk_id but no kernel_id.", root.ID)
	}
	return resolved, nil
}

// Disks names a server's disks as a Linux guest does, and refuses what the image's machine does not have.
func Disks(asked []contract.BlockDevice, root contract.Image, hw imageprops.Hardware) ([]contract.BlockDevice, error) {
	named := slices.Clone(asked)
	used := map[string]int{}
	for i := range named {
		d := &named[i]
		if d.Bus == "ide" && hw.Machine != "" && !imageprops.HasIDE(hw.Machine) {
			return nil, fault.New(fault.Invalid, "A disk's disk_bus is ide, and the image's machine type %s (hw_machine_type) has no IDE controller: use virtio, scsi or sata.", hw.Machine)
		}
		prefix := "sd" // scsi, sata, usb and ide share their names
		switch {
		case d.Device == "cdrom" || d.Role == contract.RootDisk && root.DiskFormat == "iso":
			d.Path = fmt.Sprintf("/dev/sr%d", used["sr"])
			used["sr"]++
			continue
		case cmp.Or(d.Bus, hw.DiskBus, "virtio") == "virtio":
			prefix = "vd"
		}
		d.Path = "/dev/" + prefix + string(rune('a'+used[prefix]))
		used[prefix]++
	}
	return named, nil
}

// usable reads an image that the caller may boot from now: whatever it sees.
func usable(ctx context.Context, rows *models.Store, caller imagepolicy.Caller, imageID string) (contract.Image, error) {
	image, err := rows.Image(ctx, imageID)
	seen := false
	if err == nil {
		seen, err = See(ctx, rows, caller, &image)
	}
	switch {
	case fault.Is(err, fault.NotFound), err == nil && !seen:
		return contract.Image{}, fault.New(fault.Invalid, "Can not find requested image")
	case err != nil:
		return contract.Image{}, err
	case image.Status != models.ImageActive:
		return contract.Image{}, fault.New(fault.Invalid, "Image %s is not active.", imageID)
	}
	return Pinned(image)
}

// Pinned is an active image as a build keeps it, but for the EC2 id that its first build gives it.
func Pinned(image models.Image) (contract.Image, error) {
	if image.SHA512 == nil || image.SizeBytes == nil {
		return contract.Image{}, fmt.Errorf("image %s is active without a checksum or a size", image.ID)
	}
	pinned := contract.Image{
		ID:              image.ID,
		Name:            value(image.Name),
		SHA512:          *image.SHA512,
		SizeBytes:       *image.SizeBytes,
		VirtualBytes:    *image.SizeBytes,
		DiskFormat:      value(image.DiskFormat),
		ContainerFormat: value(image.ContainerFormat),
		MinDiskGiB:      image.MinDiskGiB,
		MinRAMMiB:       image.MinRAMMiB,
		Properties:      image.Properties,
	}
	if image.VirtualBytes != nil {
		pinned.VirtualBytes = *image.VirtualBytes
	}
	return pinned, nil
}

// trusted holds that an image was signed with one of the certificates, where there are any. The signature of an active image was
// verified with the certificate that it names when its bytes came, and neither changes afterwards; a host checks that it gets these bytes.
func trusted(image contract.Image, certificates []string) error {
	if len(certificates) == 0 {
		return nil
	}
	for _, name := range imagesignature.Properties() {
		if image.Properties[name] == "" {
			return fault.New(fault.Invalid, "Signature verification for the image failed: Required image properties for signature verification do not exist. "+
				"Cannot verify signature. Missing property of image %s: %s.", image.ID, name)
		}
	}
	signer := image.Properties[imagesignature.CertificateUUID]
	if !slices.ContainsFunc(certificates, func(id string) bool { return strings.EqualFold(id, signer) }) {
		return fault.New(fault.Invalid, "Image signature certificate validation failed for certificate: %s. It is none of trusted_image_certificates.", signer)
	}
	return nil
}

// part resolves the kernel or ramdisk that an image names.
func part(ctx context.Context, rows *models.Store, caller imagepolicy.Caller, root contract.Image, property string) (*contract.Image, error) {
	id := root.Properties[property]
	if id == "" {
		return nil, nil
	}
	image, err := usable(ctx, rows, caller, id)
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Invalid {
		return nil, fault.New(fault.Invalid, "Image %s names %s %s: %s", root.ID, property, id, f.Text)
	}
	if err != nil {
		return nil, err
	}
	return &image, nil
}

// asker is who asked for the server, as the image service knows callers: a build that an older version submitted does not
// say the roles.
func asker(in contract.ResolveImageInput) imagepolicy.Caller {
	caller := imagepolicy.Caller{ProjectID: in.ProjectID, Roles: in.Roles}
	if len(caller.Roles) == 0 {
		caller.Roles = []string{auth.RoleReader}
	}
	return caller
}

// Fits is Nova's _validate_flavor_image: min_ram, min_disk and, for a flavor with a root disk, the image's own size.
func Fits(image contract.Image, flavor contract.Flavor) error {
	const gib = int64(1) << 30
	switch {
	case flavor.RAMMiB < image.MinRAMMiB:
		return fault.New(fault.Invalid, "Flavor's memory is too small for requested image.")
	case flavor.DiskGiB == 0:
		return nil
	case int64(flavor.DiskGiB)*gib < image.VirtualBytes:
		return fault.New(fault.Invalid, "Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.",
			int64(flavor.DiskGiB)*gib, image.VirtualBytes)
	case flavor.DiskGiB < image.MinDiskGiB:
		return fault.New(fault.Invalid, "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is %d bytes, minimum size is %d bytes.",
			int64(flavor.DiskGiB)*gib, int64(image.MinDiskGiB)*gib)
	}
	return nil
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
