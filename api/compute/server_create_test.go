package compute_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/api/apitest"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

type fields = map[string]any

// with is a good request, changed; a nil value takes a field away.
func (c *cloud) with(change fields) fields {
	server := fields{"name": "web", "imageRef": c.image, "flavorRef": "1", "networks": "none"}
	for k, v := range change {
		if v == nil {
			delete(server, k)
		} else {
			server[k] = v
		}
	}
	return fields{"server": server}
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEQAQ4CnSLGzHDAzSlAmfRvbqKSwgT3eGL4g6EpWd9Wt u@h"

func TestABadRequestForAServerIsRefusedInNovasWordsAndNothingIsBuilt(t *testing.T) {
	c := newCloud(t)
	ctx := context.Background()
	_, err := c.Store.CreateFlavor(ctx, models.Flavor{ID: "secret", Name: "secret", VCPUs: 1, RAMMiB: 1, RxTxFactor: 1})
	require.NoError(t, err)
	foreign := c.network(t, c.stranger, "theirs", "10.9.0.0/24", "10.9.0.2", "10.9.0.254")
	own := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	bare, err := c.Store.CreateNetwork(ctx, models.Network{ID: uuid.NewString(), ProjectID: c.member.ProjectID, Name: "bare", MTU: 1500})
	require.NoError(t, err)
	external, err := c.Store.CreateNetwork(ctx, models.Network{ProjectID: c.stranger.ProjectID, Name: "public", MTU: 1500, PhysicalNetwork: new("public")})
	require.NoError(t, err)
	port, err := c.Store.CreatePort(ctx, models.Port{ID: uuid.NewString(), NetworkID: own.ID, ProjectID: c.member.ProjectID})
	require.NoError(t, err)
	foreignPort, err := c.Store.CreatePort(ctx, models.Port{ID: uuid.NewString(), NetworkID: foreign.ID, ProjectID: c.stranger.ProjectID})
	require.NoError(t, err)
	early, err := c.Store.CreatePort(ctx, models.Port{NetworkID: bare.ID, ProjectID: c.member.ProjectID})
	require.NoError(t, err)
	absent := uuid.NewString()
	nets := func(n ...fields) fields { return c.with(fields{"networks": n}) }
	tooMany := fields{}
	for i := range 129 {
		tooMany[fmt.Sprint("k", i)] = "v"
	}
	before, err := c.Store.Snapshot(ctx)
	require.NoError(t, err)

	tests := []struct {
		name    string
		version string // 2.96 if ""
		body    any
		status  int
		message string
	}{
		{"malformed JSON", "", `{"server": {`, 400, "Malformed request body"},
		{"no body", "", "", 400, "Malformed request body"},
		{"a list", "", "[]", 400, "[] is not of type 'object'"},
		{"no server", "", fields{}, 400, "'server' is a required property"},
		{"unknown field beside the server", "", `{"server": {"name":"a","imageRef":"` + c.image + `","flavorRef":"1","networks":"none"}, "x": 1}`, 400, "Additional properties are not allowed ('x' was unexpected)"},
		{"unknown field", "", c.with(fields{"color": "red"}), 400, "Invalid input for field/attribute server. Value: {'color': 'red', 'flavorRef': '1', 'imageRef': '" + c.image + "', 'name': 'web', 'networks': 'none'}. Additional properties are not allowed ('color' was unexpected)"},
		{"no name", "2.1", `{"server": {"imageRef":"x","flavorRef":"1"}}`, 400, "Invalid input for field/attribute server. Value: {'flavorRef': '1', 'imageRef': 'x'}. 'name' is a required property"},
		{"empty name", "", c.with(fields{"name": ""}), 400, "Invalid input for field/attribute name. Value: . '' is too short"},
		{"blank name", "", c.with(fields{"name": " a"}), 400, "An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace."},
		{"unprintable name", "", c.with(fields{"name": "a\u0007b"}), 400, "An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace."},
		{"over-long name", "", c.with(fields{"name": strings.Repeat("n", 256)}), 400, "Invalid input for field/attribute name. Value: " + strings.Repeat("n", 256) + ". '" + strings.Repeat("n", 256) + "' is too long"},
		{"name of a wrong type", "", c.with(fields{"name": 5}), 400, "Invalid input for field/attribute name. Value: 5. 5 is not of type 'string'"},
		{"image that is no uuid", "", c.with(fields{"imageRef": "cirros"}), 400, "Invalid input for field/attribute imageRef. Value: cirros. 'cirros' is not valid under any of the given schemas"},
		{"no image", "", c.with(fields{"imageRef": nil}), 400, "Missing imageRef attribute"},
		{"unknown flavor", "", c.with(fields{"flavorRef": "huge"}), 400, "Flavor huge could not be found."},
		{"private flavor", "", c.with(fields{"flavorRef": "secret"}), 400, "Flavor secret could not be found."},
		{"unknown key", "", c.with(fields{"key_name": "mine"}), 400, "Invalid key_name provided."},
		{"bad base64", "", c.with(fields{"user_data": "IyEv!"}), 400, "Invalid input for field/attribute user_data. Value: IyEv!. 'IyEv!' is not a 'base64'"},
		{"user data too long", "", c.with(fields{"user_data": strings.Repeat("A", 65536)}), 400, "Invalid input for field/attribute user_data. Value: " + strings.Repeat("A", 300) + ".... '" + strings.Repeat("A", 300) + "...' is too long"},
		{"metadata value too long", "", c.with(fields{"metadata": fields{"k": strings.Repeat("v", 256)}}), 400, "Invalid input for field/attribute k. Value: " + strings.Repeat("v", 256) + ". '" + strings.Repeat("v", 256) + "' is too long"},
		{"metadata of a wrong type", "", c.with(fields{"metadata": fields{"k": 1}}), 400, "Invalid input for field/attribute k. Value: 1. 1 is not of type 'string'"},
		{"too much metadata", "", c.with(fields{"metadata": tooMany}), 403, "Maximum number of metadata items exceeds 128"},
		{"no networks since 2.37", "2.37", `{"server": {"name":"a","imageRef":"` + c.image + `","flavorRef":"1"}}`, 400, "Invalid input for field/attribute server. Value: {'flavorRef': '1', 'imageRef': '" + c.image + "', 'name': 'a'}. 'networks' is a required property"},
		{"a word for networks", "", c.with(fields{"networks": "some"}), 400, "Invalid input for field/attribute networks. Value: some. 'some' is not valid under any of the given schemas"},
		{"words before 2.37", "2.36", c.with(nil), 400, "Invalid input for field/attribute networks. Value: none. 'none' is not of type 'array'"},
		{"network that is no uuid", "", nets(fields{"uuid": "private"}), 400, "Bad networks format: network uuid is not in proper format (private)"},
		{"neither network nor port", "", nets(fields{}), 400, "Bad network format: missing 'uuid'"},
		{"unknown network", "", nets(fields{"uuid": absent}), 400, "Network " + absent + " could not be found."},
		{"another project's network", "", nets(fields{"uuid": foreign.ID}), 400, "Network " + foreign.ID + " could not be found."},
		{"an external network", "", nets(fields{"uuid": external.ID}), 403, "It is not allowed to create an interface on external network " + external.ID},
		{"network without a subnet", "", nets(fields{"uuid": bare.ID}), 400, "Network " + bare.ID + " requires a subnet in order to boot instances on."},
		{"address outside", "", nets(fields{"uuid": own.ID, "fixed_ip": "10.2.0.1"}), 400, "Fixed IP address 10.2.0.1 is not a valid ip address for network " + own.ID + "."},
		{"address that is none", "", nets(fields{"uuid": own.ID, "fixed_ip": "ten"}), 400, "Invalid input for field/attribute fixed_ip. Value: ten. 'ten' is not a 'ipv4' or 'ipv6' address"},
		{"the network's address", "", nets(fields{"uuid": own.ID, "fixed_ip": "10.1.0.0"}), 400, "Fixed IP address 10.1.0.0 is not a valid ip address for network " + own.ID + "."},
		{"the broadcast address", "", nets(fields{"uuid": own.ID, "fixed_ip": "10.1.0.255"}), 400, "Fixed IP address 10.1.0.255 is not a valid ip address for network " + own.ID + "."},
		{"an address that a port has", "", nets(fields{"uuid": own.ID, "fixed_ip": port.FixedIPs[0].IP}), 400, "Fixed IP address " + port.FixedIPs[0].IP + " is already in use by port " + port.ID + ": name the port instead."},
		{"an address twice", "", nets(fields{"uuid": own.ID, "fixed_ip": "10.1.0.9"}, fields{"uuid": own.ID, "fixed_ip": "10.1.0.9"}), 400, "Fixed IP address 10.1.0.9 was specified twice for network " + own.ID + "."},
		{"a port that got no address", "", nets(fields{"port": early.ID}), 400, "Port " + early.ID + " requires a FixedIP in order to be used."},
		{"unknown port", "", nets(fields{"port": absent}), 400, "Port id " + absent + " could not be found."},
		{"another project's port", "", nets(fields{"port": foreignPort.ID}), 400, "Port id " + foreignPort.ID + " could not be found."},
		{"a port twice", "", nets(fields{"port": port.ID}, fields{"port": port.ID}), 400, "Port ID '" + port.ID + "' was specified twice: you cannot attach a port multiple times."},
		{"a port with an address", "", nets(fields{"port": port.ID, "fixed_ip": "10.1.0.9"}), 400, "Specified Fixed IP '10.1.0.9' cannot be used with port '" + port.ID + "': the two cannot be specified together."},
		{"several networks to choose from", "", c.with(fields{"networks": "auto"}), 409, "Multiple possible networks found, use a Network ID to be more specific."},
		{"several networks, none named", "2.1", c.with(fields{"networks": nil}), 409, "Multiple possible networks found, use a Network ID to be more specific."},
		{"unknown zone", "", c.with(fields{"availability_zone": "mars"}), 400, "The requested availability zone is not available"},
		{"a forced host", "", c.with(fields{"availability_zone": "nova:hv1"}), 403, "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed."},
		{"a forced node", "", c.with(fields{"availability_zone": "nova::hv1"}), 403, "Policy doesn't allow os_compute_api:servers:create:forced_host to be performed."},
		{"a chosen host", "", c.with(fields{"host": "hv1"}), 403, "Policy doesn't allow compute:servers:create:requested_destination to be performed."},
		{"a chosen hypervisor", "", c.with(fields{"hypervisor_hostname": "hv1"}), 403, "Policy doesn't allow compute:servers:create:requested_destination to be performed."},
		{"a zone of too many parts", "", c.with(fields{"availability_zone": "a:b:c:d"}), 400, "Invalid input received: Unable to parse availability_zone"},
		{"too many servers", "", c.with(fields{"max_count": 1001}), 400, "max_count is 1001: one request may build at most 1000 servers here."},
		{"several servers on one port", "", c.with(fields{"max_count": 2, "networks": []fields{{"port": port.ID}}}), 400,
			"Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports."},
		{"several servers with one address", "", c.with(fields{"min_count": 2, "networks": []fields{{"uuid": own.ID, "fixed_ip": "10.1.0.9"}}}), 400,
			"Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified."},
		{"an accessIPv4 that is none", "", c.with(fields{"accessIPv4": "bad.format"}), 400, "Invalid input for field/attribute accessIPv4. Value: bad.format. 'bad.format' is not a 'ipv4'"},
		{"an accessIPv6 of the other kind", "", c.with(fields{"accessIPv6": "192.0.2.7"}), 400, "Invalid input for field/attribute accessIPv6. Value: 192.0.2.7. '192.0.2.7' is not a 'ipv6'"},
		{"a diskConfig that is none", "", c.with(fields{"OS-DCF:diskConfig": "auto"}), 400, "Invalid input for field/attribute OS-DCF:diskConfig. Value: auto. 'auto' is not one of ['AUTO', 'MANUAL']"},
		{"several servers with one hostname", "2.90", c.with(fields{"max_count": 2, "hostname": "web"}), 400, "Unable to allocate a single hostname to multiple instances"},
		{"a name that has no room for its number", "", c.with(fields{"max_count": 10, "name": strings.Repeat("n", 253)}), 400,
			"Invalid input for field/attribute name. Value: " + strings.Repeat("n", 253) + ". '" + strings.Repeat("n", 253) + "' is too long: with its number a name has at most 255 characters"},
		{"counts that contradict", "", c.with(fields{"min_count": 2, "max_count": 1}), 400, "min_count must be <= max_count"},
		{"a count of none", "", c.with(fields{"min_count": "0"}), 400, "Invalid input for field/attribute min_count. Value: 0. '0' is less than the minimum of 1"},
		{"an unknown security group", "", c.with(fields{"security_groups": []fields{{"name": "web"}}}), 400, "Unable to find security_group with name or id 'web'"},
		{"personality since 2.57", "2.57", c.with(fields{"personality": []fields{}}), 400, "Invalid input for field/attribute server. Value: {'flavorRef': '1', 'imageRef': '" + c.image + "', 'name': 'web', 'networks': 'none', 'personality': []}. Additional properties are not allowed ('personality' was unexpected)"},
		{"too many files", "2.56", c.with(fields{"personality": make6Files()}), 403, "Quota exceeded, too many injected files: at most 5 are allowed."},
		{"a file that climbs", "2.56", c.with(fields{"personality": []fields{{"path": "/../etc/shadow", "contents": "YQ=="}}}), 400, "Invalid input for field/attribute path. Value: /../etc/shadow. '/../etc/shadow' is not an absolute path"},
		{"tags before 2.52", "2.51", c.with(fields{"tags": []string{"a"}}), 400, "Invalid input for field/attribute server. Value: {'flavorRef': '1', 'imageRef': '" + c.image + "', 'name': 'web', 'networks': 'none', 'tags': ['a']}. Additional properties are not allowed ('tags' was unexpected)"},
		{"a tag with a comma", "", c.with(fields{"tags": []string{"a,b"}}), 400, "Invalid input for field/attribute 0. Value: a,b. 'a,b' does not match '^[^,/]*$'"},
		{"a hostname that is none", "2.90", c.with(fields{"hostname": "a.b"}), 400, "Invalid input for field/attribute hostname. Value: a.b. 'a.b' does not match '^[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+$'"},
		{"a config drive of a wrong type", "", c.with(fields{"config_drive": "perhaps"}), 400, ""},
		{"hints of a wrong form", "", `{"server": {"name":"a","imageRef":"` + c.image + `","flavorRef":"1","networks":"none"}, "os:scheduler_hints": {"group": "x"}}`, 400, "Invalid input for field/attribute group. Value: x. 'x' is not a 'uuid'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			version := tt.version
			if version == "" {
				version = at96
			}
			a := c.nova(t, c.member, version, "POST", "/servers", tt.body)
			require.Equal(t, tt.status, a.Status, a.Body)
			if tt.message != "" {
				require.Equal(t, tt.message, a.Message(t))
			}
			require.EqualValues(t, tt.status, a.At(t, map[int]string{400: "badRequest", 403: "forbidden", 409: "conflictingRequest"}[tt.status], "code"))
			require.Empty(t, c.builds.take(), "nothing may be submitted")
		})
	}
	after, err := c.Store.Snapshot(ctx)
	require.NoError(t, err)
	require.Equal(t, before, after, "a refused request leaves no row")
}

