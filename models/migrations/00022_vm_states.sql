-- +goose Up

-- More states of a server. What the version before reads of each is ACTIVE, by the trigger of 00014.
ALTER TABLE servers DROP CONSTRAINT servers_vm_state_check;
ALTER TABLE servers ADD CONSTRAINT servers_vm_state_check
    CHECK (vm_state IN ('building', 'active', 'paused', 'suspended', 'stopped', 'rescued', 'soft-delete', 'error', 'deleted'));

-- +goose Down

UPDATE servers SET vm_state = 'stopped' WHERE vm_state IN ('suspended', 'soft-delete');
UPDATE servers SET vm_state = 'active' WHERE vm_state IN ('paused', 'rescued');
ALTER TABLE servers DROP CONSTRAINT servers_vm_state_check;
ALTER TABLE servers ADD CONSTRAINT servers_vm_state_check CHECK (vm_state IN ('building', 'active', 'stopped', 'error', 'deleted'));
