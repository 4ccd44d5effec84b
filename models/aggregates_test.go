package models

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/fault"
)

func (w *world) zone(t *testing.T, hostname string) string {
	t.Helper()
	h, err := w.HostByName(context.Background(), hostname)
	require.NoError(t, err)
	return h.AvailabilityZone
}

func TestNoServerIsPlacedInAZoneThatIsAnotherOneWhenItIsThere(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	h := w.host(t, "h1", 64, 65536, 1000)
	east, err := w.CreateAggregate(ctx, "east", map[string]string{ZoneKey: "east"})
	require.NoError(t, err)
	_, err = w.AddHost(ctx, east.ID, "h1")
	require.NoError(t, err)
	zones := []string{"east", "orient"}
	for round := range 20 {
		was, becomes := zones[round%2], zones[(round+1)%2]
		v := w.record(t, fmt.Sprint("s", round))
		place := func() error { return w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, Zone: was}, "spawning") }
		errs := atOnce(2, func(i int) error {
			if i == 0 {
				return place()
			}
			_, err := w.ChangeAggregate(ctx, east.ID, AggregateChange{Metadata: map[string]*string{ZoneKey: &becomes}})
			return err
		})
		require.Equal(t, 1, succeeded(errs), "%v", errs)
		if errs[0] == nil {
			requireFault(t, errs[1], fault.Invalid, fmt.Sprintf("Cannot update aggregate %d. Reason: One or more hosts contain instances in this zone.", east.ID))
			require.NoError(t, place(), "again")
			require.NoError(t, w.ReleasePlacement(ctx, v.ID, "h1"))
			_, err = w.ChangeAggregate(ctx, east.ID, AggregateChange{Metadata: map[string]*string{ZoneKey: &becomes}})
			require.NoError(t, err)
		}
		requireFault(t, place(), fault.HostUnfit, "Host h1 is in availability zone "+becomes+" by now.")
	}
}