func make6Files() []fields {
	files := make([]fields, 6)
	for i := range files {
		files[i] = fields{"path": fmt.Sprint("/f", i), "contents": "YQ=="}
	}
	return files
}

func TestWhoMayNotAskForAServer(t *testing.T) {
	c := newCloud(t)
	expired := c.UserUntil(t, "one", "member", time.Now().Add(-time.Second))
	good := c.with(nil)

	a := c.Do(t, "POST", "/compute/v2.1/servers", "", good)
	require.Equal(t, 401, a.Status)
	require.Contains(t, a.Header.Get("WWW-Authenticate"), "Keystone uri=")
	require.Equal(t, 401, c.nova(t, expired, at96, "POST", "/servers", good).Status)
	a = c.nova(t, c.reader, at96, "POST", "/servers", good)
	require.Equal(t, 403, a.Status)
	require.Equal(t, "Policy doesn't allow os_compute_api:servers:create to be performed.", a.Message(t))
	require.Empty(t, c.builds.take())
}

func TestMicroversionsAreNegotiated(t *testing.T) {
	c := newCloud(t)
	get := func(headers ...string) (int, string, string) {
		a := c.Do(t, "GET", "/compute/v2.1/flavors", c.member.Token, nil, headers...)
		require.ElementsMatch(t, []string{"OpenStack-API-Version", "X-OpenStack-Nova-API-Version"}, a.Header.Values("Vary"))
		return a.Status, a.Header.Get("OpenStack-API-Version"), a.Body
	}
	for _, tt := range []struct {
		headers []string
		status  int
		used    string
		body    string
	}{
		{nil, 200, "compute 2.1", ""},
		{[]string{"X-OpenStack-Nova-API-Version", "2.47"}, 200, "compute 2.47", ""},
		{[]string{"OpenStack-API-Version", "compute 2.61"}, 200, "compute 2.61", ""},
		{[]string{"OpenStack-API-Version", "identity 3.1, compute latest"}, 200, "compute 2.96", ""},
		{[]string{"OpenStack-API-Version", "compute 2.10", "X-OpenStack-Nova-API-Version", "2.3"}, 200, "compute 2.10", ""},
		{[]string{"OpenStack-API-Version", "volume 3.999"}, 200, "compute 2.1", ""},
		{[]string{"X-OpenStack-Nova-API-Version", "2.97"}, 406, "", `{"computeFault":{"code":406,"message":"Version 2.97 is not supported by the API. Minimum is 2.1 and maximum is 2.96."}}`},
		{[]string{"X-OpenStack-Nova-API-Version", "3.1"}, 406, "", `{"computeFault":{"code":406,"message":"Version 3.1 is not supported by the API. Minimum is 2.1 and maximum is 2.96."}}`},
		{[]string{"X-OpenStack-Nova-API-Version", "2.0"}, 406, "", ""},
		{[]string{"X-OpenStack-Nova-API-Version", "two"}, 400, "", `{"badRequest":{"code":400,"message":"API Version String two is of invalid format. Must be of format MajorNum.MinorNum."}}`},
		{[]string{"X-OpenStack-Nova-API-Version", "2.01"}, 400, "", ""},
	} {
		status, used, body := get(tt.headers...)
		require.Equal(t, tt.status, status, "%v: %s", tt.headers, body)
		require.Equal(t, tt.used, used, tt.headers)
		if tt.body != "" {
			require.JSONEq(t, tt.body, body)
		}
	}
	for _, path := range []string{"/compute", "/compute/", "/compute/v2.1", "/compute/v2.1/"} {
		a := c.Do(t, "GET", path, "", nil)
		require.Equal(t, 200, a.Status, path)
		require.Contains(t, a.Body, `"version":"2.96"`)
	}
}

