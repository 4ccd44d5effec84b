package ec2

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/service/images"
	"github.com/slipway-cloud/slipway/models"
)

// picturing is the image service for whoever asks.
func (a *API) picturing(who asker) images.Repository {
	return a.images.For(picturer(who))
}

func picturer(who asker) images.Caller {
	return images.Caller{
		Caller:    imagepolicy.Caller{UserID: who.UserID, ProjectID: who.ProjectID, Roles: who.Roles},
		RequestID: who.requestID,
	}
}

// image is one of the image store as EC2's clients see it.
type image struct {
	models.Image
	id              string
	kernel, ramdisk string
}

// EC2's error codes of images, besides those of their ids.
const (
	imageUnavailable ids.EC2Code = "InvalidAMIID.Unavailable"
)

// available says whether instances can be made of an image.
func (i image) available() bool { return i.Status == models.ImageActive }

// state is an image's status in EC2's words.
func (i image) state() string {
	switch i.Status { //nolint:exhaustive // the rest is on its way
	case models.ImageActive:
		return "available"
	case models.ImageDeactivated:
		return "disabled"
	case models.ImageKilled:
		return "failed"
	case models.ImageQueued:
		if i.Properties[models.ImportFailedProperty] != "" {
			return "failed"
		}
	}
	return "pending"
}

func (i image) kind() string {
	switch ids.EC2ImageKind(orEmpty(i.ContainerFormat)) { //nolint:exhaustive // the rest is machines
	case ids.EC2Kernel:
		return "kernel"
	case ids.EC2Ramdisk:
		return "ramdisk"
	}
	return "machine"
}

func (i image) public() bool { return i.Visibility == "public" }

// architecture is EC2's word for what the image says.
func (i image) architecture() string {
	switch arch := i.Properties["architecture"]; arch {
	case "", "amd64":
		return "x86_64"
	case "aarch64":
		return "arm64"
	case "i686":
		return "i386"
	default:
		return arch
	}
}

func (i image) rootDevice() string {
	if d := i.Properties["root_device_name"]; d != "" {
		return d
	}
	return "/dev/vda"
}

type imageItem struct {
	ID             string        `xml:"imageId"`
	Location       string        `xml:"imageLocation"`
	State          string        `xml:"imageState"`
	Owner          string        `xml:"imageOwnerId"`
	Created        string        `xml:"creationDate"`
	Public         bool          `xml:"isPublic"`
	ProductCodes   set[struct{}] `xml:"productCodes"`
	Architecture   string        `xml:"architecture"`
	Type           string        `xml:"imageType"`
	Kernel         string        `xml:"kernelId,omitempty"`
	Ramdisk        string        `xml:"ramdiskId,omitempty"`
	Name           string        `xml:"name,omitempty"`
	Description    string        `xml:"description,omitempty"`
	RootDeviceType string        `xml:"rootDeviceType"`
	RootDevice     string        `xml:"rootDeviceName,omitempty"`
	Devices        set[struct{}] `xml:"blockDeviceMapping"`
	Virtualization string        `xml:"virtualizationType"`
	Tags           set[tagItem]  `xml:"tagSet"`
}

// description is the property of that name, which OpenStack's clients show too.
func (i image) description() string { return i.Properties["description"] }

func (i image) item() imageItem {
	return imageItem{
		ID: i.id, Location: i.OwnerID + "/" + orEmpty(i.Name), State: i.state(), Owner: i.OwnerID, Created: when(i.CreatedAt), Public: i.public(),
		Architecture: i.architecture(), Type: i.kind(), Kernel: i.kernel, Ramdisk: i.ramdisk, Name: orEmpty(i.Name), Description: i.description(),
		RootDeviceType: "instance-store", RootDevice: i.rootDevice(), Virtualization: "hvm",
	}
}

var imageAttributes = attributes[image]{
	"architecture":        is(image.architecture),
	"creation-date":       is(func(i image) string { return when(i.CreatedAt) }),
	"description":         is(image.description),
	"image-id":            is(func(i image) string { return i.id }),
	"image-type":          is(image.kind),
	"is-public":           is(func(i image) string { return strconv.FormatBool(i.public()) }),
	"kernel-id":           is(func(i image) string { return i.kernel }),
	"ramdisk-id":          is(func(i image) string { return i.ramdisk }),
	"manifest-location":   is(func(i image) string { return i.item().Location }),
	"name":                is(func(i image) string { return orEmpty(i.Name) }),
	"owner-id":            is(func(i image) string { return i.OwnerID }),
	"owner-alias":         constant[image](""),
	"platform":            constant[image](""),
	"root-device-name":    is(image.rootDevice),
	"root-device-type":    constant[image]("instance-store"),
	"state":               is(image.state),
	"virtualization-type": constant[image]("hvm"),
	"hypervisor":          constant[image]("kvm"),
	"tag:":                func(image, string) []string { return nil },
	"tag-key":             func(image, string) []string { return nil },
}

type describeImages struct {
	IDs        []string `ec2:"ImageId"`
	Owners     []string `ec2:"Owner"`
	Executable []string `ec2:"ExecutableBy"`
	Deprecated bool     `ec2:"IncludeDeprecated"`
	Disabled   bool     `ec2:"IncludeDisabled"`
	paged
}

type describedImages struct {
	head
	Images    set[imageItem] `xml:"imagesSet"`
	NextToken string         `xml:"nextToken,omitempty"`
}

