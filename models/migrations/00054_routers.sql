-- +goose Up

-- External networks: part of a network outside, by the name that hosts have for it, untagged or in a VLAN.
ALTER TABLE networks
    ADD COLUMN physical_network text CHECK (physical_network <> ''),
    ADD COLUMN vlan             integer CHECK (vlan BETWEEN 1 AND 4094), -- null is none
    ADD CONSTRAINT networks_vlan CHECK (vlan IS NULL OR physical_network IS NOT NULL);
CREATE UNIQUE INDEX networks_segment ON networks (physical_network, COALESCE(vlan, 0)) WHERE physical_network IS NOT NULL;

CREATE TABLE routers (
    id             text PRIMARY KEY,
    project_id     text NOT NULL REFERENCES projects,
    name           text NOT NULL,
    description    text NOT NULL,
    admin_state_up boolean NOT NULL,
    enable_snat    boolean NOT NULL, -- what leaves by its gateway has the gateway's address
    routes         jsonb NOT NULL CHECK (jsonb_typeof(routes) = 'array'), -- of {"destination", "nexthop"}
    tags           jsonb NOT NULL CHECK (jsonb_typeof(tags) = 'array'),
    revision       bigint NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
);
CREATE INDEX routers_project ON routers (project_id, created_at, id); -- ListRouters of a project, in its default order; the foreign key
CREATE INDEX routers_created ON routers (created_at, id);             -- ListRouters of an admin, in its default order
CREATE TRIGGER routers_project_stands BEFORE INSERT ON routers FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');
CREATE TRIGGER routers_revised BEFORE UPDATE ON routers FOR EACH ROW EXECUTE FUNCTION revised();

CREATE TABLE floating_ips (
    id          text PRIMARY KEY,
    project_id  text NOT NULL REFERENCES projects,
    description text NOT NULL,
    network_id  text NOT NULL REFERENCES networks,
    ip          inet NOT NULL, -- its port has it (ports.floating_ip_id)
    router_id   text REFERENCES routers, -- by which it is reached, while it stands for an address
    port_id     text,
    subnet_id   text,
    fixed_ip    inet,
    tags        jsonb NOT NULL CHECK (jsonb_typeof(tags) = 'array'),
    revision    bigint NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    -- An address that a port loses, whatever takes it, is one that none stands for.
    CONSTRAINT floating_ips_fixed FOREIGN KEY (port_id, subnet_id, fixed_ip) REFERENCES fixed_ips ON DELETE SET NULL,
    CONSTRAINT floating_ips_whole CHECK (num_nulls(router_id, port_id, subnet_id, fixed_ip) IN (0, 4)),
    CONSTRAINT floating_ips_one UNIQUE (network_id, port_id, fixed_ip)
);
CREATE INDEX floating_ips_project ON floating_ips (project_id, created_at, id); -- ListFloatingIPs of a project; the foreign key
CREATE INDEX floating_ips_created ON floating_ips (created_at, id);             -- ListFloatingIPs of an admin
CREATE INDEX floating_ips_port ON floating_ips (port_id, subnet_id, fixed_ip) WHERE port_id IS NOT NULL; -- the foreign key; a server's addresses
CREATE INDEX floating_ips_router ON floating_ips (router_id) WHERE router_id IS NOT NULL;                -- the foreign key
-- +goose StatementBegin
CREATE FUNCTION floating_ips_let_go() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.port_id IS NULL THEN
        NEW.router_id := NULL;
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER floating_ips_let_go BEFORE UPDATE ON floating_ips FOR EACH ROW EXECUTE FUNCTION floating_ips_let_go();
CREATE TRIGGER floating_ips_project_stands BEFORE INSERT ON floating_ips FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');
CREATE TRIGGER floating_ips_revised BEFORE UPDATE ON floating_ips FOR EACH ROW EXECUTE FUNCTION revised();

-- Ports of routers and of floating IPs. What a gateway and a floating IP have outside is no project's.
ALTER TABLE ports
    ALTER COLUMN project_id DROP NOT NULL,
    ADD COLUMN router_id      text REFERENCES routers,
    ADD COLUMN floating_ip_id text REFERENCES floating_ips ON DELETE CASCADE,
    ADD CONSTRAINT ports_routed CHECK (router_id IS NULL OR device_owner IN ('network:router_interface', 'network:router_gateway')),
    ADD CONSTRAINT ports_one_use CHECK (num_nonnulls(server_id, router_id, floating_ip_id) <= 1),
    ADD CONSTRAINT ports_owned CHECK (project_id IS NOT NULL OR router_id IS NOT NULL OR floating_ip_id IS NOT NULL);
