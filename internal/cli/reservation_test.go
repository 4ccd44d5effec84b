package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

const (
	reservationID  = "r-1a2b3c4d"
	reservationURL = "GET /reservations/" + reservationID
)

// reserved is an answer of /reservations/{id} for which 2 to 4 servers were asked.
func reserved(admitted, building, active, failed, deleted int) string {
	return fmt.Sprintf(`{"reservation":{"id":"%s","project_id":"p1","user_id":"u1","min_count":2,"max_count":4,"admitted":%d,"building":%d,
		"active":%d,"error":%d,"deleted":%d,"created_at":"2030-01-02T03:04:05Z"}}`, reservationID, admitted, building, active, failed, deleted)
}

// reservable is an API that accepts a request for several servers.
func reservable(t *testing.T) *api {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian"}]}`)
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[{"id":"1","name":"tiny"}]}`)
	a.json("POST /compute/v2.1/servers", 202, `{"reservation_id":"`+reservationID+`"}`, "X-Compute-Request-Id", requestID)
	return a
}

func bootNode(more ...string) []string {
	return append([]string{"boot", "node", "--image", "debian", "--flavor", "1"}, more...)
}

func TestSeveralServersAreAskedForInOneRequest(t *testing.T) {
	for _, tc := range []struct {
		args        []string
		least, most int
	}{
		{[]string{"--count", "4"}, 4, 4}, {[]string{"--count", "4", "--min-count", "2"}, 2, 4}, {[]string{"--count", "1"}, 1, 1},
	} {
		a := reservable(t)
		a.json(reservationURL, 200, reserved(4, 4, 0, 0, 0))
		got := run(t, bootNode(append(tc.args, "--idempotency-key", "k-1")...)...)
		require.Equal(t, 0, got.code, got.err)
		sent := a.made("POST /compute/v2.1/servers")
		require.Len(t, sent, 1)
		require.JSONEq(t, fmt.Sprintf(`{"server":{"name":"node","imageRef":"im-1","flavorRef":"1","networks":"auto","config_drive":true,
			"min_count":%d,"max_count":%d,"return_reservation_id":true}}`, tc.least, tc.most), sent[0].body)
		require.Equal(t, "k-1", sent[0].header.Get("Idempotency-Key"))
		require.Equal(t, "accepted; follow them with: slipway reservation wait "+reservationID+"\n", got.err)
		require.Equal(t, "id        "+reservationID+"\nasked     2-4\nadmitted  4\nrequest   "+requestID+"\n", got.out)
	}
}

func TestOneServerIsAskedForWithoutCounts(t *testing.T) {
	a := bootable(t)
	require.Equal(t, 0, run(t, bootNode()...).code)
	server := asJSON(t, a.made("POST /compute/v2.1/servers")[0].body)["server"].(show.Object)
	for _, field := range []string{"min_count", "max_count", "return_reservation_id"} {
		require.NotContains(t, server, field)
	}
}

func TestCountsThatCannotBeMeantAreRefusedBeforeAnythingIsSent(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--count", "0"}, "--count is 0: at least 1"}, {[]string{"--count", "-1"}, "--count is -1: at least 1"},
		{[]string{"--count", "2", "--min-count", "3"}, "--min-count is 3: from 1 to the 2 that are wanted"},
		{[]string{"--count", "2", "--min-count", "0"}, "--min-count is 0: at least 1"},
		{[]string{"--max-count", "2", "--min-count", "3"}, "--min-count is 3: from 1 to the 2 that are wanted"},
		{[]string{"--max-count", "2", "--count", "3"}, "[count max-count]"},
	} {
		a := reservable(t)
		got := run(t, bootNode(tc.args...)...)
		require.Equal(t, show.ExitUsage, got.code, "%v: %s", tc.args, got.err)
		require.Contains(t, got.err, tc.want)
		require.Empty(t, a.made("POST /compute/v2.1/servers"))
	}
}

func TestCountsMeanWhatNovaclientsMean(t *testing.T) {
	for _, tc := range []struct {
		args        []string
		least, most float64
	}{
		{[]string{"--min-count", "2"}, 2, 2}, {[]string{"--max-count", "3"}, 1, 3}, {[]string{"--min-count", "2", "--max-count", "3"}, 2, 3},
		{[]string{"--count", "3"}, 3, 3}, {[]string{"--count", "3", "--min-count", "2"}, 2, 3},
	} {
		a := reservable(t)
		a.sequence(reservationURL, reserved(3, 3, 0, 0, 0))
		require.Equal(t, 0, run(t, bootNode(tc.args...)...).code)
		server := asJSON(t, a.made("POST /compute/v2.1/servers")[0].body)["server"].(show.Object)
		require.Equal(t, []any{tc.least, tc.most}, []any{server["min_count"], server["max_count"]}, "%v", tc.args)
	}
}

func TestARefusalOfSeveralServersIsTheAPIsOwn(t *testing.T) {
	a := newAPI(t)
	a.json("GET /image/v2/images", 200, `{"images":[{"id":"im-1","name":"debian"}]}`)
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[{"id":"1","name":"tiny"}]}`)
	a.json("POST /compute/v2.1/servers", 400, `{"badRequest":{"code":400,"message":"Unable to launch multiple instances with a single configured port ID."}}`)
	got := run(t, bootNode("--count", "2", "--nic", "port=p-1")...)
	require.Equal(t, show.ExitRefused, got.code)
	require.Contains(t, got.err, "Error: cannot build 2 servers \"node\"\n  Unable to launch multiple instances with a single configured port ID. (HTTP 400")
	require.Equal(t, []any{show.Object{"port": "p-1"}}, asJSON(t, a.made("POST /compute/v2.1/servers")[0].body)["server"].(show.Object)["networks"])
}

