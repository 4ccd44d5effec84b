package compute_test

import (
	"crypto/md5"  //nolint:gosec // Nova's fingerprint
	"crypto/sha1" //nolint:gosec // of a certificate
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ssh"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/models"
)

func TestKeyPairsAreImportedAndGenerated(t *testing.T) {
	c := newCloud(t)
	pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(key))
	require.NoError(t, err)
	sum := md5.Sum(pub.Marshal()) //nolint:gosec // as above
	fingerprint := strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":")

	a := c.nova(t, c.member, "2.1", "POST", "/os-keypairs", fields{"keypair": fields{"name": "old", "public_key": key}})
	require.Equal(t, 200, a.Status, "201 came with 2.2")
	require.JSONEq(t, fmt.Sprintf(`{"keypair":{"name":"old","public_key":%q,"fingerprint":%q,"user_id":%q}}`, key, fingerprint, c.member.UserID), a.Body)
	a = c.nova(t, c.member, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "m@c.x", "public_key": key, "type": "ssh"}})
	require.Equal(t, 201, a.Status, a.Body)
	require.Equal(t, "ssh", a.At(t, "keypair", "type"))
	require.NotContains(t, a.Body, "private_key")

	a = c.nova(t, c.member, "2.91", "POST", "/os-keypairs", fields{"keypair": fields{"name": "made"}})
	require.Equal(t, 201, a.Status, a.Body)
	signer, err := ssh.ParsePrivateKey([]byte(a.At(t, "keypair", "private_key").(string)))
	require.NoError(t, err)
	made, _, _, _, err := ssh.ParseAuthorizedKey([]byte(a.At(t, "keypair", "public_key").(string)))
	require.NoError(t, err)
	require.Equal(t, made.Marshal(), signer.PublicKey().Marshal(), "the halves belong together")

	a = c.nova(t, c.member, "2.91", "POST", "/os-keypairs", fields{"keypair": fields{"name": "windows", "type": "x509"}})
	require.Equal(t, 201, a.Status, a.Body)
	pair, err := tls.X509KeyPair([]byte(a.At(t, "keypair", "public_key").(string)), []byte(a.At(t, "keypair", "private_key").(string)))
	require.NoError(t, err, "the halves belong together")
	certificate := pair.Leaf
	sha := sha1.Sum(certificate.Raw) //nolint:gosec // as above
	require.Equal(t, strings.ReplaceAll(fmt.Sprintf("% x", sha[:]), " ", ":"), a.At(t, "keypair", "fingerprint"))
	require.Equal(t, c.member.UserID, certificate.Subject.CommonName)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, certificate.ExtKeyUsage)
	require.Contains(t, string(certificate.Raw), c.member.UserID+"@localhost", "by which Windows knows the user")
	require.True(t, certificate.NotAfter.After(time.Now().AddDate(9, 0, 0)))
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", "/os-keypairs/windows", nil).Status)

	for _, tt := range []struct {
		name    string
		version string
		body    any
		status  int
		message string
	}{
		{"taken", at96, fields{"name": "made", "public_key": key}, 409, "Key pair 'made' already exists."},
		{"no key since 2.92", "2.92", fields{"name": "x"}, 400, ""},
		{"no ssh key", at96, fields{"name": "x", "public_key": "hello"}, 400, "Keypair data is invalid: failed to generate fingerprint"},
		{"two keys", at96, fields{"name": "x", "public_key": key + "\n" + key}, 400, "Keypair data is invalid: failed to generate fingerprint"},
		{"a key with a command", at96, fields{"name": "x", "public_key": `command="rm" ` + key}, 400, "Keypair data is invalid: failed to generate fingerprint"},
		{"no certificate", at96, fields{"name": "x", "public_key": key, "type": "x509"}, 400, "Keypair data is invalid: failed to generate X509 fingerprint. Error message: no PEM certificate"},
		{"a type before 2.2", "2.1", fields{"name": "x", "type": "ssh"}, 400, ""},
		{"another type", at96, fields{"name": "x", "public_key": key, "type": "gpg"}, 400, "Invalid input for field/attribute type. Value: gpg. 'gpg' is not one of ['ssh', 'x509']"},
		{"a name with an @ before 2.92", "2.91", fields{"name": "a@b"}, 400, "Invalid input for field/attribute name. Value: a@b. 'a@b' does not match '^[_\\- a-zA-Z0-9]+$'"},
		{"a name that is too long", at96, fields{"name": strings.Repeat("n", 256), "public_key": key}, 400, ""},
		{"another user", at96, fields{"name": "x", "public_key": key, "user_id": "somebody"}, 403, "Policy doesn't allow os_compute_api:os-keypairs:create to be performed."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := c.nova(t, c.member, tt.version, "POST", "/os-keypairs", fields{"keypair": tt.body})
			require.Equal(t, tt.status, a.Status, a.Body)
			if tt.message != "" {
				require.Equal(t, tt.message, a.Message(t))
			}
		})
	}
	a = c.nova(t, c.reader, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "x", "public_key": key}})
	require.Equal(t, 403, a.Status)

	// An admin makes and reads a key for another user; others see only their own.
	a = c.nova(t, c.admin, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "given", "public_key": key, "user_id": c.member.UserID}})
	require.Equal(t, 201, a.Status, a.Body)
	names := func(u apitest.User, query string) (names []string) {
		a := c.nova(t, u, at96, "GET", "/os-keypairs"+query, nil)
		require.Equal(t, 200, a.Status, a.Body)
		for _, k := range a.At(t, "keypairs").([]any) {
			names = append(names, k.(map[string]any)["keypair"].(map[string]any)["name"].(string))
		}
		return names
	}
	require.ElementsMatch(t, []string{"given", "m@c.x", "made", "old"}, names(c.member, ""))
	require.Empty(t, names(c.stranger, ""))
	require.Len(t, names(c.admin, "?user_id="+c.member.UserID), 4)
	require.Equal(t, 403, c.nova(t, c.stranger, at96, "GET", "/os-keypairs?user_id="+c.member.UserID, nil).Status)
	require.Len(t, names(c.member, "?limit=3"), 3)

	a = c.nova(t, c.member, at96, "GET", "/os-keypairs/made", nil)
	require.Equal(t, 200, a.Status)
	require.Equal(t, false, a.At(t, "keypair", "deleted"))
	require.Equal(t, 204, c.nova(t, c.member, at96, "DELETE", "/os-keypairs/made", nil).Status)
	require.Equal(t, 202, c.nova(t, c.member, "2.1", "DELETE", "/os-keypairs/old", nil).Status)
	a = c.nova(t, c.member, at96, "GET", "/os-keypairs/made", nil)
	require.Equal(t, 404, a.Status)
	require.Equal(t, "Keypair made not found for user "+c.member.UserID, a.Message(t))
	require.Equal(t, 404, c.nova(t, c.member, at96, "DELETE", "/os-keypairs/made", nil).Status)

	require.NoError(t, c.Store.SetQuota(t.Context(), c.member.ProjectID, map[string]int{"key_pairs": 2}, models.ProjectQuota{}))
	a = c.nova(t, c.member, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "more", "public_key": key}})
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Quota exceeded, too many key pairs.", a.At(t, "forbidden", "message"))
}

