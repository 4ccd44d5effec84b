package models

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"gorm.io/gorm"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

func tokenOf(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return sum[:]
}

func TestATokenStandsForItsUserProjectAndRolesUntilAnyOfThemEnds(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	require.NoError(t, w.EnsureRole(ctx, "u1", "p1", "admin"))
	require.NoError(t, w.EnsureRole(ctx, "u1", "p1", "admin"))
	at := now()
	scoped := Token{Hash: tokenOf("scoped"), AuditID: "a", UserID: "u1", Scope: Scope{ProjectID: "p1"}, Methods: "password", IssuedAt: at, ExpiresAt: at.Add(time.Hour)}
	unscoped := Token{Hash: tokenOf("unscoped"), AuditID: "b", UserID: "u1", Methods: "password", IssuedAt: at, ExpiresAt: at.Add(time.Minute)}
	require.NoError(t, w.CreateToken(ctx, scoped))
	require.NoError(t, w.CreateToken(ctx, unscoped))
	demo, domain := Named{"u1", "demo"}, Named{"default", "Default"}
	got, err := w.Token(ctx, scoped.Hash, at)
	require.NoError(t, err)
	require.Equal(t, TokenInfo{Token: scoped, User: demo, UserDomain: domain, Project: Named{"p1", "demo"}, ProjectDomain: domain, Roles: []string{"admin", "member"}}, got)
	got, err = w.Token(ctx, unscoped.Hash, at)
	require.NoError(t, err)
	require.Equal(t, TokenInfo{Token: unscoped, User: demo, UserDomain: domain, Roles: []string{}}, got)

	gone := func(hash []byte, at time.Time, why string) {
		t.Helper()
		_, err := w.Token(ctx, hash, at)
		require.Error(t, err, why)
		requireFault(t, err, fault.NotFound, "Could not find token.")
	}
	gone(tokenOf("unknown"), at, "unknown")
	gone(scoped.Hash, at.Add(time.Hour), "expired")
	for _, change := range []struct{ off, on string }{
		{`UPDATE users SET enabled = false`, `UPDATE users SET enabled = true`},
		{`UPDATE projects SET enabled = false`, `UPDATE projects SET enabled = true`},
		{`DELETE FROM role_assignments`, `INSERT INTO role_assignments VALUES ('u1', 'p1', 'member')`},
	} {
		require.NoError(t, w.exec(ctx, change.off))
		gone(scoped.Hash, at, change.off)
		require.NoError(t, w.exec(ctx, change.on))
		_, err = w.Token(ctx, scoped.Hash, at)
		require.NoError(t, err)
	}
	n, err := w.PurgeTokens(ctx, at.Add(2*time.Minute))
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
	gone(unscoped.Hash, at, "purged")
	require.NoError(t, w.DeleteToken(ctx, scoped.Hash))
	require.NoError(t, w.DeleteToken(ctx, scoped.Hash), "again")
	gone(scoped.Hash, at, "revoked")
	scoped.UserID = "u9"
	requireFault(t, w.CreateToken(ctx, scoped), fault.NotFound, "Could not find user: u9.")
}

