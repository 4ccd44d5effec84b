package ec2

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/servers"
	"github.com/slipway-cloud/slipway/models"
)

// EC2's error codes of what makes instances.
const (
	badCombination ids.EC2Code = "InvalidParameterCombination"
	badDevices     ids.EC2Code = "InvalidBlockDeviceMapping"
)

// runInstances is RunInstances's request. What it takes is honoured; what has no field is EC2's and not here.
type runInstances struct {
	Min       int            `ec2:"MinCount,required"`
	Max       int            `ec2:"MaxCount,required"`
	Image     string         `ec2:"ImageId,required"`
	Kernel    string         `ec2:"KernelId"`
	Ramdisk   string         `ec2:"RamdiskId"`
	Type      string         `ec2:"InstanceType,required"`
	KeyName   string         `ec2:"KeyName"`
	UserData  blob           `ec2:"UserData"`
	Token     string         `ec2:"ClientToken"`
	Groups    []string       `ec2:"SecurityGroup"`
	GroupIDs  []string       `ec2:"SecurityGroupId"`
	Subnet    string         `ec2:"SubnetId"`
	PrivateIP string         `ec2:"PrivateIpAddress"`
	NICs      []runInterface `ec2:"NetworkInterface"`
	Placement struct {
		Zone      string  `ec2:"AvailabilityZone"`
		Group     string  `ec2:"GroupName"`
		Tenancy   string  `ec2:"Tenancy"`
		Affinity  refused `ec2:"Affinity" why:"there are no dedicated hosts"`
		Host      refused `ec2:"HostId" why:"there are no dedicated hosts"`
		GroupID   refused `ec2:"GroupId" why:"a placement group is a server group, by its name"`
		Partition refused `ec2:"PartitionNumber" why:"no server group has partitions"`
		Resource  refused `ec2:"HostResourceGroupArn" why:"there are no dedicated hosts"`
	} `ec2:"Placement"`
	Devices    []runDevice        `ec2:"BlockDeviceMapping"`
	Tags       []tagSpecification `ec2:"TagSpecification"`
	AtShutdown string             `ec2:"InstanceInitiatedShutdownBehavior"`
	Protected  bool               `ec2:"DisableApiTermination"`
	Unstopped  bool               `ec2:"DisableApiStop"`
	Optimized  bool               `ec2:"EbsOptimized"`
	Monitoring struct {
		Enabled bool `ec2:"Enabled"`
	} `ec2:"Monitoring"`
	// Hibernation needs nothing: any instance can be suspended.
	Hibernation struct {
		Configured bool `ec2:"Configured"`
	} `ec2:"HibernationOptions"`
	Metadata metadataOptions `ec2:"MetadataOptions"`

	Info        refused `ec2:"AdditionalInfo" why:"it is reserved"`
	Capacity    refused `ec2:"CapacityReservationSpecification" why:"there are no capacity reservations"`
	CPU         refused `ec2:"CpuOptions" why:"an instance's processors are its type's"`
	Credit      refused `ec2:"CreditSpecification" why:"no type is burstable"`
	GPU         refused `ec2:"ElasticGpuSpecification" why:"there are no accelerators"`
	Inference   refused `ec2:"ElasticInferenceAccelerator" why:"there are no accelerators"`
	PrimaryIPv6 refused `ec2:"EnablePrimaryIpv6" why:"a network's subnets decide which addresses an instance has"`
	Enclave     refused `ec2:"EnclaveOptions" why:"there are no enclaves"`
	Profile     refused `ec2:"IamInstanceProfile" why:"instances have no roles"`
	Market      refused `ec2:"InstanceMarketOptions" why:"there are no spot instances"`
	IPv6        refused `ec2:"Ipv6Address" why:"a network's subnets decide which addresses an instance has"`
	IPv6Count   refused `ec2:"Ipv6AddressCount" why:"a network's subnets decide which addresses an instance has"`
	Template    refused `ec2:"LaunchTemplate" why:"there are no launch templates"`
	License     refused `ec2:"LicenseSpecification" why:"no licenses are kept"`
	Maintenance refused `ec2:"MaintenanceOptions" why:"nothing is recovered by itself"`
	DNS         refused `ec2:"PrivateDnsNameOptions" why:"an instance's host name is its server's"`
}

