package api

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/policy"
	"github.com/slipway-cloud/slipway/models"
)

func TestEveryRouteHasARowThatSaysWhoMayCallItAndEveryRowARoute(t *testing.T) {
	rows := []string{}
	for _, r := range policy.Routes() {
		if r.Action == "" {
			rows = append(rows, r.Method+" "+r.Path)
		}
	}
	served := mounted(newWorld(t).server)
	require.Empty(t, without(served, rows), "routes without a row in internal/policy")
	require.Empty(t, without(rows, served), "rows of internal/policy whose route is not mounted")
	require.Len(t, rows, len(served), "a route has two rows")
}

// somebody who calls: what of policy.Who they are, and what :id is where it is their own.
type somebody struct {
	name, user, project string
	is                  policy.Who
	headers             []string
}

// judgedByItsBody are the least bodies of routes whose rule asks what the body describes: other routes refuse before they read.
var judgedByItsBody = map[string]any{
	"POST /image/v2/images":       map[string]any{},
	"POST " + policy.ServerAction: map[string]any{"os-getConsoleOutput": map[string]any{}},
}

func TestEveryRouteLetsThroughWhoseRoleItsRowNamesAndNobodyElse(t *testing.T) {
	w := newWorld(t)
	everybody := []somebody{
		{name: "", is: policy.Anybody},
		{name: "", is: policy.Host, headers: []string{"Authorization", "Bearer " + w.admitHost("hv1")}},
		{name: "expired", is: policy.Anybody, user: demoUser, project: demoProject},
		{name: "unscoped", is: policy.Token, user: demoUser},
		{name: "reader", is: policy.Project, user: readerUser, project: demoProject},
		{name: "demo", is: policy.Member, user: demoUser, project: demoProject},
		{name: "admin", is: policy.Admin, user: adminUser, project: adminProject},
	}
	for _, r := range policy.Routes() {
		if r.Path == policy.EC2Path && r.Action != "" {
			continue // in ec2_test.go, signed
		}
		for _, who := range everybody {
			w.holds(r, who, r.Who, false)
			switch r.But {
			case policy.Own:
				w.holds(r, who, policy.Admin, true)
			case policy.OwnAlone:
				w.holds(r, who, nobody, true)
			}
		}
	}
}

// holds asks a route as somebody, and compares with what is the least that it asks: about what is their own, or another's.
func (w *world) holds(r policy.Route, who somebody, least policy.Who, anothers bool) {
	w.t.Helper()
	if r.Path == "/v3/users/:id/tokens" {
		w.issue() // those of before may have been ended by it
	}
	id := uuid.NewString()
	if r.But == policy.Own || r.But == policy.OwnAlone {
		id = cmp.Or(ownOf(r.Path, who, anothers), "nobody")
	}
	body := judgedByItsBody[r.Method+" "+r.Path]
	if r.Action != "" {
		body = map[string]any{r.Action: nil}
	}
	path := parameter.ReplaceAllStringFunc(r.Path, func(name string) string {
		if name == ":id" {
			return id
		}
		return "some"
	})
	// Some actions came with a later microversion, or went with one, and nobody may what there is not.
	version := "2.96"
	if i := slices.IndexFunc(lifecycle.Actions, func(a lifecycle.Action) bool { return a.Says() == r.Action && a.Until > 0 }); i >= 0 {
		version = fmt.Sprintf("2.%d", lifecycle.Actions[i].Until)
	}
	a := w.do(who.name, r.Method, path, body, append([]string{"X-OpenStack-Nova-API-Version", version}, who.headers...)...)
	message := []any{"%s %s %s asked by %s %q, anothers: %t: %s", r.Method, r.Path, r.Action, who.is, who.name, anothers, a.body}
	switch {
	case allows(who.is, least):
		require.NotContains(w.t, []int{http.StatusUnauthorized, http.StatusForbidden}, a.status, message...)
	case known(who.is) && known(least):
		require.Equal(w.t, http.StatusForbidden, a.status, message...)
		if rule := strings.SplitN(r.Rule(), ":", 3); rule[0] == "os_compute_api" && who.is != policy.Token {
			require.Contains(w.t, string(a.body), rule[0]+":"+rule[1], message...) // a refusal says by which rule
		}
	default:
		require.Equal(w.t, http.StatusUnauthorized, a.status, message...)
	}
}

// ownOf is the id of the caller or its project, as the path asks for one or the other; or another's.
func ownOf(path string, who somebody, anothers bool) string {
	switch users := strings.HasPrefix(path, "/v3/users/:id"); {
	case users && anothers:
		return otherUser
	case users:
		return who.user
	case anothers:
		return otherProject
	case who.project == "":
		return demoProject // of the user of an unscoped token
	}
	return who.project
}

// levels are those who have a user's token, each more than the one before.
var levels = []policy.Who{policy.Token, policy.Project, policy.Member, policy.Admin, nobody}

// nobody is what is asked where not even an admin may.
const nobody policy.Who = "nobody"

func known(who policy.Who) bool { return slices.Contains(levels, who) }

// allows says whether who may call what asks for the least.
func allows(who, least policy.Who) bool {
	switch {
	case least == policy.Anybody, who == least:
		return true
	case !known(who), !known(least):
		return false
	}
	return slices.Index(levels, who) >= slices.Index(levels, least)
}

// admitHost makes a host and gives its token.
func (w *world) admitHost(hostname string) string {
	w.t.Helper()
	token, hash := auth.NewToken()
	_, err := w.store.RegisterHost(w.t.Context(), models.Host{
		ID: uuid.NewString(), Hostname: hostname, AvailabilityZone: "nova", TokenHash: hash, Architectures: []string{},
		CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, VCPUs: 1, MemoryMiB: 64, SeenAt: time.Now(), CreatedAt: time.Now(),
	})
	require.NoError(w.t, err)
	return token
}
