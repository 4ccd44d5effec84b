package ec2

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// terminatedStays is how long a terminated instance is seen.
const terminatedStays = time.Hour

// state is what an instance is, in EC2's words.
type state struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

// States of instances.
var (
	pending      = state{0, "pending"}
	running      = state{16, "running"}
	shuttingDown = state{32, "shutting-down"}
	terminated   = state{48, "terminated"}
	stopping     = state{64, "stopping"}
	stopped      = state{80, "stopped"}
)

// stateOf is a server's state in EC2's words. EC2 has none for a guest that is paused, suspended or shelved: it does nothing, and can be
// started, so it is stopped. What never ran, or is kept to be restored by Nova's clients, is terminated.
func stateOf(v models.Server) state {
	switch v.VMState { //nolint:exhaustive // the rest depends on what is done to it
	case lifecycle.Deleted, lifecycle.SoftDeleted:
		return terminated
	}
	if v.DeleteAskedAt != nil {
		return shuttingDown
	}
	switch v.Task() {
	case lifecycle.Deleting, lifecycle.SoftDeleting:
		return shuttingDown
	case lifecycle.PoweringOff, lifecycle.Suspending, lifecycle.Pausing,
		lifecycle.Shelving, lifecycle.ShelvingImagePending, lifecycle.ShelvingImageUploading, lifecycle.ShelvingOffloading:
		return stopping
	case lifecycle.PoweringOn, lifecycle.Resuming, lifecycle.Unpausing, lifecycle.Unshelving, lifecycle.Spawning:
		return pending
	}
	switch v.VMState {
	case lifecycle.Building:
		return pending
	case lifecycle.Active, lifecycle.Rescued:
		return running
	case lifecycle.Resized:
		if v.PowerState == lifecycle.Running {
			return running
		}
	case lifecycle.Error:
		if v.LaunchedAt == nil {
			return terminated
		}
	case lifecycle.Paused, lifecycle.Suspended, lifecycle.Stopped, lifecycle.Shelved, lifecycle.ShelvedOffloaded, lifecycle.Deleted, lifecycle.SoftDeleted:
	}
	return stopped
}

// reason is why an instance is what it is, where that is known.
type reason struct {
	Code    string `xml:"code"`
	Message string `xml:"message"`
}

func reasonOf(v models.Server) *reason {
	switch {
	case v.VMState == lifecycle.Error && v.Fault != nil:
		code := "Server.InternalError"
		if strings.HasPrefix(v.Fault.Message, "No valid host") {
			code = "Server.InsufficientInstanceCapacity"
		}
		return &reason{code, code + ": " + v.Fault.Message}
	case stateOf(v) == terminated:
		return &reason{"Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"}
	}
	return nil
}

// transition is EC2's StateTransitionReason.
func transition(v models.Server) string {
	switch {
	case v.VMState == lifecycle.Error && v.Fault != nil:
		return reasonOf(v).Message
	case v.DeletedAt != nil:
		return "User initiated (" + v.DeletedAt.UTC().Format("2006-01-02 15:04:05 GMT") + ")"
	}
	return ""
}

// instance is a server as EC2's clients see it.
type instance struct {
	server                 models.Server
	id                     string
	image, kernel, ramdisk string
	group                  string // the name of its server group, which EC2 calls a placement group
}

type groupItem struct {
	ID   string `xml:"groupId"`
	Name string `xml:"groupName"`
}

type tagItem struct {
	Key   string `xml:"key"`
	Value string `xml:"value"`
}

type placementItem struct {
	Zone    string `xml:"availabilityZone,omitempty"`
	Group   string `xml:"groupName"`
	Tenancy string `xml:"tenancy"`
}

type monitoringItem struct {
	State string `xml:"state"`
}

