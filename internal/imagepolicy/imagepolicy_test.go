package imagepolicy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/fault"
)

// matrix is who may do what. A column is who asks:
//
//	admin                        an admin, of another project than the owner's
//	owner, owner:reader          a member and a reader of the owner's project
//	owner:none                   somebody with a role in the owner's project that includes none of Slipway's
//	other, other:reader          a member and a reader of a project that has nothing to do with the image
//	pending, accepted, rejected  a member of a project that the image was offered to, by what that project answered;
//	                             where the image is not shared any more the membership is a leftover
//	accepted:reader              a reader of such a project
//	unscoped                     a token without a project and roles
//
// A cell is yes, 403 or 404. A row "of another" is about the membership of another project than the one that asks; the other
// rows of memberships are about the column's own project, for admin and owner about any. A block "nothing" is of actions
// about no image. Blocks below a plain one ("shared, protected") hold only the rows that differ from it.
const matrix = `
                      admin  owner  owner:reader  owner:none  other  other:reader  pending  accepted  rejected  accepted:reader  unscoped

= nothing
get_images            yes    yes    yes           yes         yes    yes           yes      yes       yes       yes              yes
tasks_api_access      yes    403    403           403         403    403           403      403       403       403              403
stores_info_detail    yes    403    403           403         403    403           403      403       403       403              403

= private
add_image             yes    yes    403           403         403    403           403      403       403       403              403
get_image             yes    yes    yes           404         404    404           404      404       404       404              404
download_image        yes    yes    yes           404         404    404           404      404       404       404              404
modify_image          yes    yes    403           404         404    404           404      404       404       404              404
delete_image          yes    yes    403           404         404    404           404      404       404       404              404
upload_image          yes    yes    403           404         404    404           404      404       404       404              404
stage_image           yes    yes    403           404         404    404           404      404       404       404              404
import_image          yes    yes    403           404         404    404           404      404       404       404              404
deactivate            yes    yes    403           404         404    404           404      404       404       404              404
reactivate            yes    yes    403           404         404    404           404      404       404       404              404
communitize_image     yes    yes    403           404         404    404           404      404       404       404              404
publicize_image       yes    403    403           404         404    404           404      404       404       404              404
copy_image            yes    403    403           404         404    404           404      404       404       404              404
delete_image_location yes    403    403           404         404    404           404      404       404       404              404
get_tasks             yes    yes    yes           404         404    404           404      404       404       404              404
add_member            403    403    403           404         404    404           404      404       404       404              404
get_members           403    403    403           404         404    404           404      404       404       404              404
get_member            404    404    404           404         404    404           404      404       404       404              404
get_member of another 404    404    404           404         404    404           404      404       404       404              404
modify_member         403    403    403           404         404    404           404      404       404       404              404
modify_member of another 403 403    403           404         404    404           404      404       404       404              404
delete_member         403    403    403           404         404    404           404      404       404       404              404
delete_member of another 403 403    403           404         404    404           404      404       404       404              404

= shared
add_image             yes    yes    403           403         403    403           403      403       403       403              403
get_image             yes    yes    yes           404         404    404           yes      yes       yes       yes              404
download_image        yes    yes    yes           404         404    404           yes      yes       yes       yes              404
modify_image          yes    yes    403           404         404    404           403      403       403       403              404
delete_image          yes    yes    403           404         404    404           403      403       403       403              404
upload_image          yes    yes    403           404         404    404           403      403       403       403              404
stage_image           yes    yes    403           404         404    404           403      403       403       403              404
import_image          yes    yes    403           404         404    404           403      403       403       403              404
deactivate            yes    yes    403           404         404    404           403      403       403       403              404
reactivate            yes    yes    403           404         404    404           403      403       403       403              404
communitize_image     yes    yes    403           404         404    404           403      403       403       403              404
publicize_image       yes    403    403           404         404    404           403      403       403       403              404
copy_image            yes    403    403           404         404    404           403      403       403       403              404
delete_image_location yes    403    403           404         404    404           403      403       403       403              404
get_tasks             yes    yes    yes           404         404    404           403      403       403       403              404
add_member            yes    yes    403           404         404    404           403      403       403       403              404
get_members           yes    yes    yes           404         404    404           yes      yes       yes       yes              404
get_member            yes    yes    yes           404         404    404           yes      yes       yes       yes              404
get_member of another yes    yes    yes           404         404    404           404      404       404       404              404
modify_member         yes    403    403           404         404    404           yes      yes       yes       403              404
modify_member of another yes 403    403           404         404    404           404      404       404       404              404
delete_member         yes    yes    403           404         404    404           403      403       403       403              404
delete_member of another yes yes    403           404         404    404           404      404       404       404              404

= community
add_image             yes    yes    403           403         403    403           403      403       403       403              403
get_image             yes    yes    yes           yes         yes    yes           yes      yes       yes       yes              yes
download_image        yes    yes    yes           yes         yes    yes           yes      yes       yes       yes              yes
modify_image          yes    yes    403           403         403    403           403      403       403       403              403
delete_image          yes    yes    403           403         403    403           403      403       403       403              403
upload_image          yes    yes    403           403         403    403           403      403       403       403              403
stage_image           yes    yes    403           403         403    403           403      403       403       403              403
import_image          yes    yes    403           403         403    403           403      403       403       403              403
deactivate            yes    yes    403           403         403    403           403      403       403       403              403
reactivate            yes    yes    403           403         403    403           403      403       403       403              403
communitize_image     yes    yes    403           403         403    403           403      403       403       403              403
publicize_image       yes    403    403           403         403    403           403      403       403       403              403
copy_image            yes    403    403           403         403    403           403      403       403       403              403
delete_image_location yes    403    403           403         403    403           403      403       403       403              403
get_tasks             yes    yes    yes           403         403    403           403      403       403       403              403
add_member            403    403    403           403         403    403           403      403       403       403              403
get_members           403    403    403           403         403    403           403      403       403       403              403
get_member            404    404    404           404         404    404           404      404       404       404              404
get_member of another 404    404    404           404         404    404           404      404       404       404              404
modify_member         403    403    403           403         403    403           403      403       403       403              403
modify_member of another 403 403    403           403         403    403           403      403       403       403              403
delete_member         403    403    403           403         403    403           403      403       403       403              403
delete_member of another 403 403    403           403         403    403           403      403       403       403              403

= public, as community
add_image             yes    403    403           403         403    403           403      403       403       403              403

= private, protected
delete_image          403    403    403           404         404    404           404      404       404       404              404

= shared, protected
delete_image          403    403    403           404         404    404           403      403       403       403              404

= community, protected
delete_image          403    403    403           403         403    403           403      403       403       403              403

= private, deactivated
download_image        yes    403    403           404         404    404           404      404       404       404              404

= shared, deactivated
download_image        yes    403    403           404         404    404           403      403       403       403              404

= community, deactivated
download_image        yes    403    403           403         403    403           403      403       403       403              403
`