func TestEnsuringAnIdentityFindsWhatIsThere(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	p, err := w.EnsureProject(ctx, Project{ID: "another", Name: "demo", DomainID: "default"})
	require.NoError(t, err)
	require.Equal(t, w.project, p)
	u, err := w.EnsureUser(ctx, User{ID: "another", Name: "demo", DomainID: "default", PasswordHash: "y"})
	require.NoError(t, err)
	require.Equal(t, w.user, u, "its password stays")
	found, err := w.UserByName(ctx, "default", "demo")
	require.NoError(t, err)
	require.Equal(t, u, found)
	found, err = w.User(ctx, "u1")
	require.NoError(t, err)
	require.Equal(t, u, found)
	_, err = w.UserByName(ctx, "other", "demo")
	requireFault(t, err, fault.NotFound, "Could not find user: demo.")
	p, err = w.ProjectByName(ctx, "default", "demo")
	require.NoError(t, err)
	require.Equal(t, w.project, p)
	_, err = w.Project(ctx, "p9")
	requireFault(t, err, fault.NotFound, "Could not find project: p9.")
	projects, err := w.ListProjects(ctx, IdentityFilter{UserID: "u1"})
	require.NoError(t, err)
	require.Equal(t, []Project{w.project}, projects)
	roles, err := w.Roles(ctx, "u1", Scope{ProjectID: "p1"})
	require.NoError(t, err)
	require.Equal(t, []string{"member"}, roles)
	requireFault(t, w.EnsureRole(ctx, "u1", "p1", "owner"), fault.NotFound, "Could not find role: owner.")
	users, err := w.ListUsers(ctx, IdentityFilter{})
	require.NoError(t, err)
	require.Len(t, users, 1)
	all, err := w.ListProjects(ctx, IdentityFilter{})
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func TestFlavorsAreUniqueByIDAndNameAndPageInEveryOrder(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	for i := range 9 {
		f := Flavor{ID: fmt.Sprint(i), Name: fmt.Sprint("f", 9-i), VCPUs: 1 + i%2, RAMMiB: 512 * (1 + i%3), DiskGiB: i, RxTxFactor: 1, Public: i != 4, ExtraSpecs: map[string]string{"hw:x": "y"}}
		got, err := w.CreateFlavor(ctx, f)
		require.NoError(t, err)
		read, err := w.Flavor(ctx, f.ID)
		require.NoError(t, err)
		require.Equal(t, got, read)
	}
	_, err := w.CreateFlavor(ctx, Flavor{ID: "1", Name: "new", VCPUs: 1, RAMMiB: 1})
	requireFault(t, err, fault.Conflict, "Flavor with ID 1 already exists.")
	_, err = w.CreateFlavor(ctx, Flavor{ID: "new", Name: "f1", VCPUs: 1, RAMMiB: 1})
	requireFault(t, err, fault.Conflict, "Flavor with name f1 already exists.")
	for _, key := range []string{"", "name", "vcpus", "memory_mb", "root_gb"} {
		for _, desc := range []bool{false, true} {
			whole, err := w.ListFlavors(ctx, FlavorFilter{SortKey: key, SortDesc: desc, Public: new(true)})
			require.NoError(t, err)
			require.Len(t, whole, 8)
			var paged []Flavor
			for {
				f := FlavorFilter{SortKey: key, SortDesc: desc, Public: new(true), Limit: 3}
				if len(paged) > 0 {
					f.Marker = paged[len(paged)-1].ID
				}
				page, err := w.ListFlavors(ctx, f)
				require.NoError(t, err)
				if len(page) == 0 {
					break
				}
				paged = append(paged, page...)
			}
			require.Equal(t, whole, paged)
		}
	}
	few, err := w.ListFlavors(ctx, FlavorFilter{MinRAMMiB: 1536, MinDiskGiB: 5, Disabled: new(false)})
	require.NoError(t, err)
	require.Len(t, few, 2)
	_, err = w.ListFlavors(ctx, FlavorFilter{Marker: "x"})
	requireFault(t, err, fault.Invalid, "marker [x] not found")
	require.NoError(t, w.DeleteFlavor(ctx, "1"))
	requireFault(t, w.DeleteFlavor(ctx, "1"), fault.NotFound, "Flavor 1 could not be found.")
	_, err = w.Flavor(ctx, "1")
	requireFault(t, err, fault.NotFound, "Flavor 1 could not be found.")
}

func TestTwentyKeysAtOnceStayWithinTheLimit(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	errs := atOnce(20, func(i int) error {
		_, err := w.CreateKeyPair(ctx, KeyPair{UserID: "u1", Name: fmt.Sprintf("k%02d", i), Type: "ssh", PublicKey: "ssh-rsa x"}, 5)
		return err
	})
	require.Equal(t, 5, succeeded(errs))
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.OverQuota, "Quota exceeded, too many key pairs.")
		}
	}
	all, err := w.ListKeyPairs(ctx, "u1", "", 0)
	require.NoError(t, err)
	require.Len(t, all, 5)
	_, err = w.CreateKeyPair(ctx, all[0], -1)
	requireFault(t, err, fault.Conflict, "Key pair '"+all[0].Name+"' already exists.")
	page, err := w.ListKeyPairs(ctx, "u1", all[1].Name, 2)
	require.NoError(t, err)
	require.Equal(t, all[2:4], page)
	_, err = w.ListKeyPairs(ctx, "u1", "x", 2)
	requireFault(t, err, fault.Invalid, "marker [x] not found")
	one, err := w.KeyPair(ctx, "u1", all[0].Name)
	require.NoError(t, err)
	require.Equal(t, all[0], one)
	require.NoError(t, w.DeleteKeyPair(ctx, "u1", one.Name))
	requireFault(t, w.DeleteKeyPair(ctx, "u1", one.Name), fault.NotFound, "Keypair "+one.Name+" not found for user u1")
	_, err = w.KeyPair(ctx, "u1", one.Name)
	requireFault(t, err, fault.NotFound, "Keypair "+one.Name+" not found for user u1")
}

