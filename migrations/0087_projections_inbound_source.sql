-- Inbound sources, one row each until they are removed; never a secret.
CREATE TABLE inbound_sources (
    tenant_id             uuid        NOT NULL,
    id                    uuid        NOT NULL,
    name                  text        NOT NULL,
    scheme                jsonb       NOT NULL,
    status                text        NOT NULL,
    secret_id             uuid        NOT NULL,
    secret_previous_until timestamptz,
    received_count        bigint      NOT NULL,
    last_received_at      timestamptz,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    sequence              bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX inbound_sources_status ON inbound_sources (tenant_id, status, id);

SELECT isolate_read_model('inbound_sources');
