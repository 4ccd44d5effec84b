package engine

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/converter"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
)

// Reads is the same client, which reads what activities say while they run.
func (c Client) Reads(heartbeats converter.DataConverter) *Client {
	c.heartbeats = heartbeats
	return &c
}

// Arrived tells how many bytes of a server's disks have come to the host that it moves to; of none in all where none travel.
func (c *Client) Arrived(ctx context.Context, serverID string) (at contract.TransferProgress, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second) // who looks at a server waits for it
	defer cancel()
	described, err := c.temporal.DescribeWorkflow(ctx, ids.ServerWorkflow(serverID), "")
	if errors.As(err, new(*serviceerror.NotFound)) {
		return at, nil
	}
	if err != nil {
		return at, faultOf(err, "How far the disks are is not to be had", again)
	}
	for _, a := range described.RawResponse.GetPendingActivities() {
		if a.GetActivityType().GetName() != contract.ReceiveDisks || a.GetHeartbeatDetails() == nil {
			continue
		}
		if err := c.heartbeats.FromPayloads(a.GetHeartbeatDetails(), &at); err != nil {
			return at, faultOf(err, "How far the disks are is not to be had", again)
		}
	}
	return at, nil
}
