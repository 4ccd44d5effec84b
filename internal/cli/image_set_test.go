package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const changeable = `{"id":"im-1","name":"debian","status":"active","visibility":"private","min_disk":0,"protected":false,"tags":["lts"],"os_distro":"debian","a/b~c":"1"}`

func TestAChangeIsOnePatch(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	a.json("PATCH /image/v2/images/im-1", 200, changeable)
	got := run(t, "image", "set", "debian", "--name", "sid", "--shared", "--protected", "--min-disk", "4", "--hidden", "--os-distro", "sid",
		"--property", "a/b~c=2", "--property", "hw_disk_bus=virtio", "--tag", "lts", "--tag", "new")
	require.Equal(t, 0, got.code, got.err)
	sent := a.made("PATCH /image/v2/images/im-1")[0]
	require.Equal(t, "application/openstack-images-v2.1-json-patch", sent.header.Get("Content-Type"))
	require.JSONEq(t, `[
		{"op":"replace","path":"/a~1b~0c","value":"2"},
		{"op":"add","path":"/hw_disk_bus","value":"virtio"},
		{"op":"replace","path":"/min_disk","value":4},
		{"op":"replace","path":"/name","value":"sid"},
		{"op":"replace","path":"/os_distro","value":"sid"},
		{"op":"replace","path":"/os_hidden","value":true},
		{"op":"replace","path":"/protected","value":true},
		{"op":"replace","path":"/tags","value":["lts","new"]},
		{"op":"replace","path":"/visibility","value":"shared"}]`, sent.body)
}

func TestWhatIsAsAskedAlreadyIsNotSentAgain(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	require.Equal(t, 0, run(t, "image", "set", "debian", "--tag", "lts").code)
	require.Equal(t, show.ExitUsage, run(t, "image", "set", "debian").code)
}

func TestKernelAndRamdiskAreNamedByNameOrId(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`,{"id":"k-1","name":"vmlinuz"}]}`)
	a.json("PATCH /image/v2/images/im-1", 200, changeable)
	require.Equal(t, 0, run(t, "image", "set", "debian", "--kernel-id", "vmlinuz").code)
	require.JSONEq(t, `[{"op":"add","path":"/kernel_id","value":"k-1"}]`, a.made("PATCH /image/v2/images/im-1")[0].body)
}

func TestPropertiesAndTagsAreRemovedInOneChangeOrNotAtAll(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	a.json("PATCH /image/v2/images/im-1", 200, changeable)
	require.Equal(t, 0, run(t, "image", "unset", "debian", "--property", "os_distro", "--property", "a/b~c", "--tag", "lts").code)
	require.JSONEq(t, `[{"op":"remove","path":"/os_distro"},{"op":"remove","path":"/a~1b~0c"},{"op":"replace","path":"/tags","value":[]}]`,
		a.made("PATCH /image/v2/images/im-1")[0].body)
	for _, args := range [][]string{{"--property", "os_distro", "--property", "nope"}, {"--tag", "lts", "--tag", "nope"}} {
		got := run(t, append([]string{"image", "unset", "debian"}, args...)...)
		require.Equal(t, show.ExitNotFound, got.code, got.err)
	}
	require.Len(t, a.made("PATCH /image/v2/images/im-1"), 1)
	require.Equal(t, "a/b~c\nos_distro\n:4\n", run(t, "__complete", "image", "unset", "debian", "--property", "").out)
}

func TestImagesAreDeactivatedAndReactivatedByTheirOwnVerbsOrBySet(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	a.json("GET /image/v2/images/im-1", 200, changeable)
	a.json("POST /image/v2/images/im-1/actions/deactivate", 204, "")
	a.json("POST /image/v2/images/im-1/actions/reactivate", 204, "")
	require.Equal(t, "deactivated image debian\n", run(t, "image", "deactivate", "debian").err)
	require.Equal(t, "reactivated image debian\n", run(t, "image", "reactivate", "debian").err)
	require.Equal(t, 0, run(t, "image", "set", "debian", "--deactivate").code)
	require.Equal(t, 0, run(t, "image", "set", "debian", "--activate").code)
	require.Len(t, a.made("POST /image/v2/images/im-1/actions/deactivate"), 2)
	require.Len(t, a.made("POST /image/v2/images/im-1/actions/reactivate"), 2)
	for _, other := range []string{"--name=sid", "--tag=lts", "--accept"} {
		got := run(t, "image", "set", "debian", "--deactivate", other)
		require.Equal(t, show.ExitUsage, got.code)
		require.Contains(t, got.err, "--activate and --deactivate stand alone")
	}
	require.Len(t, a.made("POST /image/v2/images/im-1/actions/deactivate"), 2)
}