func TestAQuotaIsTheDefaultUntilTheProjectHasItsOwn(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	defaults := ProjectQuota{Instances: 10, Cores: 20, RAMMiB: 51200, KeyPairs: 100}
	for range 2 {
		q, err := w.Quota(ctx, "p1", defaults)
		require.NoError(t, err)
		require.Equal(t, 20, q.Cores)
		require.Equal(t, "p1", q.ProjectID)
		require.NoError(t, w.SetQuota(ctx, "p1", map[string]int{"instances": 1, "cores": 7}, defaults))
		require.NoError(t, w.SetQuota(ctx, "p1", map[string]int{"cores": -1, "ram": 0, "floating_ips": 5}, defaults))
		require.NoError(t, w.SetQuota(ctx, "p1", map[string]int{"cores": -1}, ProjectQuota{}), "nothing new")
		q, err = w.Quota(ctx, "p1", defaults)
		require.NoError(t, err)
		require.Equal(t, ProjectQuota{ProjectID: "p1", Instances: 1, Cores: -1, KeyPairs: 100, Unused: map[string]int{"floating_ips": 5}}, q)

		require.NoError(t, w.SetQuotaClass(ctx, DefaultQuotaClass, map[string]int{"key_pairs": 7, "cores": 8}))
		require.NoError(t, w.SetQuotaClass(ctx, "gold", map[string]int{"cores": 9}))
		q, err = w.Quota(ctx, "p1", defaults)
		require.NoError(t, err)
		require.Equal(t, []int{1, -1, 7}, []int{q.Instances, q.Cores, q.KeyPairs}, "what was not set follows the class")
		q, err = w.QuotaClass(ctx, "gold", defaults)
		require.NoError(t, err)
		require.Equal(t, []int{10, 9, 100}, []int{q.Instances, q.Cores, q.KeyPairs})
		require.NoError(t, w.ResetQuota(ctx, "p1"))
		require.NoError(t, w.exec(ctx, "DELETE FROM quota_classes"))
	}
	requireFault(t, w.SetQuota(ctx, "p9", map[string]int{"cores": 1}, defaults), fault.NotFound, "Could not find project: p9.")
}

func TestAQuotaThatTheVersionBeforeWritesIsSet(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	old := `INSERT INTO project_quotas (project_id, instances, cores, ram_mib, key_pairs) VALUES ('p1', $1, 2, 3, 4)
ON CONFLICT (project_id) DO UPDATE SET instances = excluded.instances, cores = excluded.cores, ram_mib = excluded.ram_mib, key_pairs = excluded.key_pairs`
	require.NoError(t, w.exec(ctx, old, 1))
	require.NoError(t, w.SetQuota(ctx, "p1", map[string]int{"server_groups": 6}, ProjectQuota{}))
	require.NoError(t, w.exec(ctx, old, 5))
	q, err := w.Quota(ctx, "p1", ProjectQuota{MetadataItems: 128})
	require.NoError(t, err)
	require.Equal(t, ProjectQuota{ProjectID: "p1", Instances: 5, Cores: 2, RAMMiB: 3, KeyPairs: 4, MetadataItems: 128, ServerGroups: 6}, q)
	var instances int
	require.NoError(t, w.SetQuota(ctx, "p1", map[string]int{"instances": 8}, ProjectQuota{}))
	require.NoError(t, w.pool.QueryRow(ctx, "SELECT instances FROM project_quotas").Scan(&instances))
	require.Equal(t, 8, instances, "and it reads what this one writes")
}

func activeImage(t *testing.T, w *world, i Image) Image {
	t.Helper()
	ctx := context.Background()
	i.ID, i.DiskFormat, i.ContainerFormat = uuid.NewString(), new("qcow2"), new("bare")
	_, err := w.CreateImage(ctx, i, nil)
	require.NoError(t, err)
	require.NoError(t, w.move(i.ID, ImageMove{To: ImageSaving}))
	require.NoError(t, w.move(i.ID, stored(3)))
	got, err := w.Image(ctx, i.ID)
	require.NoError(t, err)
	return got
}

func (w *world) move(id string, m ImageMove) error {
	_, err := w.MoveImage(context.Background(), id, m)
	return err
}

// stored makes an image of the size active.
func stored(size int64) ImageMove {
	return ImageMove{From: ImageSaving, To: ImageActive, Bytes: &ImageBytes{Size: size, Virtual: 9, MD5: "m", SHA512: "s"},
		Stored: []ImageLocation{{Store: "local", URL: "file:///x"}}}
}

func TestAnUploadHasOneWinnerAndCanBeTriedAgain(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	id := w.image.ID
	begin := ImageMove{From: ImageQueued, To: ImageSaving}
	errs := atOnce(20, func(int) error { return w.move(id, begin) })
	require.Equal(t, 1, succeeded(errs))
	for _, err := range errs {
		if err != nil {
			requireFault(t, err, fault.Conflict, "Image status transition from saving to saving is not allowed")
		}
	}
	stale, err := w.ImagesByStatus(ctx, ImageSaving, now().Add(time.Second))
	require.NoError(t, err)
	require.Len(t, stale, 1)
	stale, err = w.ImagesByStatus(ctx, ImageSaving, now().Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, stale)
	require.NoError(t, w.move(id, ImageMove{From: ImageSaving, To: ImageQueued}))
	requireFault(t, w.move(id, ImageMove{To: ImageActive}), fault.Conflict, "Image status transition from queued to active is not allowed")
	require.NoError(t, w.move(id, begin))
	require.NoError(t, w.move(id, stored(3)))
	requireFault(t, w.move("none", begin), fault.NotFound, "No image found with ID none")
	_, err = w.CreateImage(ctx, Image{ID: id, OwnerID: "p1", Visibility: "private"}, nil)
	requireFault(t, err, fault.Conflict, "Image ID "+id+" already exists!")
}

