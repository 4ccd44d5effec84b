-- +goose Up
-- All of Glance's states.
ALTER TABLE images
    DROP CONSTRAINT images_status_check,
    ADD CONSTRAINT images_status_check CHECK (status IN
        ('queued', 'saving', 'uploading', 'importing', 'active', 'deactivated', 'killed', 'pending_delete', 'deleted')),
    DROP CONSTRAINT images_deleted,
    ADD CONSTRAINT images_deleted CHECK ((status IN ('pending_delete', 'deleted')) = (deleted_at IS NOT NULL)),
    DROP CONSTRAINT images_active,
    ADD CONSTRAINT images_active CHECK (status NOT IN ('active', 'deactivated') OR (size_bytes IS NOT NULL AND sha512 IS NOT NULL)),
    ADD COLUMN hidden boolean NOT NULL DEFAULT false,
    ADD COLUMN staged_store text, -- which store has the bytes that wait for their import
    ADD COLUMN staged_bytes bigint CHECK (staged_bytes >= 0),
    ADD CONSTRAINT images_staged CHECK ((staged_store IS NULL) = (staged_bytes IS NULL));
ALTER TABLE images ALTER COLUMN hidden DROP DEFAULT;

-- ListImages in other orders.
CREATE INDEX images_owner_size ON images (owner_id, COALESCE(size_bytes, -1), id) WHERE deleted_at IS NULL;
CREATE INDEX images_owner_name ON images (owner_id, COALESCE(name, ''), id) WHERE deleted_at IS NULL;
CREATE INDEX images_size ON images (COALESCE(size_bytes, -1), id) WHERE deleted_at IS NULL;

-- Who else may use a shared image.
CREATE TABLE image_members (
    image_id   text NOT NULL REFERENCES images ON DELETE CASCADE,
    member_id  text NOT NULL REFERENCES projects ON DELETE CASCADE,
    status     text NOT NULL CHECK (status IN ('pending', 'accepted', 'rejected')),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (image_id, member_id) -- ImageMembers, ImageMember
);
CREATE INDEX image_members_member ON image_members (member_id, status, image_id); -- ListImages: what is shared with a project

-- Where the bytes lie. Of an image that was stored before there was this table, the stores themselves tell.
CREATE TABLE image_locations (
    image_id   text NOT NULL REFERENCES images ON DELETE CASCADE,
    store      text NOT NULL, -- its name in the configuration
    url        text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (image_id, store) -- Image, ListImages
);

-- Imports.
CREATE TABLE image_tasks (
    id         text PRIMARY KEY,
    image_id   text NOT NULL REFERENCES images ON DELETE CASCADE,
    type       text NOT NULL CHECK (type IN ('api_image_import')),
    status     text NOT NULL CHECK (status IN ('pending', 'processing', 'success', 'failure')),
    owner_id   text NOT NULL,
    user_id    text NOT NULL,
    request_id text NOT NULL,
    input      jsonb NOT NULL CHECK (jsonb_typeof(input) = 'object'),
    message    text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    expires_at timestamptz -- of one that has ended: when it is forgotten
);
CREATE INDEX image_tasks_image ON image_tasks (image_id, created_at, id);                     -- ImageTasks
CREATE INDEX image_tasks_created ON image_tasks (created_at, id);                             -- ListImageTasks
CREATE INDEX image_tasks_expires ON image_tasks (expires_at) WHERE expires_at IS NOT NULL;    -- PurgeImageTasks

-- +goose Down
DROP TABLE image_tasks;
DROP TABLE image_locations;
DROP TABLE image_members;
UPDATE images SET status = 'deleted' WHERE status = 'pending_delete';
UPDATE images SET status = 'active' WHERE status = 'deactivated';
UPDATE images SET status = 'queued' WHERE status IN ('uploading', 'importing', 'killed');
DROP INDEX images_size, images_owner_name, images_owner_size;
ALTER TABLE images
    DROP CONSTRAINT images_staged,
    DROP COLUMN staged_bytes,
    DROP COLUMN staged_store,
    DROP COLUMN hidden,
    DROP CONSTRAINT images_status_check,
    ADD CONSTRAINT images_status_check CHECK (status IN ('queued', 'saving', 'active', 'deleted')),
    DROP CONSTRAINT images_deleted,
    ADD CONSTRAINT images_deleted CHECK ((status = 'deleted') = (deleted_at IS NOT NULL)),
    DROP CONSTRAINT images_active,
    ADD CONSTRAINT images_active CHECK (status <> 'active' OR (size_bytes IS NOT NULL AND sha512 IS NOT NULL));
