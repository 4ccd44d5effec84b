package ec2

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

// callerIdentity is the answer of STS, whose things stand in an element of their own.
type callerIdentity struct {
	Namespace string `xml:"xmlns,attr"`
	ARN       string `xml:"GetCallerIdentityResult>Arn"`
	UserID    string `xml:"GetCallerIdentityResult>UserId"`
	Account   string `xml:"GetCallerIdentityResult>Account"`
	RequestID string `xml:"ResponseMetadata>RequestId"`
}

func (i *callerIdentity) begin(namespace, requestID string) {
	i.Namespace, i.RequestID = namespace, requestID
}

// getCallerIdentity is the one call of STS that is answered: packer, Terraform and others ask first who they are. An account is a
// project.
func getCallerIdentity(_ *API, _ context.Context, who asker, values url.Values, _ bool) (answer, error) {
	for name := range values {
		return nil, unknown(name)
	}
	return &callerIdentity{
		ARN: fmt.Sprintf("arn:aws:iam::%s:user/%s", who.ProjectID, who.UserID), UserID: who.UserID, Account: who.ProjectID,
	}, nil
}

type describeRegions struct {
	Names []string `ec2:"RegionName"`
	All   bool     `ec2:"AllRegions"`
	filtered
}

type regionItem struct {
	Name     string `xml:"regionName"`
	Endpoint string `xml:"regionEndpoint"`
	OptIn    string `xml:"optInStatus"`
}

type describedRegions struct {
	head
	Regions set[regionItem] `xml:"regionInfo"`
}

const noOptIn = "opt-in-not-required"

func (a *API) describeRegions(_ context.Context, who asker, in describeRegions) (*describedRegions, error) {
	for _, name := range in.Names {
		if name != rest.Region {
			return nil, invalid("Invalid region names provided: %s", name)
		}
	}
	regions, err := sift([]regionItem{{rest.Region, who.endpoint, noOptIn}}, in.Filters, attributes[regionItem]{
		"region-name":   is(func(r regionItem) string { return r.Name }),
		"endpoint":      is(func(r regionItem) string { return r.Endpoint }),
		"opt-in-status": is(func(r regionItem) string { return r.OptIn }),
	})
	return &describedRegions{Regions: regions}, err
}

type describeZones struct {
	Names []string `ec2:"ZoneName"`
	IDs   []string `ec2:"ZoneId"`
	All   bool     `ec2:"AllAvailabilityZones"`
	filtered
}

type zoneItem struct {
	Name     string        `xml:"zoneName"`
	State    string        `xml:"zoneState"`
	Region   string        `xml:"regionName"`
	ID       string        `xml:"zoneId"`
	Group    string        `xml:"groupName"`
	Border   string        `xml:"networkBorderGroup"`
	Type     string        `xml:"zoneType"`
	OptIn    string        `xml:"optInStatus"`
	Messages set[struct{}] `xml:"messageSet"`
}

type describedZones struct {
	head
	Zones set[zoneItem] `xml:"availabilityZoneInfo"`
}

func (a *API) describeZones(ctx context.Context, _ asker, in describeZones) (*describedZones, error) {
	zones, err := a.servers.Zones(ctx)
	if err != nil {
		return nil, err
	}
	named := slices.Concat(in.Names, in.IDs)
	for _, name := range named {
		if !slices.ContainsFunc(zones, func(z servers.Zone) bool { return z.Name == name }) {
			return nil, invalid("Invalid availability zone: [%s]", name)
		}
	}
	var items []zoneItem
	for _, z := range zones {
		if len(named) > 0 && !slices.Contains(named, z.Name) {
			continue
		}
		item := zoneItem{
			Name: z.Name, State: "unavailable", Region: rest.Region, ID: z.Name, Group: rest.Region, Border: rest.Region,
			Type: "availability-zone", OptIn: noOptIn,
		}
		if z.Available {
			item.State = "available"
		}
		items = append(items, item)
	}
	items, err = sift(items, in.Filters, attributes[zoneItem]{
		"zone-name":     is(func(z zoneItem) string { return z.Name }),
		"zone-id":       is(func(z zoneItem) string { return z.ID }),
		"zone-type":     is(func(z zoneItem) string { return z.Type }),
		"state":         is(func(z zoneItem) string { return z.State }),
		"region-name":   is(func(z zoneItem) string { return z.Region }),
		"group-name":    is(func(z zoneItem) string { return z.Group }),
		"opt-in-status": is(func(z zoneItem) string { return z.OptIn }),
	})
	return &describedZones{Zones: items}, err
}

type describeAccount struct {
	Names []string `ec2:"AttributeName"`
}

type accountItem struct {
	Name   string         `xml:"attributeName"`
	Values set[valueItem] `xml:"attributeValueSet"`
}

type valueItem struct {
	Value string `xml:"attributeValue"`
}

type describedAccount struct {
	head
	Attributes set[accountItem] `xml:"accountAttributeSet"`
}

// describeAccount tells what a project may have, as EC2 tells it of an account. Without a limit it is the most that the number holds.
func (a *API) describeAccount(ctx context.Context, who asker, in describeAccount) (*describedAccount, error) {
	quota, err := a.servers.Quota(ctx, who.ProjectID)
	if err != nil {
		return nil, err
	}
	instances := quota.Instances
	if instances < 0 {
		instances = 1<<31 - 1
	}
	attributes := []accountItem{
		{"supported-platforms", set[valueItem]{{"VPC"}}},
		{"default-vpc", set[valueItem]{{"none"}}},
		{"max-instances", set[valueItem]{{strconv.Itoa(instances)}}},
		{"max-elastic-ips", set[valueItem]{{"0"}}},
		{"vpc-max-elastic-ips", set[valueItem]{{"0"}}},
		{"vpc-max-security-groups-per-interface", set[valueItem]{{"1"}}},
	}
	for _, name := range in.Names {
		if !slices.ContainsFunc(attributes, func(i accountItem) bool { return i.Name == name }) {
			return nil, invalid("Invalid account attribute name: %s", name)
		}
	}
	said := &describedAccount{}
	for _, i := range attributes {
		if len(in.Names) == 0 || slices.Contains(in.Names, i.Name) {
			said.Attributes = append(said.Attributes, i)
		}
	}
	return said, nil
}

var accountActions = []action{
	{name: "GetCallerIdentity", protocol: stsProtocol, takes: struct{}{}, run: getCallerIdentity},
	does("DescribeAccountAttributes", (*API).describeAccount),
	does("DescribeAvailabilityZones", (*API).describeZones),
	does("DescribeRegions", (*API).describeRegions),
}
