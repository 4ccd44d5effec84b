package bench

import "testing"

const (
	crowdRounds = 4
	crowdBuilds = 20 // of a turn, however many of them run at once
)

// crowds are how many builds run at once.
var crowds = []int{1, 5, 20}

// benchCrowd has one installation build as many servers in turns, one after another, a few at a time and all at once.
func benchCrowd(b *testing.B, r *report) {
	s := startSite(b, true)
	r.crowd = map[int]series{}
	for round := range crowdRounds + 1 {
		for _, at := range crowds {
			each := s.round(crowdBuilds, at)
			if b.Failed() {
				return
			}
			if round > 0 { // the first one warms it up
				r.crowd[at] = append(r.crowd[at], each)
			}
		}
	}
}
