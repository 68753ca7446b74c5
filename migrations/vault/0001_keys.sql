-- The keys that personal data is sealed with. They live in a schema of their own, so that they can live in another database, and are in no
-- case part of a backup of the events: what is destroyed here must not come back from there.

-- Which root key wraps the tenants' keys here.
CREATE TABLE roots (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    root_sha256 bytea   NOT NULL CHECK (length(root_sha256) = 32)
);

-- One key a tenant, wrapped by the root key; it wraps all others of the tenant. Destroyed means that the wrapped key is gone.
CREATE TABLE tenant_keys (
    tenant_id    uuid        PRIMARY KEY,
    wrapped      bytea,
    created_at   timestamptz NOT NULL,
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

-- One key a data subject, or one a class of events and month.
CREATE TABLE keys (
    key_id       uuid        PRIMARY KEY,
    tenant_id    uuid        NOT NULL REFERENCES tenant_keys,
    class        text        CHECK (length(class) BETWEEN 1 AND 63),
    period       date        CHECK (extract(day FROM period) = 1),
    wrapped      bytea,
    created_at   timestamptz NOT NULL,
    destroyed_at timestamptz,
    CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL)),
    CHECK ((class IS NULL) = (period IS NULL)),
    UNIQUE (tenant_id, class, period)
);

-- Finds a subject by a keyed hash of what it is known by, such as its mail address; gone with the subject's key.
CREATE TABLE lookups (
    tenant_id uuid  NOT NULL,
    kind      text  NOT NULL,
    digest    bytea NOT NULL CHECK (length(digest) = 32),
    key_id    uuid  NOT NULL REFERENCES keys,
    PRIMARY KEY (tenant_id, kind, digest)
);

CREATE INDEX lookups_of_key ON lookups (key_id);
