-- Bearer keys of the platform's administrators, as SHA-256 hashes only.
CREATE TABLE administrator_keys (
    key_id     text        PRIMARY KEY,
    key_hash   bytea       NOT NULL CHECK (length(key_hash) = 32),
    principal  text        NOT NULL,
    created_at timestamptz NOT NULL
);

-- The SHA-256 of the secret key that all processes of this installation share, so that one with another key does not start.
CREATE TABLE installation (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    secret_key_sha256 bytea   NOT NULL CHECK (length(secret_key_sha256) = 32)
);
