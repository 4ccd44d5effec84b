package main

import (
	"bytes"
	"fmt"

	"github.com/slipway-cloud/slipway/internal/policy"
)

const policyHead = `<!-- Written by internal/dev/gendocs from internal/policy: run ` + "`make generate`" + `. -->

# Who may call what

One row of the table in [internal/policy/routes.go](../internal/policy/routes.go) for each route, and one more for each action on a
server. *Who* is the least that a route asks, in the words of [api.md](api.md). Roles are had on projects: project, member and
admin ask for a token that is scoped to one. Without the token that is asked for the answer is 401, with too small a role 403. What
belongs to another project is 404 to all but admins, where no row says otherwise. What an image decides is written down in
[decision 0012](decisions/0012-image-policy.md).

| method | path | who | but |
|---|---|---|---|
`

func whoMayCall() []byte {
	var b bytes.Buffer
	b.WriteString(policyHead)
	for _, r := range policy.Routes() {
		route := code(r.Path)
		if r.Action != "" {
			route += " " + code(r.Action)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.Method, route, r.Who, cell(r.But))
	}
	return b.Bytes()
}
