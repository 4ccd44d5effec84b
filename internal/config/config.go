// Package config is every setting of every role, with one precedence: flags over environment over file over defaults.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/guest/configdrive"
	"github.com/slipway-cloud/slipway/internal/guest/hypervisor"
	"github.com/slipway-cloud/slipway/internal/guest/metadata"
	"github.com/slipway-cloud/slipway/internal/space"
	"github.com/slipway-cloud/slipway/internal/webdownload"
)

// Config is all settings. In a file they nest as here; in the environment `database.dsn` is SLIPWAY_DATABASE_DSN; as a
// flag it is --database.dsn.
type Config struct {
	InsecurePlaintext bool `koanf:"insecure_plaintext" help:"speak and listen in clear where other machines can listen, with a warning at each start; else a process refuses to start that would"`

	Log      Log      `koanf:"log"`
	Database Database `koanf:"database"`
	Temporal Temporal `koanf:"temporal"`
	API      API      `koanf:"api"`
	Identity Identity `koanf:"identity"`
	Images   Images   `koanf:"images"`
	Quota    Quota    `koanf:"quota"`
	Build    Build    `koanf:"build"`
	Network  Network  `koanf:"network"`
	Audit    Audit    `koanf:"audit"`

	Housekeeping Housekeeping `koanf:"housekeeping"`
	Operator     Operator     `koanf:"operator"`
	Host         Host         `koanf:"host"`

	Notifications Notifications `koanf:"notifications"`
}

// Log says what is logged, always to standard error.
type Log struct {
	Level  string `koanf:"level" help:"debug, info, warn or error"`
	Format string `koanf:"format" help:"json or text"`
}

// Database is the Postgres of the control plane.
type Database struct {
	DSN      string `koanf:"dsn" help:"Postgres, as a URL or key=value pairs"`
	MaxConns int    `koanf:"max_conns" help:"connections that one process may open"`
}

// Temporal is the workflow engine.
type Temporal struct {
	Address      string `koanf:"address" help:"host:port of the frontend"`
	Namespace    string `koanf:"namespace" help:"namespace that the workflows live in"`
	ControlQueue string `koanf:"control_queue" help:"task queue of the control plane's workers"`
	// Towards the frontend. Any of the three files, or a name, switches TLS on.
	TLSCert       string `koanf:"tls_cert" help:"file with this process's certificate, which the frontend asks for; this and other certificates, keys and CAs are PEM, and read again when they change"`
	TLSKey        string `koanf:"tls_key" help:"file with its key"`
	TLSCA         string `koanf:"tls_ca" help:"file with the CAs that the frontend's certificate has to be issued by; a crl.pem beside it is honoured; empty: the machine's"`
	TLSServerName string `koanf:"tls_server_name" help:"name that the frontend's certificate is for; empty: as in temporal.address"`

	UIURL       string `koanf:"ui_url" help:"address of the Web UI, shown to users and allowed to ask the codec endpoint"`
	PayloadKeys string `koanf:"payload_keys" help:"file with the keys that encrypt what Temporal records, of api and worker; mode 0600. A host asks the API for keys of its own"`
	// Retention is long enough for a week's holidays: what ended meanwhile can still be looked at.
	Retention time.Duration `koanf:"retention" help:"how long the engine keeps workflows that have ended, at least 24h; a worker sets it where the namespace is Slipway's own"`
}

// TLS says whether the frontend is spoken to over TLS.
func (t Temporal) TLS() bool {
	return t.TLSCert != "" || t.TLSKey != "" || t.TLSCA != "" || t.TLSServerName != ""
}

// API is the users' listener.
type API struct {
	Listen          string        `koanf:"listen" help:"host:port of the users' listener"`
	TLSCert         string        `koanf:"tls_cert" help:"file with the certificate of the users' listener, and the chain below its CA; empty: it speaks plain HTTP, on loopback only"`
	TLSKey          string        `koanf:"tls_key" help:"file with its key"`
	TLSClientCA     string        `koanf:"tls_client_ca" help:"file with CAs: only clients with a certificate of one of them are answered, hosts too (host.api_cert); a crl.pem beside it is honoured; empty: everybody"`
	TLSHostCA       string        `koanf:"tls_host_ca" help:"file with CAs: a host's token counts only with that host's certificate of one of them (host.api_cert), and users need none; a crl.pem beside it is honoured; empty: the token alone counts"`
	PublicURL       string        `koanf:"public_url" help:"address that the catalog names; empty: as the request came"`
	AdvertiseURL    string        `koanf:"advertise_url" help:"address of this very process, where hosts bring consoles to the users that are connected to it; empty: host.api_url, where one process runs alone"`
	NoVNC           string        `koanf:"novnc" help:"folder of noVNC (core/ and vendor/, as Debian's package has it), with which browsers show screens"`
	CORSOrigins     string        `koanf:"cors_origins" help:"origins, as https://dashboard.example.org, whose pages may open consoles, with commas between them; empty: the API's own"`
	PolicyFile      string        `koanf:"policy_file" help:"YAML file with rules of the policy that ask for other roles than docs/policy.md says, as oslo.policy's; read at the start, and slipway policy check reads it; empty: none"`
	TokenTTL        time.Duration `koanf:"token_ttl" help:"how long a token lives"`
	ConsoleTokenTTL time.Duration `koanf:"console_token_ttl" help:"how long the address of a console can be opened, once (Nova's consoleauth.token_ttl)"`
	ConsoleIdle     time.Duration `koanf:"console_idle" help:"a console is closed on which nothing has passed for so long"`
	ShutdownTimeout time.Duration `koanf:"shutdown_timeout" help:"how long running requests may take to end at a stop"`
	AdminPassword   string        `koanf:"admin_password" help:"password of the user admin, made at the first start; set it by file or environment" secret:"yes"`
	DemoPassword    string        `koanf:"demo_password" help:"password of the user demo, a plain member of the project demo; empty: no such user" secret:"yes"`
	EC2Requests     float64       `koanf:"ec2_requests_per_second" help:"how many requests a second a project may make of the EC2 API, at each api process; 0: no limit"`
	EC2Burst        int           `koanf:"ec2_request_burst" help:"and how many at once"`
	DefaultNetwork  string        `koanf:"default_network" help:"CIDR of the shared network that is made at the first start; empty: none"`
}

// Origins are those of api.cors_origins.
func (a API) Origins() []string { return list(a.CORSOrigins) }

