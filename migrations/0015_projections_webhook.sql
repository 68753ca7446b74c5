-- Webhooks, one row each until they are deleted; never a secret.
CREATE TABLE webhooks (
    tenant_id         uuid        NOT NULL,
    id                uuid        NOT NULL,
    url               text        NOT NULL,
    filters           jsonb       NOT NULL,
    description       text        NOT NULL,
    status            text        NOT NULL,
    secret_id         uuid        NOT NULL,
    secret_rotated_at timestamptz,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    sequence          bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX webhooks_status ON webhooks (tenant_id, status, id);