// instanceItem is an instance in an answer.
type instanceItem struct {
	ID             string            `xml:"instanceId"`
	Image          string            `xml:"imageId"`
	State          state             `xml:"instanceState"`
	PrivateDNS     string            `xml:"privateDnsName"`
	DNS            string            `xml:"dnsName"`
	Reason         string            `xml:"reason"`
	KeyName        string            `xml:"keyName,omitempty"`
	Index          int               `xml:"amiLaunchIndex"`
	ProductCodes   set[struct{}]     `xml:"productCodes"`
	Type           string            `xml:"instanceType"`
	LaunchTime     string            `xml:"launchTime"`
	Placement      placementItem     `xml:"placement"`
	Kernel         string            `xml:"kernelId,omitempty"`
	Ramdisk        string            `xml:"ramdiskId,omitempty"`
	Monitoring     monitoringItem    `xml:"monitoring"`
	Subnet         string            `xml:"subnetId,omitempty"`
	VPC            string            `xml:"vpcId,omitempty"`
	PrivateIP      string            `xml:"privateIpAddress,omitempty"`
	Groups         set[groupItem]    `xml:"groupSet"`
	StateReason    *reason           `xml:"stateReason,omitempty"`
	RootDeviceType string            `xml:"rootDeviceType"`
	RootDevice     string            `xml:"rootDeviceName,omitempty"`
	Devices        set[struct{}]     `xml:"blockDeviceMapping"`
	Virtualization string            `xml:"virtualizationType"`
	Tags           set[tagItem]      `xml:"tagSet"`
	Interfaces     set[attachedItem] `xml:"networkInterfaceSet"`
	EBSOptimized   bool              `xml:"ebsOptimized"`
}

// attachedItem is one of an instance's network interfaces.
type attachedItem struct {
	ID         string             `xml:"networkInterfaceId"`
	Subnet     string             `xml:"subnetId,omitempty"`
	VPC        string             `xml:"vpcId"`
	Owner      string             `xml:"ownerId"`
	Status     string             `xml:"status"`
	MAC        string             `xml:"macAddress"`
	IP         string             `xml:"privateIpAddress,omitempty"`
	Groups     set[groupItem]     `xml:"groupSet"`
	Attachment attachmentItem     `xml:"attachment"`
	IPs        set[privateIPItem] `xml:"privateIpAddressesSet"`
	IPv6s      set[ipv6Item]      `xml:"ipv6AddressesSet"`
}

type attachmentItem struct {
	Index    int    `xml:"deviceIndex"`
	Status   string `xml:"status"`
	Attached string `xml:"attachTime"`
	Deleted  bool   `xml:"deleteOnTermination"`
}

type privateIPItem struct {
	IP      string `xml:"privateIpAddress"`
	Primary bool   `xml:"primary"`
}

type ipv6Item struct {
	IP string `xml:"ipv6Address"`
}

func (i instance) item() instanceItem {
	v := i.server
	item := instanceItem{
		ID: i.id, Image: i.image, State: stateOf(v), Reason: transition(v), Index: v.LaunchIndex, Type: v.Flavor.Name, LaunchTime: when(v.CreatedAt),
		Placement: placementItem{Zone: i.zone(), Group: i.group, Tenancy: "default"}, Kernel: i.kernel, Ramdisk: i.ramdisk, Monitoring: monitoringItem{"disabled"},
		StateReason: reasonOf(v), RootDeviceType: "instance-store", RootDevice: v.RootDeviceName, Virtualization: "hvm", Tags: tagsOf(v),
	}
	if v.KeyName != nil {
		item.KeyName = *v.KeyName
	}
	if item.State == terminated {
		return item
	}
	item.PrivateDNS = v.Hostname
	for _, p := range v.Ports {
		nic := attached(p)
		if len(item.Interfaces) == 0 {
			item.Subnet, item.VPC, item.PrivateIP = nic.Subnet, nic.VPC, nic.IP
		}
		item.Interfaces = append(item.Interfaces, nic)
		for _, g := range nic.Groups {
			if !slices.Contains(item.Groups, g) {
				item.Groups = append(item.Groups, g)
			}
		}
	}
	return item
}

func attached(p models.Port) attachedItem {
	nic := attachedItem{
		ID: ids.EC2(ids.EC2Interface, p.ID), VPC: ids.EC2(ids.EC2VPC, p.NetworkID), Owner: p.ProjectID, Status: "in-use", MAC: p.MAC,
		Groups:     groupItems(p.SecurityGroups()...),
		Attachment: attachmentItem{Index: p.NICIndex, Status: "attached", Attached: when(p.CreatedAt), Deleted: p.MadeByBuild},
	}
	for _, ip := range p.FixedIPs {
		if strings.Contains(ip.IP, ":") {
			nic.IPv6s = append(nic.IPv6s, ipv6Item{ip.IP})
			continue
		}
		if nic.IP == "" {
			nic.IP, nic.Subnet = ip.IP, ids.EC2(ids.EC2Subnet, ip.SubnetID)
		}
		nic.IPs = append(nic.IPs, privateIPItem{ip.IP, len(nic.IPs) == 0})
	}
	if nic.Subnet == "" && len(p.FixedIPs) > 0 {
		nic.Subnet = ids.EC2(ids.EC2Subnet, p.FixedIPs[0].SubnetID)
	}
	return nic
}

