package run

import (
	"slices"

	"go.temporal.io/sdk/workflow"
)

// Table is the rows of one kind of workflow, in order.
type Table[S any] []Row[S]

// Specs are the rows without what they do, for what derives from a table: documents, the fault matrix, another's teardown.
func (t Table[S]) Specs() []Spec {
	all := make([]Spec, len(t))
	for i, row := range t {
		all[i] = row.Spec
	}
	return all
}

// Index finds a row by name.
func (t Table[S]) Index(name string) int {
	i := slices.IndexFunc(t, func(row Row[S]) bool { return row.Name == name })
	if i < 0 {
		panic("no row " + name + " in the table")
	}
	return i
}

// Version asks the engine for the version of a table that a run goes by: today's for a new run, its own for one that began
// earlier. A table whose rows were never changed needs no version, and costs no event.
func Version(ctx workflow.Context, change string, rows []Spec) workflow.Version {
	newest := workflow.DefaultVersion
	for _, row := range rows {
		newest = max(newest, orDefault(row.since), orDefault(row.until))
	}
	if newest == workflow.DefaultVersion {
		return newest
	}
	return workflow.GetVersion(ctx, change, workflow.DefaultVersion, newest)
}

func orDefault(v workflow.Version) workflow.Version {
	if v == 0 {
		return workflow.DefaultVersion
	}
	return v
}

// At is the table as it was in a version.
func (t Table[S]) At(v workflow.Version) Table[S] {
	return slices.DeleteFunc(slices.Clone(t), func(row Row[S]) bool {
		return v < orDefault(row.since) || row.until != 0 && v >= row.until
	})
}

// Now is the table without the rows that were taken out.
func (t Table[S]) Now() Table[S] {
	return slices.DeleteFunc(slices.Clone(t), func(row Row[S]) bool { return row.until != 0 })
}

// Until is every row that there was up to a version, with those that were taken out: what is given back may have been taken
// by them.
func Until(rows []Spec, v workflow.Version) []Spec {
	return slices.DeleteFunc(slices.Clone(rows), func(row Spec) bool { return v < orDefault(row.since) })
}

// section is where the table chooses a place, and where what belongs to the place ends. A table that chooses none is one
// section that is done once.
func (t Table[S]) section() (from, to int) {
	from = slices.IndexFunc(t, func(row Row[S]) bool { return row.chosen != nil })
	if from < 0 {
		return len(t), len(t)
	}
	for to = len(t); to > from && t[to-1].Scope != Placed; to-- {
	}
	return from, max(to, from+1)
}