func TestEveryStepOfAnImageIsTheTablesAndNoOther(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	for from := range imageTransitions {
		for to := range imageTransitions {
			if from == ImageDeleted || from == ImagePendingDelete || to == ImageDeleted || to == ImagePendingDelete {
				continue // a delete is DeleteImage
			}
			i := activeImage(t, w, Image{OwnerID: "p1", Visibility: "private"})
			require.NoError(t, w.db.Model(&Image{}).Where("id = ?", i.ID).Update("status", from).Error)
			_, err := w.MoveImage(ctx, i.ID, ImageMove{From: from, To: to, Bytes: &ImageBytes{}})
			if slices.Contains(imageTransitions[from], to) {
				require.NoError(t, err, "%s to %s", from, to)
			} else {
				requireFault(t, err, fault.Conflict, fmt.Sprintf("Image status transition from %s to %s is not allowed", from, to))
			}
		}
	}
}

func TestWhatIsAnnouncedIsWrittenWithTheChangeOrNotAtAll(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	announced := func(i Image) []Notification {
		return []Notification{{EventType: "image.test", ResourceID: i.ID, Payload: []byte(`{"status":"` + string(i.Status) + `"}`)}}
	}
	told := func() (payloads []string) {
		require.NoError(t, w.db.Raw("SELECT payload->>'status' FROM notifications ORDER BY id").Scan(&payloads).Error)
		return payloads
	}
	i, err := w.CreateImage(ctx, Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "private"}, announced)
	require.NoError(t, err)
	_, err = w.CreateImage(ctx, i, announced)
	requireFault(t, err, fault.Conflict, "Image ID "+i.ID+" already exists!")
	require.NoError(t, w.move(i.ID, ImageMove{To: ImageSaving}))
	requireFault(t, w.move(i.ID, ImageMove{From: ImageQueued, To: ImageSaving, Announce: announced}), fault.Conflict, "Image status transition from saving to saving is not allowed")
	over := stored(10)
	over.Announce, over.Limit = announced, 9
	requireFault(t, w.move(i.ID, over), fault.TooLarge, "The size of the data exceeds the quota: the project's images would take 10 of 9 bytes.")
	require.Equal(t, []string{"queued"}, told())
	over.Limit = 10
	require.NoError(t, w.move(i.ID, over))
	_, err = w.DeleteImage(ctx, i.ID, announced)
	require.NoError(t, err)
	require.Equal(t, []string{"queued", "active", "pending_delete"}, told())
}

func TestAProjectsImagesTogetherStayWithinTheLimitHoweverManyComeAtOnce(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	var ids []string
	for range 10 {
		i, err := w.CreateImage(ctx, Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "private"}, nil)
		require.NoError(t, err)
		require.NoError(t, w.move(i.ID, ImageMove{To: ImageSaving}))
		ids = append(ids, i.ID)
	}
	errs := atOnce(len(ids), func(n int) error {
		m := stored(10)
		m.Limit = 35
		return w.move(ids[n], m)
	})
	require.Equal(t, 3, succeeded(errs))
	used, err := w.ImageUsage(ctx, "p1")
	require.NoError(t, err)
	require.EqualValues(t, 30, used)
}

func TestBytesInTwoStoresCountTwiceAndTheLastPlaceStays(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	i := activeImage(t, w, Image{OwnerID: "p1", Visibility: "private"})
	second := ImageLocation{Store: "cold", URL: "s3://x"}
	_, err := w.AddImageLocation(ctx, i.ID, second, 5)
	requireFault(t, err, fault.TooLarge, "The size of the data exceeds the quota: the project's images would take 6 of 5 bytes.")
	for range 2 {
		i, err = w.AddImageLocation(ctx, i.ID, second, 6)
		require.NoError(t, err)
		require.Len(t, i.Locations, 2)
	}
	read, err := w.Image(ctx, i.ID)
	require.NoError(t, err)
	require.Equal(t, i.Locations, read.Locations)
	_, err = w.RemoveImageLocation(ctx, i.ID, "tape", nil)
	requireFault(t, err, fault.NotFound, "Image "+i.ID+" is not stored in store tape.")
	_, err = w.RemoveImageLocation(ctx, i.ID, "local", nil)
	require.NoError(t, err)
	_, err = w.RemoveImageLocation(ctx, i.ID, "cold", nil)
	requireFault(t, err, fault.Forbidden, "Cannot delete image data from the only store containing it. Consider deleting the image instead.")
}

