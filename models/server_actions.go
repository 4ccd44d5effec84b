package models

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

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
	// OverLock begins it although the server is locked. It is not kept.
	OverLock bool `gorm:"-"`
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
         UPDATE servers SET task_state = @task_state, updated_at = @at
         WHERE id = @id AND vm_state = ANY(@from) AND task_state IS NULL AND launched_at IS NOT NULL AND (host_id IS NOT NULL OR @no_host) AND deleted_at IS NULL
           AND (locked_by IS NULL OR @over_lock) AND NOT EXISTS (SELECT FROM instance_actions WHERE server_id = @id AND request_id = @request_id) AND NOT `+isLate("@answer_by")+`
         RETURNING id)
INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, started_at, updated_at)
SELECT id, @request_id, @action, @user_id, @project_id, @started_at, @at FROM marked`,
			named{
				"id": id, "request_id": a.RequestID, "action": a.Action, "user_id": a.UserID, "project_id": a.ProjectID, "at": at,
				"task_state": action.Task, "from": statesOf(action.From), "started_at": a.StartedAt, "over_lock": a.OverLock || action.Locked,
				"answer_by": optionalTime(a.AnswerBy), "no_host": action.NoHost,
			})
		b.Queue(`SELECT EXISTS (SELECT FROM instance_actions WHERE server_id = $1 AND request_id = $2 AND action = $3), `+isLate("$4"),
			id, a.RequestID, a.Action, optionalTime(a.AnswerBy)).
			QueryRow(func(r pgx.Row) error { return r.Scan(&mine, &late) })
		tell(b, a.RequestID, action.Told(), started, id)
	})
	if err != nil {
		return Server{}, failed(err, "begin to %s server %s", action.Method, id)
	}
	v, err := s.Server(ctx, id)
	switch {
	case err != nil:
		return v, err
	case mine && slices.Contains(action.Tasks(), v.Task()): // a later phase shows where a worker was killed behind it
		return v, nil
	case late && !mine:
		return v, tooLate()
	}
	if err := v.CanBegin(action, a.OverLock); err != nil {
		return v, err
	}
	return v, fault.New(fault.Conflict, "The request %s has begun to %s instance %s and has ended.", a.RequestID, action.Method, id)
}

// AdvanceAction shows the n-th of the phases that follow an action's first, where the one before it is shown, and puts the server
// into the state that it has from there on. Again is success.
func (s *Store) AdvanceAction(ctx context.Context, id, requestID string, action lifecycle.Action, n int) error {
	was, is := action.Tasks()[n], action.Then[n]
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET task_state = @task_state, updated_at = @at, vm_state = COALESCE(NULLIF(@state, ''), vm_state),
             power_state = CASE WHEN @state = '' OR @power_state::integer = @as_it_was::integer THEN power_state ELSE @power_state::integer END
         WHERE id = @id AND task_state = @was AND deleted_at IS NULL
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = @id AND a.request_id = @request_id)
         RETURNING id)
UPDATE instance_actions SET updated_at = @at WHERE server_id IN (SELECT id FROM moved) AND request_id = @request_id`,
			named{
				"id": id, "request_id": requestID, "at": now(), "task_state": is.Task, "was": was, "state": string(is.State),
				"power_state": action.Power, "as_it_was": lifecycle.AsItWas,
			})
		if before, from := action.ToldIn(n), action.ToldIn(n+1); before != from {
			tell(b, requestID, before, ended, id)
			tell(b, requestID, from, started, id)
		}
	})
	return failed(err, "go on to %s server %s", action.Method, id)
}