func TestAnAcceptedServerIsSubmittedWhole(t *testing.T) {
	c := newCloud(t)
	ctx := context.Background()
	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	require.Equal(t, 201, c.nova(t, c.member, at96, "POST", "/os-keypairs", fields{"keypair": fields{"name": "mine", "public_key": key}}).Status)
	require.NoError(t, c.Store.SetQuota(ctx, c.member.ProjectID, map[string]int{"instances": 3, "cores": 4, "ram": -1, "key_pairs": 9}, models.ProjectQuota{}))

	script := "#!/bin/sh\necho hi\n"
	a := c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{
		"name": "Web Server_1.å", "key_name": "mine", "user_data": base64.StdEncoding.EncodeToString([]byte(script)), "metadata": fields{"role": "web"},
		"config_drive": "True", "networks": []fields{{"uuid": n.ID, "fixed_ip": "10.1.0.7", "tag": "front"}}, "availability_zone": "nova",
		"tags": []string{"b", "a", "b"}, "description": "the first", "min_count": 1, "max_count": "1", "OS-DCF:diskConfig": "AUTO",
		"trusted_image_certificates": []string{"c-1"}, "accessIPv4": "192.0.2.7", "accessIPv6": "2001:db8::7",
		"security_groups":         []fields{{"name": "default"}},
		"block_device_mapping_v2": []fields{{"uuid": c.image, "boot_index": 0, "source_type": "image", "destination_type": "local", "delete_on_termination": true}},
	}))
	require.Equal(t, 202, a.Status, a.Body)
	in := c.builds.take()
	require.Len(t, in, 1)
	got := in[0]
	id, _ := a.At(t, "server", "id").(string)
	require.Equal(t, id, got.ServerID)
	require.Equal(t, c.URL+"/compute/v2.1/servers/"+id, a.Header.Get("Location"))
	require.Equal(t, got.AdminPass, a.At(t, "server", "adminPass"))
	require.Len(t, got.AdminPass, 12)
	require.Len(t, got.Seed, 32, "random_seed is derived from it")
	require.Equal(t, "AUTO", a.At(t, "server", "OS-DCF:diskConfig"))
	require.Equal(t, []string{"c-1"}, got.TrustedCertificates)
	require.Equal(t, []any{"192.0.2.7", "2001:db8::7", true}, []any{got.AccessIPv4, got.AccessIPv6, *got.AutoDiskConfig})
	require.Equal(t, []any{fields{"name": "default"}}, a.At(t, "server", "security_groups"))

	require.Equal(t, a.Header.Get("X-Openstack-Request-Id"), got.RequestID)
	require.Equal(t, []any{c.member.ProjectID, c.member.UserID, "Web Server_1.å", "web-server-1-", "the first", c.image, "nova"},
		[]any{got.ProjectID, got.UserID, got.Name, got.Hostname + "-", got.Description, got.ImageID, got.AvailabilityZone})
	require.Equal(t, []string{"member"}, got.Roles, "they decide which images it sees")
	require.Equal(t, script, string(got.UserData))
	require.True(t, got.ConfigDrive)
	require.Equal(t, []string{"a", "b"}, got.Tags)
	require.Equal(t, map[string]string{"role": "web"}, got.Metadata)
	require.Equal(t, 512, got.Flavor.RAMMiB)
	require.Equal(t, map[string]string{"hw:x": "y"}, got.Flavor.ExtraSpecs)
	require.Equal(t, key, got.KeyPairs[0].PublicKey)
	require.Equal(t, []int{3, 4, -1}, []int{got.Limits.Instances, got.Limits.Cores, got.Limits.RAMMiB})
	require.Len(t, got.Networks, 1)
	require.Equal(t, []string{n.ID, "10.1.0.7", "front"}, []string{got.Networks[0].NetworkID, got.Networks[0].FixedIP, got.Networks[0].Tag})
	require.Equal(t, 3, got.MaxHosts)
	require.NotZero(t, got.Deadlines.HostLost)
}

