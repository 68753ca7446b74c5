-- When each secret of a key was last used, to some ten seconds. Written beside the log, best effort: no event tells it, no read model is
-- built from it, and a key that is missing here may have been used.
CREATE TABLE api_key_uses (
    tenant_id    uuid        NOT NULL,
    secret_id    text        NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, secret_id)
);
