package ec2

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/slipway-cloud/slipway/internal/auth"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/ipam"
	"github.com/slipway-cloud/slipway/internal/service/networks"
	"github.com/slipway-cloud/slipway/models"
)

// EC2's words for what there is of networks: a network is a VPC, its subnets are that VPC's, a port is a network interface.

// wiring is the network service for whoever asks. An account is a project: also an admin sees its own networks and those that are
// shared, and no others.
func (a *API) wiring(who asker) *networks.Repository {
	caller := who.Caller.Caller
	if caller.Admin() {
		caller.Roles = []string{auth.RoleMember}
	}
	return a.networks.For(caller)
}

// inside are networks that instances can be on: no external ones.
var inside = []models.Match{{Key: "router:external", Values: []string{"false"}}}

type describeVPCs struct {
	IDs []string `ec2:"VpcId"`
	paged
}

type vpcItem struct {
	ID      string        `xml:"vpcId"`
	Owner   string        `xml:"ownerId"`
	State   string        `xml:"state"`
	CIDR    string        `xml:"cidrBlock"`
	CIDRs   set[cidrItem] `xml:"cidrBlockAssociationSet"`
	Default bool          `xml:"isDefault"`
	Tenancy string        `xml:"instanceTenancy"`
	Tags    set[tagItem]  `xml:"tagSet"`
}

type cidrItem struct {
	CIDR  string `xml:"cidrBlock"`
	State string `xml:"cidrBlockState>state"`
}

type describedVPCs struct {
	head
	VPCs      set[vpcItem] `xml:"vpcSet"`
	NextToken string       `xml:"nextToken,omitempty"`
}

func (a *API) describeVPCs(ctx context.Context, who asker, in describeVPCs) (*describedVPCs, error) {
	f := models.NetworkFilter{Match: inside}
	var err error
	if len(in.IDs) > 0 {
		if f.IDs, err = a.resolve(ctx, ids.EC2VPC, in.IDs); err != nil {
			return nil, err
		}
	}
	found, err := a.wiring(who).Networks(ctx, f)
	if err != nil {
		return nil, err
	}
	var all []vpcItem
	for _, n := range found {
		all = append(all, vpcOf(n))
	}
	if err := allFound(ids.EC2VPC, in.IDs, all, func(v vpcItem) string { return v.ID }); err != nil {
		return nil, err
	}
	all, err = sift(all, in.Filters, attributes[vpcItem]{
		"vpc-id":     is(func(v vpcItem) string { return v.ID }),
		"owner-id":   is(func(v vpcItem) string { return v.Owner }),
		"state":      is(func(v vpcItem) string { return v.State }),
		"cidr":       is(func(v vpcItem) string { return v.CIDR }),
		"cidr-block": is(func(v vpcItem) string { return v.CIDR }),
		"isDefault":  constant[vpcItem]("false"),
		"is-default": constant[vpcItem]("false"),
		"tag:":       func(v vpcItem, key string) []string { return tagged(v.Tags, key) },
		"tag-key":    func(v vpcItem, _ string) []string { return tagKeys(v.Tags) },
	})
	if err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, len(in.IDs) > 0, func(v vpcItem) string { return v.ID })
	return &describedVPCs{VPCs: all, NextToken: next}, err
}

func vpcOf(n models.Network) vpcItem {
	v := vpcItem{ID: ids.EC2(ids.EC2VPC, n.ID), Owner: n.ProjectID, State: "available", Tenancy: "default", Tags: named(n.Name)}
	for _, s := range n.Subnets {
		if v.CIDR == "" {
			v.CIDR = s.CIDR
		}
		v.CIDRs = append(v.CIDRs, cidrItem{s.CIDR, "associated"})
	}
	return v
}

// named is a thing's name as EC2's users know it.
func named(name string) set[tagItem] {
	if name == "" {
		return nil
	}
	return set[tagItem]{{nameTag, name}}
}

type describeSubnets struct {
	IDs []string `ec2:"SubnetId"`
	paged
}

