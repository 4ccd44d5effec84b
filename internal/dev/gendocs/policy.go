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

A *rule* may ask for other roles than that: ` + "`api.policy_file`" + ` names a YAML file of them, in the form of oslo.policy's files
([decision 0077](decisions/0077-rules-of-an-operator.md)), which every api process reads at its start.

` + "```yaml" + `
"os_compute_api:servers:create": "role:builder or role:admin" # a role that an admin made, and no plain member
"os_compute_api:os-services:list": "role:operator or role:admin"
"os_compute_api:servers:resize": "!" # nobody
` + "```" + `

- Whom a rule lets through does what it is of as somebody with the role that *who* names, so that a rule of admins is one about every
  project. What *but* leaves to admins stays theirs. A role that includes another (admin, member, reader) passes where that is asked.
- A rule that is said replaces what the table asks: ` + "`role:operator`" + ` alone refuses admins too.
- It asks for a role, always: nothing can be opened to everybody. Rules of the identity API can be narrowed only.
- Each API has rules of its own: what ` + "`os_compute_api:servers:delete`" + ` refuses, ` + "`ec2:TerminateInstances`" + ` may let through.
- What is not known is refused at the start, with its line. ` + "`slipway policy check FILE`" + ` reads a file without starting anything, and
  ` + "`slipway policy show`" + ` lists the rules.

| method | path | who | but | rule |
|---|---|---|---|---|
`

func whoMayCall() []byte {
	var b bytes.Buffer
	b.WriteString(policyHead)
	for _, r := range policy.Routes() {
		route := code(r.Path)
		if r.Action != "" {
			route += " " + code(r.Action)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", r.Method, route, r.Who, cell(r.But), ruled(r))
	}
	return b.Bytes()
}

func ruled(r policy.Route) string {
	if rule := r.Rule(); rule != "" {
		return code(rule)
	}
	return ""
}