func TestStagedBytesAreRecordedOnceAndCountUntilTheyAreImported(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	id := w.image.ID
	_, err := w.StageImage(ctx, id, "local", 5, 0)
	requireFault(t, err, fault.Conflict, "Image status transition from queued to uploading is not allowed")
	require.NoError(t, w.move(id, ImageMove{To: ImageUploading}))
	_, err = w.StageImage(ctx, id, "local", 5, 4)
	requireFault(t, err, fault.TooLarge, "The size of the data exceeds the quota: the project's images would take 5 of 4 bytes.")
	_, err = w.StageImage(ctx, id, "local", 5, 0)
	require.NoError(t, err)
	_, err = w.StageImage(ctx, id, "local", 5, 0)
	requireFault(t, err, fault.Conflict, "Image status transition from uploading to uploading is not allowed")
	used, err := w.ImageUsage(ctx, "p1")
	require.NoError(t, err)
	require.EqualValues(t, 5, used)
	require.NoError(t, w.move(id, ImageMove{To: ImageImporting}))
	i, err := w.MoveImage(ctx, id, ImageMove{To: ImageQueued})
	require.NoError(t, err)
	require.Nil(t, i.StagedStore)
}

func TestADeletedImageIsInvisibleAndAProtectedOneStays(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	i := activeImage(t, w, Image{OwnerID: "p1", Visibility: "private", Protected: true})
	remove := func() error {
		_, err := w.DeleteImage(ctx, i.ID, nil)
		return err
	}
	requireFault(t, remove(), fault.Forbidden, "Image "+i.ID+" is protected and cannot be deleted.")
	_, err := w.UpdateImage(ctx, i.ID, ImageUpdate{Protected: new(false)})
	require.NoError(t, err)
	require.NoError(t, remove())
	requireFault(t, remove(), fault.NotFound, "No image found with ID "+i.ID)
	_, err = w.Image(ctx, i.ID)
	requireFault(t, err, fault.NotFound, "No image found with ID "+i.ID)
	_, err = w.UpdateImage(ctx, i.ID, ImageUpdate{})
	requireFault(t, err, fault.NotFound, "No image found with ID "+i.ID)
	all, err := w.ListImages(ctx, ImageFilter{Admin: true})
	require.NoError(t, err)
	require.Len(t, all, 1, "only the world's own")
	_, err = w.ListImages(ctx, ImageFilter{Admin: true, Marker: i.ID})
	requireFault(t, err, fault.Invalid, "marker ["+i.ID+"] not found")
	_, err = w.CreateImage(ctx, Image{ID: i.ID, OwnerID: "p1", Visibility: "private"}, nil)
	requireFault(t, err, fault.Conflict, "Image ID "+i.ID+" already exists!")
	states := func(want ImageStatus) {
		got, err := w.ImagesByStatus(ctx, want, now().Add(time.Hour))
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, i.ID, got[0].ID)
	}
	states(ImagePendingDelete)
	for range 2 {
		require.NoError(t, w.ForgetImage(ctx, i.ID))
		states(ImageDeleted)
	}
	gone, err := w.DeleteImage(ctx, w.image.ID, nil)
	require.NoError(t, err)
	require.Equal(t, ImageDeleted, gone.Status, "it had no bytes")
}

