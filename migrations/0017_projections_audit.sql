-- One row an event; the payload stays in the log.
CREATE TABLE audit_entries (
    position        bigint      NOT NULL,
    tenant_id       uuid        NOT NULL,
    tenant_position bigint      NOT NULL,
    event_id        uuid        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    event_type      text        NOT NULL,
    aggregate_type  text        NOT NULL,
    aggregate_id    uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    actor           text        NOT NULL,
    command_id      uuid        NOT NULL,
    correlation_id  uuid        NOT NULL,
    causation_id    uuid,
    search          text        NOT NULL,
    search_words    tsvector    NOT NULL GENERATED ALWAYS AS (to_tsvector('simple', search)) STORED,
    PRIMARY KEY (tenant_id, position)
);
-- The platform's own list, over all tenants.
CREATE UNIQUE INDEX audit_entries_position ON audit_entries (position);
CREATE INDEX audit_entries_type ON audit_entries (tenant_id, event_type, position);
CREATE INDEX audit_entries_aggregate ON audit_entries (tenant_id, aggregate_type, aggregate_id, position);
CREATE INDEX audit_entries_actor ON audit_entries (tenant_id, actor, position);
CREATE INDEX audit_entries_correlation ON audit_entries (tenant_id, correlation_id, position);
CREATE INDEX audit_entries_time ON audit_entries (tenant_id, occurred_at, position);
CREATE INDEX audit_entries_words ON audit_entries USING gin (search_words);