func TestFewerServersThanAskedForAreTold(t *testing.T) {
	const fewer = "only 3 of the 4 servers were admitted: the quota has no room for more (slipway quota show)\n"
	a := reservable(t)
	a.sequence(reservationURL, reserved(3, 3, 0, 0, 0), reserved(3, 3, 0, 0, 0), reserved(3, 0, 3, 0, 0))
	got := run(t, bootNode("--count", "4", "--min-count", "2")...)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, fewer+"accepted; follow them with: slipway reservation wait "+reservationID+"\n", got.err)

	got = run(t, bootNode("--count", "4", "--min-count", "2", "--wait")...)
	require.Equal(t, 0, got.code, "as few were enough: %s", got.err)
	require.Equal(t, "building 4 servers \"node\" ("+reservationID+")\n"+fewer+
		"  3 building, 0 active, 0 error of 3\n  0 building, 3 active, 0 error of 3\nall are ACTIVE after 0 ms\n", got.err)
}

func TestServersThatAreAcceptedButCannotBeCountedAreStillTold(t *testing.T) {
	a := reservable(t)
	a.json(reservationURL, 503, `{"error":{"code":503,"message":"The database does not answer."}}`)
	got := run(t, bootNode("--count", "4", "--min-count", "2")...)
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.err, "how many were admitted cannot be read now: The database does not answer.")
	require.Equal(t, "id       "+reservationID+"\nasked    2-4\nrequest  "+requestID+"\n", got.out)
}

func TestWaitingForSeveralServersCountsThemAndEndsWhenNoneIsBuilding(t *testing.T) {
	a := reservable(t)
	a.sequence(reservationURL, reserved(4, 4, 0, 0, 0), reserved(4, 4, 0, 0, 0), reserved(4, 2, 2, 0, 0), reserved(4, 0, 4, 0, 0))
	got := run(t, bootNode("--count", "4", "--wait")...)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "building 4 servers \"node\" ("+reservationID+")\n  4 building, 0 active, 0 error of 4\n  2 building, 2 active, 0 error of 4\n"+
		"  0 building, 4 active, 0 error of 4\nall are ACTIVE after 0 ms\n", got.err)
	require.Equal(t, "id        "+reservationID+"\nasked     2-4\nadmitted  4\nbuilding  0\nactive    4\nerror     0\ndeleted   0\ncreated   2030-01-02T03:04:05Z\n"+
		"project   p1\nuser      u1\n", got.out)
	require.Len(t, a.made(reservationURL), 4)

	require.Equal(t, result{out: reservationID + "\n"}, run(t, bootNode("--count", "4", "--wait", "--quiet")...))
	got = run(t, bootNode("--count", "4", "--wait", "-o", "json")...)
	require.Equal(t, asJSON(t, reserved(4, 0, 4, 0, 0))["reservation"], any(asJSON(t, got.out)))
	require.Contains(t, run(t, bootNode("--count", "4", "--wait", "-o", "yaml")...).out, "active: 4\n")
}