func TestImagesAreSharedAcceptedAndUnshared(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/auth/projects", 200, `{"projects":[{"id":"p-2","name":"other"}]}`)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	member := `{"member_id":"p-2","image_id":"im-1","status":"pending","created_at":"2030-01-02T00:00:00Z"}`
	a.json("POST /image/v2/images/im-1/members", 200, member)
	a.json("GET /image/v2/images/im-1/members", 200, `{"members":[`+member+`]}`)
	a.json("GET /image/v2/images/im-1/members/p-2", 200, member)
	a.json("DELETE /image/v2/images/im-1/members/p-2", 204, "")
	a.json("PUT /image/v2/images/im-1/members/"+project, 200, `{"member_id":"`+project+`","image_id":"im-1","status":"accepted"}`)
	a.json("PUT /image/v2/images/im-1/members/p-2", 200, member)

	got := run(t, "image", "member", "add", "debian", "other")
	require.Equal(t, "shared image debian with project p-2, which can accept it: slipway image member accept im-1\n", got.err)
	require.JSONEq(t, `{"member":"p-2"}`, a.made("POST /image/v2/images/im-1/members")[0].body)
	require.Equal(t, "PROJECT  STATUS   IMAGE\np-2      pending  im-1\n", run(t, "image", "member", "list", "debian").out)
	require.Contains(t, run(t, "image", "member", "show", "debian", "other").out, "status   pending\n")
	require.Contains(t, run(t, "image", "member", "accept", "debian").out, "accepted")
	require.Equal(t, 0, run(t, "image", "member", "reject", "debian", "--project", "other").code)
	require.Equal(t, 0, run(t, "image", "set", "debian", "--accept").code)
	require.JSONEq(t, `{"status":"accepted"}`, a.made("PUT /image/v2/images/im-1/members/" + project)[1].body)
	require.JSONEq(t, `{"status":"rejected"}`, a.made("PUT /image/v2/images/im-1/members/p-2")[0].body)
	require.Equal(t, 0, run(t, "image", "member", "remove", "debian", "other").code)
	require.Len(t, a.made("DELETE /image/v2/images/im-1/members/p-2"), 1)
	require.Equal(t, "p-2\tpending\n:4\n", run(t, "__complete", "image", "member", "remove", "debian", "").out)
}

func TestAnImageThatIsNotSharedSaysHowToShareIt(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	a.json("POST /image/v2/images/im-1/members", 403, `{"message":"Only shared images have members."}`)
	got := run(t, "image", "member", "add", "debian", project)
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "it is private: slipway image set im-1 --shared")
}

func TestAProjectThatNobodyListsIsTakenAsAnId(t *testing.T) {
	a := newAPI(t)
	a.json("GET /v3/auth/projects", 200, `{"projects":[]}`)
	a.sequence("GET /v3/projects", "404", `{"projects":[]}`, `{"projects":[{"id":"p-1","name":"x"},{"id":"p-2","name":"x"}]}`)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	a.json("POST /image/v2/images/im-1/members", 200, `{}`)
	require.Equal(t, 0, run(t, "image", "member", "add", "debian", "x").code)
	require.JSONEq(t, `{"member":"x"}`, a.made("POST /image/v2/images/im-1/members")[0].body)
	require.Equal(t, show.ExitNotFound, run(t, "image", "member", "add", "debian", "x").code)
	require.Equal(t, show.ExitUsage, run(t, "image", "member", "add", "debian", "x").code)
}

func TestOnlyTheBytesInOneStoreAreDeleted(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[`+changeable+`]}`)
	a.json("DELETE /image/v2/stores/slow/im-1", 204, "")
	require.Equal(t, "deleted image debian from store slow\n", run(t, "image", "delete", "debian", "--store", "slow").err)

	a = newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian","stores":"slow"}]}`)
	a.json("DELETE /image/v2/stores/slow/im-1", 403, `{"message":"Cannot delete image data from the only store containing it."}`)
	require.Contains(t, run(t, "image", "delete", "debian", "--store", "slow").err, "→ it lies nowhere else: slipway image delete im-1 deletes it whole\n")
}

func TestAProtectedImageSaysHowToUnprotectIt(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian","protected":true}]}`)
	a.json("DELETE /image/v2/images/im-1", 403, `{"message":"Image im-1 is protected and cannot be deleted."}`)
	got := run(t, "image", "delete", "debian")
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "→ it is protected: slipway image set im-1 --unprotected\n")
}
