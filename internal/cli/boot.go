package cli

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-cloud/slipway/internal/cli/session"
	"github.com/slipway-cloud/slipway/internal/cli/show"
)

type bootFlags struct {
	image, flavor, keyName, userData, zone, adminPass, description, idempotencyKey string
	meta, networks, nics, files, tags                                              []string
	imageWith, blockDevices, ephemerals, hints, groups, certificates               []string
	swap, accessIPv4, accessIPv6, host, hypervisor, hostname                       string
	configDrive, wait, explain                                                     bool
	timeout                                                                        time.Duration
	many                                                                           bool // one of the counts was given
	count, minCount, maxCount                                                      int
}

// least is how many servers are enough: all, unless --min-count says less. Of --max-count alone, one is.
func (f *bootFlags) least() int {
	switch {
	case f.minCount > 0:
		return f.minCount
	case f.maxCount > 0:
		return 1
	}
	return f.count
}

// most is how many are wanted: without --count and --max-count those of --min-count, as Nova has it.
func (f *bootFlags) most() int { return cmp.Or(f.maxCount, f.count, f.minCount) }

func (c *client) bootCommand() *cobra.Command {
	f := &bootFlags{}
	cmd := &cobra.Command{
		Use:   "boot NAME (--image REF | --image-with KEY=VALUE) --flavor REF",
		Short: "Build a server, or several",
		Long: `Build a server from an image and a flavor, each given by name or id.

The API accepts or refuses at once; the build goes on by itself. With --wait every step of it is shown as it runs, and
the command ends when the server is ACTIVE (exit 0) or the build has failed (exit 1, with the fault and what to do).
Ctrl-C stops the watching, not the build.

--count N asks for N servers in one request, NAME-1 to NAME-N, and answers with their reservation: all of them fit into the
quota, or nothing is built. With --min-count M fewer are enough, and as many as fit are built; --min-count alone is that many, and
--max-count alone is from one to that many. Each then builds or fails by
itself. With --wait the servers are counted as they build, and the command ends when none is building: exit 0 when every
one that was admitted is ACTIVE. The password that the API makes is not told for several: choose one with --admin-pass.

--explain builds nothing and shows what the same request would do now: what is left of the quota, what each filter of the scheduler removes,
the hosts in their order with what each weigher adds, and what builds took here lately. Hosts are named to admins. Exit 1 where nothing would be
built.

Networks: --network takes a network's name or id and can be repeated; "none" builds without a NIC, "auto" (the default)
leaves the choice to the API. --nic says more about one NIC: net=REF or port=ID, and ip=ADDRESS, tag=TEXT; novaclient's
net-id, net-name, port-id, v4-fixed-ip and v6-fixed-ip are understood.

Disks are the image's and the flavor's. --ephemeral and --swap divide what the flavor has of both otherwise, and --block-device
says everything of one disk: source=blank|image, dest=local, size, format, bus, type=disk|cdrom, bootindex, tag.

User data, files and the key reach the guest on its config drive, unless --config-drive=false: then they are written into
its disk before the first start.`,
		Example: `  slipway boot web --image debian-12 --flavor m1.small --key-name laptop --wait
  slipway boot web --image debian-12 --flavor m1.small --user-data cloud-init.yaml --meta role=web --tag front
  slipway boot db --image debian-12 --flavor m1.large --nic net=private,ip=10.0.0.20 --file /etc/motd=./motd
  ID=$(slipway boot ci --image debian-12 --flavor m1.tiny --network none --wait --quiet)
  slipway boot web --image debian-12 --flavor m1.small --explain
  slipway boot node --image debian-12 --flavor m1.small --count 20 --min-count 10 --wait
  slipway boot db --image-with os_distro=debian --flavor m1.large --ephemeral size=20,format=ext4 --ephemeral size=20 --swap 512`,
		Args: cobra.ExactArgs(1),
		RunE: c.verb(func(ctx context.Context, cmd *cobra.Command, s *session.Session, args []string) error {
			f.many = cmd.Flags().Changed("count") || cmd.Flags().Changed("min-count") || cmd.Flags().Changed("max-count")
			return c.boot(ctx, cmd, s, args[0], f)
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.image, "image", "", "image, by name or id")
	flags.StringArrayVar(&f.imageWith, "image-with", nil, "instead of --image: the newest image with this property key=value (repeat)")
	flags.StringVar(&f.flavor, "flavor", "", "flavor, by name or id (required)")
	flags.StringVar(&f.keyName, "key-name", "", "key pair whose public key the guest gets")
	flags.StringVar(&f.userData, "user-data", "", "file with user data for the guest, - for standard input")
	flags.StringArrayVar(&f.meta, "meta", nil, "metadata key=value (repeat)")
	flags.StringArrayVar(&f.networks, "network", nil, "network by name or id, none, or auto (repeat)")
	flags.StringArrayVar(&f.nics, "nic", nil, "NIC as net=REF|port=ID[,ip=ADDRESS][,tag=TEXT], none, or auto (repeat)")
	flags.StringArrayVar(&f.blockDevices, "block-device", nil, "disk as key=value[,key=value...], as above (repeat)")
	flags.StringArrayVar(&f.ephemerals, "ephemeral", nil, "ephemeral disk as size=GIB[,format=ext2|ext3|ext4|vfat] (repeat)")
	flags.StringVar(&f.swap, "swap", "", "swap disk of so many MiB")
	flags.StringArrayVar(&f.groups, "security-group", nil, "security group, by name or id (repeat)")
	flags.BoolVar(&f.configDrive, "config-drive", true, "give the guest a config drive")
	flags.StringVar(&f.zone, "availability-zone", "", "availability zone")
	flags.StringVar(&f.host, "host", "", "host to build on, past the choice of the scheduler's weighers (admins)")
	flags.StringVar(&f.hypervisor, "hypervisor-hostname", "", "the same by the hypervisor's name (admins)")
	flags.StringArrayVar(&f.hints, "hint", nil, "scheduler hint key=value (repeat)")
	flags.StringVar(&f.hostname, "hostname", "", "hostname of the guest (default: made of NAME)")
	flags.StringVar(&f.accessIPv4, "access-ip-v4", "", "IPv4 address by which its users reach the server, shown as accessIPv4")
	flags.StringVar(&f.accessIPv6, "access-ip-v6", "", "the same for IPv6")
	flags.StringArrayVar(&f.certificates, "trusted-image-certificate-id", nil, "certificate that the image has to be signed with (repeat)")
	flags.StringVar(&f.adminPass, "admin-pass", "", "administrator's password (default: the API makes one)")
	flags.StringArrayVar(&f.files, "file", nil, "file for the guest as /path/in/guest=localfile (repeat)")
	flags.StringVar(&f.description, "description", "", "description")
	flags.StringArrayVar(&f.tags, "tag", nil, "tag (repeat)")
	flags.BoolVar(&f.wait, "wait", false, "show the build's steps and wait for its end")
	flags.BoolVar(&f.wait, "poll", false, "the same as --wait")
	flags.BoolVar(&f.explain, "explain", false, "build nothing: show what the same request would do now")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Minute, "with --wait: give up waiting after this long (the build goes on)")
	flags.IntVar(&f.count, "count", 0, "build this many servers, NAME-1 to NAME-N")
	flags.IntVar(&f.minCount, "min-count", 0, "as few as this are enough, where the quota has no room for more (default: all of --count)")
	flags.IntVar(&f.maxCount, "max-count", 0, "build at most this many")
	flags.StringVar(&f.idempotencyKey, "idempotency-key", "", "a retry with the same key meets the same server instead of building a second one")
	cmd.MarkFlagsMutuallyExclusive("image", "image-with")
	cmd.MarkFlagsMutuallyExclusive("count", "max-count")
	cmd.MarkFlagsMutuallyExclusive("explain", "wait")
	cmd.MarkFlagsMutuallyExclusive("explain", "poll")
	cmd.MarkFlagsMutuallyExclusive("explain", "idempotency-key")
	_ = cmd.MarkFlagRequired("flavor")
	c.completeFlag(cmd, "image", imageKind)
	c.completeFlag(cmd, "flavor", flavorKind)
	c.completeFlag(cmd, "key-name", keypairKind)
	c.completeFlag(cmd, "network", networkKind, "none", "auto")
	c.completeFlag(cmd, "host", hostKind)
	_ = cmd.RegisterFlagCompletionFunc("config-drive", cobra.FixedCompletions([]string{"true", "false"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c *client) boot(ctx context.Context, cmd *cobra.Command, s *session.Session, name string, f *bootFlags) error {
	if f.image == "" && len(f.imageWith) == 0 {
		return usageOf(cmd, errors.New("missing: --image, or --image-with"))
	}
	for name, n := range map[string]int{"count": f.count, "min-count": f.minCount, "max-count": f.maxCount} {
		if cmd.Flags().Changed(name) && n < 1 {
			return show.UsageError("--%s is %d: at least 1", name, n)
		}
	}
	if f.minCount > f.most() {
		return show.UsageError("--min-count is %d: from 1 to the %d that are wanted", f.minCount, f.most())
	}
	r, err := c.bootRequest(ctx, cmd, s, name, f)
	if err != nil {
		return err
	}
	if f.explain {
		return c.explain(ctx, cmd, s, name, r)
	}
	if f.many {
		return c.bootMany(ctx, cmd, s, name, f, r)
	}
	began := c.now()
	answer, header, err := s.Call(ctx, r)
	if err != nil {
		return session.Doing(err, "build the server %q", name)
	}
	server := serverKind.unwrap(answer)
	id, requestID := show.Text(server, "id"), header.Get("X-Compute-Request-Id")
	if id == "" {
		return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the API accepted the server %q without telling its id", name)}
	}
	if !f.wait {
		server["name"] = name
		server["request_id"] = requestID
		c.say(cmd, "accepted; follow it with: slipway server wait %s", id)
		return c.output.One(cmd.OutOrStdout(), acceptedLayout, server)
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	c.say(cmd, "building %s (%s)", name, id)
	built, err := c.follow(ctx, cmd.ErrOrStderr(), s, id, requestID)
	if err != nil {
		return err
	}
	c.say(cmd, "%s is ACTIVE after %s", name, show.Duration(c.now().Sub(began)))
	if password := show.Text(server, "adminPass"); password != "" && f.adminPass == "" {
		built["adminPass"] = password // the API tells it only once, in the answer to the request
	}
	return c.output.One(cmd.OutOrStdout(), bootedLayout, built)
}

// bootRequest resolves the names and writes the request (Nova's POST /servers).
func (c *client) bootRequest(ctx context.Context, cmd *cobra.Command, s *session.Session, name string, f *bootFlags) (session.Request, error) {
	server := show.Object{"name": name, "config_drive": f.configDrive}
	disks, err := bootDisks(f)
	if err != nil {
		return session.Request{}, err
	}
	hints, err := hints(f.hints)
	if err != nil {
		return session.Request{}, err
	}
	wanted, err := pairs("image-with", f.imageWith)
	if err != nil {
		return session.Request{}, err
	}
	set := func(field, value string) {
		if value != "" {
			server[field] = value
		}
	}
	set("key_name", f.keyName)
	set("availability_zone", f.zone)
	set("adminPass", f.adminPass)
	set("description", f.description)
	set("accessIPv4", f.accessIPv4)
	set("accessIPv6", f.accessIPv6)
	set("host", f.host)
	set("hypervisor_hostname", f.hypervisor)
	set("hostname", f.hostname)
	if len(f.certificates) > 0 {
		server["trusted_image_certificates"] = f.certificates
	}
	if len(f.groups) > 0 {
		groups := make([]show.Object, len(f.groups))
		for i, g := range f.groups {
			groups[i] = show.Object{"name": g}
		}
		server["security_groups"] = groups
	}
	if len(f.tags) > 0 {
		server["tags"] = f.tags
	}
	if len(f.meta) > 0 {
		meta, err := pairs("meta", f.meta)
		if err != nil {
			return session.Request{}, err
		}
		server["metadata"] = meta
	}
	if f.userData != "" {
		data, err := readInput(cmd, f.userData)
		if err != nil {
			return session.Request{}, session.Doing(err, "read the user data")
		}
		server["user_data"] = base64.StdEncoding.EncodeToString(data)
	}
	var version session.Microversion
	if len(f.files) > 0 {
		var err error
		if version, err = s.ComputeVersion(ctx); err != nil {
			return session.Request{}, session.Doing(err, "build the server %q", name)
		}
		if session.PersonalityCompute.Older(version) {
			version = session.PersonalityCompute
		}
		if server["personality"], err = personality(f.files); err != nil {
			return session.Request{}, err
		}
	}
	networks, err := bootNetworks(ctx, s, f.networks, f.nics)
	if err != nil {
		return session.Request{}, err
	}
	server["networks"] = networks
	image, err := c.bootImage(ctx, cmd, s, f.image, wanted)
	if err != nil {
		return session.Request{}, err
	}
	flavor, err := flavorKind.find(ctx, s, f.flavor)
	if err != nil {
		return session.Request{}, err
	}
	server["imageRef"], server["flavorRef"] = image["id"], flavor["id"]
	if len(disks) > 0 {
		server["block_device_mapping_v2"] = withRoot(disks, show.Text(image, "id"))
	}
	if f.many {
		server["min_count"], server["max_count"], server["return_reservation_id"] = f.least(), f.most(), true
	}
	body := show.Object{"server": server}
	if len(hints) > 0 {
		body["os:scheduler_hints"] = hints
	}
	r := session.Request{Service: "compute", Method: http.MethodPost, Path: serverKind.path, Body: body, Version: version}
	if f.idempotencyKey != "" {
		r.Headers = map[string]string{"Idempotency-Key": f.idempotencyKey}
	}
	return r, nil
}

// bootImage is the image that a reference names, or the newest that has all these properties.
func (c *client) bootImage(ctx context.Context, cmd *cobra.Command, s *session.Session, ref string, wanted map[string]string) (show.Object, error) {
	if len(wanted) == 0 {
		return imageKind.find(ctx, s, ref)
	}
	query := url.Values{"status": {"active"}}
	for key, value := range wanted {
		query.Set(key, value)
	}
	found, err := imageKind.list(ctx, s, query)
	switch {
	case err != nil:
		return nil, session.Doing(err, "look for an image with these properties")
	case len(found) == 0:
		return nil, &show.Error{Code: show.ExitFailed, What: "no images match the properties of --image-with", Hints: []string{"slipway image list"}}
	case len(found) > 1:
		c.say(cmd, "%d images match --image-with; the newest is taken: %s (%s)", len(found), show.Text(found[0], "name"), show.Text(found[0], "id"))
	}
	return found[0], nil
}

// personality reads the files to be put into the guest (Nova's personality).
func personality(specs []string) ([]show.Object, error) {
	var files []show.Object
	for _, spec := range specs {
		path, local, ok := strings.Cut(spec, "=")
		if !ok || !strings.HasPrefix(path, "/") || local == "" {
			return nil, show.UsageError("--file wants /path/in/guest=localfile, not %q", spec)
		}
		data, err := os.ReadFile(local)
		if err != nil {
			return nil, session.Doing(err, "read the file for %s in the guest", path)
		}
		files = append(files, show.Object{"path": path, "contents": base64.StdEncoding.EncodeToString(data)})
	}
	return files, nil
}

// bootNetworks is the request's networks: "none", "auto", or a list.
func bootNetworks(ctx context.Context, s *session.Session, networks, nics []string) (any, error) {
	if len(networks)+len(nics) == 0 {
		return "auto", nil
	}
	var list []show.Object
	for _, spec := range nics {
		if spec == "none" || spec == "auto" {
			if len(networks)+len(nics) > 1 {
				return nil, show.UsageError("--nic %s stands alone", spec)
			}
			return spec, nil
		}
	}
	for _, ref := range networks {
		if ref == "none" || ref == "auto" {
			if len(networks)+len(nics) > 1 {
				return nil, show.UsageError("--network %s stands alone", ref)
			}
			return ref, nil
		}
		network, err := networkKind.find(ctx, s, ref)
		if err != nil {
			return nil, err
		}
		list = append(list, show.Object{"uuid": network["id"]})
	}
	for _, spec := range nics {
		nic := show.Object{}
		for part := range strings.SplitSeq(spec, ",") {
			key, value, _ := strings.Cut(part, "=")
			if value == "" {
				return nil, show.UsageError("--nic wants net=REF|port=ID[,ip=ADDRESS][,tag=TEXT], not %q", spec)
			}
			switch key {
			case "net", "net-id", "net-name":
				network, err := networkKind.find(ctx, s, value)
				if err != nil {
					return nil, err
				}
				nic["uuid"] = network["id"]
			case "port", "port-id":
				nic["port"] = value
			case "ip", "v4-fixed-ip", "v6-fixed-ip":
				if ip, err := netip.ParseAddr(value); err != nil || key == "v4-fixed-ip" && !ip.Is4() || key == "v6-fixed-ip" && !ip.Is6() {
					return nil, show.UsageError("--nic %s: %s is no such address", spec, value)
				}
				nic["fixed_ip"] = value
			case "tag":
				nic["tag"] = value
			default:
				return nil, show.UsageError("--nic knows net, port, ip and tag, not %q", key)
			}
		}
		if (nic["uuid"] == nil) == (nic["port"] == nil) {
			return nil, show.UsageError("--nic %s: give net=REF or port=ID, one of the two", spec)
		}
		list = append(list, nic)
	}
	return list, nil
}

// settle is how long follow asks on for the ends of steps after the server itself has reached its end.
const settle = 8

// follow shows the steps of a build until the server is ACTIVE, and gives the server. A failed build, a server that went
// away, Ctrl-C and a timeout are errors that say what to do next.
func (c *client) follow(ctx context.Context, w io.Writer, s *session.Session, id, requestID string) (show.Object, error) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	view := show.NewStepView(w, c.output.Quiet, c.now)
	closed := false
	done := func() {
		if !closed {
			closed = true
			view.Close()
		}
	}
	defer done()

	ticker := time.NewTicker(c.poll)
	defer ticker.Stop()
	var last error
	for ended := 0; ; {
		server, err := serverKind.get(ctx, s, id)
		switch {
		case err == nil:
			last = nil
		case session.IsStatus(err, http.StatusNotFound):
			done()
			return nil, &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("server %s was deleted while it was built", id), Cause: err}
		case ctx.Err() != nil:
		case isTransient(err):
			last = err
		default:
			done()
			return nil, session.Doing(err, "follow the build of server %s", id)
		}
		if server != nil {
			pending := false
			if requestID != "" {
				steps, err := actionSteps(ctx, s, id, requestID)
				if err == nil {
					view.Show(steps)
				}
				// Between the end of a build and the moment when its steps are on record the API knows none.
				pending = !session.IsStatus(err, http.StatusNotFound) && (len(steps) == 0 || anyRunning(steps))
			}
			switch show.Text(server, "status") {
			case "BUILD":
			case "ERROR":
				// The undo of a failed build goes on after its fault is known; what is wrong is known already.
				if ended++; !pending || ended > settle {
					done()
					return nil, buildFailed(server)
				}
			default:
				if ended++; !pending || ended > settle {
					return server, nil
				}
			}
		}
		select {
		case <-ctx.Done():
			done()
			return nil, stillBuilding(ctx, id, last)
		case <-ticker.C:
		}
	}
}

// isTransient says whether an error of one poll may be gone at the next.
func isTransient(err error) bool {
	var answer *session.APIError
	if errors.As(err, &answer) {
		return answer.Status >= 500
	}
	return !errors.Is(err, context.Canceled)
}

func actionSteps(ctx context.Context, s *session.Session, id, requestID string) ([]show.Step, error) {
	answer, _, err := s.Call(ctx, session.Request{Service: "compute", Method: http.MethodGet, Path: serverKind.item(id, "os-instance-actions", requestID)})
	if err != nil {
		return nil, err
	}
	action, _ := answer["instanceAction"].(show.Object)
	return show.StepsOf(action), nil
}

func anyRunning(steps []show.Step) bool {
	for _, s := range steps {
		if s.Running() {
			return true
		}
	}
	return false
}

// buildFailed is the fault of a server in ERROR, whole, with what to do next.
func buildFailed(server show.Object) *show.Error {
	id := show.Text(server, "id")
	reason := show.Text(server, "fault", "message")
	if code := show.Text(server, "fault", "code"); code != "" && reason != "" {
		reason += " (code " + code + ")"
	}
	if details := show.Text(server, "fault", "details"); details != "" {
		reason += "\n" + details
	}
	if reason == "" {
		reason = "the API gives no reason"
	}
	hints := []string{
		"slipway server events " + id + "   (what was done, and where)",
		"slipway server delete " + id + "   (its quota is in use until then)",
	}
	lower := strings.ToLower(reason)
	if strings.Contains(lower, "no valid host") {
		hints = append(hints, "slipway host list   (an admin sees what the hypervisors have left)")
	}
	if strings.Contains(lower, "quota") {
		hints = append(hints, "slipway quota show")
	}
	return &show.Error{Code: show.ExitFailed, What: fmt.Sprintf("the build of server %q (%s) failed", show.Text(server, "name"), id), Reason: reason, Hints: hints}
}

// stillBuilding is the end of the watching before the end of the build.
func stillBuilding(ctx context.Context, id string, last error) *show.Error {
	return stoppedWatching(ctx, "the build of server "+id+" goes on", last,
		"slipway server wait "+id+"     (follow it again)",
		"slipway server delete "+id+"   (stop it and give everything back)")
}
