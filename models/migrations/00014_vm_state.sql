-- +goose Up

-- What a server is (Nova's vm_state, internal/lifecycle). status stays beside it for processes of the version before: what they
-- read of a stopped server is ACTIVE, which is right for all that they do with it. The trigger keeps both, whoever writes one.
ALTER TABLE servers ADD COLUMN vm_state text CHECK (vm_state IN ('building', 'active', 'stopped', 'error', 'deleted'));
UPDATE servers SET vm_state = CASE status WHEN 'BUILD' THEN 'building' WHEN 'ACTIVE' THEN 'active' WHEN 'ERROR' THEN 'error' ELSE 'deleted' END;

-- +goose StatementBegin
CREATE FUNCTION servers_states() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.vm_state IS DISTINCT FROM OLD.vm_state OR TG_OP = 'INSERT' AND NEW.vm_state IS NOT NULL THEN
        NEW.status := CASE NEW.vm_state WHEN 'building' THEN 'BUILD' WHEN 'error' THEN 'ERROR' WHEN 'deleted' THEN 'DELETED' ELSE 'ACTIVE' END;
    ELSIF TG_OP = 'INSERT' OR NEW.status IS DISTINCT FROM OLD.status THEN
        NEW.vm_state := CASE NEW.status WHEN 'BUILD' THEN 'building' WHEN 'ACTIVE' THEN 'active' WHEN 'ERROR' THEN 'error' ELSE 'deleted' END;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER servers_states BEFORE INSERT OR UPDATE OF status, vm_state ON servers FOR EACH ROW EXECUTE FUNCTION servers_states();
ALTER TABLE servers ALTER COLUMN vm_state SET NOT NULL;

-- +goose Down

DROP TRIGGER servers_states ON servers;
DROP FUNCTION servers_states;
ALTER TABLE servers DROP COLUMN vm_state;
