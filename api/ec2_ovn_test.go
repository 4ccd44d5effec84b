package api

import (
	"context"
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

// bootsAsked notes the builds that it is asked for, and builds nothing.
type bootsAsked struct {
	noBuilds
	boots []contract.BootInput
}

func (b *bootsAsked) Submit(_ context.Context, in contract.BootInput) error {
	b.boots = append(b.boots, in)
	return errNoBuilds
}

// take gives the only build that was asked for since.
func (b *bootsAsked) take(t testing.TB) contract.BootInput {
	t.Helper()
	require.Len(t, b.boots, 1)
	defer func() { b.boots = nil }()
	return b.boots[0]
}

// onOVN starts the API anew on networks that stand on OVN, and gives who runs an instance of its only image and sees what comes of it.
func (w *world) onOVN() (builds *bootsAsked, key aws.Credentials, run func(more ...string) ec2Answer) {
	w.t.Helper()
	require.NoError(w.t, w.stop())
	builds = &bootsAsked{}
	w.engine, w.mostBuilt, w.builds = networks.OVN, 1, builds
	w.serve()
	key = w.accessKey("demo", demoUser, demoProject)
	run = func(more ...string) ec2Answer {
		w.t.Helper()
		return w.ec2(key, slices.Concat([]string{"Action", "RunInstances", "ImageId", "image", "InstanceType", "m1.tiny", "MinCount", "1", "MaxCount", "1"}, more)...)
	}
	return builds, key, run
}

func TestAnInstanceOnOVNHasTheMetadataServiceAsItIs(t *testing.T) {
	w := newWorld(t)
	image, _, _ := w.someInstance()
	w.fill(image)
	builds, _, run := w.onOVN()
	a := run("MetadataOptions.HttpEndpoint", "enabled", "MetadataOptions.HttpTokens", "optional")
	require.Equal(t, "Unavailable", a.code, a.body)
	require.True(t, builds.take(t).ConfigDrive, "it tells vendor data and the password, which the service does not")
	a = run("MetadataOptions.HttpEndpoint", "disabled")
	require.Equal(t, "UnsupportedOperation", a.code, a.body)
	require.Empty(t, builds.boots)
}
