-- Service instances, one row each.
CREATE TABLE service_instances (
    tenant_id        uuid        NOT NULL,
    id               uuid        NOT NULL,
    service          text        NOT NULL,
    plan             text        NOT NULL,
    subscription_id  uuid,
    status           text        NOT NULL,
    health           text,
    health_detail    text,
    parameters       jsonb       NOT NULL,
    endpoint         text,
    outputs          jsonb       NOT NULL,
    operation        jsonb,
    last_failure     jsonb,
    deprovisioned_at timestamptz,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    sequence         bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX service_instances_service ON service_instances (tenant_id, service, status, health, id);
CREATE INDEX service_instances_status ON service_instances (tenant_id, status, id);
CREATE INDEX service_instances_subscription ON service_instances (tenant_id, subscription_id, id) WHERE subscription_id IS NOT NULL;
CREATE INDEX service_instances_counts ON service_instances (service, status, health);
