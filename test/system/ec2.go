package system

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/ec2credentials"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// AccessKey makes one for whoever a client logged in as, on the same project.
func AccessKey(t testing.TB, p *gophercloud.ProviderClient) (key *ec2credentials.Credential) {
	t.Helper()
	said, ok := p.GetAuthResult().(tokens.CreateResult)
	require.True(t, ok)
	user, err := said.ExtractUser()
	require.NoError(t, err)
	project, err := said.ExtractProject()
	require.NoError(t, err)
	identity, err := openstack.NewIdentityV3(p, gophercloud.EndpointOpts{Region: "RegionOne"})
	require.NoError(t, err)
	key, err = ec2credentials.Create(t.Context(), identity, user.ID, ec2credentials.CreateOpts{TenantID: project.ID}).Extract()
	require.NoError(t, err)
	return key
}

// EC2 is Amazon's client for whoever a client logged in as.
func EC2(t testing.TB, p *gophercloud.ProviderClient, options ...func(*ec2.Options)) *ec2.Client {
	t.Helper()
	return ec2With(t, p, AccessKey(t, p), options...)
}

func ec2With(t testing.TB, p *gophercloud.ProviderClient, key *ec2credentials.Credential, options ...func(*ec2.Options)) *ec2.Client {
	t.Helper()
	endpoint, err := p.EndpointLocator(gophercloud.EndpointOpts{Type: "ec2", Region: "RegionOne", Availability: gophercloud.AvailabilityPublic})
	require.NoError(t, err)
	return ec2.New(ec2.Options{
		Region: "RegionOne", BaseEndpoint: &endpoint, HTTPClient: &p.HTTPClient,
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(key.Access, key.Secret, "")),
	}, options...)
}

// ServerOf is the server that an instance is.
func (s *System) ServerOf(t testing.TB, instance string) string {
	t.Helper()
	among, err := ids.ParseEC2(ids.EC2Instance, instance)
	require.NoError(t, err)
	found, err := s.Store.OfEC2(t.Context(), ids.EC2Instance, []ids.UUIDs{among})
	require.NoError(t, err)
	require.NotEmpty(t, found[among], instance)
	return found[among]
}