// runInterface is a network interface of an instance: a new one on a subnet, or one that is there.
type runInterface struct {
	Index     int      `ec2:"DeviceIndex"`
	ID        string   `ec2:"NetworkInterfaceId"`
	Subnet    string   `ec2:"SubnetId"`
	PrivateIP string   `ec2:"PrivateIpAddress"`
	GroupIDs  []string `ec2:"SecurityGroupId"`
	Deleted   *bool    `ec2:"DeleteOnTermination"`
	Public    bool     `ec2:"AssociatePublicIpAddress"`
	Type      string   `ec2:"InterfaceType"`
	Card      int      `ec2:"NetworkCardIndex"`

	Description refused `ec2:"Description" why:"an interface that is made with an instance has no description"`
	More        refused `ec2:"PrivateIpAddresses" why:"name one address as PrivateIpAddress"`
	MoreCount   refused `ec2:"SecondaryPrivateIpAddressCount" why:"an interface has one address of each subnet"`
	IPv6        refused `ec2:"Ipv6Addresses" why:"a network's subnets decide which addresses an instance has"`
	IPv6Count   refused `ec2:"Ipv6AddressCount" why:"a network's subnets decide which addresses an instance has"`
	Prefixes    refused `ec2:"Ipv4Prefix" why:"an interface has one address of each subnet"`
	IPv6Prefix  refused `ec2:"Ipv6Prefix" why:"an interface has one address of each subnet"`
}

// runDevice is one of an instance's disks.
type runDevice struct {
	Name     string  `ec2:"DeviceName"`
	Virtual  string  `ec2:"VirtualName"`
	NoDevice *string `ec2:"NoDevice"`
	EBS      *struct {
		Size       int    `ec2:"VolumeSize"`
		Type       string `ec2:"VolumeType"`
		Deleted    bool   `ec2:"DeleteOnTermination"`
		Encrypted  bool   `ec2:"Encrypted"`
		Snapshot   string `ec2:"SnapshotId"`
		IOPS       int    `ec2:"Iops"`
		Throughput int    `ec2:"Throughput"`
		Key        string `ec2:"KmsKeyId"`
	} `ec2:"Ebs"`
}

// What becomes of an instance that shuts itself down; EC2 stops it where nothing is said.
const (
	atShutdownStop      = "stop"
	atShutdownTerminate = "terminate"
)

type ranInstances struct {
	head
	reservationItem
}

// maxToken is EC2's limit of a ClientToken, and maxUserData of user data, in bytes.
const (
	maxToken    = 64
	maxUserData = 16 << 10
)

func (a *API) runInstances(ctx context.Context, who asker, in runInstances) (*ranInstances, error) {
	if err := checkToken(in.Token); err != nil {
		return nil, err
	}
	asking, hash := a.asking(who), hashOf(in.Token, in)
	// What the first try named may be gone since.
	if in.Token != "" {
		if made, ok, err := asking.Accepted(ctx, in.Token, hash); ok || err != nil {
			return a.ran(ctx, who, made, wording{}, err)
		}
	}
	r, words, err := a.request(ctx, who, in)
	if err != nil {
		return nil, err
	}
	r.Key, r.Hash = in.Token, hash
	made, err := asking.Submit(ctx, r)
	return a.ran(ctx, who, made, words, err)
}

// checkToken refuses what no ClientToken is.
func checkToken(token string) error {
	for _, c := range token {
		if c < ' ' || c > '~' {
			return invalid("Value (%s) for parameter clientToken is invalid. It has printable ASCII characters.", token)
		}
	}
	if len(token) > maxToken {
		return invalid("Value (%s) for parameter clientToken is invalid. It has at most %d characters.", token, maxToken)
	}
	return nil
}

// hashOf tells requests under one ClientToken apart. It is kept, and user data may hold secrets, so it is keyed with the token.
func hashOf(token string, in any) string {
	if token == "" {
		return ""
	}
	text, err := json.Marshal(in)
	if err != nil {
		panic(err) // texts and numbers
	}
	sum := hmac.New(sha256.New, []byte(token))
	sum.Write(text)
	return hex.EncodeToString(sum.Sum(nil))
}

// wording is what EC2 calls what a request named.
type wording struct {
	images map[string]string // by their own ids
	group  string            // of its instances
}