// asked is a row's action, of whose membership.
type asked struct {
	action    Action
	ofAnother bool
}

// block is a part of the matrix: what the image is like, and what everybody may.
type block struct {
	name, base string
	target     Target
	own        int // rows of its own
	rows       map[asked]map[string]string
}

// readMatrix takes the table apart: its columns and blocks.
func readMatrix(t *testing.T) (columns []string, blocks []*block) {
	t.Helper()
	find := func(name string) *block {
		i := slices.IndexFunc(blocks, func(b *block) bool { return b.name == name })
		require.GreaterOrEqual(t, i, 0, "no block %q", name)
		return blocks[i]
	}
	for line := range strings.Lines(matrix) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case columns == nil:
			columns = words
		case words[0] == "=":
			b := &block{name: strings.TrimSpace(strings.TrimPrefix(line, "=")), rows: map[asked]map[string]string{}}
			like, state, _ := strings.Cut(b.name, ", ")
			b.target = Target{ID: image, OwnerID: ownerProject, Visibility: like, Status: "active"}
			switch base, isLike := strings.CutPrefix(state, "as "); {
			case isLike:
				b.base = base
			case state != "":
				b.base = like
				b.target.Protected = state == "protected"
				if state == Deactivated {
					b.target.Status = state
				}
				require.True(t, b.target.Protected || b.target.Status == Deactivated, b.name)
			}
			if like == "nothing" {
				b.target = Target{}
			}
			if b.base != "" {
				for a, cells := range find(b.base).rows {
					b.rows[a] = cells
				}
			}
			blocks = append(blocks, b)
		default:
			a := asked{action: Action(words[0])}
			cells := words[1:]
			if rest, ok := strings.CutPrefix(strings.Join(cells, " "), "of another "); ok {
				a.ofAnother, cells = true, strings.Fields(rest)
			}
			require.Len(t, cells, len(columns), line)
			b := blocks[len(blocks)-1]
			if b.base != "" {
				require.Contains(t, b.rows, a, "%s: %v differs from nothing", b.name, a)
			} else {
				require.NotContains(t, b.rows, a, "%s: %v twice", b.name, a)
			}
			b.rows[a] = map[string]string{}
			for i, column := range columns {
				require.Contains(t, []string{"yes", "403", "404"}, cells[i], line)
				b.rows[a][column] = cells[i]
			}
			b.own++
		}
	}
	return columns, blocks
}

