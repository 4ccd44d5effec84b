-- +goose Up

-- What properties of images, flavors and so on mean (Glance's metadata definitions): namespaces, and what is in them. Whose they are is
-- whatever was said, as in Glance: what a cloud ships belongs to nobody's project.
CREATE TABLE metadef_namespaces (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace    text NOT NULL CHECK (namespace <> ''),
    display_name text,
    description  text,
    visibility   text NOT NULL CHECK (visibility IN ('public', 'private')),
    protected    boolean NOT NULL,
    owner_id     text NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT metadef_namespaces_namespace_key UNIQUE (namespace) -- MetadefNamespace, ListMetadefNamespaces
);

CREATE TABLE metadef_items (
    namespace_id bigint NOT NULL REFERENCES metadef_namespaces ON DELETE CASCADE,
    kind         text NOT NULL CHECK (kind IN ('object', 'property', 'tag', 'resource_type')),
    name         text NOT NULL CHECK (name <> ''),
    body         jsonb NOT NULL CHECK (jsonb_typeof(body) = 'object'), -- what is said of it beside its name
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    CONSTRAINT metadef_items_pkey PRIMARY KEY (namespace_id, kind, name) -- MetadefItem, ListMetadefItems
);
CREATE UNIQUE INDEX metadef_items_tag_key ON metadef_items (namespace_id, lower(name)) WHERE kind = 'tag'; -- as Glance tells who adds one
CREATE INDEX metadef_items_resource_type ON metadef_items (name) WHERE kind = 'resource_type';             -- ListMetadefNamespaces, ResourceTypes

-- +goose Down

DROP TABLE metadef_items, metadef_namespaces;
