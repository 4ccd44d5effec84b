-- The first schema. Conventions: ids are text (Keystone's have no dashes, flavors' are the user's own); times are
-- timestamptz; lists and maps that are read whole are jsonb. Each index names the query that it serves; primary keys and
-- unique constraints serve the lookups by those columns.

-- +goose Up

CREATE TABLE projects (
    id          text PRIMARY KEY,
    name        text NOT NULL CHECK (name <> ''),
    domain_id   text NOT NULL,
    description text NOT NULL DEFAULT '',
    enabled     boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT projects_name_key UNIQUE (domain_id, name) -- ProjectByName, EnsureProject
);

CREATE TABLE users (
    id            text PRIMARY KEY,
    name          text NOT NULL CHECK (name <> ''),
    domain_id     text NOT NULL,
    password_hash text NOT NULL,
    enabled       boolean NOT NULL,
    created_at    timestamptz NOT NULL,
    CONSTRAINT users_name_key UNIQUE (domain_id, name) -- UserByName, EnsureUser
);

CREATE TABLE role_assignments (
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id text NOT NULL REFERENCES projects ON DELETE CASCADE,
    role       text NOT NULL CHECK (role IN ('admin', 'member', 'reader')),
    PRIMARY KEY (user_id, project_id, role) -- Roles, ProjectsOf, Token
);
CREATE INDEX role_assignments_project ON role_assignments (project_id); -- the cascade from projects

CREATE TABLE tokens (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32), -- Token
    audit_id   text NOT NULL,
    user_id    text NOT NULL REFERENCES users ON DELETE CASCADE,
    project_id text REFERENCES projects ON DELETE CASCADE, -- null: unscoped
    methods    text NOT NULL,
    issued_at  timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX tokens_expires_at ON tokens (expires_at); -- PurgeTokens
CREATE INDEX tokens_user ON tokens (user_id);          -- the cascade from users
CREATE INDEX tokens_project ON tokens (project_id);    -- the cascade from projects

CREATE TABLE flavors (
    id            text PRIMARY KEY,
    name          text NOT NULL,
    vcpus         integer NOT NULL CHECK (vcpus > 0),
    ram_mib       integer NOT NULL CHECK (ram_mib > 0),
    disk_gib      integer NOT NULL CHECK (disk_gib >= 0),
    ephemeral_gib integer NOT NULL CHECK (ephemeral_gib >= 0),
    swap_mib      integer NOT NULL CHECK (swap_mib >= 0),
    rx_tx_factor  double precision NOT NULL,
    public        boolean NOT NULL,
    disabled      boolean NOT NULL,
    description   text,
    extra_specs   jsonb NOT NULL CHECK (jsonb_typeof(extra_specs) = 'object'),
    created_at    timestamptz NOT NULL,
    CONSTRAINT flavors_name_key UNIQUE (name)
);

CREATE TABLE images (
    id               text PRIMARY KEY,
    name             text,
    owner_id         text NOT NULL REFERENCES projects,
    status           text NOT NULL CHECK (status IN ('queued', 'saving', 'active', 'deleted')),
    visibility       text NOT NULL CHECK (visibility IN ('public', 'private', 'shared', 'community')),
    protected        boolean NOT NULL,
    disk_format      text,
    container_format text,
    min_disk_gib     integer NOT NULL CHECK (min_disk_gib >= 0),
    min_ram_mib      integer NOT NULL CHECK (min_ram_mib >= 0),
    size_bytes       bigint CHECK (size_bytes >= 0),
    virtual_bytes    bigint CHECK (virtual_bytes >= 0),
    md5              text,
    sha512           text,
    tags             jsonb NOT NULL CHECK (jsonb_typeof(tags) = 'array'),
    properties       jsonb NOT NULL CHECK (jsonb_typeof(properties) = 'object'),
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    deleted_at       timestamptz,
    CONSTRAINT images_deleted CHECK ((status = 'deleted') = (deleted_at IS NOT NULL)),
    CONSTRAINT images_active CHECK (status <> 'active' OR (size_bytes IS NOT NULL AND sha512 IS NOT NULL))
);
CREATE INDEX images_created ON images (created_at, id) WHERE deleted_at IS NULL;            -- ListImages of an admin, in its default order
CREATE INDEX images_owner ON images (owner_id, created_at, id) WHERE deleted_at IS NULL;    -- ListImages: a project's own
CREATE INDEX images_public ON images (visibility, created_at, id) WHERE deleted_at IS NULL; -- ListImages: public and community ones
CREATE INDEX images_name ON images (name) WHERE deleted_at IS NULL;                         -- ListImages by name (the command lines resolve names)
CREATE INDEX images_status ON images (status, updated_at);                                  -- ImagesByStatus

CREATE TABLE key_pairs (
    user_id     text NOT NULL REFERENCES users ON DELETE CASCADE,
    name        text NOT NULL,
    type        text NOT NULL CHECK (type IN ('ssh', 'x509')),
    public_key  text NOT NULL,
    fingerprint text NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (user_id, name) -- KeyPair, ListKeyPairs
);

CREATE TABLE hosts (
    id                  text PRIMARY KEY,
    hostname            text NOT NULL CHECK (hostname <> ''),
    availability_zone   text NOT NULL,
    token_hash          bytea NOT NULL,
    hypervisor_type     text NOT NULL,
    hypervisor_version  integer NOT NULL,
    architectures       jsonb NOT NULL CHECK (jsonb_typeof(architectures) = 'array'),
    kvm                 boolean NOT NULL,
    vcpus               integer NOT NULL CHECK (vcpus >= 0),
    memory_mib          integer NOT NULL CHECK (memory_mib >= 0),
    disk_gib            integer NOT NULL CHECK (disk_gib >= 0),
    cpu_ratio           double precision NOT NULL CHECK (cpu_ratio > 0),
    ram_ratio           double precision NOT NULL CHECK (ram_ratio > 0),
    disk_ratio          double precision NOT NULL CHECK (disk_ratio > 0),
    reserved_memory_mib integer NOT NULL CHECK (reserved_memory_mib >= 0),
    enabled             boolean NOT NULL,
    disabled_reason     text,
    ready               boolean NOT NULL,
    not_ready_reason    text,
    version             text NOT NULL,
    started_at          timestamptz NOT NULL,
    seen_at             timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    CONSTRAINT hosts_hostname_key UNIQUE (hostname),    -- HostByName, RegisterHost
    CONSTRAINT hosts_token_hash_key UNIQUE (token_hash) -- HostByToken
);

CREATE TABLE servers (
    id                text PRIMARY KEY,
    project_id        text NOT NULL REFERENCES projects,
    user_id           text NOT NULL REFERENCES users,
    name              text NOT NULL,
    hostname          text NOT NULL,
    description       text,
    status            text NOT NULL CHECK (status IN ('BUILD', 'ACTIVE', 'ERROR', 'DELETED')),
    task_state        text,
    power_state       integer NOT NULL CHECK (power_state IN (0, 1, 3, 4, 6, 7)),
    image_id          text NOT NULL REFERENCES images,
    flavor_id         text NOT NULL, -- flavors are really deleted; the server keeps its copy
    flavor            jsonb NOT NULL CHECK (jsonb_typeof(flavor) = 'object'),
    key_name          text,
    availability_zone text NOT NULL,
    host_id           text REFERENCES hosts,
    config_drive      boolean NOT NULL,
    reservation_id    text NOT NULL,
    launch_index      integer NOT NULL CHECK (launch_index >= 0),
    launched_at       timestamptz,
    terminated_at     timestamptz,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    deleted_at        timestamptz,
    CONSTRAINT servers_deleted CHECK ((status = 'DELETED') = (deleted_at IS NOT NULL)),
    CONSTRAINT servers_active CHECK (status <> 'ACTIVE' OR launched_at IS NOT NULL)
);
CREATE INDEX servers_project ON servers (project_id, created_at, id) WHERE deleted_at IS NULL; -- ListServers of a project, in its default order
CREATE INDEX servers_created ON servers (created_at, id) WHERE deleted_at IS NULL;             -- ListServers of an admin, in its default order
CREATE INDEX servers_host ON servers (host_id) WHERE host_id IS NOT NULL;                      -- ListServers by host; the foreign key
CREATE INDEX servers_updated ON servers (updated_at);                                          -- ListServers since or before a change
CREATE INDEX servers_reservation ON servers (reservation_id) WHERE reservation_id <> '';       -- ListServers by reservation
CREATE INDEX servers_image ON servers (image_id);                                              -- ListServers by image; the foreign key
CREATE INDEX servers_deleted_at ON servers (created_at, id) WHERE deleted_at IS NOT NULL;      -- ListServers of the deleted

CREATE TABLE server_metadata (
    server_id text NOT NULL REFERENCES servers ON DELETE CASCADE,
    key       text NOT NULL,
    value     text NOT NULL,
    PRIMARY KEY (server_id, key) -- Server, ListServers
);

CREATE TABLE server_tags (
    server_id text NOT NULL REFERENCES servers ON DELETE CASCADE,
    tag       text NOT NULL,
    PRIMARY KEY (server_id, tag) -- Server, ListServers
);

CREATE TABLE server_faults (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server_id  text NOT NULL REFERENCES servers ON DELETE CASCADE,
    code       integer NOT NULL,
    message    text NOT NULL,
    details    text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX server_faults_newest ON server_faults (server_id, id); -- Server, ListServers: the newest of each

CREATE TABLE instance_actions (
    server_id  text NOT NULL REFERENCES servers ON DELETE CASCADE,
    request_id text NOT NULL,
    action     text NOT NULL,
    user_id    text NOT NULL,
    project_id text NOT NULL,
    message    text,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (server_id, request_id) -- Action, Actions
);

CREATE TABLE instance_action_events (
    server_id  text NOT NULL,
    request_id text NOT NULL,
    seq        integer NOT NULL,
    event      text NOT NULL,
    host       text,
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,
    result     text CHECK (result IN ('Success', 'Error')),
    details    text,
    traceback  text,
    PRIMARY KEY (server_id, request_id, seq), -- Action
    FOREIGN KEY (server_id, request_id) REFERENCES instance_actions ON DELETE CASCADE
);

-- A claim is made before the server's row exists, so it does not refer to it.
CREATE TABLE claims (
    server_id  text PRIMARY KEY,
    project_id text NOT NULL REFERENCES projects,
    instances  integer NOT NULL CHECK (instances >= 0),
    cores      integer NOT NULL CHECK (cores >= 0),
    ram_mib    integer NOT NULL CHECK (ram_mib >= 0),
    created_at timestamptz NOT NULL
);
CREATE INDEX claims_project ON claims (project_id) INCLUDE (instances, cores, ram_mib); -- ClaimQuota and QuotaUsage: the sums, from the index alone

CREATE TABLE project_quotas (
    project_id text PRIMARY KEY REFERENCES projects ON DELETE CASCADE,
    instances  integer NOT NULL CHECK (instances >= -1),
    cores      integer NOT NULL CHECK (cores >= -1),
    ram_mib    integer NOT NULL CHECK (ram_mib >= -1),
    key_pairs  integer NOT NULL CHECK (key_pairs >= -1)
);

CREATE TABLE allocations (
    server_id  text NOT NULL REFERENCES servers,
    host_id    text NOT NULL REFERENCES hosts,
    vcpus      integer NOT NULL CHECK (vcpus >= 0),
    memory_mib integer NOT NULL CHECK (memory_mib >= 0),
    disk_gib   integer NOT NULL CHECK (disk_gib >= 0),
    created_at timestamptz NOT NULL,
    PRIMARY KEY (server_id, host_id) -- Allocations, MarkServerDeleting, ReleaseAllocation
);
CREATE INDEX allocations_host ON allocations (host_id) INCLUDE (vcpus, memory_mib, disk_gib); -- Allocate and ListHosts: the sums, from the index alone

CREATE TABLE networks (
    id          text PRIMARY KEY,
    project_id  text NOT NULL REFERENCES projects,
    name        text NOT NULL,
    description text NOT NULL,
    shared      boolean NOT NULL,
    mtu         integer NOT NULL CHECK (mtu >= 68),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
CREATE INDEX networks_project ON networks (project_id, name);       -- ListNetworks of a project, EnsureNetwork
CREATE INDEX networks_shared ON networks (created_at) WHERE shared; -- ListNetworks: the shared ones
CREATE INDEX networks_name ON networks (name);                      -- ListNetworks by name (the command lines resolve names)

CREATE TABLE subnets (
    id          text PRIMARY KEY,
    network_id  text NOT NULL REFERENCES networks ON DELETE CASCADE,
    project_id  text NOT NULL REFERENCES projects,
    name        text NOT NULL,
    cidr        cidr NOT NULL,
    gateway_ip  inet,
    dns_servers jsonb NOT NULL CHECK (jsonb_typeof(dns_servers) = 'array'),
    pool_start  inet NOT NULL,
    pool_end    inet NOT NULL,
    enable_dhcp boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    CONSTRAINT subnets_pool CHECK (pool_start <<= cidr AND pool_end <<= cidr AND pool_start <= pool_end)
);
CREATE INDEX subnets_network ON subnets (network_id); -- every read of a network or port; the foreign key
CREATE INDEX subnets_project ON subnets (project_id); -- the foreign key

CREATE TABLE ports (
    id            text PRIMARY KEY,
    network_id    text NOT NULL REFERENCES networks,
    project_id    text NOT NULL REFERENCES projects,
    name          text NOT NULL,
    mac           text NOT NULL CHECK (mac ~ '^([0-9a-f]{2}:){5}[0-9a-f]{2}$'),
    server_id     text REFERENCES servers,
    nic_index     integer NOT NULL CHECK (nic_index >= 0),
    made_by_build boolean NOT NULL,
    host_id       text REFERENCES hosts ON DELETE SET NULL,
    tag           text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CONSTRAINT ports_mac_key UNIQUE (network_id, mac),           -- AllocatePort: a free MAC; ListPorts by network
    CONSTRAINT ports_nic_key UNIQUE (server_id, nic_index),      -- ReleasePort, Server, ListServers: one port a NIC
    CONSTRAINT ports_made CHECK (NOT made_by_build OR server_id IS NOT NULL)
);
CREATE INDEX ports_project ON ports (project_id, created_at, id);                -- ListPorts of a project, in its default order
CREATE INDEX ports_created ON ports (created_at, id);                            -- ListPorts of an admin, in its default order
CREATE INDEX ports_host ON ports (host_id) WHERE host_id IS NOT NULL;            -- the foreign key
CREATE INDEX ports_mac ON ports (mac);                                           -- ListPorts by MAC

CREATE TABLE fixed_ips (
    port_id   text NOT NULL REFERENCES ports ON DELETE CASCADE,
    subnet_id text NOT NULL REFERENCES subnets,
    ip        inet NOT NULL,
    PRIMARY KEY (port_id, subnet_id, ip),                 -- every read of a port
    CONSTRAINT fixed_ips_ip_key UNIQUE (subnet_id, ip)    -- decides races for an address; the walk to the lowest free one
);
CREATE INDEX fixed_ips_ip ON fixed_ips (ip); -- ListPorts by address

-- +goose Down

DROP TABLE fixed_ips, ports, subnets, networks, allocations, project_quotas, claims, instance_action_events,
    instance_actions, server_faults, server_tags, server_metadata, servers, hosts, key_pairs, images, flavors, tokens,
    role_assignments, users, projects;
