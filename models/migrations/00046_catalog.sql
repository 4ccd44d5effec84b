-- +goose Up

-- Where services are, for the catalog of tokens. Columns are Keystone's; extra is what was given beside them.
CREATE TABLE regions (
    id               text PRIMARY KEY CHECK (id <> ''),
    description      text NOT NULL DEFAULT '',
    parent_region_id text REFERENCES regions ON DELETE CASCADE,
    extra            jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    created_at       timestamptz NOT NULL
);
CREATE INDEX regions_parent ON regions (parent_region_id); -- the cascade from regions
INSERT INTO regions (id, created_at) VALUES ('RegionOne', now());

CREATE TABLE services (
    id          text PRIMARY KEY,
    type        text NOT NULL CHECK (type <> ''),
    name        text NOT NULL DEFAULT '',
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL DEFAULT true,
    own         boolean NOT NULL DEFAULT false, -- this API is the service
    extra       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    created_at  timestamptz NOT NULL
);

-- The address is url, or where that is null a path of this API, below whatever its public address is.
CREATE TABLE endpoints (
    id         text PRIMARY KEY,
    service_id text NOT NULL REFERENCES services ON DELETE CASCADE,
    interface  text NOT NULL CHECK (interface IN ('admin', 'internal', 'public')),
    region_id  text REFERENCES regions,
    url        text,
    path       text,
    enabled    boolean NOT NULL DEFAULT true,
    extra      jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(extra) = 'object'),
    created_at timestamptz NOT NULL,
    CONSTRAINT endpoints_address CHECK (num_nonnulls(url, path) > 0)
);
CREATE INDEX endpoints_service ON endpoints (service_id); -- Catalog; the cascade from services
CREATE INDEX endpoints_region ON endpoints (region_id);   -- whether a region may go

-- The ids are ids.Identity("service", type) and ids.Identity("endpoint", type/interface), which they had before there were rows.
INSERT INTO services (id, type, name, own, created_at) VALUES
    ('ba52c5b41bf650a492e6cc1cdad1633e', 'compute', 'nova', true, now()),
    ('33fc276067d25691bf1c278687b8a22d', 'ec2', 'ec2', true, now()),
    ('20b162ee9b4f54399d00ad2fd03c1ead', 'identity', 'keystone', true, now()),
    ('c8765c6b928c55388f26e72fbcf4b25e', 'image', 'glance', true, now()),
    ('4052e6e521d85813a0c3bfbfc92fa6da', 'network', 'neutron', true, now());

-- Where clients append the version themselves (image, network) the path is without.
INSERT INTO endpoints (id, service_id, interface, region_id, path, created_at) VALUES
    ('aa5afa7a2d91503ba2f0bbfd69a2cd8b', 'ba52c5b41bf650a492e6cc1cdad1633e', 'admin', 'RegionOne', '/compute/v2.1', now()),
    ('84e61b5b25ed563cb62001558258d838', 'ba52c5b41bf650a492e6cc1cdad1633e', 'internal', 'RegionOne', '/compute/v2.1', now()),
    ('2c0d143e2ab9516d968bb075cfcf48f5', 'ba52c5b41bf650a492e6cc1cdad1633e', 'public', 'RegionOne', '/compute/v2.1', now()),
    ('24678a27850c57fca1757d158dc7d714', '33fc276067d25691bf1c278687b8a22d', 'admin', 'RegionOne', '/ec2', now()),
    ('4501152b18b55c3b8112804839232ffa', '33fc276067d25691bf1c278687b8a22d', 'internal', 'RegionOne', '/ec2', now()),
    ('63f6dbe7ee8e54c7b13efa93517a9020', '33fc276067d25691bf1c278687b8a22d', 'public', 'RegionOne', '/ec2', now()),
    ('f51829089c1654bca02d80b816f1e25c', '20b162ee9b4f54399d00ad2fd03c1ead', 'admin', 'RegionOne', '/v3', now()),
    ('b3b6953d6fb15df8a1158fd602bf5a71', '20b162ee9b4f54399d00ad2fd03c1ead', 'internal', 'RegionOne', '/v3', now()),
    ('3612b46e30ee5f73859357623d68e2ce', '20b162ee9b4f54399d00ad2fd03c1ead', 'public', 'RegionOne', '/v3', now()),
    ('e282a5b166965a139fda2f9b75ba054f', 'c8765c6b928c55388f26e72fbcf4b25e', 'admin', 'RegionOne', '/image', now()),
    ('1d4330c6721356aa847f3ff0fe9e932d', 'c8765c6b928c55388f26e72fbcf4b25e', 'internal', 'RegionOne', '/image', now()),
    ('52f58a9013825e6e992bf3806ced7f14', 'c8765c6b928c55388f26e72fbcf4b25e', 'public', 'RegionOne', '/image', now()),
    ('b17339b590795c3c9b3c9354128c82ea', '4052e6e521d85813a0c3bfbfc92fa6da', 'admin', 'RegionOne', '/network', now()),
    ('4da7629a5ce55311a4909b8a948483af', '4052e6e521d85813a0c3bfbfc92fa6da', 'internal', 'RegionOne', '/network', now()),
    ('12d4df7afc9451268e6040f6dc424edb', '4052e6e521d85813a0c3bfbfc92fa6da', 'public', 'RegionOne', '/network', now());

-- +goose Down

DROP TABLE endpoints, services, regions;
