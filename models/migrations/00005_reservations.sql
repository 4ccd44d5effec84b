-- +goose Up
-- A request for several servers. How far it is, its servers say; this is what only the request knew. A single server's
-- reservation has no row.
CREATE TABLE reservations (
    server_id  text PRIMARY KEY REFERENCES servers ON DELETE CASCADE, -- the first one
    id         text NOT NULL,
    project_id text NOT NULL REFERENCES projects,
    user_id    text NOT NULL REFERENCES users,
    min_count  integer NOT NULL CHECK (min_count > 0),
    max_count  integer NOT NULL CHECK (max_count >= min_count),
    created_at timestamptz NOT NULL,
    CONSTRAINT reservations_id_key UNIQUE (id) -- Reservation
);
CREATE INDEX reservations_project ON reservations (project_id, created_at, id); -- ListReservations of a project
CREATE INDEX reservations_created ON reservations (created_at, id);             -- ListReservations of an admin
CREATE INDEX reservations_user ON reservations (user_id);                       -- the foreign key

-- +goose Down
DROP TABLE reservations;
