package ec2

import (
	"context"
	"time"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/internal/service/servers"
)

type describeInstanceAttribute struct {
	ID        string `ec2:"InstanceId,required"`
	Attribute string `ec2:"Attribute,required"`
}

type flagItem struct {
	Value bool `xml:"value"`
}

type describedInstanceAttribute struct {
	head
	ID         string          `xml:"instanceId"`
	Type       *textItem       `xml:"instanceType,omitempty"`
	Kernel     *textItem       `xml:"kernel,omitempty"`
	Ramdisk    *textItem       `xml:"ramdisk,omitempty"`
	RootDevice *textItem       `xml:"rootDeviceName,omitempty"`
	AtShutdown *textItem       `xml:"instanceInitiatedShutdownBehavior,omitempty"`
	Protected  *flagItem       `xml:"disableApiTermination,omitempty"`
	Unstopped  *flagItem       `xml:"disableApiStop,omitempty"`
	Optimized  *flagItem       `xml:"ebsOptimized,omitempty"`
	Groups     *set[groupItem] `xml:"groupSet,omitempty"`
	Devices    *set[struct{}]  `xml:"blockDeviceMapping,omitempty"`
	Codes      *set[struct{}]  `xml:"productCodes,omitempty"`
}

// describeInstanceAttribute tells one of an instance. User data is sealed with what a build knew, and not told again.
func (a *API) describeInstanceAttribute(ctx context.Context, who asker, in describeInstanceAttribute) (*describedInstanceAttribute, error) {
	found, err := a.instances(ctx, who, []string{in.ID}, nil)
	if err != nil {
		return nil, err
	}
	i := found[0]
	said := &describedInstanceAttribute{ID: i.id}
	switch in.Attribute {
	case "instanceType":
		said.Type = &textItem{i.server.Flavor.Name}
	case "kernel":
		said.Kernel = &textItem{i.kernel}
	case "ramdisk":
		said.Ramdisk = &textItem{i.ramdisk}
	case "rootDeviceName":
		said.RootDevice = &textItem{i.server.RootDeviceName}
	case "instanceInitiatedShutdownBehavior":
		said.AtShutdown = &textItem{atShutdownStop}
		if i.server.EndsAtShutdown {
			said.AtShutdown = &textItem{atShutdownTerminate}
		}
	case "disableApiTermination":
		said.Protected = &flagItem{i.server.Protected}
	case "disableApiStop":
		said.Unstopped = &flagItem{}
	case "ebsOptimized":
		said.Optimized = &flagItem{}
	case "groupSet":
		groups := i.item().Groups
		said.Groups = &groups
	case "blockDeviceMapping":
		said.Devices = &set[struct{}]{}
	case "productCodes":
		said.Codes = &set[struct{}]{}
	default:
		return nil, unsupported("The attribute %s of an instance is not supported", in.Attribute)
	}
	return said, nil
}

type textValue struct {
	Value string `ec2:"Value"`
}

type flagValue struct {
	Value bool `ec2:"Value"`
}

type modifyInstanceAttribute struct {
	ID        string     `ec2:"InstanceId,required"`
	Groups    []string   `ec2:"GroupId"`
	Protected *flagValue `ec2:"DisableApiTermination"`
	Unstopped *flagValue `ec2:"DisableApiStop"`
	Optimized *flagValue `ec2:"EbsOptimized"`
	Shutdown  *textValue `ec2:"InstanceInitiatedShutdownBehavior"`
	Type      *textValue `ec2:"InstanceType"`
	// Attribute and Value are another way to say one of these (aws ec2 modify-instance-attribute --attribute).
	Attribute string  `ec2:"Attribute"`
	Value     *string `ec2:"Value"`

	Devices  refused `ec2:"BlockDeviceMapping" why:"there are no volumes"`
	ENA      refused `ec2:"EnaSupport" why:"which network device a guest sees is its image's"`
	Kernel   refused `ec2:"Kernel" why:"an instance keeps its kernel"`
	Ramdisk  refused `ec2:"Ramdisk" why:"an instance keeps its ramdisk"`
	Source   refused `ec2:"SourceDestCheck" why:"what an interface may send is its network's matter"`
	SRIOV    refused `ec2:"SriovNetSupport" why:"which network device a guest sees is its image's"`
	UserData refused `ec2:"UserData" why:"a guest was told its user data when it was built"`
}

