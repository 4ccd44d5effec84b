-- +goose Up

-- Neutron's ip_allocation: a port that was asked for without any address ('none') may be used without one.
ALTER TABLE ports ADD COLUMN ip_allocation text NOT NULL DEFAULT 'immediate' CHECK (ip_allocation IN ('immediate', 'none'));

-- +goose Down

ALTER TABLE ports DROP COLUMN ip_allocation;
