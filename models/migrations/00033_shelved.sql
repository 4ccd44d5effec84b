-- +goose Up

-- A server that is shelved is off, and of one that has left its host only the image is left. What the version before reads of both
-- is ACTIVE, by the trigger of 00014.
ALTER TABLE servers DROP CONSTRAINT servers_vm_state_check;
ALTER TABLE servers ADD CONSTRAINT servers_vm_state_check CHECK (vm_state IN
    ('building', 'active', 'paused', 'suspended', 'stopped', 'rescued', 'resized', 'shelved', 'shelved_offloaded', 'soft-delete', 'error', 'deleted'));

-- The image that it is built anew of, until that is deleted, and since when the server is shelved.
ALTER TABLE servers ADD COLUMN shelved_image_id text, ADD COLUMN shelved_at timestamptz;
CREATE INDEX servers_shelved ON servers (shelved_at) WHERE vm_state = 'shelved'; -- those to leave their hosts

-- +goose Down

UPDATE servers SET vm_state = CASE WHEN vm_state = 'shelved' THEN 'stopped' ELSE 'error' END WHERE vm_state IN ('shelved', 'shelved_offloaded');
DROP INDEX servers_shelved;
ALTER TABLE servers DROP COLUMN shelved_image_id, DROP COLUMN shelved_at;
ALTER TABLE servers DROP CONSTRAINT servers_vm_state_check;
ALTER TABLE servers ADD CONSTRAINT servers_vm_state_check
    CHECK (vm_state IN ('building', 'active', 'paused', 'suspended', 'stopped', 'rescued', 'resized', 'soft-delete', 'error', 'deleted'));
