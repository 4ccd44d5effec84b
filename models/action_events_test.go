package models

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipway-cloud/slipway/internal/contract"
)

func TestTheEventsOfAnActionAreTheStepsThatHaveBegun(t *testing.T) {
	at, end, own := time.Unix(1, 0), time.Unix(2, 0), time.Unix(3, 0)
	steps := []contract.StepProgress{
		{Step: "SelectHost", State: contract.StepDone, Started: &at, Finished: &end},
		{Step: "BuildDisk", Host: "n1", State: contract.StepUndone, Started: &at, Finished: &end, Error: "no room"},
		{Step: "InjectData", Host: "n2", State: contract.StepDone, Started: &at, Finished: &end, Detail: "no /etc/shadow"},
		{Step: "StartDomain", Host: "n2", State: contract.StepRunning, Started: &at},
		{Step: "Activate", State: contract.StepRunning, Started: &at},
		{Step: "Later", State: contract.StepPending},
	}
	require.Equal(t, []InstanceActionEvent{
		{Seq: 0, Event: "SelectHost", StartedAt: at, EndedAt: &end, Result: new("Success")},
		{Seq: 1, Event: "BuildDisk", Host: new("n1"), StartedAt: at, EndedAt: &end, Result: new("Error"), Details: new("no room")},
		{Seq: 2, Event: "InjectData", Host: new("n2"), StartedAt: at, EndedAt: &end, Result: new("Success"), Details: new("no /etc/shadow")},
		{Seq: 3, Event: "StartDomain", Host: new("n2"), StartedAt: at},
		{Seq: 4, Event: "Activate", StartedAt: at, EndedAt: &own, Result: new("Success")},
	}, ActionEvents(steps, "Activate", own))
	require.Empty(t, ActionEvents(nil, "", own))
}
