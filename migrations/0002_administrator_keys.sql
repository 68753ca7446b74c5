-- Bearer keys of the platform's administrators, as SHA-256 hashes only.
CREATE TABLE administrator_keys (
    key_hash   bytea       PRIMARY KEY,
    principal  text        NOT NULL,
    created_at timestamptz NOT NULL
);
