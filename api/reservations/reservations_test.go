package reservations_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/api/reservations"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

type fields = map[string]any

// admit makes a reservation of so many servers and gives the first one's id.
func admit(t *testing.T, e *apitest.Env, owner apitest.User, image string, least, most int, at time.Time) string {
	t.Helper()
	first := uuid.NewString()
	_, err := e.Store.AdmitServers(t.Context(), models.Admission{
		Reservation: models.Reservation{
			ServerID: first, ID: ids.Reservation(first), ProjectID: owner.ProjectID, UserID: owner.UserID, MinCount: least, MaxCount: most,
		},
		Server: models.Server{ProjectID: owner.ProjectID, UserID: owner.UserID, ImageID: image, FlavorID: "1", CreatedAt: at},
		Row: func(i, of int) (id, name, hostname string) {
			id = ids.ReservedServer(first, i)
			name, hostname = ids.Reserved(id, "web", "web", i, of)
			return id, name, hostname
		},
		Claim: models.Claim{Instances: 1}, Limits: models.Limits{Instances: -1, Cores: -1, RAMMiB: -1},
		Action: models.InstanceAction{RequestID: "req-" + first, Action: "create", UserID: owner.UserID, ProjectID: owner.ProjectID},
	})
	require.NoError(t, err)
	return first
}

func TestAReservationIsCountedForItsProjectAndForAdmins(t *testing.T) {
	e := apitest.New(t, func(e *echo.Echo, store *models.Store) { reservations.New(store).Mount(e.Group("/reservations")) })
	member, reader, stranger, admin := e.User(t, "one", "member"), e.User(t, "one", "reader"), e.User(t, "two", "member"), e.User(t, "three", "admin")
	image := uuid.NewString()
	_, err := e.Store.CreateImage(t.Context(), models.Image{ID: image, OwnerID: member.ProjectID, Status: models.ImageActive, Visibility: "public"}, nil)
	require.NoError(t, err)
	noon := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	first := admit(t, e, member, image, 2, 4, noon)
	own := []string{ids.Reservation(first)}
	for i := range 2 {
		own = append(own, ids.Reservation(admit(t, e, member, image, 1, 2, noon.Add(time.Duration(i+1)*time.Minute))))
	}
	foreign := ids.Reservation(admit(t, e, stranger, image, 1, 2, noon.Add(time.Hour)))
	ctx := t.Context()
	require.NoError(t, e.Store.ActivateServer(ctx, models.Activation{ServerID: first, PowerState: 1}))
	require.NoError(t, e.Store.FailServer(ctx, ids.ReservedServer(first, 1), "req-"+first, models.ServerFault{Code: 500, Message: "x"}, nil))
	require.NoError(t, e.Store.RemoveServer(ctx, ids.ReservedServer(first, 2), "", nil, time.Now()))

	for _, u := range []apitest.User{member, reader, admin} {
		a := e.Do(t, "GET", "/reservations/"+own[0], u.Token, nil)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, fields{
			"id": own[0], "project_id": member.ProjectID, "user_id": member.UserID, "min_count": 2.0, "max_count": 4.0, "admitted": 4.0,
			"building": 1.0, "active": 1.0, "error": 1.0, "deleted": 1.0, "created_at": "2030-01-02T12:00:00Z",
		}, a.At(t, "reservation"))
	}
	for _, path := range []string{"/reservations/" + own[0], "/reservations/r-00000000"} {
		a := e.Do(t, "GET", path, stranger.Token, nil)
		require.Equal(t, 404, a.Status, "%s: %s", path, a.Body)
	}
	require.Equal(t, 401, e.Do(t, "GET", "/reservations", "", nil).Status)
	require.Equal(t, 401, e.Do(t, "GET", "/reservations/"+own[0], "", nil).Status)

	list := func(u apitest.User, query string) []string {
		t.Helper()
		a := e.Do(t, "GET", "/reservations"+query, u.Token, nil)
		require.Equal(t, 200, a.Status, a.Body)
		ids := []string{}
		for _, r := range a.At(t, "reservations").([]any) {
			ids = append(ids, r.(fields)["id"].(string))
		}
		return ids
	}
	require.Equal(t, []string{own[2], own[1], own[0]}, list(member, ""))
	require.Equal(t, []string{foreign}, list(stranger, ""))
	require.Equal(t, []string{foreign, own[2], own[1], own[0]}, list(admin, ""))
	require.Equal(t, []string{own[1]}, list(member, "?limit=1&marker="+own[2]))
	next := e.Do(t, "GET", "/reservations?limit=2", member.Token, nil).At(t, "reservations_links").([]any)
	require.Contains(t, fmt.Sprint(next), "marker="+own[1])

	for query, message := range map[string]string{
		"?status=ERROR":      `There is no filter "status" of reservations.`,
		"?marker=" + foreign: "marker [" + foreign + "] not found",
		"?limit=-1":          "",
	} {
		a := e.Do(t, "GET", "/reservations"+query, member.Token, nil)
		require.Equal(t, 400, a.Status, "%s: %s", query, a.Body)
		if message != "" {
			require.Equal(t, message, a.Message(t))
		}
	}
}