// ran tells of the reservation that was made, or why none was.
func (a *API) ran(ctx context.Context, who asker, made servers.Accepted, words wording, err error) (*ranInstances, error) {
	switch text := fault.Public(err); {
	case err == nil:
	case errors.Is(err, servers.KeyUsed):
		return nil, refuse("IdempotentParameterMismatch", "The request uses the same client token as a previous, but non-identical request.")
	case errors.Is(err, servers.SeveralNetworks):
		return nil, refuse("VPCIdNotSpecified", "There are several VPCs that the instance could be in: specify a SubnetId")
	case errors.Is(err, servers.AddressInUse):
		return nil, refuse("InvalidIPAddress.InUse", "%s", text)
	case fault.Is(err, fault.OverQuota):
		return nil, refuse("InstanceLimitExceeded", "%s", text)
	default:
		return nil, err
	}
	all, err := a.reservation(ctx, who, made, words)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(x, y instance) int { return strings.Compare(x.place(), y.place()) })
	said := &ranInstances{reservationItem: reservationItem{ID: made.ReservationID, Owner: who.ProjectID}}
	for _, i := range all {
		said.Instances = append(said.Instances, i.item())
	}
	return said, nil
}

// reservation is one that was made for a request: as it is by now, where that was an earlier one. Its own is being built at this moment, by the
// processors that would read it whole: it is told as it was recorded.
func (a *API) reservation(ctx context.Context, who asker, made servers.Accepted, words wording) ([]instance, error) {
	if made.Earlier {
		return a.described(ctx, who, models.ServerFilter{
			ProjectID: who.ProjectID, ReservationID: made.ReservationID, DeletedSince: new(a.now().Add(-terminatedStays)),
		})
	}
	recorded, err := a.asking(who).JustAccepted(ctx, made)
	return shown(recorded, words.images, func(models.Server) string { return words.group }), err
}

// request is what is asked for in the words of the service, and what it named in EC2's.
func (a *API) request(ctx context.Context, who asker, in runInstances) (servers.Request, wording, error) {
	words := wording{map[string]string{}, in.Placement.Group}
	r, err := a.requested(ctx, who, in, words.images)
	return r, words, err
}

// requested notes the ids of images that it meets.
func (a *API) requested(ctx context.Context, who asker, in runInstances, images map[string]string) (servers.Request, error) {
	r := servers.Request{
		Min: in.Min, Max: in.Max, Zone: in.Placement.Zone, UserData: in.UserData,
		// It tells an instance also where there is no metadata service.
		ConfigDrive: true,
		Protected:   in.Protected, EndsAtShutdown: in.AtShutdown == atShutdownTerminate,
	}
	if err := cmp.Or(in.check(), in.Metadata.check(a.networks.Engine())); err != nil {
		return r, err
	}
	for _, part := range []struct {
		parameter, id, kind string
		into                *string
	}{{"ImageId", in.Image, "machine", &r.ImageID}, {"KernelId", in.Kernel, "kernel", &r.KernelID}, {"RamdiskId", in.Ramdisk, "ramdisk", &r.RamdiskID}} {
		if part.id == "" {
			continue
		}
		i, err := a.usable(ctx, who, part.parameter, part.id, part.kind)
		if err != nil {
			return r, err
		}
		*part.into = i.ID
		images[i.ID] = i.id
		for property, id := range map[string]string{"kernel_id": i.kernel, "ramdisk_id": i.ramdisk} {
			if id != "" {
				images[i.Properties[property]] = id
			}
		}
	}
	flavor, err := a.typeNamed(ctx, who, in.Type)
	if err != nil {
		return r, err
	}
	r.FlavorID = flavor.ID
	if err := checkDevices(in.Devices, flavor); err != nil {
		return r, err
	}
	if in.KeyName != "" {
		if _, err := a.store.KeyPair(ctx, who.UserID, in.KeyName); err != nil {
			if fault.Is(err, fault.NotFound) {
				err = refuse(keyAbsent, "The key pair '%s' does not exist", in.KeyName)
			}
			return r, err
		}
		r.KeyName = in.KeyName
	}
	for _, s := range in.Tags {
		if s.Type != "instance" {
			return r, unsupported("%s cannot be tagged: tags are instances' here", s.Type)
		}
		if r.Metadata != nil {
			return r, invalid("Tag specification resource type 'instance' is there more than once")
		}
		if r.Metadata, err = metadataOf(s.Tags); err != nil {
			return r, err
		}
	}
	r.Name = r.Metadata[nameTag]
	if r.Hints, err = a.together(ctx, who, in.Placement.Group); err != nil {
		return r, err
	}
	r.NICs, err = a.nics(ctx, who, in)
	return r, err
}

// typeNamed is the flavor that an instance type is.
func (a *API) typeNamed(ctx context.Context, who asker, name string) (models.Flavor, error) {
	flavor, err := a.asking(who).FlavorNamed(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return flavor, invalid("Invalid value '%s' for InstanceType.", name)
	}
	return flavor, err
}

