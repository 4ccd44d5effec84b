package cli

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

var imageKind = &kind{
	noun: "image", service: "image", path: "images", plural: "images", byName: imageName, listHint: "slipway image list",
	// Glance's plain list leaves out what is hidden, other projects' community images, and shared ones not yet accepted.
	wider: []url.Values{{"os_hidden": {"true"}}, {"visibility": {"all"}, "member_status": {"all"}},
		{"visibility": {"all"}, "member_status": {"all"}, "os_hidden": {"true"}}},
	kept: func(image show.Object) string {
		if protected, _ := image["protected"].(bool); protected {
			return "it is protected: slipway image set " + show.Text(image, "id") + " --unprotected"
		}
		return ""
	},
	layout: show.Layout{
		List: []show.Column{
			show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("STATUS", "status"), show.Col("FORMAT", "disk_format"), show.SizeColumn("SIZE", "size"),
			show.Col("VISIBILITY", "visibility"), show.Col("CONTAINER", "container_format").OnlyWide(), show.Col("MIN DISK", "min_disk").OnlyWide(),
			show.Col("MIN RAM", "min_ram").OnlyWide(), show.Col("PROTECTED", "protected").OnlyWide(), show.Col("STORES", "stores").OnlyWide(),
			show.Col("CHECKSUM", "checksum").OnlyWide(), show.Col("TAGS", "tags").OnlyWide(), show.Col("OWNER", "owner").OnlyWide(), show.Col("CREATED", "created_at").OnlyWide(),
		},
		Show: []show.Column{
			show.Col("ID", "id"), show.Col("NAME", "name"), show.Col("STATUS", "status"), show.Col("VISIBILITY", "visibility"), show.Col("PROTECTED", "protected"),
			show.Col("HIDDEN", "os_hidden"), show.Col("DISK FORMAT", "disk_format"), show.Col("CONTAINER FORMAT", "container_format"), show.SizeColumn("SIZE", "size"),
			show.SizeColumn("VIRTUAL SIZE", "virtual_size"), show.Col("MIN DISK", "min_disk"), show.Col("MIN RAM", "min_ram"), show.Col("CHECKSUM", "checksum"),
			show.Col("HASH ALGO", "os_hash_algo"), show.Col("HASH", "os_hash_value"), show.Col("STORES", "stores"), show.Col("IMPORTING TO", "os_glance_importing_to_stores"),
			show.Col("FAILED STORES", "os_glance_failed_import"), show.Col("TAGS", "tags"),
			show.Computed("PROPERTIES", imageProperties), show.Col("OWNER", "owner"), show.Col("CREATED", "created_at"), show.Col("UPDATED", "updated_at"),
		},
	},
}

// imageName narrows the list to a name. Glance takes what stands before a colon for an operator ("gt:", "in:"); behind "eq:"
// everything is text.
func imageName(name string) url.Values {
	if strings.Contains(name, ":") {
		name = "eq:" + name
	}
	return filterName(name)
}

// imageFields are the members of Glance's image schema; any other member with text in it is a property of the image. The
// text is the flag that sets the member, "" where users set none.
var imageFields = map[string]string{
	"id": "--id", "name": "--name", "visibility": "--visibility", "protected": "--protected", "os_hidden": "--hidden", "owner": "--project",
	"disk_format": "--disk-format", "container_format": "--container-format", "min_disk": "--min-disk", "min_ram": "--min-ram", "tags": "--tag",
	"status": "", "size": "", "virtual_size": "", "checksum": "", "os_hash_algo": "", "os_hash_value": "", "created_at": "", "updated_at": "",
	"self": "", "file": "", "schema": "", "direct_url": "", "locations": "", "stores": "",
}

// importState begins the properties in which the API tells how far imports are; no user sets them.
const importState = "os_glance_"

func imageProperties(o show.Object) string {
	properties := show.Object{}
	for key, value := range o {
		if _, field := imageFields[key]; !field && !strings.HasPrefix(key, importState) {
			if _, isText := value.(string); isText {
				properties[key] = value
			}
		}
	}
	if len(properties) == 0 {
		return ""
	}
	return show.TextOf(properties)
}

// noProperty refuses what is a field of its own, or the API's alone.
func noProperty(key string) error {
	flag, field := imageFields[key]
	switch {
	case field && flag == "":
		return show.UsageError("%s is set by the API alone", key)
	case field:
		return show.UsageError("%s is a field of the image and no property: use %s", key, flag)
	case strings.HasPrefix(key, importState):
		return show.UsageError("%s is set by the API alone", key)
	}
	return nil
}

var (
	diskFormats      = []string{"qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "iso", "aki", "ari", "ami", "ploop"}
	containerFormats = []string{"bare", "aki", "ari", "ami", "ovf", "ova", "docker", "compressed"}
	visibilities     = []string{"public", "private", "community", "shared"}
	imageStatuses    = []string{"queued", "saving", "uploading", "importing", "active", "deactivated", "killed", "deleted", "pending_delete"}
	memberStatuses   = []string{"accepted", "pending", "rejected", "all"}
)

// offerFixed completes a flag with values that never change.
func offerFixed(cmd *cobra.Command, flag string, values []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func (c *client) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Aliases: []string{"images"},
		Short:   "Upload, import, list, share, change, save and delete images",
		Long: `Images are what servers are built from. The verbs and flags are named as those of "openstack image" where it has one.

An image is queued until it has bytes; they come by create or upload, or by import: from an address (web-download), from
bytes that were staged (glance-direct), or from another store (copy-image).`,
		Example: "  slipway image create debian-12 --file debian-12.qcow2\n  slipway image list --visibility public --sort name:asc\n  slipway image save debian-12 --file debian-12.qcow2",
	}
	cmd.AddCommand(
		c.imageCreate(), c.imageUpload(), c.imageStage(), c.imageImport(), c.imageImportInfo(), c.imageSave(),
		c.imageList(), c.showCommand(imageKind, "  slipway image show debian-12\n  slipway image show debian-12 -o json"),
		c.imageSet(), c.imageUnset(), c.imageDelete(), c.imageDeactivate(), c.imageReactivate(),
		c.imageMemberCommand(), c.imageMetadefCommand(), c.imageTaskCommand(), c.imageStoreCommand(), c.imageOrphansCommand(),
	)
	return cmd
}

// badImage is an image that cannot be what a verb needs.
func badImage(image show.Object, format string, args ...any) *show.Error {
	return &show.Error{Code: show.ExitRefused, What: fmt.Sprintf("the image %q %s", imageKind.layout.Label(image), fmt.Sprintf(format, args...)),
		Reason: "its status is " + show.Text(image, "status")}
}
