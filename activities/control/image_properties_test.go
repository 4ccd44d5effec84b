package control

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/imagestore"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

func newStore(t *testing.T) (context.Context, *models.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	store, err := models.Open(ctx, testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(ctx, models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	return ctx, store
}

// withImages are the activities of a control plane that has an image store, in a folder of its own.
func withImages(t *testing.T, options Options) *Activities {
	t.Helper()
	stores, err := imagestore.OpenStores(imagestore.Settings{Dir: t.TempDir(), Locks: imagestore.FolderLocks(t.TempDir())})
	require.NoError(t, err)
	options.Logger = slog.New(slog.DiscardHandler)
	options.Images = images.New(options.Store, stores, images.Config{MaxBytes: 1 << 30}, options.Logger)
	return New(options)
}

// activeImage makes an image of 1 GiB of project p1 as an upload leaves it.
func activeImage(t *testing.T, store *models.Store, image models.Image) {
	t.Helper()
	image.OwnerID, image.Visibility, image.DiskFormat, image.ContainerFormat = "p1", "private", new("raw"), new("bare")
	_, err := store.CreateImage(t.Context(), image, nil)
	require.NoError(t, err)
	_, err = store.MoveImage(t.Context(), image.ID, models.ImageMove{To: models.ImageSaving})
	require.NoError(t, err)
	_, err = store.MoveImage(t.Context(), image.ID, models.ImageMove{To: models.ImageActive, Bytes: &models.ImageBytes{Size: 1 << 30, Virtual: 1 << 30, SHA512: "00"}})
	require.NoError(t, err)
}

func TestAnImagesPropertiesAreReadBeforeAnythingIsTaken(t *testing.T) {
	ctx, store := newStore(t)
	var log bytes.Buffer
	a := New(Options{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})

	for name, c := range map[string]struct {
		properties map[string]string
		minDisk    int
		minRAM     int
		want       contract.ResolvedImage // without its images
		refusal    string
	}{
		"nothing said":         {want: contract.ResolvedImage{RootDevice: "/dev/vda"}},
		"a bus of its own":     {properties: map[string]string{"hw_disk_bus": "scsi"}, want: contract.ResolvedImage{RootDevice: "/dev/sda"}},
		"what a build obeys":   {properties: map[string]string{"architecture": "amd64", "hw_firmware_type": "uefi", "img_config_drive": "mandatory", "img_config_drive_format": "vfat"}, want: contract.ResolvedImage{RootDevice: "/dev/vda", Architecture: "x86_64", UEFI: true, ConfigDrive: true, DriveFormat: "vfat"}},
		"aarch64 starts by it": {properties: map[string]string{"architecture": "arm64"}, want: contract.ResolvedImage{RootDevice: "/dev/vda", Architecture: "aarch64", UEFI: true}},
		"a bus that is none":   {properties: map[string]string{"hw_disk_bus": "floppy"}, refusal: "Invalid image metadata. Error: Field value floppy is invalid. Image property hw_disk_bus may be virtio, scsi, sata, ide, usb."},
		"a drive that is none": {properties: map[string]string{"img_config_drive": "always"}, refusal: "Image's config drive option 'always' is invalid. It may be mandatory, optional."},
		"a ramdisk alone":      {properties: map[string]string{"ramdisk_id": "itself"}, refusal: "names a ramdisk_id but no kernel_id."},
		"a kernel that is not": {properties: map[string]string{"kernel_id": uuid.NewString()}, refusal: ": Can not find requested image"},
		"too much memory":      {minRAM: 129, refusal: "Flavor's memory is too small for requested image."},
		"too large a disk":     {minDisk: 2, refusal: "Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is 1073741824 bytes, minimum size is 2147483648 bytes."},
	} {
		t.Run(name, func(t *testing.T) {
			id := uuid.NewString()
			if c.properties["ramdisk_id"] == "itself" {
				c.properties["ramdisk_id"] = id
			}
			activeImage(t, store, models.Image{ID: id, MinDiskGiB: c.minDisk, MinRAMMiB: c.minRAM, Properties: c.properties})
			got, err := a.ResolveImage(ctx, contract.ResolveImageInput{
				ServerID: uuid.NewString(), ProjectID: "p1", ImageID: id, Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1},
			})
			if c.refusal != "" {
				require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
				require.Contains(t, fault.Public(err), c.refusal)
				return
			}
			require.NoError(t, err)
			require.Equal(t, id, got.Root.ID)
			got.Root = contract.Image{}
			require.Equal(t, c.want, got)
		})
	}
	require.Empty(t, log.String(), "what is obeyed needs no word")
}

func TestDisksAreNamedAsTheGuestOfTheImageNamesThem(t *testing.T) {
	ctx, store := newStore(t)
	a := New(Options{Store: store})
	asked := []contract.BlockDevice{
		{Role: contract.RootDisk, Bus: "sata"}, {Role: contract.EphemeralDisk}, {Role: contract.EphemeralDisk, Bus: "usb"},
		{Role: contract.EphemeralDisk, Device: "cdrom"}, {Role: contract.SwapDisk, Bus: "ide"},
	}
	for name, c := range map[string]struct {
		image   models.Image
		want    []string
		refusal string
	}{
		"virtio otherwise": {want: []string{"/dev/sda", "/dev/vda", "/dev/sdb", "/dev/sr0", "/dev/sdc"}},
		"scsi otherwise":   {image: models.Image{Properties: map[string]string{"hw_disk_bus": "scsi"}}, want: []string{"/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/sr0", "/dev/sdd"}},
		"no ide":           {image: models.Image{Properties: map[string]string{"hw_machine_type": "q35"}}, refusal: "A disk's disk_bus is ide, and the image's machine type q35 (hw_machine_type) has no IDE controller: use virtio, scsi or sata."},
	} {
		t.Run(name, func(t *testing.T) {
			c.image.ID = uuid.NewString()
			activeImage(t, store, c.image)
			got, err := a.ResolveImage(ctx, contract.ResolveImageInput{
				ServerID: uuid.NewString(), ProjectID: "p1", ImageID: c.image.ID, Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1}, BlockDevices: asked,
			})
			if c.refusal != "" {
				require.Equal(t, c.refusal, fault.Public(err))
				return
			}
			require.NoError(t, err)
			paths := make([]string, len(got.BlockDevices))
			for i, d := range got.BlockDevices {
				paths[i] = d.Path
			}
			require.Equal(t, c.want, paths)
			require.Equal(t, "/dev/sda", got.RootDevice)
			require.Empty(t, asked[0].Path, "the request stays as it is")
		})
	}
}