// Images is the image store.
type Images struct {
	Dir             string        `koanf:"dir" help:"folder of the image bytes, seen by every api process, where images.stores is empty"`
	MaxBytes        int64         `koanf:"max_bytes" help:"largest image in bytes"`
	Idle            time.Duration `koanf:"idle" help:"how long an upload or a download may stand still"`
	MaxVirtualBytes int64         `koanf:"max_virtual_bytes" help:"largest disk inside an image in bytes; 0: 64 TiB"`
	ProjectBytes    int64         `koanf:"project_bytes" help:"bytes of all images of a project together; 0: no limit"`
	Reserve         string        `koanf:"reserve" help:"free space that uploads and imports leave on the filesystem of a folder of images: bytes, or a share as 5%; of several with commas between them the least; 0: none"`
	Stores          string        `koanf:"stores" help:"where image bytes lie: NAME=file:FOLDER or NAME=s3:https://ENDPOINT/BUCKET, with commas between them; empty: local=file: and images.dir"`
	DefaultStore    string        `koanf:"default_store" help:"name of the store that uploads go to; empty: the first"`
	Credentials     string        `koanf:"credentials" help:"of object stores, lines of NAME ACCESS-KEY SECRET-KEY" secret:"yes"`
	CredentialsFile string        `koanf:"credentials_file" help:"file with such lines, readable by its owner alone"`
	// Signed images.
	Certificates string `koanf:"certificates" help:"folder of the certificates that signed images name, as UUID.pem; empty: signed images are refused"`
	TrustRoots   string `koanf:"trust_roots" help:"file with the certificates (PEM) that those in images.certificates have to be issued by"`

	PropertyProtections string `koanf:"property_protections" help:"file with the rules of who may read and change which image properties, as Glance's; empty: none"`

	Quarantine time.Duration `koanf:"quarantine" help:"how long bytes of an image that the database does not know are kept in their store before they are deleted (slipway image orphans); 0: for ever"`

	ImportDeadline time.Duration `koanf:"import_deadline" help:"an import that takes longer is ended and undone"`
	ImportPatience time.Duration `koanf:"import_patience" help:"a step of an import is tried again for so long while the web server or a store does not answer"`
	TaskTTL        time.Duration `koanf:"task_ttl" help:"how long the task of an import is shown after its end (Glance's task_time_to_live)"`

	// What web-download may ask. Lists have commas between their entries.
	WebHosts          string        `koanf:"web_download_hosts" help:"hosts that images may be imported from: names, IP addresses, *.example.org, or *; empty: web-download is off"`
	WebDeniedHosts    string        `koanf:"web_download_denied_hosts" help:"hosts that they may not be imported from although web_download_hosts has them"`
	WebSchemes        string        `koanf:"web_download_schemes" help:"http, https or both"`
	WebDeniedSchemes  string        `koanf:"web_download_denied_schemes" help:"http or https"`
	WebPorts          string        `koanf:"web_download_ports" help:"ports that may be asked"`
	WebDeniedPorts    string        `koanf:"web_download_denied_ports" help:"ports that may not be asked although web_download_ports has them"`
	WebNetworks       string        `koanf:"web_download_networks" help:"networks, as 10.1.0.0/16, whose addresses may be connected to although they are not public"`
	WebMaxRedirects   int           `koanf:"web_download_max_redirects" help:"how many redirects are followed"`
	WebConnectTimeout time.Duration `koanf:"web_download_connect_timeout" help:"how long resolving and connecting may take, and as long again the TLS handshake"`
	WebHeaderTimeout  time.Duration `koanf:"web_download_header_timeout" help:"how long an answer may take to begin"`
	WebIdleTimeout    time.Duration `koanf:"web_download_idle_timeout" help:"how long a download may stand still"`
}

// WebDownload is what images may be imported from.
func (i Images) WebDownload() (webdownload.Rules, error) {
	r := webdownload.Rules{
		Hosts: list(i.WebHosts), DeniedHosts: list(i.WebDeniedHosts), Schemes: list(i.WebSchemes), DeniedSchemes: list(i.WebDeniedSchemes),
		MaxRedirects: i.WebMaxRedirects, DialTimeout: i.WebConnectTimeout, TLSTimeout: i.WebConnectTimeout,
		HeaderTimeout: i.WebHeaderTimeout, IdleTimeout: i.WebIdleTimeout,
	}
	if i.WebMaxRedirects == 0 {
		r.MaxRedirects = -1
	}
	var err error
	if r.Ports, err = ports(i.WebPorts); err != nil {
		return r, fmt.Errorf("images.web_download_ports: %w", err)
	}
	if r.DeniedPorts, err = ports(i.WebDeniedPorts); err != nil {
		return r, fmt.Errorf("images.web_download_denied_ports: %w", err)
	}
	for _, text := range list(i.WebNetworks) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return r, fmt.Errorf("images.web_download_networks: %q is not like 10.1.0.0/16", text)
		}
		r.Networks = append(r.Networks, network)
	}
	if err := r.Validate(); err != nil {
		return r, fmt.Errorf("images.web_download_…: %w", err)
	}
	return r, nil
}

// list reads entries with commas between them; none is nil.
func list(text string) []string {
	var all []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			all = append(all, entry)
		}
	}
	return all
}

func ports(text string) ([]int, error) {
	var all []int
	for _, entry := range list(text) {
		port, err := strconv.Atoi(entry)
		if err != nil {
			return nil, fmt.Errorf("%q is no port", entry)
		}
		all = append(all, port)
	}
	return all, nil
}

// Quota is what a project may use unless it has limits of its own; -1 is unlimited.
type Quota struct {
	Instances int `koanf:"instances" help:"servers of a project"`
	Cores     int `koanf:"cores" help:"vCPUs of a project"`
	RAMMiB    int `koanf:"ram_mib" help:"memory of a project in MiB"`
	KeyPairs  int `koanf:"key_pairs" help:"key pairs of a user"`

	MetadataItems      int `koanf:"metadata_items" help:"metadata items of a server"`
	InjectedFiles      int `koanf:"injected_files" help:"files that are injected into a server"`
	InjectedFileBytes  int `koanf:"injected_file_content_bytes" help:"bytes of each of them"`
	InjectedPathBytes  int `koanf:"injected_file_path_length" help:"bytes of each one's path"`
	ServerGroups       int `koanf:"server_groups" help:"server groups of a project"`
	ServerGroupMembers int `koanf:"server_group_members" help:"servers of a server group"`

	Networks int `koanf:"networks" help:"networks of a project"`
	Subnets  int `koanf:"subnets" help:"subnets of a project"`
	Ports    int `koanf:"ports" help:"ports of a project that its users make"`

	SecurityGroups     int `koanf:"security_groups" help:"security groups of a project"`
	SecurityGroupRules int `koanf:"security_group_rules" help:"rules of all security groups of a project"`

	Routers     int `koanf:"routers" help:"routers of a project"`
	FloatingIPs int `koanf:"floating_ips" help:"floating IPs of a project"`
}