DROP TRIGGER ports_project_stands ON ports;
CREATE TRIGGER ports_project_stands BEFORE INSERT ON ports FOR EACH ROW WHEN (NEW.project_id IS NOT NULL) EXECUTE FUNCTION project_stands('project_id');
CREATE INDEX ports_router ON ports (router_id) WHERE router_id IS NOT NULL;
CREATE UNIQUE INDEX ports_gateway ON ports (router_id) WHERE router_id IS NOT NULL AND device_owner = 'network:router_gateway';
CREATE UNIQUE INDEX ports_floating ON ports (floating_ip_id) WHERE floating_ip_id IS NOT NULL;

CREATE TRIGGER routers_changed AFTER INSERT OR UPDATE OR DELETE ON routers FOR EACH ROW EXECUTE FUNCTION network_changes_kept('router', 'id');
CREATE TRIGGER floating_ips_changed AFTER INSERT OR UPDATE OR DELETE ON floating_ips FOR EACH ROW EXECUTE FUNCTION network_changes_kept('floating_ip', 'id');

-- A router's ports say what it routes and translates.
CREATE TRIGGER ports_routed_in AFTER INSERT OR UPDATE OF router_id ON ports FOR EACH ROW WHEN (NEW.router_id IS NOT NULL)
    EXECUTE FUNCTION network_changes_kept('router', 'router_id');
CREATE TRIGGER ports_routed_out AFTER DELETE ON ports FOR EACH ROW WHEN (OLD.router_id IS NOT NULL)
    EXECUTE FUNCTION network_changes_kept('router', 'router_id');
-- +goose StatementBegin
CREATE FUNCTION router_readdressed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM network_engines) THEN
        PERFORM network_changed('router', router_id) FROM ports WHERE id IN (OLD.port_id, NEW.port_id) AND router_id IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;

-- Which hosts lead out says where the gateways are on the networks to which they lead.
CREATE FUNCTION gateways_moved(led jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF led <> '[]' AND EXISTS (SELECT FROM network_engines) THEN
        PERFORM network_changed('router', p.router_id) FROM ports p JOIN networks n ON n.id = p.network_id
        WHERE p.router_id IS NOT NULL AND p.device_owner = 'network:router_gateway' AND led @> to_jsonb(n.physical_network) ORDER BY p.router_id;
    END IF;
END $$;
CREATE FUNCTION hosts_lead_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gateways_moved(COALESCE(OLD.machine #> '{outside,networks}', '[]') || COALESCE(NEW.machine #> '{outside,networks}', '[]'));
    RETURN NULL;
END $$;
CREATE FUNCTION forgotten_hosts_led_out() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM gateways_moved(machine #> '{outside,networks}') FROM hosts WHERE id = COALESCE(NEW.host_id, OLD.host_id);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER fixed_ips_routed AFTER INSERT OR DELETE ON fixed_ips FOR EACH ROW EXECUTE FUNCTION router_readdressed();
CREATE TRIGGER hosts_lead_out AFTER UPDATE OF machine ON hosts FOR EACH ROW
    WHEN ((OLD.machine -> 'outside') IS DISTINCT FROM (NEW.machine -> 'outside')) EXECUTE FUNCTION hosts_lead_out();
CREATE TRIGGER hosts_come AFTER INSERT ON hosts FOR EACH ROW WHEN ((NEW.machine -> 'outside') IS NOT NULL) EXECUTE FUNCTION hosts_lead_out();
CREATE TRIGGER hosts_go AFTER DELETE ON hosts FOR EACH ROW WHEN ((OLD.machine -> 'outside') IS NOT NULL) EXECUTE FUNCTION hosts_lead_out();
CREATE TRIGGER forgotten_hosts_go AFTER INSERT OR DELETE ON forgotten_hosts FOR EACH ROW EXECUTE FUNCTION forgotten_hosts_led_out();

-- +goose Down

DROP TRIGGER forgotten_hosts_go ON forgotten_hosts;
DROP TRIGGER hosts_go ON hosts;
DROP TRIGGER hosts_come ON hosts;
DROP TRIGGER hosts_lead_out ON hosts;
DROP TRIGGER fixed_ips_routed ON fixed_ips;
DROP TRIGGER ports_routed_out ON ports;
DROP TRIGGER ports_routed_in ON ports;
DROP FUNCTION forgotten_hosts_led_out, hosts_lead_out, gateways_moved, router_readdressed;
DELETE FROM ports WHERE router_id IS NOT NULL OR floating_ip_id IS NOT NULL;
DROP TRIGGER ports_project_stands ON ports;
CREATE TRIGGER ports_project_stands BEFORE INSERT ON ports FOR EACH ROW EXECUTE FUNCTION project_stands('project_id');
ALTER TABLE ports DROP COLUMN router_id, DROP COLUMN floating_ip_id, ALTER COLUMN project_id SET NOT NULL;
DROP TABLE floating_ips, routers;
DROP FUNCTION floating_ips_let_go;
DELETE FROM network_changes WHERE kind IN ('router', 'floating_ip');
DROP INDEX networks_segment;
ALTER TABLE networks DROP COLUMN physical_network, DROP COLUMN vlan;
