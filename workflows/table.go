package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"
)

// Workflows are the server workflows over one build table.
type Workflows struct {
	table table
}

// New makes the workflows over the table in steps.go.
func New() Workflows { return Workflows{table: steps} }

// Table is a copy of the build's rows in order, for what derives from them: docs/build-steps.md, the fault matrix.
func Table() []Step { return slices.Clone(steps) }

// PerHost says whether what the step takes is given back when the build leaves a host, not only when it ends.
func (s Step) PerHost() bool { return s.perHostChain }

// Repeats says whether the step is done once for each NIC.
func (s Step) Repeats() bool { return s.repeat != nil }

// Conditional says whether some builds do without the step.
func (s Step) Conditional() bool { return s.wanted != nil }

// table is the build's rows in order.
type table []Step

// index finds a row by name.
func (t table) index(step string) int {
	i := slices.IndexFunc(t, func(s Step) bool { return s.Name == step })
	if i < 0 {
		panic("no step " + step + " in the build table")
	}
	return i
}

// versionOf asks the engine for the table's version that a run goes by: today's for a new run, its own for one that began
// earlier. A table whose rows were never changed needs no version, and costs no event.
func (t table) versionOf(ctx workflow.Context) workflow.Version {
	newest := workflow.DefaultVersion
	for _, s := range t {
		newest = max(newest, orDefault(s.since), orDefault(s.until))
	}
	if newest == workflow.DefaultVersion {
		return newest
	}
	return workflow.GetVersion(ctx, "build table", workflow.DefaultVersion, newest)
}

func orDefault(v workflow.Version) workflow.Version {
	if v == 0 {
		return workflow.DefaultVersion
	}
	return v
}

// at is the table as it was in a version.
func (t table) at(v workflow.Version) table {
	return slices.DeleteFunc(t.until(v), func(s Step) bool { return s.until != 0 && v >= s.until })
}

// until is every row that there was up to a version, with those that were taken out: a server may have been built by them.
func (t table) until(v workflow.Version) table {
	return slices.DeleteFunc(slices.Clone(t), func(s Step) bool { return v < orDefault(s.since) })
}