// Build is how builds behave.
type Build struct {
	MaxHosts              int           `koanf:"max_hosts" help:"how many hosts a build may try"`
	MaxCount              int           `koanf:"max_count" help:"how many servers one request may ask for"`
	MaxLocalDisks         int           `koanf:"max_local_block_devices" help:"how many disks on its host a server may map: root, ephemeral and swap; below 0: any"`
	HostLost              time.Duration `koanf:"host_lost" help:"a step whose host is silent for so long moves to the next host"`
	HostUnavailable       time.Duration `koanf:"host_unavailable" help:"a step is tried again for so long on a host whose hypervisor does not answer"`
	UndoPatience          time.Duration `koanf:"undo_patience" help:"an undo that takes longer is parked while the others go on"`
	HostDownAfter         time.Duration `koanf:"host_down_after" help:"a host that is silent for so long gets no new servers"`
	Capacity              time.Duration `koanf:"capacity_wait" help:"how long a build waits for a host with room; 0: it fails at once"`
	Deadline              time.Duration `koanf:"deadline" help:"a build that takes longer is ended and undone; 0: none"`
	Scheduling            time.Duration `koanf:"scheduling_deadline" help:"a build is overdue when it is in this phase for longer, beyond capacity_wait; 0: never"`
	Networking            time.Duration `koanf:"networking_deadline" help:"the same for networking"`
	Spawning              time.Duration `koanf:"spawning_deadline" help:"the same for spawning: everything that is done on the host"`
	Deleting              time.Duration `koanf:"deleting_deadline" help:"the same for a delete"`
	StepTimeouts          string        `koanf:"step_timeouts" help:"other deadlines of single steps than docs/build-steps.md says, as BuildDisk=10m,FetchImage=3h"`
	ReclaimInterval       time.Duration `koanf:"reclaim_interval" help:"a deleted server is stopped, and can be restored for so long before it goes; 0: it goes at once"`
	ShelvedOffloadTime    time.Duration `koanf:"shelved_offload_time" help:"a shelved server stays on its host, off, for so long before only its image is left; 0: it leaves at once, negative: never"`
	ResizeConfirmWindow   time.Duration `koanf:"resize_confirm_window" help:"a resize that is neither confirmed nor reverted is confirmed after so long; 0: never"`
	AllowResizeToSameHost bool          `koanf:"allow_resize_to_same_host" help:"a resize stays on its host where that has the room, and its disks need not travel; off: it goes to another"`
	CleanBeforeUse        time.Duration `koanf:"clean_before_use" help:"a host that was lost and is back gets no new servers for at most so long while it is cleaned of what builds left there"`
	// Config drives. Names and defaults are Nova's.
	ForceConfigDrive  bool          `koanf:"force_config_drive" help:"give every server a config drive, whatever its request says"`
	ConfigDriveFormat string        `koanf:"config_drive_format" help:"iso9660 or vfat"`
	DHCPDomain        string        `koanf:"dhcp_domain" help:"domain behind the hostname that guests are told, by config drive and metadata service (Nova's setting of this name); empty: none"`
	ConfigDriveSkip   string        `koanf:"config_drive_skip_versions" help:"versions of the EC2 metadata that config drives leave out, with spaces between them"`
	VendorDataFile    string        `koanf:"vendordata_jsonfile_path" help:"a JSON object that every server finds in its vendor_data.json, at most 64 KiB; empty: none"`
	VendorTargets     string        `koanf:"vendordata_dynamic_targets" help:"services that are asked what else a server finds in its vendor_data2.json, as NAME@URL,NAME@URL; empty: none"`
	VendorConnect     time.Duration `koanf:"vendordata_dynamic_connect_timeout" help:"how long such a service may take to be reached"`
	VendorRead        time.Duration `koanf:"vendordata_dynamic_read_timeout" help:"how long it may take to answer"`
	VendorFatal       bool          `koanf:"vendordata_dynamic_failure_fatal" help:"fail a build of which such a service does not answer"`
	// Data injection, where a server has no config drive. Nova's libvirt.inject_partition; its default is -2.
	InjectPartition int    `koanf:"inject_partition" help:"into which partition data is injected where there is no config drive: -2 none, -1 find it, 0 the whole disk is the filesystem, or its number"`
	InjectUser      string `koanf:"inject_user" help:"a user of the images who gets the injected keys as root does; empty: root alone"`
	HostFailures    int    `koanf:"host_failures" help:"after so many builds in a row that failed on a host by its own fault it gets no new servers until its trial passes; 0: never"`
	MaxIOOps        int    `koanf:"max_io_ops_per_host" help:"a host on which so many servers are being built, moved or copied gets no other one; 0: any number"`
	// How much each weigher counts in the choice of a host; names and defaults are those of Nova's filter_scheduler section.
	RAMWeight          float64 `koanf:"ram_weight_multiplier" help:"how much free memory counts in the choice of a host; below 0: hosts are filled one after another"`
	CPUWeight          float64 `koanf:"cpu_weight_multiplier" help:"the same for free vCPUs"`
	DiskWeight         float64 `koanf:"disk_weight_multiplier" help:"the same for free disk"`
	IOOpsWeight        float64 `koanf:"io_ops_weight_multiplier" help:"how much it counts that servers are being built, moved or copied on a host; below 0: against it"`
	BuildFailureWeight float64 `koanf:"build_failure_weight_multiplier" help:"how much it counts against a host that the last builds failed on it"`

	SoftAffinityWeight     float64 `koanf:"soft_affinity_weight_multiplier" help:"how much it counts that a host has servers of a group that is to be together if it can"`
	SoftAntiAffinityWeight float64 `koanf:"soft_anti_affinity_weight_multiplier" help:"how much it counts against a host that it has servers of a group that is to be apart if it can"`
}

// maxVendorData is how much of it a history takes with each build.
const maxVendorData = 64 << 10

