-- Roles, one row each.
CREATE TABLE roles (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    key         text        NOT NULL,
    name        text        NOT NULL,
    description text        NOT NULL,
    system      boolean     NOT NULL,
    status      text        NOT NULL,
    cloned_from uuid,
    permissions jsonb       NOT NULL,
    parents     jsonb       NOT NULL,
    assignments jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    sequence    bigint      NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX roles_key ON roles (tenant_id, key);
CREATE INDEX roles_status ON roles (tenant_id, status, id);
-- `assignments @> '[{"principal": "user:ada"}]'`: the roles that a principal holds.
CREATE INDEX roles_assignments ON roles USING gin (assignments jsonb_path_ops);
