package models

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/slipway-cloud/slipway/internal/fault"
	"github.com/slipway-cloud/slipway/internal/lifecycle"
)

// InstanceAction is one thing that was asked of a server (Nova's os-instance-actions).
type InstanceAction struct {
	ServerID  string `gorm:"primaryKey"`
	RequestID string `gorm:"primaryKey"`
	Action    string // create, delete
	UserID    string
	ProjectID string
	Message   *string // "Error" when it failed
	StartedAt time.Time
	UpdatedAt time.Time
	Events    []InstanceActionEvent `gorm:"-"`
	// AnswerBy is the instant, by this database's clock, after which the action is not begun any more; zero is none. It is not kept.
	AnswerBy time.Time `gorm:"-"`
}

// InstanceActionEvent is one step of an action.
type InstanceActionEvent struct {
	ServerID  string `gorm:"primaryKey"`
	RequestID string `gorm:"primaryKey"`
	Seq       int    `gorm:"primaryKey"`
	Event     string // the step's name
	Host      *string
	StartedAt time.Time
	EndedAt   *time.Time
	Result    *string // Success, Error
	Details   *string // the user's text of the error
	Traceback *string // never filled with internals for non-admins
}

// BeginAction sets the action's task on a server that is in one of its states and on which nothing else is done, and records
// the action. The same request again is success. Conflict says in which state the server is otherwise, or that the action's
// AnswerBy has passed.
func (s *Store) BeginAction(ctx context.Context, id string, action lifecycle.Action, a InstanceAction) (Server, error) {
	at := now()
	if a.StartedAt.IsZero() {
		a.StartedAt = at
	}
	var mine, late bool
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(lockServerSQL, id)
		b.Queue(`
WITH marked AS (
         UPDATE servers SET task_state = $7, updated_at = $6
         WHERE id = $1 AND vm_state = ANY($8) AND task_state IS NULL AND launched_at IS NOT NULL AND host_id IS NOT NULL AND deleted_at IS NULL
           AND NOT EXISTS (SELECT FROM instance_actions WHERE server_id = $1 AND request_id = $2) AND NOT `+isLate("$10")+`
         RETURNING id)
INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at)
SELECT id, $2, $3, $4, $5, $9, $6 FROM marked`,
			id, a.RequestID, a.Action, a.UserID, a.ProjectID, at, action.Task, statesOf(action.From), a.StartedAt, optionalTime(a.AnswerBy))
		b.Queue(`SELECT EXISTS (SELECT FROM instance_actions WHERE server_id = $1 AND request_id = $2 AND action = $3), `+isLate("$4"),
			id, a.RequestID, a.Action, optionalTime(a.AnswerBy)).
			QueryRow(func(r pgx.Row) error { return r.Scan(&mine, &late) })
	})
	if err != nil {
		return Server{}, failed(err, "begin to %s server %s", action.Method, id)
	}
	v, err := s.Server(ctx, id)
	switch {
	case err != nil:
		return v, err
	case mine && v.TaskState != nil && *v.TaskState == action.Task:
		return v, nil
	case late && !mine:
		return v, tooLate()
	}
	if err := v.CanBegin(action); err != nil {
		return v, err
	}
	return v, fault.New(fault.Conflict, "The request %s has begun to %s instance %s and has ended.", a.RequestID, action.Method, id)
}

// CanBegin says why an action cannot begin in the state that the server is in, in Nova's words (compute/api.py,
// check_instance_state; api/openstack/common.py, raise_http_conflict_for_instance_invalid_state); nil where it can.
func (v Server) CanBegin(action lifecycle.Action) error {
	in := func(attribute, state string) error {
		return fault.New(fault.Conflict, "Cannot '%s' instance %s while it is in %s %s", action.Method, v.ID, attribute, state)
	}
	switch {
	case !action.Allows(v.VMState):
		return in("vm_state", string(v.VMState))
	case v.TaskState != nil:
		return in("task_state", *v.TaskState)
	case v.LaunchedAt == nil || v.HostID == nil:
		return fault.New(fault.Conflict, "Instance %s is not ready", v.ID)
	}
	return nil
}

// FinishAction puts a server into the state that an action ends in, and writes the action's events. Again is success.
func (s *Store) FinishAction(ctx context.Context, id, requestID string, action lifecycle.Action, events []InstanceActionEvent) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET vm_state = $4, power_state = $5, task_state = NULL, updated_at = $3
         WHERE id = $1 AND task_state = $6 AND deleted_at IS NULL
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = $1 AND a.request_id = $2)
         RETURNING id)
UPDATE instance_actions SET updated_at = $3 WHERE server_id IN (SELECT id FROM moved) AND request_id = $2`,
			id, requestID, now(), string(action.To), action.Power, action.Task)
		b.Queue(eventsSQL, id, requestID, eventsJSON(events))
	})
	return failed(err, "finish to %s server %s", action.Method, id)
}

// FailAction takes an action's task off a server, makes it what it was (its VMState and PowerState; an empty VMState is as it
// is), and keeps why. The action may have finished and nobody have heard of it. A server on which something else is done by
// now, or that is gone, is success.
func (s *Store) FailAction(ctx context.Context, id, requestID string, action lifecycle.Action, was Server, f ServerFault, events []InstanceActionEvent) error {
	if f.CreatedAt.IsZero() {
		f.CreatedAt = now()
	}
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET task_state = NULL, updated_at = $3, vm_state = CASE WHEN $9 = '' THEN vm_state ELSE $9 END,
             power_state = CASE WHEN $9 = '' THEN power_state ELSE $10 END
         WHERE id = $1 AND (task_state = $4 OR task_state IS NULL AND vm_state = $11) AND deleted_at IS NULL
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = $1 AND a.request_id = $2 AND a.message IS NULL)
         RETURNING id),
     fault AS (
         INSERT INTO server_faults (server_id, code, message, details, created_at) SELECT id, $5, $6, $7, $8 FROM moved)
UPDATE instance_actions SET message = 'Error', updated_at = $3 WHERE server_id IN (SELECT id FROM moved) AND request_id = $2`,
			id, requestID, now(), action.Task, f.Code, f.Message, f.Details, f.CreatedAt, string(was.VMState), was.PowerState, string(action.To))
		b.Queue(eventsSQL, id, requestID, eventsJSON(events))
	})
	return failed(err, "give up to %s server %s", action.Method, id)
}

func statesOf(states []lifecycle.VMState) []string {
	var all []string
	for _, s := range states {
		all = append(all, string(s))
	}
	return all
}
