package ec2

import (
	"context"
	"encoding/base64"
	"fmt"
	"image/jpeg"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/instanceactions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/models"
	"github.com/slipway-cloud/slipway/test/system"
)

// TestAmazonsSDK goes through an instance's life by the SDK and its waiters, and looks at the same servers through Nova's API.
func TestAmazonsSDK(t *testing.T) {
	r := start(t)
	ctx, c := t.Context(), r.sdk()
	nova := system.Compute(t, r.Demo())

	t.Run("one instance lives as its server does", func(t *testing.T) { r.life(t, c) })
	t.Run("a request for several is one reservation", func(t *testing.T) {
		ran, err := c.RunInstances(ctx, &ec2.RunInstancesInput{
			ImageId: &r.ami, InstanceType: "small", MinCount: new(int32(2)), MaxCount: new(int32(3)),
			TagSpecifications:     []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: new("Name"), Value: new("web")}, {Key: new("tier"), Value: new("front")}}}},
			DisableApiTermination: new(true),
		})
		require.NoError(t, err)
		require.Len(t, ran.Instances, 3)
		ids := idsOf(ran.Instances)
		require.NoError(t, waitRunning(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, patience))
		for _, filters := range [][]string{
			{"reservation-id", *ran.ReservationId}, {"tag:tier", "fr*"}, {"tag:Name", "we?"}, {"instance-type", "sm*", "instance-state-name", "running"}, {"image-id", r.ami, "instance-state-name", "running"},
		} {
			in := &ec2.DescribeInstancesInput{}
			for i := 0; i < len(filters); i += 2 {
				in.Filters = append(in.Filters, types.Filter{Name: &filters[i], Values: []string{filters[i+1]}})
			}
			found, err := c.DescribeInstances(ctx, in)
			require.NoError(t, err)
			require.Len(t, found.Reservations, 1, "%v", filters)
			require.ElementsMatch(t, ids, idsOf(found.Reservations[0].Instances), "%v", filters)
		}
		_, err = c.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &ids[0], DisableApiTermination: &types.AttributeBooleanValue{Value: new(false)}})
		require.NoError(t, err)
		_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
		isRefused(t, "OperationNotPermitted", err)
		for i := range ids {
			said, err := c.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: &ids[i], Attribute: "disableApiTermination"})
			require.NoError(t, err)
			require.Equal(t, i > 0, *said.DisableApiTermination.Value)
			_, err = c.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: &ids[i], DisableApiTermination: &types.AttributeBooleanValue{Value: new(false)}})
			require.NoError(t, err)
		}
		found, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids, Filters: []types.Filter{{Name: new("instance-state-name"), Values: []string{"running"}}}})
		require.NoError(t, err)
		require.Len(t, found.Reservations[0].Instances, 3, "none was terminated beside one that may not be")
		ended, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
		require.NoError(t, err)
		require.Len(t, ended.TerminatingInstances, 3)
		require.NoError(t, waitTerminated(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, patience))
	})
	t.Run("what Nova's clients made is an instance", func(t *testing.T) {
		made, err := servers.Create(ctx, nova, servers.CreateOpts{Name: "theirs", ImageRef: r.image, FlavorRef: "small", Networks: "none", Metadata: map[string]string{"a": "b"}}, nil).Extract()
		require.NoError(t, err)
		found, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: new("tag:Name"), Values: []string{"theirs"}}}})
		require.NoError(t, err)
		require.Len(t, found.Reservations, 1)
		i := found.Reservations[0].Instances[0]
		require.Equal(t, "i-"+strings.ReplaceAll(made.ID, "-", "")[:17], *i.InstanceId)
		require.Equal(t, r.ami, *i.ImageId)
		require.NoError(t, waitRunning(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}, patience))
		_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
		require.NoError(t, err)
		require.NoError(t, waitTerminated(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}, patience))
		_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{*i.InstanceId}})
		require.NoError(t, err, "again")
	})
	t.Run("an image is made of an instance, shared and deregistered", func(t *testing.T) { r.picture(t, c) })
	t.Run("64 requests with one token make one reservation", func(t *testing.T) { r.together(t) })
	t.Run("what cannot be is refused", func(t *testing.T) { r.refusals(t, c) })
}

func idsOf(instances []types.Instance) (ids []string) {
	for _, i := range instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids
}

