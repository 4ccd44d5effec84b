package cli

import (
	"crypto/ed25519"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/slipway-cloud/slipway/internal/cli/show"
)

func TestANewKeyPairsPrivateHalfIsWrittenForItsOwnerAlone(t *testing.T) {
	a := newAPI(t)
	a.json("POST /compute/v2.1/os-keypairs", 201, `{"keypair":{"name":"ci","type":"ssh","fingerprint":"aa:bb"}}`)
	file := filepath.Join(t.TempDir(), "ci.pem")
	got := run(t, "keypair", "create", "ci", "--private-key", file)
	require.Equal(t, 0, got.code, got.err)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	private, err := os.ReadFile(file)
	require.NoError(t, err)
	key, err := ssh.ParseRawPrivateKey(private)
	require.NoError(t, err)
	public, err := ssh.NewPublicKey(key.(*ed25519.PrivateKey).Public())
	require.NoError(t, err)
	body := asJSON(t, a.made("POST /compute/v2.1/os-keypairs")[0].body)["keypair"].(show.Object)
	require.Equal(t, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public)))+" ci", body["public_key"])
	require.NotContains(t, a.made("POST /compute/v2.1/os-keypairs")[0].body, "PRIVATE")

	got = run(t, "keypair", "create", "ci", "--private-key", file)
	require.Equal(t, show.ExitFailed, got.code)
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, private, again, "an existing key is never written over")
}

func TestARefusedKeyPairLeavesNoPrivateKeyBehind(t *testing.T) {
	a := newAPI(t)
	a.json("POST /compute/v2.1/os-keypairs", 409, `{"conflictingRequest":{"code":409,"message":"Key pair 'ci' already exists."}}`)
	file := filepath.Join(t.TempDir(), "ci.pem")
	got := run(t, "keypair", "create", "ci", "--private-key", file)
	require.Equal(t, show.ExitRefused, got.code)
	require.NoFileExists(t, file)
}

func TestAPrivateKeyIsNotImported(t *testing.T) {
	newAPI(t)
	got := runWith(t, t.Context(), "-----BEGIN OPENSSH PRIVATE KEY-----\n", "keypair", "create", "k", "--public-key", "-")
	require.Equal(t, show.ExitUsage, got.code)
}

func TestKeyPairsAreKnownByName(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/os-keypairs", 200, `{"keypairs":[{"keypair":{"name":"lap top","type":"ssh","fingerprint":"aa:bb","public_key":"ssh-ed25519 AAAA"}}]}`)
	a.json("GET /compute/v2.1/os-keypairs/{name}", 200, `{"keypair":{"name":"lap top","type":"ssh","fingerprint":"aa:bb","user_id":"u1"}}`)
	a.json("DELETE /compute/v2.1/os-keypairs/{name}", 204, "")
	require.Equal(t, "NAME     TYPE  FINGERPRINT\nlap top  ssh   aa:bb\n", run(t, "keypair", "list").out)
	require.Contains(t, run(t, "keypair", "show", "lap top").out, "user         u1\n")
	require.Equal(t, "deleted key pair lap top\n", run(t, "keypair", "delete", "lap top").err)
	require.Len(t, a.made("DELETE /compute/v2.1/os-keypairs/lap top"), 1)
}

func TestAFlavorIsCreatedWithItsProperties(t *testing.T) {
	a := newAPI(t)
	a.json("POST /compute/v2.1/flavors", 200, `{"flavor":{"id":"42","name":"tiny","vcpus":1,"ram":128,"disk":1}}`)
	a.json("POST /compute/v2.1/flavors/42/os-extra_specs", 200, `{"extra_specs":{"hw:cpu_policy":"shared"}}`)
	got := run(t, "flavor", "create", "tiny", "--id", "42", "--vcpus", "1", "--ram", "128", "--disk", "1", "--private", "--property", "hw:cpu_policy=shared")
	require.Equal(t, 0, got.code, got.err)
	require.JSONEq(t, `{"flavor":{"name":"tiny","id":"42","vcpus":1,"ram":128,"disk":1,"OS-FLV-EXT-DATA:ephemeral":0,"swap":0,"os-flavor-access:is_public":false}}`,
		a.made("POST /compute/v2.1/flavors")[0].body)
	require.Contains(t, got.out, "extra specs  hw:cpu_policy=shared\n")
}

