package networks_test

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// Whoever holds a router's row must take no second connection: those that wait for the row have all of them.
func TestARouterAndAFloatingIPAreChangedByManyAtOnceOnFewConnections(t *testing.T) {
	ctx := t.Context()
	store, err := models.Open(ctx, testenv.Migrated(t), models.Options{MaxConns: 2, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	p, err := store.EnsureProject(ctx, models.Project{ID: uuid.NewString(), Name: "one", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	r := networks.New(store, networks.Config{Engine: networks.OVN}).For(auth.Caller{ProjectID: p.ID, Roles: []string{"admin"}})

	outside, err := store.CreateNetwork(ctx, models.Network{ProjectID: p.ID, Name: "public", PhysicalNetwork: new("public")})
	require.NoError(t, err)
	_, err = store.CreateSubnet(ctx, models.Subnet{NetworkID: outside.ID, ProjectID: p.ID, CIDR: "198.51.100.0/24", GatewayIP: new("198.51.100.1")})
	require.NoError(t, err)
	inner, err := one(r.CreateNetworks(ctx, network(models.Network{Name: "inner"})))
	require.NoError(t, err)
	sub, err := one(r.CreateSubnets(ctx, subnet(inner.ID, "192.0.2.0/24")))
	require.NoError(t, err)
	port, err := one(r.CreatePorts(ctx, networks.NewPort{Port: models.Port{NetworkID: inner.ID, AdminStateUp: true}}))
	require.NoError(t, err)
	router, err := one(r.CreateRouters(ctx, networks.NewRouter{Router: models.Router{Name: "r", AdminStateUp: true}, Out: &networks.NewGateway{NetworkID: outside.ID}}))
	require.NoError(t, err)
	_, err = r.AddRouterInterface(ctx, router.ID, sub.ID, "")
	require.NoError(t, err)
	floating, err := one(r.CreateFloatingIPs(ctx, models.FloatingIP{NetworkID: outside.ID}))
	require.NoError(t, err)

	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := r.UpdateRouter(ctx, router.ID, func(in *networks.NewRouter) { in.Out = &networks.NewGateway{NetworkID: outside.ID} })
			assert.NoError(t, err)
			_, err = r.UpdateFloatingIP(ctx, floating.ID, func(f *models.FloatingIP) {
				f.PortID, f.FixedIP = nil, nil
				if i%2 == 0 {
					f.PortID = &port.ID
				}
			})
			assert.NoError(t, err)
		})
	}
	all.Wait()
}
