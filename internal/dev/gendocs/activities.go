package main

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/slipway-cloud/slipway/internal/contract"
)

const activitiesHead = `<!-- Written by internal/dev/gendocs from internal/contract/activities.go and the comments of activities/: run ` + "`make generate`" + `. -->

# Activities

One row of the table in [internal/contract/activities.go](../internal/contract/activities.go) for each. Workers register the method of
that name, and what an activity is given and answers is recorded in histories
([change-a-workflow.md](checklists/change-a-workflow.md)). One that owes an undo, or the end of what was accepted, is tried again
whatever it answers. On a host a step waits for its turn and keeps the order of its server, or says why not.

| activity | runs on | takes | answers | owes | on its host | does |
|---|---|---|---|---|---|---|
`

func activities(sentences map[string]sentence) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(activitiesHead)
	var missing []error
	for _, a := range contract.Activities() {
		said, ok := sentences[a.Name]
		if !ok {
			missing = append(missing, fmt.Errorf("%s: no method of that name with a comment in activities/", a.Name))
		}
		fmt.Fprintf(&b, "| [%s](../%s) | %s | %s | %s | %s | %s | %s |\n",
			a.Name, said.file, a.Scope, typeName(a.Input), typeName(a.Output), a.Owes, cell(admitted(a)), cell(said.text))
	}
	return b.Bytes(), errors.Join(missing...)
}

func typeName(t reflect.Type) string {
	if t == nil {
		return ""
	}
	return t.Name()
}

// admitted says how a host admits a step.
func admitted(a contract.Activity) string {
	switch {
	case a.Scope != contract.OnHost:
		return ""
	case a.NoServer != "":
		return "at once: " + a.NoServer
	case a.NoTurn != "":
		return "in its server's order, without a turn: " + a.NoTurn
	}
	return "in its server's order and its turn"
}