func TestFlavorsAreTheAdminsToMake(t *testing.T) {
	c := newCloud(t)
	make := func(u apitest.User, version string, f fields) apitest.Answer {
		return c.nova(t, u, version, "POST", "/flavors", fields{"flavor": f})
	}
	small := fields{"name": "m1.small", "id": "2", "ram": 2048, "vcpus": 1, "disk": 20}
	a := make(c.member, at96, small)
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:os-flavor-manage:create to be performed.", a.Message(t))
	require.Equal(t, 200, make(c.admin, at96, small).Status)
	a = make(c.admin, at96, small)
	require.Equal(t, 409, a.Status)
	require.Equal(t, "Flavor with ID 2 already exists.", a.Message(t))
	a = make(c.admin, at96, fields{"name": "m1.small", "id": "3", "ram": 1, "vcpus": 1, "disk": 0})
	require.Equal(t, "Flavor with name m1.small already exists.", a.Message(t))
	a = make(c.admin, "2.1", fields{"name": "own", "ram": "4096", "vcpus": "2", "disk": "0", "swap": 512, "rxtx_factor": "2.5", "os-flavor-access:is_public": "no"})
	require.Equal(t, 200, a.Status, a.Body)
	own := a.At(t, "flavor", "id").(string)
	require.NoError(t, uuid.Validate(own))
	require.Equal(t, []any{4096.0, 2.5, false, 512.0}, []any{a.At(t, "flavor", "ram"), a.At(t, "flavor", "rxtx_factor"), a.At(t, "flavor", "os-flavor-access:is_public"), a.At(t, "flavor", "swap")})
	for _, bad := range []fields{
		{"name": "x", "ram": 0, "vcpus": 1, "disk": 1}, {"name": "x", "ram": "0", "vcpus": 1, "disk": 1}, {"name": "x", "ram": 1, "vcpus": 1},
		{"name": " x", "ram": 1, "vcpus": 1, "disk": 1}, {"name": "x", "ram": 1, "vcpus": 1, "disk": -1}, {"name": "x", "ram": 1, "vcpus": 1, "disk": 1, "id": "a/b"},
		{"name": "x", "ram": 2147483648, "vcpus": 1, "disk": 1}, {"name": "x", "ram": 1.5, "vcpus": 1, "disk": 1}, {"name": "x", "ram": 1, "vcpus": 1, "disk": 1, "gpu": 1},
		{"name": "x", "ram": 1, "vcpus": 1, "disk": 1, "rxtx_factor": 0}, {"name": "x", "ram": "99999999999999999999", "vcpus": 1, "disk": 1},
	} {
		require.Equal(t, 400, make(c.admin, at96, bad).Status, bad)
	}

	list := func(u apitest.User, version, query string) (ids []string) {
		a := c.nova(t, u, version, "GET", "/flavors/detail"+query, nil)
		require.Equal(t, 200, a.Status, a.Body)
		for _, f := range a.At(t, "flavors").([]any) {
			ids = append(ids, f.(map[string]any)["id"].(string))
		}
		return ids
	}
	require.Equal(t, []string{"1", "2"}, list(c.member, at96, ""))
	require.Equal(t, []string{"1", "2"}, list(c.member, at96, "?is_public=none"), "others cannot ask for private ones")
	require.Equal(t, []string{own}, list(c.admin, at96, "?is_public=false"))
	require.Len(t, list(c.admin, at96, "?is_public=None"), 3)
	require.Equal(t, []string{"2"}, list(c.member, at96, "?minRam=1000"))
	require.Equal(t, []string{"2"}, list(c.member, at96, "?minDisk=5"))
	require.Equal(t, []string{"2", "1"}, list(c.member, at96, "?sort_key=memory_mb&sort_dir=desc"))
	require.Equal(t, []string{"2"}, list(c.member, at96, "?limit=1&marker=1"))
	for query, message := range map[string]string{
		"?minRam=much": "Invalid minRam filter [much]", "?marker=nine": "marker [nine] not found", "?color=1": "Additional properties are not allowed ('color' was unexpected)",
	} {
		a := c.nova(t, c.member, at96, "GET", "/flavors"+query, nil)
		require.Equal(t, 400, a.Status)
		require.Equal(t, message, a.Message(t))
	}
	a = c.nova(t, c.member, at96, "GET", "/flavors?limit=1", nil)
	require.Contains(t, a.Body, `"flavors_links":[{"rel":"next"`)

	a = c.nova(t, c.member, at96, "GET", "/flavors/"+own, nil)
	require.Equal(t, 404, a.Status)
	require.Equal(t, "Flavor "+own+" could not be found.", a.Message(t))
	a = c.nova(t, c.member, "2.1", "GET", "/flavors/1", nil)
	require.JSONEq(t, steady(`{"flavor":{"id":"1","name":"m1.tiny","ram":512,"disk":1,"vcpus":1,"swap":"","rxtx_factor":1,"OS-FLV-EXT-DATA:ephemeral":0,
		"OS-FLV-DISABLED:disabled":false,"os-flavor-access:is_public":true,"links":[{"rel":"self","href":"URL/compute/v2.1/flavors/1"},{"rel":"bookmark","href":"URL/compute/flavors/1"}]}}`, "URL", c.URL), a.Body)
	a = c.nova(t, c.member, at96, "GET", "/flavors/1", nil)
	require.Equal(t, []any{0.0, nil, fields{"hw:x": "y"}}, []any{a.At(t, "flavor", "swap"), a.At(t, "flavor", "description"), a.At(t, "flavor", "extra_specs")})

	specs := fields{"extra_specs": fields{"hw:cpu_policy": "shared", "n": 2}}
	require.Equal(t, 403, c.nova(t, c.member, at96, "POST", "/flavors/1/os-extra_specs", specs).Status)
	require.Equal(t, 404, c.nova(t, c.admin, at96, "POST", "/flavors/nine/os-extra_specs", specs).Status)
	require.Equal(t, 400, c.nova(t, c.admin, at96, "POST", "/flavors/1/os-extra_specs", fields{"extra_specs": fields{"a/b": "c"}}).Status)
	require.JSONEq(t, `{"extra_specs":{"hw:cpu_policy":"shared","n":"2"}}`, c.nova(t, c.admin, at96, "POST", "/flavors/1/os-extra_specs", specs).Body)
	require.JSONEq(t, `{"extra_specs":{"hw:x":"y","hw:cpu_policy":"shared","n":"2"}}`, c.nova(t, c.member, at96, "GET", "/flavors/1/os-extra_specs", nil).Body)
	require.JSONEq(t, `{"hw:cpu_policy":"shared"}`, c.nova(t, c.member, at96, "GET", "/flavors/1/os-extra_specs/hw:cpu_policy", nil).Body)
	bogus := fields{"extra_specs": fields{"hw:cpu_policy": "bogus"}}
	a = c.nova(t, c.admin, "2.86", "POST", "/flavors/1/os-extra_specs", bogus)
	require.Equal(t, 400, a.Status)
	require.Contains(t, a.Message(t), "Validation failed; 'bogus' is not one of: dedicated, shared, mixed.")
	require.Equal(t, 200, c.nova(t, c.admin, "2.85", "POST", "/flavors/2/os-extra_specs", bogus).Status)
	require.Equal(t, 404, c.nova(t, c.member, at96, "GET", "/flavors/1/os-extra_specs/other", nil).Status)

	require.Equal(t, 403, c.nova(t, c.member, at96, "DELETE", "/flavors/2", nil).Status)
	require.Equal(t, 202, c.nova(t, c.admin, at96, "DELETE", "/flavors/2", nil).Status)
	require.Equal(t, 404, c.nova(t, c.admin, at96, "DELETE", "/flavors/2", nil).Status)
}

