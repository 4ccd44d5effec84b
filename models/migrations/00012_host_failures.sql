-- +goose Up
-- Builds that failed on a host one after another, each by the host's own fault.
ALTER TABLE hosts
    ADD COLUMN build_failures integer NOT NULL DEFAULT 0 CHECK (build_failures >= 0), -- since the last build that became ACTIVE
    ADD COLUMN last_failure text,                        -- the step and what it said; kept after a success
    ADD COLUMN last_failure_at timestamptz,
    ADD COLUMN suspended boolean NOT NULL DEFAULT false, -- too many: no new servers until its trial has passed
    ADD COLUMN trial_due_at timestamptz,                 -- of a suspended host: when it is asked for a trial
    ADD COLUMN trial_pause integer NOT NULL DEFAULT 0;   -- seconds from one trial to the next; grows until a build succeeds
ALTER TABLE allocations ADD COLUMN failed_at timestamptz; -- when the failure of its build was counted against the host

-- +goose Down
ALTER TABLE allocations DROP COLUMN failed_at;
ALTER TABLE hosts
    DROP COLUMN trial_pause,
    DROP COLUMN trial_due_at,
    DROP COLUMN suspended,
    DROP COLUMN last_failure_at,
    DROP COLUMN last_failure,
    DROP COLUMN build_failures;