// VendorData reads VendorDataFile; nil where there is none.
func (b Build) VendorData() (data map[string]any, err error) {
	if b.VendorDataFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(b.VendorDataFile)
	if err == nil && len(text) > maxVendorData {
		err = fmt.Errorf("it has %d bytes, and may have %d", len(text), maxVendorData)
	}
	if err == nil {
		err = json.Unmarshal(text, &data)
	}
	if err != nil {
		return nil, fmt.Errorf("build.vendordata_jsonfile_path: %s: %w", b.VendorDataFile, err)
	}
	return data, nil
}

// Bounds of dynamic vendor data: what the answers of all services have in a history, and how long a build waits for them.
const (
	maxVendorTargets = 4
	maxVendorWait    = 30 * time.Second
)

// VendorServices reads VendorTargets and what goes with them; nil where there are none.
func (b Build) VendorServices() (*contract.VendorServices, error) {
	targets := list(b.VendorTargets)
	if len(targets) == 0 {
		return nil, nil
	}
	wrong := func(format string, args ...any) (*contract.VendorServices, error) {
		return nil, fmt.Errorf("build.vendordata_dynamic_"+format, args...)
	}
	s := contract.VendorServices{ConnectTimeout: b.VendorConnect, ReadTimeout: b.VendorRead, FailureFatal: b.VendorFatal}
	switch {
	case len(targets) > maxVendorTargets:
		return wrong("targets: %d are too many, at most %d are asked", len(targets), maxVendorTargets)
	case b.VendorConnect <= 0 || b.VendorRead <= 0 || b.VendorConnect+b.VendorRead > maxVendorWait:
		return wrong("connect_timeout and read_timeout must each be more than 0 and together at most %s, not %s and %s", maxVendorWait, b.VendorConnect, b.VendorRead)
	}
	for i, target := range targets {
		name, address, _ := strings.Cut(target, "@")
		u, err := url.Parse(address) // whose error has the address, which may hold a token
		if err != nil || name == "" || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return wrong("targets: number %d is not NAME@URL with an http:// or https:// address", i+1)
		}
		taken := slices.ContainsFunc(s.Targets, func(t contract.VendorTarget) bool { return t.Name == name })
		if taken || name == "static" {
			return wrong("targets: two cannot be called %q (static is the vendor data of vendordata_jsonfile_path)", name)
		}
		s.Targets = append(s.Targets, contract.VendorTarget{Name: name, URL: address})
	}
	return &s, nil
}

// SkipVersions reads ConfigDriveSkip; none is an empty list.
func (b Build) SkipVersions() []string {
	return append([]string{}, strings.Fields(b.ConfigDriveSkip)...)
}

// Steps reads StepTimeouts, by the steps' names.
func (b Build) Steps() (map[string]time.Duration, error) {
	if b.StepTimeouts == "" {
		return nil, nil
	}
	steps := map[string]time.Duration{}
	for pair := range strings.SplitSeq(b.StepTimeouts, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 || name == "" {
			return nil, fmt.Errorf("build.step_timeouts: %q is not STEP=DURATION", pair)
		}
		steps[name] = d
	}
	return steps, nil
}

// Audit is the comparison of what is recorded with what lies on hosts.
type Audit struct {
	Every time.Duration `koanf:"every" help:"how often an audit runs by itself; 0: only when asked (slipway audit)"`
}

// Housekeeping is what no request does: ending what processes that died left, and deleting what has expired.
type Housekeeping struct {
	Every       time.Duration `koanf:"every" help:"how often uploads and deletes of images are ended whose process died, and expired tokens and tasks deleted; 0: never"`
	StoresEvery time.Duration `koanf:"stores_every" help:"how often all that lies in the image stores is compared with the images; 0: never"`
}

// Notifications is who is told of changes. Every worker needs the same.
type Notifications struct {
	Log               bool          `koanf:"log" help:"each notification is a line of a worker's log, at level info"`
	WebhookURL        string        `koanf:"webhook_url" help:"address that each notification is posted to; empty: none" secret:"yes"`
	WebhookSecretFile string        `koanf:"webhook_secret_file" help:"file with the secret that signs what is posted, readable by its owner alone; empty: nothing is signed"`
	WebhookTimeout    time.Duration `koanf:"webhook_timeout" help:"how long the receiver, or the broker, may take for one"`
	AMQPURL           string        `koanf:"amqp_url" help:"RabbitMQ that each notification is published to as oslo.messaging does: amqps://USER:PASSWORD@HOST:5671/VHOST; empty: none" secret:"yes"`
	AMQPCA            string        `koanf:"amqp_ca" help:"file with the CAs that its certificate has to be issued by; a crl.pem beside it is honoured; empty: the machine's"`
	AMQPDurable       bool          `koanf:"amqp_durable" help:"exchanges and queues that are not there yet outlive a restart of the broker, as with oslo.messaging's amqp_durable_queues"`
	GiveUp            time.Duration `koanf:"give_up" help:"a notification that the receiver has not taken so long after its event is given up"`
	Keep              time.Duration `koanf:"keep" help:"how long notifications stay in the database after their event; longer while they wait for the receiver"`
}

func (n Notifications) check() error {
	if err := n.checkAMQP(); err != nil {
		return err
	}
	if n.WebhookURL == "" {
		if n.WebhookSecretFile != "" {
			return errors.New("notifications.webhook_secret_file is of no use without notifications.webhook_url")
		}
		return nil
	}
	// What is wrong is told without the address: it may hold a token.
	u, err := url.Parse(n.WebhookURL)
	switch {
	case err != nil:
		return errors.New("notifications.webhook_url is not a URL")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return errors.New("notifications.webhook_url must be like https://receiver.example.org/path")
	case u.User != nil:
		return errors.New("notifications.webhook_url must have no user and password: use notifications.webhook_secret_file")
	case u.Fragment != "":
		return errors.New("notifications.webhook_url must have no fragment (#)")
	}
	return nil
}

// checkAMQP tells what is wrong without the address, which holds a password.
func (n Notifications) checkAMQP() error {
	if n.AMQPURL == "" {
		if n.AMQPCA != "" {
			return errors.New("notifications.amqp_ca is of no use without notifications.amqp_url")
		}
		return nil
	}
	u, err := url.Parse(n.AMQPURL)
	switch {
	case err != nil:
		return errors.New("notifications.amqp_url is not a URL: characters such as / and # in its password are written as %2F and %23")
	case u.Scheme != "amqps" && u.Scheme != "amqp", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
		return errors.New("notifications.amqp_url must be like amqps://user:password@broker.example.org:5671/vhost")
	case u.Scheme == "amqp" && n.AMQPCA != "":
		return errors.New("notifications.amqp_ca is of no use with amqp://: give an amqps:// address")
	}
	return nil
}

