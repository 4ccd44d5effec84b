package servers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-cloud/slipway/internal/contract"
	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
	"github.com/slipway-cloud/slipway/models"
)

// Diagnostics are what the hypervisor has counted of a server's guest. Conflict, in Nova's words, while it does not run.
func (s Servers) Diagnostics(ctx context.Context, id string) (models.Server, contract.Diagnostics, error) {
	v, err := s.Get(ctx, id)
	if err != nil {
		return v, contract.Diagnostics{}, err
	}
	if v.Host == nil {
		return v, contract.Diagnostics{}, notReady(v)
	}
	found, err := s.engine.Diagnostics(ctx, contract.GuestInput{ServerID: v.ID, Hostname: v.Host.Hostname})
	if err != nil {
		return v, found, fmt.Errorf("read the diagnostics of server %s: %w", v.ID, err)
	}
	return v, found, nil
}

// HostNetwork is what switches a host's guests, and which of their ports are plugged there. For operators.
func (s Servers) HostNetwork(ctx context.Context, hostname string) (contract.HostNetwork, error) {
	found, err := s.engine.HostNetwork(ctx, contract.HostNetworkInput{Hostname: hostname})
	if err != nil {
		return found, fmt.Errorf("look at the network of host %s: %w", hostname, err)
	}
	return found, nil
}

// Screenshot takes a picture of the screen of a server's guest, a JPEG. Conflict while it does not run, Invalid where it has no screen.
func (s Servers) Screenshot(ctx context.Context, v models.Server) ([]byte, error) {
	if v.Host == nil {
		return nil, notReady(v)
	}
	picture, err := s.engine.Screenshot(ctx, contract.GuestInput{ServerID: v.ID, Hostname: v.Host.Hostname})
	if err != nil {
		return nil, fmt.Errorf("read the screen of server %s: %w", v.ID, err)
	}
	return picture.JPEG, nil
}

// TriggerCrashDump interrupts a server's guest, and records it.
func (s Servers) TriggerCrashDump(ctx context.Context, v models.Server, action lifecycle.Action) error {
	if err := v.CanBegin(action, s.caller.Admin()); err != nil {
		return err
	}
	began := time.Now()
	record := models.InstanceAction{
		ServerID: v.ID, RequestID: s.caller.RequestID, Action: action.Method, UserID: s.caller.UserID, ProjectID: s.caller.ProjectID, StartedAt: began,
	}
	if err := s.store.RecordAction(ctx, record); err != nil {
		return err
	}
	failure := s.engine.TriggerCrashDump(ctx, contract.GuestInput{ServerID: v.ID, Hostname: v.Host.Hostname})
	ended := time.Now()
	event := models.InstanceActionEvent{Event: contract.InjectNMI, Host: &v.Host.Hostname, StartedAt: began, EndedAt: &ended, Result: new("Success")}
	if failure != nil {
		record.Message, event.Result, event.Details = new("Error"), new("Error"), new(fault.Public(failure))
	}
	record.Events = []models.InstanceActionEvent{event}
	// What has happened is recorded, whether or not its client still waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordPatience)
	defer cancel()
	if err := errors.Join(failure, s.store.RecordAction(ctx, record)); err != nil {
		return fmt.Errorf("trigger a crash dump of server %s: %w", v.ID, err)
	}
	return nil
}

// recordPatience bounds a record of what has happened.
const recordPatience = 10 * time.Second

// Console reads the last lines of a server's serial console; -1 is all that is kept.
func (s Servers) Console(ctx context.Context, v models.Server, lines int) (string, error) {
	if v.Host == nil {
		return "", notReady(v)
	}
	if lines == 0 {
		return "", nil
	}
	text, err := s.engine.Console(ctx, contract.ConsoleInput{ServerID: v.ID, Hostname: v.Host.Hostname, Lines: max(lines, 0)})
	if err != nil {
		return "", fmt.Errorf("read the console of server %s: %w", v.ID, err)
	}
	return text, nil
}

// notReady is Nova's InstanceNotReady, of a server that has no host yet, or none any more.
func notReady(v models.Server) error {
	return fault.New(fault.Conflict, "Instance %s is not ready", v.ID)
}