func TestAFlavorIsChanged(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/flavors/detail", 200, `{"flavors":[{"id":"42","name":"tiny"}]}`)
	a.json("PUT /compute/v2.1/flavors/42", 200, `{"flavor":{"id":"42"}}`)
	a.json("POST /compute/v2.1/flavors/42/os-extra_specs", 200, `{"extra_specs":{}}`)
	a.json("POST /compute/v2.1/flavors/42/action", 200, `{"flavor_access":[]}`)
	a.json("DELETE /compute/v2.1/flavors/42/os-extra_specs/hw:x", 200, "")
	got := run(t, "flavor", "set", "tiny", "--description", "", "--property", "hw:x=y", "--project", "p1")
	require.Equal(t, "changed flavor tiny\n", got.err)
	require.JSONEq(t, `{"flavor":{"description":""}}`, a.made("PUT /compute/v2.1/flavors/42")[0].body)
	require.JSONEq(t, `{"extra_specs":{"hw:x":"y"}}`, a.made("POST /compute/v2.1/flavors/42/os-extra_specs")[0].body)
	got = run(t, "flavor", "unset", "42", "--property", "hw:x", "--project", "p1")
	require.Equal(t, "changed flavor tiny\n", got.err)
	acts := a.made("POST /compute/v2.1/flavors/42/action")
	require.JSONEq(t, `{"addTenantAccess":{"tenant":"p1"}}`, acts[0].body)
	require.JSONEq(t, `{"removeTenantAccess":{"tenant":"p1"}}`, acts[1].body)
	require.Equal(t, show.ExitUsage, run(t, "flavor", "set", "tiny").code)
}

func TestAQuotaIsSetByNovasNames(t *testing.T) {
	a := newAPI(t)
	a.json("PUT /compute/v2.1/os-quota-sets/p1", 200, `{"quota_set":{}}`)
	a.json("PUT /compute/v2.1/os-quota-class-sets/default", 200, `{"quota_class_set":{}}`)
	a.json("DELETE /compute/v2.1/os-quota-sets/p1", 202, "")
	require.Equal(t, "set the quota of p1\n", run(t, "quota", "set", "p1", "--limit", "cores=40", "--limit", "ram=-1", "--force").err)
	require.JSONEq(t, `{"quota_set":{"cores":"40","ram":"-1","force":true}}`, a.made("PUT /compute/v2.1/os-quota-sets/p1")[0].body)
	require.Equal(t, 0, run(t, "quota", "set", "default", "--class", "--limit", "instances=20").code)
	require.Equal(t, show.ExitUsage, run(t, "quota", "set", "default", "--class", "--force", "--limit", "instances=20").code)
	require.JSONEq(t, `{"quota_class_set":{"instances":"20"}}`, a.made("PUT /compute/v2.1/os-quota-class-sets/default")[0].body)
	require.Equal(t, 0, run(t, "quota", "set", "p1", "--reset").code)
	require.Equal(t, show.ExitUsage, run(t, "quota", "set", "p1").code)
}