func TestAnAdminChoosesTheHost(t *testing.T) {
	c := newCloud(t)
	for _, asked := range []fields{
		{"host": "hv1"}, {"hypervisor_hostname": "hv1"}, {"host": "hv1", "hypervisor_hostname": "hv1", "availability_zone": "nova"},
		{"availability_zone": "nova:hv1"}, {"availability_zone": "nova::hv1"}, {"availability_zone": "nova:hv1:hv1"}, {"availability_zone": "other:hv1"},
	} {
		a := c.nova(t, c.admin, at96, "POST", "/servers", c.with(asked))
		require.Equal(t, 202, a.Status, a.Body)
		in := c.builds.take()[0]
		require.Equal(t, "hv1", in.Host, asked)
		require.NotEqual(t, "other", in.AvailabilityZone, "a zone that the host is not in is passed over, as in Nova")
	}
	for _, refused := range []struct {
		asked   fields
		message string
	}{
		{fields{"host": "hv9"}, "Compute host hv9 could not be found."},
		{fields{"availability_zone": ":hv9"}, "Compute host hv9 could not be found."},
		{fields{"host": "hv1", "hypervisor_hostname": "hv2"}, "Compute host hv2 could not be found: a host's hypervisor has the host's name here, and hv1 is another."},
		{fields{"host": "hv1", "availability_zone": "nova:hv1"}, "One mechanism with host and/or hypervisor_hostname and another mechanism with zone:host:node are mutually exclusive."},
	} {
		a := c.nova(t, c.admin, at96, "POST", "/servers", c.with(refused.asked))
		require.Equal(t, 400, a.Status, a.Body)
		require.Equal(t, refused.message, a.Message(t))
		require.Empty(t, c.builds.take())
	}
}

