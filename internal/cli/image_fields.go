package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

// imageFlags are the flags that describe an image, the same for a new one and for one that is changed.
type imageFlags struct {
	visibility                                                  string
	visible                                                     map[string]*bool
	protected, unprotected, hidden, unhidden                    bool
	diskFormat, containerFormat                                 string
	minDisk, minRAM                                             int
	properties, tags                                            []string
	project, architecture, osDistro, osVersion, kernel, ramdisk string
}

func (f *imageFlags) bind(c *client, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.diskFormat, "disk-format", "", "qcow2, raw, vmdk, vdi, vhd, vhdx, iso, aki, ari, ami")
	flags.StringVar(&f.containerFormat, "container-format", "", "bare, aki, ari, ami")
	flags.IntVar(&f.minDisk, "min-disk", 0, "smallest disk it boots with, GiB")
	flags.IntVar(&f.minRAM, "min-ram", 0, "least memory it boots with, MiB")
	flags.StringVar(&f.visibility, "visibility", "", "public (admin), private, shared, community")
	f.visible = map[string]*bool{}
	exclusive := []string{"visibility"}
	for _, v := range visibilities {
		f.visible[v] = flags.Bool(v, false, "short for --visibility "+v)
		exclusive = append(exclusive, v)
	}
	flags.BoolVar(&f.protected, "protected", false, "refuse to delete it")
	flags.BoolVar(&f.unprotected, "unprotected", false, "let it be deleted")
	flags.BoolVar(&f.hidden, "hidden", false, "leave it out of the plain list")
	flags.BoolVar(&f.unhidden, "unhidden", false, "show it in the plain list")
	flags.StringArrayVar(&f.properties, "property", nil, "property key=value (repeat)")
	flags.StringArrayVar(&f.tags, "tag", nil, "tag (repeat)")
	flags.StringVar(&f.project, "project", "", "the project that owns it (name or id; admin)")
	flags.StringVar(&f.architecture, "architecture", "", "property architecture: x86_64, aarch64, …")
	flags.StringVar(&f.osDistro, "os-distro", "", "property os_distro: debian, fedora, …")
	flags.StringVar(&f.osVersion, "os-version", "", "property os_version")
	flags.StringVar(&f.kernel, "kernel-id", "", "kernel that it boots with (name or id of an image)")
	flags.StringVar(&f.ramdisk, "ramdisk-id", "", "initial ramdisk that it boots with (name or id of an image)")
	cmd.MarkFlagsMutuallyExclusive(exclusive...)
	cmd.MarkFlagsMutuallyExclusive("protected", "unprotected")
	cmd.MarkFlagsMutuallyExclusive("hidden", "unhidden")
	offerFixed(cmd, "disk-format", diskFormats)
	offerFixed(cmd, "container-format", containerFormats)
	offerFixed(cmd, "visibility", visibilities)
	offerFixed(cmd, "architecture", []string{"x86_64", "aarch64", "ppc64le", "s390x", "riscv64", "i686"})
	c.completeFlag(cmd, "kernel-id", imageKind)
	c.completeFlag(cmd, "ramdisk-id", imageKind)
}

// fields are the members that the given flags set, tags excepted. Names of projects and images are turned into ids.
func (f *imageFlags) fields(ctx context.Context, cmd *cobra.Command, s *session.Session) (show.Object, error) {
	fields := show.Object{}
	properties, err := pairs("property", f.properties)
	if err != nil {
		return nil, err
	}
	for key, value := range properties {
		if err := noProperty(key); err != nil {
			return nil, err
		}
		fields[key] = value
	}
	for key, value := range map[string]string{"disk_format": f.diskFormat, "container_format": f.containerFormat, "visibility": f.visibility,
		"architecture": f.architecture, "os_distro": f.osDistro, "os_version": f.osVersion} {
		if value != "" {
			fields[key] = value
		}
	}
	for visibility, set := range f.visible {
		if *set {
			fields["visibility"] = visibility
		}
	}
	for flag, field := range map[string]struct {
		name  string
		value any
	}{
		"protected": {"protected", f.protected}, "unprotected": {"protected", !f.unprotected},
		"hidden": {"os_hidden", f.hidden}, "unhidden": {"os_hidden", !f.unhidden},
		"min-disk": {"min_disk", f.minDisk}, "min-ram": {"min_ram", f.minRAM},
	} {
		if cmd.Flags().Changed(flag) {
			fields[field.name] = field.value
		}
	}
	if f.minDisk < 0 || f.minRAM < 0 {
		return nil, show.UsageError("--min-disk and --min-ram are 0 or more")
	}
	for property, ref := range map[string]string{"kernel_id": f.kernel, "ramdisk_id": f.ramdisk} {
		if ref == "" {
			continue
		}
		image, err := imageKind.find(ctx, s, ref)
		if err != nil {
			return nil, err
		}
		fields[property] = show.Text(image, "id")
	}
	if f.project != "" {
		if fields["owner"], err = projectID(ctx, s, f.project); err != nil {
			return nil, err
		}
	}
	return fields, nil
}