func TestServerGroupsAreMadeAndDeletedByName(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/os-server-groups", 200, `{"server_groups":[{"id":"g-1","name":"web","policy":"anti-affinity","rules":{"max_server_per_host":2},"members":["s-1","s-2"]}]}`)
	a.json("POST /compute/v2.1/os-server-groups", 200, `{"server_group":{"id":"g-2","name":"db","policy":"affinity","rules":{},"members":[]}}`)
	a.json("DELETE /compute/v2.1/os-server-groups/g-1", 204, "")
	require.Contains(t, run(t, "server", "group", "list").out, "g-1  web   anti-affinity")
	require.Equal(t, "g-2\n", run(t, "server", "group", "create", "db", "--policy", "affinity", "--quiet").out)
	require.Equal(t, 0, run(t, "server", "group", "create", "db", "--policy", "anti-affinity", "--max-per-host", "2").code)
	made := a.made("POST /compute/v2.1/os-server-groups")
	require.JSONEq(t, `{"server_group":{"name":"db","policy":"affinity"}}`, made[0].body)
	require.JSONEq(t, `{"server_group":{"name":"db","policy":"anti-affinity","rules":{"max_server_per_host":2}}}`, made[1].body)
	require.Equal(t, "deleted server group web\n", run(t, "server", "group", "delete", "web").err)
}

func TestAggregatesAreKeptByName(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/os-aggregates", 200, `{"aggregates":[{"id":7,"name":"rack-b","availability_zone":"rack-b","hosts":["hv1"],"metadata":{"disk":"ssd"}}]}`)
	a.json("POST /compute/v2.1/os-aggregates", 200, `{"aggregate":{"id":8,"name":"rack-c"}}`)
	a.json("PUT /compute/v2.1/os-aggregates/7", 200, `{"aggregate":{"id":7}}`)
	a.json("POST /compute/v2.1/os-aggregates/7/action", 200, `{"aggregate":{"id":7}}`)
	a.json("DELETE /compute/v2.1/os-aggregates/7", 200, "")
	require.Contains(t, run(t, "aggregate", "list").out, "7   rack-b  rack-b  hv1")
	require.Equal(t, "8\n", run(t, "aggregate", "create", "rack-c", "--zone", "rack-c", "--quiet").out)
	require.JSONEq(t, `{"aggregate":{"name":"rack-c","availability_zone":"rack-c"}}`, a.made("POST /compute/v2.1/os-aggregates")[0].body)
	require.Equal(t, "changed aggregate rack-b\n", run(t, "aggregate", "set", "rack-b", "--zone", "east", "--property", "disk=hdd", "--no-property", "gpu").err)
	require.JSONEq(t, `{"aggregate":{"availability_zone":"east"}}`, a.made("PUT /compute/v2.1/os-aggregates/7")[0].body)
	require.Equal(t, 0, run(t, "aggregate", "add-host", "rack-b", "hv2").code)
	require.Equal(t, 0, run(t, "aggregate", "remove-host", "7", "hv2").code)
	acts := a.made("POST /compute/v2.1/os-aggregates/7/action")
	require.JSONEq(t, `{"set_metadata":{"metadata":{"disk":"hdd","gpu":null}}}`, acts[0].body)
	require.JSONEq(t, `{"add_host":{"host":"hv2"}}`, acts[1].body)
	require.JSONEq(t, `{"remove_host":{"host":"hv2"}}`, acts[2].body)
	require.Equal(t, "deleted aggregate rack-b\n", run(t, "aggregate", "delete", "rack-b").err)
}

func TestASubnetIsCreatedOnANamedNetwork(t *testing.T) {
	a := newAPI(t)
	a.json("GET /network/v2.0/networks", 200, `{"networks":[{"id":"net-1","name":"lab"}]}`)
	a.json("POST /network/v2.0/subnets", 201, `{"subnet":{"id":"sub-1","name":"lab-v4","cidr":"10.1.0.0/24"}}`)
	got := run(t, "subnet", "create", "lab-v4", "--network", "lab", "--cidr", "10.1.0.0/24", "--gateway", "none", "--pool", "10.1.0.10-10.1.0.20", "--dns", "10.1.0.2", "--quiet")
	require.Equal(t, "sub-1\n", got.out, got.err)
	require.JSONEq(t, `{"subnet":{"name":"lab-v4","network_id":"net-1","cidr":"10.1.0.0/24","ip_version":4,"enable_dhcp":true,"gateway_ip":null,
		"allocation_pools":[{"start":"10.1.0.10","end":"10.1.0.20"}],"dns_nameservers":["10.1.0.2"]}}`, a.made("POST /network/v2.0/subnets")[0].body)
}

