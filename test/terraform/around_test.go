package terraform

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// around is what a configuration says of everything that servers are among. All that changes between the two of the test is changed in place,
// but for what the provider makes anew by itself. It takes properties of images that begin with os_ for the service's, and changes none.
type around struct {
	description, email, roleName, specs, quota, portName, subnetName, aggregate, metadata, imageName, properties, flavor string
	tags                                                                                                                 string
	hosts                                                                                                                string
}

func (w around) configuration(file string) string {
	return strings.NewReplacer(
		"$description", w.description, "$email", w.email, "$role", w.roleName, "$specs", w.specs, "$quota", w.quota, "$port", w.portName, "$subnet", w.subnetName, "$aggregate", w.aggregate,
		"$metadata", w.metadata, "$image", w.imageName, "$properties", w.properties, "$flavor", w.flavor, "$tags", w.tags, "$hosts", w.hosts, "$file", fmt.Sprintf("%q", file),
	).Replace(`terraform {
  required_providers {
    openstack = { source = "terraform-provider-openstack/openstack" }
  }
}
provider "openstack" {}

resource "openstack_identity_project_v3" "web" {
  name        = "web"
  description = "$description"
  tags        = $tags
}
resource "openstack_identity_user_v3" "ann" {
  name               = "ann"
  description        = "$description"
  default_project_id = openstack_identity_project_v3.web.id
  password           = "a password of ann"
  extra              = { email = "$email" }
}
resource "openstack_identity_group_v3" "devs" {
  name        = "devs"
  description = "$description"
}
resource "openstack_identity_user_membership_v3" "ann" {
  user_id  = openstack_identity_user_v3.ann.id
  group_id = openstack_identity_group_v3.devs.id
}
resource "openstack_identity_role_v3" "auditor" {
  name = "$role"
}
data "openstack_identity_role_v3" "member" {
  name = "member"
}
resource "openstack_identity_role_assignment_v3" "ann" {
  user_id    = openstack_identity_user_v3.ann.id
  project_id = openstack_identity_project_v3.web.id
  role_id    = data.openstack_identity_role_v3.member.id
}
resource "openstack_identity_role_assignment_v3" "devs" {
  group_id   = openstack_identity_group_v3.devs.id
  project_id = openstack_identity_project_v3.web.id
  role_id    = openstack_identity_role_v3.auditor.id
}
resource "openstack_identity_application_credential_v3" "robot" {
  name        = "robot"
  description = "of a pipeline"
  roles       = ["member"]
  expires_at  = "2099-01-01T00:00:00Z"
}
resource "openstack_identity_ec2_credential_v3" "robot" {}

resource "openstack_compute_flavor_v2" "small" {
  name        = "t.small"
  ram         = 64
  vcpus       = 1
  disk        = 1
  is_public   = false
  extra_specs = $specs
}
resource "openstack_compute_flavor_v2" "large" {
  name  = "t.large"
  ram   = 128
  vcpus = 1
  disk  = 1
  is_public = true
}
resource "openstack_compute_flavor_access_v2" "web" {
  flavor_id = openstack_compute_flavor_v2.small.id
  tenant_id = openstack_identity_project_v3.web.id
}
resource "openstack_compute_keypair_v2" "made" {
  name = "made"
}
resource "openstack_compute_servergroup_v2" "apart" {
  name     = "apart"
  policies = ["soft-anti-affinity"]
}
resource "openstack_compute_quotaset_v2" "web" {
  project_id = openstack_identity_project_v3.web.id
  $quota
}
resource "openstack_compute_aggregate_v2" "rack" {
  name     = "$aggregate"
  metadata = $metadata
  hosts    = $hosts
}

resource "openstack_networking_network_v2" "net" {
  name           = "net"
  admin_state_up = true
}
resource "openstack_networking_subnet_v2" "net" {
  name            = "$subnet"
  network_id      = openstack_networking_network_v2.net.id
  cidr            = "10.9.0.0/24"
  ip_version      = 4
  dns_nameservers = ["192.0.2.53"]
  allocation_pool {
    start = "10.9.0.10"
    end   = "10.9.0.99"
  }
}
resource "openstack_networking_port_v2" "front" {
  name       = "$port"
  network_id = openstack_networking_network_v2.net.id
  fixed_ip {
    subnet_id  = openstack_networking_subnet_v2.net.id
    ip_address = "10.9.0.42"
  }
}

resource "openstack_images_image_v2" "disk" {
  name             = "$image"
  local_file_path  = $file
  container_format = "bare"
  disk_format      = "raw"
  visibility       = "private"
  properties       = $properties
  tags             = $tags
}
resource "openstack_compute_instance_v2" "web" {
  name      = "web"
  image_id  = openstack_images_image_v2.disk.id
  flavor_id = $flavor
  key_pair  = openstack_compute_keypair_v2.made.name
  network { port = openstack_networking_port_v2.front.id }
  scheduler_hints { group = openstack_compute_servergroup_v2.apart.id }
}
`)
}

// TestTerraformMakesChangesAndDestroysWhatServersAreAmong takes an administrator's configuration through what it can say of people, flavors, quotas, networks and
// images, with a server that is resized in place. After each change nothing is left to be planned, and in the end nothing is left.
func TestTerraformMakesChangesAndDestroysWhatServersAreAmong(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	all, err := hypervisors.List(system.Compute(t, s.Admin()), nil).AllPages(t.Context())
	require.NoError(t, err)
	hosts, err := hypervisors.ExtractHypervisors(all)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "disk.raw")
	require.NoError(t, os.WriteFile(file, append([]byte("a disk"), bytes.Repeat([]byte{0}, 1<<20)...), 0o600))
	before := s.World(t)
	f := newTofu(t, s, "admin", system.AdminPassword)

	w := around{
		description: "first", email: "ann@example.org", roleName: "auditor", specs: `{ "hw:cpu_policy" = "shared", "a" = "1" }`, quota: "cores = 4\n  instances = 2\n  key_pairs = 9\n  server_groups = 3",
		portName: "front", subnetName: "net", aggregate: "rack-a", metadata: `{ disk = "ssd", old = "1" }`, hosts: "[]", imageName: "disk", properties: `{ maker = "none", hw_disk_bus = "virtio" }`,
		flavor: "openstack_compute_flavor_v2.small.id", tags: `["blue", "red"]`,
	}
	f.becomes(w.configuration(file))

	w.description, w.email, w.roleName = "second", "ann@example.com", "inspector"
	w.specs, w.quota = `{ "a" = "2", "b" = "3" }`, "cores = 8\n  instances = 2\n  ram = 4096"
	w.aggregate, w.metadata, w.hosts = "rack-b", `{ disk = "nvme", new = "1" }`, fmt.Sprintf("[%q]", hosts[0].HypervisorHostname)
	w.imageName, w.properties, w.tags = "disk two", `{ maker = "debian", release = "12" }`, `["green", "red"]`
	w.portName, w.subnetName = "back", "net two"
	w.flavor = "openstack_compute_flavor_v2.large.id"
	f.becomes(w.configuration(file))

	said, code := f.run("destroy", "-auto-approve")
	require.Zero(t, code, said)
	require.Equal(t, before, s.World(t))
}