// Operator is the operators' listener: metrics, health, and the codec endpoint of the Web UI. It shows what histories
// hold: keep it on loopback or behind something that knows operators.
type Operator struct {
	Listen      string `koanf:"listen" help:"host:port of the operators' listener; empty: none"`
	TLSCert     string `koanf:"tls_cert" help:"file with the certificate of the operators' listener; empty: it speaks plain HTTP, on loopback only"`
	TLSKey      string `koanf:"tls_key" help:"file with its key"`
	TLSClientCA string `koanf:"tls_client_ca" help:"file with CAs: only certificates of theirs with the role operator or control are answered; a crl.pem beside it is honoured; empty: everybody"`
}

// Host is a hypervisor.
type Host struct {
	APIURL           string        `koanf:"api_url" help:"address of the Slipway API"`
	APICA            string        `koanf:"api_ca" help:"file with the CAs that the API's certificate has to be issued by; a crl.pem beside it is honoured; empty: the machine's"`
	APICert          string        `koanf:"api_cert" help:"file with this host's certificate, where the API asks for one (api.tls_host_ca, api.tls_client_ca)"`
	APIKey           string        `koanf:"api_key" help:"file with its key"`
	Token            string        `koanf:"token" help:"the host's own token, from slipway host create" secret:"yes"`
	TokenFile        string        `koanf:"token_file" help:"file that holds the token"`
	Hostname         string        `koanf:"hostname" help:"name of this hypervisor; empty: the machine's"`
	StateDir         string        `koanf:"state_dir" help:"folder of instances and cached images"`
	Hypervisor       string        `koanf:"hypervisor" help:"libvirt, or fake for load tests"`
	LibvirtSocket    string        `koanf:"libvirt_socket" help:"libvirtd's socket"`
	LibvirtNetNS     string        `koanf:"libvirt_netns" help:"network namespace in which bridges and taps are made; empty: the one that libvirtd runs in"`
	OVSDB            string        `koanf:"ovsdb" help:"database of this host's Open vSwitch, as unix:/run/openvswitch/db.sock, where networks stand on OVN; empty: this host gets no servers with such ports"`
	PlugTimeout      time.Duration `koanf:"vif_plugging_timeout" help:"how long a build waits until OVN has installed a port (Nova's setting of this name); 0: it does not"`
	PlugFatal        bool          `koanf:"vif_plugging_is_fatal" help:"leave the host where it was waited in vain for a port; else the guest starts without (Nova's)"`
	QEMUUser         string        `koanf:"qemu_user" help:"user that libvirt runs QEMU as, where its qemu.conf names one; empty: libvirt-qemu or qemu, as the packages have it"`
	VirtType         string        `koanf:"virt_type" help:"how guests run: kvm, qemu (emulated), or auto for the first of them that runs a trial guest"`
	CPUMode          string        `koanf:"cpu_mode" help:"the CPU that guests see: host-passthrough, host-model, custom, none (QEMU's default); empty: host-model with kvm, a plain model emulated"`
	CPUModels        string        `koanf:"cpu_models" help:"with cpu_mode custom: names of CPU models with commas between them; the first that runs a trial guest is used"`
	CPUFeatures      string        `koanf:"cpu_features" help:"features of the CPU to add and to take away, as +pcid,-vmx"`
	MachineType      string        `koanf:"machine_type" help:"machine types of servers whose image names none, by architecture, as x86_64=q35,aarch64=virt; empty: pc on x86_64, virt on aarch64"`
	Libguestfs       bool          `koanf:"libguestfs" help:"inject into xfs, btrfs, LVM and what else libguestfs knows, where that is installed"`
	MaxBuilds        int           `koanf:"max_builds" help:"steps that work at once; 0: two a core"`
	ReadStores       bool          `koanf:"read_stores" help:"read images from the stores that images.… names, where this host can, and over the API only where it cannot"`
	CacheBytes       int64         `koanf:"cache_bytes" help:"size to which the image cache is kept; 0: no limit"`
	Reserve          string        `koanf:"reserve" help:"free space that the image cache and new disks leave on the filesystem of the state folder, as images.reserve; below it the host gets no new servers"`
	HeartbeatEvery   time.Duration `koanf:"heartbeat_every" help:"how often the host reports to the API"`
	CPURatio         float64       `koanf:"cpu_ratio" help:"how often a vCPU may be given away"`
	RAMRatio         float64       `koanf:"ram_ratio" help:"how often memory may be given away"`
	DiskRatio        float64       `koanf:"disk_ratio" help:"how often disk may be given away"`
	ReservedMemory   int           `koanf:"reserved_memory_mib" help:"memory kept for the host itself, MiB"`
	ResumeGuests     bool          `koanf:"resume_guests" help:"start the guests that are off and should run when this host starts (Nova's resume_guests_state_on_host_boot)"`
	SyncPowerEvery   time.Duration `koanf:"sync_power_every" help:"how often the host looks whether its guests run as the API knows it, besides the hypervisor's own word (Nova's sync_power_state_interval); 0: only at that"`
	FakeStartLatency time.Duration `koanf:"fake_start_latency" help:"with the fake hypervisor: how long a start takes"`

	TransferListen    string `koanf:"transfer_listen" help:"host:port where other hosts fetch the disks of servers that move to them, over TLS with temporal.tls_cert; it listens only while a move goes on; port 0 is any; empty: no server moves away from this host"`
	TransferAdvertise string `koanf:"transfer_advertise" help:"name or address, and port where it is another one, by which other hosts reach host.transfer_listen; empty: its address, or the hostname where it is all of the machine's"`
	TransferCA        string `koanf:"transfer_ca" help:"file with the CAs that other hosts' certificates have to be issued by; a crl.pem beside it is honoured; empty: temporal.tls_ca"`
}

// Virt reads how the guests of this host run.
func (h Host) Virt() (hypervisor.Virt, error) {
	v := hypervisor.Virt{Type: h.VirtType, CPUMode: h.CPUMode, Models: list(h.CPUModels), Features: list(h.CPUFeatures), Machines: map[string]string{}}
	for _, pair := range list(h.MachineType) {
		arch, machine, _ := strings.Cut(pair, "=")
		if _, twice := v.Machines[arch]; twice {
			return v, fmt.Errorf("host.machine_type names %s twice", arch)
		}
		v.Machines[arch] = machine
	}
	return v, v.Validate()
}