// zone is where an instance is, was, or was asked for.
func (i instance) zone() string {
	switch v := i.server; {
	case v.Host != nil:
		return v.Host.AvailabilityZone
	case v.DeletedFrom != nil:
		return v.DeletedFrom.AvailabilityZone
	default:
		return v.AvailabilityZone
	}
}

func groupItems(groups ...models.GroupRef) (all set[groupItem]) {
	for _, g := range groups {
		all = append(all, groupItem{ids.EC2(ids.EC2SecurityGroup, g.ID), g.Name})
	}
	return all
}

// defaultGroup is the security group that a project always has.
func defaultGroup(projectID string) set[groupItem] {
	return groupItems(models.GroupRef{ID: ids.SecurityGroup(projectID), Name: models.DefaultGroup})
}

// What no instance here has: a filter by it selects none.
var instanceAttributes = having(attributes[instance]{
	"instance-id":                            is(func(i instance) string { return i.id }),
	"image-id":                               is(func(i instance) string { return i.image }),
	"kernel-id":                              is(func(i instance) string { return i.kernel }),
	"ramdisk-id":                             is(func(i instance) string { return i.ramdisk }),
	"instance-type":                          is(func(i instance) string { return i.server.Flavor.Name }),
	"instance-state-name":                    is(func(i instance) string { return stateOf(i.server).Name }),
	"instance-state-code":                    is(func(i instance) string { return strconv.Itoa(stateOf(i.server).Code) }),
	"key-name":                               is(func(i instance) string { return i.item().KeyName }),
	"reservation-id":                         is(func(i instance) string { return i.server.ReservationID }),
	"launch-index":                           is(func(i instance) string { return strconv.Itoa(i.server.LaunchIndex) }),
	"launch-time":                            is(func(i instance) string { return when(i.server.CreatedAt) }),
	"owner-id":                               is(func(i instance) string { return i.server.ProjectID }),
	"availability-zone":                      is(instance.zone),
	"private-dns-name":                       is(func(i instance) string { return i.item().PrivateDNS }),
	"dns-name":                               is(func(i instance) string { return i.item().DNS }),
	"private-ip-address":                     is(func(i instance) string { return i.item().PrivateIP }),
	"subnet-id":                              is(func(i instance) string { return i.item().Subnet }),
	"vpc-id":                                 is(func(i instance) string { return i.item().VPC }),
	"reason":                                 is(func(i instance) string { return transition(i.server) }),
	"root-device-name":                       is(func(i instance) string { return i.server.RootDeviceName }),
	"root-device-type":                       constant[instance]("instance-store"),
	"virtualization-type":                    constant[instance]("hvm"),
	"monitoring-state":                       constant[instance]("disabled"),
	"tenancy":                                constant[instance]("default"),
	"placement-group-name":                   is(func(i instance) string { return i.group }),
	"group-id":                               groupsOf(allGroups, func(g groupItem) string { return g.ID }),
	"group-name":                             groupsOf(allGroups, func(g groupItem) string { return g.Name }),
	"instance.group-id":                      groupsOf(allGroups, func(g groupItem) string { return g.ID }),
	"instance.group-name":                    groupsOf(allGroups, func(g groupItem) string { return g.Name }),
	"state-reason-code":                      is(func(i instance) string { return orEmpty(reasonOf(i.server)).Code }),
	"state-reason-message":                   is(func(i instance) string { return orEmpty(reasonOf(i.server)).Message }),
	"network-interface.mac-address":          nicsOf(func(n attachedItem) string { return n.MAC }),
	"network-interface.subnet-id":            nicsOf(func(n attachedItem) string { return n.Subnet }),
	"network-interface.vpc-id":               nicsOf(func(n attachedItem) string { return n.VPC }),
	"network-interface.network-interface-id": nicsOf(func(n attachedItem) string { return n.ID }),
	"network-interface.owner-id":             nicsOf(func(n attachedItem) string { return n.Owner }),
	"network-interface.status":               nicsOf(func(n attachedItem) string { return n.Status }),
	"network-interface.attachment.device-index": nicsOf(func(n attachedItem) string {
		return strconv.Itoa(n.Attachment.Index)
	}),
	"network-interface.attachment.status":                nicsOf(func(n attachedItem) string { return n.Attachment.Status }),
	"network-interface.attachment.attach-time":           nicsOf(func(n attachedItem) string { return n.Attachment.Attached }),
	"network-interface.attachment.delete-on-termination": nicsOf(func(n attachedItem) string { return strconv.FormatBool(n.Attachment.Deleted) }),
	"network-interface.attachment.instance-id":           is(func(i instance) string { return i.id }),
	"network-interface.ipv6-addresses.ipv6-address": func(i instance, _ string) (all []string) {
		for _, n := range i.item().Interfaces {
			for _, ip := range n.IPv6s {
				all = append(all, ip.IP)
			}
		}
		return all
	},
	"network-interface.addresses.private-ip-address": func(i instance, _ string) (all []string) {
		for _, n := range i.item().Interfaces {
			for _, ip := range n.IPs {
				all = append(all, ip.IP)
			}
		}
		return all
	},
	"tag:":    func(i instance, key string) []string { return tagged(tagsOf(i.server), key) },
	"tag-key": func(i instance, _ string) []string { return tagKeys(tagsOf(i.server)) },
}, nothing[instance], "affinity", "block-device-mapping.attach-time", "block-device-mapping.delete-on-termination", "block-device-mapping.device-name",
	"block-device-mapping.status", "block-device-mapping.volume-id", "capacity-reservation-id", "host-id", "iam-instance-profile.arn", "instance-lifecycle",
	"ip-address", "outpost-arn", "placement-partition-number", "platform", "product-code", "product-code.type", "requester-id",
	"spot-instance-request-id")