func TestWhatABuildDoesNotObeyIsInTheLogWithTheReason(t *testing.T) {
	ctx, store := newStore(t)
	image := uuid.NewString()
	activeImage(t, store, models.Image{ID: image, Properties: map[string]string{"hw_watchdog_action": "reset", "of_my_own": "kept"}})
	var log bytes.Buffer
	server := uuid.NewString()
	got, err := New(Options{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))}).ResolveImage(ctx, contract.ResolveImageInput{
		ServerID: server, ProjectID: "p1", ImageID: image, Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1},
	})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"hw_watchdog_action": "reset", "of_my_own": "kept"}, got.Root.Properties)
	require.Contains(t, log.String(), "server_id="+server)
	require.Contains(t, log.String(), "property=hw_watchdog_action")
	require.Contains(t, log.String(), "watchdog")
	require.NotContains(t, log.String(), "of_my_own")
}

func TestAFlavorThatAsksForWhatNobodyKeepsIsRefusedBeforeAnythingIsTaken(t *testing.T) {
	ctx, store := newStore(t)
	image := uuid.NewString()
	activeImage(t, store, models.Image{ID: image})
	var log bytes.Buffer
	a := New(Options{Store: store, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	with := func(specs map[string]string) error {
		_, err := a.ResolveImage(ctx, contract.ResolveImageInput{
			ServerID: uuid.NewString(), ProjectID: "p1", ImageID: image, Flavor: contract.Flavor{ID: "f", VCPUs: 1, RAMMiB: 128, DiskGiB: 1, ExtraSpecs: specs},
		})
		return err
	}
	err := with(map[string]string{"trait:CUSTOM_FAST": "required"})
	require.Equal(t, fault.Invalid, fault.KindOf(err))
	require.Contains(t, fault.Public(err), "trait:CUSTOM_FAST")
	require.NoError(t, with(map[string]string{"of:my_own": "kept", "hw:watchdog_action": "reset"}))
	require.Contains(t, log.String(), "extra_spec=hw:watchdog_action")
	require.NotContains(t, log.String(), "of:my_own")
}
