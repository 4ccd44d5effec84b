package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
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

// guests are how the guest of a server in a state may be, and what makes server and guest one again. One that is off is no finding
// where whoever looks at the guests says so of its server, or nobody does (a rescued server stays one).
var guests = map[lifecycle.VMState]struct {
	may     []string
	instead string
}{
	lifecycle.Active:      {[]string{"running", "shutoff", "crashed"}, "reboot it hard"},
	lifecycle.Paused:      {[]string{"paused", "shutoff", "crashed"}, "unpause it, and pause it again"},
	lifecycle.Suspended:   {[]string{contract.GuestSaved}, "reboot it hard: what was in its memory is lost"},
	lifecycle.Stopped:     {[]string{"shutoff", "crashed"}, "reboot it hard, and stop it again"},
	lifecycle.Rescued:     {[]string{"running", "shutoff", "crashed"}, "unrescue it"},
	lifecycle.Resized:     {[]string{"running", "shutoff", "crashed"}, "confirm its resize, or revert it"},
	lifecycle.Shelved:     {[]string{"shutoff", "crashed", contract.GuestSaved}, "unshelve it, or turn the guest off"},
	lifecycle.SoftDeleted: {[]string{"shutoff", "crashed", contract.GuestSaved}, "restore it, or delete it by force"},
}

// unlike says how a guest is that is not what its server is, and what to do; "" where it is, or nobody told.
func unlike(state lifecycle.VMState, guest string) string {
	is := guests[state]
	if guest == "" || slices.Contains(is.may, guest) {
		return ""
	}
	words := map[string]string{
		"running": "runs", "paused": "is paused", "shutoff": "is off, and its memory was not kept", contract.GuestSaved: "is off, with its memory kept",
	}
	return cmp.Or(words[guest], "is "+guest) + "; " + is.instead
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
