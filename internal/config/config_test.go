package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
)

func settings(t *testing.T, yaml string, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
	flags := pflag.NewFlagSet("slipway", pflag.ContinueOnError)
	Flags(flags, "api", "build", "host", "log", "database")
	if yaml != "" {
		path := filepath.Join(t.TempDir(), "slipway.yaml")
		require.NoError(t, os.WriteFile(path, []byte(yaml), 0o600))
		args = append(args, "--config", path)
	}
	require.NoError(t, flags.Parse(args))
	return Load(flags)
}

func TestFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	c, err := settings(t, "api: {listen: 'file:1', public_url: 'file:2', token_ttl: 3h}\nbuild: {max_hosts: 7}\nimages: {reserve: 1048576}",
		map[string]string{"SLIPWAY_API_LISTEN": "env:1", "SLIPWAY_API_PUBLIC_URL": "env:2", "SLIPWAY_BUILD_HOST_LOST": "5s"},
		"--api.listen", "flag:1")
	require.NoError(t, err)
	require.Equal(t, "flag:1", c.API.Listen)
	require.Equal(t, "env:2", c.API.PublicURL)
	require.Equal(t, 3*time.Hour, c.API.TokenTTL)
	require.Equal(t, 7, c.Build.MaxHosts)
	require.Equal(t, "1048576", c.Images.Reserve)
	require.Equal(t, 5*time.Second, c.Build.HostLost)
	require.Equal(t, Default().Quota, c.Quota)
}