// together is the hint that says which of the project's server groups an instance is placed in, by its name; "" is none.
func (a *API) together(ctx context.Context, who asker, name string) (hints map[string]any, err error) {
	if name == "" {
		return nil, nil
	}
	groups, err := a.asking(who).Groups(ctx, false, 0, 0)
	if err != nil {
		return nil, err
	}
	groups = slices.DeleteFunc(groups, func(g models.ServerGroup) bool { return g.Name != name })
	switch len(groups) {
	case 0:
		return nil, refuse("InvalidPlacementGroup.Unknown", "The Placement Group '%s' is unknown.", name)
	case 1:
		return map[string]any{"group": groups[0].ID}, nil
	}
	return nil, invalid("There are several server groups of the name %s", name)
}

// check refuses what would be a lie, and what no service has a word for.
func (in runInstances) check() error {
	switch {
	case in.Min < 1:
		return invalid("Value (%d) for parameter minCount is invalid. It has to be at least 1.", in.Min)
	case in.Max < in.Min:
		return invalid("Value (%d) for parameter maxCount is invalid. It has to be at least minCount, which is %d.", in.Max, in.Min)
	case len(in.UserData) > maxUserData:
		return invalid("User data is limited to %d bytes", maxUserData)
	case in.Placement.Tenancy != "" && in.Placement.Tenancy != "default":
		return unsupported("Tenancy %s is not supported: instances share hosts", in.Placement.Tenancy)
	case in.AtShutdown != "" && in.AtShutdown != atShutdownStop && in.AtShutdown != atShutdownTerminate:
		return invalid("Value (%s) for parameter instanceInitiatedShutdownBehavior is invalid. It is stop or terminate.", in.AtShutdown)
	case in.Unstopped:
		return unsupported("DisableApiStop is not supported: whoever may stop instances may stop this one")
	case in.Optimized:
		return unsupported("EbsOptimized is not supported: there are no volumes")
	case in.Monitoring.Enabled:
		return unsupported("Detailed monitoring is not supported")
	}
	return nil
}

// checkDevices holds that an instance has the disks that it maps. They are its type's, by their kinds: what a guest calls them the
// guest decides.
func checkDevices(devices []runDevice, f models.Flavor) error {
	for _, d := range devices {
		switch {
		case d.EBS != nil:
			return unsupported("There are no volumes here: %s cannot be one. An instance's disks are its type's", d.Name)
		case d.NoDevice != nil:
			return unsupported("NoDevice is not supported: an instance has the disks of its type")
		case d.Name == "":
			return missing("BlockDeviceMapping.DeviceName")
		case d.Virtual == "ephemeral0" && f.EphemeralGiB > 0, d.Virtual == "swap" && f.SwapMiB > 0:
		case d.Virtual == "":
			return refuse(badDevices, "The device %s is mapped to nothing", d.Name)
		default:
			return refuse(badDevices, "%s has no %s to map to %s", f.Name, d.Virtual, d.Name)
		}
	}
	return nil
}

// nics are an instance's network interfaces: those that it lists, the one on the subnet that it names, or the only one that it can have.
func (a *API) nics(ctx context.Context, who asker, in runInstances) (servers.NICs, error) {
	if err := a.checkGroups(who, in.Groups, in.GroupIDs); err != nil {
		return servers.NICs{}, err
	}
	if len(in.NICs) == 0 {
		if in.Subnet == "" && in.PrivateIP == "" {
			return servers.NICs{}, nil
		}
		nic, err := a.nic(ctx, who, in.Subnet, in.PrivateIP)
		return servers.NICs{Named: []servers.NIC{nic}}, err
	}
	if in.Subnet != "" || in.PrivateIP != "" || len(in.Groups)+len(in.GroupIDs) > 0 {
		return servers.NICs{}, refuse(badCombination, "Network interfaces and an instance-level subnet ID, address or security groups may not be specified on the same request")
	}
	var nics servers.NICs
	slices.SortStableFunc(in.NICs, func(x, y runInterface) int { return x.Index - y.Index })
	for n, asked := range in.NICs {
		if asked.Index != n {
			return nics, invalid("The DeviceIndex of network interfaces counts from 0: there is none with %d, or there are two with one", n)
		}
		nic, err := a.asked(ctx, who, asked)
		if err != nil {
			return nics, err
		}
		nics.Named = append(nics.Named, nic)
	}
	return nics, nil
}

