package ec2

import (
	"context"
	"slices"
	"strconv"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/models"
)

const invalidType ids.EC2Code = "InvalidInstanceType"

type describeTypes struct {
	Names []string `ec2:"InstanceType"`
	paged
}

type typeItem struct {
	Name           string       `xml:"instanceType"`
	Current        bool         `xml:"currentGeneration"`
	Free           bool         `xml:"freeTierEligible"`
	Usage          set[string]  `xml:"supportedUsageClasses"`
	RootDevices    set[string]  `xml:"supportedRootDeviceTypes"`
	Virtualization set[string]  `xml:"supportedVirtualizationTypes"`
	BareMetal      bool         `xml:"bareMetal"`
	Architectures  set[string]  `xml:"processorInfo>supportedArchitectures"`
	VCPUs          int          `xml:"vCpuInfo>defaultVCpus"`
	MemoryMiB      int          `xml:"memoryInfo>sizeInMiB"`
	Storage        bool         `xml:"instanceStorageSupported"`
	StorageInfo    *storageItem `xml:"instanceStorageInfo"`
	Hibernation    bool         `xml:"hibernationSupported"`
	Burstable      bool         `xml:"burstablePerformanceSupported"`
	Dedicated      bool         `xml:"dedicatedHostsSupported"`
	Recovery       bool         `xml:"autoRecoverySupported"`
}

type storageItem struct {
	TotalGB int           `xml:"totalSizeInGB"`
	Disks   set[diskItem] `xml:"disks"`
}

type diskItem struct {
	GB    int    `xml:"sizeInGB"`
	Count int    `xml:"count"`
	Type  string `xml:"type"`
}

type describedTypes struct {
	head
	Types     set[typeItem] `xml:"instanceTypeSet"`
	NextToken string        `xml:"nextToken,omitempty"`
}

// A type is a flavor, by its name.
func typeOf(f models.Flavor, architectures []string) typeItem {
	t := typeItem{
		Name: f.Name, Current: true, Usage: set[string]{"on-demand"}, RootDevices: set[string]{"instance-store"},
		Virtualization: set[string]{"hvm"}, Architectures: architectures, VCPUs: f.VCPUs, MemoryMiB: f.RAMMiB, Hibernation: true,
	}
	var disks set[diskItem]
	for _, gib := range []int{f.DiskGiB, f.EphemeralGiB} {
		if gib > 0 {
			disks = append(disks, diskItem{gib, 1, "hdd"})
		}
	}
	if len(disks) > 0 {
		t.Storage, t.StorageInfo = true, &storageItem{f.DiskGiB + f.EphemeralGiB, disks}
	}
	return t
}

func (a *API) describeTypes(ctx context.Context, who asker, in describeTypes) (*describedTypes, error) {
	zones, err := a.servers.Zones(ctx)
	if err != nil {
		return nil, err
	}
	var architectures []string
	for _, z := range zones {
		architectures = slices.Compact(slices.Sorted(slices.Values(append(architectures, z.Architectures...))))
	}
	flavors, err := a.flavors(ctx, who, in.Names)
	if err != nil {
		return nil, err
	}
	var types []typeItem
	for _, f := range flavors {
		types = append(types, typeOf(f, architectures))
	}
	types, err = sift(types, in.Filters, attributes[typeItem]{
		"instance-type":                         is(func(t typeItem) string { return t.Name }),
		"vcpu-info.default-vcpus":               is(func(t typeItem) string { return strconv.Itoa(t.VCPUs) }),
		"memory-info.size-in-mib":               is(func(t typeItem) string { return strconv.Itoa(t.MemoryMiB) }),
		"instance-storage-supported":            is(func(t typeItem) string { return strconv.FormatBool(t.Storage) }),
		"current-generation":                    constant[typeItem]("true"),
		"bare-metal":                            constant[typeItem]("false"),
		"free-tier-eligible":                    constant[typeItem]("false"),
		"hibernation-supported":                 constant[typeItem]("true"),
		"burstable-performance-supported":       constant[typeItem]("false"),
		"supported-usage-class":                 constant[typeItem]("on-demand"),
		"supported-root-device-type":            constant[typeItem]("instance-store"),
		"supported-virtualization-type":         constant[typeItem]("hvm"),
		"processor-info.supported-architecture": func(t typeItem, _ string) []string { return t.Architectures },
	})
	if err != nil {
		return nil, err
	}
	types, next, err := cut(types, in.paged, len(in.Names) > 0, func(t typeItem) string { return t.Name })
	return &describedTypes{Types: types, NextToken: next}, err
}

// flavors are those that the caller may have, of the names or all.
func (a *API) flavors(ctx context.Context, who asker, named []string) ([]models.Flavor, error) {
	flavors, err := a.asking(who).Flavors(ctx)
	if err != nil || len(named) == 0 {
		return flavors, err
	}
	for _, name := range named {
		if !slices.ContainsFunc(flavors, func(f models.Flavor) bool { return f.Name == name }) {
			return nil, refuse(invalidType, "The following supplied instance types do not exist: [%s]", name)
		}
	}
	return slices.DeleteFunc(flavors, func(f models.Flavor) bool { return !slices.Contains(named, f.Name) }), nil
}

type describeOfferings struct {
	By string `ec2:"LocationType"`
	paged
}

type offeringItem struct {
	Type     string `xml:"instanceType"`
	By       string `xml:"locationType"`
	Location string `xml:"location"`
}

type describedOfferings struct {
	head
	Offerings set[offeringItem] `xml:"instanceTypeOfferingSet"`
	NextToken string            `xml:"nextToken,omitempty"`
}

func (a *API) describeOfferings(ctx context.Context, who asker, in describeOfferings) (*describedOfferings, error) {
	flavors, err := a.flavors(ctx, who, nil)
	if err != nil {
		return nil, err
	}
	var locations []string
	switch in.By {
	case "", "region":
		in.By, locations = "region", []string{rest.Region}
	case "availability-zone", "availability-zone-id":
		zones, err := a.servers.Zones(ctx)
		if err != nil {
			return nil, err
		}
		for _, z := range zones {
			locations = append(locations, z.Name)
		}
	default:
		return nil, invalid("Value (%s) for parameter LocationType is invalid.", in.By)
	}
	var offerings []offeringItem
	for _, f := range flavors {
		for _, l := range locations {
			offerings = append(offerings, offeringItem{f.Name, in.By, l})
		}
	}
	offerings, err = sift(offerings, in.Filters, attributes[offeringItem]{
		"instance-type": is(func(o offeringItem) string { return o.Type }),
		"location":      is(func(o offeringItem) string { return o.Location }),
	})
	if err != nil {
		return nil, err
	}
	offerings, next, err := cut(offerings, in.paged, false, func(o offeringItem) string { return o.Type + "/" + o.Location })
	return &describedOfferings{Offerings: offerings, NextToken: next}, err
}

var typeActions = []action{
	does("DescribeInstanceTypeOfferings", (*API).describeOfferings),
	does("DescribeInstanceTypes", (*API).describeTypes),
}
