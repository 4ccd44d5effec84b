-- +goose Up

-- The projects that may use a flavor which is not public.
CREATE TABLE flavor_access (
    flavor_id  text NOT NULL REFERENCES flavors ON DELETE CASCADE,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    PRIMARY KEY (flavor_id, project_id) -- FlavorFor, ListFlavors
);
CREATE INDEX flavor_access_project ON flavor_access (project_id); -- the cascade from projects

-- Limits by Nova's names, and those alone that were set: what is not set follows the defaults. The columns beside them are what the version
-- before reads, all of them; what it writes there has been set.
ALTER TABLE project_quotas ADD COLUMN limits jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(limits) = 'object');
UPDATE project_quotas SET limits = jsonb_build_object('instances', instances, 'cores', cores, 'ram', ram_mib, 'key_pairs', key_pairs);

-- +goose StatementBegin
CREATE FUNCTION project_quotas_limits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.limits = '{}' OR TG_OP = 'UPDATE' AND NEW.limits = OLD.limits THEN
        NEW.limits := NEW.limits || jsonb_build_object('instances', NEW.instances, 'cores', NEW.cores, 'ram', NEW.ram_mib, 'key_pairs', NEW.key_pairs);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER project_quotas_limits BEFORE INSERT OR UPDATE ON project_quotas FOR EACH ROW EXECUTE FUNCTION project_quotas_limits();

-- Limits of a class of projects (Nova's quota classes). All projects are of the class default.
CREATE TABLE quota_classes (
    name   text PRIMARY KEY CHECK (name <> ''),
    limits jsonb NOT NULL CHECK (jsonb_typeof(limits) = 'object')
);

ALTER TABLE hosts
    ADD COLUMN forced_down boolean NOT NULL DEFAULT false, -- an operator's word that it is down, whatever it reports
    ADD COLUMN address     text NOT NULL DEFAULT '',       -- from which it reports
    ADD COLUMN machine     jsonb;                          -- what it tells of its machine; null before it has

CREATE INDEX servers_launched ON servers (launched_at) WHERE launched_at IS NOT NULL; -- ServersInUse

-- +goose Down

DROP INDEX servers_launched;
ALTER TABLE hosts DROP COLUMN machine, DROP COLUMN address, DROP COLUMN forced_down;
DROP TABLE quota_classes;
DROP TRIGGER project_quotas_limits ON project_quotas;
DROP FUNCTION project_quotas_limits;
ALTER TABLE project_quotas DROP COLUMN limits;
DROP TABLE flavor_access;
