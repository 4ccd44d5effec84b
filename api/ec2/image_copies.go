package ec2

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

type copyImage struct {
	Name        string  `ec2:"Name,required"`
	Source      string  `ec2:"SourceImageId,required"`
	Region      string  `ec2:"SourceRegion,required"` // any: there is one, whatever clients call it
	Description *string `ec2:"Description"`
	Token       string  `ec2:"ClientToken"`

	Tags      refused `ec2:"TagSpecification" why:"images have no tags here"`
	CopyTags  refused `ec2:"CopyImageTags" why:"images have no tags here"`
	Encrypted refused `ec2:"Encrypted" why:"there are no encrypted images"`
	Key       refused `ec2:"KmsKeyId" why:"there are no encrypted images"`
	Outpost   refused `ec2:"DestinationOutpostArn" why:"there are no outposts"`
	Minutes   refused `ec2:"SnapshotCopyCompletionDurationMinutes" why:"a copy takes as long as it takes"`
	Zone      refused `ec2:"DestinationAvailabilityZone" why:"an image is in no zone"`
}

// copyRequest is the property that tells requests under one ClientToken apart, and of RegisterImage those for one name.
const copyRequest = imagepolicy.InternalPrefix + "_copy_request"

// copyImage makes another image of an image's bytes, which is pending until they are there. Under one ClientToken it is one image.
func (a *API) copyImage(ctx context.Context, who asker, in copyImage) (*madeImage, error) {
	id, said := uuid.NewString(), map[string]string{}
	if in.Token != "" {
		if err := checkToken(in.Token); err != nil {
			return nil, err
		}
		id = ids.Copied(who.ProjectID, in.Token)
		said[copyRequest] = hashOf(in.Token, in)
	}
	made, err := a.picturing(who).Get(ctx, id)
	switch {
	case fault.Is(err, fault.NotFound):
	case err != nil:
		return nil, err
	case made.OwnerID != who.ProjectID, made.Properties[copyRequest] != said[copyRequest]:
		return nil, refuse("IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
	case !forgotten(made):
		return a.named(ctx, made.ID)
	}
	from, gone := a.usableBytes(ctx, who, in.Source)
	switch {
	case gone != nil:
		return nil, gone
	case err == nil:
		return a.fill(ctx, who, made, from, in.Token != "")
	}
	return a.copied(ctx, who, id, from, in.Name, in.Description, said, in.Token != "")
}

// forgotten says of an image that no bytes come to it and that none were refused: the process that made it has died in between.
func forgotten(i models.Image) bool {
	return i.Status == models.ImageQueued && i.Properties[models.ImportTaskProperty] == "" && i.Properties[models.ImportFailedProperty] == ""
}

type registerImage struct {
	Name         string  `ec2:"Name,required"`
	Location     string  `ec2:"ImageLocation"`
	Description  *string `ec2:"Description"`
	Kernel       string  `ec2:"KernelId"`
	Ramdisk      string  `ec2:"RamdiskId"`
	Architecture string  `ec2:"Architecture"`
	RootDevice   string  `ec2:"RootDeviceName"`
	Virtual      string  `ec2:"VirtualizationType"`

	Devices  refused `ec2:"BlockDeviceMapping" why:"an image is of the root disk, and there are no volumes"`
	Codes    refused `ec2:"BillingProduct" why:"there are no product codes"`
	BootMode refused `ec2:"BootMode" why:"an image's firmware is its property hw_firmware_type"`
	ENA      refused `ec2:"EnaSupport" why:"which network device a guest sees is its image's property hw_vif_model"`
	SRIOV    refused `ec2:"SriovNetSupport" why:"which network device a guest sees is its image's property hw_vif_model"`
	IMDS     refused `ec2:"ImdsSupport" why:"no metadata service here asks for tokens"`
	Tags     refused `ec2:"TagSpecification" why:"images have no tags here"`
	TPM      refused `ec2:"TpmSupport" why:"there is no TPM"`
	UEFI     refused `ec2:"UefiData" why:"an instance's firmware begins with its own variables"`
}

// architectures are EC2's words in those of the image property.
var architectures = map[string]string{"x86_64": "x86_64", "arm64": "aarch64", "i386": "i686"}

// registerImage makes an image of one that is in the store: of a root disk's bytes, and of the kernel and ramdisk that start them, where such
// are named. ImageLocation is the store's image, by an id of EC2's or of the store's, by its name, or as DescribeImages tells it.
func (a *API) registerImage(ctx context.Context, who asker, in registerImage) (*madeImage, error) {
	switch {
	case in.Location == "":
		return nil, missing("ImageLocation")
	case in.Virtual != "" && in.Virtual != "hvm":
		return nil, unsupported("VirtualizationType %s is not supported: instances are of the kind hvm", in.Virtual)
	}
	properties := map[string]string{}
	for _, part := range []struct{ parameter, id, kind, property string }{
		{"KernelId", in.Kernel, "kernel", "kernel_id"}, {"RamdiskId", in.Ramdisk, "ramdisk", "ramdisk_id"},
	} {
		if part.id == "" {
			continue
		}
		i, err := a.usable(ctx, who, part.parameter, part.id, part.kind)
		if err != nil {
			return nil, err
		}
		properties[part.property] = i.ID
	}
	if in.Architecture != "" {
		known, ok := architectures[in.Architecture]
		if !ok {
			return nil, invalid("Value (%s) for parameter architecture is invalid. It is x86_64, arm64 or i386.", in.Architecture)
		}
		properties["architecture"] = known
	}
	if in.RootDevice != "" {
		properties["root_device_name"] = in.RootDevice
	}
	from, err := a.usableBytes(ctx, who, in.Location)
	if err != nil {
		return nil, err
	}
	if from.kind() != "machine" {
		return nil, invalid("The image %s is a %s: ImageLocation has to be of a machine", from.id, from.kind())
	}
	properties[copyRequest] = hashOf(in.Name, in)
	if made, ok, err := a.forgottenUnder(ctx, who, in.Name, properties[copyRequest]); ok || err != nil {
		if err != nil {
			return nil, err
		}
		return a.fill(ctx, who, made, from, true)
	}
	return a.copied(ctx, who, uuid.NewString(), from, in.Name, in.Description, properties, true)
}

// forgottenUnder is the image of a name that the same request has made, when whoever did it died. Another request finds the name taken.
func (a *API) forgottenUnder(ctx context.Context, who asker, name, request string) (made models.Image, ok bool, err error) {
	same, err := a.picturing(who).List(ctx, models.ImageFilter{Names: []string{name}, OwnerID: who.ProjectID, AnyHidden: true})
	if err != nil {
		return models.Image{}, false, err
	}
	at := slices.IndexFunc(same, func(i models.Image) bool { return forgotten(i) && i.Properties[copyRequest] == request })
	if at < 0 {
		return models.Image{}, false, nil
	}
	return same[at], true, nil
}

// usableBytes is an image whose bytes the asker may have.
func (a *API) usableBytes(ctx context.Context, who asker, named string) (image, error) {
	i, err := a.located(ctx, who, named)
	if err != nil {
		return i, err
	}
	if !i.available() {
		return i, refuse(imageUnavailable, "The image ID '%s' is not available: it is %s", i.id, i.state())
	}
	// A list does not say what the asker is to a shared image.
	if i.Image, err = a.picturing(who).Get(ctx, i.ID); err != nil {
		return i, err
	}
	return i, imagepolicy.Check(picturer(who).Caller, imagepolicy.DownloadImage, images.Target(i.Image))
}

// located is the image of an id of the store's, or as DescribeImages tells it (owner/name), or as instances' images are named.
func (a *API) located(ctx context.Context, who asker, named string) (image, error) {
	if owner, name, told := strings.Cut(named, "/"); told { // a name may have a / too
		found, err := a.listImages(ctx, who, models.ImageFilter{OwnerID: owner, Names: []string{name}})
		if err != nil {
			return image{}, err
		}
		if len(found) == 1 {
			return found[0], nil
		}
	}
	name := strings.TrimPrefix(named, who.ProjectID+"/")
	if uuid.Validate(name) != nil {
		return a.imageFor(ctx, who, name)
	}
	found, err := a.listImages(ctx, who, models.ImageFilter{IDs: []string{strings.ToLower(name)}, Visibility: "all", MemberStatus: "all", AnyHidden: true})
	if err != nil {
		return image{}, err
	}
	if len(found) == 0 {
		return image{}, refuse("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", name)
	}
	return found[0], nil
}

// copied makes an image of another's bytes and of what that says of itself, but for what is said otherwise. again says that it is found again
// by who asks for the same.
func (a *API) copied(
	ctx context.Context, who asker, id string, from image, name string, description *string, properties map[string]string, again bool,
) (*madeImage, error) {
	if err := a.free(ctx, who, name); err != nil {
		return nil, err
	}
	if err := a.importer.Can(); err != nil {
		return nil, err
	}
	said := map[string]string{}
	for property, value := range from.Properties {
		if imagepolicy.MayName(property) == nil {
			said[property] = value
		}
	}
	maps.Copy(said, properties)
	if description != nil {
		said[descriptionProperty] = *description
	}
	// Whoever asks may go: what is begun is ended or taken back.
	made, err := a.picturing(who).Add(context.WithoutCancel(ctx), models.Image{
		ID: id, Name: &name, OwnerID: who.ProjectID, Visibility: imagepolicy.Private, DiskFormat: from.DiskFormat, ContainerFormat: from.ContainerFormat,
		MinDiskGiB: from.MinDiskGiB, MinRAMMiB: from.MinRAMMiB, Tags: []string{}, Properties: said,
	})
	if err != nil {
		return nil, err
	}
	return a.fill(ctx, who, made, from, again)
}

// fill has another image's bytes brought to one that has just been made, or takes that back. Where it is found again, an engine that does not
// answer leaves it: who asks for the same goes on with it, under an id that is given once.
func (a *API) fill(ctx context.Context, who asker, made models.Image, from image, again bool) (*madeImage, error) {
	ctx = context.WithoutCancel(ctx)
	in := contract.ImportInput{Method: contract.ImportImage, URI: from.ID, Stores: []string{a.images.Stores().Default()}, Every: true}
	err := a.importer.Submit(ctx, picturer(who), in, made.ID, map[string]any{"method": map[string]string{"name": in.Method, "uri": in.URI}})
	if err != nil {
		if now, gone := a.picturing(who).Get(ctx, made.ID); gone == nil && !forgotten(now) {
			return a.named(ctx, made.ID) // another request under the same token has them brought
		}
		if again && (fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Internal)) {
			return nil, err
		}
		if gone := a.picturing(who).Remove(ctx, made); gone != nil && !fault.Is(gone, fault.NotFound) {
			return nil, gone
		}
		return nil, err
	}
	return a.named(ctx, made.ID)
}

// named is the answer that tells of a new image.
func (a *API) named(ctx context.Context, id string) (*madeImage, error) {
	names, err := a.store.EC2ImageIDs(ctx, []string{id})
	return &madeImage{ID: names[id]}, err
}

var imageCopies = []action{
	does("CopyImage", (*API).copyImage),
	does("RegisterImage", (*API).registerImage),
}
