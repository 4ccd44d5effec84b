-- +goose Up

-- What a guest has posted to its metadata service: the password that it made for itself, encrypted by it with its key pair.
CREATE TABLE guest_passwords (
    server_id  text PRIMARY KEY REFERENCES servers ON DELETE CASCADE,
    password   text NOT NULL CHECK (password <> ''),
    created_at timestamptz NOT NULL
);

-- +goose Down

DROP TABLE guest_passwords;