func (r *rig) life(t *testing.T, c *ec2.Client) {
	ctx := t.Context()
	nova := system.Compute(t, r.Demo())
	key, err := c.CreateKeyPair(ctx, &ec2.CreateKeyPairInput{KeyName: new("mine"), KeyType: types.KeyTypeEd25519})
	require.NoError(t, err)
	require.Contains(t, *key.KeyMaterial, "OPENSSH PRIVATE KEY")
	subnets, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{})
	require.NoError(t, err)
	require.Len(t, subnets.Subnets, 1)
	ran, err := c.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: new("noise"), InstanceType: "small", MinCount: new(int32(1)), MaxCount: new(int32(1)), KeyName: new("mine"),
		UserData: new(base64.StdEncoding.EncodeToString([]byte("#!/bin/true"))), SubnetId: subnets.Subnets[0].SubnetId, PrivateIpAddress: new("10.20.0.77"),
		SecurityGroups: []string{"default"}, Placement: &types.Placement{AvailabilityZone: new("nova"), Tenancy: types.TenancyDefault},
	})
	require.NoError(t, err)
	require.Len(t, ran.Instances, 1)
	i := ran.Instances[0]
	require.Equal(t, types.InstanceStateNamePending, i.State.Name)
	require.Equal(t, r.ami, *i.ImageId)
	require.Regexp(t, `^i-[0-9a-f]{17}$`, *i.InstanceId)
	one := &ec2.DescribeInstancesInput{InstanceIds: []string{*i.InstanceId}}
	require.NoError(t, waitRunning(c).Wait(ctx, one, patience))
	require.NoError(t, waitStatusOk(c).Wait(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: one.InstanceIds}, patience))
	found, err := c.DescribeInstances(ctx, one)
	require.NoError(t, err)
	i = found.Reservations[0].Instances[0]
	require.Equal(t, []string{"10.20.0.77", "mine", "small", "nova"}, []string{*i.PrivateIpAddress, *i.KeyName, string(i.InstanceType), *i.Placement.AvailabilityZone})
	require.Equal(t, subnets.Subnets[0].SubnetId, i.SubnetId)
	require.Empty(t, i.Tags, "a name that nobody gave is no tag")
	nics, err := c.DescribeNetworkInterfaces(ctx, &ec2.DescribeNetworkInterfacesInput{Filters: []types.Filter{{Name: new("attachment.instance-id"), Values: one.InstanceIds}}})
	require.NoError(t, err)
	require.Len(t, nics.NetworkInterfaces, 1)
	require.Equal(t, i.NetworkInterfaces[0].NetworkInterfaceId, nics.NetworkInterfaces[0].NetworkInterfaceId)

	pages, err := servers.List(nova, servers.ListOpts{}).AllPages(ctx)
	require.NoError(t, err)
	all, err := servers.ExtractServers(pages)
	require.NoError(t, err)
	require.Len(t, all, 1)
	server := all[0]
	require.Equal(t, *i.InstanceId, "i-"+strings.ReplaceAll(server.ID, "-", "")[:17])
	require.Equal(t, "Server "+server.ID, server.Name)
	require.True(t, server.ConfigDrive)

	_, err = c.CreateTags(ctx, &ec2.CreateTagsInput{Resources: one.InstanceIds, Tags: []types.Tag{{Key: new("Name"), Value: new("db")}, {Key: new("x"), Value: new("")}}})
	require.NoError(t, err)
	again, err := servers.Get(ctx, nova, server.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "db", again.Name)
	require.Equal(t, map[string]string{"Name": "db", "x": ""}, again.Metadata)
	_, err = c.DeleteTags(ctx, &ec2.DeleteTagsInput{Resources: one.InstanceIds, Tags: []types.Tag{{Key: new("x"), Value: new("other")}, {Key: new("Name")}}})
	require.NoError(t, err)
	tags, err := c.DescribeTags(ctx, &ec2.DescribeTagsInput{})
	require.NoError(t, err)
	require.Len(t, tags.Tags, 1)
	require.Equal(t, "x", *tags.Tags[0].Key)

	screen, err := c.GetConsoleScreenshot(ctx, &ec2.GetConsoleScreenshotInput{InstanceId: i.InstanceId, WakeUp: new(true)})
	require.NoError(t, err)
	shown, err := jpeg.Decode(base64.NewDecoder(base64.StdEncoding, strings.NewReader(*screen.ImageData)))
	require.NoError(t, err)
	require.Positive(t, shown.Bounds().Dx())
	_, err = c.ReportInstanceStatus(ctx, &ec2.ReportInstanceStatusInput{
		Instances: one.InstanceIds, Status: types.ReportStatusTypeImpaired, ReasonCodes: []types.ReportInstanceReasonCodes{types.ReportInstanceReasonCodesOther},
		StartTime: new(time.Now()),
	})
	require.NoError(t, err)
	for _, behavior := range []string{"terminate", "stop"} {
		_, err = c.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: i.InstanceId, InstanceInitiatedShutdownBehavior: &types.AttributeValue{Value: &behavior}})
		require.NoError(t, err)
		said, err := c.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: i.InstanceId, Attribute: "instanceInitiatedShutdownBehavior"})
		require.NoError(t, err)
		require.Equal(t, behavior, *said.InstanceInitiatedShutdownBehavior.Value)
	}
	console, err := c.GetConsoleOutput(ctx, &ec2.GetConsoleOutputInput{InstanceId: i.InstanceId, Latest: new(true)})
	require.NoError(t, err)
	require.Equal(t, i.InstanceId, console.InstanceId)

	state := func(want types.InstanceStateName, of []types.InstanceStateChange, err error) {
		t.Helper()
		require.NoError(t, err)
		require.Equal(t, want, of[0].CurrentState.Name)
	}
	for range 2 { // the second time it is that already
		stopped, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: one.InstanceIds})
		require.NoError(t, err)
		require.Contains(t, []types.InstanceStateName{"stopping", "stopped"}, stopped.StoppingInstances[0].CurrentState.Name)
		require.NoError(t, waitStopped(c).Wait(ctx, one, patience))
	}
	_, err = c.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: one.InstanceIds})
	isRefused(t, "IncorrectInstanceState", err)
	_, err = c.GetConsoleScreenshot(ctx, &ec2.GetConsoleScreenshotInput{InstanceId: i.InstanceId})
	isRefused(t, "IncorrectInstanceState", err)
	_, err = c.ReportInstanceStatus(ctx, &ec2.ReportInstanceStatusInput{Instances: one.InstanceIds, Status: "ok", ReasonCodes: []types.ReportInstanceReasonCodes{"other"}})
	isRefused(t, "IncorrectInstanceState", err)
	_, err = c.ResetInstanceAttribute(ctx, &ec2.ResetInstanceAttributeInput{InstanceId: i.InstanceId, Attribute: "kernel"})
	require.NoError(t, err)
	_, err = c.ResetInstanceAttribute(ctx, &ec2.ResetInstanceAttributeInput{InstanceId: i.InstanceId, Attribute: "sourceDestCheck"})
	isRefused(t, "UnsupportedOperation", err)
	become := func(name string) error {
		_, err := c.ModifyInstanceAttribute(ctx, &ec2.ModifyInstanceAttributeInput{InstanceId: i.InstanceId, InstanceType: &types.AttributeValue{Value: &name}})
		return err
	}
	isRefused(t, "InvalidParameterValue", become("none"))
	for range 2 { // the second time it is that already
		require.NoError(t, become("large"))
		found, err = c.DescribeInstances(ctx, one)
		require.NoError(t, err)
		require.Equal(t, []string{"large", "stopped"}, []string{string(found.Reservations[0].Instances[0].InstanceType), string(found.Reservations[0].Instances[0].State.Name)})
	}
	started, err := c.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: one.InstanceIds})
	state("pending", started.StartingInstances, err)
	require.NoError(t, waitRunning(c).Wait(ctx, one, patience))
	isRefused(t, "IncorrectInstanceState", become("small"))
	_, err = c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: one.InstanceIds, Hibernate: new(true)})
	require.NoError(t, err)
	require.NoError(t, waitStopped(c).Wait(ctx, one, patience))
	again, err = servers.Get(ctx, nova, server.ID).Extract()
	require.NoError(t, err)
	require.Equal(t, "SUSPENDED", again.Status)
	_, err = c.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: one.InstanceIds})
	require.NoError(t, err)
	require.NoError(t, waitRunning(c).Wait(ctx, one, patience))
	require.NoError(t, servers.Shelve(ctx, nova, server.ID).ExtractErr())
	require.NoError(t, waitStopped(c).Wait(ctx, one, patience))
	started, err = c.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: one.InstanceIds})
	state("pending", started.StartingInstances, err)
	require.NoError(t, waitRunning(c).Wait(ctx, one, patience))
	_, err = c.RebootInstances(ctx, &ec2.RebootInstancesInput{InstanceIds: one.InstanceIds})
	require.NoError(t, err)
	require.NoError(t, waitRunning(c).Wait(ctx, one, patience))

	ended, err := c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: one.InstanceIds})
	state("shutting-down", ended.TerminatingInstances, err)
	require.NoError(t, waitTerminated(c).Wait(ctx, one, patience))
	found, err = c.DescribeInstances(ctx, one)
	require.NoError(t, err)
	require.Equal(t, "Client.UserInitiatedShutdown", *found.Reservations[0].Instances[0].StateReason.Code)
	_, err = c.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: one.InstanceIds})
	isRefused(t, "IncorrectInstanceState", err)
	_, err = c.DeleteKeyPair(ctx, &ec2.DeleteKeyPairInput{KeyName: new("mine")})
	require.NoError(t, err)
}

