package hosts_test

import (
	"database/sql"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/internal/serverspec"
	"github.com/slipway-cloud/slipway/models"
)

func TestAHostIsToldWhatItsOwnGuestsAreTold(t *testing.T) {
	e, ctx := newEnv(t), t.Context()
	host, token := e.admit(t, "hv1")
	_, others := e.admit(t, "hv2")
	for name, token := range map[string]string{"hv1": token, "hv2": others} {
		require.Equal(t, 200, e.self(t, token, "PUT", "/self", registration(name)).Status)
	}
	n, err := e.Store.CreateNetwork(ctx, models.Network{ProjectID: e.member.ProjectID, Name: "n"})
	require.NoError(t, err)
	_, err = e.Store.CreateSubnet(ctx, models.Subnet{NetworkID: n.ID, ProjectID: e.member.ProjectID, CIDR: "192.0.2.0/24"})
	require.NoError(t, err)
	v := models.Server{
		ID: uuid.NewString(), ProjectID: e.member.ProjectID, UserID: e.member.UserID, Name: "web", Hostname: "web", ImageID: e.imageOf(t, "root", nil), FlavorID: "1",
		Metadata: map[string]string{"role": "web"},
	}
	sealed, err := serverspec.Spec.Seal(e.keys, v.ID, contract.ServerSpec{
		UserData: []byte("#!/bin/sh\n"), AdminPass: "s3cret", Seed: []byte("seed"), KeyPairs: []contract.KeyPair{{Name: "mine", PublicKey: "ssh-ed25519 AAAA", Type: "ssh"}},
		Drive: &contract.DriveOptions{Domain: "cloud.example"},
	})
	require.NoError(t, err)
	require.NoError(t, e.Store.RecordServer(ctx, v, models.InstanceAction{RequestID: "req-v", Action: "create", UserID: v.UserID, ProjectID: v.ProjectID},
		models.ServerSpec{ServerID: v.ID, KeyID: sealed.KeyID, Sealed: sealed.Bytes}))
	require.NoError(t, e.Store.Place(ctx, models.Placement{ServerID: v.ID, HostID: host}, lifecycle.Spawning))
	port, err := e.Store.AllocatePort(ctx, models.PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: v.ProjectID, NetworkID: n.ID, Hostname: "hv1"})
	require.NoError(t, err)
	ip := port.FixedIPs[0].IP

	ask := func(token, network, address string) apitest.Answer {
		return e.self(t, token, "GET", "/self/metadata?network="+network+"&address="+address, nil)
	}
	told := func() (i metadata.Instance) {
		a := ask(token, n.ID, ip)
		require.Equal(t, 200, a.Status, a.Body)
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		require.NotContains(t, a.Body, "s3cret")
		require.NoError(t, json.Unmarshal([]byte(a.Body), &i))
		return i
	}
	i := told()
	require.Equal(t, []string{v.ID, port.ID, port.MAC, ""}, []string{i.ServerID, i.PortID, i.MAC, i.Password})
	require.False(t, i.Unguarded)
	require.Equal(t, []string{v.ID, "web.cloud.example", "rack-a", "#!/bin/sh\n", "web"},
		[]string{i.Metadata.ServerID, i.Metadata.Hostname, i.Metadata.AvailabilityZone, string(i.Metadata.UserData), i.Metadata.Metadata["role"]})
	require.Equal(t, ip, i.Metadata.Ports[0].Addresses[0].IP)
	require.Equal(t, "mine", i.Metadata.KeyPairs[0].Name)
	tree, err := metadata.NewTree(i.Metadata)
	require.NoError(t, err)
	answer, ok := tree.Get("/openstack/latest/meta_data.json")
	require.True(t, ok)
	require.Contains(t, string(answer.Body), `"hostname":"web.cloud.example"`)

	require.Equal(t, 404, ask(others, n.ID, ip).Status, "another host's")
	require.Equal(t, 404, ask(token, uuid.NewString(), ip).Status)
	require.Equal(t, 404, ask(token, n.ID, "192.0.2.200").Status)
	for _, bad := range []apitest.Answer{ask(token, "x", ip), ask(token, n.ID, "x"), ask(token, n.ID, "fe80::1%25eth0")} {
		require.Equal(t, 400, bad.Status, bad.Body)
	}
	require.Equal(t, 401, ask("nobody", n.ID, ip).Status)

	post := func(token, port, password string) int {
		return e.self(t, token, "PUT", "/self/ports/"+port+"/password", fields{"password": password}).Status
	}
	require.Equal(t, 404, post(others, port.ID, "bWluZQ=="))
	require.Equal(t, 404, post(token, "x", "bWluZQ=="))
	require.Equal(t, 400, post(token, port.ID, ""))
	require.Equal(t, 400, post(token, port.ID, strings.Repeat("x", metadata.MostPassword+1)))
	require.Equal(t, 204, post(token, port.ID, "bWluZQ=="))
	require.Equal(t, 409, post(token, port.ID, "b3RoZXI="))
	require.Equal(t, "bWluZQ==", told().Password)

	db, err := sql.Open("pgx", e.DSN)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, "DELETE FROM server_specs WHERE server_id = $1", v.ID) // as one that was built before they were kept
	require.NoError(t, err)
	i = told()
	require.Equal(t, metadata.Instance{ServerID: v.ID, PortID: port.ID, MAC: port.MAC, Unkept: true}, i)

	_, err = e.Store.UpdatePort(ctx, port.ID, func(p *models.Port) error { p.PortSecurity = false; return nil })
	require.NoError(t, err)
	i = told()
	require.True(t, i.Unguarded)
	require.Equal(t, contract.InstanceMetadata{}, i.Metadata, "nothing is told that somebody else might read")
}
