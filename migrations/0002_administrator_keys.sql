-- Bearer keys of the platform's administrators, as SHA-256 hashes only.
CREATE TABLE administrator_keys (
    key_id     text        PRIMARY KEY,
    key_hash   bytea       NOT NULL CHECK (length(key_hash) = 32),
    principal  text        NOT NULL,
    created_at timestamptz NOT NULL
);
