-- +goose Up

-- What runs of workflows have given back. A statement that was on its way when its run gave up, of a worker that was killed or
-- of a connection that broke, must not take it afterwards (models/taking.go).
CREATE TABLE given_back (
    run_id text NOT NULL CHECK (run_id <> ''),
    step text NOT NULL,              -- the activity that takes
    nth integer NOT NULL DEFAULT 0,  -- of a step that is done more than once
    hostname text NOT NULL,          -- '' is any host
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run_id, step, nth, hostname)
);
CREATE INDEX given_back_at ON given_back (at);

-- The first statement of whatever takes. Giving back waits for the same lock: so it finds what was taken, or is seen here.
-- +goose StatementBegin
CREATE FUNCTION may_take(run text, taking text, n integer, host text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(run, 0));
    IF EXISTS (SELECT FROM given_back WHERE run_id = run AND step = taking AND nth = n AND hostname IN ('', host)) THEN
        RAISE EXCEPTION 'run % has given back what % takes', run, taking USING ERRCODE = 'SW001';
    END IF;
END $$;
-- +goose StatementEnd

-- +goose Down

DROP FUNCTION may_take;
DROP TABLE given_back;