const (
	image        = "3d3f8a9e-0000-4000-8000-000000000001"
	ownerProject = "owner-project"
	thirdProject = "third-project"
)

// asks is who a column stands for, and what its project is to the image.
func asks(t *testing.T, column string) (Caller, MemberStatus) {
	t.Helper()
	relation, role, named := strings.Cut(column, ":")
	switch {
	case !named:
		role = auth.RoleMember
	case role == "none":
		role = "observer"
	}
	c := Caller{UserID: "somebody", ProjectID: relation + "-project", Roles: []string{role}}
	switch relation {
	case "admin":
		c.Roles = []string{auth.RoleAdmin}
	case "owner", "other":
	case "pending", "accepted", "rejected":
		return c, MemberStatus(relation)
	case "unscoped":
		return Caller{UserID: "somebody"}, ""
	default:
		t.Fatalf("nobody is called %q", column)
	}
	return c, ""
}

// ofMembership are the actions that the matrix asks twice.
var ofMembership = []Action{GetMember, ModifyMember, DeleteMember}

func TestWhoMayDoWhatWithAnImage(t *testing.T) {
	columns, blocks := readMatrix(t)
	require.Len(t, blocks, 11)

	for _, b := range blocks {
		require.Positive(t, b.own, b.name)
		for a, cells := range b.rows {
			for _, column := range columns {
				t.Run(fmt.Sprintf("%s/%s/another=%t/%s", b.name, a.action, a.ofAnother, column), func(t *testing.T) {
					c, status := asks(t, column)
					target := b.target
					target.Member = status
					if slices.Contains(ofMembership, a.action) {
						target.MemberID = c.ProjectID
						if a.ofAnother || status == "" {
							target.MemberID = thirdProject
						}
					}
					if b.name == "nothing" {
						target.Member = ""
					}
					err := Check(c, a.action, target)
					got := "yes"
					if err != nil {
						got = fmt.Sprint(fault.KindOf(err).Status())
					}
					require.Equal(t, cells[column], got, "%v", err)
				})
			}
		}
	}
}

