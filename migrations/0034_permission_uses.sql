-- When each principal last used each permission in each tenant, to a minute or so. Written beside the log, best effort: no event tells it, no
-- read model is built from it, and what is missing here may have been used. Uses of more than 400 days ago are forgotten.
CREATE TABLE permission_uses (
    tenant_id    uuid        NOT NULL,
    -- Where the principal is at home: `tenant`, or `platform` as its staff are.
    home         text        NOT NULL,
    principal    text        NOT NULL,
    permission   text        NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, home, principal, permission)
) WITH (fillfactor = 80);

-- The platform's staff use their roles in every tenant.
CREATE INDEX permission_uses_of_platform ON permission_uses (principal, permission) WHERE home = 'platform';

-- Since when uses are noted: one row, of no tenant.
CREATE TABLE permission_uses_begin (
    recorded_since timestamptz NOT NULL
);
CREATE UNIQUE INDEX permission_uses_begin_once ON permission_uses_begin ((true));
INSERT INTO permission_uses_begin VALUES (now());
