-- Access requests, one row each.
CREATE TABLE access_requests (
    tenant_id        uuid        NOT NULL,
    id               uuid        NOT NULL,
    requested_by     text        NOT NULL,
    role_id          uuid        NOT NULL,
    reason           text        NOT NULL,
    duration_seconds bigint      NOT NULL,
    status           text        NOT NULL,
    expires_at       timestamptz NOT NULL,
    decided_by       text,
    decision_remark  text,
    granted_from     timestamptz,
    granted_until    timestamptz,
    revoked_by       text,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    sequence         bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX access_requests_status ON access_requests (tenant_id, status, id);
CREATE INDEX access_requests_requested_by ON access_requests (tenant_id, requested_by, id);

-- Emergency accesses, one row each.
CREATE TABLE break_glasses (
    tenant_id     uuid        NOT NULL,
    id            uuid        NOT NULL,
    opened_by     text        NOT NULL,
    role_id       uuid        NOT NULL,
    reason        text        NOT NULL,
    ticket        text        NOT NULL,
    status        text        NOT NULL,
    granted_from  timestamptz NOT NULL,
    granted_until timestamptz NOT NULL,
    closed_by     text,
    reviewed_by   text,
    verdict       text,
    review_remark text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    sequence      bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX break_glasses_status ON break_glasses (tenant_id, status, id);

-- Support accesses, one row each.
CREATE TABLE support_accesses (
    tenant_id     uuid        NOT NULL,
    id            uuid        NOT NULL,
    granted_by    text        NOT NULL,
    staff         text        NOT NULL,
    role_id       uuid        NOT NULL,
    reason        text        NOT NULL,
    status        text        NOT NULL,
    granted_from  timestamptz NOT NULL,
    granted_until timestamptz NOT NULL,
    revoked_by    text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    sequence      bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX support_accesses_status ON support_accesses (tenant_id, status, id);

-- Identity providers, one row each until they are removed.
CREATE TABLE identity_providers (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    issuer     text        NOT NULL,
    audience   text        NOT NULL,
    jwks_uri   text        NOT NULL,
    status     text        NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    sequence   bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

-- Sets of duties, one row each until they are removed.
CREATE TABLE duty_sets (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    key        text        NOT NULL,
    name       text        NOT NULL,
    role_ids   jsonb       NOT NULL,
    held_max   bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    sequence   bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX duty_sets_key ON duty_sets (tenant_id, key);

-- Templates of roles, one row each; all of them are the platform's.
CREATE TABLE role_templates (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    key         text        NOT NULL,
    name        text        NOT NULL,
    description text        NOT NULL,
    status      text        NOT NULL,
    version     bigint      NOT NULL,
    permissions jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    sequence    bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX role_templates_status ON role_templates (tenant_id, status, id);