// together asks for the same instances 64 times at once.
func (r *rig) together(t *testing.T) {
	in := func(token, kind string) *ec2.RunInstancesInput {
		return &ec2.RunInstancesInput{ImageId: &r.ami, InstanceType: types.InstanceType(kind), MinCount: new(int32(2)), MaxCount: new(int32(2)), ClientToken: &token}
	}
	for _, least := range []int32{1, 2} {
		token := fmt.Sprintf("once-%d", least)
		asked := in(token, "small")
		asked.MinCount, asked.MaxCount = &least, &least
		var (
			group sync.WaitGroup
			mu    sync.Mutex
			made  = map[string]int{}
			ids   []string
		)
		for range 64 {
			group.Go(func() {
				ran, err := r.sdk().RunInstances(context.WithoutCancel(t.Context()), asked)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Errorf("with %d: %v", least, err)
					return
				}
				made[*ran.ReservationId+strings.Join(idsOf(ran.Instances), ",")]++
				ids = idsOf(ran.Instances)
			})
		}
		group.Wait()
		require.Len(t, made, 1)
		require.Len(t, ids, int(least))
		other := in(token, "small")
		other.MinCount, other.MaxCount, other.KeyName = &least, &least, new("other")
		_, err := r.sdk().RunInstances(t.Context(), other)
		isRefused(t, "IdempotentParameterMismatch", err)
		_, err = r.sdk().TerminateInstances(t.Context(), &ec2.TerminateInstancesInput{InstanceIds: ids})
		require.NoError(t, err)
		require.NoError(t, waitTerminated(r.sdk()).Wait(t.Context(), &ec2.DescribeInstancesInput{InstanceIds: ids}, patience))
	}
}