func TestOneExtraSpecIsSetAndTakenAway(t *testing.T) {
	c := newCloud(t)
	spec := "/flavors/1/os-extra_specs/hw:cpu_policy"
	put := func(u apitest.User, version string, body any) apitest.Answer {
		return c.nova(t, u, version, "PUT", spec, body)
	}
	require.Equal(t, 403, put(c.member, at96, fields{"hw:cpu_policy": "shared"}).Status)
	a := put(c.admin, at96, fields{"hw:cpu_policy": "shared"})
	require.Equal(t, 200, a.Status, a.Body)
	require.JSONEq(t, `{"hw:cpu_policy":"shared"}`, a.Body)
	for _, tt := range []struct {
		version string
		body    any
		message string
	}{
		{at96, fields{"hw:cpu_threads": "1"}, "Request body and URI mismatch"},
		{at96, fields{"hw:cpu_policy": "bogus"}, "Validation failed; 'bogus' is not one of: dedicated, shared, mixed. It is the value of extra spec hw:cpu_policy."},
		{at96, fields{"hw:cpu_policy": "shared", "hw:cpu_threads": "1"}, ""}, {at96, fields{}, ""}, {at96, fields{"hw:cpu_policy": true}, ""},
	} {
		a := put(c.admin, tt.version, tt.body)
		require.Equal(t, 400, a.Status, a.Body)
		if tt.message != "" {
			require.Equal(t, tt.message, a.Message(t))
		}
	}
	require.Equal(t, 200, put(c.admin, "2.85", fields{"hw:cpu_policy": "bogus"}).Status, "known values since 2.86")
	require.Equal(t, 200, c.nova(t, c.admin, at96, "PUT", "/flavors/1/os-extra_specs/mine:x", fields{"mine:x": "anything"}).Status, "a namespace of nobody's")
	require.Equal(t, 404, c.nova(t, c.admin, at96, "PUT", "/flavors/9/os-extra_specs/mine:x", fields{"mine:x": "y"}).Status)

	require.Equal(t, 403, c.nova(t, c.member, at96, "DELETE", spec, nil).Status)
	a = c.nova(t, c.admin, at96, "DELETE", spec, nil)
	require.Equal(t, []any{200, ""}, []any{a.Status, a.Body})
	a = c.nova(t, c.admin, at96, "DELETE", spec, nil)
	require.Equal(t, []any{404, "Flavor 1 has no extra specs with key hw:cpu_policy."}, []any{a.Status, a.Message(t)})
	require.JSONEq(t, `{"extra_specs":{"hw:x":"y","mine:x":"anything"}}`, c.nova(t, c.member, at96, "GET", "/flavors/1/os-extra_specs", nil).Body)
}

