package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/payload"
	"github.com/slipway-cloud/slipway/internal/program"
	"github.com/slipway-cloud/slipway/internal/serverspec"
)

// factsName is the file in a server's folder that makes a server of its domain again where the database has forgotten it.
const factsName = "facts.sealed"

// keepFacts lays the server's facts beside its disks.
func (a *Activities) keepFacts(dir string, facts contract.ServerFacts) error {
	sealed, err := serverspec.Facts.Seal(a.o.Keys, facts.Server.ServerID, facts)
	if err != nil {
		return err
	}
	return a.putFacts(dir, sealed)
}

func (a *Activities) putFacts(dir string, sealed payload.Sealed) error {
	text, err := json.Marshal(sealed)
	if err == nil {
		err = put(dir, factsName, bytes.NewReader(text))
	}
	return program.Fault(err, "keeping the facts in "+dir)
}

func sealedFacts(dir string) (sealed payload.Sealed, err error) {
	text, err := os.ReadFile(filepath.Join(dir, factsName))
	if err == nil {
		err = json.Unmarshal(text, &sealed)
	}
	if err == nil && sealed.KeyID == "" {
		err = fmt.Errorf("%s in %s names no key", factsName, dir)
	}
	return sealed, err
}

// ReadFacts answers what lies beside a domain of this host, and how its guest is. Conflict where there is no such domain, or
// nothing lies there.
func (a *Activities) ReadFacts(ctx context.Context, in contract.ReadFactsInput) (contract.FoundServer, error) {
	var found contract.FoundServer
	dir, leave, err := a.enter(ctx, in.ServerID)
	if err != nil {
		return found, err
	}
	defer leave()
	state, err := a.o.Hypervisor.State(ctx, in.ServerID)
	if err != nil {
		return found, err
	}
	if state == hypervisor.Absent {
		return found, fault.New(fault.Conflict, "Host %s has no domain of instance %s.", a.o.Hostname, in.ServerID)
	}
	folder, err := a.o.Hypervisor.Folder(ctx, in.ServerID)
	if err != nil {
		return found, err
	}
	if folder != dir {
		return found, fault.New(fault.Conflict, "The domain of instance %s on host %s belongs to another installation.", in.ServerID, a.o.Hostname)
	}
	found.Facts, err = a.facts(dir, in.ServerID)
	found.PowerState = PowerState(state)
	return found, err
}

// facts are what lies beside a domain; Conflict where nothing does, or it cannot be read.
func (a *Activities) facts(dir, serverID string) (facts contract.ServerFacts, err error) {
	sealed, err := sealedFacts(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return facts, fault.New(fault.Conflict, "Nothing on host %s says what instance %s was: it was built before that was kept.", a.o.Hostname, serverID)
	}
	if err == nil {
		facts, err = serverspec.Facts.Open(a.o.Keys, serverID, sealed)
	}
	if err != nil {
		return facts, fault.Wrap(fault.Conflict, err, "What host %s has kept of instance %s cannot be read.", a.o.Hostname, serverID)
	}
	return facts, nil
}

// PowerState is Nova's number of what a hypervisor says.
func PowerState(state hypervisor.State) int { return powerStates[state] }

var powerStates = map[hypervisor.State]int{
	hypervisor.Absent: lifecycle.NoState, hypervisor.Running: lifecycle.Running, hypervisor.Paused: lifecycle.PausedGuest,
	hypervisor.ShutOff: lifecycle.Shutdown, hypervisor.Crashed: lifecycle.Crashed,
}

// ResealFacts seals what lies in the folders anew where it is sealed with another key than the first, and says of how many. It is
// for the start of a host, before anything works in them. An error says which key is gone that some of it needs.
func (a *Activities) ResealFacts() (int, error) {
	entries, err := os.ReadDir(a.o.InstancesDir)
	if err != nil {
		return 0, fmt.Errorf("looking for the facts of servers: %w", err)
	}
	done, lost := 0, map[string]int{}
	for _, e := range entries {
		id, dir := e.Name(), filepath.Join(a.o.InstancesDir, e.Name())
		if uuid.Validate(id) != nil {
			continue
		}
		sealed, err := sealedFacts(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist), err == nil && sealed.KeyID == a.o.Keys.First():
			continue
		case err == nil && !a.o.Keys.Has(sealed.KeyID):
			lost[sealed.KeyID]++
			continue
		}
		if err == nil {
			sealed, err = serverspec.Facts.Reseal(a.o.Keys, id, sealed)
		}
		if err == nil {
			err = a.putFacts(dir, sealed)
		}
		if err != nil { // it is this server's alone, and its guest runs without
			a.o.Logger.Warn("The facts of a server could not be sealed anew; it cannot be adopted.", "server_id", id, "error", err)
			continue
		}
		done++
	}
	if len(lost) > 0 {
		key := slices.Sorted(maps.Keys(lost))[0]
		return done, fmt.Errorf("payload keys: there is no key %s any more, and the facts of %d servers in %s are sealed with it: put its line back behind the others, start slipway host, and remove it then",
			key, lost[key], a.o.InstancesDir)
	}
	return done, nil
}