func TestHintsNameWhatThereIsAndGoWithTheBuild(t *testing.T) {
	c := newCloud(t)
	post := func(name string, hints fields) apitest.Answer {
		body := c.with(nil)
		body[name] = hints
		return c.nova(t, c.member, at96, "POST", "/servers", body)
	}
	group := func(u apitest.User) string {
		a := c.nova(t, u, at96, "POST", "/os-server-groups", fields{"server_group": fields{"name": "g", "policy": "anti-affinity"}})
		require.Equal(t, 200, a.Status, a.Body)
		return a.At(t, "server_group", "id").(string)
	}
	id, ours, theirs := uuid.NewString(), group(c.member), group(c.stranger)
	s, foreign := c.row(t, c.member, "web", then), c.row(t, c.stranger, "web", then)
	for _, word := range []string{"os:scheduler_hints", "OS-SCH-HNT:scheduler_hints"} {
		for _, tt := range []struct {
			hints fields
			says  string
		}{
			{fields{"group": id}, "Instance group " + id + " could not be found."},
			{fields{"group": theirs}, "Instance group " + theirs + " could not be found."},
			{fields{"same_host": id}, "Instance " + id + " could not be found."},
			{fields{"different_host": []string{s.ID, foreign.ID}}, "Instance " + foreign.ID + " could not be found."},
			{fields{"query": "[]"}, "Scheduler hint query: a list begins with an operator, and at most 16 lie within each other."},
			{fields{"build_near_host_ip": "near"}, `Scheduler hints build_near_host_ip and cidr are no network: "near" "".`},
			{fields{"target_cell": "c"}, "Scheduler hint target_cell is not offered: there are no cells here. Leave it out, or name an availability_zone."},
		} {
			a := post(word, tt.hints)
			require.Equal(t, []any{400, tt.says}, []any{a.Status, a.Message(t)})
		}
		require.Empty(t, c.builds.take())
		hints := fields{"ours": "x", "group": ours, "same_host": s.ID, "query": `["=", "$host", "hv1"]`, "build_near_host_ip": "192.0.2.1", "cidr": "/25"}
		a := post(word, hints)
		require.Equal(t, 202, a.Status, a.Body)
		in := c.builds.take()[0]
		require.Equal(t, map[string]any(hints), in.Hints)
		require.Equal(t, &contract.GroupMembership{ID: ours, Limit: 10}, in.Group)
	}
	a := c.nova(t, c.admin, at96, "PUT", "/os-quota-sets/"+c.member.ProjectID, fields{"quota_set": fields{"server_group_members": 0}})
	require.Equal(t, 200, a.Status, a.Body)
	a = post("os:scheduler_hints", fields{"group": ours})
	require.Equal(t, []any{403, "Quota exceeded, too many servers in group"}, []any{a.Status, a.Message(t)})
}

