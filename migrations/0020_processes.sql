-- Process managers: how far each has followed the log, and what the scheduler has to do when.

CREATE TABLE process_cursors (
    process  text   PRIMARY KEY,
    position bigint NOT NULL
);

-- One row per aggregate that must be looked at when its time comes. A look that failed is repeated at `attempt_at`.
CREATE TABLE scheduler_due (
    tenant_id      uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    due_at         timestamptz NOT NULL,
    attempt_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, aggregate_type, aggregate_id)
);
CREATE INDEX scheduler_due_next ON scheduler_due (attempt_at);