func TestAFlavorIsDescribedAnew(t *testing.T) {
	c := newCloud(t)
	put := func(u apitest.User, version string, f any) apitest.Answer {
		return c.nova(t, u, version, "PUT", "/flavors/1", fields{"flavor": f})
	}
	require.Equal(t, 404, put(c.admin, "2.54", fields{"description": "x"}).Status)
	require.Equal(t, 403, put(c.member, at96, fields{"description": "x"}).Status)
	a := put(c.admin, "2.55", fields{"description": "for tests"})
	require.Equal(t, 200, a.Status, a.Body)
	require.Equal(t, "for tests", a.At(t, "flavor", "description"))
	require.NotContains(t, a.Body, "extra_specs", "which came with 2.61")
	for _, bad := range []any{fields{}, fields{"name": "x", "description": "y"}, fields{"description": 1}, fields{"description": "a\x00b"}, fields{"description": strings.Repeat("d", 65536)}} {
		require.Equal(t, 400, put(c.admin, at96, bad).Status, bad)
	}
	require.Equal(t, "for tests", c.nova(t, c.member, at96, "GET", "/flavors/1", nil).At(t, "flavor", "description"))
	require.Nil(t, put(c.admin, at96, fields{"description": nil}).At(t, "flavor", "description"))
	require.Equal(t, 404, c.nova(t, c.admin, at96, "PUT", "/flavors/9", fields{"flavor": fields{"description": "x"}}).Status)
}