func TestServersThatFailAreExitOneWithTheCountsAndHowToSeeThem(t *testing.T) {
	a := reservable(t)
	a.sequence(reservationURL, reserved(4, 4, 0, 0, 0), reserved(4, 0, 2, 2, 0))
	got := run(t, bootNode("--count", "4", "--wait", "-o", "json")...)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "  0 building, 2 active, 2 error of 4\nError: 2 of the 4 servers of reservation "+reservationID+" failed\n"+
		"  → slipway server list --reservation "+reservationID+" --status ERROR -o wide   (which, and why)\n"+
		"  → slipway server delete $(slipway server list --reservation "+reservationID+" --status ERROR --quiet)   (their quota is in use until then)\n")
	require.NotContains(t, got.err, "all are ACTIVE")
	require.EqualValues(t, 2, asJSON(t, got.out)["error"])
}

func TestWhatCameOfServersThatAreNotActive(t *testing.T) {
	require.NoError(t, manyFailed(reservationID, counts{admitted: 3, active: 3}))
	for _, tc := range []struct {
		failed, deleted int64
		want            string
	}{
		{1, 0, "1 of the 5 servers of reservation r-1a2b3c4d failed"}, {0, 2, "2 of the 5 servers of reservation r-1a2b3c4d were deleted"},
		{3, 1, "3 of the 5 servers of reservation r-1a2b3c4d failed, 1 was deleted"},
	} {
		require.EqualError(t, manyFailed(reservationID, counts{admitted: 5, failed: tc.failed, deleted: tc.deleted}), tc.want)
	}
}

func TestStoppingToWatchSeveralServersLeavesTheirBuildsRunning(t *testing.T) {
	a := reservable(t)
	ctx, cancel := context.WithCancel(t.Context())
	polls := 0
	a.mux.HandleFunc(reservationURL, func(w http.ResponseWriter, _ *http.Request) {
		switch polls++; polls {
		case 1:
			reply(w, 503, `{"error":{"code":503,"message":"The database does not answer."}}`) // passes
			return
		case 3:
			cancel()
		}
		reply(w, 200, reserved(4, 4, 0, 0, 0))
	})
	got := runWith(t, ctx, "", bootNode("--count", "4", "--wait")...)
	require.Equal(t, show.ExitInterrupted, got.code)
	require.Contains(t, got.err, "Error: stopped watching; the builds of reservation "+reservationID+" go on\n  → slipway reservation wait "+reservationID+" ")

	got = run(t, bootNode("--count", "4", "--wait", "--timeout", "30ms")...)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: gave up waiting; the builds of reservation "+reservationID+" go on\n")
}

func TestAnAnswerWithoutCountsIsNotTakenForTheEnd(t *testing.T) {
	a := reservable(t)
	a.json(reservationURL, 200, `{"reservation":{"id":"`+reservationID+`"}}`)
	got := run(t, bootNode("--count", "4", "--wait")...)
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: the API counts no servers of reservation "+reservationID+"\n")
}

func TestAReservationIsFollowedAgain(t *testing.T) {
	a := newAPI(t)
	a.sequence(reservationURL, reserved(4, 1, 3, 0, 0), reserved(4, 1, 3, 0, 0), reserved(4, 0, 4, 0, 0))
	got := run(t, "reservation", "wait", reservationID)
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "  1 building, 3 active, 0 error of 4\n  0 building, 4 active, 0 error of 4\n", got.err)
	require.Contains(t, got.out, "active    4\n")
}