func allGroups(i instance) set[groupItem] { return i.item().Groups }

func groupsOf[T any](in func(T) set[groupItem], value func(groupItem) string) func(T, string) []string {
	return func(i T, _ string) (all []string) {
		for _, g := range in(i) {
			all = append(all, value(g))
		}
		return all
	}
}

func nicsOf(value func(attachedItem) string) func(instance, string) []string {
	return func(i instance, _ string) (all []string) {
		for _, n := range i.item().Interfaces {
			all = append(all, value(n))
		}
		return all
	}
}

// orEmpty is what a pointer points at.
func orEmpty[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// instances are the project's, those of the ids or all, that filters select. An id that names none of them is refused.
func (a *API) instances(ctx context.Context, who asker, named []string, filters []filter) ([]instance, error) {
	f := models.ServerFilter{ProjectID: who.ProjectID, DeletedSince: new(a.now().Add(-terminatedStays))}
	if len(named) > 0 {
		var err error
		if f.IDs, err = a.resolve(ctx, ids.EC2Instance, named); err != nil {
			return nil, err
		}
	}
	found, err := a.described(ctx, who, f)
	if err != nil {
		return nil, err
	}
	if err := allFound(ids.EC2Instance, named, found, func(i instance) string { return i.id }); err != nil {
		return nil, err
	}
	return sift(found, filters, instanceAttributes)
}

// described lists servers with what EC2 calls their images and groups.
func (a *API) described(ctx context.Context, who asker, f models.ServerFilter) ([]instance, error) {
	servers, err := a.asking(who).List(ctx, f)
	if err != nil {
		return nil, err
	}
	var images []string
	for _, v := range servers {
		for _, id := range []string{v.ImageID, v.KernelID, v.RamdiskID} {
			if id != "" {
				images = append(images, id)
			}
		}
	}
	names, err := a.store.EC2ImageIDs(ctx, images)
	if err != nil {
		return nil, err
	}
	groups, err := a.groupNames(ctx, who, servers)
	if err != nil {
		return nil, err
	}
	return shown(servers, names, func(v models.Server) string { return groups[orEmpty(v.GroupID)] }), nil
}

// shown are servers with what EC2 calls their images, by their ids, and groups.
func shown(servers []models.Server, images map[string]string, group func(models.Server) string) []instance {
	all := make([]instance, len(servers))
	for i, v := range servers {
		all[i] = instance{
			server: v, id: ids.EC2(ids.EC2Instance, v.ID), image: images[v.ImageID], kernel: images[v.KernelID], ramdisk: images[v.RamdiskID], group: group(v),
		}
	}
	return all
}

// groupNames are those of the server groups that servers are in, by their ids.
func (a *API) groupNames(ctx context.Context, who asker, servers []models.Server) (map[string]string, error) {
	names := map[string]string{}
	if !slices.ContainsFunc(servers, func(v models.Server) bool { return v.GroupID != nil }) {
		return names, nil
	}
	groups, err := a.asking(who).Groups(ctx, false, 0, 0)
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		names[g.ID] = g.Name
	}
	return names, nil
}

