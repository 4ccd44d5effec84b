package cli

import (
	"context"
	"crypto/md5" //nolint:gosec // Glance's "checksum" is an MD5; the SHA-512 beside it is what is trusted where there is one
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

var imageKind = &kind{
	noun: "image", service: "image", path: "images", plural: "images", byName: filterName, listHint: "slipway image list",
	layout: layout{
		list: []column{
			col("ID", "id"), col("NAME", "name"), col("STATUS", "status"), col("FORMAT", "disk_format"), sizeColumn("SIZE", "size"),
			col("VISIBILITY", "visibility"), col("CONTAINER", "container_format").onlyWide(), col("MIN DISK", "min_disk").onlyWide(),
			col("MIN RAM", "min_ram").onlyWide(), col("TAGS", "tags").onlyWide(), col("OWNER", "owner").onlyWide(), col("CREATED", "created_at").onlyWide(),
		},
		show: []column{
			col("ID", "id"), col("NAME", "name"), col("STATUS", "status"), col("VISIBILITY", "visibility"), col("PROTECTED", "protected"),
			col("DISK FORMAT", "disk_format"), col("CONTAINER FORMAT", "container_format"), sizeColumn("SIZE", "size"),
			sizeColumn("VIRTUAL SIZE", "virtual_size"), col("MIN DISK", "min_disk"), col("MIN RAM", "min_ram"), col("CHECKSUM", "checksum"),
			col("HASH", "os_hash_value"), col("TAGS", "tags"), computed("PROPERTIES", imageProperties), col("OWNER", "owner"),
			col("CREATED", "created_at"), col("UPDATED", "updated_at"),
		},
	},
}

// imageFields are the members of Glance's image schema; any other member with text in it is a property of the image.
var imageFields = map[string]bool{
	"id": true, "name": true, "status": true, "visibility": true, "protected": true, "disk_format": true, "container_format": true,
	"size": true, "virtual_size": true, "min_disk": true, "min_ram": true, "checksum": true, "os_hash_algo": true, "os_hash_value": true,
	"os_hidden": true, "tags": true, "owner": true, "created_at": true, "updated_at": true, "self": true, "file": true, "schema": true,
	"direct_url": true, "locations": true, "stores": true,
}

func imageProperties(o object) string {
	properties := object{}
	for key, value := range o {
		if _, isText := value.(string); isText && !imageFields[key] {
			properties[key] = value
		}
	}
	if len(properties) == 0 {
		return ""
	}
	return textOf(properties)
}

func (c *client) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "image",
		Aliases: []string{"images"},
		Short:   "Upload, list, show, save and delete images",
		Example: "  slipway image create debian-12 --file debian-12.qcow2 --disk-format qcow2\n  slipway image list",
	}
	cmd.AddCommand(c.imageCreate(), c.imageList(),
		c.showCommand(imageKind, "  slipway image show debian-12"),
		c.deleteCommand(imageKind, "  slipway image delete debian-11 debian-10"), c.imageSave())
	return cmd
}

func (c *client) imageList() *cobra.Command {
	var name, status, visibility, tag string
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List images",
		Long:    "List the images that the project can use. All of them, page by page, unless --limit is given.",
		Example: "  slipway image list\n  slipway image list --visibility public -o wide",
		Args:    cobra.NoArgs,
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, _ []string) error {
			query := url.Values{}
			for key, value := range map[string]string{"name": name, "status": status, "visibility": visibility, "tag": tag} {
				if value != "" {
					query.Set(key, value)
				}
			}
			if limit > 0 {
				query.Set("limit", strconv.Itoa(limit))
			}
			images, err := s.list(ctx, imageKind, query)
			if err != nil {
				return doing(err, "list the images")
			}
			return c.output.many(cmd.OutOrStdout(), &imageKind.layout, images)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "only this name")
	flags.StringVar(&status, "status", "", "only this status: active, queued, saving")
	flags.StringVar(&visibility, "visibility", "", "only this visibility: public, private, shared, community")
	flags.StringVar(&tag, "tag", "", "only with this tag")
	flags.IntVar(&limit, "limit", 0, "at most this many")
	return cmd
}

