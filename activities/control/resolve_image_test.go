package control

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagesignature"
	"github.com/slipway-cloud/slipway/models"
)

func TestAResolvedImageHasTheEC2IDOfItsContainerFormat(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	store, err := models.Open(ctx, testenv.Migrated(t), models.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	_, err = store.EnsureProject(ctx, models.Project{ID: "p1", Name: "p1", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	image := func(format string, properties map[string]string) string {
		i, err := store.CreateImage(ctx, models.Image{
			ID: uuid.NewString(), OwnerID: "p1", Visibility: "private", DiskFormat: &format, ContainerFormat: &format, Properties: properties,
		}, nil)
		require.NoError(t, err)
		_, err = store.MoveImage(ctx, i.ID, models.ImageMove{To: models.ImageSaving})
		require.NoError(t, err)
		_, err = store.MoveImage(ctx, i.ID, models.ImageMove{To: models.ImageActive, Bytes: &models.ImageBytes{Size: 1, SHA512: "00"}})
		require.NoError(t, err)
		return i.ID
	}
	kernel, ramdisk := image("aki", nil), image("ari", nil)
	root := image("ami", map[string]string{"kernel_id": kernel, "ramdisk_id": ramdisk})

	a := New(Options{Store: store})
	in := contract.ResolveImageInput{ProjectID: "p1", ImageID: root, Flavor: contract.Flavor{DiskGiB: 1}}
	got, err := a.ResolveImage(ctx, in)
	require.NoError(t, err)
	for id, c := range map[string]struct {
		kind  ids.EC2Kind
		image contract.Image
	}{
		root: {ids.EC2Machine, got.Root}, kernel: {ids.EC2Kernel, *got.Kernel}, ramdisk: {ids.EC2Ramdisk, *got.Ramdisk},
	} {
		require.Equal(t, id, c.image.ID)
		kind, number, err := ids.ParseEC2Image(c.image.EC2ID)
		require.NoError(t, err)
		require.Equal(t, c.kind, kind)
		back, err := store.ImageByEC2ID(ctx, number)
		require.NoError(t, err)
		require.Equal(t, id, back)
	}
	again, err := a.ResolveImage(ctx, in)
	require.NoError(t, err)
	require.Equal(t, got, again, "the next build gets the same")

	// One that is asked for stands in place of the image's, wherever that is looked at.
	other := image("aki", nil)
	in.KernelID = other
	got, err = a.ResolveImage(ctx, in)
	require.NoError(t, err)
	require.Equal(t, []string{other, ramdisk, other}, []string{got.Kernel.ID, got.Ramdisk.ID, got.Root.Properties["kernel_id"]})
	stored, err := store.Image(ctx, root)
	require.NoError(t, err)
	require.Equal(t, kernel, stored.Properties["kernel_id"])
}

func TestABuildUsesTheImagesThatItsAskerSees(t *testing.T) {
	ctx, store := newStore(t)
	for _, project := range []string{"p2", "p3"} {
		_, err := store.EnsureProject(ctx, models.Project{ID: project, Name: project, DomainID: "default", Enabled: true})
		require.NoError(t, err)
	}
	private, shared, kernel := uuid.NewString(), uuid.NewString(), uuid.NewString()
	activeImage(t, store, models.Image{ID: kernel})
	activeImage(t, store, models.Image{ID: private, Properties: map[string]string{"kernel_id": kernel}})
	activeImage(t, store, models.Image{ID: shared})
	_, err := store.UpdateImage(ctx, shared, models.ImageUpdate{Visibility: new("shared")})
	require.NoError(t, err)
	_, err = store.AddImageMember(ctx, shared, "p2", 1, func(models.ImageMember) models.Notification {
		return models.Notification{EventType: "image.member.create", ResourceID: shared, Payload: []byte("{}")}
	})
	require.NoError(t, err)
	a := New(Options{Store: store})
	for _, c := range []struct {
		project, image string
		roles          []string
		sees           bool
	}{
		{"p1", private, []string{"member"}, true},
		{"p1", private, nil, true}, // as an older version asks
		{"p2", private, []string{"member"}, false},
		{"p2", private, []string{"admin"}, true}, // with its kernel, another project's too
		{"p2", private, nil, false},
		{"p2", shared, []string{"member"}, true},
		{"p3", shared, []string{"member"}, false},
		{"p3", shared, []string{"admin"}, true},
		{"p3", uuid.NewString(), []string{"admin"}, false},
	} {
		_, err := a.ResolveImage(ctx, contract.ResolveImageInput{ProjectID: c.project, Roles: c.roles, ImageID: c.image, Flavor: contract.Flavor{DiskGiB: 1}})
		if c.sees {
			require.NoError(t, err, "%v", c)
		} else {
			require.Equal(t, "Can not find requested image", fault.Public(err), "%v", c)
		}
	}
}

func TestAnImageHasToBeSignedWithATrustedCertificateWhereSomeAreNamed(t *testing.T) {
	ctx, store := newStore(t)
	a := New(Options{Store: store})
	signed := func(certificate string) map[string]string {
		properties := map[string]string{}
		for _, name := range imagesignature.Properties() {
			properties[name] = "x"
		}
		properties[imagesignature.CertificateUUID] = certificate
		return properties
	}
	ours, other := uuid.NewString(), uuid.NewString()
	kernel := uuid.NewString()
	activeImage(t, store, models.Image{ID: kernel})
	withKernel := signed(ours)
	withKernel["kernel_id"] = kernel
	half := signed(ours)
	delete(half, imagesignature.Signature)
	for name, c := range map[string]struct {
		properties map[string]string
		trusted    []string
		refusal    string
	}{
		"none named":           {nil, nil, ""},
		"one of them":          {signed(ours), []string{other, strings.ToUpper(ours)}, ""},
		"another":              {signed(ours), []string{other}, "Image signature certificate validation failed for certificate: " + ours + "."},
		"not signed":           {nil, []string{ours}, "Required image properties for signature verification do not exist."},
		"half signed":          {half, []string{ours}, "Missing property of image"},
		"a kernel that is not": {withKernel, []string{ours}, "Missing property of image " + kernel},
	} {
		t.Run(name, func(t *testing.T) {
			id := uuid.NewString()
			activeImage(t, store, models.Image{ID: id, Properties: c.properties})
			_, err := a.ResolveImage(ctx, contract.ResolveImageInput{
				ServerID: uuid.NewString(), ProjectID: "p1", ImageID: id, Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1}, TrustedCertificates: c.trusted,
			})
			if c.refusal == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.Invalid, fault.KindOf(err), "%v", err)
			require.Contains(t, fault.Public(err), c.refusal)
		})
	}
}

func TestAnImageSaysWhetherItsFilesystemIsGrownAndMayForbidIt(t *testing.T) {
	ctx, store := newStore(t)
	a := New(Options{Store: store})
	for _, c := range []struct {
		word         string
		asked, found *bool
		refused      bool
	}{
		{"", nil, nil, false},
		{"", new(true), nil, false},
		{"True", nil, new(true), false},
		{"no", new(true), new(false), false},
		{"disabled", nil, new(false), false},
		{"disabled", new(false), new(false), false},
		{"Disabled", new(true), nil, true},
	} {
		id := uuid.NewString()
		activeImage(t, store, models.Image{ID: id, Properties: map[string]string{"auto_disk_config": c.word}})
		got, err := a.ResolveImage(ctx, contract.ResolveImageInput{
			ServerID: uuid.NewString(), ProjectID: "p1", ImageID: id, Flavor: contract.Flavor{VCPUs: 1, RAMMiB: 128, DiskGiB: 1}, AutoDiskConfig: c.asked,
		})
		if c.refused {
			require.Equal(t, fault.Invalid, fault.KindOf(err))
			require.Equal(t, "Requested image "+id+" has automatic disk resize disabled.", fault.Public(err))
			continue
		}
		require.NoError(t, err)
		require.Equal(t, c.found, got.AutoDiskConfig, "%+v", c)
		server := contract.Server{AutoDiskConfig: c.asked}.Of(got)
		grow := contract.ServerFacts{Server: server, Spec: contract.ServerSpec{Image: got}}.BuildDisk().Grow
		require.Equal(t, c.asked != nil && *c.asked || c.asked == nil && c.word == "True", grow, "%+v", c)
	}
}
