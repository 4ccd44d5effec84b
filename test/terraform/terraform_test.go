// Package terraform has OpenTofu, with Terraform's provider for OpenStack, make, change and destroy a server: `make terraform`. The
// provider rests for ten seconds before it looks at what it asked for, so this is no part of make test.
package terraform

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// patience bounds one run of the core.
const patience = 3 * time.Minute

// tofu is a folder with a configuration, and what the core knows of it.
type tofu struct {
	t   *testing.T
	dir string
	bin string
	env []string
}

func newTofu(t *testing.T, s *system.System, user, password string) tofu {
	t.Helper()
	bin, err := filepath.Abs("../../.slipway/bin")
	require.NoError(t, err)
	f := tofu{t: t, dir: t.TempDir(), bin: filepath.Join(bin, "tofu")}
	require.FileExists(t, f.bin, "make terraform builds it")
	// A provider of this machine, which nothing is fetched for.
	f.write("tofurc", fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"terraform-provider-openstack/openstack\" = %q\n  }\n}\n", bin))
	f.env = append(s.Openrc(user, password), "TF_CLI_CONFIG_FILE="+filepath.Join(f.dir, "tofurc"),
		"CHECKPOINT_DISABLE=1", "PATH="+os.Getenv("PATH"), "HOME="+f.dir, "TMPDIR="+f.dir)
	return f
}

func (f tofu) write(name, text string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600))
}

func (f tofu) run(args ...string) (said string, code int) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.bin, append(args, "-no-color", "-input=false")...)
	cmd.Env, cmd.Dir = f.env, f.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		require.ErrorAs(f.t, err, new(*exec.ExitError), "%v: %s", args, &out)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// becomes writes the configuration and applies it; afterwards nothing is left to be planned.
func (f tofu) becomes(configuration string) {
	f.t.Helper()
	f.write("main.tf", configuration)
	said, code := f.run("apply", "-auto-approve")
	require.Zero(f.t, code, said)
	f.settled()
}

func (f tofu) settled() {
	f.t.Helper()
	said, code := f.run("plan", "-detailed-exitcode")
	require.Zero(f.t, code, "a plan without changes was expected\n%s", said)
}

// wanted is what of a server changes in the test.
type wanted struct{ name, image, flavor, power, metadata, tags string }

func (w wanted) configuration(network string) string {
	return fmt.Sprintf(`terraform {
  required_providers {
    openstack = { source = "terraform-provider-openstack/openstack" }
  }
}
provider "openstack" {}
resource "openstack_compute_keypair_v2" "laptop" {
  name       = "laptop"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVwdGhlc2xpcHdheWFuZGludG90aGV3YXRlcjEyMzQ1 a@example.org"
}
resource "openstack_networking_port_v2" "front" {
  name       = "front"
  network_id = %[7]q
}
resource "openstack_compute_instance_v2" "web" {
  name            = %[1]q
  image_id        = %[2]q
  flavor_name     = %[3]q
  power_state     = %[4]q
  metadata        = %[5]s
  tags            = %[6]s
  key_pair        = openstack_compute_keypair_v2.laptop.name
  security_groups = ["default"]
  config_drive    = true
  user_data       = "#!/bin/sh\n"
  network { uuid = %[7]q }
  network { port = openstack_networking_port_v2.front.id }
}
`, w.name, w.image, w.flavor, w.power, w.metadata, w.tags, network)
}

// TestTerraformMakesChangesAndDestroysAServer takes one through what a configuration can say of it. After each change nothing is left
// to be planned: the API shows what it was told.
func TestTerraformMakesChangesAndDestroysAServer(t *testing.T) {
	s := system.Start(t, system.Options{Hypervisor: "fake"})
	compute, image := system.Compute(t, s.Demo()), system.Image(t, s.Demo())
	for _, name := range []string{"small", "large"} {
		require.NoError(t, flavors.Create(t.Context(), system.Compute(t, s.Admin()), flavors.CreateOpts{
			ID: name, Name: name, VCPUs: 1, RAM: 64, Disk: gophercloud.IntToPointer(1)}).Err)
	}
	upload := func(name string) string {
		return system.Upload(t, image, images.CreateOpts{Name: name}, bytes.NewReader(append([]byte(name), make([]byte, 1<<20)...)))
	}
	first, second := upload("first"), upload("second")
	before := s.World(t)
	network, f := s.SharedNetwork(t), newTofu(t, s, "demo", system.DemoPassword)
	w := wanted{name: "web", image: first, flavor: "small", power: "active", metadata: `{ role = "web", tier = "1" }`, tags: `["blue", "red"]`}

	var id string
	shown := func() *servers.Server {
		t.Helper()
		all, err := servers.List(compute, servers.ListOpts{}).AllPages(t.Context())
		require.NoError(t, err)
		found, err := servers.ExtractServers(all)
		require.NoError(t, err)
		require.Len(t, found, 1)
		if id == "" {
			id = found[0].ID
		}
		require.Equal(t, id, found[0].ID, "the same server")
		return &found[0]
	}
	f.becomes(w.configuration(network.ID))
	made := shown()
	require.Equal(t, []any{"ACTIVE", map[string]string{"role": "web", "tier": "1"}, []string{"blue", "red"}}, []any{made.Status, made.Metadata, *made.Tags})
	require.Len(t, made.Addresses[network.Name], 2)

	w.name, w.metadata, w.tags, w.power = "www", `{ role = "db" }`, `["red", "green"]`, "shutoff"
	f.becomes(w.configuration(network.ID))
	now := shown()
	require.Equal(t, []any{"www", "SHUTOFF", map[string]string{"role": "db"}, []string{"green", "red"}}, []any{now.Name, now.Status, now.Metadata, *now.Tags})

	w.power, w.image = "active", second
	f.becomes(w.configuration(network.ID))
	now = shown()
	require.Equal(t, []any{"ACTIVE", second, made.Addresses}, []any{now.Status, now.Image["id"], now.Addresses}, "rebuilt, with its addresses")

	w.flavor = "large"
	f.becomes(w.configuration(network.ID))
	require.Equal(t, "large", shown().Flavor["original_name"], "resized, and that confirmed")

	shelved := w
	shelved.power = "shelved_offloaded"
	f.becomes(shelved.configuration(network.ID))
	require.Equal(t, "SHELVED_OFFLOADED", shown().Status)
	f.becomes(w.configuration(network.ID))
	now = shown()
	require.Equal(t, []any{"ACTIVE", made.Addresses}, []any{now.Status, now.Addresses}, "unshelved, with its addresses")

	// What is changed behind its back it sees and puts right.
	require.NoError(t, servers.Stop(t.Context(), compute, id).ExtractErr())
	require.NoError(t, servers.WaitForStatus(t.Context(), compute, id, "SHUTOFF"))
	said, code := f.run("plan", "-detailed-exitcode")
	require.Equal(t, 2, code, said)
	f.becomes(w.configuration(network.ID))
	require.Equal(t, "ACTIVE", shown().Status)

	said, code = f.run("destroy", "-auto-approve")
	require.Zero(t, code, said)
	_, err := servers.Get(t.Context(), compute, id).Extract()
	require.True(t, gophercloud.ResponseCodeIs(err, http.StatusNotFound), err)
	require.Equal(t, before, s.World(t))
}
