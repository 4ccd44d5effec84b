package ec2

import (
	"context"

	"github.com/slipway-cloud/slipway/internal/ids"
)

// There are no volumes yet: there are none to describe, and what would make one is refused.

type describeVolumes struct {
	IDs []string `ec2:"VolumeId"`
	paged
}

type describedVolumes struct {
	head
	Volumes set[struct{}] `xml:"volumeSet"`
}

func (a *API) describeVolumes(_ context.Context, _ asker, in describeVolumes) (*describedVolumes, error) {
	return &describedVolumes{}, none(ids.EC2Volume, in.IDs, in.paged)
}

type describeSnapshots struct {
	IDs          []string `ec2:"SnapshotId"`
	Owners       []string `ec2:"Owner"`
	RestorableBy []string `ec2:"RestorableBy"`
	paged
}

type describedSnapshots struct {
	head
	Snapshots set[struct{}] `xml:"snapshotSet"`
}

func (a *API) describeSnapshots(_ context.Context, _ asker, in describeSnapshots) (*describedSnapshots, error) {
	return &describedSnapshots{}, none(ids.EC2Snapshot, in.IDs, in.paged)
}

// none holds that nothing of a kind is named, and that a page could be told.
func none(kind ids.EC2Kind, named []string, p paged) error {
	for _, id := range named {
		if _, err := ids.ParseEC2(kind, id); err != nil {
			return err
		}
	}
	if len(named) > 0 {
		return ids.NoEC2(kind, named[0])
	}
	_, _, err := p.page(false)
	return err
}

var volumeActions = []action{
	does("DescribeSnapshots", (*API).describeSnapshots),
	does("DescribeVolumes", (*API).describeVolumes),
}