func (c *client) imageCreate() *cobra.Command {
	var file, diskFormat, containerFormat, visibility, id string
	var properties, tags []string
	var minDisk, minRAM int
	var protected bool
	cmd := &cobra.Command{
		Use:   "create NAME --file F",
		Short: "Upload an image",
		Long: `Upload an image from a file. What the API stored is compared with what was read (SHA-512, or MD5 where the API has no
more); if anything goes wrong, or on Ctrl-C, the half-made image is removed again.

Kernel and ramdisk images have the formats aki and ari; an image that boots with them names them by the properties
kernel_id and ramdisk_id.`,
		Example: `  slipway image create debian-12 --file debian-12.qcow2
  slipway image create tiny --file tiny.raw --disk-format raw --min-disk 1 --property hw_disk_bus=virtio
  slipway image create vmlinuz --file vmlinuz --disk-format aki --container-format aki`,
		Args: cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			more, err := pairs("property", properties)
			if err != nil {
				return err
			}
			source, err := os.Open(file)
			if err != nil {
				return doing(err, "read the image")
			}
			defer source.Close()
			info, err := source.Stat()
			if err != nil {
				return doing(err, "read the image")
			}
			if !info.Mode().IsRegular() {
				return usage("--file %s is no regular file", file)
			}
			fields := object{"name": args[0], "disk_format": diskFormat, "container_format": containerFormat}
			for key, value := range more {
				fields[key] = value
			}
			if id != "" {
				fields["id"] = id
			}
			if visibility != "" {
				fields["visibility"] = visibility
			}
			if minDisk > 0 {
				fields["min_disk"] = minDisk
			}
			if minRAM > 0 {
				fields["min_ram"] = minRAM
			}
			if len(tags) > 0 {
				fields["tags"] = tags
			}
			if protected {
				fields["protected"] = true
			}
			return c.upload(ctx, cmd, s, args[0], fields, source, info.Size())
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&file, "file", "", "the image (required)")
	flags.StringVar(&diskFormat, "disk-format", "qcow2", "qcow2, raw, vmdk, vdi, vhd, vhdx, iso, aki, ari, ami")
	flags.StringVar(&containerFormat, "container-format", "bare", "bare, aki, ari, ami")
	flags.StringArrayVar(&properties, "property", nil, "property key=value (repeat)")
	flags.IntVar(&minDisk, "min-disk", 0, "smallest disk it boots with, GiB")
	flags.IntVar(&minRAM, "min-ram", 0, "least memory it boots with, MiB")
	flags.StringVar(&visibility, "visibility", "", "public (admin), private, shared, community")
	flags.StringVar(&id, "id", "", "the image's id (default: the API makes one)")
	flags.StringArrayVar(&tags, "tag", nil, "tag (repeat)")
	flags.BoolVar(&protected, "protected", false, "refuse to delete it")
	_ = cmd.MarkFlagRequired("file")
	_ = cmd.RegisterFlagCompletionFunc("visibility", cobra.FixedCompletions([]string{"public", "private", "shared", "community"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("disk-format", cobra.FixedCompletions([]string{"qcow2", "raw", "vmdk", "vdi", "vhd", "vhdx", "iso", "aki", "ari", "ami"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// cleanUpPatience bounds the removal of what an interrupted command began.
const cleanUpPatience = 30 * time.Second

// upload makes the image, sends its bytes and checks what arrived. It leaves an image only when all of that worked.
func (c *client) upload(ctx context.Context, cmd *cobra.Command, s *session, name string, fields object, source io.ReadSeeker, size int64) (err error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	image, err := s.create(ctx, imageKind, fields)
	if err != nil {
		return doing(err, "create the image %q", name)
	}
	id := text(image, "id")
	if id == "" {
		return &Error{Code: ExitFailed, What: fmt.Sprintf("the API made the image %q without telling its id", name)}
	}
	defer func() {
		if err == nil {
			return
		}
		// The user's context may be gone; what was begun is taken back all the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpPatience)
		defer cancel()
		if _, _, undo := s.call(ctx, request{service: "image", method: http.MethodDelete, path: imageKind.item(id)}); undo != nil && !isStatus(undo, http.StatusNotFound) {
			failure := *explain(err)
			failure.Hints = append(slices.Clone(failure.Hints), "the image could not be removed again ("+undo.Error()+"): slipway image delete "+id)
			err = &failure
		}
	}()
	sums := newChecksums()
	t := c.newTransfer(cmd.ErrOrStderr(), "uploaded", name, size)
	body := &countingReader{source: source, transfer: t, onRead: sums.write, onRewind: sums.reset}
	_, _, err = s.call(ctx, request{service: "image", method: http.MethodPut, path: imageKind.item(id, "file"), raw: body,
		headers: map[string]string{"Content-Type": "application/octet-stream"}})
	t.end(err == nil)
	if err != nil {
		return doing(err, "upload the image %q", name)
	}
	stored, err := s.get(ctx, imageKind, id)
	if err != nil {
		return doing(err, "read the uploaded image %q", name)
	}
	if err := sums.compare(stored, t.done); err != nil {
		return &Error{Code: ExitFailed, What: fmt.Sprintf("the image %q did not arrive whole", name), Reason: err.Error(), Hints: []string{"upload it again"}}
	}
	return c.output.one(cmd.OutOrStdout(), &imageKind.layout, stored)
}

// checksums are the two hashes that Glance keeps of an image.
type checksums struct{ md5, sha512 hash.Hash }

func newChecksums() *checksums { return &checksums{md5: md5.New(), sha512: sha512.New()} } //nolint:gosec // see the import

func (s *checksums) write(p []byte) { s.md5.Write(p); s.sha512.Write(p) }
func (s *checksums) reset()         { s.md5.Reset(); s.sha512.Reset() }

var errNoChecksum = errors.New("the API keeps no checksum of this image, so nothing vouches for its bytes")

// compare holds the bytes that went through against what the API says of the image.
func (s *checksums) compare(image object, n int64) error {
	if size, ok := number(image, "size"); ok && size != n {
		return fmt.Errorf("it has %d bytes, the API says %d", n, size)
	}
	for _, sum := range []struct {
		name, want string
		hash       hash.Hash
	}{
		{"SHA-512", onlyIf(text(image, "os_hash_algo") == "sha512", text(image, "os_hash_value")), s.sha512},
		{"MD5", text(image, "checksum"), s.md5},
	} {
		if sum.want == "" {
			continue
		}
		if got := hex.EncodeToString(sum.hash.Sum(nil)); got != sum.want {
			return fmt.Errorf("its %s is %s, the API says %s", sum.name, got, sum.want)
		}
		return nil
	}
	return errNoChecksum
}

func onlyIf(condition bool, value string) string {
	if condition {
		return value
	}
	return ""
}

func (c *client) imageSave() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "save REF --file F",
		Short: "Download an image",
		Long: `Download an image and verify its checksum. The file appears under its name only when it is whole and verified; it
replaces one of the same name. --file - writes to standard output: then look at the exit code before the bytes are used.`,
		Example:           "  slipway image save debian-12 --file debian-12.qcow2",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: c.complete(imageKind, false),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session, args []string) error {
			image, err := s.find(ctx, imageKind, args[0])
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
			defer stop()
			return c.download(ctx, cmd, s, image, file)
		}),
	}
	cmd.Flags().StringVar(&file, "file", "", "where to write it, - for standard output (required)")
	_ = cmd.MarkFlagRequired("file")
	return cmd
}

func (c *client) download(ctx context.Context, cmd *cobra.Command, s *session, image object, file string) (err error) {
	label := imageKind.layout.label(image)
	answer, err := s.send(ctx, request{service: "image", method: http.MethodGet, path: imageKind.item(text(image, "id"), "file")})
	if err != nil {
		return doing(err, "download the image %q", label)
	}
	defer answer.Body.Close()
	if answer.StatusCode == http.StatusNoContent {
		return &Error{Code: ExitRefused, What: fmt.Sprintf("the image %q has no bytes", label), Reason: "its status is " + text(image, "status")}
	}
	target := cmd.OutOrStdout()
	var part *os.File
	if file != "-" {
		if part, err = os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".part-*"); err != nil {
			return doing(err, "write %s", file)
		}
		defer func() {
			part.Close()
			if err != nil {
				os.Remove(part.Name())
			}
		}()
		target = part
	}
	size, _ := number(image, "size")
	sums := newChecksums()
	t := c.newTransfer(cmd.ErrOrStderr(), "saved", label, size)
	_, err = io.Copy(target, io.TeeReader(answer.Body, writerFunc(func(p []byte) (int, error) {
		sums.write(p)
		t.add(len(p))
		return len(p), nil
	})))
	t.end(err == nil)
	if err != nil {
		return doing(err, "download the image %q", label)
	}
	if err := sums.compare(image, t.done); err != nil {
		return &Error{Code: ExitFailed, What: fmt.Sprintf("the image %q did not arrive whole", label), Reason: err.Error(), Hints: []string{"try again"}}
	}
	if part == nil {
		return nil
	}
	if err := part.Chmod(0o644); err != nil {
		return doing(err, "write %s", file)
	}
	if err := part.Close(); err != nil {
		return doing(err, "write %s", file)
	}
	return doing(os.Rename(part.Name(), file), "write %s", file)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
