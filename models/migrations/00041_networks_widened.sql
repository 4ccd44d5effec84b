-- +goose Up

-- What Neutron keeps of each of them beside what they are: tags, and a number that grows with every change.
-- +goose StatementBegin
CREATE FUNCTION revised() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW IS DISTINCT FROM OLD THEN
        NEW.revision := OLD.revision + 1;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd

ALTER TABLE networks
    ADD COLUMN admin_state_up boolean NOT NULL DEFAULT true,
    ADD COLUMN port_security  boolean NOT NULL DEFAULT true, -- what its ports have where they say nothing
    ADD COLUMN tags           jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    ADD COLUMN revision       bigint NOT NULL DEFAULT 1;
CREATE TRIGGER networks_revised BEFORE UPDATE ON networks FOR EACH ROW EXECUTE FUNCTION revised();

ALTER TABLE subnets
    ADD COLUMN description       text NOT NULL DEFAULT '',
    ADD COLUMN pools             jsonb CHECK (jsonb_typeof(pools) = 'array'), -- of {"start", "end"}, in order; none overlap
    ADD COLUMN host_routes       jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(host_routes) = 'array'), -- of {"destination", "nexthop"}
    ADD COLUMN ipv6_ra_mode      text CHECK (ipv6_ra_mode IN ('slaac', 'dhcpv6-stateful', 'dhcpv6-stateless')),
    ADD COLUMN ipv6_address_mode text CHECK (ipv6_address_mode IN ('slaac', 'dhcpv6-stateful', 'dhcpv6-stateless')),
    ADD COLUMN tags              jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    ADD COLUMN revision          bigint NOT NULL DEFAULT 1;
UPDATE subnets SET pools = jsonb_build_array(jsonb_build_object('start', host(pool_start), 'end', host(pool_end)));
ALTER TABLE subnets ALTER COLUMN pools SET NOT NULL;
CREATE TRIGGER subnets_revised BEFORE UPDATE ON subnets FOR EACH ROW EXECUTE FUNCTION revised();

-- Processes of the version before know one pool: they write it, and read what spans all of them.
-- +goose StatementBegin
CREATE FUNCTION subnets_pools() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.pools IS NULL THEN
        NEW.pools := jsonb_build_array(jsonb_build_object('start', host(NEW.pool_start), 'end', host(NEW.pool_end)));
    ELSE
        SELECT COALESCE(min(p.start), network(NEW.cidr)::inet), COALESCE(max(p."end"), network(NEW.cidr)::inet) INTO NEW.pool_start, NEW.pool_end
        FROM jsonb_to_recordset(NEW.pools) AS p(start inet, "end" inet);
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER subnets_pools BEFORE INSERT OR UPDATE OF pools ON subnets FOR EACH ROW EXECUTE FUNCTION subnets_pools();

ALTER TABLE ports
    ADD COLUMN description    text NOT NULL DEFAULT '',
    ADD COLUMN admin_state_up boolean NOT NULL DEFAULT true,
    ADD COLUMN port_security  boolean NOT NULL DEFAULT true,
    ADD COLUMN device_id      text NOT NULL DEFAULT '', -- what a user says that has it; a server has it by server_id
    ADD COLUMN device_owner   text NOT NULL DEFAULT '',
    ADD COLUMN address_pairs  jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(address_pairs) = 'array'), -- of {"ip_address", "mac_address"}
    ADD COLUMN dhcp_options   jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(dhcp_options) = 'array'), -- of {"opt_name", "opt_value", "ip_version"}
    ADD COLUMN grouped        boolean NOT NULL DEFAULT true, -- in its project's security group
    ADD COLUMN tags           jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(tags) = 'array'),
    ADD COLUMN revision       bigint NOT NULL DEFAULT 1;
CREATE TRIGGER ports_revised BEFORE UPDATE ON ports FOR EACH ROW EXECUTE FUNCTION revised();