func TestEveryActionHasItsRowInTheMatrix(t *testing.T) {
	_, blocks := readMatrix(t)
	require.GreaterOrEqual(t, len(Actions()), 23)
	for _, b := range blocks {
		for a := range b.rows {
			require.Contains(t, Actions(), a.action, "%s: a row of no action", b.name)
		}
	}
	nothing, images := blocks[0], blocks[1:]
	for _, a := range Actions() {
		if _, there := nothing.rows[asked{action: a}]; there {
			continue
		}
		for _, b := range images {
			require.Contains(t, b.rows, asked{action: a}, "%s: who may %s?", b.name, a)
			if slices.Contains(ofMembership, a) {
				require.Contains(t, b.rows, asked{action: a, ofAnother: true}, "%s: who may %s?", b.name, a)
			}
		}
	}
}

func TestWhatIsSeenIsWhatMayBeShown(t *testing.T) {
	columns, blocks := readMatrix(t)
	for _, b := range blocks[1:] {
		for _, column := range columns {
			c, status := asks(t, column)
			target := b.target
			target.Member = status
			require.Equal(t, b.rows[asked{action: GetImage}][column] == "yes", Visible(c, target), "%s %s", b.name, column)
		}
	}
}

func TestAnActionWithoutARuleIsNobodys(t *testing.T) {
	err := Check(Caller{ProjectID: ownerProject, Roles: []string{auth.RoleAdmin}}, "paint_image", Target{})
	require.True(t, fault.Is(err, fault.Internal), "%v", err)
}

func TestAnImageWithoutAnOwnerIsNotEverybodysWithoutAProject(t *testing.T) {
	unscoped := Caller{Roles: []string{auth.RoleMember}}
	for _, visibility := range []string{Private, Shared} {
		require.False(t, Visible(unscoped, Target{Visibility: visibility, Member: Accepted}), visibility)
	}
	for _, a := range []Action{AddImage, ModifyImage, AddMember} {
		require.Error(t, Check(unscoped, a, Target{Visibility: Community}), a)
	}
	require.False(t, SeesMember(unscoped, Target{Visibility: Shared, Member: Accepted}, ""))
}

