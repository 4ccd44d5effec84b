package policy

// EC2Path is where the EC2 API's actions are asked for.
const EC2Path = "/ec2"

// ec2Actions are the actions of the EC2 API with the least role that each asks of its signer, who signs with a key for one project.
var ec2Actions = []struct {
	name string
	who  Who
}{
	{"AllocateAddress", Member},
	{"AssociateAddress", Member},
	{"AttachNetworkInterface", Member},
	{"AttachVolume", Member},
	{"AuthorizeSecurityGroupEgress", Member},
	{"AuthorizeSecurityGroupIngress", Member},
	{"CopyImage", Member},
	{"CopySnapshot", Member},
	{"CreateImage", Member},
	{"CreateKeyPair", Member},
	{"CreateNetworkInterface", Member},
	{"CreateSecurityGroup", Member},
	{"CreateSnapshot", Member},
	{"CreateSnapshots", Member},
	{"CreateSubnet", Member},
	{"CreateTags", Member},
	{"CreateVolume", Member},
	{"CreateVpc", Member},
	{"DeleteKeyPair", Member},
	{"DeleteNetworkInterface", Member},
	{"DeleteSecurityGroup", Member},
	{"DeleteSnapshot", Member},
	{"DeleteSubnet", Member},
	{"DeleteTags", Member},
	{"DeleteVolume", Member},
	{"DeleteVpc", Member},
	{"DeregisterImage", Member},
	{"DescribeAccountAttributes", Project},
	{"DescribeAddresses", Project},
	{"DescribeAvailabilityZones", Project},
	{"DescribeImageAttribute", Project},
	{"DescribeImages", Project},
	{"DescribeInstanceAttribute", Project},
	{"DescribeInstanceStatus", Project},
	{"DescribeInstanceTypeOfferings", Project},
	{"DescribeInstanceTypes", Project},
	{"DescribeInstances", Project},
	{"DescribeKeyPairs", Project},
	{"DescribeNetworkInterfaces", Project},
	{"DescribeRegions", Project},
	{"DescribeSecurityGroupRules", Project},
	{"DescribeSecurityGroups", Project},
	{"DescribeSnapshots", Project},
	{"DescribeSubnets", Project},
	{"DescribeTags", Project},
	{"DescribeVolumeStatus", Project},
	{"DescribeVolumes", Project},
	{"DescribeVpcs", Project},
	{"DetachNetworkInterface", Member},
	{"DetachVolume", Member},
	{"DisassociateAddress", Member},
	{"EnableVolumeIO", Member},
	{"GetCallerIdentity", Project},
	{"GetConsoleOutput", Project},
	{"GetConsoleScreenshot", Project},
	{"GetPasswordData", Project},
	{"ImportImage", Member},
	{"ImportKeyPair", Member},
	{"ModifyImageAttribute", Member},
	{"ModifyInstanceAttribute", Member},
	{"ModifySnapshotAttribute", Member},
	{"ModifySubnetAttribute", Member},
	{"ModifyVolume", Member},
	{"ModifyVolumeAttribute", Member},
	{"ModifyVpcAttribute", Member},
	{"RebootInstances", Member},
	{"RegisterImage", Member},
	{"ReleaseAddress", Member},
	{"ReportInstanceStatus", Member},
	{"ResetImageAttribute", Member},
	{"ResetInstanceAttribute", Member},
	{"RevokeSecurityGroupEgress", Member},
	{"RevokeSecurityGroupIngress", Member},
	{"RunInstances", Member},
	{"StartInstances", Member},
	{"StopInstances", Member},
	{"TerminateInstances", Member},
}

// EC2 is the least role that an action of the EC2 API asks; "" for one that there is not.
func EC2(action string) Who {
	for _, a := range ec2Actions {
		if a.name == action {
			return a.who
		}
	}
	return ""
}

func ec2Routes() []Route {
	var all []Route
	for _, method := range []string{"GET", "POST"} {
		all = append(all, Route{Method: method, Path: EC2Path, Who: Signer, But: "by the action that the request names"})
	}
	for _, a := range ec2Actions {
		all = append(all, Route{Method: "POST", Path: EC2Path, Who: a.who, Action: a.name})
	}
	return all
}