func TestSeveralServersAreOneReservation(t *testing.T) {
	c := newCloud(t)
	for _, tc := range []struct {
		asked       fields
		least, most int // 0 is no reservation
	}{
		{fields{"min_count": 2}, 2, 2}, {fields{"max_count": "7"}, 1, 7}, {fields{"min_count": 3, "max_count": 1000}, 3, 1000},
		{fields{"min_count": 1, "max_count": 1}, 0, 0},
	} {
		a := c.nova(t, c.member, at96, "POST", "/servers", c.with(tc.asked))
		require.Equal(t, 202, a.Status, a.Body)
		id, _ := a.At(t, "server", "id").(string)
		single, several := c.builds.take(), c.builds.reserved
		c.builds.reserved = nil
		if tc.most == 0 {
			require.Len(t, single, 1)
			require.Empty(t, several)
			continue
		}
		require.Empty(t, single)
		require.Len(t, several, 1)
		require.Equal(t, []any{id, tc.least, tc.most}, []any{several[0].Boot.ServerID, several[0].Min, several[0].Max})
		require.Equal(t, several[0].Boot.AdminPass, a.At(t, "server", "adminPass"))
	}
	a := c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"max_count": 5, "return_reservation_id": true}))
	require.Equal(t, 202, a.Status, a.Body)
	require.Equal(t, fields{"reservation_id": ids.Reservation(c.builds.reserved[0].Boot.ServerID)}, a.JSON(t))
	a = c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"return_reservation_id": true}))
	require.Equal(t, 202, a.Status, a.Body)
	require.Equal(t, fields{"reservation_id": ids.Reservation(c.builds.take()[0].ServerID)}, a.JSON(t), "a single server has one too")
}