// typePatience is how long an instance that becomes another type is waited for: a request has a minute.
const typePatience = 45 * time.Second

// modifyInstanceAttribute changes whether an instance may be terminated, what becomes of one that shuts itself down, and the type of one that is stopped, which has it when this is
// answered. Of the rest it accepts what is so already, and refuses what would not be.
func (a *API) modifyInstanceAttribute(ctx context.Context, who asker, in modifyInstanceAttribute) (*done, error) {
	found, err := a.instances(ctx, who, []string{in.ID}, nil)
	if err != nil {
		return nil, err
	}
	if err := in.spell(); err != nil {
		return nil, err
	}
	is := runInstances{Min: 1, Max: 1}
	if in.Unstopped != nil {
		is.Unstopped = in.Unstopped.Value
	}
	if in.Optimized != nil {
		is.Optimized = in.Optimized.Value
	}
	if in.Shutdown != nil {
		is.AtShutdown = in.Shutdown.Value
		if is.AtShutdown == "" {
			return nil, missing("InstanceInitiatedShutdownBehavior.Value")
		}
	}
	if err := is.check(); err != nil {
		return nil, err
	}
	if err := a.checkGroups(who, nil, in.Groups); err != nil {
		return nil, err
	}
	if in.Type != nil {
		flavor, err := a.typeNamed(ctx, who, in.Type.Value)
		if err != nil {
			return nil, err
		}
		if err := a.asking(who).Become(ctx, found[0].server, row("resize"), row("confirmResize"), flavor.ID, typePatience); err != nil {
			return nil, inState(err)
		}
	}
	var update servers.Update
	if in.Protected != nil {
		update.Protected = &in.Protected.Value
	}
	if in.Shutdown != nil {
		update.EndsAtShutdown = new(in.Shutdown.Value == atShutdownTerminate)
	}
	if update != (servers.Update{}) {
		if err := a.describe(ctx, who, found[0], update); err != nil {
			return nil, err
		}
	}
	return isDone(), nil
}

// spell makes what Attribute and Value say the parameter that says it too.
func (in *modifyInstanceAttribute) spell() error {
	if in.Attribute == "" && in.Value == nil {
		return nil
	}
	if in.Attribute == "" {
		return missing("Attribute")
	}
	texts := map[string]**textValue{"instanceType": &in.Type, "instanceInitiatedShutdownBehavior": &in.Shutdown}
	flags := map[string]**flagValue{"disableApiTermination": &in.Protected, "disableApiStop": &in.Unstopped, "ebsOptimized": &in.Optimized}
	text, isText := texts[in.Attribute]
	flag, isFlag := flags[in.Attribute]
	switch {
	case !isText && !isFlag:
		return unsupported("The attribute %s of an instance cannot be changed by a value", in.Attribute)
	case in.Value == nil:
		return missing("Value")
	case isText && *text != nil, isFlag && *flag != nil:
		return refuse(badCombination, "The attribute %s is said twice", in.Attribute)
	case isText:
		*text = &textValue{*in.Value}
		return nil
	}
	value, err := boolean("Value", *in.Value)
	*flag = &flagValue{value}
	return err
}

// describe changes what is said of an instance that is there.
func (a *API) describe(ctx context.Context, who asker, i instance, u servers.Update) error {
	_, err := a.asking(who).Update(ctx, i.server, u)
	if fault.Is(err, fault.NotFound) {
		return ids.NoEC2(ids.EC2Instance, i.id)
	}
	return err
}

var attributeActions = []action{
	does("DescribeInstanceAttribute", (*API).describeInstanceAttribute),
	does("ModifyInstanceAttribute", (*API).modifyInstanceAttribute),
}
