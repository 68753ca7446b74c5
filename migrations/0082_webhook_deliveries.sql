-- Deliveries of webhooks: what is to be delivered, and what came of each attempt.

-- Each endpoint as the deliveries know it: its webhook up to where the log has been followed, with sealed secrets.
CREATE TABLE webhook_endpoints (
    tenant_id  uuid  NOT NULL,
    webhook_id uuid  NOT NULL,
    state      jsonb NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id)
);

-- How an endpoint has answered lately; no row for one that always has.
CREATE TABLE webhook_health (
    tenant_id            uuid    NOT NULL,
    webhook_id           uuid    NOT NULL,
    consecutive_failures integer NOT NULL,
    failing_since        timestamptz,
    open_until           timestamptz,
    PRIMARY KEY (tenant_id, webhook_id)
);

-- One row each event that an endpoint is still to get. Whoever delivers it moves due_at into the future, which is its lease: when it is
-- gone, the row is due again. A row goes when the event is delivered or given up.
CREATE TABLE webhook_queue (
    webhook_id   uuid        NOT NULL,
    position     bigint      NOT NULL,
    tenant_id    uuid        NOT NULL,
    aggregate_id uuid        NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    leased       boolean     NOT NULL,
    -- Events that were once sent together stay so, under this id.
    batch_id     uuid,
    PRIMARY KEY (webhook_id, position)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX webhook_queue_aggregate ON webhook_queue (webhook_id, aggregate_id, position);
CREATE INDEX webhook_queue_batch ON webhook_queue (webhook_id, batch_id) WHERE batch_id IS NOT NULL;

-- Parts of the log that are delivered again, each up to where that has been done.
CREATE TABLE webhook_replays (
    tenant_id   uuid        NOT NULL,
    webhook_id  uuid        NOT NULL,
    sequence    bigint      NOT NULL,
    next        bigint      NOT NULL,
    until       bigint      NOT NULL,
    since       timestamptz,
    before      timestamptz,
    only_failed boolean     NOT NULL,
    PRIMARY KEY (tenant_id, webhook_id, sequence)
);

-- Every attempt, in partitions of a day, which are dropped when they are old enough. The parts are made by whoever delivers.
CREATE TABLE webhook_attempts (
    tenant_id        uuid        NOT NULL,
    webhook_id       uuid        NOT NULL,
    at               timestamptz NOT NULL,
    id               uuid        NOT NULL,
    position         bigint      NOT NULL,
    event_id         uuid        NOT NULL,
    event_type       text        NOT NULL,
    message_id       text        NOT NULL,
    attempt          integer     NOT NULL,
    outcome          text        NOT NULL,
    status           integer,
    error            text,
    latency_ms       integer     NOT NULL,
    response_headers jsonb       NOT NULL,
    response_body    text        NOT NULL,
    next_attempt_at  timestamptz,
    PRIMARY KEY (tenant_id, webhook_id, at, id)
) PARTITION BY RANGE (at);

SELECT isolate_table('webhook_endpoints'), isolate_table('webhook_replays');

-- Queries read these, but no projection writes them.
DO $$
DECLARE
    isolated text;
BEGIN
    FOREACH isolated IN ARRAY ARRAY['webhook_health', 'webhook_queue', 'webhook_attempts'] LOOP
        PERFORM isolate_read_model(isolated::regclass);
        EXECUTE format('REVOKE ALL ON %I FROM hub_project', isolated);
    END LOOP;
END $$;
