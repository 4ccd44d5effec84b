package compute

// What microversions_test.go walks through.
var (
	Bodies   = bodies
	MinMinor = minMinor
	MaxMinor = maxMinor
	NumberOf = numberOf
)
