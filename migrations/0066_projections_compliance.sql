-- Controls of the platform, one row each with what the last check came to; all of them are the platform's.
CREATE TABLE control_checks (
    tenant_id       uuid        NOT NULL,
    id              uuid        NOT NULL,
    control_id      text        NOT NULL,
    version         text        NOT NULL,
    run_id          uuid        NOT NULL,
    outcome         text        NOT NULL,
    checked_count   bigint      NOT NULL,
    finding_count   bigint      NOT NULL,
    findings        jsonb       NOT NULL,
    sealed_size     bigint,
    sealed_root     text,
    evaluated_at    timestamptz NOT NULL,
    position        bigint      NOT NULL,
    tenant_position bigint      NOT NULL,
    sequence        bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Findings of controls, one row each; all of them are the platform's, also those that concern a tenant.
CREATE TABLE findings (
    tenant_id           uuid        NOT NULL,
    id                  uuid        NOT NULL,
    control_id          text        NOT NULL,
    severity            text        NOT NULL,
    concerned_tenant_id uuid,
    about               text        NOT NULL,
    what                text        NOT NULL,
    status              text        NOT NULL,
    opened_at           timestamptz NOT NULL,
    reopened_at         timestamptz,
    reopen_cause        text,
    opened_count        bigint      NOT NULL,
    handled_by          text,
    remark              text,
    accepted_until      timestamptz,
    verified_at         timestamptz,
    run_id              uuid        NOT NULL,
    updated_at          timestamptz NOT NULL,
    sequence            bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX findings_status ON findings (status, id);
CREATE INDEX findings_control ON findings (control_id, id);
CREATE INDEX findings_concerned ON findings (concerned_tenant_id, id);

SELECT isolate_read_model('control_checks'), isolate_read_model('findings');
