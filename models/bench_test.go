package models

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func BenchmarkToken(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	at := now()
	require.NoError(b, w.CreateToken(ctx, Token{Hash: tokenOf("t"), AuditID: "a", UserID: "u1", Scope: Scope{ProjectID: "p1"}, IssuedAt: at, ExpiresAt: at.Add(time.Hour)}))
	for b.Loop() {
		if _, err := w.Token(ctx, tokenOf("t"), at); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClaimQuota(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	for i := range 100 {
		require.NoError(b, w.ClaimQuota(ctx, Claim{ServerID: fmt.Sprint("there", i), ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, Limits{-1, -1, -1}))
	}
	limits := Limits{1 << 30, 1 << 30, 1 << 30}
	for b.Loop() {
		if err := w.ClaimQuota(ctx, Claim{ServerID: "s", ProjectID: "p1", Instances: 1, Cores: 1, RAMMiB: 512}, limits); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		require.NoError(b, w.ReleaseClaim(ctx, "s"))
		b.StartTimer()
	}
}

func BenchmarkRecordServer(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	for b.Loop() {
		v, a := w.server("s")
		if err := w.RecordServer(ctx, v, a); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAllocate(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	h := w.host(b, "n1", 1<<20, 1<<28, 1<<20)
	for range 100 {
		require.NoError(b, w.Place(ctx, Placement{ServerID: w.record(b, "s").ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
	}
	v := w.record(b, "s")
	for b.Loop() {
		if err := w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		require.NoError(b, w.ReleasePlacement(ctx, v.ID, "n1"))
		b.StartTimer()
	}
}

// BenchmarkAllocatePort takes the address that follows a dense run of the given length.
func BenchmarkAllocatePort(b *testing.B) {
	for _, taken := range []int{0, 250, 10000, 50000} {
		b.Run(fmt.Sprint(taken, " taken"), func(b *testing.B) {
			ctx := context.Background()
			w := newWorld(b)
			n, err := w.EnsureNetwork(ctx, Network{ProjectID: "p1", Name: "large"}, Subnet{CIDR: "10.64.0.0/16", GatewayIP: new("10.64.0.1")})
			require.NoError(b, err)
			require.NoError(b, w.exec(ctx, `INSERT INTO ports (id, network_id, project_id, name, mac, nic_index, made_by_build, created_at, updated_at)
				SELECT 'there' || i, $1::text, 'p1', '', 'fa:16:3f:' || regexp_replace(lpad(to_hex(i), 6, '0'), '(..)(..)(..)', '\1:\2:\3'), 0, false, now(), now()
				FROM generate_series(1, $2::integer) i`, n.ID, taken))
			require.NoError(b, w.exec(ctx, `INSERT INTO fixed_ips (port_id, subnet_id, ip) SELECT 'there' || i, $1::text, '10.64.0.1'::inet + i
				FROM generate_series(1, $2::integer) i`, n.Subnets[0].ID, taken))
			require.NoError(b, w.exec(ctx, `ANALYZE`))
			v := w.record(b, "s")
			r := PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: "p1", NetworkID: n.ID, TaskState: new("spawning")}
			for b.Loop() {
				if _, err := w.AllocatePort(ctx, r); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				require.NoError(b, w.ReleasePort(ctx, v.ID, 0))
				b.StartTimer()
			}
		})
	}
}

func BenchmarkListServersOf1000(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	h := w.host(b, "n1", 1<<20, 1<<28, 1<<20)
	n, err := w.EnsureNetwork(ctx, Network{ProjectID: "p1", Name: "large"}, Subnet{CIDR: "10.64.0.0/16", GatewayIP: new("10.64.0.1")})
	require.NoError(b, err)
	for range 1000 {
		v := w.record(b, "s")
		require.NoError(b, w.Place(ctx, Placement{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
		_, err := w.AllocatePort(ctx, PortRequest{ID: uuid.NewString(), ServerID: v.ID, ProjectID: "p1", NetworkID: n.ID, Hostname: "n1"})
		require.NoError(b, err)
	}
	require.NoError(b, w.exec(ctx, `ANALYZE`))
	for b.Loop() {
		all, err := w.ListServers(ctx, ServerFilter{ProjectID: "p1"})
		if err != nil || len(all) != 1000 {
			b.Fatal(len(all), err)
		}
	}
}

// manyImages adds 100,000 images that are active: of p1 one in a hundred, the others of a hundred projects; one in a
// thousand is public and one in 250 community, one in a hundred deleted. Names repeat 20 times. Small numbers of bytes are
// the sizes, many of them equal.
func (w *world) manyImages(b *testing.B) {
	b.Helper()
	ctx := context.Background()
	require.NoError(b, w.exec(ctx, `INSERT INTO projects (id, name, domain_id, enabled, created_at)
		SELECT 'other' || i, 'other' || i, 'default', true, now() FROM generate_series(0, 99) i`))
	require.NoError(b, w.exec(ctx, `INSERT INTO images (id, name, owner_id, status, visibility, hidden, protected, disk_format, container_format,
			min_disk_gib, min_ram_mib, size_bytes, virtual_bytes, md5, sha512, tags, properties, created_at, updated_at, deleted_at)
		SELECT gen_random_uuid(), 'image ' || i % 5000, CASE WHEN i % 100 = 7 THEN 'p1' ELSE 'other' || i % 100 END,
			CASE WHEN i % 100 = 99 THEN 'deleted' ELSE 'active' END,
			CASE WHEN i % 1000 = 3 THEN 'public' WHEN i % 250 = 4 THEN 'community' WHEN i % 2 = 0 THEN 'private' ELSE 'shared' END, false, false,
			'qcow2', 'bare', 0, 0, i % 997, 1 << 30, md5(i::text), repeat(md5(i::text), 4),
			CASE WHEN i % 10 = 7 THEN '["lts"]' ELSE '[]' END::jsonb, jsonb_build_object('os_distro', 'distro' || i % 7, 'build', i::text),
			at, at, CASE WHEN i % 100 = 99 THEN at END
		FROM generate_series(1, 100000) i, LATERAL (SELECT now() - make_interval(secs => (i * 7919) % 100003) AS at) x`))
	require.NoError(b, w.exec(ctx, `VACUUM ANALYZE images`))
}

func BenchmarkList100Of100000Images(b *testing.B) {
	ctx := context.Background()
	w := newWorld(b)
	w.manyImages(b)
	bySize := []Sort{{Key: "size"}}
	half, err := w.ListImages(ctx, ImageFilter{ProjectID: "p1", Sort: bySize, Limit: 500})
	require.NoError(b, err)
	for name, c := range map[string]struct {
		filter ImageFilter
		want   int
	}{
		"default order":             {ImageFilter{ProjectID: "p1", Limit: 100}, 100},
		"by name":                   {ImageFilter{ProjectID: "p1", Names: []string{"image 7"}, Limit: 100}, 20},
		"by size after a marker":    {ImageFilter{ProjectID: "p1", Sort: bySize, Marker: half[len(half)-1].ID, Limit: 100}, 100},
		"by distribution and tag":   {ImageFilter{ProjectID: "p1", Properties: map[string]string{"os_distro": "distro3"}, Tags: []string{"lts"}, Limit: 100}, 100},
		"public":                    {ImageFilter{ProjectID: "p1", Visibility: "public", Limit: 100}, 100},
		"community":                 {ImageFilter{ProjectID: "p1", Visibility: "community", Limit: 100}, 100},
		"everybody's, of an admin":  {ImageFilter{Admin: true, Limit: 100}, 100},
		"an admin's by size, first": {ImageFilter{Admin: true, Sort: bySize, Limit: 100}, 100},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				all, err := w.ListImages(ctx, c.filter)
				if err != nil || len(all) != c.want {
					b.Fatal(len(all), err)
				}
			}
		})
	}
}