// asked is one of the interfaces that a request lists.
func (a *API) asked(ctx context.Context, who asker, asked runInterface) (servers.NIC, error) {
	switch made := asked.ID == ""; {
	case asked.Public:
		return servers.NIC{}, unsupported("AssociatePublicIpAddress is not supported: there are no public addresses")
	case asked.Type != "" && asked.Type != "interface":
		return servers.NIC{}, unsupported("InterfaceType %s is not supported", asked.Type)
	case asked.Card != 0:
		return servers.NIC{}, unsupported("NetworkCardIndex %d is not supported", asked.Card)
	case asked.Deleted != nil && *asked.Deleted != made:
		return servers.NIC{}, unsupported("DeleteOnTermination is true of interfaces that are made with an instance, and false of others")
	case made:
		if err := a.checkGroups(who, nil, asked.GroupIDs); err != nil {
			return servers.NIC{}, err
		}
		return a.nic(ctx, who, asked.Subnet, asked.PrivateIP)
	case asked.Subnet != "" || asked.PrivateIP != "" || len(asked.GroupIDs) > 0:
		return servers.NIC{}, refuse(badCombination, "A network interface may not specify a network interface ID and a subnet, address or security groups")
	}
	id, err := a.one(ctx, ids.EC2Interface, asked.ID)
	if err != nil {
		return servers.NIC{}, err
	}
	p, err := a.wiring(who).Port(ctx, id)
	switch {
	case fault.Is(err, fault.NotFound):
		return servers.NIC{}, ids.NoEC2(ids.EC2Interface, asked.ID)
	case err != nil:
		return servers.NIC{}, err
	case p.ServerID != nil:
		return servers.NIC{}, refuse("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", asked.ID)
	}
	return servers.NIC{PortID: id}, nil
}

// nic is on the network of a subnet, or on the only one there is. The address says which subnet it is of: without one the network
// gives one of each IP version, so no other subnet of that version may be there.
func (a *API) nic(ctx context.Context, who asker, subnetID, address string) (servers.NIC, error) {
	var nic servers.NIC
	if address != "" {
		ip, err := netip.ParseAddr(address)
		if err != nil || ip.Zone() != "" {
			return nic, refuse("InvalidParameterValue", "Value (%s) for parameter address is invalid. Invalid IPv4 address", address)
		}
		nic.FixedIP = ip
	}
	wiring := a.wiring(who)
	if subnetID == "" {
		found, err := wiring.Networks(ctx, models.NetworkFilter{Limit: 2})
		if err != nil {
			return nic, err
		}
		if len(found) != 1 {
			return nic, missing("SubnetId")
		}
		nic.NetworkID = found[0].ID
		return nic, nil
	}
	id, err := a.one(ctx, ids.EC2Subnet, subnetID)
	if err != nil {
		return nic, err
	}
	subnet, err := wiring.Subnet(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nic, ids.NoEC2(ids.EC2Subnet, subnetID)
	}
	if err != nil {
		return nic, err
	}
	network, err := wiring.Network(ctx, subnet.NetworkID)
	if err != nil {
		return nic, fmt.Errorf("read the network of subnet %s: %w", id, err)
	}
	nic.NetworkID = network.ID
	cidr, err := netip.ParsePrefix(subnet.CIDR)
	switch {
	case err != nil:
		return nic, fmt.Errorf("read subnet %s: %w", id, err)
	case nic.FixedIP.IsValid() && !cidr.Contains(nic.FixedIP):
		return nic, invalid("Address %s does not fall within the subnet's address range", address)
	case !nic.FixedIP.IsValid() && slices.ContainsFunc(network.Subnets, func(s models.Subnet) bool {
		other, err := netip.ParsePrefix(s.CIDR)
		return s.ID != id && err == nil && other.Addr().Is4() == cidr.Addr().Is4()
	}):
		return nic, unsupported("The VPC of %s has other subnets, and an address could be any of theirs: specify a PrivateIpAddress", subnetID)
	}
	return nic, nil
}

// checkGroups lets the one security group through that a project has.
func (a *API) checkGroups(who asker, names, groupIDs []string) error {
	groups := defaultGroup(who.ProjectID)
	for _, id := range groupIDs {
		if _, err := ids.ParseEC2(ids.EC2SecurityGroup, id); err != nil {
			return err
		}
	}
	if err := allFound(ids.EC2SecurityGroup, groupIDs, groups, func(g groupItem) string { return g.ID }); err != nil {
		return err
	}
	return allFound(ids.EC2SecurityGroup, names, groups, func(g groupItem) string { return g.Name })
}

var runActions = []action{
	does("RunInstances", (*API).runInstances),
}
