package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatIsInClearBeyondThisMachineIsToldWithTheSettingThatEndsIt(t *testing.T) {
	for name, c := range map[string]struct {
		role, yaml string
		want       []string
	}{
		"a listener":                 {"api", "api: {listen: '0.0.0.0:8774'}", []string{"api.listen is 0.0.0.0:8774", "set api.tls_cert and api.tls_key"}},
		"every address":              {"api", "api: {listen: ':8774'}", []string{"api.listen is :8774"}},
		"a name":                     {"api", "api: {listen: 'cloud.example.org:8774'}", []string{"api.listen"}},
		"an address of IPv6":         {"api", "api: {listen: '[2001:db8::1]:8774'}", []string{"api.listen"}},
		"another role's listener":    {"worker", "api: {listen: '0.0.0.0:8774'}", nil},
		"with a certificate":         {"api", "api: {listen: '0.0.0.0:8774', tls_cert: x, tls_key: y}", nil},
		"loopback":                   {"api", "api: {listen: '[::1]:8774', public_url: 'http://localhost:8774'}\noperator: {listen: '127.0.0.5:1'}", nil},
		"loopback in disguise":       {"api", "api: {listen: '[::ffff:127.0.0.1]:8774'}", nil},
		"an operators' listener":     {"host", "operator: {listen: '10.0.0.1:8777'}", []string{"operator.listen is 10.0.0.1:8777", "set operator.tls_cert"}},
		"none":                       {"host", "operator: {listen: ''}", nil},
		"operators with TLS":         {"host", "operator: {listen: '10.0.0.1:8777', tls_cert: x}", nil},
		"a codec for everybody":      {"api", "operator: {listen: '10.0.0.1:8775', tls_cert: x}", []string{"operator.listen is 10.0.0.1:8775", "/codec decrypts", "set operator.tls_client_ca"}},
		"a codec for operators":      {"api", "operator: {listen: '10.0.0.1:8775', tls_cert: x, tls_client_ca: y}", nil},
		"a public address":           {"api", "api: {public_url: 'http://cloud.example.org'}", []string{"api.public_url is plain http to another machine (cloud.example.org)"}},
		"a proxy in front":           {"api", "api: {public_url: 'https://cloud.example.org'}", nil},
		"Temporal":                   {"worker", "temporal: {address: 'temporal:7233'}", []string{"temporal.address is temporal:7233", "set temporal.tls_ca"}},
		"Temporal as gRPC says it":   {"worker", "temporal: {address: 'dns:///10.0.0.1:7233'}", []string{"temporal.address"}},
		"the same here":              {"worker", "temporal: {address: 'dns:///127.0.0.1:7233'}", nil},
		"Temporal's socket":          {"worker", "temporal: {address: 'unix:///run/temporal'}", nil},
		"Temporal over TLS":          {"worker", "temporal: {address: 'temporal:7233', tls_ca: x}", nil},
		"a host's API":               {"host", "host: {api_url: 'http://10.0.0.1:8774'}", []string{"host.api_url is plain http to another machine (10.0.0.1:8774): give an https:// address"}},
		"a host's API over TLS":      {"host", "host: {api_url: 'https://10.0.0.1:8774'}", nil},
		"another role's API":         {"worker", "host: {api_url: 'http://10.0.0.1:8774'}", nil},
		"an object store":            {"worker", "images: {stores: 'local=file:/x,cold=s3:http://s3.example.org/bucket?region=a'}", []string{"images.stores: cold is plain http to another machine (s3.example.org)"}},
		"an object store over TLS":   {"worker", "images: {stores: 'cold=s3:https://s3.example.org/bucket'}", nil},
		"an object store beside us":  {"api", "images: {stores: 'cold=s3:http://127.0.0.1:9000/bucket'}", nil},
		"one that no host reads":     {"host", "images: {stores: 'cold=s3:http://s3.example.org/bucket'}", nil},
		"one that a host reads":      {"host", "images: {stores: 'cold=s3:http://s3.example.org/bucket'}\nhost: {read_stores: true}", []string{"images.stores: cold"}},
		"a webhook":                  {"worker", "notifications: {webhook_url: 'http://receiver.example.org/secret'}", []string{"notifications.webhook_url is plain http to another machine (receiver.example.org)"}},
		"a broker":                   {"worker", "notifications: {amqp_url: 'amqp://u:secret@broker.example.org/'}", []string{"notifications.amqp_url is plain amqp to another machine (broker.example.org): give an amqps:// address"}},
		"OVN":                        {"worker", "network: {engine: ovn, ovn_nb: 'unix:/x,tcp:127.0.0.1:6641,tcp:ovn.example.org:6641'}", []string{"network.ovn_nb is tcp:ovn.example.org:6641, another machine, in clear: give ssl:ovn.example.org:6641"}},
		"OVN over TLS":               {"worker", "network: {engine: ovn, ovn_nb: 'ssl:ovn.example.org:6641'}", nil},
		"a broker over TLS":          {"worker", "notifications: {amqp_url: 'amqps://u:secret@broker.example.org/'}", nil},
		"a vendor data service":      {"api", "build: {vendordata_dynamic_targets: 'tls@https://a/secret,join@http://join.example.org/secret'}", []string{"build.vendordata_dynamic_targets: join is plain http to another machine (join.example.org)"}},
		"a webhook of nobody's here": {"api", "notifications: {webhook_url: 'http://receiver.example.org/secret'}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			settings, err := settings(t, c.yaml, nil)
			require.NoError(t, err)
			found := settings.InClear(c.role)
			if c.want == nil {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			for _, part := range c.want {
				require.Contains(t, found[0], part)
			}
			require.NotContains(t, found[0], "secret")
		})
	}
}