type subnetItem struct {
	ID        string       `xml:"subnetId"`
	VPC       string       `xml:"vpcId"`
	Owner     string       `xml:"ownerId"`
	State     string       `xml:"state"`
	CIDR      string       `xml:"cidrBlock"`
	Available int          `xml:"availableIpAddressCount"`
	Default   bool         `xml:"defaultForAz"`
	Public    bool         `xml:"mapPublicIpOnLaunch"`
	Tags      set[tagItem] `xml:"tagSet"`
}

type describedSubnets struct {
	head
	Subnets   set[subnetItem] `xml:"subnetSet"`
	NextToken string          `xml:"nextToken,omitempty"`
}

func (a *API) describeSubnets(ctx context.Context, who asker, in describeSubnets) (*describedSubnets, error) {
	f := models.SubnetFilter{Match: inside}
	var err error
	if len(in.IDs) > 0 {
		if f.IDs, err = a.resolve(ctx, ids.EC2Subnet, in.IDs); err != nil {
			return nil, err
		}
	}
	found, err := a.wiring(who).Subnets(ctx, f)
	if err != nil {
		return nil, err
	}
	taken, err := a.addressesTaken(ctx, found)
	if err != nil {
		return nil, err
	}
	var all []subnetItem
	for _, s := range found {
		all = append(all, subnetItem{
			ID: ids.EC2(ids.EC2Subnet, s.ID), VPC: ids.EC2(ids.EC2VPC, s.NetworkID), Owner: s.ProjectID, State: "available", CIDR: s.CIDR,
			Available: max(poolSize(s)-taken[s.ID], 0), Tags: named(s.Name),
		})
	}
	if err := allFound(ids.EC2Subnet, in.IDs, all, func(s subnetItem) string { return s.ID }); err != nil {
		return nil, err
	}
	all, err = sift(all, in.Filters, attributes[subnetItem]{
		"subnet-id":               is(func(s subnetItem) string { return s.ID }),
		"vpc-id":                  is(func(s subnetItem) string { return s.VPC }),
		"owner-id":                is(func(s subnetItem) string { return s.Owner }),
		"state":                   is(func(s subnetItem) string { return s.State }),
		"cidr":                    is(func(s subnetItem) string { return s.CIDR }),
		"cidr-block":              is(func(s subnetItem) string { return s.CIDR }),
		"cidrBlock":               is(func(s subnetItem) string { return s.CIDR }),
		"default-for-az":          constant[subnetItem]("false"),
		"defaultForAz":            constant[subnetItem]("false"),
		"map-public-ip-on-launch": constant[subnetItem]("false"),
		"tag:":                    func(s subnetItem, key string) []string { return tagged(s.Tags, key) },
		"tag-key":                 func(s subnetItem, _ string) []string { return tagKeys(s.Tags) },
	})
	if err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, len(in.IDs) > 0, func(s subnetItem) string { return s.ID })
	return &describedSubnets{Subnets: all, NextToken: next}, err
}

// addressesTaken counts the addresses of subnets that somebody has.
func (a *API) addressesTaken(ctx context.Context, subnets []models.Subnet) (map[string]int, error) {
	taken := map[string]int{}
	if len(subnets) == 0 {
		return taken, nil
	}
	var f models.PortFilter
	for _, s := range subnets {
		f.SubnetIDs = append(f.SubnetIDs, s.ID)
	}
	ports, err := a.store.ListPorts(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("list the ports of %d subnets: %w", len(subnets), err)
	}
	for _, p := range ports {
		for _, ip := range p.FixedIPs {
			taken[ip.SubnetID]++
		}
	}
	return taken, nil
}

// poolSize is how many addresses a subnet gives, as far as a client can count.
func poolSize(s models.Subnet) int {
	all := 0
	for _, p := range s.Pools {
		all = min(all+addressesOf(p), mostAddresses)
	}
	return all
}

const mostAddresses = 1<<31 - 1