// CanBegin says why an action cannot begin in the state that the server is in, in Nova's words (compute/api.py,
// check_instance_lock, check_instance_state; api/openstack/common.py, raise_http_conflict_for_instance_invalid_state); nil where
// it can. overLock is an admin, whom no lock keeps out.
func (v Server) CanBegin(action lifecycle.Action, overLock bool) error {
	if err := v.MayChange(overLock || action.Locked); err != nil {
		return err
	}
	switch {
	case !action.Allows(v.VMState):
		return v.Refuses(action.Method, "vm_state", string(v.VMState))
	case v.TaskState != nil:
		return v.Refuses(action.Method, "task_state", *v.TaskState)
	case v.LaunchedAt == nil || v.HostID == nil && !action.NoHost:
		return fault.New(fault.Conflict, "Instance %s is not ready", v.ID)
	}
	return nil
}

// Refuses is Nova's InstanceInvalidState: what was asked for cannot be done while an attribute of the server is what it is.
func (v Server) Refuses(what, attribute, is string) error {
	return fault.New(fault.Conflict, "Cannot '%s' instance %s while it is in %s %s", what, v.ID, attribute, is)
}

// FinishAction puts a server into the state that an action ends in, and writes the action's events. Again is success.
func (s *Store) FinishAction(ctx context.Context, id, requestID string, action lifecycle.Action, events []InstanceActionEvent) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET vm_state = COALESCE(NULLIF(@to, ''), vm_state), task_state = NULL, updated_at = @at,
             power_state = COALESCE(NULLIF(@power_state::integer, @as_it_was), power_state)
         WHERE id = @id AND task_state = ANY(@tasks) AND deleted_at IS NULL
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = @id AND a.request_id = @request_id)
         RETURNING id)
UPDATE instance_actions SET updated_at = @at WHERE server_id IN (SELECT id FROM moved) AND request_id = @request_id`,
			named{
				"id": id, "request_id": requestID, "at": now(), "to": string(action.To), "power_state": action.Power,
				"as_it_was": lifecycle.AsItWas, "tasks": action.Tasks(),
			})
		b.Queue(eventsSQL, id, requestID, eventsJSON(events))
		tell(b, requestID, action.ToldLast(), ended, id)
	})
	return failed(err, "finish to %s server %s", action.Method, id)
}

// FailAction takes an action's task off a server, makes it what it was (its VMState and PowerState; an empty VMState is as it
// is), and keeps why. The action may have finished and nobody have heard of it, and the host have seen since that its undo turned
// the guest off. A server on which something else is done by now, that has left its host for good, or that is gone, is success.
func (s *Store) FailAction(ctx context.Context, id, requestID string, action lifecycle.Action, was Server, f ServerFault, events []InstanceActionEvent) error {
	if f.CreatedAt.IsZero() {
		f.CreatedAt = now()
	}
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
WITH moved AS (
         UPDATE servers SET task_state = NULL, updated_at = @at, vm_state = CASE WHEN @was_vm_state = '' THEN vm_state ELSE @was_vm_state END,
             power_state = CASE WHEN @was_vm_state = '' THEN power_state ELSE @was_power_state END
         WHERE id = @id AND (task_state = ANY(@tasks) OR task_state IS NULL AND vm_state IN (COALESCE(NULLIF(@to, ''), vm_state), @went_down)) AND deleted_at IS NULL
           AND (NOT `+isOffloaded+` OR @was_vm_state IN ('', vm_state))
           AND EXISTS (SELECT FROM instance_actions a WHERE a.server_id = @id AND a.request_id = @request_id AND a.message IS NULL)
         RETURNING id),
     fault AS (
         INSERT INTO server_faults (server_id, code, message, details, created_at) SELECT id, @code, @message, @details, @failed_at FROM moved)
UPDATE instance_actions SET message = 'Error', updated_at = @at WHERE server_id IN (SELECT id FROM moved) AND request_id = @request_id`,
			named{
				"id": id, "request_id": requestID, "at": now(), "tasks": action.Tasks(), "code": f.Code, "message": f.Message,
				"details": f.Details, "failed_at": f.CreatedAt, "was_vm_state": string(was.VMState), "was_power_state": was.PowerState,
				"to": string(action.To), "went_down": string(lifecycle.WentDown.To),
			})
		b.Queue(eventsSQL, id, requestID, eventsJSON(events))
		tell(b, requestID, action.ToldFailed(), erred, id)
	})
	return failed(err, "give up to %s server %s", action.Method, id)
}

