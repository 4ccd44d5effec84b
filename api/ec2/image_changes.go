package ec2

import (
	"context"
	"maps"
	"regexp"
	"slices"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/models"
)

// descriptionProperty is the image property that EC2 calls an image's description.
const descriptionProperty = "description"

// imageName is what EC2 lets an image be called.
var imageName = regexp.MustCompile(`^[a-zA-Z0-9()\[\] ./\-'@_]{3,128}$`)

type createImage struct {
	Instance    string  `ec2:"InstanceId,required"`
	Name        string  `ec2:"Name,required"`
	Description string  `ec2:"Description"`
	NoReboot    bool    `ec2:"NoReboot"`
	Devices     refused `ec2:"BlockDeviceMapping" why:"an image is of the root disk, and there are no volumes"`
	Tags        refused `ec2:"TagSpecification" why:"images have no tags here"`
}

type madeImage struct {
	head
	ID string `xml:"imageId"`
}

// createImage makes an image of an instance's root disk, as it is at one moment: while its guest is shut down, where it runs and nobody
// says NoReboot.
func (a *API) createImage(ctx context.Context, who asker, in createImage) (*madeImage, error) {
	if err := a.free(ctx, who, in.Name); err != nil {
		return nil, err
	}
	found, err := a.instances(ctx, who, []string{in.Instance}, nil)
	if err != nil {
		return nil, err
	}
	i := found[0]
	image := contract.Snapshot{Name: in.Name, AtRest: !in.NoReboot}
	if in.Description != "" {
		image.Metadata = map[string]string{descriptionProperty: in.Description}
	}
	id, err := a.asking(who).CreateImage(ctx, i.server, row("createImage"), image)
	if err != nil {
		return nil, inState(err)
	}
	return a.named(ctx, id)
}

// free refuses a name that an image cannot have, or that one of the account's has.
func (a *API) free(ctx context.Context, who asker, name string) error {
	if !imageName.MatchString(name) {
		return refuse("InvalidAMIName.Malformed", "AMI names have from 3 to 128 letters, digits and the characters ( ) [ ] . - _ / ' @ and spaces")
	}
	same, err := a.picturing(who).List(ctx, models.ImageFilter{Names: []string{name}, OwnerID: who.ProjectID, AnyHidden: true})
	if err != nil {
		return err
	}
	if len(same) > 0 {
		return refuse("InvalidAMIName.Duplicate", "AMI name %s is already in use by another AMI of this account", name)
	}
	return nil
}

type deregisterImage struct {
	Image string  `ec2:"ImageId,required"`
	Too   refused `ec2:"DeleteAssociatedSnapshots" why:"there are no snapshots"`
}

func (a *API) deregisterImage(ctx context.Context, who asker, in deregisterImage) (*done, error) {
	i, err := a.imageByID(ctx, who, in.Image)
	if err != nil {
		return nil, err
	}
	if err := a.picturing(who).Remove(ctx, i.Image); err != nil {
		if fault.Is(err, fault.NotFound) {
			return nil, ids.NoEC2Image(in.Image)
		}
		return nil, err
	}
	return isDone(), nil
}

type describeImageAttribute struct {
	Image     string `ec2:"ImageId,required"`
	Attribute string `ec2:"Attribute,required"`
}

type textItem struct {
	Value string `xml:"value,omitempty"`
}

type permissionItem struct {
	Group string `xml:"group,omitempty"`
	User  string `xml:"userId,omitempty"`
}

type describedImageAttribute struct {
	head
	ID          string               `xml:"imageId"`
	Description *textItem            `xml:"description,omitempty"`
	Kernel      *textItem            `xml:"kernel,omitempty"`
	Ramdisk     *textItem            `xml:"ramdisk,omitempty"`
	Permissions *set[permissionItem] `xml:"launchPermission,omitempty"`
	Devices     *set[struct{}]       `xml:"blockDeviceMapping,omitempty"`
	Codes       *set[struct{}]       `xml:"productCodes,omitempty"`
}

// describeImageAttribute tells one of an image. Who may launch it is a project that it is shared with, or everybody.
func (a *API) describeImageAttribute(ctx context.Context, who asker, in describeImageAttribute) (*describedImageAttribute, error) {
	i, err := a.imageByID(ctx, who, in.Image)
	if err != nil {
		return nil, err
	}
	said := &describedImageAttribute{ID: i.id}
	switch in.Attribute {
	case "description":
		said.Description = &textItem{i.description()}
	case "kernel":
		said.Kernel = &textItem{i.kernel}
	case "ramdisk":
		said.Ramdisk = &textItem{i.ramdisk}
	case "blockDeviceMapping":
		said.Devices = &set[struct{}]{}
	case "productCodes":
		said.Codes = &set[struct{}]{}
	case launchPermission:
		said.Permissions = &set[permissionItem]{}
		if i.public() {
			*said.Permissions = set[permissionItem]{{Group: everybody}}
			break
		}
		if i.Visibility != imagepolicy.Shared {
			break
		}
		members, err := a.picturing(who).Members(ctx, i.Image, "")
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			*said.Permissions = append(*said.Permissions, permissionItem{User: m.MemberID})
		}
	default:
		return nil, unsupported("The attribute %s of an image is not supported", in.Attribute)
	}
	return said, nil
}

const (
	launchPermission = "launchPermission"
	everybody        = "all"
)

