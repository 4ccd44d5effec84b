package models

import (
	"context"
	"fmt"
	"time"
)

// BuildFailure is a build that failed on a host by the host's own fault.
type BuildFailure struct {
	ServerID string
	Hostname string
	Text     string // the step and what it said
	At       time.Time
	Limit    int // with so many in a row the host is suspended; 0 is never
}

// CountBuildFailure counts a failure against the host that the server holds room on, once however often it is told, and
// suspends the host when it is one too many. counted is false for what was counted before, or when the server holds no room
// there any more.
func (s *Store) CountBuildFailure(ctx context.Context, f BuildFailure) (h Host, counted bool, err error) {
	u := s.db.WithContext(ctx).Raw(`
WITH counted AS (
    UPDATE placements SET failed_at = @at
    WHERE server_id = @server AND host_id = (SELECT id FROM hosts WHERE hostname = @host) AND failed_at IS NULL
    RETURNING host_id)
UPDATE hosts SET build_failures = build_failures + 1, last_failure = @text, last_failure_at = @at,
    suspended = suspended OR @limit > 0 AND build_failures + 1 >= @limit,
    trial_due_at = CASE WHEN suspended THEN trial_due_at
                        WHEN @limit > 0 AND build_failures + 1 >= @limit THEN CAST(@at AS timestamptz) + trial_pause * interval '1 second' END
WHERE id IN (SELECT host_id FROM counted)
RETURNING *`, map[string]any{"server": f.ServerID, "host": f.Hostname, "text": f.Text, "at": f.At, "limit": f.Limit}).Scan(&h)
	return h, u.RowsAffected > 0, failed(u.Error, "count the failure of server %s on host %s", f.ServerID, f.Hostname)
}

// Pauses between the trials of a suspended host: doubled each time, from the first to the last.
const (
	firstTrialPause = time.Minute
	lastTrialPause  = 30 * time.Minute
)

// TakeTrial says whether a suspended host is to try itself now. It says so once, and again after a pause.
func (s *Store) TakeTrial(ctx context.Context, hostID string, now time.Time) (bool, error) {
	const pause = "LEAST(GREATEST(2 * trial_pause, @first), @last)"
	u := s.db.WithContext(ctx).Exec(`
UPDATE hosts SET trial_pause = `+pause+`, trial_due_at = CAST(@now AS timestamptz) + `+pause+` * interval '1 second'
WHERE id = @id AND suspended AND trial_due_at <= @now`, map[string]any{
		"id": hostID, "now": now, "first": int(firstTrialPause.Seconds()), "last": int(lastTrialPause.Seconds()),
	})
	return u.RowsAffected > 0, failed(u.Error, "take the trial of host %s", hostID)
}

// EndSuspension lets a host take servers again, on probation: its failures still count, so the next one suspends it. It
// answers whether the host was suspended.
func (s *Store) EndSuspension(ctx context.Context, hostID string) (bool, error) {
	u := s.db.WithContext(ctx).Model(&Host{}).Where("id = ? AND suspended", hostID).Updates(map[string]any{"suspended": false, "trial_due_at": nil})
	return u.RowsAffected > 0, failed(u.Error, "end the suspension of host %s", hostID)
}

// FailingHosts are those on which the last build failed, by hostname.
func (s *Store) FailingHosts(ctx context.Context) ([]Host, error) {
	all := []Host{}
	err := s.db.WithContext(ctx).Where("build_failures > 0").Order("hostname").Find(&all).Error
	return all, failed(err, "list the hosts that fail builds")
}

// forgiven are the columns of a host that has done well, or that an operator vouches for. The last failure stays to be read.
var forgiven = map[string]any{"build_failures": 0, "suspended": false, "trial_due_at": nil, "trial_pause": 0}

// CanTake says whether the host itself is fit for new servers: its hypervisor answers, and it is not suspended. The reason
// is fit for users, to whom another's failure does not belong: LastFailure has it.
func (h Host) CanTake() (ok bool, reason string) {
	switch {
	case h.ForcedDown:
		return false, "forced down by an operator"
	case !h.Ready && h.NotReadyReason != nil:
		return false, *h.NotReadyReason
	case h.Suspended:
		return false, fmt.Sprintf("%d builds in a row failed on it; `slipway host show %s` says how", h.BuildFailures, h.Hostname)
	}
	return h.Ready, ""
}