func TestAWrongSettingIsRefusedByName(t *testing.T) {
	for want, try := range map[string]func(*testing.T) error{
		`unknown setting "api.lisen"`: func(t *testing.T) error { _, err := settings(t, "api: {lisen: x}", nil); return err },
		"build.max_hosts must be": func(t *testing.T) error {
			_, err := settings(t, "", map[string]string{"SLIPWAY_BUILD_MAX_HOSTS": "0"})
			return err
		},
		"api.listen must be": func(t *testing.T) error { _, err := settings(t, "api: {listen: ''}", nil); return err },
		"api.shutdown_timeout must be": func(t *testing.T) error {
			_, err := settings(t, "api: {shutdown_timeout: 0}", nil)
			return err
		},
		`build.max_hosts must be a whole number, not "many"`: func(t *testing.T) error {
			_, err := settings(t, "", map[string]string{"SLIPWAY_BUILD_MAX_HOSTS": "many"})
			return err
		},
		`api.token_ttl must be a duration such as 90s, 5m or 2h, not "5"`: func(t *testing.T) error {
			_, err := settings(t, "api: {token_ttl: 5}", nil)
			return err
		},
		`host.resume_guests must be true or false, not "maybe"`: func(t *testing.T) error {
			_, err := settings(t, "host: {resume_guests: maybe}", nil)
			return err
		},
		"build.max_count must be at most 10000, not 10001": func(t *testing.T) error {
			_, err := settings(t, "build: {max_count: 10001}", nil)
			return err
		},
		"build.host_failures must be 0 or more, not -1": func(t *testing.T) error {
			_, err := settings(t, "", nil, "--build.host_failures", "-1")
			return err
		},
		"build.ram_weight_multiplier must be a number, not NaN": func(t *testing.T) error {
			_, err := settings(t, "", nil, "--build.ram_weight_multiplier", "nan")
			return err
		},
		`api.cors_origins has "https://*.example.org"`: func(t *testing.T) error {
			_, err := settings(t, "api: {cors_origins: 'https://[2001:db8::1]:8443, https://*.example.org'}", nil)
			return err
		},
		`api.cors_origins has "dashboard.example.org"`: func(t *testing.T) error {
			_, err := settings(t, "api: {cors_origins: dashboard.example.org}", nil)
			return err
		},
		`api.cors_origins has "https://d.example.org/"`: func(t *testing.T) error {
			_, err := settings(t, "api: {cors_origins: https://d.example.org/}", nil)
			return err
		},
		"host.hypervisor must be":                  func(t *testing.T) error { _, err := settings(t, "host: {hypervisor: xen}", nil); return err },
		"no such file":                             func(t *testing.T) error { _, err := settings(t, "", nil, "--config", "/nonexistent"); return err },
		"images.reserve: \"5GiB\" is neither":      func(t *testing.T) error { _, err := settings(t, "images: {reserve: 5GiB}", nil); return err },
		"host.reserve: \"half\" is neither":        func(t *testing.T) error { _, err := settings(t, "host: {reserve: half}", nil); return err },
		"host.virt_type must be auto, kvm or qemu": func(t *testing.T) error { _, err := settings(t, "host: {virt_type: lxc}", nil); return err },
		"host.cpu_mode must be":                    func(t *testing.T) error { _, err := settings(t, "host: {cpu_mode: fast}", nil); return err },
		"custom needs host.cpu_models":             func(t *testing.T) error { _, err := settings(t, "host: {cpu_mode: custom}", nil); return err },
		"host.cpu_models is of no use":             func(t *testing.T) error { _, err := settings(t, "host: {cpu_models: EPYC}", nil); return err },
		"host-passthrough needs hardware": func(t *testing.T) error {
			_, err := settings(t, "host: {virt_type: qemu, cpu_mode: host-passthrough}", nil)
			return err
		},
		`host.cpu_models: "E PYC"`: func(t *testing.T) error {
			_, err := settings(t, "host: {cpu_mode: custom, cpu_models: 'EPYC,E PYC'}", nil)
			return err
		},
		`host.cpu_features: "=vmx"`: func(t *testing.T) error { _, err := settings(t, "host: {cpu_features: '=vmx'}", nil); return err },
		"host.cpu_features is of no use": func(t *testing.T) error {
			_, err := settings(t, "host: {cpu_mode: none, cpu_features: +vmx}", nil)
			return err
		},
		"host.machine_type: x86_64= ":    func(t *testing.T) error { _, err := settings(t, "host: {machine_type: x86_64}", nil); return err },
		"host.machine_type: q35=x86_64 ": func(t *testing.T) error { _, err := settings(t, "host: {machine_type: q35=x86_64}", nil); return err },
		"host.machine_type names x86_64": func(t *testing.T) error {
			_, err := settings(t, "host: {machine_type: 'x86_64=pc,x86_64=q35'}", nil)
			return err
		},
	} {
		t.Run(want, func(t *testing.T) { require.ErrorContains(t, try(t), want) })
	}
}

func TestSecretsHaveNoFlagAndAreNotShown(t *testing.T) {
	flags := pflag.NewFlagSet("slipway", pflag.ContinueOnError)
	Flags(flags, "host", "api")
	require.Nil(t, flags.Lookup("host.token"))
	require.NotNil(t, flags.Lookup("host.token_file"))
	c := Default()
	c.Host.Token = "hunter2"
	for _, s := range Settings(c) {
		require.NotContains(t, s.Value, "hunter2")
	}
}

func TestStepTimeoutsAreReadAndChecked(t *testing.T) {
	steps, err := Build{StepTimeouts: "BuildDisk=10m, FetchImage=3h"}.Steps()
	require.NoError(t, err)
	require.Equal(t, map[string]time.Duration{"BuildDisk": 10 * time.Minute, "FetchImage": 3 * time.Hour}, steps)
	for _, wrong := range []string{"BuildDisk", "BuildDisk=", "BuildDisk=-1s", "=1s", "BuildDisk=1m,,"} {
		_, err := Build{StepTimeouts: wrong}.Steps()
		require.ErrorContains(t, err, "STEP=DURATION", wrong)
	}
}

