package models

import (
	"context"
	"time"
)

// OperatorAct is what an operator did with an undo that waits: retry or skip. It is kept for good.
type OperatorAct struct {
	ID         int64 `gorm:"primaryKey"`
	At         time.Time
	Act        string
	Undo       string // "" is every undo that waited
	Reason     string
	UserID     string
	ProjectID  string // the server's
	RequestID  string
	WorkflowID string
	ServerID   string
}

// RecordOperatorAct keeps an act. The same request again is success, and one record.
func (s *Store) RecordOperatorAct(ctx context.Context, a OperatorAct) error {
	if a.At.IsZero() {
		a.At = now()
	}
	err := s.exec(ctx, `
INSERT INTO operator_acts (at, act, undo, reason, user_id, project_id, request_id, workflow_id, server_id)
VALUES (@at, @act, @undo, @reason, @user_id, @project_id, @request_id, @workflow_id, @server_id)
ON CONFLICT ON CONSTRAINT operator_acts_once DO NOTHING`,
		named{
			"at": a.At, "act": a.Act, "undo": a.Undo, "reason": a.Reason, "user_id": a.UserID, "project_id": a.ProjectID,
			"request_id": a.RequestID, "workflow_id": a.WorkflowID, "server_id": a.ServerID,
		})
	return failed(err, "record what an operator does with %s", a.WorkflowID)
}

// OperatorActs are what operators did with undos of a server, oldest first: those of its own workflows and of its
// clean-ups, also of ended ones.
func (s *Store) OperatorActs(ctx context.Context, serverID string) ([]OperatorAct, error) {
	all := []OperatorAct{}
	err := s.db.WithContext(ctx).Where("server_id = ?", serverID).Order("id").Find(&all).Error
	return all, failed(err, "list what operators did with server %s", serverID)
}