// Default is what every setting starts from, and the only place that says so: services and faces take what they are given.
// Quotas, ratios and waits are Nova's where it has them.
func Default() Config {
	d := contract.DefaultDeadlines()
	return Config{
		Log:      Log{Level: "info", Format: "json"},
		Database: Database{DSN: "host=/run/postgresql user=slipway dbname=slipway", MaxConns: 20},
		Temporal: Temporal{
			Address: "127.0.0.1:7233", Namespace: "slipway", ControlQueue: contract.DefaultControlQueue,
			UIURL: "http://127.0.0.1:8233", PayloadKeys: "/etc/slipway/payload.keys", Retention: 7 * 24 * time.Hour,
		},
		API: API{Listen: "127.0.0.1:8774", NoVNC: "/usr/share/novnc", TokenTTL: time.Hour, ConsoleTokenTTL: 10 * time.Minute, ConsoleIdle: 30 * time.Minute, EC2Burst: 100, ShutdownTimeout: 30 * time.Second},
		Identity: Identity{Mode: IdentitySlipway, Keystone: Keystone{
			UserDomain: "Default", Project: "service", ProjectDomain: "Default", CacheTTL: time.Minute, Patience: 10 * time.Second,
		}},
		Images: Images{
			Dir: "/var/lib/slipway/images", MaxBytes: 1 << 40, Reserve: defaultReserve, Quarantine: 7 * 24 * time.Hour, Idle: time.Minute, ImportDeadline: 24 * time.Hour, ImportPatience: time.Minute, TaskTTL: 48 * time.Hour,
			WebSchemes: "http,https", WebPorts: "80,443", WebMaxRedirects: 3,
			WebConnectTimeout: 10 * time.Second, WebHeaderTimeout: 30 * time.Second, WebIdleTimeout: time.Minute,
		},
		Quota: Quota{
			Instances: 10, Cores: 20, RAMMiB: 50 * 1024, KeyPairs: 100, MetadataItems: 128, InjectedFiles: 5, InjectedFileBytes: 10 * 1024,
			InjectedPathBytes: 255, ServerGroups: 10, ServerGroupMembers: 10, Networks: 100, Subnets: 100, Ports: 500, SecurityGroups: 10, SecurityGroupRules: 100,
			Routers: 10, FloatingIPs: 50,
		},
		Build: Build{MaxHosts: 3, AllowResizeToSameHost: true, MaxCount: 1000, MaxLocalDisks: 3, HostLost: d.HostLost, HostUnavailable: d.HostUnavailable, UndoPatience: d.UndoPatience, HostDownAfter: time.Minute, CleanBeforeUse: 5 * time.Minute,
			Deadline: d.Build, Scheduling: d.Phases[contract.PhaseScheduling], Networking: d.Phases[contract.PhaseNetworking],
			Spawning: d.Phases[contract.PhaseSpawning], Deleting: d.Phases[contract.PhaseDeleting],
			InjectPartition: contract.InjectInspect, ConfigDriveFormat: "iso9660", ConfigDriveSkip: strings.Join(metadata.DefaultSkip, " "),
			VendorConnect: 5 * time.Second, VendorRead: 5 * time.Second,
			HostFailures: 3, RAMWeight: 1, CPUWeight: 1, DiskWeight: 1, IOOpsWeight: -1, BuildFailureWeight: 1_000_000,
			SoftAffinityWeight: 1, SoftAntiAffinityWeight: 1},
		Network: Network{Engine: EngineBridge, Reconcile: 5 * time.Minute},
		Audit:   Audit{Every: 10 * time.Minute},

		Housekeeping: Housekeeping{Every: time.Minute, StoresEvery: time.Hour},

		Operator: Operator{Listen: "127.0.0.1:8775"},
		Host: Host{
			APIURL: "http://127.0.0.1:8774", StateDir: "/var/lib/slipway/host", Hypervisor: "libvirt", VirtType: hypervisor.Auto,
			LibvirtSocket: "/run/libvirt/libvirt-sock", Reserve: defaultReserve, HeartbeatEvery: 10 * time.Second, SyncPowerEvery: 10 * time.Minute,
			CPURatio: 4, RAMRatio: 1, DiskRatio: 1, ReservedMemory: 512, Libguestfs: true,
			PlugTimeout: 30 * time.Second, PlugFatal: true,
			TransferListen: ":8790",
		},
		Notifications: Notifications{Log: true, WebhookTimeout: 10 * time.Second, GiveUp: 3 * 24 * time.Hour, Keep: 7 * 24 * time.Hour},
	}
}

// defaultReserve is 1 GiB: room for Postgres to go on for a while. A small filesystem is not worth so much.
const defaultReserve = "1073741824,5%"

// minEvery is what the engine's schedules can keep to.
const minEvery = time.Second

const envPrefix = "SLIPWAY_"

// DefaultFile is read when it exists and no other is named.
const DefaultFile = "/etc/slipway/slipway.yaml"

// Flags adds a flag for each setting of the named sections (the first part of their names) and of none, and --config. Secrets have no
// flag: a command line is readable by everyone on the machine.
func Flags(flags *pflag.FlagSet, sections ...string) {
	flags.String("config", "", "file with settings (default "+DefaultFile+" if it is there)")
	walk(reflect.ValueOf(Default()), "", func(name string, field reflect.StructField, value reflect.Value) {
		section, _, within := strings.Cut(name, ".")
		if field.Tag.Get("secret") != "" || within && !slices.Contains(sections, section) {
			return
		}
		help := field.Tag.Get("help")
		switch v := value.Interface().(type) {
		case string:
			flags.String(name, v, help)
		case int:
			flags.Int(name, v, help)
		case int64:
			flags.Int64(name, v, help)
		case float64:
			flags.Float64(name, v, help)
		case bool:
			flags.Bool(name, v, help)
		case time.Duration:
			flags.Duration(name, v, help)
		}
	})
}