func TestReservationsAreListedPageByPage(t *testing.T) {
	a := newAPI(t)
	a.mux.HandleFunc("GET /reservations", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("marker") == "" {
			reply(w, 200, `{"reservations":[{"id":"r-2","project_id":"p1","user_id":"u1","min_count":3,"max_count":3,"admitted":3,"building":1,"active":1,"error":1,"deleted":0,"created_at":"2030-01-02T03:04:05Z"}],
				"reservations_links":[{"rel":"next","href":"`+a.URL+`/reservations?marker=r-2"}]}`)
			return
		}
		reply(w, 200, `{"reservations":[{"id":"r-1","project_id":"p1","user_id":"u1","min_count":1,"max_count":9,"admitted":2,"building":0,"active":0,"error":0,"deleted":2,"created_at":"2030-01-01T03:04:05Z"}]}`)
	})
	got := run(t, "reservation", "list")
	require.Equal(t, 0, got.code, got.err)
	require.Equal(t, "ID   ASKED  ADMITTED  BUILDING  ACTIVE  ERROR  DELETED  CREATED\n"+
		"r-2  3      3         1         1       1      0        2030-01-02T03:04:05Z\n"+
		"r-1  1-9    2         0         0       0      2        2030-01-01T03:04:05Z\n", got.out)
	require.Equal(t, "r-2\nr-1\n", run(t, "reservation", "list", "--quiet").out)
	require.Equal(t, "r-1\n", run(t, "reservation", "list", "--limit", "1", "--marker", "r-2", "-o", "name").out)
	calls := a.made("GET /reservations")
	query, err := url.ParseQuery(calls[len(calls)-1].query)
	require.NoError(t, err)
	require.Equal(t, url.Values{"limit": {"1"}, "marker": {"r-2"}}, query)
	require.Contains(t, run(t, "__complete", "reservation", "show", "r-").out, "r-2\tr-2\nr-1\tr-1\n")
	require.Contains(t, run(t, "__complete", "server", "list", "--reservation", "r-1").out, "r-1\tr-1\n")
}

func TestAReservationIsShownByItsId(t *testing.T) {
	a := newAPI(t)
	a.json(reservationURL, 200, reserved(4, 1, 1, 1, 1))
	got := run(t, "reservation", "show", reservationID)
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "asked     2-4\nadmitted  4\nbuilding  1\nactive    1\nerror     1\ndeleted   1\n")

	a.json("GET /reservations/{id}", 404, `{"error":{"code":404,"message":"Reservation r-0 could not be found."}}`)
	for _, verb := range []string{"show", "wait"} {
		got = run(t, "reservation", verb, "r-0")
		require.Equal(t, show.ExitNotFound, got.code)
		require.Equal(t, "Error: there is no reservation \"r-0\"\n  → slipway reservation list\n", got.err)
		require.Equal(t, show.ExitUsage, run(t, "reservation", verb, "").code)
	}
}

func TestTheServersOfAReservationThatFailedAreListedWithTheirFaults(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/servers/detail", 200, `{"servers":[{"id":"1","name":"node-3","status":"ERROR","fault":{"code":500,"message":"No valid host was found."}}]}`)
	got := run(t, "server", "list", "--reservation", reservationID, "--status", "error", "-o", "wide")
	require.Equal(t, 0, got.code, got.err)
	require.Contains(t, got.out, "FAULT\n")
	require.Contains(t, got.out, "No valid host was found.\n")
	query, err := url.ParseQuery(a.made("GET /compute/v2.1/servers/detail")[0].query)
	require.NoError(t, err)
	require.Equal(t, url.Values{"reservation_id": {reservationID}, "status": {"ERROR"}}, query)
}

func TestTheCountsOfAReservationAreOneLine(t *testing.T) {
	require.Equal(t, "998 building, 2 active, 0 error of 1000", counts{admitted: 1000, building: 998, active: 2}.String())
	require.Equal(t, "0 building, 2 active, 0 error, 1 deleted of 3", counts{admitted: 3, active: 2, deleted: 1}.String())
}
