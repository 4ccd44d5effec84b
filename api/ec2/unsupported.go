package ec2

// unserved are actions of EC2 that its clients know, of what there is not here, each with the reason. All others are InvalidAction.
var unserved = []struct {
	why   string
	names []string
}{
	{"There are no volumes here: an instance's disks are its type's", []string{
		"AttachVolume", "CopySnapshot", "CreateSnapshot", "CreateSnapshots", "CreateVolume", "DeleteSnapshot", "DeleteVolume", "DescribeVolumeStatus",
		"DetachVolume", "EnableVolumeIO", "ModifySnapshotAttribute", "ModifyVolume", "ModifyVolumeAttribute",
	}},
	{"There are no floating addresses here yet", []string{
		"AllocateAddress", "AssociateAddress", "DescribeAddresses", "DisassociateAddress", "ReleaseAddress",
	}},
	{"Security groups are made and changed by the network API (/network/v2.0/security-groups)", []string{
		"AuthorizeSecurityGroupEgress", "AuthorizeSecurityGroupIngress", "CreateSecurityGroup", "DeleteSecurityGroup", "DescribeSecurityGroupRules",
		"RevokeSecurityGroupEgress", "RevokeSecurityGroupIngress",
	}},
	{"Networks are made and changed by the network API", []string{
		"CreateNetworkInterface", "CreateSubnet", "CreateVpc", "DeleteNetworkInterface", "DeleteSubnet", "DeleteVpc", "ModifySubnetAttribute", "ModifyVpcAttribute",
	}},
	{"An instance keeps the network interfaces that it was built with", []string{"AttachNetworkInterface", "DetachNetworkInterface"}},
	{"An image gets its bytes by the image API, or is made of an instance (CreateImage) or of an image (CopyImage, RegisterImage)", []string{"ImportImage"}},
}

func unservedActions() []action {
	var all []action
	for _, u := range unserved {
		for _, name := range u.names {
			all = append(all, refuses(name, u.why))
		}
	}
	return all
}