func TestAWebhooksAddressIsCheckedAndNotTold(t *testing.T) {
	for _, right := range []string{"", "http://127.0.0.1:8080", "https://receiver.example.org/path?a=b"} {
		require.NoError(t, Notifications{WebhookURL: right}.check(), right)
	}
	for address, want := range map[string]string{
		"hunter2":                     "must be like https://",
		"ftp://receiver/hunter2":      "must be like https://",
		"https:///hunter2":            "must be like https://",
		"https://user:hunter2@host/x": "no user and password",
		"https://host/hunter2#y":      "no fragment",
		"https://ho st/hunter2":       "not a URL",
	} {
		_, err := settings(t, "", map[string]string{"SLIPWAY_NOTIFICATIONS_WEBHOOK_URL": address})
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.ErrorContains(t, Notifications{WebhookSecretFile: "/x"}.check(), "without notifications.webhook_url")
}

func TestABrokersAddressIsCheckedAndNotTold(t *testing.T) {
	for _, right := range []string{"", "amqp://u:p@127.0.0.1", "amqps://u:p%2F@broker.example.org:5671/cloud"} {
		require.NoError(t, Notifications{AMQPURL: right}.check(), right)
	}
	for address, want := range map[string]string{
		"hunter2":                        "must be like amqps://",
		"rabbit://u:hunter2@host":        "must be like amqps://",
		"amqps://u:hunter2@/":            "must be like amqps://",
		"amqps://u:hunter2@host/?verify": "must be like amqps://",
		"amqps://u:hunter2/@host/":       "not a URL",
	} {
		_, err := settings(t, "", map[string]string{"SLIPWAY_NOTIFICATIONS_AMQP_URL": address})
		require.ErrorContains(t, err, want, address)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.ErrorContains(t, Notifications{AMQPCA: "/x"}.check(), "without notifications.amqp_url")
	require.ErrorContains(t, Notifications{AMQPCA: "/x", AMQPURL: "amqp://u:p@host"}.check(), "give an amqps:// address")
}

func TestWhatImagesMayBeImportedFromIsRead(t *testing.T) {
	r, err := Default().Images.WebDownload()
	require.NoError(t, err)
	require.False(t, r.Enabled(), "off until hosts are named")
	i := Default().Images
	i.WebHosts, i.WebDeniedHosts, i.WebPorts, i.WebNetworks, i.WebMaxRedirects = "a.example.org, *.b.org", "c.b.org", "80, 8080", "10.1.0.0/16,2001:db8::/32", 0
	r, err = i.WebDownload()
	require.NoError(t, err)
	require.Equal(t, []string{"a.example.org", "*.b.org"}, r.Hosts)
	require.Equal(t, []string{"c.b.org"}, r.DeniedHosts)
	require.Equal(t, []int{80, 8080}, r.Ports)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}, r.Networks)
	require.Equal(t, -1, r.MaxRedirects)
	for variable, tc := range map[string][2]string{
		"HOSTS": {"http://a", `host "http://a"`}, "PORTS": {"80,http", `web_download_ports: "http" is no port`}, "DENIED_PORTS": {"0", "port 0"},
		"NETWORKS": {"10.0.0.1", `web_download_networks: "10.0.0.1"`}, "SCHEMES": {"ftp", `scheme "ftp"`}, "IDLE_TIMEOUT": {"-1s", "below zero"},
	} {
		_, err := settings(t, "", map[string]string{"SLIPWAY_IMAGES_WEB_DOWNLOAD_" + variable: tc[0]})
		require.ErrorContains(t, err, tc[1])
		require.NoError(t, os.Unsetenv("SLIPWAY_IMAGES_WEB_DOWNLOAD_"+variable))
	}
}

