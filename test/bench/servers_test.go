package bench

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

const (
	manyServers = 50_000
	showings    = 200
	details     = 20
)

// serverReport is what reading servers takes, from the request until the whole answer is there.
type serverReport struct {
	show   series
	detail []listing
}

// benchServers reads servers, of which there are many, as their owner and as an admin.
func benchServers(b *testing.B, r *serverReport) {
	c := start(b, system.Options{Hypervisor: "fake"})
	id := c.bootActive("auto", pollAlone)
	require.NoError(b, servers.UpdateMetadata(context.Background(), c.compute, id, servers.MetadataOpts{"role": "web"}).Err)
	c.copyServer(id)
	member, admin := c.Demo().Token(), c.Admin().Token()
	read := func(token, path string) time.Duration {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.compute.ServiceURL(path), nil)
		require.NoError(b, err)
		request.Header.Set("X-Auth-Token", token)
		request.Header.Set("OpenStack-API-Version", "compute 2.96")
		began := time.Now()
		answer, err := c.HTTP().Do(request)
		require.NoError(b, err)
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		took := time.Since(began)
		require.NoError(b, err)
		require.Equal(b, http.StatusOK, answer.StatusCode, "%s", text)
		return took
	}
	read(member, "servers/"+id) // the connection is made, and the statements are planned
	for range showings {
		r.show = append(r.show, read(member, "servers/"+id))
	}
	for _, l := range []struct{ what, query, token string }{
		{"in the default order", "", member},
		{"in the order of names", "&sort_key=display_name&sort_dir=asc", member},
		{"of a status and a tag", "&status=ACTIVE&tags=web", member},
		{"everybody's, by an admin", "&all_tenants=1", admin},
	} {
		path, took := "servers/detail?limit=1000"+l.query, series{}
		read(l.token, path)
		for range details {
			took = append(took, read(l.token, path))
		}
		r.detail = append(r.detail, listing{l.what, took})
	}
}

// copyServer makes so many rows of one server, with its port, address, metadata and tag, that there are many. No host has guests
// of them.
func (c *cloud) copyServer(id string) {
	ctx := context.Background()
	db, err := pgx.Connect(ctx, c.DSN)
	require.NoError(c.b, err)
	defer db.Close(ctx)
	of := fmt.Sprintf("FROM generate_series(2, %d) i, md5('server' || i) server, md5('port' || i) port, ", manyServers)
	for _, sql := range []string{
		`INSERT INTO servers SELECT r.* ` + of + `servers s, LATERAL (SELECT now() - make_interval(secs => (i * 7919) % 100003) AS at) t, jsonb_populate_record(s, jsonb_build_object(
			'id', server::uuid, 'name', 'server ' || i % 997, 'created_at', at, 'updated_at', at)) r WHERE s.id = $1`,
		`INSERT INTO server_metadata SELECT server::uuid, m.key, m.value ` + of + `server_metadata m WHERE m.server_id = $1`,
		`INSERT INTO server_tags SELECT server::uuid, 'web' ` + of + `servers s WHERE s.id = $1`,
		`INSERT INTO ports SELECT r.* ` + of + `ports p, to_hex(16777216 + i) hex, jsonb_populate_record(p, jsonb_build_object('id', port::uuid, 'server_id', server::uuid,
			'mac', 'fa:16:3e' || regexp_replace(substr(hex, 2), '(..)', ':\1', 'g'))) r WHERE p.server_id = $1`,
		`INSERT INTO fixed_ips SELECT port::uuid, f.subnet_id, '10.64.0.0'::inet + i ` + of + `fixed_ips f JOIN ports p ON p.id = f.port_id WHERE p.server_id = $1`,
		`ANALYZE`,
	} {
		var args []any
		if sql != "ANALYZE" {
			args = []any{id}
		}
		_, err := db.Exec(ctx, sql, args...)
		require.NoError(c.b, err, sql)
	}
}

func (r *serverReport) rows(line func(what string, ours, raw any, nova string)) {
	line("GET /servers/{id}, one of 50,000", r.show, "", "")
	for _, l := range r.detail {
		line("GET /servers/detail, 1,000 of 50,000, "+l.what, l.took, "", "")
	}
}
