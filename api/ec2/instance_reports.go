package ec2

import (
	"context"
	"slices"
	"time"
)

type reportInstanceStatus struct {
	IDs         []string `ec2:"InstanceId,required"`
	Status      string   `ec2:"Status,required"`
	Reasons     []string `ec2:"ReasonCode,required"`
	Start       string   `ec2:"StartTime"`
	End         string   `ec2:"EndTime"`
	Description string   `ec2:"Description"`
}

// reportReasons are EC2's (ReportStatusType, ReportInstanceReasonCodes).
var (
	reportStatuses = []string{"ok", "impaired"}
	reportReasons  = []string{
		"instance-stuck-in-state", "unresponsive", "not-accepting-credentials", "password-not-available", "performance-network",
		"performance-instance-store", "performance-ebs-volume", "performance-other", "other",
	}
)

// reportInstanceStatus takes what a user says of an instance that runs. As at Amazon it changes nothing of what DescribeInstanceStatus
// answers: it is in the log, for operators.
func (a *API) reportInstanceStatus(ctx context.Context, who asker, in reportInstanceStatus) (*done, error) {
	if !slices.Contains(reportStatuses, in.Status) {
		return nil, invalid("Value (%s) for parameter status is invalid. It is ok or impaired.", in.Status)
	}
	for _, r := range in.Reasons {
		if !slices.Contains(reportReasons, r) {
			return nil, invalid("Value (%s) for parameter reasonCode is invalid.", r)
		}
	}
	for name, at := range map[string]string{"startTime": in.Start, "endTime": in.End} {
		if _, err := time.Parse(time.RFC3339, at); at != "" && err != nil {
			return nil, invalid("Value (%s) for parameter %s is invalid. It is a time as 2006-01-02T15:04:05Z.", at, name)
		}
	}
	found, err := a.instances(ctx, who, in.IDs, nil)
	if err != nil {
		return nil, err
	}
	for _, i := range found {
		if state := stateOf(i.server); state != running {
			return nil, refuse(incorrectState, "The instance '%s' is not running: it is %s.", i.id, state.Name)
		}
	}
	for _, i := range found {
		who.log.InfoContext(ctx, "A user reports how an instance is.", "server_id", i.server.ID, "user_id", who.UserID, "status", in.Status, "reasons", in.Reasons, "start", in.Start, "end", in.End, "description", in.Description)
	}
	return isDone(), nil
}

type resetInstanceAttribute struct {
	ID        string `ec2:"InstanceId,required"`
	Attribute string `ec2:"Attribute,required"`
}

// resetInstanceAttribute makes the kernel or the ramdisk of an instance its image's own. One that has another keeps it, so that is refused.
func (a *API) resetInstanceAttribute(ctx context.Context, who asker, in resetInstanceAttribute) (*done, error) {
	found, err := a.instances(ctx, who, []string{in.ID}, nil)
	if err != nil {
		return nil, err
	}
	v := found[0].server
	own := v.KernelID // "" is its image's
	switch in.Attribute {
	case "kernel":
	case "ramdisk":
		own = v.RamdiskID
	case "sourceDestCheck":
		return nil, unsupported("What an interface may send is its network's matter")
	default:
		return nil, invalid("Value (%s) for parameter attribute is invalid. It is kernel, ramdisk or sourceDestCheck.", in.Attribute)
	}
	if state := stateOf(v); state != stopped {
		return nil, refuse(incorrectState, "The instance '%s' is not in the 'stopped' state.", found[0].id)
	}
	if own != "" {
		return nil, unsupported("The instance '%s' keeps the %s that it was run with", found[0].id, in.Attribute)
	}
	return isDone(), nil
}

var reportActions = []action{
	does("ReportInstanceStatus", (*API).reportInstanceStatus),
	does("ResetInstanceAttribute", (*API).resetInstanceAttribute),
}
