package contract

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

func reader(b []byte) io.Reader { return bytes.NewReader(b) }

// TestARefusalChangesNothing sends what has to be refused, as bytes on the wire, and compares the whole database before
// and after each.
func TestARefusalChangesNothing(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake", Settings: map[string]any{"quota": map[string]any{"cores": 2}}})
	admin, demo := s.Admin(), s.Demo()
	adminCompute := system.Compute(t, admin)
	makeFlavor := func(name string, o flavors.CreateOpts) string {
		o.Name = name
		f, err := flavors.Create(t.Context(), adminCompute, o).Extract()
		require.NoError(t, err)
		return f.ID
	}
	nano := makeFlavor("m1.nano", flavors.CreateOpts{RAM: 64, VCPUs: 1, Disk: ptr(1)})
	wide := makeFlavor("wide", flavors.CreateOpts{RAM: 64, VCPUs: 3, Disk: ptr(1)})
	imageAPI := system.Image(t, demo)
	data, err := os.ReadFile(noise(t, 1<<20))
	require.NoError(t, err)
	makeImage := func(o images.CreateOpts, data []byte) string {
		o.DiskFormat, o.ContainerFormat = "raw", "bare"
		i, err := images.Create(t.Context(), imageAPI, o).Extract()
		require.NoError(t, err)
		if data != nil {
			require.NoError(t, imagedata.Upload(t.Context(), imageAPI, i.ID, reader(data)).ExtractErr())
		}
		return i.ID
	}
	image := makeImage(images.CreateOpts{Name: "good"}, data)
	queued := makeImage(images.CreateOpts{Name: "without data"}, nil)
	demanding := makeImage(images.CreateOpts{Name: "demanding", MinRAM: 4096, MinDisk: 100}, data)
	protected := makeImage(images.CreateOpts{Name: "protected", Protected: ptr(true)}, data)
	n, err := networks.Create(t.Context(), system.Network(t, admin), networks.CreateOpts{Name: "of the admin"}).Extract()
	require.NoError(t, err)

	// server is a good request with one thing changed; nil takes a member away.
	server := func(change map[string]any) string {
		body := map[string]any{"name": "refused", "imageRef": image, "flavorRef": nano, "networks": "none"}
		for k, v := range change {
			if v == nil {
				delete(body, k)
				continue
			}
			body[k] = v
		}
		text, err := json.Marshal(map[string]any{"server": body})
		require.NoError(t, err)
		return string(text)
	}
	const compute, glance, neutron = "/compute/v2.1", "/image/v2", "/network/v2.0"
	type with = map[string]any
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		says                     string // in the answer
	}{
		{"a server without a name", "POST", compute + "/servers", server(with{"name": nil}), 400, "name"},
		{"a server with an empty name", "POST", compute + "/servers", server(with{"name": ""}), 400, "name"},
		{"a server with a name that is too long", "POST", compute + "/servers", server(with{"name": strings.Repeat("n", 256)}), 400, "name"},
		{"a server without a flavor", "POST", compute + "/servers", server(with{"flavorRef": nil}), 400, "flavorRef"},
		{"a server of a flavor that is not there", "POST", compute + "/servers", server(with{"flavorRef": "absent"}), 400, "absent"},
		{"a server without an image", "POST", compute + "/servers", server(with{"imageRef": nil}), 400, "imageRef"},
		{"a server of an image that is not there", "POST", compute + "/servers", server(with{"imageRef": absent}), 400, "Can not find requested image"},
		{"a server of an image without data", "POST", compute + "/servers", server(with{"imageRef": queued}), 400, "not active"},
		{"a server of an image that wants more", "POST", compute + "/servers", server(with{"imageRef": demanding}), 400, "memory"},
		{"a server on a network that is not there", "POST", compute + "/servers", server(with{"networks": []with{{"uuid": absent}}}), 400, absent},
		{"a server on another project's network", "POST", compute + "/servers", server(with{"networks": []with{{"uuid": n.ID}}}), 400, n.ID},
		{"a server with a port that is not there", "POST", compute + "/servers", server(with{"networks": []with{{"port": absent}}}), 400, absent},
		{"a server without networks", "POST", compute + "/servers", server(with{"networks": nil}), 400, "networks"},
		{"a server with a key pair that is not there", "POST", compute + "/servers", server(with{"key_name": "absent"}), 400, "key_name"},
		{"a server in a zone that is not there", "POST", compute + "/servers", server(with{"availability_zone": "absent"}), 400, "zone"},
		{"a server with user data that is not base64", "POST", compute + "/servers", server(with{"user_data": "***"}), 400, "user_data"},
		{"a server with too much user data", "POST", compute + "/servers", server(with{"user_data": base64.StdEncoding.EncodeToString(make([]byte, 60000))}), 400, "user_data"},
		{"a server with too much metadata", "POST", compute + "/servers", server(with{"metadata": many(129)}), 403, "metadata"},
		{"a server with metadata that is no text", "POST", compute + "/servers", server(with{"metadata": with{"k": 1}}), 400, "1 is not of type 'string'"},
		{"a server with too many tags", "POST", compute + "/servers", server(with{"tags": strings.Split(strings.Repeat("t,", 50)+"t", ",")}), 400, "tags"},
		{"a server with a member that nobody knows", "POST", compute + "/servers", server(with{"colour": "blue"}), 400, "colour"},
		{"a server with files, which are gone since 2.57", "POST", compute + "/servers", server(with{"personality": []with{{"path": "/a", "contents": "YQ=="}}}), 400, "personality"},
		{"a server from a volume", "POST", compute + "/servers", server(with{"block_device_mapping_v2": []with{{"source_type": "volume", "uuid": absent, "boot_index": 0, "destination_type": "volume"}}}), 400, ""},
		{"more servers than one request may ask for", "POST", compute + "/servers", server(with{"max_count": 1001}), 400, "at most 1000"},
		{"a server beyond the quota", "POST", compute + "/servers", server(with{"flavorRef": wide}), 403, "Quota exceeded for cores"},
		{"no JSON", "POST", compute + "/servers", "{", 400, ""},
		{"JSON that is no object", "POST", compute + "/servers", "[]", 400, ""},
		{"a body of nothing", "POST", compute + "/servers", "", 400, ""},
		{"an action that nobody knows on a server that is not there", "POST", compute + "/servers/" + absent + "/action", `{"explode":{}}`, 404, absent},
		{"a delete of a server that is not there", "DELETE", compute + "/servers/" + absent, "", 404, absent},
		{"a flavor of a member", "POST", compute + "/flavors", `{"flavor":{"name":"mine","ram":64,"vcpus":1,"disk":1}}`, 403, "Policy"},
		{"a flavor's end by a member", "DELETE", compute + "/flavors/" + nano, "", 403, "Policy"},
		{"a key pair without a key's text", "POST", compute + "/os-keypairs", `{"keypair":{"name":"k","public_key":"no key"}}`, 400, "Keypair data is invalid"},
		{"a key pair with a bad name", "POST", compute + "/os-keypairs", `{"keypair":{"name":"a/b","public_key":` + quoted(publicKey) + `}}`, 400, "name"},
		{"a quota set by a member", "PUT", compute + "/os-quota-sets/" + absent, `{"quota_set":{"instances":100}}`, 403, "Policy"},
		{"an image of a format that nobody knows", "POST", glance + "/images", `{"name":"i","disk_format":"punched-cards","container_format":"bare"}`, 400, "punched-cards"},
		{"an image that a member makes public", "POST", glance + "/images", `{"name":"i","visibility":"public"}`, 403, ""},
		{"an image with a member that is the API's", "POST", glance + "/images", `{"name":"i","status":"active"}`, 403, "status"},
		{"an image's data for one that has it", "PUT", glance + "/images/" + image + "/file", "bytes", 409, ""},
		{"a protected image's end", "DELETE", glance + "/images/" + protected, "", 403, "protected"},
		{"an image's end that is not there", "DELETE", glance + "/images/" + absent, "", 404, absent},
		{"a shared network of a member", "POST", neutron + "/networks", `{"network":{"name":"n","shared":true}}`, 403, ""},
		{"a subnet that is none", "POST", neutron + "/subnets", `{"subnet":{"network_id":"` + n.ID + `","ip_version":4,"cidr":"10.0.0.0/33"}}`, 400, ""},
		{"a port on a network that is not there", "POST", neutron + "/ports", `{"port":{"network_id":"` + absent + `"}}`, 404, absent},
		{"a host admitted by a member", "POST", "/hosts", `{"host":{"hostname":"mine"}}`, 403, ""},
		{"a host's report with a user's token", "PUT", "/hosts/self", `{"hostname":"mine"}`, 401, ""},
		{"a password that is wrong", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"demo","domain":{"id":"default"},"password":"wrong"}}}}}`, 401, ""},
		{"a scope that is another's", "POST", "/v3/auth/tokens", `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + demo.Token() + `"}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, 401, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := s.World(t)
			contents := "application/json"
			if strings.HasSuffix(c.path, "/file") {
				contents = "application/octet-stream"
			}
			r, err := http.NewRequestWithContext(t.Context(), c.method, s.APIURL+c.path, strings.NewReader(c.body))
			require.NoError(t, err)
			r.Header.Set("Content-Type", contents)
			r.Header.Set("X-Auth-Token", demo.Token())
			if c.path == "/hosts/self" {
				r.Header.Set("Authorization", "Bearer "+demo.Token())
			}
			r.Header.Set("OpenStack-API-Version", "compute 2.90")
			answer, err := s.HTTP().Do(r)
			require.NoError(t, err)
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.Equal(t, c.status, answer.StatusCode, "%s", text)
			require.Contains(t, string(text), c.says)
			require.NotContains(t, string(text), "goroutine")
			require.Equal(t, before, s.World(t))
			for _, id := range answer.Header.Values("X-Openstack-Request-Id") {
				require.Contains(t, id, "req-")
			}
		})
	}
}

func many(n int) map[string]string {
	items := map[string]string{}
	for i := range n {
		items[fmt.Sprint("k", i)] = "v"
	}
	return items
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}
