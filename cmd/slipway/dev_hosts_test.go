package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/slipway-cloud/slipway/internal/dev/testenv"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor/libvirt"
	"github.com/slipway-cloud/slipway/test/system"
)

func TestHypervisorsBesideTheStackHaveTheirOwnGuestsAloneAndNothingOutlivesDown(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root starts a libvirtd")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	guest := filepath.Join(testenv.Guest(t), "slipway-demo.qcow2")
	state := filepath.Join(openFolder(t), "state")
	giveEngine(t, state)
	port := freePorts(t, 6)
	at := func(n int) string { return fmt.Sprintf("127.0.0.1:%d", port+n) }
	slipway := func(arguments ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, self, arguments...)
		cmd.Env = []string{
			asProgram + "=yes", "PATH=" + os.Getenv("PATH"), "HOME=" + state,
			"OS_CLIENT_CONFIG_FILE=" + filepath.Join(state, "clouds.yaml"), "OS_CLOUD=slipway-admin",
		}
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Run(), "slipway %v: %s%s", arguments, &out, &errs)
		return out.String()
	}
	defer slipway("dev", "down", "--state-dir", state)
	up := []string{"dev", "up", "--state-dir", state, "--temporal", at(0), "--api", at(1), "--operator", at(2), "--ui", at(5)}
	slipway(up...)
	require.Contains(t, slipway("dev", "hosts", "2", "--state-dir", state), "] ready")
	require.Contains(t, slipway("dev", "hosts", "2", "--state-dir", state), "it runs already")

	slipway("image", "create", "demo", "--file", guest)
	folders := map[string]string{"dev-1": state, "hv2": filepath.Join(state, "hosts", "hv2")}
	servers := map[string]string{}
	for host, other := range map[string]string{"dev-1": "hv2", "hv2": "dev-1"} {
		slipway("host", "disable", other)
		servers[host] = strings.TrimSpace(slipway("boot", "on-"+host, "--image", "demo", "--flavor", "m1.nano", "--wait", "-q"))
		slipway("host", "enable", other)
	}
	for host, folder := range folders {
		guests := guestsOf(t, folder)
		require.Len(t, guests, 1, host)
		require.Equal(t, servers[host], guests[0].UUID)
		require.Equal(t, hypervisor.Running, guests[0].State)
	}

	require.Equal(t, 2, strings.Count(slipway("dev", "down", "--state-dir", state), "stopped"))
	end(t, state)
	require.NoError(t, os.RemoveAll(filepath.Join(state, "pki")), "a folder of before there were certificates has none")
	slipway(up...)
	slipway("dev", "hosts", "2", "--state-dir", state)
	for host, folder := range folders {
		system.Eventually(t, time.Minute, func() (bool, string) {
			guests := guestsOf(t, folder)
			require.Len(t, guests, 1, host)
			return guests[0].State == hypervisor.Running, fmt.Sprintf("the guest of %s is %s", host, guests[0].State)
		})
	}
	slipway("server", "delete", servers["hv2"], "--wait")
	slipway("boot", "another", "--image", "demo", "--flavor", "m1.nano", "--wait")

	text, err := os.ReadFile(filepath.Join(state, "dev.pid"))
	require.NoError(t, err)
	killed, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(killed, syscall.SIGKILL))
	require.NotEmpty(t, processesOf(t, state), "a libvirtd outlives who supervised it")
	require.Equal(t, 2, strings.Count(slipway("dev", "down", "--state-dir", state), "stopped"), "what a killed supervisor left, and what another supervises")
	end(t, state)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), state)
	require.Contains(t, slipway("dev", "down", "--state-dir", state), "nothing of it runs")
}

// guestsOf are the domains that a hypervisor's libvirtd has, by the settings in its folder.
func guestsOf(t *testing.T, folder string) []hypervisor.Status {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "slipway.yaml"))
	require.NoError(t, err)
	var settings struct {
		Host struct {
			Socket string `yaml:"libvirt_socket"`
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &settings))
	virt, err := libvirt.New(libvirt.Options{Socket: settings.Host.Socket})
	require.NoError(t, err)
	defer virt.Close()
	guests, err := virt.List(t.Context())
	require.NoError(t, err)
	return guests
}

// end waits until no process has anything to do with a folder: some end by themselves, as their supervisor's children.
func end(t *testing.T, folder string) {
	t.Helper()
	system.Eventually(t, time.Minute, func() (bool, string) {
		left := processesOf(t, folder)
		return len(left) == 0, fmt.Sprintf("there run %q", left)
	})
}

// processesOf are the commands that run in a folder or name it.
func processesOf(t *testing.T, folder string) (commands []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, process := range all {
		command, err := os.ReadFile(filepath.Join(process, "cmdline"))
		where, whereErr := os.Readlink(filepath.Join(process, "cwd"))
		if errors.Join(err, whereErr) != nil {
			continue // it has ended
		}
		if strings.Contains(string(command), folder) || strings.HasPrefix(where, folder) {
			commands = append(commands, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return commands
}
