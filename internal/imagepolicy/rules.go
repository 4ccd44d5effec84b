package imagepolicy

import (
	"fmt"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// Action is what somebody wants to do, by the name of Glance's policy.
type Action string

// The actions.
const (
	AddImage         Action = "add_image"
	GetImage         Action = "get_image"
	GetImages        Action = "get_images"
	ModifyImage      Action = "modify_image" // tags too
	DeleteImage      Action = "delete_image"
	PublicizeImage   Action = "publicize_image"
	CommunitizeImage Action = "communitize_image"
	UploadImage      Action = "upload_image"
	DownloadImage    Action = "download_image"
	StageImage       Action = "stage_image"  // Glance asks modify_image
	ImportImage      Action = "import_image" // any method but copy-image; Glance asks modify_image
	CopyImage        Action = "copy_image"
	DeleteStoreCopy  Action = "delete_image_location"
	Deactivate       Action = "deactivate"
	Reactivate       Action = "reactivate"
	AddMember        Action = "add_member"
	GetMember        Action = "get_member"
	GetMembers       Action = "get_members" // SeesMember says which of them are shown
	ModifyMember     Action = "modify_member"
	DeleteMember     Action = "delete_member"
	GetTasks         Action = "get_tasks"        // of one image
	TasksAPIAccess   Action = "tasks_api_access" // of all
	GetStoresDetail  Action = "stores_info_detail"
)

// about is what an action is done to, and so what has to be visible first.
type about int

const (
	noImage   about = iota
	anImage         // the image that is named
	members         // all members of an image
	oneMember       // the membership of Target.MemberID
)

type rule struct {
	about   about
	may     func(Caller, Target) bool
	refusal func(Caller, Action, Target) string
	but     func(Caller, Target) error // what stands against it for those who otherwise may
}

// rules is the whole policy. The table of the test shows what comes of it.
var rules = map[Action]rule{
	GetImages:       {noImage, anyone, generalText, nil},
	TasksAPIAccess:  {noImage, onlyAdmin, generalText, nil},
	GetStoresDetail: {noImage, onlyAdmin, generalText, nil},
	AddImage:        {noImage, ownerWrites, notYours, publicByAdmin},

	GetImage:         {anImage, anyone, generalText, nil},
	DownloadImage:    {anImage, anyone, generalText, notDeactivated},
	ModifyImage:      {anImage, ownerWrites, fixedText("You are not permitted to modify this image."), nil},
	DeleteImage:      {anImage, ownerWrites, fixedText("You are not permitted to delete this image."), notProtected},
	UploadImage:      {anImage, ownerWrites, fixedText("You are not permitted to upload data for this image."), nil},
	StageImage:       {anImage, ownerWrites, fixedText("You are not permitted to stage data for this image."), nil},
	ImportImage:      {anImage, ownerWrites, fixedText("You are not permitted to import data for this image."), nil},
	Deactivate:       {anImage, ownerWrites, fixedText("You are not permitted to deactivate this image."), nil},
	Reactivate:       {anImage, ownerWrites, fixedText("You are not permitted to reactivate this image."), nil},
	CommunitizeImage: {anImage, ownerWrites, generalText, nil},
	PublicizeImage:   {anImage, onlyAdmin, generalText, nil},
	CopyImage:        {anImage, onlyAdmin, generalText, nil},
	DeleteStoreCopy:  {anImage, onlyAdmin, generalText, nil},
	GetTasks:         {anImage, ownerReads, generalText, nil},

	AddMember:    {members, ownerWrites, ofImage("Not allowed to create members for image %s."), nil},
	GetMembers:   {members, anyone, generalText, nil},
	GetMember:    {oneMember, anyone, generalText, nil},
	ModifyMember: {oneMember, memberWrites, ofImage("Not allowed to update members for image %s."), nil},
	DeleteMember: {oneMember, ownerWrites, ofImage("Not allowed to delete members for image %s."), nil},
}

// anyone is enough where being visible is the whole condition.
func anyone(Caller, Target) bool { return true }

func onlyAdmin(c Caller, _ Target) bool { return c.admin() }

func ownerReads(c Caller, t Target) bool { return c.admin() || c.has(auth.RoleReader, t.OwnerID) }

func ownerWrites(c Caller, t Target) bool { return c.admin() || c.has(auth.RoleMember, t.OwnerID) }

// memberWrites is the project itself that the image is shared with: nobody accepts in another's name.
func memberWrites(c Caller, t Target) bool {
	return c.admin() || t.Member != "" && c.has(auth.RoleMember, t.MemberID)
}

// generalText is Glance's text for an action that has none of its own.
func generalText(_ Caller, a Action, _ Target) string {
	return fmt.Sprintf("You are not authorized to complete %s action.", a)
}

func fixedText(text string) func(Caller, Action, Target) string {
	return func(Caller, Action, Target) string { return text }
}

func ofImage(format string) func(Caller, Action, Target) string {
	return func(_ Caller, _ Action, t Target) string { return fmt.Sprintf(format, t.ID) }
}

// notYours tells somebody who names another owner from somebody who may not write at all.
func notYours(c Caller, a Action, t Target) string {
	if t.OwnerID == c.ProjectID {
		return generalText(c, a, t)
	}
	return fmt.Sprintf("You are not permitted to create images owned by '%s'.", t.OwnerID)
}

func publicByAdmin(c Caller, t Target) error {
	if t.Visibility == Public && !c.admin() {
		return fault.New(fault.Forbidden, "%s", generalText(c, PublicizeImage, t))
	}
	return nil
}

// notProtected holds admins too: who may delete may also take the protection away, and does it knowingly.
func notProtected(_ Caller, t Target) error {
	if t.Protected {
		return fault.New(fault.Forbidden, "Image %s is protected and cannot be deleted.", t.ID)
	}
	return nil
}

func notDeactivated(c Caller, t Target) error {
	if t.Status == Deactivated && !c.admin() {
		return fault.New(fault.Forbidden, "The requested image has been deactivated. Image data download is forbidden.")
	}
	return nil
}