func (r *rig) refusals(t *testing.T, c *ec2.Client) {
	ctx := t.Context()
	glance := system.Image(t, r.Demo())
	kernel := system.Upload(t, glance, images.CreateOpts{Name: "kernel", DiskFormat: "aki", ContainerFormat: "aki"}, strings.NewReader("kernel"))
	queued, err := images.Create(ctx, glance, images.CreateOpts{Name: "queued", DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	require.NoError(t, err)
	twin := system.Upload(t, glance, images.CreateOpts{Name: "twin", DiskFormat: "raw", ContainerFormat: "bare"}, strings.NewReader("one"))
	other := system.Upload(t, glance, images.CreateOpts{Name: "twin", DiskFormat: "raw", ContainerFormat: "bare"}, strings.NewReader("two"))
	aki := ""
	all, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: new("image-type"), Values: []string{"kernel"}}}})
	require.NoError(t, err)
	require.Len(t, all.Images, 1)
	aki = *all.Images[0].ImageId
	require.True(t, strings.HasPrefix(aki, "aki-"))
	before, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	require.NoError(t, err)

	for what, c := range map[string]struct {
		code   string
		change func(*ec2.RunInstancesInput)
	}{
		"no count":              {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.MinCount = new(int32(0)) }},
		"less than the least":   {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.MinCount = new(int32(2)) }},
		"over the quota":        {"InstanceLimitExceeded", func(in *ec2.RunInstancesInput) { in.MinCount, in.MaxCount = new(int32(101)), new(int32(101)) }},
		"no such image":         {"InvalidAMIID.NotFound", func(in *ec2.RunInstancesInput) { in.ImageId = new("ami-ffffff00") }},
		"no id and no name":     {"InvalidAMIID.Malformed", func(in *ec2.RunInstancesInput) { in.ImageId = new("ami-1") }},
		"a kernel":              {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.ImageId = &aki }},
		"a kernel's number":     {"InvalidAMIID.NotFound", func(in *ec2.RunInstancesInput) { in.ImageId = new("ami" + aki[3:]) }},
		"a machine as kernel":   {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.KernelId = &r.ami }},
		"a machine's number":    {"InvalidAMIID.NotFound", func(in *ec2.RunInstancesInput) { in.RamdiskId = new("ari" + r.ami[3:]) }},
		"an image without data": {"InvalidAMIID.Unavailable", func(in *ec2.RunInstancesInput) { in.ImageId = new("queued") }},
		"one of two names":      {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.ImageId = new("twin") }},
		"no such type":          {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.InstanceType = "m1.none" }},
		"no such key":           {"InvalidKeyPair.NotFound", func(in *ec2.RunInstancesInput) { in.KeyName = new("none") }},
		"no such group":         {"InvalidGroup.NotFound", func(in *ec2.RunInstancesInput) { in.SecurityGroups = []string{"none"} }},
		"no such subnet":        {"InvalidSubnetID.NotFound", func(in *ec2.RunInstancesInput) { in.SubnetId = new("subnet-0123456789abcdef0") }},
		"an address elsewhere":  {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.PrivateIpAddress = new("10.99.0.1") }},
		"no such zone":          {"InvalidParameterValue", func(in *ec2.RunInstancesInput) { in.Placement = &types.Placement{AvailabilityZone: new("none")} }},
		"a placement group":     {"InvalidPlacementGroup.Unknown", func(in *ec2.RunInstancesInput) { in.Placement = &types.Placement{GroupName: new("near")} }},
		"a volume": {"UnsupportedOperation", func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: new("/dev/sdb"), Ebs: &types.EbsBlockDevice{VolumeSize: new(int32(1))}}}
		}},
		"a disk that its type has not": {"InvalidBlockDeviceMapping", func(in *ec2.RunInstancesInput) {
			in.BlockDeviceMappings = []types.BlockDeviceMapping{{DeviceName: new("/dev/sdb"), VirtualName: new("ephemeral0")}}
		}},
		"a role": {"UnsupportedOperation", func(in *ec2.RunInstancesInput) {
			in.IamInstanceProfile = &types.IamInstanceProfileSpecification{Name: new("x")}
		}},
		"metadata": {"UnsupportedOperation", func(in *ec2.RunInstancesInput) {
			in.MetadataOptions = &types.InstanceMetadataOptionsRequest{HttpTokens: "required"}
		}},
		"a trial":   {"DryRunOperation", func(in *ec2.RunInstancesInput) { in.DryRun = new(true) }},
		"user data": {"InvalidUserData.Malformed", func(in *ec2.RunInstancesInput) { in.UserData = new("?") }},
	} {
		in := &ec2.RunInstancesInput{ImageId: &r.ami, InstanceType: "small", MinCount: new(int32(1)), MaxCount: new(int32(1))}
		c.change(in)
		_, err := r.sdk().RunInstances(ctx, in)
		require.Error(t, err, what)
		t.Run(what, func(t *testing.T) { isRefused(t, c.code, err) })
	}
	after, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
	require.NoError(t, err)
	require.Len(t, after.Reservations, len(before.Reservations), "a refusal leaves nothing behind")
	for _, id := range []string{kernel, queued.ID, twin, other} {
		require.NoError(t, images.Delete(ctx, glance, id).ExtractErr())
	}
}

