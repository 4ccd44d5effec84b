package compute_test

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkCreateServer is what a submission costs before Temporal sees it: token, schema, flavor, key, network, quota.
func BenchmarkCreateServer(b *testing.B) {
	c := newCloud(b)
	n := c.network(b, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	c.nova(b, c.member, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "mine", "public_key": key}})
	body := c.with(fields{"key_name": "mine", "networks": []fields{{"uuid": n.ID}}, "user_data": "IyEvYmluL3NoCg=="})
	for b.Loop() {
		if a := c.nova(b, c.member, at96, "POST", "/servers", body); a.Status != 202 {
			b.Fatal(a.Body)
		}
	}
}

// BenchmarkListServersInDetail is one page of 1,000 servers with their ports.
func BenchmarkListServersInDetail(b *testing.B) {
	c := newCloud(b)
	for i := range 1000 {
		c.row(b, c.member, fmt.Sprint("s", i), then.Add(time.Duration(i)*time.Second))
	}
	for b.Loop() {
		a := c.nova(b, c.member, at96, "GET", "/servers/detail?limit=1000", nil)
		if a.Status != 200 {
			b.Fatal(a.Body)
		}
		b.ReportMetric(float64(len(a.Body)), "bytes")
	}
}
