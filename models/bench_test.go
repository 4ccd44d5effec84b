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
	require.NoError(b, w.CreateToken(ctx, Token{Hash: tokenOf("t"), AuditID: "a", UserID: "u1", ProjectID: "p1", IssuedAt: at, ExpiresAt: at.Add(time.Hour)}))
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
		require.NoError(b, w.Allocate(ctx, Allocation{ServerID: w.record(b, "s").ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
	}
	v := w.record(b, "s")
	for b.Loop() {
		if err := w.Allocate(ctx, Allocation{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		require.NoError(b, w.ReleaseAllocation(ctx, v.ID, "n1"))
		b.StartTimer()
	}
}

// BenchmarkAllocatePort takes the address that follows a dense run of the given length.
func BenchmarkAllocatePort(b *testing.B) {
	for _, taken := range []int{0, 250, 10000} {
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
		require.NoError(b, w.Allocate(ctx, Allocation{ServerID: v.ID, HostID: h.ID, VCPUs: 1, MemoryMiB: 512, DiskGiB: 1}, "networking"))
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
