-- +goose Up
-- What operators did with undos that wait. It is history: it outlives the servers that it names, so it refers to nothing.
CREATE TABLE operator_acts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL,
    act         text NOT NULL CHECK (act IN ('retry', 'skip')),
    undo        text NOT NULL, -- empty: every one that waits
    reason      text NOT NULL,
    user_id     text NOT NULL,
    project_id  text NOT NULL, -- the server's
    request_id  text NOT NULL,
    workflow_id text NOT NULL,
    server_id   text NOT NULL,
    CONSTRAINT operator_acts_once UNIQUE (request_id, workflow_id, undo) -- RecordOperatorAct: an activity can run twice
);
CREATE INDEX operator_acts_server ON operator_acts (server_id, id); -- OperatorActs

-- When the host last came back: it registered, or reported after it had been given up.
ALTER TABLE hosts ADD COLUMN back_at timestamptz;

-- +goose Down
ALTER TABLE hosts DROP COLUMN back_at;
DROP TABLE operator_acts;