func TestAKeyIsForAllServersOfItsRequest(t *testing.T) {
	c := newCloud(t)
	post := func(asked fields) apitest.Answer {
		return c.nova(t, c.member, at96, "POST", "/servers", c.with(asked), "Idempotency-Key", "many-7")
	}
	first := ids.Server(c.member.ProjectID, "many-7")
	taken := func(in contract.BootInput) {
		require.NoError(t, c.Store.RecordServer(t.Context(), models.Server{
			ID: first, ProjectID: in.ProjectID, UserID: in.UserID, Name: "web-1", Hostname: "web-1",
			ImageID: c.image, FlavorID: "1", Fingerprint: &in.Fingerprint, ReservationID: ids.Reservation(first),
		}, models.InstanceAction{ServerID: first, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: in.UserID, ProjectID: in.ProjectID}))
	}
	several := fields{"max_count": 5}
	require.Equal(t, 202, post(several).Status)
	in := c.builds.reserved[0]
	require.Equal(t, first, in.Boot.ServerID)

	// Another process was asked the same at the same time, and its reservation has come to an end already.
	c.builds.err = fault.New(fault.Conflict, "The build was not accepted: this server has been built already.")
	require.Equal(t, 409, post(several).Status, "nobody knows of it")
	taken(in.Boot)
	a := post(several)
	require.Equal(t, []any{202, first, nil}, []any{a.Status, a.At(t, "server", "id"), a.At(t, "server", "adminPass")})
	a = post(fields{"max_count": 5, "return_reservation_id": true})
	require.Equal(t, 409, a.Status, "another body")
	for _, other := range []fields{{"max_count": 6}, {"min_count": 5, "max_count": 5}, {}} {
		a := post(other)
		require.Equal(t, 409, a.Status, "%v", other)
		require.Equal(t, "This Idempotency-Key was used for another request, which made server "+first+". Repeat that request, or use a new key.", a.Message(t))
	}
	require.Empty(t, c.builds.take())
}

func TestAServerThatNamesNoNetworkGetsTheOnlyOne(t *testing.T) {
	c := newCloud(t)
	none := c.with(fields{"networks": nil})
	require.Equal(t, 202, c.nova(t, c.member, "2.1", "POST", "/servers", none).Status)
	require.Empty(t, c.builds.take()[0].Networks)

	n := c.network(t, c.member, "ours", "10.1.0.0/24", "10.1.0.2", "10.1.0.254")
	c.network(t, c.stranger, "theirs", "10.2.0.0/24", "10.2.0.2", "10.2.0.254")
	for version, body := range map[string]any{"2.1": none, at96: c.with(fields{"networks": "auto"})} {
		require.Equal(t, 202, c.nova(t, c.member, version, "POST", "/servers", body).Status)
		in := c.builds.take()[0]
		require.Len(t, in.Networks, 1)
		require.Equal(t, n.ID, in.Networks[0].NetworkID)
	}
	require.Equal(t, 202, c.nova(t, c.member, at96, "POST", "/servers", c.with(nil)).Status)
	require.Empty(t, c.builds.take()[0].Networks, "none means none")
}

func TestARefusedSubmissionIsAnsweredAsItsKindAndNothingElse(t *testing.T) {
	c := newCloud(t)
	for _, tt := range []struct {
		err     error
		status  int
		element string
		message string
	}{
		{fault.New(fault.Invalid, "Can not find requested image"), 400, "badRequest", "Can not find requested image"},
		{fault.New(fault.Invalid, "Flavor's disk is too small for requested image."), 400, "badRequest", "Flavor's disk is too small for requested image."},
		{fault.New(fault.OverQuota, "Quota exceeded for cores: Requested 4, but already used 8 of 10 cores"), 403, "forbidden", "Quota exceeded for cores: Requested 4, but already used 8 of 10 cores"},
		{fault.New(fault.Conflict, "Server is being built."), 409, "conflictingRequest", "Server is being built."},
		{fault.New(fault.Unavailable, "The control plane does not answer."), 503, "serviceUnavailable", "The control plane does not answer."},
	} {
		c.builds.err = tt.err
		a := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil))
		require.Equal(t, tt.status, a.Status)
		require.Equal(t, tt.message, a.At(t, tt.element, "message"))
		require.Len(t, c.builds.take(), 1)
	}
	c.builds.err = fmt.Errorf("dial tcp: secret of the inside")
	a := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil))
	require.Equal(t, 500, a.Status)
	require.NotContains(t, a.Body, "secret")
}

