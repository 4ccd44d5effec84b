package host

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/durable"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/program"
)

// Folders in a server's own while it is rebuilt.
const (
	nextName     = "next"     // what follows, until it is in place
	previousName = "previous" // all of the guest of before, when all of it is there
	movingName   = "previous.part"
)

// ReplaceGuest puts the guest that was built in the place of the one that there is, which is turned off and kept beside it. The
// domain is defined anew, off. Conflict where nothing says of what the old guest could be made again.
func (a *Activities) ReplaceGuest(ctx context.Context, in contract.ReplaceGuestInput) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	next, previous, moving := filepath.Join(dir, nextName), filepath.Join(dir, previousName), filepath.Join(dir, movingName)
	if !isThere(previous) {
		switch {
		case !isThere(next):
			return fault.New(fault.Internal, "nothing was built that could follow server %s", in.ServerID)
		case !isThere(filepath.Join(dir, factsName)) && !isThere(filepath.Join(moving, factsName)):
			return fault.New(fault.Conflict, "Nothing on host %s says what instance %s was: it was built before that was kept.", a.o.Hostname, in.ServerID)
		}
		if err := a.turnOff(ctx, in.ServerID); err != nil {
			return err
		}
		err = os.Mkdir(moving, 0o711)
		if err == nil || errors.Is(err, fs.ErrExist) {
			err = errors.Join(moveGuest(dir, moving), os.Rename(moving, previous), durable.SyncDir(dir))
		}
		if err != nil {
			return program.Fault(err, "setting the guest of server "+in.ServerID+" aside")
		}
	}
	if isThere(next) {
		if err := errors.Join(moveGuest(next, dir), os.Remove(next), durable.SyncDir(dir)); err != nil {
			return program.Fault(err, "putting the new guest of server "+in.ServerID+" in place")
		}
	}
	d := in.Facts.Domain()
	d.Facts = &in.Facts
	return a.define(ctx, dir, d)
}

// RestoreGuest puts the guest of before back in its place, off, and removes the one that was to follow.
func (a *Activities) RestoreGuest(ctx context.Context, in contract.Undo) error {
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return err
	}
	defer leave()
	previous, moving := filepath.Join(dir, previousName), filepath.Join(dir, movingName)
	if !isThere(previous) && !isThere(moving) {
		return nil
	}
	if err := a.turnOff(ctx, in.ServerID); err != nil {
		return err
	}
	if isThere(previous) {
		// While all of the old guest is there, whatever lies in its place is the new one's.
		if err := errors.Join(removeGuest(dir), os.Rename(previous, moving)); err != nil {
			return program.Fault(err, "removing the new guest of server "+in.ServerID)
		}
	}
	if err := errors.Join(moveGuest(moving, dir), durable.SyncDir(dir)); err != nil {
		return program.Fault(err, "putting the guest of server "+in.ServerID+" back in place")
	}
	facts, err := a.facts(dir, in.ServerID)
	if err != nil {
		return err
	}
	if err := a.define(ctx, dir, facts.Domain()); err != nil {
		return err
	}
	return program.Fault(os.Remove(moving), "removing "+moving)
}

// guestFiles are the names of all that a guest is made of in a folder: not its console, which is the server's, nor another guest.
func guestFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), consoleName) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// moveGuest moves one; what a move before this has moved is there already. What a killed host has half written is no part of it.
func moveGuest(from, to string) error {
	names, err := guestFiles(from)
	for _, name := range names {
		if strings.HasSuffix(name, part) {
			err = errors.Join(err, os.Remove(filepath.Join(from, name)))
			continue
		}
		err = errors.Join(err, os.Rename(filepath.Join(from, name), filepath.Join(to, name)))
	}
	return errors.Join(err, durable.SyncDir(to))
}

func removeGuest(dir string) error {
	names, err := guestFiles(dir)
	for _, name := range names {
		err = errors.Join(err, os.Remove(filepath.Join(dir, name)))
	}
	return err
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