// Load reads the settings. flags may be nil; only those that were set count.
func Load(flags *pflag.FlagSet) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(structs.Provider(Default(), "koanf"), nil); err != nil {
		return Config{}, fmt.Errorf("settings: %w", err)
	}
	known := map[string]bool{}
	for _, key := range k.Keys() {
		known[key] = true
	}
	if err := loadFile(k, flags); err != nil {
		return Config{}, err
	}
	for _, key := range k.Keys() {
		if !known[key] {
			return Config{}, fmt.Errorf("settings: unknown setting %q in the file: see `slipway config` for all of them", key)
		}
	}
	if err := k.Load(env.Provider(".", env.Opt{Prefix: envPrefix, TransformFunc: func(name, value string) (string, any) {
		return settingOf(name, known), value
	}}), nil); err != nil {
		return Config{}, fmt.Errorf("settings from the environment: %w", err)
	}
	if flags != nil {
		changed := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.Visit(func(f *pflag.Flag) {
			if known[f.Name] {
				changed.AddFlag(f)
			}
		})
		if err := k.Load(posflag.Provider(changed, ".", k), nil); err != nil {
			return Config{}, fmt.Errorf("settings from flags: %w", err)
		}
	}
	var c Config
	var wrong []error
	walk(reflect.ValueOf(&c).Elem(), "", func(name string, field reflect.StructField, value reflect.Value) {
		if err := k.Unmarshal(name, value.Addr().Interface()); err != nil || unitless(field, k.Get(name)) {
			wrong = append(wrong, unfit(name, field, k.Get(name)))
		}
	})
	if len(wrong) > 0 {
		return Config{}, fmt.Errorf("settings: %w", errors.Join(wrong...))
	}
	return c, c.check()
}

// unitless says whether a duration is a bare number, which would be one of nanoseconds.
func unitless(field reflect.StructField, is any) bool {
	number := reflect.ValueOf(is)
	return field.Type == reflect.TypeFor[time.Duration]() && number.IsValid() && number.Type() != field.Type && number.Kind() != reflect.String && !number.IsZero()
}

// unfit says what a setting has to be that is something else.
func unfit(name string, field reflect.StructField, is any) error {
	want := "text"
	switch reflect.Zero(field.Type).Interface().(type) {
	case time.Duration:
		want = "a duration such as 90s, 5m or 2h"
	case int, int64:
		want = "a whole number"
	case float64:
		want = "a number"
	case bool:
		want = "true or false"
	}
	if field.Tag.Get("secret") != "" {
		return fmt.Errorf("%s must be %s", name, want)
	}
	return fmt.Errorf("%s must be %s, not %q", name, want, fmt.Sprint(is))
}

func loadFile(k *koanf.Koanf, flags *pflag.FlagSet) error {
	path, named := os.Getenv(envPrefix+"CONFIG"), true
	if flags != nil {
		if f := flags.Lookup("config"); f != nil && f.Changed {
			path = f.Value.String()
		}
	}
	if path == "" {
		path, named = DefaultFile, false
	}
	err := k.Load(file.Provider(filepath.Clean(path)), yaml.Parser())
	if errors.Is(err, os.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return fmt.Errorf("settings from %s: %w", path, err)
	}
	return nil
}

// settingOf finds the setting that an environment variable names; "" (ignored) for others, since tests and tools have
// variables of their own under the prefix.
func settingOf(variable string, known map[string]bool) string {
	name := strings.ToLower(strings.TrimPrefix(variable, envPrefix))
	for key := range known {
		if strings.ReplaceAll(key, ".", "_") == name {
			return key
		}
	}
	return ""
}

// mostCount is how many servers one transaction and one history of the engine take well.
const mostCount = 10_000

// domainName is one or more labels in lower case.
var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

