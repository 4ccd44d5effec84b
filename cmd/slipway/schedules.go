package main

import (
	"time"

	"github.com/slipway-cloud/slipway/internal/config"
	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/ids"
	"github.com/slipway-cloud/slipway/workers"
	"github.com/slipway-cloud/slipway/workflows/housekeeping"
)

// schedules are what the engine starts by itself in an installation.
func schedules(c config.Config) []workers.Schedule {
	queue := c.Temporal.ControlQueue
	reclaimEvery := c.Housekeeping.Every
	if c.Build.ReclaimInterval <= 0 {
		reclaimEvery = 0
	}
	confirmEvery := c.Housekeeping.Every
	if c.Build.ResizeConfirmWindow <= 0 {
		confirmEvery = 0
	}
	offloadEvery := c.Housekeeping.Every
	if c.Build.ShelvedOffloadTime < 0 {
		offloadEvery = 0
	}
	return []workers.Schedule{
		{
			ID: ids.AuditSchedule(queue), Of: "audit", Workflow: contract.WorkflowAuditTick,
			Queue: queue, Every: c.Audit.Every, Patience: time.Hour,
		},
		{
			ID: ids.HousekeepingSchedule(queue), Of: "housekeeping", Workflow: contract.WorkflowKeepHouse,
			Queue: queue, Every: c.Housekeeping.Every, Patience: housekeeping.Patience,
		},
		{
			ID: ids.StoresSchedule(queue), Of: "look through the image stores", Workflow: contract.WorkflowSettleStores,
			Queue: queue, Every: c.Housekeeping.StoresEvery, Patience: housekeeping.StoresPatience,
		},
		{
			ID: ids.ReclaimSchedule(queue), Of: "delete what was deleted and not restored", Workflow: contract.WorkflowReclaim,
			Queue: queue, Every: reclaimEvery, Patience: housekeeping.Patience,
		},
		{
			ID: ids.ConfirmSchedule(queue), Of: "confirm resizes that nobody has confirmed or reverted", Workflow: contract.WorkflowConfirmResizes,
			Queue: queue, Every: confirmEvery, Patience: housekeeping.Patience,
		},
		{
			ID: ids.PurgeSchedule(queue), Of: "delete projects with all that they own", Workflow: contract.WorkflowPurgeProjects,
			Queue: queue, Every: c.Housekeeping.Every, Patience: housekeeping.Patience,
		},
		{
			ID: ids.OffloadSchedule(queue), Of: "have shelved servers leave their hosts", Workflow: contract.WorkflowOffloadShelved,
			Queue: queue, Every: offloadEvery, Patience: housekeeping.Patience,
		},
	}
}
