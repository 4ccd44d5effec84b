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
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT ON CONSTRAINT operator_acts_once DO NOTHING`,
		a.At, a.Act, a.Undo, a.Reason, a.UserID, a.ProjectID, a.RequestID, a.WorkflowID, a.ServerID)
	return failed(err, "record what an operator does with %s", a.WorkflowID)
}

// OperatorActs are what operators did with undos of a server, oldest first: those of its own workflows and of its
// clean-ups, also of ended ones.
func (s *Store) OperatorActs(ctx context.Context, serverID string) ([]OperatorAct, error) {
	all := []OperatorAct{}
	err := s.db.WithContext(ctx).Where("server_id = ?", serverID).Order("id").Find(&all).Error
	return all, failed(err, "list what operators did with server %s", serverID)
}