func (c Config) check() error {
	var wrong []error
	positive := func(name string, n int64) {
		if n <= 0 {
			wrong = append(wrong, fmt.Errorf("%s must be more than 0, not %d", name, n))
		}
	}
	positive("build.max_hosts", int64(c.Build.MaxHosts))
	positive("build.max_count", int64(c.Build.MaxCount))
	positive("build.host_lost", int64(c.Build.HostLost))
	positive("build.host_unavailable", int64(c.Build.HostUnavailable))
	positive("build.undo_patience", int64(c.Build.UndoPatience))
	positive("build.host_down_after", int64(c.Build.HostDownAfter))
	if c.Build.HostFailures < 0 {
		wrong = append(wrong, fmt.Errorf("build.host_failures must be 0 or more, not %d", c.Build.HostFailures))
	}
	if path, unix := strings.CutPrefix(c.Host.OVSDB, "unix:"); c.Host.OVSDB != "" && (!unix || !filepath.IsAbs(path)) {
		wrong = append(wrong, fmt.Errorf("host.ovsdb must be like unix:/run/openvswitch/db.sock, not %q", c.Host.OVSDB))
	}
	if c.Host.PlugTimeout < 0 || c.Host.PlugTimeout > 100*time.Second {
		wrong = append(wrong, fmt.Errorf("host.vif_plugging_timeout must be 0 to 100s, within the two minutes of a build's step, not %s", c.Host.PlugTimeout))
	}
	if c.Build.MaxIOOps < 0 {
		wrong = append(wrong, fmt.Errorf("build.max_io_ops_per_host must be 0 or more, not %d", c.Build.MaxIOOps))
	}
	if c.Temporal.Retention < 24*time.Hour {
		wrong = append(wrong, fmt.Errorf("temporal.retention must be 24h or more, not %s", c.Temporal.Retention))
	}
	finite := func(name string, x float64) {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			wrong = append(wrong, fmt.Errorf("%s must be a number, not %g", name, x))
		}
	}
	finite("build.ram_weight_multiplier", c.Build.RAMWeight)
	finite("build.cpu_weight_multiplier", c.Build.CPUWeight)
	finite("build.disk_weight_multiplier", c.Build.DiskWeight)
	finite("build.io_ops_weight_multiplier", c.Build.IOOpsWeight)
	finite("build.soft_affinity_weight_multiplier", c.Build.SoftAffinityWeight)
	finite("build.soft_anti_affinity_weight_multiplier", c.Build.SoftAntiAffinityWeight)
	finite("build.build_failure_weight_multiplier", c.Build.BuildFailureWeight)
	if _, err := c.Build.Steps(); err != nil {
		wrong = append(wrong, err)
	}
	if d := c.Build.DHCPDomain; d != "" && !domainName.MatchString(d) {
		wrong = append(wrong, fmt.Errorf("build.dhcp_domain must be a domain's name, as cloud.example, not %q", d))
	}
	if f := c.Build.ConfigDriveFormat; f != configdrive.ISO9660 && f != configdrive.VFAT {
		wrong = append(wrong, fmt.Errorf("build.config_drive_format must be %s or %s, not %q", configdrive.ISO9660, configdrive.VFAT, f))
	}
	if _, err := c.Build.VendorServices(); err != nil {
		wrong = append(wrong, err)
	}
	if n := c.Build.InjectPartition; n < contract.InjectNothing {
		wrong = append(wrong, fmt.Errorf("build.inject_partition must be -2, -1, 0 or a partition's number, not %d", n))
	}
	for _, v := range c.Build.SkipVersions() {
		if !slices.Contains(metadata.EC2Versions, v) {
			wrong = append(wrong, fmt.Errorf("build.config_drive_skip_versions: %q is none of %s", v, strings.Join(metadata.EC2Versions, ", ")))
		}
	}
	scheduled := func(name string, every time.Duration) {
		if every < 0 || every > 0 && every < minEvery {
			wrong = append(wrong, fmt.Errorf("%s must be 0 or at least %s, not %s", name, minEvery, every))
		}
	}
	scheduled("audit.every", c.Audit.Every)
	scheduled("housekeeping.every", c.Housekeeping.Every)
	scheduled("housekeeping.stores_every", c.Housekeeping.StoresEvery)
	positive("host.heartbeat_every", int64(c.Host.HeartbeatEvery))
	if c.Host.SyncPowerEvery < 0 {
		wrong = append(wrong, fmt.Errorf("host.sync_power_every must be 0 or more, not %s", c.Host.SyncPowerEvery))
	}
	if c.API.Listen == "" {
		wrong = append(wrong, errors.New("api.listen must be host:port"))
	}
	if u, err := url.Parse(c.API.AdvertiseURL); c.API.AdvertiseURL != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		wrong = append(wrong, fmt.Errorf("api.advertise_url is %q, which is no address as https://10.0.0.11:8774", c.API.AdvertiseURL))
	}
	for _, origin := range c.API.Origins() {
		if u, err := url.Parse(origin); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || origin != u.Scheme+"://"+u.Host ||
			strings.ContainsAny(u.Host, "*;") {
			wrong = append(wrong, fmt.Errorf("api.cors_origins has %q, which is no origin as https://dashboard.example.org", origin))
		}
	}
	finite("api.ec2_requests_per_second", c.API.EC2Requests)
	if c.API.EC2Requests < 0 {
		wrong = append(wrong, fmt.Errorf("api.ec2_requests_per_second must be 0 or more, not %g", c.API.EC2Requests))
	}
	positive("api.ec2_request_burst", int64(c.API.EC2Burst))
	positive("api.token_ttl", int64(c.API.TokenTTL))
	positive("api.console_token_ttl", int64(c.API.ConsoleTokenTTL))
	positive("api.console_idle", int64(c.API.ConsoleIdle))
	positive("api.shutdown_timeout", int64(c.API.ShutdownTimeout))
	if err := c.checkIdentity(); err != nil {
		wrong = append(wrong, err)
	}
	positive("images.max_bytes", c.Images.MaxBytes)
	positive("images.idle", int64(c.Images.Idle))
	positive("images.import_deadline", int64(c.Images.ImportDeadline))
	if c.Images.Quarantine < 0 {
		wrong = append(wrong, fmt.Errorf("images.quarantine must be 0 or more, not %s", c.Images.Quarantine))
	}
	positive("images.task_ttl", int64(c.Images.TaskTTL))
	for name, reserve := range map[string]string{"images.reserve": c.Images.Reserve, "host.reserve": c.Host.Reserve} {
		if _, err := space.Parse(reserve); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", name, err))
		}
	}
	if _, err := c.Images.WebDownload(); err != nil {
		wrong = append(wrong, err)
	}
	positive("notifications.webhook_timeout", int64(c.Notifications.WebhookTimeout))
	positive("notifications.give_up", int64(c.Notifications.GiveUp))
	positive("notifications.keep", int64(c.Notifications.Keep))
	if err := c.Notifications.check(); err != nil {
		wrong = append(wrong, err)
	}
	positive("network.reconcile_every", int64(c.Network.Reconcile))
	if err := c.Network.check(); err != nil {
		wrong = append(wrong, err)
	}
	if c.Build.MaxCount > mostCount {
		wrong = append(wrong, fmt.Errorf("build.max_count must be at most %d, not %d", mostCount, c.Build.MaxCount))
	}
	if c.Build.MaxLocalDisks == 0 {
		wrong = append(wrong, errors.New("build.max_local_block_devices must not be 0: a server has at least a root disk"))
	}
	if c.Host.Hypervisor != "libvirt" && c.Host.Hypervisor != "fake" {
		wrong = append(wrong, fmt.Errorf("host.hypervisor must be libvirt or fake, not %q", c.Host.Hypervisor))
	}
	if _, _, err := net.SplitHostPort(c.Host.TransferListen); c.Host.TransferListen != "" && err != nil {
		wrong = append(wrong, fmt.Errorf("host.transfer_listen must be host:port, not %q", c.Host.TransferListen))
	}
	if _, err := c.Host.Virt(); err != nil {
		wrong = append(wrong, err)
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		wrong = append(wrong, fmt.Errorf("log.format must be json or text, not %q", c.Log.Format))
	}
	if len(wrong) > 0 {
		return fmt.Errorf("settings: %w", errors.Join(wrong...))
	}
	return nil
}

// walk visits each setting with its dotted name.
func walk(v reflect.Value, prefix string, visit func(string, reflect.StructField, reflect.Value)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := prefix + field.Tag.Get("koanf")
		if field.Type.Kind() == reflect.Struct {
			walk(v.Field(i), name+".", visit)
			continue
		}
		visit(name, field, v.Field(i))
	}
}

// Setting is one line of the reference.
type Setting struct {
	Name, Variable, Help string
	Value                string // secrets are shown as set or not
}

// Settings lists every setting with its value in c.
func Settings(c Config) []Setting {
	var all []Setting
	walk(reflect.ValueOf(c), "", func(name string, field reflect.StructField, value reflect.Value) {
		shown := fmt.Sprint(value.Interface())
		if field.Tag.Get("secret") != "" && shown != "" {
			shown = "(set)"
		}
		variable := envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
		all = append(all, Setting{Name: name, Variable: variable, Help: field.Tag.Get("help"), Value: shown})
	})
	return all
}