func TestASharedImageIsListedToThoseWhoAcceptedIt(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	_, err := w.EnsureProject(ctx, Project{ID: "p2", Name: "other", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	i := activeImage(t, w, Image{OwnerID: "p1", Visibility: "shared"})
	note := func(m ImageMember) Notification {
		return Notification{EventType: "image.member.test", ResourceID: m.ImageID, Payload: []byte(`{}`)}
	}
	listed := func(f ImageFilter) int {
		f.ProjectID = "p2"
		f.IDs = []string{i.ID}
		all, err := w.ListImages(ctx, f)
		require.NoError(t, err)
		return len(all)
	}
	require.Equal(t, 0, listed(ImageFilter{MemberStatus: "all"}))
	_, err = w.AddImageMember(ctx, i.ID, "p9", 1, note)
	requireFault(t, err, fault.Invalid, "There is no project 'p9' to share the image with.")
	errs := atOnce(5, func(int) error {
		_, err := w.AddImageMember(ctx, i.ID, "p2", 5, note)
		return err
	})
	require.Equal(t, 1, succeeded(errs))
	_, err = w.AddImageMember(ctx, i.ID, "p1", 1, note)
	requireFault(t, err, fault.TooLarge, "The limit has been exceeded on the number of allowed image members for this image. Attempted: 2, Maximum: 1")
	require.Equal(t, 0, listed(ImageFilter{}))
	require.Equal(t, 1, listed(ImageFilter{MemberStatus: "pending"}))
	m, err := w.SetImageMember(ctx, i.ID, "p2", "accepted", note)
	require.NoError(t, err)
	require.Equal(t, "accepted", m.Status)
	require.Equal(t, 1, listed(ImageFilter{}))
	require.Equal(t, 0, listed(ImageFilter{MemberStatus: "rejected"}))
	private := "private"
	_, err = w.UpdateImage(ctx, i.ID, ImageUpdate{Visibility: &private})
	require.NoError(t, err)
	require.Equal(t, 0, listed(ImageFilter{MemberStatus: "all"}), "members count only while it is shared")
	require.NoError(t, w.RemoveImageMember(ctx, i.ID, "p2", note))
	requireFault(t, w.RemoveImageMember(ctx, i.ID, "p2", note), fault.NotFound, "p2 not found in the member list of the image "+i.ID+".")
}

func TestAnImagesDescriptionChangesWholeAndNotBehindAReadersBack(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	i := activeImage(t, w, Image{OwnerID: "p1", Visibility: "private", Name: new("a"), Tags: []string{"x"}, Properties: map[string]string{"os": "linux"}})
	got, err := w.UpdateImage(ctx, i.ID, ImageUpdate{Name: new("b"), Visibility: new("public"), MinRAMMiB: new(64), Tags: &[]string{}, Properties: &map[string]string{"k": "v"}, IfUpdatedAt: &i.UpdatedAt})
	require.NoError(t, err)
	read, err := w.Image(ctx, i.ID)
	require.NoError(t, err)
	require.Equal(t, got, read)
	require.Equal(t, "b", *got.Name)
	require.Equal(t, map[string]string{"k": "v"}, got.Properties)
	require.Empty(t, got.Tags)
	require.Equal(t, i.SHA512, got.SHA512)
	_, err = w.UpdateImage(ctx, i.ID, ImageUpdate{Name: new("c"), IfUpdatedAt: &i.UpdatedAt})
	requireFault(t, err, fault.Conflict, "Image "+i.ID+" was changed by another request. Please try again.")
	_, err = w.UpdateImage(ctx, i.ID, ImageUpdate{DiskFormat: new("raw")})
	requireFault(t, err, fault.Forbidden, "Attribute disk_format can be only replaced for a queued image.")
	got, err = w.UpdateImage(ctx, i.ID, ImageUpdate{ClearName: true, DiskFormat: new("qcow2")})
	require.NoError(t, err)
	require.Nil(t, got.Name)
}

func TestAnImageListingShowsWhatTheAskerMaySee(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	_, err := w.EnsureProject(ctx, Project{ID: "p2", Name: "other", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	for _, visibility := range []string{"public", "private", "community"} {
		for _, owner := range []string{"p1", "p2"} {
			activeImage(t, w, Image{Name: new(visibility + "-" + owner), OwnerID: owner, Visibility: visibility,
				Tags: []string{visibility}, Properties: map[string]string{"owner": owner, "quote": `a"b\c`}})
		}
	}
	for name, c := range map[string]struct {
		f    ImageFilter
		want string
	}{
		"its own and the public ones":  {ImageFilter{ProjectID: "p2"}, "cirros community-p2 private-p2 public-p1 public-p2"},
		"community by asking":          {ImageFilter{ProjectID: "p2", Visibility: "community"}, "community-p1 community-p2"},
		"all":                          {ImageFilter{ProjectID: "p2", Visibility: "all"}, "cirros community-p1 community-p2 private-p2 public-p1 public-p2"},
		"private":                      {ImageFilter{ProjectID: "p2", Visibility: "private"}, "private-p2"},
		"an admin":                     {ImageFilter{Admin: true, Visibility: "private"}, "private-p1 private-p2"},
		"owner":                        {ImageFilter{ProjectID: "p2", OwnerID: "p1"}, "cirros public-p1"},
		"names":                        {ImageFilter{ProjectID: "p2", Names: []string{"public-p1", "private-p1"}}, "public-p1"},
		"statuses":                     {ImageFilter{ProjectID: "p2", Statuses: []ImageStatus{ImageQueued}}, "cirros"},
		"tags and properties together": {ImageFilter{Admin: true, Tags: []string{"public"}, Properties: map[string]string{"owner": "p2", "quote": `a"b\c`}}, "public-p2"},
		"formats":                      {ImageFilter{ProjectID: "p1", DiskFormats: []string{"raw"}, ContainerFormats: []string{"bare"}}, ""},
		"size":                         {ImageFilter{ProjectID: "p1", Compare: []Comparison{{"size", "gte", 3}, {"size", "lt", 4}, {"created_at", "lte", now()}}, Protected: new(false), OwnerID: "p2"}, "public-p2"},
	} {
		t.Run(name, func(t *testing.T) {
			c.f.Sort = []Sort{{Key: "name"}}
			all, err := w.ListImages(ctx, c.f)
			require.NoError(t, err)
			var names []string
			for _, i := range all {
				names = append(names, *i.Name)
			}
			require.Equal(t, c.want, strings.Join(names, " "))
		})
	}
	private, err := w.ListImages(ctx, ImageFilter{Admin: true, Names: []string{"private-p1"}})
	require.NoError(t, err)
	_, err = w.ListImages(ctx, ImageFilter{ProjectID: "p2", Marker: private[0].ID})
	requireFault(t, err, fault.Invalid, "marker ["+private[0].ID+"] not found")
	for _, sort := range [][]Sort{nil, {{Key: "size"}, {Key: "name", Desc: true}}, {{Key: "disk_format", Desc: true}}} {
		whole, err := w.ListImages(ctx, ImageFilter{ProjectID: "p1", Sort: sort})
		require.NoError(t, err)
		var paged []Image
		for {
			f := ImageFilter{ProjectID: "p1", Sort: sort, Limit: 2}
			if len(paged) > 0 {
				f.Marker = paged[len(paged)-1].ID
			}
			page, err := w.ListImages(ctx, f)
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
		}
		require.Equal(t, whole, paged)
	}
}

func TestAHostThatRegistersAgainKeepsItsIDAndStaysDisabled(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 4, 4096, 40)
	require.NoError(t, w.SetHostEnabled(ctx, h.ID, false, new("maintenance")))
	looked, err := w.Host(ctx, h.ID)
	require.NoError(t, err)
	require.NoError(t, w.SetHostToken(ctx, h.ID, tokenOf("new")))
	_, err = w.RegisterHost(ctx, looked)
	requireFault(t, err, fault.Conflict, "Host n1 exists already, with another token.") // the old token does not come back
	requireFault(t, w.SetHostToken(ctx, "h9", tokenOf("h9")), fault.NotFound, "Compute host h9 could not be found.")
	again, err := w.RegisterHost(ctx, Host{ID: "another", Hostname: "n1", TokenHash: tokenOf("new"), VCPUs: 8, CPURatio: 1, RAMRatio: 1, DiskRatio: 1,
		Enabled: true, Ready: true, StartedAt: now(), SeenAt: now()})
	require.NoError(t, err)
	require.Equal(t, h.ID, again.ID)
	require.Equal(t, 8, again.VCPUs)
	require.False(t, again.Enabled)
	require.Equal(t, "maintenance", *again.DisabledReason)
	for _, read := range []func() (Host, error){
		func() (Host, error) { return w.Host(ctx, h.ID) },
		func() (Host, error) { return w.HostByName(ctx, "n1") },
		func() (Host, error) { return w.HostByToken(ctx, tokenOf("new")) },
	} {
		got, err := read()
		require.NoError(t, err)
		require.Equal(t, again, got)
	}
	_, err = w.HostByToken(ctx, tokenOf("n1"))
	require.Equal(t, fault.NotFound, fault.KindOf(err), "the old token is void")
	_, err = w.RegisterHost(ctx, Host{Hostname: "n2", TokenHash: tokenOf("new"), CPURatio: 1, RAMRatio: 1, DiskRatio: 1})
	requireFault(t, err, fault.Conflict, "The token of host n2 belongs to another host.")
	requireFault(t, w.HeartbeatHost(ctx, "h9", HostHeartbeat{}, now()), fault.NotFound, "Compute host h9 could not be found.")
	at := now().Add(time.Minute)
	require.NoError(t, w.HeartbeatHost(ctx, h.ID, HostHeartbeat{Ready: false, NotReadyReason: new("down"), VCPUs: 2, Version: "v2"}, at))
	hosts, err := w.ListHosts(ctx)
	require.NoError(t, err)
	require.True(t, at.Equal(hosts[0].SeenAt))
	require.Equal(t, "down", *hosts[0].NotReadyReason)
	require.Equal(t, 2, hosts[0].VCPUs)
	require.Zero(t, hosts[0].Servers)
}

func TestASnapshotShowsEveryChangeButWhatIsLeftOut(t *testing.T) {
	w := newWorld(t)
	before, without := w.snapshot(t), w.snapshot(t, "claims", "projects.description")
	require.NotContains(t, without, "claims")
	require.NoError(t, w.exec(context.Background(), `UPDATE projects SET description = 'new'`))
	require.NotEqual(t, before, w.snapshot(t))
	require.Equal(t, without, w.snapshot(t, "claims", "projects.description"))
}

// statements catches what gorm sends.
func statements(t *testing.T, w *world, f func()) []string {
	t.Helper()
	var got []string
	seen := func(db *gorm.DB) {
		got = append(got, db.Dialector.Explain(db.Statement.SQL.String(), db.Statement.Vars...))
	}
	require.NoError(t, w.db.Callback().Query().After("gorm:query").Register("test:seen", seen))
	require.NoError(t, w.db.Callback().Row().After("gorm:row").Register("test:seen", seen))
	defer func() {
		require.NoError(t, w.db.Callback().Query().Remove("test:seen"))
		require.NoError(t, w.db.Callback().Row().Remove("test:seen"))
	}()
	f()
	return got
}

func TestAListingTakesAsManyQueriesForManyAsForOne(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	h := w.host(t, "n1", 100, 40960, 400)
	add := func() {
		v := w.record(t, "s")
		require.NoError(t, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1}, "networking"))
		_, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: "p1", NetworkID: w.network.ID})
		require.NoError(t, err)
	}
	count := func() int {
		return len(statements(t, w, func() {
			_, err := w.ListServers(ctx, ServerFilter{ProjectID: "p1"})
			require.NoError(t, err)
		}))
	}
	add()
	one := count()
	require.Positive(t, one)
	for range 12 {
		add()
	}
	require.Equal(t, one, count())
}