// ResetServer makes a server active or failed, whatever it was and was being done to it, and records that; what a request ended
// ("" is none) counts as failed, and changes the server no more. A resize that waits to be confirmed is given up: the server is what it
// became. Again is success, and so is a server that cannot become that: one that is deleted or being deleted, and to become active one
// that was never built.
func (s *Store) ResetServer(ctx context.Context, id string, state lifecycle.VMState, ended string, a InstanceAction) error {
	from := lifecycle.Reset.From
	if state == lifecycle.Active {
		from = lifecycle.ResetActive.From
	}
	a.ServerID, a.UpdatedAt = id, a.StartedAt
	event := InstanceActionEvent{
		ServerID: id, RequestID: a.RequestID, Event: "ResetState", StartedAt: a.StartedAt, EndedAt: &a.StartedAt, Result: new("Success"),
	}
	err := s.tx(ctx, func(tx *gorm.DB) error {
		var was Server
		err := tx.Clauses(clause.Locking{Strength: "NO KEY UPDATE"}).Where(`id = ? AND vm_state = ANY(?) AND task_state IS DISTINCT FROM ? AND deleted_at IS NULL
			AND (? <> '`+string(lifecycle.Active)+`' OR launched_at IS NOT NULL AND host_id IS NOT NULL)
			AND NOT EXISTS (SELECT FROM instance_actions a WHERE a.server_id = servers.id AND a.request_id = ?)`,
			id, texts(statesOf(from)), deleting, string(state), a.RequestID).Take(&was).Error
		if err != nil {
			return err
		}
		if err := tx.Model(&Server{}).Where("id = ?", id).Updates(map[string]any{"vm_state": state, "task_state": nil, "updated_at": a.StartedAt}).Error; err != nil {
			return err
		}
		if err := tx.Exec(`UPDATE instance_actions SET message = 'Error', updated_at = ? WHERE server_id = ? AND request_id = ?`,
			a.StartedAt, id, ended).Error; err != nil {
			return err
		}
		if err := tx.Create(&a).Error; err != nil {
			return err
		}
		if err := tx.Create(&event).Error; err != nil {
			return err
		}
		if err := giveUpMigration(tx, id, ""); err != nil {
			return err
		}
		return tellUpdate(tx, was, a)
	})
	if isAbsent(err) {
		return nil
	}
	return failed(err, "reset the state of server %s", id)
}

// RecordAction records what is done to a server beside its lock, and its events. Recorded again it is what it has become.
func (s *Store) RecordAction(ctx context.Context, a InstanceAction) error {
	err := s.batch(ctx, func(b *pgx.Batch) {
		b.Queue(`
INSERT INTO instance_actions (server_id, request_id, action, user_id, project_id, message, started_at, updated_at)
VALUES (@server_id, @request_id, @action, @user_id, @project_id, @message, @started_at, @at)
ON CONFLICT (server_id, request_id) DO UPDATE SET message = excluded.message, updated_at = excluded.updated_at`,
			named{
				"server_id": a.ServerID, "request_id": a.RequestID, "action": a.Action, "user_id": a.UserID, "project_id": a.ProjectID,
				"message": a.Message, "started_at": a.StartedAt, "at": now(),
			})
		b.Queue(eventsSQL, a.ServerID, a.RequestID, eventsJSON(a.Events))
		switch { // Nova tells nothing of one that fails
		case a.Events == nil:
			tell(b, a.RequestID, a.Action, started, a.ServerID)
		case a.Message == nil:
			tell(b, a.RequestID, a.Action, ended, a.ServerID)
		}
	})
	return failed(err, "record %s of server %s", a.Action, a.ServerID)
}

func statesOf(states []lifecycle.VMState) []string {
	var all []string
	for _, s := range states {
		all = append(all, string(s))
	}
	return all
}
