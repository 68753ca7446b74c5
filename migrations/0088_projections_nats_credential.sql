-- NATS credentials that were issued, one row each; never a secret.
CREATE TABLE nats_credentials (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    name       text        NOT NULL,
    public_key text        NOT NULL,
    subjects   jsonb       NOT NULL,
    expires_at timestamptz NOT NULL,
    issued_by  text        NOT NULL,
    issued_at  timestamptz NOT NULL,
    sequence   bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX nats_credentials_public_key ON nats_credentials (tenant_id, public_key, id);

SELECT isolate_read_model('nats_credentials');