func addressesOf(p ipam.Pool) int {
	first, err := netip.ParseAddr(p.Start)
	if err != nil {
		return 0
	}
	last, err := netip.ParseAddr(p.End)
	if err != nil {
		return 0
	}
	n := 0
	x, y := first.As16(), last.As16()
	for i := range x {
		n = n*256 + int(y[i]) - int(x[i])
		if n > mostAddresses/256 && i < len(x)-1 {
			return mostAddresses
		}
	}
	return n + 1
}

type describeInterfaces struct {
	IDs []string `ec2:"NetworkInterfaceId"`
	paged
}

type interfaceItem struct {
	ID          string               `xml:"networkInterfaceId"`
	Subnet      string               `xml:"subnetId,omitempty"`
	VPC         string               `xml:"vpcId"`
	Description string               `xml:"description"`
	Owner       string               `xml:"ownerId"`
	Managed     bool                 `xml:"requesterManaged"`
	Status      string               `xml:"status"`
	MAC         string               `xml:"macAddress"`
	IP          string               `xml:"privateIpAddress,omitempty"`
	Groups      set[groupItem]       `xml:"groupSet"`
	Attachment  *interfaceAttachment `xml:"attachment,omitempty"`
	IPs         set[privateIPItem]   `xml:"privateIpAddressesSet"`
	IPv6s       set[ipv6Item]        `xml:"ipv6AddressesSet"`
	Type        string               `xml:"interfaceType"`
	Tags        set[tagItem]         `xml:"tagSet"`
}

type interfaceAttachment struct {
	Instance string `xml:"instanceId"`
	Owner    string `xml:"instanceOwnerId"`
	attachmentItem
}

type describedInterfaces struct {
	head
	Interfaces set[interfaceItem] `xml:"networkInterfaceSet"`
	NextToken  string             `xml:"nextToken,omitempty"`
}

func (a *API) describeInterfaces(ctx context.Context, who asker, in describeInterfaces) (*describedInterfaces, error) {
	f := models.PortFilter{ProjectID: who.ProjectID}
	var err error
	if len(in.IDs) > 0 {
		if f.IDs, err = a.resolve(ctx, ids.EC2Interface, in.IDs); err != nil {
			return nil, err
		}
	}
	found, err := a.wiring(who).Ports(ctx, f)
	if err != nil {
		return nil, err
	}
	var all []interfaceItem
	for _, p := range found {
		all = append(all, interfaceOf(p.Port))
	}
	if err := allFound(ids.EC2Interface, in.IDs, all, func(i interfaceItem) string { return i.ID }); err != nil {
		return nil, err
	}
	all, err = sift(all, in.Filters, attributes[interfaceItem]{
		"network-interface-id": is(func(i interfaceItem) string { return i.ID }),
		"subnet-id":            is(func(i interfaceItem) string { return i.Subnet }),
		"vpc-id":               is(func(i interfaceItem) string { return i.VPC }),
		"owner-id":             is(func(i interfaceItem) string { return i.Owner }),
		"status":               is(func(i interfaceItem) string { return i.Status }),
		"mac-address":          is(func(i interfaceItem) string { return i.MAC }),
		"private-ip-address":   is(func(i interfaceItem) string { return i.IP }),
		"description":          is(func(i interfaceItem) string { return i.Description }),
		"addresses.private-ip-address": func(i interfaceItem, _ string) (all []string) {
			for _, ip := range i.IPs {
				all = append(all, ip.IP)
			}
			return all
		},
		"attachment.instance-id": is(func(i interfaceItem) string { return orEmpty(i.Attachment).Instance }),
		"attachment.status":      is(func(i interfaceItem) string { return orEmpty(i.Attachment).Status }),
		"group-id":               groupsOf(func(i interfaceItem) set[groupItem] { return i.Groups }, func(g groupItem) string { return g.ID }),
		"group-name":             groupsOf(func(i interfaceItem) set[groupItem] { return i.Groups }, func(g groupItem) string { return g.Name }),
		"tag:":                   func(i interfaceItem, key string) []string { return tagged(i.Tags, key) },
		"tag-key":                func(i interfaceItem, _ string) []string { return tagKeys(i.Tags) },
	})
	if err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, len(in.IDs) > 0, func(i interfaceItem) string { return i.ID })
	return &describedInterfaces{Interfaces: all, NextToken: next}, err
}