func TestAPrivateFlavorIsForTheProjectsThatWereGivenIt(t *testing.T) {
	c := newCloud(t)
	_, err := c.Store.CreateFlavor(t.Context(), models.Flavor{ID: "own", Name: "own", VCPUs: 1, RAMMiB: 64, RxTxFactor: 1})
	require.NoError(t, err)
	act := func(u apitest.User, version, flavor string, body any) apitest.Answer {
		return c.nova(t, u, version, "POST", "/flavors/"+flavor+"/action", body)
	}
	give := fields{"addTenantAccess": fields{"tenant": c.member.ProjectID}}
	take := fields{"removeTenantAccess": fields{"tenant": c.member.ProjectID}}
	boot := func(u apitest.User) int {
		return c.nova(t, u, at96, "POST", "/servers", fields{"server": fields{"name": "s", "imageRef": c.image, "flavorRef": "own", "networks": "none"}}).Status
	}
	sees := func(u apitest.User) []any {
		return []any{c.nova(t, u, at96, "GET", "/flavors/own", nil).Status, strings.Contains(c.nova(t, u, at96, "GET", "/flavors", nil).Body, `"own"`), boot(u)}
	}
	require.Equal(t, []any{404, false, 400}, sees(c.member))
	require.JSONEq(t, `{"flavor_access":[]}`, c.nova(t, c.admin, at96, "GET", "/flavors/own/os-flavor-access", nil).Body)
	require.Equal(t, 403, act(c.member, at96, "own", give).Status)
	a := act(c.admin, at96, "own", give)
	require.Equal(t, 200, a.Status, a.Body)
	list := fmt.Sprintf(`{"flavor_access":[{"flavor_id":"own","tenant_id":%q}]}`, c.member.ProjectID)
	require.JSONEq(t, list, a.Body)
	require.JSONEq(t, list, c.nova(t, c.admin, at96, "GET", "/flavors/own/os-flavor-access", nil).Body)
	require.Equal(t, []any{200, true, 202}, sees(c.member))
	require.Equal(t, []any{404, false, 400}, sees(c.stranger))
	require.Equal(t, 403, c.nova(t, c.member, at96, "GET", "/flavors/own/os-flavor-access", nil).Status)
	require.NotContains(t, c.nova(t, c.admin, at96, "GET", "/flavors?is_public=false", nil).Body, `"id":"1"`)

	for _, tt := range []struct {
		version, flavor string
		body            any
		status          int
		message         string
	}{
		{at96, "own", give, 409, "Flavor access already exists for flavor own and project " + c.member.ProjectID + " combination."},
		{at96, "1", give, 409, "Can not add access to a public flavor."},
		{"2.6", "1", give, 200, ""},
		{at96, "9", give, 404, "Flavor 9 could not be found."},
		{at96, "own", fields{"addTenantAccess": fields{"tenant": "nobody"}}, 400, "Project ID nobody is not a valid project."},
		{at96, "own", fields{"removeTenantAccess": fields{"tenant": c.stranger.ProjectID}}, 404, "Flavor access not found for own / " + c.stranger.ProjectID + " combination."},
		{at96, "own", fields{}, 400, ""}, {at96, "own", fields{"addTenantAccess": nil}, 400, ""},
	} {
		a := act(c.admin, tt.version, tt.flavor, tt.body)
		require.Equal(t, tt.status, a.Status, a.Body)
		if tt.message != "" {
			require.Equal(t, tt.message, a.Message(t))
		}
	}
	a = act(c.admin, at96, "own", take)
	require.JSONEq(t, `{"flavor_access":[]}`, a.Body)
	require.Equal(t, []any{404, false, 400}, sees(c.member))
}