type permission struct {
	Group    string  `ec2:"Group"`
	User     string  `ec2:"UserId"`
	Org      refused `ec2:"OrganizationArn" why:"there are no organizations"`
	OrgsUnit refused `ec2:"OrganizationalUnitArn" why:"there are no organizations"`
}

type modifyImageAttribute struct {
	Image       string   `ec2:"ImageId,required"`
	Attribute   string   `ec2:"Attribute"`
	Value       *string  `ec2:"Value"`
	Operation   string   `ec2:"OperationType"`
	Users       []string `ec2:"UserId"`
	Groups      []string `ec2:"UserGroup"`
	Description *struct {
		Value string `ec2:"Value"`
	} `ec2:"Description"`
	Permissions struct {
		Add    []permission `ec2:"Add"`
		Remove []permission `ec2:"Remove"`
	} `ec2:"LaunchPermission"`
	Codes refused `ec2:"ProductCode" why:"there are no product codes"`
	IMDS  refused `ec2:"ImdsSupport" why:"no metadata service here asks for tokens"`
}

// modifyImageAttribute changes an image's description, or who may launch it, in either of the two spellings.
func (a *API) modifyImageAttribute(ctx context.Context, who asker, in modifyImageAttribute) (*done, error) {
	add, remove := in.Permissions.Add, in.Permissions.Remove
	description := in.Value
	if in.Description != nil {
		description = &in.Description.Value
	}
	switch {
	case in.Attribute != "" && in.Attribute != "description" && in.Attribute != launchPermission:
		return nil, unsupported("The attribute %s of an image is not supported", in.Attribute)
	case in.Value != nil && in.Attribute != "description":
		return nil, refuse(badCombination, "Value is of the attribute description")
	case in.Operation != "" && in.Operation != "add" && in.Operation != "remove", in.Operation == "" && len(in.Users)+len(in.Groups) > 0:
		return nil, invalid("Value (%s) for parameter OperationType is invalid. It is add or remove.", in.Operation)
	}
	for _, id := range in.Users {
		if in.Operation == "add" {
			add = append(add, permission{User: id})
		} else {
			remove = append(remove, permission{User: id})
		}
	}
	for _, group := range in.Groups {
		if in.Operation == "add" {
			add = append(add, permission{Group: group})
		} else {
			remove = append(remove, permission{Group: group})
		}
	}
	for _, p := range slices.Concat(add, remove) {
		if (p.Group == "") == (p.User == "") || p.Group != "" && p.Group != everybody {
			return nil, invalid("A launch permission is a UserId, or the group %s", everybody)
		}
	}
	i, err := a.imageByID(ctx, who, in.Image)
	if err != nil {
		return nil, err
	}
	was := i.Image
	if description != nil {
		properties := maps.Clone(was.Properties)
		if properties == nil {
			properties = map[string]string{}
		}
		properties[descriptionProperty] = *description
		if was, err = a.picturing(who).Save(ctx, was, models.ImageUpdate{Properties: &properties}); err != nil {
			return nil, err
		}
	}
	return isDone(), a.permit(ctx, who, was, add, remove)
}

// permit changes who may launch an image.
func (a *API) permit(ctx context.Context, who asker, was models.Image, add, remove []permission) (err error) {
	repo := a.picturing(who)
	become := func(visibility string) error {
		if was.Visibility == visibility {
			return nil
		}
		was, err = repo.Save(ctx, was, models.ImageUpdate{Visibility: &visibility})
		return err
	}
	for _, p := range remove {
		if p.Group == everybody {
			if was.Visibility == imagepolicy.Public {
				err = become(imagepolicy.Shared)
			}
		} else if err = repo.Unshare(ctx, was, p.User); fault.Is(err, fault.NotFound) {
			err = nil // it was not
		}
		if err != nil {
			return err
		}
	}
	for _, p := range add {
		if p.Group == everybody {
			if err := become(imagepolicy.Public); err != nil {
				return err
			}
			continue
		}
		if was.Visibility == imagepolicy.Private {
			if err := become(imagepolicy.Shared); err != nil {
				return err
			}
		}
		if _, err := repo.Share(ctx, was, p.User); err != nil && !fault.Is(err, fault.Conflict) { // it is already
			return err
		}
	}
	return nil
}

type resetImageAttribute struct {
	Image     string `ec2:"ImageId,required"`
	Attribute string `ec2:"Attribute,required"`
}

// resetImageAttribute takes all launch permissions back.
func (a *API) resetImageAttribute(ctx context.Context, who asker, in resetImageAttribute) (*done, error) {
	if in.Attribute != launchPermission {
		return nil, unsupported("The attribute %s of an image cannot be reset", in.Attribute)
	}
	i, err := a.imageByID(ctx, who, in.Image)
	if err != nil {
		return nil, err
	}
	var remove []permission
	if i.Visibility == imagepolicy.Shared {
		members, err := a.picturing(who).Members(ctx, i.Image, "")
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			remove = append(remove, permission{User: m.MemberID})
		}
	}
	return isDone(), a.permit(ctx, who, i.Image, nil, append(remove, permission{Group: everybody}))
}

var imageChanges = []action{
	does("CreateImage", (*API).createImage),
	does("DeregisterImage", (*API).deregisterImage),
	does("DescribeImageAttribute", (*API).describeImageAttribute),
	does("ModifyImageAttribute", (*API).modifyImageAttribute),
	does("ResetImageAttribute", (*API).resetImageAttribute),
}