func TestARefusalSaysWhatGlanceSays(t *testing.T) {
	owner := Caller{ProjectID: ownerProject, Roles: []string{auth.RoleMember}}
	reader := Caller{ProjectID: ownerProject, Roles: []string{auth.RoleReader}}
	other := Caller{ProjectID: "other-project", Roles: []string{auth.RoleMember}}
	admin := Caller{ProjectID: "other-project", Roles: []string{auth.RoleAdmin}}
	of := func(visibility string) Target {
		return Target{ID: "i", OwnerID: ownerProject, Visibility: visibility, Status: "active"}
	}
	protected, deactivated, shared := of(Private), of(Community), of(Shared)
	protected.Protected, deactivated.Status = true, Deactivated
	shared.Member, shared.MemberID = Accepted, "other-project"
	anothers := shared
	anothers.MemberID = thirdProject

	for _, c := range []struct {
		who    Caller
		action Action
		target Target
		kind   fault.Kind
		text   string
	}{
		{other, GetImage, of(Private), fault.NotFound, "No image found with ID i"},
		{other, DeleteImage, protected, fault.NotFound, "No image found with ID i"},
		{other, AddImage, of(Private), fault.Forbidden, "You are not permitted to create images owned by 'owner-project'."},
		{reader, AddImage, of(Private), fault.Forbidden, "You are not authorized to complete add_image action."},
		{owner, AddImage, of(Public), fault.Forbidden, "You are not authorized to complete publicize_image action."},
		{owner, PublicizeImage, of(Private), fault.Forbidden, "You are not authorized to complete publicize_image action."},
		{other, CommunitizeImage, of(Public), fault.Forbidden, "You are not authorized to complete communitize_image action."},
		{other, ModifyImage, of(Public), fault.Forbidden, "You are not permitted to modify this image."},
		{other, DeleteImage, of(Public), fault.Forbidden, "You are not permitted to delete this image."},
		{other, UploadImage, of(Public), fault.Forbidden, "You are not permitted to upload data for this image."},
		{other, StageImage, of(Public), fault.Forbidden, "You are not permitted to stage data for this image."},
		{other, ImportImage, of(Public), fault.Forbidden, "You are not permitted to import data for this image."},
		{other, Deactivate, of(Public), fault.Forbidden, "You are not permitted to deactivate this image."},
		{other, Reactivate, of(Public), fault.Forbidden, "You are not permitted to reactivate this image."},
		{owner, CopyImage, of(Private), fault.Forbidden, "You are not authorized to complete copy_image action."},
		{owner, DeleteStoreCopy, of(Private), fault.Forbidden, "You are not authorized to complete delete_image_location action."},
		{owner, TasksAPIAccess, Target{}, fault.Forbidden, "You are not authorized to complete tasks_api_access action."},
		{owner, GetStoresDetail, Target{}, fault.Forbidden, "You are not authorized to complete stores_info_detail action."},
		{admin, DeleteImage, protected, fault.Forbidden, "Image i is protected and cannot be deleted."},
		{owner, DownloadImage, deactivated, fault.Forbidden, "The requested image has been deactivated. Image data download is forbidden."},
		{owner, AddMember, of(Private), fault.Forbidden, "Only shared images have members."},
		{owner, GetMembers, of(Private), fault.Forbidden, "Only shared images have members."},
		{owner, GetMember, of(Private), fault.NotFound, "Only shared images have members."},
		{other, AddMember, shared, fault.Forbidden, "Not allowed to create members for image i."},
		{owner, ModifyMember, shared, fault.Forbidden, "Not allowed to update members for image i."},
		{other, DeleteMember, shared, fault.Forbidden, "Not allowed to delete members for image i."},
		{other, GetMember, anothers, fault.NotFound, "third-project not found in the member list of the image i."},
	} {
		err := Check(c.who, c.action, c.target)
		require.Equal(t, c.kind, fault.KindOf(err), "%s: %v", c.action, err)
		require.Equal(t, c.text, fault.Public(err), c.action)
	}
}

func TestVisibilityIsChangedByWhoMayShowTheImageSo(t *testing.T) {
	admin := Caller{Roles: []string{auth.RoleAdmin}}
	owner := Caller{ProjectID: ownerProject, Roles: []string{auth.RoleMember}}
	reader := Caller{ProjectID: ownerProject, Roles: []string{auth.RoleReader}}
	all := []string{Public, Community, Shared, Private}
	for _, from := range all {
		for _, to := range all {
			target := Target{ID: image, OwnerID: ownerProject, Visibility: from}
			require.NoError(t, CheckVisibility(admin, target, to), "%s to %s", from, to)
			err := CheckVisibility(owner, target, to)
			if to == Public && from != Public {
				require.True(t, fault.Is(err, fault.Forbidden), "%s to %s: %v", from, to, err)
				require.Contains(t, err.Error(), "publicize_image")
			} else {
				require.NoError(t, err, "%s to %s", from, to)
			}
			require.True(t, fault.Is(CheckVisibility(reader, target, to), fault.Forbidden), "%s to %s", from, to)
		}
	}
}

func TestAMemberIsShownToItselfToTheOwnerAndToAdmins(t *testing.T) {
	columns, _ := readMatrix(t)
	everybody := []string{"admin", "owner", "owner:reader"}
	members := []string{"pending", "accepted", "rejected", "accepted:reader"}
	for _, column := range columns {
		c, status := asks(t, column)
		target := Target{ID: image, OwnerID: ownerProject, Visibility: Shared, Member: status}
		require.Equal(t, slices.Contains(everybody, column), SeesMember(c, target, thirdProject), column)
		itself := slices.Contains(everybody, column) || slices.Contains(members, column)
		require.Equal(t, itself, SeesMember(c, target, c.ProjectID), column)
	}
}
