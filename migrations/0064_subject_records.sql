-- What the log has about each data subject: one row a field that is sealed with the subject's key.
CREATE TABLE subject_records (
    tenant_id       uuid        NOT NULL,
    subject_id      uuid        NOT NULL,
    position        bigint      NOT NULL,
    tenant_position bigint      NOT NULL,
    field           text        NOT NULL,
    event_id        uuid        NOT NULL,
    event_type      text        NOT NULL,
    aggregate_type  text        NOT NULL,
    aggregate_id    uuid        NOT NULL,
    sequence        bigint      NOT NULL,
    occurred_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subject_id, position, field)
);

SELECT isolate_read_model('subject_records');
