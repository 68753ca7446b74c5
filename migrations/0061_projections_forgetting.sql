-- Legal holds, one row each scope that was ever held: a data subject, or the tenant itself.
CREATE TABLE legal_holds (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    scope      text        NOT NULL,
    status     text        NOT NULL,
    matters    jsonb       NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    sequence   bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX legal_holds_status ON legal_holds (tenant_id, status, id);

-- Erasures, one row each scope for which one was ever requested, with what became of the last request.
CREATE TABLE erasures (
    tenant_id       uuid        NOT NULL,
    id              uuid        NOT NULL,
    scope           text        NOT NULL,
    status          text        NOT NULL,
    requested_by    text        NOT NULL,
    reason          text        NOT NULL,
    grace_days      bigint      NOT NULL,
    urgency         text        NOT NULL,
    due_at          timestamptz NOT NULL,
    holds           jsonb       NOT NULL,
    cancelled_by    text,
    cancelled_for   text,
    destroyed_at    timestamptz,
    kept            jsonb       NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    sequence        bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX erasures_status ON erasures (tenant_id, status, id);

-- What became of each class of personal data of a tenant that has ordered something, or a key of which was destroyed.
CREATE TABLE retention_classes (
    tenant_id       uuid        NOT NULL,
    class           text        NOT NULL,
    days            bigint,
    set_by          text,
    destroyed_count bigint      NOT NULL,
    destroyed_until date,
    updated_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, class)
);

SELECT isolate_read_model('legal_holds'), isolate_read_model('erasures'), isolate_read_model('retention_classes');
