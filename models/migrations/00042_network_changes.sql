-- +goose Up

-- The engine that networks are brought to, beside these tables. While one is here, what changes is kept for it.
CREATE TABLE network_engines (
    name  text PRIMARY KEY CHECK (name <> ''),
    since timestamptz NOT NULL
);

-- What the engine has to look at: which resource changed, nothing of how. Whoever brings it there reads how it is by then.
CREATE SEQUENCE network_changes_sequence;
CREATE TABLE network_changes (
    kind        text NOT NULL,
    resource_id text NOT NULL,
    sequence    bigint NOT NULL,      -- another one with each change
    changed_at  timestamptz NOT NULL,
    due_at      timestamptz NOT NULL,
    attempts    integer NOT NULL,     -- that failed since it changed
    last_error  text,
    PRIMARY KEY (kind, resource_id)
);
CREATE INDEX network_changes_sequence_key ON network_changes (sequence); -- NetworkChanges, in the order of the changes

-- +goose StatementBegin
CREATE FUNCTION network_changed(what text, id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO network_changes (kind, resource_id, sequence, changed_at, due_at, attempts)
    VALUES (what, id, nextval('network_changes_sequence'), now(), now(), 0)
    ON CONFLICT (kind, resource_id) DO UPDATE
    SET sequence = excluded.sequence, changed_at = excluded.changed_at, due_at = excluded.due_at, attempts = 0, last_error = NULL;
    PERFORM pg_notify('slipway_network_changes', '');
END $$;

-- network_changes_kept(kind, column of its id): words about a resource are nothing to the engine.
CREATE FUNCTION network_changes_kept() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    words text[] := '{name,description,tags,revision,updated_at,free_after}'; -- the last one is fixed_ips' own: whether the next address is free
BEGIN
    IF NOT EXISTS (SELECT FROM network_engines) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        PERFORM network_changed(TG_ARGV[0], to_jsonb(OLD) ->> TG_ARGV[1]);
    ELSIF TG_OP = 'INSERT' OR to_jsonb(NEW) - words IS DISTINCT FROM to_jsonb(OLD) - words THEN
        PERFORM network_changed(TG_ARGV[0], to_jsonb(NEW) ->> TG_ARGV[1]);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER networks_changed AFTER INSERT OR UPDATE OR DELETE ON networks FOR EACH ROW EXECUTE FUNCTION network_changes_kept('network', 'id');
CREATE TRIGGER subnets_changed AFTER INSERT OR UPDATE OR DELETE ON subnets FOR EACH ROW EXECUTE FUNCTION network_changes_kept('subnet', 'id');
CREATE TRIGGER ports_changed AFTER INSERT OR UPDATE OR DELETE ON ports FOR EACH ROW EXECUTE FUNCTION network_changes_kept('port', 'id');
CREATE TRIGGER fixed_ips_changed AFTER INSERT OR UPDATE OR DELETE ON fixed_ips FOR EACH ROW EXECUTE FUNCTION network_changes_kept('port', 'port_id');

-- +goose Down

DROP TRIGGER fixed_ips_changed ON fixed_ips;
DROP TRIGGER ports_changed ON ports;
DROP TRIGGER subnets_changed ON subnets;
DROP TRIGGER networks_changed ON networks;
DROP FUNCTION network_changes_kept, network_changed;
DROP TABLE network_changes, network_engines;
DROP SEQUENCE network_changes_sequence;
