package models

import (
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
)

// ActionEvents are the steps that have begun, as the events of an action. own is the step that writes them, "" where it is none
// of them: it ends with this very write, now.
func ActionEvents(steps []contract.StepProgress, own string, now time.Time) []InstanceActionEvent {
	events := make([]InstanceActionEvent, 0, len(steps))
	for _, s := range steps {
		if s.Started == nil {
			continue
		}
		e := InstanceActionEvent{Seq: len(events), Event: s.Step, StartedAt: *s.Started, EndedAt: s.Finished}
		if s.Host != "" {
			e.Host = &s.Host
		}
		if s.Step == own && s.State == contract.StepRunning {
			e.EndedAt = &now
		}
		if s.Detail != "" {
			e.Details = &s.Detail
		}
		switch {
		case s.Error != "":
			e.Result, e.Details = new("Error"), &s.Error
		case e.EndedAt != nil:
			e.Result = new("Success")
		}
		events = append(events, e)
	}
	return events
}