func (a *API) describeImages(ctx context.Context, who asker, in describeImages) (*describedImages, error) {
	f := models.ImageFilter{}
	for _, id := range in.IDs {
		found, err := a.imageOfID(ctx, id)
		if err != nil {
			return nil, err
		}
		f.IDs = append(f.IDs, found)
		f.Visibility, f.MemberStatus, f.AnyHidden = "all", "all", true // whoever knows an id may see community images, and those it was not asked about
	}
	all, err := a.listImages(ctx, who, f)
	if err != nil {
		return nil, err
	}
	for _, id := range in.IDs {
		if !slices.ContainsFunc(all, func(i image) bool { return i.answersTo(id) }) {
			return nil, ids.NoEC2Image(id)
		}
	}
	all = slices.DeleteFunc(all, func(i image) bool {
		return i.state() == "disabled" && !in.Disabled && len(in.IDs) == 0 || !i.owned(who, in.Owners) || !i.executable(who, in.Executable)
	})
	if all, err = sift(all, in.Filters, imageAttributes); err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, len(in.IDs) > 0, func(i image) string { return fmt.Sprintf("%020d/%s", i.CreatedAt.UnixNano(), i.ID) })
	if err != nil {
		return nil, err
	}
	said := &describedImages{NextToken: next}
	for _, i := range all {
		said.Images = append(said.Images, i.item())
	}
	return said, nil
}

// answersTo says whether an id, in one of its two lengths, is the image's.
func (i image) answersTo(id string) bool {
	return id == i.id || id == ids.EC2(ids.EC2ImageKind(orEmpty(i.ContainerFormat)), i.Image.ID)
}

// owned says whether an image is one of the owners'; none are all.
func (i image) owned(who asker, owners []string) bool {
	return len(owners) == 0 || slices.ContainsFunc(owners, func(owner string) bool {
		return owner == i.OwnerID || owner == "self" && i.OwnerID == who.ProjectID
	})
}

// executable says whether one of those may use an image: "self" is the caller where it was named for it, "all" everybody.
func (i image) executable(who asker, by []string) bool {
	return len(by) == 0 || slices.ContainsFunc(by, func(project string) bool {
		switch project {
		case "all":
			return i.public()
		case "self", who.ProjectID:
			return !i.public() && i.OwnerID != who.ProjectID
		}
		return false
	})
}

// listImages lists what the caller sees, with EC2's ids.
func (a *API) listImages(ctx context.Context, who asker, f models.ImageFilter) ([]image, error) {
	found, err := a.picturing(who).List(ctx, f)
	if err != nil {
		return nil, err
	}
	var named []string
	for _, i := range found {
		named = append(named, i.ID)
		for _, part := range []string{i.Properties["kernel_id"], i.Properties["ramdisk_id"]} {
			if part != "" {
				named = append(named, part)
			}
		}
	}
	names, err := a.store.EC2ImageIDs(ctx, named)
	if err != nil {
		return nil, err
	}
	all := make([]image, len(found))
	for n, i := range found {
		all[n] = image{Image: i, id: names[i.ID], kernel: names[i.Properties["kernel_id"]], ramdisk: names[i.Properties["ramdisk_id"]]}
	}
	return all, nil
}

// imageOfID finds the image that an id of either length names, whoever asks.
func (a *API) imageOfID(ctx context.Context, id string) (string, error) {
	if kind, among, ok := ids.EC2ImageAmong(id); ok {
		found, err := a.store.OfEC2(ctx, kind, []ids.UUIDs{among})
		switch {
		case err != nil:
			return "", err
		case found[among] == "":
			return "", ids.NoEC2Image(id)
		}
		return found[among], nil
	}
	_, number, err := ids.ParseEC2Image(id)
	if err != nil {
		return "", err
	}
	return a.store.ImageByEC2ID(ctx, number)
}

// imageByID is the image of an id, and of no name: what changes one names it. An id's prefix has to be the one of the image's container
// format.
func (a *API) imageByID(ctx context.Context, who asker, id string) (image, error) {
	named, err := a.imageOfID(ctx, id)
	if err != nil {
		return image{}, err
	}
	found, err := a.listImages(ctx, who, models.ImageFilter{IDs: []string{named}, Visibility: "all", MemberStatus: "all", AnyHidden: true})
	if err != nil {
		return image{}, err
	}
	if len(found) == 0 || !found[0].answersTo(id) {
		return image{}, ids.NoEC2Image(id)
	}
	return found[0], nil
}

// imageFor is the image that a request names, by an id, or by its name where that is no id.
func (a *API) imageFor(ctx context.Context, who asker, id string) (image, error) {
	i, err := a.imageByID(ctx, who, id)
	if codeOf(err) != ids.EC2ImageMalformed {
		return i, err
	}
	switch found, err := a.listImages(ctx, who, models.ImageFilter{Names: []string{id}}); {
	case err != nil:
		return image{}, err
	case len(found) > 1:
		return image{}, invalid("There are several images of the name %s: say which one by its id", id)
	case len(found) == 0:
		return image{}, refuse(ids.EC2ImageMalformed, `Invalid id: "%s" (expecting "ami-...", or the name of an image)`, id)
	default:
		return found[0], nil
	}
}

// usable is an image that instances can be made of, as a kind: machine, kernel or ramdisk.
func (a *API) usable(ctx context.Context, who asker, parameter, id, kind string) (image, error) {
	i, err := a.imageFor(ctx, who, id)
	switch {
	case err != nil:
		return i, err
	case i.kind() != kind:
		return i, invalid("The image %s is a %s: %s has to be a %s", i.id, i.kind(), parameter, kind)
	case !i.available():
		return i, refuse(imageUnavailable, "The image ID '%s' is not available: it is %s", i.id, i.state())
	}
	return i, nil
}

var imageActions = []action{
	does("DescribeImages", (*API).describeImages),
}
