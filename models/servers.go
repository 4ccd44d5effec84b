package models

import (
	"context"
	"time"
)

// ServerFilter selects servers. Name and IP are regular expressions, as in Nova. Sort keys are Nova's: created_at
// (default, newest first), updated_at, launched_at, terminated_at, display_name, hostname, host, instance_type_id,
// image_ref, key_name, power_state, vm_state, task_state, availability_zone, project_id, user_id, uuid, launch_index.
type ServerFilter struct {
	ProjectID        string // "" is all
	UserID           string
	IDs              []string
	Name             string
	Statuses         []ServerStatus
	TaskState        string
	ImageID          string
	FlavorID         string
	HostID           string
	Hostname         string // of the hypervisor
	IP               string
	KeyName          string
	AvailabilityZone string
	ReservationID    string
	PowerState       *int
	Metadata         map[string]string // all of them
	Tags             []string          // all of them
	TagsAny          []string
	NotTags          []string   // none that has all of them
	NotTagsAny       []string   // none that has any of them
	Deleted          bool       // only deleted ones
	ChangesSince     *time.Time // also deleted ones
	ChangesBefore    *time.Time
	Sort             []Sort
	Marker           string
	Limit            int // 0 is all
}

// Activation ends a build.
type Activation struct {
	ServerID   string
	RequestID  string
	Hostname   string // must be where the server is placed; "" is not compared
	PowerState int
	LaunchedAt time.Time
	Events     []InstanceActionEvent
}

// Placement is where a server's takings lie, for its teardown.
type Placement struct {
	Hostnames []string // every host that holds an allocation for it, and the one it is on
	NICs      int      // the highest NIC index that has a port, plus one
	Gone      bool     // the row is absent or deleted already
}

// RecordServer makes the row with its metadata, tags and instance action. The same id with the same request is success,
// with another Conflict.
func (s *Store) RecordServer(ctx context.Context, v Server, a InstanceAction) error {
	return errPending
}

// Server with everything that is read with it; NotFound when deleted.
func (s *Store) Server(ctx context.Context, id string) (Server, error) { return Server{}, errPending }

// ServerEvenDeleted is Server, but finds deleted ones too.
func (s *Store) ServerEvenDeleted(ctx context.Context, id string) (Server, error) {
	return Server{}, errPending
}

// ListServers lists what the filter selects, each with everything, in a constant number of queries.
func (s *Store) ListServers(ctx context.Context, f ServerFilter) ([]Server, error) {
	return nil, errPending
}

// SetServerTask changes the task state of a server that is in one of the states; Conflict otherwise.
func (s *Store) SetServerTask(ctx context.Context, id string, from []ServerStatus, taskState *string) error {
	return errPending
}

// ActivateServer moves BUILD to ACTIVE and writes the action's events. Again is success.
func (s *Store) ActivateServer(ctx context.Context, a Activation) error { return errPending }

// FailServer moves a server to ERROR with its fault and marks the action as failed. An absent, deleted or already failed
// server is success; the fault is written once. A build's server leaves its host; a server that ran stays where it is.
func (s *Store) FailServer(ctx context.Context, id, requestID string, f ServerFault, events []InstanceActionEvent) error {
	return errPending
}

// MarkServerDeleting shows "deleting", records the delete action once and says what has to be torn down.
func (s *Store) MarkServerDeleting(ctx context.Context, id string, a InstanceAction) (Placement, error) {
	return Placement{}, errPending
}

// RemoveServer moves a server to DELETED and writes the action's events. Absent or deleted is success.
func (s *Store) RemoveServer(ctx context.Context, id, requestID string, events []InstanceActionEvent, now time.Time) error {
	return errPending
}

// Actions of a server, newest first, without events. Those of a deleted server stay readable.
func (s *Store) Actions(ctx context.Context, serverID string) ([]InstanceAction, error) {
	return nil, errPending
}

// Action of a server by its request, with events.
func (s *Store) Action(ctx context.Context, serverID, requestID string) (InstanceAction, error) {
	return InstanceAction{}, errPending
}
