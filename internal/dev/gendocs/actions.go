package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/actions"
)

const actionsHead = `<!-- Written by internal/dev/gendocs from internal/lifecycle/actions.go, workflows/actions and the comments of activities/: run ` + "`make generate`" + `. -->

# What can be done to a server

One row of the table in [internal/lifecycle/actions.go](../internal/lifecycle/actions.go) for each action. What is done as a
workflow runs under the server's own id, its lock: it is accepted with 202 when the server is marked with the task, and refused
with 409 in Nova's words in any other state, or while anything else is done. One that fails gives back what it took: the server
is what it was, and the instance action says why. A delete that comes meanwhile ends it. A write is a compare-and-set of the
server's row; what is asked beside goes to its host, whatever holds the lock. ` + "`soft-delete`, `soft-delete-rescued` and `soft-delete-resized`" + `, at the end, are what a delete
does where deletes are deferred.

| action | done as | since | who | policy rule | from vm_state | task_state | to vm_state | what it does |
|---|---|---|---|---|---|---|---|---|
`

const statesHead = `
## States

What a server is (Nova's vm_state), the status that users see of it, and how it may go on. Every write compares with the states
that it may come from ([internal/lifecycle/states.go](../internal/lifecycle/states.go)).

| vm_state | status | may become |
|---|---|---|
`

// serverActions renders the actions and the steps of each.
func serverActions(sentences map[string]sentence) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(actionsHead)
	for _, a := range lifecycle.Actions {
		var from []string
		for _, s := range a.From {
			from = append(from, string(s))
		}
		who := "member"
		if a.Admin {
			who = "admin"
		}
		since := fmt.Sprintf("2.%d", a.Since)
		if a.Until > 0 {
			since += fmt.Sprintf(" to 2.%d", a.Until)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | `%s` | %s | %s | %s | %s |\n",
			a.Name, a.How(), since, who, a.Policy, cmp.Or(strings.Join(from, ", "), "any"), a.Task, cmp.Or(string(a.To), "as it was"), cell(a.Does))
	}
	b.WriteString(statesHead)
	for _, s := range lifecycle.States() {
		var ways []string
		for _, t := range lifecycle.Transitions() {
			if slices.Contains(t.From, s) && t.To != s {
				ways = append(ways, fmt.Sprintf("%s, by %s", t.To, t.By))
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s, lifecycle.Status(s, ""), strings.Join(ways, "; "))
	}
	var missing []error
	for _, a := range lifecycle.Tabled() {
		fmt.Fprintf(&b, "\n## %s\n\n| | step | runs on | deadline of one try | task_state | does | undo |\n|---|---|---|---|---|---|---|\n", a.Name)
		steps := actions.Tables()[a.Name]
		for i := range steps {
			steps[i].Phase = a.Task
		}
		missing = append(missing, writeSteps(&b, steps, sentences)...)
	}
	return b.Bytes(), errors.Join(missing...)
}
