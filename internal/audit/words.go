package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// missingPorts says which NICs of a server have no port; "" where none is known to be missing.
func missingPorts(s *Server, nics []int) string {
	want := s.NICs
	for _, n := range nics {
		want = max(want, n+1)
	}
	var missing []string
	for n := range want {
		if !slices.Contains(nics, n) {
			missing = append(missing, fmt.Sprint(n))
		}
	}
	switch len(missing) {
	case 0:
		return ""
	case 1:
		return "the port of its interface " + missing[0] + " is gone"
	}
	return "the ports of its interfaces " + strings.Join(missing, ", ") + " are gone"
}

// foreignFiles tells of files that no step makes, and so no repair removes.
func foreignFiles(t contract.Instance) string {
	if len(t.Foreign) == 0 {
		return ""
	}
	return "; it also holds what Slipway did not make (" + strings.Join(t.Foreign, ", ") + "): remove that by hand"
}

// fetchable are the images of those names in the cache that the image store still has.
func fetchable(names []string, images map[string]contract.Image) []contract.Image {
	var all []contract.Image
	for _, name := range names {
		if image, ok := images[name]; ok {
			all = append(all, image)
		}
	}
	return all
}

// short lists names, checksums without most of their length.
func short(names []string) string {
	const enough = 16
	cut := make([]string, len(names))
	for i, n := range names {
		if cut[i] = n; len(n) == 128 && !strings.Contains(n, "/") {
			cut[i] = "image " + n[:enough] + "…"
		}
	}
	return strings.Join(cut, ", ")
}

func bytesText(n int64) string {
	const mib = 1 << 20
	if n < mib {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MiB", n/mib)
}

// adoptable tells how a guest becomes a server again: where the database does not know it at all, and its host does.
func (x index) adoptable(t contract.Instance, host string) string {
	if x.servers[t.ID] != nil || !t.Facts {
		return ""
	}
	return "; `slipway server adopt " + t.ID + " --host " + host + "` makes it one again"
}
