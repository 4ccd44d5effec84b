package bench

import (
	"context"
	"encoding/base64"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/test/system"
)

// amazon asks for the servers that a cloud's Nova client asks for by Amazon's SDK.
type amazon struct {
	*cloud
	ec2   *ec2.Client
	image string
}

func newAmazon(c *cloud) *amazon {
	ctx := context.Background()
	a := &amazon{cloud: c, ec2: system.EC2(c.b, c.Demo())}
	images, err := a.ec2.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"self"}})
	require.NoError(c.b, err)
	require.Len(c.b, images.Images, 1)
	a.image = *images.Images[0].ImageId
	return a
}

// runs submits an instance, notes how long the answer took, and gives its server's id when that is active.
func (a *amazon) runs(answers *series) string {
	ctx := context.Background()
	began := time.Now()
	ran, err := a.ec2.RunInstances(ctx, &ec2.RunInstancesInput{
		ImageId: &a.image, InstanceType: "bench", MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		UserData:          aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\necho hello\n"))),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}},
	})
	took := time.Since(began)
	require.NoError(a.b, err)
	require.Len(a.b, ran.Instances, 1)
	if answers != nil {
		*answers = append(*answers, took)
	}
	prefix := strings.TrimPrefix(*ran.Instances[0].InstanceId, "i-")
	pages, err := servers.List(a.compute, servers.ListOpts{}).AllPages(ctx)
	require.NoError(a.b, err)
	all, err := servers.ExtractServers(pages)
	require.NoError(a.b, err)
	for _, s := range all {
		if strings.HasPrefix(strings.ReplaceAll(s.ID, "-", ""), prefix) {
			a.waitActive(s.ID, pollAlone)
			return s.ID
		}
	}
	require.Fail(a.b, "no server has that id", prefix)
	return ""
}
