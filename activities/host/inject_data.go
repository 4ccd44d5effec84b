package host

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/guestfs"
)

// InjectData writes into the root disk's filesystem, and answers what that did not take. It has no undo: what it wrote goes with
// the disk.
func (a *Activities) InjectData(ctx context.Context, in contract.InjectDataInput) (injected contract.InjectedData, err error) {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return injected, err
	}
	defer leave()
	return a.injectData(ctx, dir, in)
}

func (a *Activities) injectData(ctx context.Context, dir string, in contract.InjectDataInput) (injected contract.InjectedData, err error) {
	if a.o.CannotInject != nil && len(in.Metadata.Files) == 0 && slices.ContainsFunc(in.Metadata.Ports, contract.Port.Plugged) {
		// It has another way to be told the rest, but for the password.
		note := "nothing was injected, and the guest is told by the metadata service alone: " + a.o.CannotInject.Error()
		return contract.InjectedData{Notes: []string{forUsers(note, dir)}}, nil
	}
	if a.o.CannotInject != nil {
		return injected, fault.Wrap(fault.HostUnfit, a.o.CannotInject, "nothing can be injected into images on this host, so the server needs a config drive: %v", a.o.CannotInject).NotTheHosts()
	}
	options := contract.InjectOptions{Partition: contract.InjectInspect}
	if in.Options != nil {
		options = *in.Options
	}
	notes, err := guestfs.Inject(ctx, a.o.Limits, a.o.Libguestfs, dir, in.Metadata, options)
	for _, note := range notes {
		a.o.Logger.WarnContext(ctx, "the image did not take everything", "server_id", in.ServerID, "note", note)
		injected.Notes = append(injected.Notes, forUsers(note, dir))
	}
	return injected, err
}

// noteBytes is how much of a note its user gets. The host's log has all of it.
const noteBytes = 255

// forUsers is a note as it leaves the host: without the host's folders, and of what a tool quotes from the image nothing that a
// terminal or a database would take for more than text.
func forUsers(note, dir string) string {
	note = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ReplaceAll(note, dir+"/", ""))
	if len(note) > noteBytes {
		note = strings.ToValidUTF8(note[:noteBytes], "") + "…"
	}
	return note
}