func TestHowGuestsRunIsReadFromListsWithCommas(t *testing.T) {
	c, err := settings(t, "host: {virt_type: kvm, cpu_mode: custom, cpu_models: 'EPYC, Haswell', cpu_features: '+pcid, -vmx', machine_type: 'x86_64=q35, aarch64=virt'}", nil)
	require.NoError(t, err)
	virt, err := c.Host.Virt()
	require.NoError(t, err)
	require.Equal(t, hypervisor.Virt{
		Type: "kvm", CPUMode: "custom", Models: []string{"EPYC", "Haswell"}, Features: []string{"+pcid", "-vmx"},
		Machines: map[string]string{"x86_64": "q35", "aarch64": "virt"},
	}, virt)
	virt, err = Default().Host.Virt()
	require.NoError(t, err)
	require.Equal(t, "auto", virt.Type)
}

func TestVendorDataIsAnObjectOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vendor.json")
	of := func(text string) (map[string]any, error) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return Build{VendorDataFile: path}.VendorData()
	}
	data, err := Build{}.VendorData()
	require.NoError(t, err)
	require.Nil(t, data)
	data, err = of(`{"cloud-init": "#cloud-config\n{}\n"}`)
	require.NoError(t, err)
	require.Equal(t, map[string]any{"cloud-init": "#cloud-config\n{}\n"}, data)
	for text, says := range map[string]string{"[1]": "cannot unmarshal array", "{": "unexpected end", `{"a":"` + strings.Repeat("x", 64<<10) + `"}`: "may have 65536"} {
		_, err = of(text)
		require.ErrorContains(t, err, "build.vendordata_jsonfile_path: "+path)
		require.ErrorContains(t, err, says)
	}
}

func TestVendorDataServicesAreNamedAndBounded(t *testing.T) {
	of := func(targets string) (*contract.VendorServices, error) {
		b := Default().Build
		b.VendorTargets = targets
		return b.VendorServices()
	}
	services, err := of("")
	require.NoError(t, err)
	require.Nil(t, services)
	services, err = of("join@https://user:pass@join.example.org/v1, dns@http://127.0.0.1:8")
	require.NoError(t, err)
	require.Equal(t, &contract.VendorServices{
		Targets:        []contract.VendorTarget{{Name: "join", URL: "https://user:pass@join.example.org/v1"}, {Name: "dns", URL: "http://127.0.0.1:8"}},
		ConnectTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
	}, services)
	for targets, says := range map[string]string{
		"https://secret.example.org": "number 1 is not NAME@URL", "a@https://secret.example.org,@https://b": "number 2 is not NAME@URL",
		"a@ftp://secret.example.org": "number 1 is not", "a@https://secret/%zz": "number 1 is not",
		"a@https://secret,a@https://b": `two cannot be called "a"`, "static@https://secret": `"static"`,
		"a@https://x,b@https://x,c@https://x,d@https://x,e@https://x": "5 are too many",
	} {
		_, err = of(targets)
		require.ErrorContains(t, err, "build.vendordata_dynamic_targets: ")
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "secret")
	}
	_, err = settings(t, "build: {vendordata_dynamic_targets: 'a@https://x', vendordata_dynamic_read_timeout: 1m}", nil)
	require.ErrorContains(t, err, "build.vendordata_dynamic_connect_timeout and read_timeout must each be more than 0 and together at most 30s")
}

func TestAConfigDriveHasAFormatAndVersionsThatThereAre(t *testing.T) {
	for yaml, says := range map[string]string{
		"build: {inject_partition: -3}":                     "build.inject_partition must be -2, -1, 0 or a partition's number, not -3",
		"build: {dhcp_domain: .Cloud}":                      `build.dhcp_domain must be a domain's name, as cloud.example, not ".Cloud"`,
		"build: {config_drive_format: ext4}":                `build.config_drive_format must be iso9660 or vfat, not "ext4"`,
		"build: {config_drive_skip_versions: \"1.0 2009\"}": `build.config_drive_skip_versions: "2009" is none of 1.0, 2007-01-19`,
	} {
		_, err := settings(t, yaml, nil)
		require.ErrorContains(t, err, says)
	}
	require.Equal(t, metadata.DefaultSkip, Default().Build.SkipVersions())
	require.Equal(t, []string{}, Build{}.SkipVersions())
}