func TestHostsAreFoundAtTheRootOfTheAPIWhenTheCatalogDoesNotListThem(t *testing.T) {
	a := newAPI(t)
	a.json("GET /hosts", 200, `{"hosts":[{"id":"h-1","hostname":"hv1","availability_zone":"nova","state":"up","enabled":true,"servers":3,
		"vcpus":8,"used_vcpus":4,"memory_mib":16384,"used_memory_mib":4096,"disk_gib":100,"used_disk_gib":40,"certificate_expires_at":"2199-02-03T04:05:06Z","certificate_expires_soon":false}]}`)
	a.json("POST /hosts", 201, `{"host":{"id":"h-2","hostname":"hv2","availability_zone":"rack-b","token":"tok-1"}}`)
	a.json("POST /hosts/h-1/token", 200, `{"host":{"id":"h-1","hostname":"hv1","token":"tok-2"}}`)
	a.json("PATCH /hosts/h-1", 200, `{"host":{"id":"h-1"}}`)
	a.json("DELETE /hosts/h-1", 204, "")
	require.Equal(t, "ID   HOSTNAME  ZONE  STATE  STATUS   SERVERS  VCPUS  MEMORY MIB  DISK GIB  CERTIFICATE ENDS\nh-1  hv1       nova  up     enabled  3        4/8    4096/16384  40/100    2199-02-03\n", run(t, "host", "list").out)
	require.Equal(t, "tok-1\n", run(t, "host", "create", "hv2", "--availability-zone", "rack-b", "--quiet").out)
	require.JSONEq(t, `{"host":{"hostname":"hv2","availability_zone":"rack-b"}}`, a.made("POST /hosts")[0].body)
	require.Equal(t, "tok-2\n", run(t, "host", "token", "hv1", "--quiet").out)
	require.Equal(t, "disabled host hv1\n", run(t, "host", "disable", "hv1", "--reason", "memory").err)
	require.JSONEq(t, `{"host":{"enabled":false,"disabled_reason":"memory"}}`, a.made("PATCH /hosts/h-1")[0].body)
	require.Equal(t, "enabled host hv1\n", run(t, "host", "enable", "h-1").err)
	require.Equal(t, "deleted host hv1\n", run(t, "host", "delete", "hv1").err)
}

func TestAHostThatSaysItIsNotReadyIsNotShownAsUp(t *testing.T) {
	require.Equal(t, "up", hostState(show.Object{"state": "up", "ready": true}))
	require.Equal(t, "not ready", hostState(show.Object{"state": "up", "ready": false}))
	require.Equal(t, "down", hostState(show.Object{"state": "down", "ready": false}))
}

func TestWhenAHostsCertificateEndsIsShownInDaysWhereItIsSoon(t *testing.T) {
	at := func(left time.Duration, soon bool) show.Object {
		return show.Object{"certificate_expires_at": time.Now().Add(left).UTC().Format(time.RFC3339), "certificate_expires_soon": soon}
	}
	require.Equal(t, "-", hostCertificate(show.Object{"certificate_expires_at": nil, "certificate_expires_soon": false}))
	require.Equal(t, "-", hostCertificate(show.Object{}), "an API of the version before")
	require.Equal(t, "in 12 days", hostCertificate(at(12*24*time.Hour+time.Hour, true)))
	require.Equal(t, "in 0 days", hostCertificate(at(time.Hour, true)))
	require.Equal(t, "expired", hostCertificate(at(-time.Hour, true)))
	require.Len(t, hostCertificate(at(365*24*time.Hour, false)), len(time.DateOnly))
}

