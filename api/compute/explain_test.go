package compute_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/models"
)

// bootable makes an image that servers can be built of.
func (c *cloud) bootable(t *testing.T) string {
	t.Helper()
	id, name := uuid.NewString(), "debian"
	_, err := c.Store.CreateImage(t.Context(), models.Image{
		ID: id, Name: &name, OwnerID: c.admin.ProjectID, Visibility: "public",
		DiskFormat: new("raw"), ContainerFormat: new("bare"), Properties: map[string]string{"architecture": "x86_64"},
	}, nil)
	require.NoError(t, err)
	for _, to := range []models.ImageMove{
		{To: models.ImageSaving}, {To: models.ImageActive, Bytes: &models.ImageBytes{Size: 1 << 20, Virtual: 1 << 20, SHA512: fmt.Sprintf("%0128x", 1)}},
	} {
		_, err = c.Store.MoveImage(t.Context(), id, to)
		require.NoError(t, err)
	}
	return id
}

func (c *cloud) explain(t *testing.T, u apitest.User, server map[string]any) apitest.Answer {
	t.Helper()
	return c.Do(t, "POST", "/reservations/explain", u.Token, map[string]any{"server": server}, "OpenStack-API-Version", "compute 2.96")
}

func TestAnExplanationSaysWhatTheSameRequestWouldDoAndTakesNothing(t *testing.T) {
	c := newCloud(t)
	image := c.bootable(t)
	asked := map[string]any{"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}
	before, err := c.Store.Snapshot(t.Context(), "tokens")
	require.NoError(t, err)

	a := c.explain(t, c.admin, asked)
	require.Equal(t, 200, a.Status, a.Body)
	e := a.At(t, "explanation").(map[string]any)
	require.Equal(t, true, e["accepted"])
	require.Nil(t, e["refused"])
	require.Nil(t, e["fault"])
	require.Nil(t, e["expected"], "nothing was built yet")
	require.Equal(t, map[string]any{"limit": 10.0, "in_use": 0.0, "asked": 1.0, "left": 10.0}, e["quota"].(map[string]any)["instances"])
	require.Equal(t, map[string]any{"vcpus": 1.0, "ram_mib": 512.0, "disk_gib": 1.0}, e["takes"])
	require.Equal(t, "debian", e["image"].(map[string]any)["name"])
	hosts := e["hosts"].([]any)
	require.Len(t, hosts, 1)
	require.Equal(t, "hv1", hosts[0].(map[string]any)["host"])
	require.Contains(t, hosts[0].(map[string]any)["weighers"], map[string]any{"weigher": "RAMWeigher", "value": 8192.0, "adds": 0.0})

	require.NoError(t, c.Store.SetHostEnabled(t.Context(), c.host.ID, false, new("maintenance")))
	a = c.explain(t, c.admin, asked)
	require.Equal(t, []any{map[string]any{"filter": "ComputeFilter", "removed": 1.0, "hosts": []any{map[string]any{"host": "hv1", "reason": "disabled: maintenance"}}}}, a.At(t, "explanation", "filters"))
	require.Equal(t, true, a.At(t, "explanation", "accepted"), "a create is accepted, and its build fails")
	require.Equal(t, "No valid host was found. Of 1 hosts, ComputeFilter removed 1: hv1 (disabled: maintenance).", a.At(t, "explanation", "fault", "message"))
	a = c.explain(t, c.member, asked)
	require.Equal(t, []any{map[string]any{"filter": "ComputeFilter", "removed": 1.0}}, a.At(t, "explanation", "filters"))
	require.NotContains(t, a.At(t, "explanation"), "hosts", "hosts are named to admins")
	require.Equal(t, "No valid host was found. Of 1 hosts, ComputeFilter removed 1.", a.At(t, "explanation", "fault", "message"))
	require.NoError(t, c.Store.SetHostEnabled(t.Context(), c.host.ID, true, nil))

	after, err := c.Store.Snapshot(t.Context(), "tokens")
	require.NoError(t, err)
	require.Equal(t, before, after, "nothing is written")
	require.Empty(t, c.builds.take())
}

func TestWhatTheFirstStepsOfABuildWouldRefuseIsExplained(t *testing.T) {
	c := newCloud(t)
	image := c.bootable(t)
	refused := func(change map[string]any) any {
		t.Helper()
		asked := map[string]any{"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}
		for k, v := range change {
			asked[k] = v
		}
		a := c.explain(t, c.member, asked)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, false, a.At(t, "explanation", "accepted"))
		return a.At(t, "explanation", "refused")
	}
	require.Equal(t, map[string]any{"step": "ResolveImage", "code": 400.0, "message": "Can not find requested image"}, refused(map[string]any{"imageRef": uuid.NewString()}))
	require.Equal(t, map[string]any{"step": "ClaimQuota", "code": 403.0, "message": "Quota exceeded for instances: Requested 11, but already used 0 of 10 instances"},
		refused(map[string]any{"min_count": 11}))

	a := c.explain(t, c.member, map[string]any{"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none", "min_count": 1, "max_count": 11})
	require.Equal(t, 10.0, a.At(t, "explanation", "admitted"))
}

func TestARequestThatACreateRefusesIsRefusedLikewise(t *testing.T) {
	c := newCloud(t)
	image := c.bootable(t)
	for name, change := range map[string]map[string]any{
		"no flavor":   {"flavorRef": "none"},
		"no zone":     {"availability_zone": "nowhere"},
		"no image":    {"imageRef": "x"},
		"an addition": {"colour": "red"},
		"a host":      {"host": "hv1"},
		"too many":    {"min_count": 3, "max_count": 2},
		"no key pair": {"key_name": "none"},
	} {
		asked := map[string]any{"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}
		for k, v := range change {
			asked[k] = v
		}
		create := c.nova(t, c.member, at96, "POST", "/servers", map[string]any{"server": asked})
		explain := c.explain(t, c.member, asked)
		require.GreaterOrEqual(t, create.Status, 400, name)
		require.Equal(t, create.Status, explain.Status, "%s: %s", name, explain.Body)
		require.Equal(t, create.Message(t), explain.Message(t), name)
	}
	require.Equal(t, 403, c.explain(t, c.reader, map[string]any{"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"}).Status)
}

func TestAnExplanationTellsWhatTheLastBuildsTook(t *testing.T) {
	c := newCloud(t)
	image, at := c.bootable(t), time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, seconds := range []int{2, 4, 30} {
		s := c.row(t, c.member, fmt.Sprint("web", i), at)
		end := at.Add(time.Duration(seconds) * time.Second)
		require.NoError(t, c.Store.Place(t.Context(), models.Placement{ServerID: s.ID, HostID: c.host.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "spawning"))
		c.activate(t, s, end, models.InstanceActionEvent{Seq: 0, Event: "SelectHost", StartedAt: at, EndedAt: new(at.Add(time.Second)), Result: new("Success")},
			models.InstanceActionEvent{Seq: 1, Event: "FetchImage", StartedAt: at.Add(time.Second), EndedAt: &end, Result: new("Success")})
	}
	a := c.explain(t, c.member, map[string]any{"name": "web", "imageRef": image, "flavorRef": "1", "networks": "none"})
	require.Equal(t, map[string]any{"builds": 3.0, "seconds": 4.0, "steps": []any{
		map[string]any{"step": "SelectHost", "seconds": 1.0}, map[string]any{"step": "FetchImage", "seconds": 3.0},
	}}, a.At(t, "explanation", "expected"))
}
