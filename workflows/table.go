package workflows

import "slices"

// Table is a copy of the build's rows in order, for what derives from them: docs/build-steps.md, the fault matrix.
func Table() []Step { return slices.Clone(steps) }

// PerHost says whether what the step takes is given back when the build leaves a host, not only when it ends.
func (s Step) PerHost() bool { return s.perHostChain }

// Repeats says whether the step is done once for each NIC.
func (s Step) Repeats() bool { return s.repeat != nil }

// Conditional says whether some builds do without the step.
func (s Step) Conditional() bool { return s.wanted != nil }