// picture does what image builders do: run, wait, stop, make an image, share it, run from it, and clean up.
func (r *rig) picture(t *testing.T, c *ec2.Client) {
	ctx := t.Context()
	run := func(image string) []string {
		t.Helper()
		ran, err := c.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: &image, InstanceType: "small", MinCount: new(int32(1)), MaxCount: new(int32(1))})
		require.NoError(t, err)
		ids := idsOf(ran.Instances)
		require.NoError(t, waitRunning(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, patience))
		return ids
	}
	ids := run(r.ami)
	available := func(ids ...string) *ec2.DescribeImagesInput {
		t.Helper()
		of := &ec2.DescribeImagesInput{ImageIds: ids}
		require.NoError(t, ec2.NewImageAvailableWaiter(c, func(o *ec2.ImageAvailableWaiterOptions) { o.MinDelay, o.MaxDelay = pace, pace }).Wait(ctx, of, patience))
		return of
	}
	rebooted, err := c.CreateImage(ctx, &ec2.CreateImageInput{InstanceId: &ids[0], Name: new("at-rest")})
	require.NoError(t, err)
	available(*rebooted.ImageId)
	require.NoError(t, waitRunning(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, patience))
	require.Equal(t, []string{"BeginAction", "StopDomain", "TakeSnapshot", "StartDomain", "StoreSnapshot"}, r.onHost(t, ids[0], "createImage"))
	_, err = c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: rebooted.ImageId})
	require.NoError(t, err)
	asked := &ec2.CreateImageInput{InstanceId: &ids[0], Name: new("made-of-it"), Description: new("what was made"), NoReboot: new(true)}
	made, err := c.CreateImage(ctx, asked)
	require.NoError(t, err)
	require.Regexp(t, `^ami-[0-9a-f]{8}$`, *made.ImageId)
	_, err = c.CreateImage(ctx, asked)
	isRefused(t, "InvalidAMIName.Duplicate", err)
	one := available(*made.ImageId)
	found, err := c.DescribeImages(ctx, one)
	require.NoError(t, err)
	require.Equal(t, []string{"made-of-it", "what was made", r.project}, []string{*found.Images[0].Name, *found.Images[0].Description, *found.Images[0].OwnerId})

	// Other images of its bytes: as it is, and with a kernel and a ramdisk that start it.
	parts := map[string]string{}
	for name, format := range map[string]string{"kernel": "aki", "ramdisk": "ari"} {
		id := system.Upload(t, system.Image(t, r.Demo()), images.CreateOpts{Name: name, DiskFormat: format, ContainerFormat: format}, strings.NewReader(name))
		described, err := c.DescribeImages(ctx, &ec2.DescribeImagesInput{Filters: []types.Filter{{Name: new("name"), Values: []string{name}}}})
		require.NoError(t, err)
		require.Len(t, described.Images, 1, id)
		parts[name] = *described.Images[0].ImageId
	}
	copying := &ec2.CopyImageInput{Name: new("copy-of-it"), SourceImageId: made.ImageId, SourceRegion: new("RegionOne"), ClientToken: new("once")}
	copied, err := c.CopyImage(ctx, copying)
	require.NoError(t, err)
	again, err := c.CopyImage(ctx, copying)
	require.NoError(t, err)
	require.Equal(t, copied.ImageId, again.ImageId)
	copying.Name = new("another-name")
	_, err = c.CopyImage(ctx, copying)
	isRefused(t, "IdempotentParameterMismatch", err)
	registered, err := c.RegisterImage(ctx, &ec2.RegisterImageInput{
		Name: new("registered"), Description: new("in parts"), ImageLocation: found.Images[0].ImageLocation, KernelId: new(parts["kernel"]), RamdiskId: new(parts["ramdisk"]),
		Architecture: types.ArchitectureValuesX8664, RootDeviceName: new("/dev/sda"),
	})
	require.NoError(t, err)
	_, err = c.CopyImage(ctx, &ec2.CopyImageInput{Name: new("copy-of-it"), SourceImageId: made.ImageId, SourceRegion: new("RegionOne")})
	isRefused(t, "InvalidAMIName.Duplicate", err)
	_, err = c.RegisterImage(ctx, &ec2.RegisterImageInput{Name: new("no-machine"), ImageLocation: new("kernel")})
	isRefused(t, "InvalidParameterValue", err)
	_, err = c.RegisterImage(ctx, &ec2.RegisterImageInput{Name: new("no-kernel"), ImageLocation: made.ImageId, KernelId: new(parts["ramdisk"])})
	isRefused(t, "InvalidParameterValue", err)
	whole, err := c.DescribeImages(ctx, available(*copied.ImageId, *registered.ImageId))
	require.NoError(t, err)
	for _, i := range whole.Images {
		switch *i.Name {
		case "copy-of-it":
			require.Equal(t, []string{"what was made", r.project}, []string{*i.Description, *i.OwnerId})
			require.Nil(t, i.KernelId)
		default:
			require.Equal(t, []string{"registered", "in parts", parts["kernel"], parts["ramdisk"], "/dev/sda"}, []string{*i.Name, *i.Description, *i.KernelId, *i.RamdiskId, *i.RootDeviceName})
		}
		_, err := c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: i.ImageId})
		require.NoError(t, err)
	}

	for _, id := range parts {
		_, err := c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: &id})
		require.NoError(t, err)
	}

	permissions := func() []types.LaunchPermission {
		t.Helper()
		said, err := c.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: made.ImageId, Attribute: "launchPermission"})
		require.NoError(t, err)
		return said.LaunchPermissions
	}
	other, err := r.Store.EnsureProject(ctx, models.Project{ID: "0123456789abcdef0123456789abcdef", Name: "other", DomainID: "default", Enabled: true})
	require.NoError(t, err)
	share := &types.LaunchPermissionModifications{Add: []types.LaunchPermission{{UserId: &other.ID}}}
	for range 2 { // the second time it is already
		_, err = c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: made.ImageId, LaunchPermission: share})
		require.NoError(t, err)
	}
	require.Len(t, permissions(), 1)
	require.Equal(t, other.ID, *permissions()[0].UserId)
	_, err = c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: made.ImageId, Attribute: new("launchPermission"), OperationType: "add", UserGroups: []string{"all"}})
	isRefused(t, "UnauthorizedOperation", err) // an admin's
	_, err = c.ModifyImageAttribute(ctx, &ec2.ModifyImageAttributeInput{ImageId: made.ImageId, Description: &types.AttributeValue{Value: new("changed")}})
	require.NoError(t, err)
	said, err := c.DescribeImageAttribute(ctx, &ec2.DescribeImageAttributeInput{ImageId: made.ImageId, Attribute: "description"})
	require.NoError(t, err)
	require.Equal(t, "changed", *said.Description.Value)
	_, err = c.ResetImageAttribute(ctx, &ec2.ResetImageAttributeInput{ImageId: made.ImageId, Attribute: "launchPermission"})
	require.NoError(t, err)
	require.Empty(t, permissions())

	ids = append(ids, run("made-of-it")...)
	kind, err := c.DescribeInstanceAttribute(ctx, &ec2.DescribeInstanceAttributeInput{InstanceId: &ids[1], Attribute: "instanceType"})
	require.NoError(t, err)
	require.Equal(t, "small", *kind.InstanceType.Value)
	_, err = c.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	require.NoError(t, err)
	require.NoError(t, waitTerminated(c).Wait(ctx, &ec2.DescribeInstancesInput{InstanceIds: ids}, patience))
	_, err = c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: made.ImageId})
	require.NoError(t, err)
	_, err = c.DescribeImages(ctx, one)
	isRefused(t, "InvalidAMIID.NotFound", err)
	_, err = c.DeregisterImage(ctx, &ec2.DeregisterImageInput{ImageId: made.ImageId})
	isRefused(t, "InvalidAMIID.NotFound", err)
	_, err = c.RegisterImage(ctx, &ec2.RegisterImageInput{Name: new("other"), ImageLocation: new("x")})
	isRefused(t, "InvalidAMIID.Malformed", err)
}

// onHost are the steps of an instance's newest action of a kind that name its host.
func (r *rig) onHost(t *testing.T, instance, kind string) (steps []string) {
	t.Helper()
	nova := system.Compute(t, r.Admin())
	id := r.ServerOf(t, instance)
	pages, err := instanceactions.List(nova, id, nil).AllPages(t.Context())
	require.NoError(t, err)
	all, err := instanceactions.ExtractInstanceActions(pages)
	require.NoError(t, err)
	at := slices.IndexFunc(all, func(a instanceactions.InstanceAction) bool { return a.Action == kind })
	require.GreaterOrEqual(t, at, 0, "%+v", all)
	detail, err := instanceactions.Get(t.Context(), nova, id, all[at].RequestID).Extract()
	require.NoError(t, err)
	for _, e := range *detail.Events {
		if e.Host != nil && *e.Host != "" {
			steps = append(steps, e.Event)
		}
	}
	return steps
}
