// Package imagepolicy decides who may do what with an image, and with which of its properties. Every decision about images
// is made here, from what the caller's token says and what the image is; nothing is read or written.
//
// The rules are the defaults of Glance's policies (glance/policies/image.py). Where they differ (a reader may download what it
// sees, for one), docs/decisions/0012-image-policy.md says why.
package imagepolicy

import (
	"slices"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Caller is who asks, as its token says. A role stands for the ones that it includes too (auth.Implied).
type Caller struct {
	UserID    string
	ProjectID string // "" for an unscoped token
	Roles     []string
}

func (c Caller) admin() bool { return auth.Has(c.Roles, auth.RoleAdmin) }

// has says whether the caller has the role in the project.
func (c Caller) has(role, project string) bool {
	return project != "" && c.ProjectID == project && auth.Has(c.Roles, role)
}

// Visibilities of images.
const (
	Public    = "public"
	Community = "community"
	Shared    = "shared"
	Private   = "private"
)

// Deactivated is the status of an image whose bytes are withheld.
const Deactivated = "deactivated"

// MemberStatus is what the caller's project is to an image: "" for no member. Every member sees the image and its bytes;
// the status only decides what lists show.
type MemberStatus string

// What a member said of an image that is shared with it.
const (
	Pending  MemberStatus = "pending"
	Accepted MemberStatus = "accepted"
	Rejected MemberStatus = "rejected"
)

// Target is the image that is asked about. AddImage describes the image to be by OwnerID and Visibility; an action about no
// image takes the zero Target.
type Target struct {
	ID         string
	OwnerID    string
	Visibility string
	Status     string
	Protected  bool
	Member     MemberStatus // of the caller's project
	MemberID   string       // for GetMember, ModifyMember and DeleteMember: the project whose membership it is
}

// Visible says whether the caller may know that the image exists. Lists leave out some of what is visible (community
// images, shares that were not accepted) unless they are asked for them.
func Visible(c Caller, t Target) bool {
	switch {
	case c.admin(), c.has(auth.RoleReader, t.OwnerID):
		return true
	case t.Visibility == Public, t.Visibility == Community:
		return true
	case t.Visibility == Shared:
		return t.Member != "" && c.has(auth.RoleReader, c.ProjectID)
	}
	return false
}

// SeesMember says whether the caller may know of a project's membership in an image that it sees: the owner knows of all,
// a member of its own.
func SeesMember(c Caller, t Target, memberID string) bool {
	return c.admin() || c.has(auth.RoleReader, t.OwnerID) || t.Member != "" && c.has(auth.RoleReader, memberID)
}

// Check says whether the caller may do it: nil, NotFound for what the caller may not know of, or Forbidden.
func Check(c Caller, a Action, t Target) error {
	r, known := rules[a]
	if !known {
		return fault.New(fault.Internal, "There is no rule that says who may do %q.", a)
	}
	if r.about != noImage && !Visible(c, t) {
		return fault.New(fault.NotFound, "No image found with ID %s", t.ID)
	}
	if r.about == members || r.about == oneMember {
		if err := hasMembers(a, t); err != nil {
			return err
		}
	}
	if r.about == oneMember && !SeesMember(c, t, t.MemberID) {
		return fault.New(fault.NotFound, "%s not found in the member list of the image %s.", t.MemberID, t.ID)
	}
	if !r.may(c, t) {
		return fault.New(fault.Forbidden, "%s", r.refusal(c, a, t))
	}
	if r.but != nil {
		return r.but(c, t)
	}
	return nil
}

// hasMembers refuses members of images of other visibilities. Looking for one of them finds none.
func hasMembers(a Action, t Target) error {
	if t.Visibility == Shared {
		return nil
	}
	kind := fault.Forbidden
	if a == GetMember {
		kind = fault.NotFound
	}
	return fault.New(kind, "Only shared images have members.")
}

// CheckVisibility says whether the caller may change the image's visibility.
func CheckVisibility(c Caller, t Target, to string) error {
	if err := Check(c, ModifyImage, t); err != nil || to == t.Visibility {
		return err
	}
	switch to {
	case Public:
		return Check(c, PublicizeImage, t)
	case Community:
		return Check(c, CommunitizeImage, t)
	}
	return nil
}

// Actions lists everything that there is a rule for, by name.
func Actions() []Action {
	var all []Action
	for a := range rules {
		all = append(all, a)
	}
	slices.Sort(all)
	return all
}

// CheckOwner says whether the caller may give the image to another project.
func CheckOwner(c Caller, t Target, to string) error {
	if err := Check(c, ModifyImage, t); err != nil || to == t.OwnerID {
		return err
	}
	if !c.admin() {
		return fault.New(fault.Forbidden, "Attribute 'owner' is read-only.")
	}
	return nil
}