func TestADatabaseIsSpokenToInClearOnThisMachineAlone(t *testing.T) {
	for dsn, clear := range map[string]bool{
		Default().Database.DSN:                                               false,
		"host=/run/postgresql user=slipway":                                  false,
		"postgres://slipway@127.0.0.1/slipway":                               false,
		"postgres://slipway@localhost/slipway?sslmode=disable":               false,
		"postgres://slipway@db.example.org/slipway":                          true, // sslmode is prefer
		"postgres://slipway@db.example.org/slipway?sslmode=disable":          true,
		"postgres://slipway@db.example.org/slipway?sslmode=allow":            true,
		"postgres://slipway@db.example.org/slipway?sslmode=prefer":           true,
		"postgres://slipway@db.example.org/slipway?sslmode=require":          false,
		"host=db.example.org user=slipway sslmode=verify-full":               false,
		"host=10.0.0.1,127.0.0.1 user=slipway sslmode=disable":               true,
		"host=/run/postgresql,10.0.0.1 port=5432,5432 user=a sslmode=prefer": true,
		"no dsn at all": false, // whoever connects says so
	} {
		found := Database{DSN: dsn}.InClear()
		if !clear {
			require.Empty(t, found, dsn)
			continue
		}
		require.Len(t, found, 1, dsn)
		require.True(t, strings.HasPrefix(found[0], "database.dsn lets the connection to another machine ("), found[0])
		require.Contains(t, found[0], "set sslmode=verify-full")
	}
}

func TestASettingOfNoSectionComesFromFileEnvironmentAndFlagToo(t *testing.T) {
	c, err := settings(t, "insecure_plaintext: true", nil)
	require.NoError(t, err)
	require.True(t, c.InsecurePlaintext)
	c, err = settings(t, "insecure_plaintext: true", nil, "--insecure_plaintext=false")
	require.NoError(t, err)
	require.False(t, c.InsecurePlaintext)
	c, err = settings(t, "", map[string]string{"SLIPWAY_INSECURE_PLAINTEXT": "true"})
	require.NoError(t, err)
	require.True(t, c.InsecurePlaintext)
	_, err = settings(t, "", map[string]string{"SLIPWAY_INSECURE_PLAINTEXT": "maybe"})
	require.ErrorContains(t, err, "insecure_plaintext must be true or false")
}