// place is an instance's place in lists: the oldest first, and those of a reservation together.
func (i instance) place() string {
	return fmt.Sprintf("%020d/%s/%06d/%s", i.server.CreatedAt.UnixNano(), i.server.ReservationID, i.server.LaunchIndex, i.server.ID)
}

type describeInstances struct {
	IDs []string `ec2:"InstanceId"`
	paged
}

type reservationItem struct {
	ID        string            `xml:"reservationId"`
	Owner     string            `xml:"ownerId"`
	Groups    set[groupItem]    `xml:"groupSet"`
	Instances set[instanceItem] `xml:"instancesSet"`
}

type describedInstances struct {
	head
	Reservations set[reservationItem] `xml:"reservationSet"`
	NextToken    string               `xml:"nextToken,omitempty"`
}

func (a *API) describeInstances(ctx context.Context, who asker, in describeInstances) (*describedInstances, error) {
	all, err := a.instances(ctx, who, in.IDs, in.Filters)
	if err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, len(in.IDs) > 0, instance.place)
	if err != nil {
		return nil, err
	}
	return &describedInstances{Reservations: reserved(all), NextToken: next}, nil
}

// reserved are instances by their reservations.
func reserved(all []instance) set[reservationItem] {
	var list set[reservationItem]
	at := map[string]int{}
	for _, i := range all {
		id := i.server.ReservationID
		if _, there := at[id]; !there {
			at[id] = len(list)
			list = append(list, reservationItem{ID: id, Owner: i.server.ProjectID})
		}
		r := &list[at[id]]
		r.Instances = append(r.Instances, i.item())
	}
	return list
}

type describeInstanceStatus struct {
	IDs []string `ec2:"InstanceId"`
	All bool     `ec2:"IncludeAllInstances"`
	paged
}

type statusItem struct {
	ID       string        `xml:"instanceId"`
	Zone     string        `xml:"availabilityZone,omitempty"`
	Events   set[struct{}] `xml:"eventsSet"`
	State    state         `xml:"instanceState"`
	System   healthItem    `xml:"systemStatus"`
	Instance healthItem    `xml:"instanceStatus"`
}

type healthItem struct {
	Status  string            `xml:"status"`
	Details set[healthDetail] `xml:"details"`
}

type healthDetail struct {
	Name   string `xml:"name"`
	Status string `xml:"status"`
}

// health is by what is known of the guest and its host: that the one runs and the other answers.
func health(v models.Server) (system, guest healthItem) {
	if stateOf(v) != running {
		return healthItem{Status: "not-applicable"}, healthItem{Status: "not-applicable"}
	}
	of := func(well bool) healthItem {
		if well {
			return healthItem{"ok", set[healthDetail]{{"reachability", "passed"}}}
		}
		return healthItem{"impaired", set[healthDetail]{{"reachability", "failed"}}}
	}
	return of(v.Host != nil && v.Host.Ready), of(v.PowerState == lifecycle.Running)
}

var statusAttributes = attributes[instance]{
	"availability-zone":      is(instance.zone),
	"instance-state-name":    is(func(i instance) string { return stateOf(i.server).Name }),
	"instance-state-code":    is(func(i instance) string { return strconv.Itoa(stateOf(i.server).Code) }),
	"instance-status.status": is(func(i instance) string { _, guest := health(i.server); return guest.Status }),
	"system-status.status":   is(func(i instance) string { system, _ := health(i.server); return system.Status }),
}

type describedStatus struct {
	head
	Statuses  set[statusItem] `xml:"instanceStatusSet"`
	NextToken string          `xml:"nextToken,omitempty"`
}

func (a *API) describeInstanceStatus(ctx context.Context, who asker, in describeInstanceStatus) (*describedStatus, error) {
	all, err := a.instances(ctx, who, in.IDs, nil)
	if err != nil {
		return nil, err
	}
	if all, err = sift(all, in.Filters, statusAttributes); err != nil {
		return nil, err
	}
	if !in.All {
		all, _ = sift(all, []filter{{"instance-state-name", []string{running.Name}}}, statusAttributes)
	}
	all, next, err := cut(all, in.paged, len(in.IDs) > 0, instance.place)
	if err != nil {
		return nil, err
	}
	said := &describedStatus{NextToken: next}
	for _, i := range all {
		item := statusItem{ID: i.id, Zone: i.zone(), State: stateOf(i.server)}
		item.System, item.Instance = health(i.server)
		said.Statuses = append(said.Statuses, item)
	}
	return said, nil
}

var instanceActions = []action{
	does("DescribeInstances", (*API).describeInstances),
	does("DescribeInstanceStatus", (*API).describeInstanceStatus),
}