func TestLimitsAndQuotas(t *testing.T) {
	c := newCloud(t)
	require.NoError(t, c.Store.ClaimQuota(t.Context(), models.Claim{ServerID: uuid.NewString(), ProjectID: c.member.ProjectID, Instances: 1, Cores: 2, RAMMiB: 512}, models.Limits{Instances: 10, Cores: 20, RAMMiB: 51200}))
	a := c.nova(t, c.member, at96, "GET", "/limits", nil)
	require.Equal(t, 200, a.Status)
	require.JSONEq(t, `{"limits":{"rate":[],"absolute":{"maxTotalInstances":10,"maxTotalCores":20,"maxTotalRAMSize":51200,"maxTotalKeypairs":100,"maxServerMeta":128,
		"maxServerGroups":10,"maxServerGroupMembers":10,"totalInstancesUsed":1,"totalCoresUsed":2,"totalRAMUsed":512,"totalServerGroupsUsed":0}}}`, a.Body)
	require.Equal(t, 403, c.nova(t, c.stranger, at96, "GET", "/limits?tenant_id="+c.member.ProjectID, nil).Status)
	require.Equal(t, 1.0, c.nova(t, c.admin, at96, "GET", "/limits?tenant_id="+c.member.ProjectID, nil).At(t, "limits", "absolute", "totalInstancesUsed"))
	a = c.nova(t, c.admin, at96, "GET", "/limits?tenant_id=nobody", nil)
	require.Equal(t, []any{400, "Project ID nobody is not a valid project."}, []any{a.Status, a.Message(t)})

	path := "/os-quota-sets/" + c.member.ProjectID
	a = c.nova(t, c.member, at96, "GET", path+"/detail", nil)
	require.Equal(t, fields{"limit": 20.0, "in_use": 2.0, "reserved": 0.0}, a.At(t, "quota_set", "cores"))
	require.Equal(t, 403, c.nova(t, c.stranger, at96, "GET", path, nil).Status)
	require.Equal(t, 400, c.nova(t, c.admin, at96, "GET", "/os-quota-sets/nobody", nil).Status)
	require.Equal(t, 403, c.nova(t, c.member, at96, "PUT", path, fields{"quota_set": fields{"cores": 99}}).Status)
	a = c.nova(t, c.admin, at96, "PUT", path, fields{"quota_set": fields{"cores": 1}})
	require.Equal(t, 400, a.Status)
	require.Equal(t, "Quota limit 1 for cores must be greater than or equal to already used and reserved 2.", a.Message(t))
	require.Equal(t, 400, c.nova(t, c.admin, at96, "PUT", path, fields{"quota_set": fields{"cores": -2}}).Status)
	require.Equal(t, 200, c.nova(t, c.admin, at96, "PUT", path, fields{"quota_set": fields{"cores": 1, "force": true, "ram": "-1"}}).Status)
	a = c.nova(t, c.member, at96, "GET", path, nil)
	require.Equal(t, []any{1.0, -1.0, 10.0}, []any{a.At(t, "quota_set", "cores"), a.At(t, "quota_set", "ram"), a.At(t, "quota_set", "instances")})
	require.Equal(t, 20.0, c.nova(t, c.member, at96, "GET", path+"/defaults", nil).At(t, "quota_set", "cores"))
	require.Equal(t, 202, c.nova(t, c.admin, at96, "DELETE", path, nil).Status)
	require.Equal(t, 20.0, c.nova(t, c.member, at96, "GET", path, nil).At(t, "quota_set", "cores"))
}

