package control

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/service/placement"
	"github.com/slipway-cloud/slipway/models"
)

// selecting is a database with hosts, and builds that select them.
type selecting struct {
	t     *testing.T
	store *models.Store
	steps *Activities
	image string
	of    func(*contract.SelectHostInput) // what else is asked for
}

func newSelecting(t *testing.T, hosts ...string) *selecting {
	t.Helper()
	ctx, store := newStore(t)
	_, err := store.EnsureUser(ctx, models.User{ID: "u1", Name: "u1", DomainID: "default", PasswordHash: "x", Enabled: true})
	require.NoError(t, err)
	image, err := store.CreateImage(ctx, models.Image{ID: uuid.NewString(), OwnerID: "p1", Visibility: "public"}, nil)
	require.NoError(t, err)
	for i, name := range hosts {
		token := sha256.Sum256([]byte(name))
		_, err = store.RegisterHost(ctx, models.Host{
			Hostname: name, AvailabilityZone: "nova", TokenHash: token[:], Architectures: []string{"x86_64"}, VCPUs: 64, MemoryMiB: 65536, DiskGiB: 100,
			Address: fmt.Sprintf("192.0.%d.1", i), CPURatio: 1, RAMRatio: 1, DiskRatio: 1, Enabled: true, Ready: true, StartedAt: time.Now(), SeenAt: time.Now(),
		})
		require.NoError(t, err)
	}
	return &selecting{t: t, store: store, steps: New(Options{Store: store, Placement: placement.Settings{DownAfter: time.Hour}}), image: image.ID}
}

// build records a server with hints and selects its host.
func (p *selecting) build(hints map[string]any) (server, host string, err error) {
	server = uuid.NewString()
	in := contract.Server{
		ServerID: server, ProjectID: "p1", UserID: "u1", RequestID: "req-" + server, Name: "web", Hostname: "web", ImageID: p.image,
		Flavor: contract.Flavor{ID: "small", Name: "small", VCPUs: 1, RAMMiB: 64, DiskGiB: 1},
	}
	var group *contract.GroupMembership
	if id, is := hints["group"].(string); is {
		group = &contract.GroupMembership{ID: id, Limit: -1}
	}
	if err := asStep(p.t, func(ctx context.Context) error {
		return p.steps.RecordServer(ctx, contract.RecordServerInput{Server: in, Group: group, Phase: contract.PhaseScheduling, StartedAt: time.Now()})
	}); err != nil {
		return server, "", err
	}
	err = asStep(p.t, func(ctx context.Context) error {
		in := contract.SelectHostInput{
			ServerID: server, Resources: contract.Resources{VCPUs: 1, RAMMiB: 64, DiskGiB: 1}, Hints: hints, NextPhase: contract.PhaseSpawning,
		}
		if p.of != nil {
			p.of(&in)
		}
		selection, err := p.steps.SelectHost(ctx, in)
		host = selection.Hostname
		return err
	})
	return server, host, err
}

func (p *selecting) group(policy string) string {
	g, err := p.store.CreateServerGroup(p.t.Context(), models.ServerGroup{ProjectID: "p1", UserID: "u1", Name: policy, Policy: policy}, -1)
	require.NoError(p.t, err)
	return g.ID
}

func TestBuildsOfAGroupThatRaceAreApartOrTogetherAsItSays(t *testing.T) {
	p := newSelecting(t, "h1", "h2", "h3")
	race := func(policy string, n int) (hosts []string, refused int) {
		hints := map[string]any{"group": p.group(policy)}
		var (
			mu sync.Mutex
			wg sync.WaitGroup
		)
		for range n {
			wg.Go(func() {
				_, host, err := p.build(hints)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					require.True(t, fault.Is(err, fault.NoValidHost), "%v", err)
					refused++
					return
				}
				hosts = append(hosts, host)
			})
		}
		wg.Wait()
		return hosts, refused
	}
	hosts, refused := race(models.AntiAffinity, 5)
	require.ElementsMatch(t, []string{"h1", "h2", "h3"}, hosts)
	require.Equal(t, 2, refused)
	hosts, refused = race(models.Affinity, 5)
	require.Len(t, hosts, 5)
	require.Zero(t, refused)
	for _, host := range hosts {
		require.Equal(t, hosts[0], host)
	}
	hosts, refused = race(models.SoftAntiAffinity, 5)
	require.Len(t, hosts, 5)
	require.Zero(t, refused)
}

func TestHintsPlaceABuild(t *testing.T) {
	p := newSelecting(t, "h1", "h2", "h3")
	at := func(hints map[string]any) (server, host string) {
		server, host, err := p.build(hints)
		require.NoError(t, err, hints)
		return server, host
	}
	first, where := at(map[string]any{"query": `["=", "$host", "h2"]`})
	require.Equal(t, "h2", where)
	for range 3 {
		_, host := at(map[string]any{"same_host": first})
		require.Equal(t, "h2", host)
	}
	second, host := at(map[string]any{"different_host": []any{first}, "build_near_host_ip": "192.0.2.9"})
	require.Equal(t, "h3", host)
	_, host = at(map[string]any{"different_host": []any{first, second}, "ours": 1})
	require.Equal(t, "h1", host)
	_, host = at(map[string]any{"group": p.group(models.AntiAffinity), "different_host": []any{first}, "query": `["not", ["=", "$host", "h1"]]`})
	require.Equal(t, "h3", host)
	_, _, err := p.build(map[string]any{"same_host": uuid.NewString()})
	require.Equal(t, fault.NoValidHost, fault.KindOf(err))
	require.Contains(t, fault.Public(err), "SameHostFilter removed 3: h1 (has none of the servers of same_host)")

	ssd, err := p.store.CreateAggregate(t.Context(), "ssd", map[string]string{"disk": "ssd", "filter_tenant_id": "p1"})
	require.NoError(t, err)
	_, err = p.store.AddHost(t.Context(), ssd.ID, "h3")
	require.NoError(t, err)
	_, _, err = p.build(map[string]any{"query": `["=", "$host", "h3"]`})
	require.Contains(t, fault.Public(err), "AggregateMultiTenancyIsolation removed 1: h3 (kept for other projects)", "of a build that does not say whose it is")
	p.of = func(in *contract.SelectHostInput) {
		in.ProjectID, in.ExtraSpecs = "p1", map[string]string{"aggregate_instance_extra_specs:disk": "ssd"}
	}
	for range 3 {
		_, host = at(nil)
		require.Equal(t, "h3", host)
	}
	p.of = nil

	gone := p.group(models.AntiAffinity)
	server, _ := at(map[string]any{"group": gone})
	require.NoError(t, p.store.DeleteServerGroup(t.Context(), gone))
	_, _, err = p.store.GroupOf(t.Context(), server)
	require.Equal(t, fault.NotFound, fault.KindOf(err))
	require.NoError(t, asStep(t, func(ctx context.Context) error {
		_, err := p.steps.SelectHost(ctx, contract.SelectHostInput{
			ServerID: server, Resources: contract.Resources{VCPUs: 1, RAMMiB: 64, DiskGiB: 1}, Hints: map[string]any{"group": gone}, NextPhase: contract.PhaseSpawning,
		})
		return err
	}), "a group that is gone asks for nothing")
}