func TestAHostIsInTheZoneOfItsAggregateOrInItsOwn(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.host(t, "h1", 4, 4096, 10)
	registered := w.host(t, "h2", 4, 4096, 10)
	east, err := w.CreateAggregate(ctx, "east", map[string]string{ZoneKey: "east"})
	require.NoError(t, err)
	west, err := w.CreateAggregate(ctx, "west", map[string]string{ZoneKey: "west", "disk": "ssd"})
	require.NoError(t, err)
	plain, err := w.CreateAggregate(ctx, "plain", nil)
	require.NoError(t, err)
	_, err = w.CreateAggregate(ctx, "east", nil)
	requireFault(t, err, fault.Conflict, "Aggregate east already exists.")

	got, err := w.AddHost(ctx, east.ID, "h2")
	require.NoError(t, err)
	require.Equal(t, []string{"h2"}, got.Hosts)
	require.Equal(t, []string{"nova", "east"}, []string{w.zone(t, "h1"), w.zone(t, "h2")})
	_, err = w.AddHost(ctx, east.ID, "h2")
	requireFault(t, err, fault.Conflict, fmt.Sprintf("Aggregate %d already has host h2.", east.ID))
	_, err = w.AddHost(ctx, west.ID, "h2")
	requireFault(t, err, fault.Conflict, fmt.Sprintf("Cannot add host to aggregate %d. Reason: One or more hosts already in different availability zone(s) ['east'].", west.ID))
	_, err = w.AddHost(ctx, plain.ID, "h2")
	require.NoError(t, err)
	_, err = w.AddHost(ctx, plain.ID, "h9")
	requireFault(t, err, fault.NotFound, "Compute host h9 could not be found.")
	_, err = w.AddHost(ctx, 99, "h1")
	requireFault(t, err, fault.NotFound, "Aggregate 99 could not be found.")

	again, err := w.RegisterHost(ctx, registered) // with the zone that it was told before
	require.NoError(t, err)
	require.Equal(t, "east", again.AvailabilityZone)
	require.Equal(t, "east", w.zone(t, "h2"))

	_, err = w.ChangeAggregate(ctx, plain.ID, AggregateChange{Metadata: map[string]*string{ZoneKey: new("north")}})
	requireFault(t, err, fault.Invalid, fmt.Sprintf("Cannot update aggregate %d. Reason: One or more hosts already in different availability zone(s) ['east'].", plain.ID))
	_, err = w.ChangeAggregate(ctx, plain.ID, AggregateChange{Name: new("west")})
	requireFault(t, err, fault.Conflict, "Aggregate west already exists.")
	got, err = w.ChangeAggregate(ctx, plain.ID, AggregateChange{Name: new("fast"), Metadata: map[string]*string{"disk": new("ssd"), "gone": nil}})
	require.NoError(t, err)
	require.Equal(t, []any{"fast", map[string]string{"disk": "ssd"}, []string{"h2"}}, []any{got.Name, got.Metadata, got.Hosts})

	v := w.record(t, "web")
	require.NoError(t, w.put(v, again))
	_, err = w.ChangeAggregate(ctx, east.ID, AggregateChange{Metadata: map[string]*string{ZoneKey: new("orient")}})
	requireFault(t, err, fault.Invalid, fmt.Sprintf("Cannot update aggregate %d. Reason: One or more hosts contain instances in this zone.", east.ID))
	_, err = w.RemoveHost(ctx, east.ID, "h2")
	requireFault(t, err, fault.Conflict, fmt.Sprintf("Cannot remove host from aggregate %d. Reason: The availability zone of the host would change from 'east' to 'nova', and it has 1 instance(s).", east.ID))
	_, err = w.RemoveHost(ctx, plain.ID, "h2")
	require.NoError(t, err, "no zone changes")
	_, err = w.AddHost(ctx, plain.ID, "h2")
	require.NoError(t, err)
	h1, err := w.HostByName(ctx, "h1")
	require.NoError(t, err)
	other := w.record(t, "db")
	require.NoError(t, w.put(other, h1))
	_, err = w.AddHost(ctx, west.ID, "h1")
	requireFault(t, err, fault.Conflict, fmt.Sprintf("Cannot add host to aggregate %d. Reason: The availability zone of the host would change from 'nova' to 'west', and it has 1 instance(s).", west.ID))
	require.Equal(t, "nova", w.zone(t, "h1"))
	require.NoError(t, w.ReleasePlacement(ctx, v.ID, "h2"))
	_, err = w.ChangeAggregate(ctx, east.ID, AggregateChange{Metadata: map[string]*string{ZoneKey: new("orient")}})
	require.NoError(t, err)
	require.Equal(t, "orient", w.zone(t, "h2"))

	hosts, err := w.ListHosts(ctx)
	require.NoError(t, err)
	require.Empty(t, hosts[0].Aggregates)
	require.Equal(t, []map[string]string{{ZoneKey: "orient"}, {"disk": "ssd"}}, hosts[1].Aggregates)

	requireFault(t, w.DeleteAggregate(ctx, east.ID), fault.Invalid, fmt.Sprintf("Cannot remove aggregate %d. Reason: Host aggregate is not empty.", east.ID))
	_, err = w.RemoveHost(ctx, east.ID, "h1")
	requireFault(t, err, fault.NotFound, fmt.Sprintf("Cannot remove host h1 in aggregate %d", east.ID))
	got, err = w.RemoveHost(ctx, east.ID, "h2")
	require.NoError(t, err)
	require.Empty(t, got.Hosts)
	require.Equal(t, "nova", w.zone(t, "h2"), "its own again")
	require.NoError(t, w.DeleteAggregate(ctx, east.ID))
	requireFault(t, w.DeleteAggregate(ctx, east.ID), fault.NotFound, fmt.Sprintf("Aggregate %d could not be found.", east.ID))
	require.NoError(t, w.DeleteHost(ctx, again.ID), "an aggregate does not hold it")
	got, err = w.Aggregate(ctx, plain.ID)
	require.NoError(t, err)
	require.Empty(t, got.Hosts)
}

func TestAHostNeverGetsTwoZonesHoweverItIsAsked(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.host(t, "h1", 4, 4096, 10)
	zones := make([]Aggregate, 6)
	for i := range zones {
		var err error
		zones[i], err = w.CreateAggregate(ctx, fmt.Sprint("z", i), map[string]string{ZoneKey: fmt.Sprint("z", i)})
		require.NoError(t, err)
	}
	require.Equal(t, 1, succeeded(atOnce(len(zones), func(i int) error {
		_, err := w.AddHost(ctx, zones[i].ID, "h1")
		return err
	})))
	hosts, err := w.ListHosts(ctx)
	require.NoError(t, err)
	require.Len(t, hosts[0].Aggregates, 1)
	require.Equal(t, hosts[0].Aggregates[0][ZoneKey], hosts[0].AvailabilityZone)
}
