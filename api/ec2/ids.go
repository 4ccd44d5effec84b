package ec2

import (
	"context"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// resolve finds the UUIDs that ids of a kind name, in their order. Which of them the caller may know of is to be asked then: what is
// not there is left out, so that both are refused alike (allFound).
func (a *API) resolve(ctx context.Context, kind ids.EC2Kind, named []string) ([]string, error) {
	var among []ids.UUIDs
	for _, id := range named {
		uuids, err := ids.ParseEC2(kind, id)
		if err != nil {
			return nil, err
		}
		among = append(among, uuids)
	}
	found, err := a.store.OfEC2(ctx, kind, among)
	if err != nil {
		return nil, err
	}
	resolved := []string{} // none is none, and not all
	for _, uuids := range among {
		if id := found[uuids]; id != "" {
			resolved = append(resolved, id)
		}
	}
	if len(resolved) == 0 {
		return nil, ids.NoEC2(kind, named[0])
	}
	return resolved, nil
}

// one is resolve for a single id.
func (a *API) one(ctx context.Context, kind ids.EC2Kind, id string) (string, error) {
	found, err := a.resolve(ctx, kind, []string{id})
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// allFound refuses the ids of a kind that nothing of what was found has.
func allFound[T any](kind ids.EC2Kind, named []string, found []T, id func(T) string) error {
	var absent []string
	for _, n := range named {
		if !slices.ContainsFunc(found, func(of T) bool { return id(of) == n }) {
			absent = append(absent, n)
		}
	}
	if len(absent) == 0 {
		return nil
	}
	err := ids.NoEC2(kind, strings.Join(absent, ", "))
	if len(absent) > 1 && kind == ids.EC2Instance {
		return fault.Wrap(fault.NotFound, err, "The instance IDs '%s' do not exist", strings.Join(absent, ", "))
	}
	return err
}
