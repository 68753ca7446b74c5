-- Event subscriptions, one row each until they are deleted; how far their consumers are is in tables of its own.
CREATE TABLE event_subscriptions (
    tenant_id      uuid        NOT NULL,
    id             uuid        NOT NULL,
    name           text        NOT NULL,
    filter         jsonb       NOT NULL,
    status         text        NOT NULL,
    start_position bigint      NOT NULL,
    mode           text        NOT NULL,
    lease_seconds  integer     NOT NULL,
    deliveries_max integer     NOT NULL,
    retry          jsonb       NOT NULL,
    on_exhausted   text        NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    sequence       bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX event_subscriptions_name ON event_subscriptions (tenant_id, name, id);
SELECT isolate_read_model('event_subscriptions');
