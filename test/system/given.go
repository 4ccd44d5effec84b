package system

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/client"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// Flavor makes a flavor of one processor and 1 GiB of disk. Its id is its name.
func (s *System) Flavor(t testing.TB, id string, ramMiB int) {
	t.Helper()
	require.NoError(t, flavors.Create(t.Context(), Compute(t, s.Admin()), flavors.CreateOpts{
		ID: id, Name: id, VCPUs: 1, RAM: ramMiB, Disk: gophercloud.IntToPointer(1),
	}).Err)
}

// Upload makes an image of data, raw and bare where o does not say, and gives its id.
func Upload(t testing.TB, as *gophercloud.ServiceClient, o images.CreateOpts, data io.Reader) string {
	t.Helper()
	if o.DiskFormat == "" {
		o.DiskFormat, o.ContainerFormat = "raw", "bare"
	}
	image, err := images.Create(t.Context(), as, o).Extract()
	require.NoError(t, err)
	require.NoError(t, imagedata.Upload(t.Context(), as, image.ID, data).ExtractErr())
	return image.ID
}

// SharedNetwork is the one network that there is: the one that api.default_network makes.
func (s *System) SharedNetwork(t testing.TB) networks.Network {
	t.Helper()
	pages, err := networks.List(Network(t, s.Demo()), networks.ListOpts{}).AllPages(t.Context())
	require.NoError(t, err)
	all, err := networks.ExtractNetworks(pages)
	require.NoError(t, err)
	require.Len(t, all, 1, "the network that api.default_network makes")
	return all[0]
}

// Progress is how far a server's build or teardown is, as its workflow says.
func Progress(temporal client.Client, serverID string) ([]contract.StepProgress, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	value, err := temporal.QueryWorkflow(ctx, ids.ServerWorkflow(serverID), "", contract.QueryProgress)
	if err != nil {
		return nil, err
	}
	var steps []contract.StepProgress
	return steps, value.Get(&steps)
}

// Explain is Progress in words, for a failure's message.
func Explain(temporal client.Client, serverID string) string {
	steps, err := Progress(temporal, serverID)
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, p := range steps {
		fmt.Fprintf(&b, "\n\t%s/%d %s %s %s", p.Step, p.Index, p.Host, p.State, p.Error)
	}
	return b.String()
}