func TestARepeatedRequestWithItsKeyMeansTheSameServer(t *testing.T) {
	c := newCloud(t)
	post := func() (string, any) {
		a := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil), "Idempotency-Key", "deploy-7")
		require.Equal(t, 202, a.Status, a.Body)
		return a.At(t, "server", "id").(string), a.At(t, "server", "adminPass")
	}
	first, pass := post()
	require.NotNil(t, pass)
	again, _ := post()
	require.Equal(t, first, again, "while the first is under way its workflow meets the second")
	require.Len(t, c.builds.take(), 2)

	s := c.row(t, c.member, "web", time.Now())
	require.NotEqual(t, first, s.ID)
	require.Equal(t, first, ids.Server(c.member.ProjectID, "deploy-7"))
	require.NotEqual(t, first, ids.Server(c.stranger.ProjectID, "deploy-7"), "another project's key is another server")

	recorded := models.Server{ID: first, ProjectID: c.member.ProjectID, UserID: c.member.UserID, Name: "web", Hostname: "web", ImageID: c.image, FlavorID: "1"}
	require.NoError(t, c.Store.RecordServer(t.Context(), recorded, models.InstanceAction{ServerID: first, RequestID: "req-" + uuid.NewString(), Action: "create", UserID: c.member.UserID, ProjectID: c.member.ProjectID, StartedAt: time.Now(), UpdatedAt: time.Now()}))
	third, pass := post()
	require.Equal(t, first, third)
	require.Nil(t, pass, "only the first answer knows the password")
	require.Empty(t, c.builds.take(), "what was accepted is not submitted again")

	// The key of another server, with what was asked for: as the build records it.
	b := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil), "Idempotency-Key", "deploy-8")
	in := c.builds.take()[0]
	require.Equal(t, b.At(t, "server", "id"), in.ServerID)
	require.NotEmpty(t, in.Fingerprint)
	recorded.ID, recorded.Fingerprint = in.ServerID, &in.Fingerprint
	require.NoError(t, c.Store.RecordServer(t.Context(), recorded, models.InstanceAction{ServerID: in.ServerID, RequestID: in.RequestID, Action: "create", UserID: c.member.UserID, ProjectID: c.member.ProjectID, StartedAt: time.Now(), UpdatedAt: time.Now()}))
	b = c.nova(t, c.member, at96, "POST", "/servers", c.with(nil), "Idempotency-Key", "deploy-8")
	require.Equal(t, 202, b.Status, b.Body)
	b = c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"name": "db"}), "Idempotency-Key", "deploy-8")
	require.Equal(t, 409, b.Status)
	require.Equal(t, "This Idempotency-Key was used for another request, which made server "+in.ServerID+". Repeat that request, or use a new key.", b.Message(t))
	require.Empty(t, c.builds.take())

	a := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil), "Idempotency-Key", strings.Repeat("k", 256))
	require.Equal(t, 400, a.Status)
}

// Two requests with one key at the same time meet in one build: the password is that of the request that the build took.
func TestOfTwoRequestsWithOneKeyAtOnceOnlyTheAcceptedOneIsToldItsPassword(t *testing.T) {
	c := newCloud(t)
	record := func(requestID func(contract.BootInput) string) func(contract.BootInput) {
		return func(in contract.BootInput) {
			require.NoError(t, c.Store.RecordServer(context.Background(), models.Server{ID: in.ServerID, ProjectID: in.ProjectID, UserID: in.UserID, Name: in.Name, Hostname: in.Hostname, ImageID: in.ImageID, FlavorID: "1", Fingerprint: &in.Fingerprint},
				models.InstanceAction{ServerID: in.ServerID, RequestID: requestID(in), Action: "create", UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: time.Now(), UpdatedAt: time.Now()}))
		}
	}
	c.builds.during = record(func(in contract.BootInput) string { return in.RequestID })
	a := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil), "Idempotency-Key", "mine")
	require.Equal(t, 202, a.Status, a.Body)
	require.NotEmpty(t, a.At(t, "server", "adminPass"))

	c.builds.during = record(func(contract.BootInput) string { return "req-" + uuid.NewString() })
	a = c.nova(t, c.member, at96, "POST", "/servers", c.with(nil), "Idempotency-Key", "theirs")
	require.Equal(t, 202, a.Status, a.Body)
	require.NotContains(t, a.At(t, "server"), "adminPass")
}

func TestANameWithoutALetterOrDigitStillGivesAHostnameOfItsOwn(t *testing.T) {
	c := newCloud(t)
	for _, name := range []string{"日本", "***", "日本"} {
		a := c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"name": name}))
		require.Equal(t, 202, a.Status, a.Body)
		require.Equal(t, "Server-"+a.At(t, "server", "id").(string), c.builds.take()[0].Hostname, name)
	}
	a := c.nova(t, c.member, at96, "POST", "/servers", c.with(fields{"name": "日本", "hostname": "tokyo"}))
	require.Equal(t, 202, a.Status, a.Body)
	require.Equal(t, "tokyo", c.builds.take()[0].Hostname)
}

// The answer of a submission that took effect may have got lost, and another run have refused it.
func TestARequestWhoseServerWasRecordedIsAcceptedWhateverTheEngineAnswers(t *testing.T) {
	c := newCloud(t)
	c.builds.during = func(in contract.BootInput) {
		require.NoError(t, c.Store.RecordServer(context.Background(), models.Server{ID: in.ServerID, ProjectID: in.ProjectID, UserID: in.UserID, Name: in.Name, Hostname: in.Hostname, ImageID: in.ImageID, FlavorID: "1"},
			models.InstanceAction{ServerID: in.ServerID, RequestID: in.RequestID, Action: "create", UserID: in.UserID, ProjectID: in.ProjectID, StartedAt: time.Now(), UpdatedAt: time.Now()}))
	}
	for _, kind := range []fault.Kind{fault.Conflict, fault.Unavailable, fault.NotFound, fault.Invalid, fault.OverQuota, fault.Internal} {
		c.builds.err = fault.New(kind, "refused by another run")
		a := c.nova(t, c.member, at96, "POST", "/servers", c.with(nil))
		require.Equal(t, 202, a.Status, a.Body)
		require.NotEmpty(t, a.At(t, "server", "adminPass"))
		require.Equal(t, c.builds.take()[0].ServerID, a.At(t, "server", "id"))
	}
}