func TestOperatorsSeeTheHosts(t *testing.T) {
	c := newCloud(t)
	for _, path := range []string{"/os-hypervisors", "/os-hypervisors/detail", "/os-hypervisors/statistics", "/os-hypervisors/" + c.host.ID, "/os-services", "/os-availability-zone/detail"} {
		require.Equal(t, 403, c.nova(t, c.member, "2.53", "GET", path, nil).Status, path)
		require.Equal(t, 200, c.nova(t, c.admin, "2.53", "GET", path, nil).Status, path)
	}
	s := c.row(t, c.member, "web", then)
	c.place(t, s, c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254"))
	a := c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors/detail?with_servers=true", nil)
	h := a.At(t, "hypervisors").([]any)[0].(map[string]any)
	require.Equal(t, []any{c.host.ID, "hv1", "up", "enabled", 4.0, 1.0, 8192.0, 512.0, 100.0, 1.0, 1.0, "QEMU"},
		[]any{h["id"], h["hypervisor_hostname"], h["state"], h["status"], h["vcpus"], h["vcpus_used"], h["memory_mb"], h["memory_mb_used"], h["local_gb"], h["local_gb_used"], h["running_vms"], h["hypervisor_type"]})
	require.Equal(t, s.ID, h["servers"].([]any)[0].(map[string]any)["uuid"])
	require.NotContains(t, c.nova(t, c.admin, at96, "GET", "/os-hypervisors/"+c.host.ID, nil).At(t, "hypervisor"), "vcpus", "gone since 2.88")
	require.Equal(t, 404, c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors?hypervisor_hostname_pattern=zz", nil).Status)
	require.Equal(t, 400, c.nova(t, c.admin, "2.53", "GET", "/os-hypervisors/7", nil).Status)
	old := c.nova(t, c.admin, "2.1", "GET", "/os-hypervisors", nil).At(t, "hypervisors").([]any)[0].(map[string]any)["id"].(float64)
	require.Equal(t, 200, c.nova(t, c.admin, "2.1", "GET", fmt.Sprintf("/os-hypervisors/%d", int(old)), nil).Status)
	require.Equal(t, 404, c.nova(t, c.admin, at96, "GET", "/os-hypervisors/statistics", nil).Status)

	c.suspend(t, s)
	service := func() []any {
		v := c.nova(t, c.admin, at96, "GET", "/os-services", nil).At(t, "services").([]any)[0].(map[string]any)
		return []any{v["binary"], v["host"], v["zone"], v["status"], v["state"], v["disabled_reason"]}
	}
	const failed = "1 builds in a row failed on it; `slipway host show hv1` says how"
	require.Equal(t, []any{"nova-compute", "hv1", "nova", "disabled", "up", failed}, service(), "as Nova's that disabled itself")
	h = c.nova(t, c.admin, at96, "GET", "/os-hypervisors/"+c.host.ID, nil).At(t, "hypervisor").(map[string]any)
	require.Equal(t, []any{"up", "disabled", failed}, []any{h["state"], h["status"], h["service"].(map[string]any)["disabled_reason"]})
	require.Contains(t, c.nova(t, c.reader, at96, "GET", "/os-availability-zone", nil).Body, `"available":false`)

	reason := "new memory"
	require.NoError(t, c.Store.SetHostEnabled(t.Context(), c.host.ID, false, &reason))
	require.Equal(t, []any{"nova-compute", "hv1", "nova", "disabled", "up", reason}, service(), "an operator's word outweighs")
	require.JSONEq(t, `{"availabilityZoneInfo":[{"zoneName":"nova","zoneState":{"available":false},"hosts":null}]}`, c.nova(t, c.reader, at96, "GET", "/os-availability-zone", nil).Body)
}

// suspend has a build of a server fail on its host, which is one too many.
func (c *cloud) suspend(t *testing.T, s models.Server) {
	t.Helper()
	h, counted, err := c.Store.CountBuildFailure(t.Context(), models.BuildFailure{
		ServerID: s.ID, Hostname: c.host.Hostname, Text: "StartDomain: no memory", At: time.Now(), Limit: 1,
	})
	require.NoError(t, err)
	require.True(t, counted && h.Suspended)
}
