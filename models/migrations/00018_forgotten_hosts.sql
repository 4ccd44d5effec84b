-- +goose Up

-- Hosts that operators gave up for good: who did so, when and why. It is history, and outlives the host: it refers to nothing.
CREATE TABLE forgotten_hosts (
    host_id    text PRIMARY KEY, -- BeginForget, ForgottenHost
    hostname   text NOT NULL,
    reason     text NOT NULL CHECK (reason <> ''),
    user_id    text NOT NULL,
    request_id text NOT NULL,
    at         timestamptz NOT NULL,
    done_at    timestamptz,                 -- nothing is left of it, its row neither
    servers    integer NOT NULL DEFAULT 0,  -- that lost their guest with it
    waits_for  text NOT NULL DEFAULT ''     -- what is not given up yet
);

-- +goose Down

DROP TABLE forgotten_hosts;
