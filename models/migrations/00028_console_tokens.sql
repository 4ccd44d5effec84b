-- +goose Up

-- Who may open which console of which server, once: a row goes when it is used.
CREATE TABLE console_tokens (
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32), -- of the token
    server_id  text NOT NULL REFERENCES servers ON DELETE CASCADE,
    type       text NOT NULL,
    user_id    text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX console_tokens_expires_at ON console_tokens (expires_at); -- PurgeTokens
CREATE INDEX console_tokens_server ON console_tokens (server_id);      -- the cascade from servers

-- +goose Down

DROP TABLE console_tokens;
