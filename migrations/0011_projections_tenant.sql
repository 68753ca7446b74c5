-- Tenants, one row each; `id` is the same as `tenant_id`, so that every table of aggregates has the same key.
CREATE TABLE tenants (
    tenant_id          uuid        NOT NULL,
    id                 uuid        NOT NULL,
    slug               text        NOT NULL,
    name               text        NOT NULL,
    contact_email      text        NOT NULL,
    tier               text        NOT NULL,
    region             text        NOT NULL,
    currency           text        NOT NULL,
    status             text        NOT NULL,
    suspension_reasons jsonb       NOT NULL,
    quotas             jsonb       NOT NULL,
    domains            jsonb       NOT NULL,
    primary_domain     text,
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    sequence           bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX tenants_slug ON tenants (slug);
CREATE INDEX tenants_status ON tenants (status, tier, tenant_id);
CREATE INDEX tenants_tier ON tenants (tier, tenant_id);