func interfaceOf(p models.Port) interfaceItem {
	nic := attached(p)
	i := interfaceItem{
		ID: nic.ID, Subnet: nic.Subnet, VPC: nic.VPC, Description: p.Name, Owner: nic.Owner, Managed: p.MadeByBuild, Status: "available", MAC: nic.MAC,
		IP: nic.IP, Groups: nic.Groups, IPs: nic.IPs, IPv6s: nic.IPv6s, Type: "interface", Tags: named(p.Name),
	}
	if p.ServerID != nil {
		i.Status = nic.Status
		i.Attachment = &interfaceAttachment{Instance: ids.EC2(ids.EC2Instance, *p.ServerID), Owner: p.ProjectID, attachmentItem: nic.Attachment}
	}
	return i
}

type describeGroups struct {
	IDs   []string `ec2:"GroupId"`
	Names []string `ec2:"GroupName"`
	paged
}

type securityGroupItem struct {
	Owner       string        `xml:"ownerId"`
	ID          string        `xml:"groupId"`
	Name        string        `xml:"groupName"`
	Description string        `xml:"groupDescription"`
	In          set[struct{}] `xml:"ipPermissions"`
	Out         set[struct{}] `xml:"ipPermissionsEgress"`
	Tags        set[tagItem]  `xml:"tagSet"`
}

type describedGroups struct {
	head
	Groups    set[securityGroupItem] `xml:"securityGroupInfo"`
	NextToken string                 `xml:"nextToken,omitempty"`
}

func (a *API) describeGroups(ctx context.Context, who asker, in describeGroups) (*describedGroups, error) {
	var all []securityGroupItem
	groups, err := a.wiring(who).SecurityGroups(ctx, models.OwnedFilter{Match: []models.Match{{Key: "project_id", Values: []string{who.ProjectID}}}})
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		all = append(all, securityGroupItem{Owner: g.ProjectID, ID: ids.EC2(ids.EC2SecurityGroup, g.ID), Name: g.Name, Description: g.Description})
	}
	for _, id := range in.IDs {
		if _, err := ids.ParseEC2(ids.EC2SecurityGroup, id); err != nil {
			return nil, err
		}
	}
	if err := allFound(ids.EC2SecurityGroup, in.IDs, all, func(g securityGroupItem) string { return g.ID }); err != nil {
		return nil, err
	}
	if err := allFound(ids.EC2SecurityGroup, in.Names, all, func(g securityGroupItem) string { return g.Name }); err != nil {
		return nil, err
	}
	all, err = sift(all, in.Filters, attributes[securityGroupItem]{
		"group-id":    is(func(g securityGroupItem) string { return g.ID }),
		"group-name":  is(func(g securityGroupItem) string { return g.Name }),
		"description": is(func(g securityGroupItem) string { return g.Description }),
		"owner-id":    is(func(g securityGroupItem) string { return g.Owner }),
		"vpc-id":      func(securityGroupItem, string) []string { return nil },
		"tag:":        func(securityGroupItem, string) []string { return nil },
		"tag-key":     func(securityGroupItem, string) []string { return nil },
	})
	if err != nil {
		return nil, err
	}
	all, next, err := cut(all, in.paged, len(in.IDs)+len(in.Names) > 0, func(g securityGroupItem) string { return g.ID })
	return &describedGroups{Groups: all, NextToken: next}, err
}

var networkActions = []action{
	does("DescribeNetworkInterfaces", (*API).describeInterfaces),
	does("DescribeSecurityGroups", (*API).describeGroups),
	does("DescribeSubnets", (*API).describeSubnets),
	does("DescribeVpcs", (*API).describeVPCs),
}
