// Package policy lists every route of the API with who may call it. The rules are held where the routes are mounted and in
// the services; the API's test asks a running one in every role, and fails where it and the table differ.
package policy

import (
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/imagepolicy"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// Who is the least that a route asks of its caller, whatever the request is about.
type Who string

// From Token on each is more than the one before. Roles are had on projects: what asks for one asks for a token that is scoped
// to a project. A host's token and a user's are of no use in each other's place.
const (
	Anybody Who = "anybody" // no token is looked at
	Host    Who = "host"    // a host's own token
	Signer  Who = "signer"  // no token, but the signature of somebody's access key (EC2)
	Token   Who = "token"   // any user's token, scoped to a project or not
	Project Who = "project" // any role on the token's project, reader is enough
	Member  Who = "member"
	Admin   Who = "admin"
)

// Route is a row of the table.
type Route struct {
	Method, Path string // the template, as it is mounted
	Who          Who
	But          string // what is decided by more than that, in words; Own where it is by :id alone
	Action       string // of POST …/servers/:id/action, and of the EC2 API: the one that the body names
}

// Own stands where :id names the caller itself or its project, and an admin alone may name another. Elsewhere what belongs to
// another project is 404 to all but admins.
const Own = "another's than the caller's own: admin"

// OwnAlone stands where :id names the caller itself, and nobody may name another.
const OwnAlone = "another's than the caller's own: nobody"

// ServerAction is where a server's actions are asked for.
const ServerAction = "/compute/v2.1/servers/:id/action"

// Routes is the table, with a row more for each word of an action on a server, and for each action of the EC2 API.
func Routes() []Route {
	all := slices.Concat(routes, grants(), metadefs(), ec2Routes())
	for _, r := range all { // the identity API answers HEAD where it answers GET
		if r.Method == "GET" && strings.HasPrefix(r.Path, "/v3/") {
			r.Method = "HEAD"
			all = append(all, r)
		}
	}
	all = append(all, unserved()...)
	for i, a := range lifecycle.Actions {
		if slices.ContainsFunc(lifecycle.Actions[:i], func(b lifecycle.Action) bool { return b.Says() == a.Says() }) {
			continue
		}
		who := Member
		if a.Admin {
			who = Admin
		}
		all = append(all, Route{Method: "POST", Path: ServerAction, Who: who, Action: a.Says()})
	}
	return all
}

// ByTheImage begins the But of what internal/imagepolicy decides.
const ByTheImage = "by the image: "

func image(actions ...imagepolicy.Action) string {
	var names []string
	for _, a := range actions {
		names = append(names, string(a))
	}
	return ByTheImage + strings.Join(names, ", ")
}
