package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Zones. The fake hypervisors are two, so that a build has somewhere else to go; the real one is alone.
const (
	zoneFake    = "fake"
	zoneLibvirt = "libvirt"
)

// boot is what one client does, as the seed has drawn it.
type boot struct {
	n     int
	name  string
	zone  string
	image int // which of the images
	port  bool
	// key is the Idempotency-Key; without one a create is not repeated.
	key     string
	refused bool // asks for more than the quota
	// deleteAfter is how long after the answer the server is deleted, whatever it is doing; negative: it may finish.
	deleteAfter time.Duration
	// short says that the server goes as soon as it is ACTIVE; long, that it goes while others stay, when faults have ended.
	short, long bool
}

// crash is one process that is killed.
type crash struct {
	kind  string
	which int           // of that kind, modulo how many there are
	after int           // boots that have begun by then
	wait  time.Duration // and then so long
}

// plan draws all that the run does.
func plan(seed uint64, boots, faults, images int) ([]boot, []crash) {
	r := rand.New(rand.NewPCG(seed, 0x51197a7))
	one := func(in int) bool { return r.IntN(in) == 0 }
	all := make([]boot, boots)
	for i := range all {
		b := boot{n: i, name: fmt.Sprintf("chaos-%d", i), zone: zoneFake, image: i * images / boots, deleteAfter: -1}
		if one(6) {
			b.zone = zoneLibvirt
		}
		b.port = one(5)
		if !one(3) {
			b.key = fmt.Sprintf("chaos-%d-%d", seed, i)
		}
		switch {
		case one(12):
			b.refused = true
		case one(5):
			b.deleteAfter = time.Duration(r.IntN(1500)) * time.Millisecond
		}
		b.short, b.long = one(2), one(2)
		all[i] = b
	}
	// Every kind in each round, in another order each time: each is killed as often as the others.
	crashes := make([]crash, faults)
	var round []int
	for k := range crashes {
		if len(round) == 0 {
			round = r.Perm(len(kinds))
		}
		crashes[k] = crash{
			kind:  kinds[round[0]],
			which: r.IntN(1 << 16),
			after: 1 + k*boots/faults,
			wait:  time.Duration(r.IntN(1000)) * time.Millisecond,
		}
		round = round[1:]
	}
	return all, crashes
}