func TestQuotaShowsWhatIsLeft(t *testing.T) {
	a := newAPI(t)
	a.json("GET /compute/v2.1/os-quota-sets/"+project+"/detail", 200, `{"quota_set":{"id":"`+project+`",
		"instances":{"in_use":3,"limit":10,"reserved":0},"cores":{"in_use":21,"limit":20,"reserved":0},"ram":{"in_use":512,"limit":-1,"reserved":0},
		"metadata_items":{"in_use":0,"limit":128,"reserved":0}}}`)
	require.Equal(t, "RESOURCE        IN USE  LIMIT      LEFT\ncores           21      20         0\ninstances       3       10         7\nmetadata_items  -       128        -\nram             512     unlimited  -\n", run(t, "quota", "show").out)
}

func TestATokenIsPrintedWithoutItsCatalog(t *testing.T) {
	newAPI(t)
	require.Equal(t, "gAAAA-the-token\n", run(t, "token", "issue", "--quiet").out)
	require.Equal(t, "id          gAAAA-the-token\nexpires     2030-01-02T03:04:05.000000Z\nuser        ada\nuser id     u1\nproject     demo\nproject id  "+project+"\nroles       member\n", run(t, "token", "issue").out)
	whole := asJSON(t, run(t, "token", "issue", "-o", "json").out)
	require.NotContains(t, whole, "catalog")
	require.Equal(t, project, whole["project_id"])
}

func TestServicesOfACloudThatLacksThemAreNamed(t *testing.T) {
	a := newAPI(t)
	a.Server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 201, `{"token":{"expires_at":"2030-01-02T03:04:05.000000Z","user":{"id":"u1"},"catalog":[]}}`, "X-Subject-Token", "t")
	})
	got := run(t, "image", "list")
	require.Equal(t, show.ExitFailed, got.code)
	require.Contains(t, got.err, "Error: the cloud's catalog has no image API\n")
}

func TestAHostTellsHowItsGuestsRun(t *testing.T) {
	for want, trial := range map[string]show.Object{
		"accelerated":       {"at": "2026-03-04T05:06:07Z", "passed": true, "accelerated": true},
		"emulated":          {"at": "2026-03-04T05:06:07Z", "passed": true, "accelerated": false},
		"failing":           {"at": "2026-03-04T05:06:07Z", "passed": false, "accelerated": false},
		"emulated, untried": {"at": "2026-03-04T05:06:07Z", "passed": false, "untried": true},
		"":                  nil,
	} {
		require.Equal(t, want, hostGuests(show.Object{"trial": trial}))
	}
	require.Empty(t, hostGuests(show.Object{"trial": nil}), "a host that has not told")
}

func TestAKeyPairIsMadeInTheVersionThatTakesAnyNameOfOne(t *testing.T) {
	a := newAPI(t)
	a.json("POST /compute/v2.1/os-keypairs", 201, `{"keypair":{"name":"me@laptop.local"}}`)
	key := filepath.Join(t.TempDir(), "key.pub")
	require.NoError(t, os.WriteFile(key, []byte("ssh-ed25519 AAAA me\n"), 0o600))
	got := run(t, "keypair", "create", "me@laptop.local", "--public-key", key)
	require.Equal(t, 0, got.code, got.err)
	sent := a.made("POST /compute/v2.1/os-keypairs")[0]
	require.Equal(t, "compute 2.96", sent.header.Get("OpenStack-API-Version"))
	require.JSONEq(t, `{"keypair":{"name":"me@laptop.local","type":"ssh","public_key":"ssh-ed25519 AAAA me"}}`, sent.body)
}

func TestAFileWithTwoPublicKeysIsNoKeyPair(t *testing.T) {
	a := newAPI(t)
	got := runWith(t, t.Context(), "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b\n", "keypair", "create", "k", "--public-key", "-")
	require.Equal(t, show.ExitUsage, got.code)
	require.Contains(t, got.err, "has 2 lines: a key pair is one public key, on one line")
	require.Empty(t, a.made("POST /compute/v2.1/os-keypairs"))
}
