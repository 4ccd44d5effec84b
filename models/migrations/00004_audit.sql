-- +goose Up
-- What audits found and what operators did about it. It is history: it outlives the servers and hosts that it names, so it
-- refers to nothing. A run every ten minutes is a row of a hundred bytes each.
CREATE TABLE audit_runs (
    id          text PRIMARY KEY, -- the engine's run id
    state       text NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    hosts       text[] NOT NULL, -- hostnames
    looked      text[] NOT NULL, -- those that were looked at
    findings    integer NOT NULL CHECK (findings >= 0), -- open at its end, without warnings
    warnings    integer NOT NULL CHECK (warnings >= 0),
    error       text,
    CONSTRAINT audit_runs_finished CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX audit_runs_started ON audit_runs (started_at, id); -- AuditRuns, the newest first

CREATE TABLE audit_findings (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text NOT NULL, -- the same whenever the same thing is found
    kind        text NOT NULL,
    object      text NOT NULL,
    server_id   text NOT NULL, -- empty: of none
    host        text NOT NULL, -- hostname, or empty
    text        text NOT NULL,
    repair      text NOT NULL, -- empty: nothing that Slipway can do
    warning     boolean NOT NULL,
    scope       text NOT NULL, -- what has to be looked at to know that it is gone
    first_seen  timestamptz NOT NULL,
    last_seen   timestamptz NOT NULL,
    resolved_at timestamptz, -- not found any more, or repaired
    repaired_at timestamptz,
    repaired_by text, -- user id
    repair_id   text,
    CONSTRAINT audit_findings_repaired CHECK ((repaired_at IS NULL) = (repaired_by IS NULL))
);
CREATE UNIQUE INDEX audit_findings_open ON audit_findings (id) WHERE resolved_at IS NULL; -- RecordFindings, AuditFindings: one open row a finding
CREATE INDEX audit_findings_repair ON audit_findings (repair_id) WHERE repair_id IS NOT NULL; -- what one repair did

CREATE TABLE audit_repairs (
    id          text PRIMARY KEY,
    user_id     text NOT NULL,
    request_id  text NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    findings    jsonb NOT NULL CHECK (jsonb_typeof(findings) = 'array'), -- chosen ids
    outcomes    jsonb NOT NULL CHECK (jsonb_typeof(outcomes) = 'object'), -- by finding id
    error       text
);

-- +goose Down
DROP TABLE audit_repairs, audit_findings, audit_runs;
