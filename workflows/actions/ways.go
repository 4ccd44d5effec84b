package actions

import (
	"slices"

	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/workflows/run"
)

// Way is an action with the steps that it has for some of the servers that it may be done to.
type Way struct {
	Action lifecycle.Action
	Moved  bool // for those that go, or have gone, to another host
	Steps  []run.Spec
}

// Name is the action's, and says which of two ways it is.
func (w Way) Name() string {
	if w.Moved && w.Action.Name != migrates {
		return w.Action.Name + "-moved"
	}
	return w.Action.Name
}

// migrates is the action that always moves a server, and begins as a resize does that moves one.
const migrates = "migrate"

// Ways are all of them, for what derives from the tables: one for each action, or two where a server's guests may be on two hosts.
func Ways() []Way {
	var all []Way
	for _, a := range lifecycle.Tabled() {
		steps := Tables()[a.Name]
		depends := slices.ContainsFunc(steps, func(s run.Spec) bool { return s.If != "" })
		if a.Name != migrates {
			all = append(all, Way{a, false, without(steps, itMoves)})
		}
		if depends && a.Name != "resize" {
			all = append(all, Way{a, true, without(steps, itStays)})
		}
	}
	return all
}

func without(steps []run.Spec, condition string) []run.Spec {
	return slices.DeleteFunc(slices.Clone(steps), func(s run.Spec) bool { return s.If == condition })
}