-- The lowest free address of a pool follows a taken one, which knows it: so it is found without a walk along those that are taken.
-- Whoever takes an address or gives one back holds the network's row, and then looks at those beside it.
ALTER TABLE fixed_ips ADD COLUMN free_after inet; -- the next address, where nobody has it
UPDATE fixed_ips f SET free_after = f.ip + 1 WHERE ip NOT IN ('255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff')
    AND NOT EXISTS (SELECT FROM fixed_ips n WHERE n.subnet_id = f.subnet_id AND n.ip = f.ip + 1);
CREATE INDEX fixed_ips_free ON fixed_ips (subnet_id, free_after) WHERE free_after IS NOT NULL; -- AllocatePort: the lowest free address
-- +goose StatementBegin
CREATE FUNCTION fixed_ips_taken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM networks WHERE id = (SELECT network_id FROM subnets WHERE id = NEW.subnet_id) FOR NO KEY UPDATE;
    IF NEW.ip NOT IN ('255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff') -- nothing follows these
        AND NOT EXISTS (SELECT FROM fixed_ips WHERE subnet_id = NEW.subnet_id AND ip = NEW.ip + 1) THEN
        NEW.free_after := NEW.ip + 1;
    END IF;
    UPDATE fixed_ips SET free_after = NULL WHERE subnet_id = NEW.subnet_id AND ip = NEW.ip - 1;
    RETURN NEW;
END $$;
CREATE FUNCTION fixed_ips_given() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM networks WHERE id = (SELECT network_id FROM subnets WHERE id = OLD.subnet_id) FOR NO KEY UPDATE;
    UPDATE fixed_ips SET free_after = OLD.ip WHERE subnet_id = OLD.subnet_id AND ip = OLD.ip - 1;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER fixed_ips_taken BEFORE INSERT ON fixed_ips FOR EACH ROW EXECUTE FUNCTION fixed_ips_taken();
CREATE TRIGGER fixed_ips_given AFTER DELETE ON fixed_ips FOR EACH ROW EXECUTE FUNCTION fixed_ips_given();

-- The last statement of a transaction that makes several things or none.
-- +goose StatementBegin
CREATE FUNCTION all_or_none(made bigint, wanted bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF made <> wanted THEN
        RAISE EXCEPTION 'made % of %', made, wanted USING ERRCODE = 'SW002';
    END IF;
END $$;
-- +goose StatementEnd

-- What was set for a project, by Neutron's names of the resources; the rest is configured.
CREATE TABLE network_quotas (
    project_id text PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    limits     jsonb NOT NULL CHECK (jsonb_typeof(limits) = 'object')
);

-- +goose Down

DROP TABLE network_quotas;
DROP FUNCTION all_or_none;
DROP TRIGGER fixed_ips_given ON fixed_ips;
DROP TRIGGER fixed_ips_taken ON fixed_ips;
DROP FUNCTION fixed_ips_given, fixed_ips_taken;
ALTER TABLE fixed_ips DROP COLUMN free_after;
DROP TRIGGER ports_revised ON ports;
ALTER TABLE ports DROP COLUMN description, DROP COLUMN admin_state_up, DROP COLUMN port_security, DROP COLUMN device_id, DROP COLUMN device_owner,
    DROP COLUMN address_pairs, DROP COLUMN dhcp_options, DROP COLUMN grouped, DROP COLUMN tags, DROP COLUMN revision;
DROP TRIGGER subnets_pools ON subnets;
DROP FUNCTION subnets_pools;
DROP TRIGGER subnets_revised ON subnets;
ALTER TABLE subnets DROP COLUMN description, DROP COLUMN pools, DROP COLUMN host_routes, DROP COLUMN ipv6_ra_mode, DROP COLUMN ipv6_address_mode,
    DROP COLUMN tags, DROP COLUMN revision;
DROP TRIGGER networks_revised ON networks;
ALTER TABLE networks DROP COLUMN admin_state_up, DROP COLUMN port_security, DROP COLUMN tags, DROP COLUMN revision;
DROP FUNCTION revised;