func TestTheMainQueriesUseIndexes(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	explain := func(name, sql string, args ...any) {
		t.Helper()
		tx, err := w.pool.Begin(ctx)
		require.NoError(t, err)
		defer func() { require.NoError(t, tx.Rollback(ctx)) }()
		_, err = tx.Exec(ctx, `SET LOCAL enable_seqscan = off`)
		require.NoError(t, err)
		rows, err := tx.Query(ctx, "EXPLAIN (COSTS OFF) "+sql, args...)
		require.NoError(t, err, name)
		var plan []string
		for rows.Next() {
			var line string
			require.NoError(t, rows.Scan(&line))
			plan = append(plan, line)
		}
		require.NoError(t, rows.Err(), name)
		whole := strings.Join(plan, "\n")
		require.NotContains(t, whole, "Seq Scan", "%s: %s\n%s", name, sql, whole)
		require.Contains(t, whole, "Index", "%s: %s\n%s", name, sql, whole)
	}
	explain("Token", tokenSQL, tokenOf("x"), now())
	explain("ClaimQuota's lock", lockProjectSQL, "p1")
	explain("ClaimQuota", claimSQL, named{
		"project_id": "p1", "server_id": "s", "instances": 1, "cores": 1, "ram_mib": 1, "at": now(), "max_instances": 1,
		"max_cores": 1, "max_ram_mib": 1,
	})
	explain("Place's lock", lockHostSQL, "h")
	explain("Place", placeSQL, named{
		"host_id": "h", "server_id": "s", "role": PlacementActive, "id": "p", "vcpus": 1, "memory_mib": 1, "disk_gib": 1, "at": now(), "task_state": "networking",
		"left": []string{}, "zone": "",
	})
	explain("HostNeedsImage", needsImageSQL, "h", "i")
	explain("AllocatePort's lock", lockNetworkSQL, "n")
	explain("AllocatePort", makePortSQL, named{
		"id": "id", "network_id": w.network.ID, "project_id": "p1", "server_id": nil, "nic_index": 0, "hostname": "n1",
		"tag": "", "macs": ids.MACs("id"), "wanted": "[]", "at": now(), "task_state": nil,
		"ip_allocation": AllocateIPs, "draft": "{}", "limit": 500, "groups": []string{},
	})
	explain("AllocatePort of a user's port", bindPortSQL, named{
		"id": "id", "project_id": "p1", "server_id": "s", "nic_index": 0, "hostname": "n1", "tag": "", "at": now(),
		"task_state": nil,
	})

	v := w.record(t, "s")
	at := now()
	sent := statements(t, w, func() {
		for _, f := range []func() error{
			func() error { _, err := w.Server(ctx, v.ID); return err },
			func() error {
				_, err := w.ListServers(ctx, ServerFilter{ProjectID: "p1", Limit: 10, Marker: v.ID})
				return err
			},
			func() error { _, err := w.ListServers(ctx, ServerFilter{Limit: 10}); return err },
			func() error { _, err := w.ListServers(ctx, ServerFilter{HostID: "h"}); return err },
			func() error { _, err := w.ListServers(ctx, ServerFilter{Deleted: true, Limit: 10}); return err },
			func() error { _, err := w.ListServers(ctx, ServerFilter{ChangesSince: &at}); return err },
			func() error { _, err := w.Image(ctx, w.image.ID); return err },
			func() error { _, err := w.ListImages(ctx, ImageFilter{ProjectID: "p1", Limit: 10}); return err },
			func() error { _, err := w.ListImages(ctx, ImageFilter{Admin: true, Limit: 10}); return err },
			func() error { _, err := w.ImagesByStatus(ctx, ImageSaving, at); return err },
			func() error { _, err := w.ListPorts(ctx, PortFilter{ServerIDs: []string{v.ID}}); return err },
			func() error { _, err := w.ListPorts(ctx, PortFilter{ProjectID: "p1", Limit: 10}); return err },
			func() error { _, err := w.ListNetworks(ctx, NetworkFilter{ProjectID: "p1"}); return err },
			func() error { _, err := w.Quota(ctx, "p1", ProjectQuota{}); return err },
			func() error { _, err := w.UserByName(ctx, "default", "demo"); return err },
			func() error { _, err := w.HostByName(ctx, "n1"); _ = err; return nil },
			func() error { _, err := w.HostByToken(ctx, tokenOf("x")); _ = err; return nil },
			func() error { _, err := w.Actions(ctx, v.ID); return err },
			func() error { _, err := w.Placements(ctx, v.ID); return err },
			func() error { _, err := w.ListKeyPairs(ctx, "u1", "", 0); return err },
			func() error { _, err := w.ListProjects(ctx, IdentityFilter{UserID: "u1"}); return err },
		} {
			require.NoError(t, f())
		}
	})
	require.GreaterOrEqual(t, len(sent), 30)
	for _, sql := range sent {
		explain("gorm", sql)
	}
}
