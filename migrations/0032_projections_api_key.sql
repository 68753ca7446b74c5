-- API keys, one row each, revoked ones included; never a secret or its hash.
CREATE TABLE api_keys (
    tenant_id             uuid        NOT NULL,
    id                    uuid        NOT NULL,
    name                  text        NOT NULL,
    status                text        NOT NULL,
    secret_id             text        NOT NULL,
    previous_secret_id    text,
    previous_secret_until timestamptz,
    roles                 jsonb       NOT NULL,
    scopes                jsonb       NOT NULL,
    networks              jsonb       NOT NULL,
    issued_at             timestamptz NOT NULL,
    expires_at            timestamptz,
    rotated_at            timestamptz,
    revoked_at            timestamptz,
    revocation_reason     text,
    updated_at            timestamptz NOT NULL,
    sequence              bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX api_keys_status ON api_keys (tenant_id, status, id);
