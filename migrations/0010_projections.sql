-- What every read model shares: how far it has got, who works on it, what it could not read, and how a rebuilt table takes over.

CREATE TABLE projection_checkpoints (
    projection  text        PRIMARY KEY,
    version     integer     NOT NULL,
    -- Every event up to and with this one is in the read model, or parked.
    position    bigint      NOT NULL,
    -- Grows with every change of hands; whoever holds an older one can move nothing any more.
    epoch       bigint      NOT NULL,
    lease_owner uuid,
    lease_until timestamptz,
    status      text        NOT NULL CHECK (status IN ('running', 'stopped')),
    last_error  text,
    updated_at  timestamptz NOT NULL
) WITH (fillfactor = 20);

-- Events that a projection could not take in, and those of the same stream that wait behind them.
CREATE TABLE parked_events (
    projection     text        NOT NULL,
    position       bigint      NOT NULL,
    tenant_id      uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    error          text        NOT NULL,
    parked_at      timestamptz NOT NULL,
    PRIMARY KEY (projection, position)
);
CREATE INDEX parked_events_stream ON parked_events (projection, tenant_id, aggregate_type, aggregate_id);

-- Puts the table `shadow`, made LIKE `live` INCLUDING ALL, in the place of `live`, which is dropped. The new table takes over the
-- names of the indexes, the grants and the row-level security of the old one, none of which LIKE copies.
CREATE FUNCTION swap_read_model(live text, shadow text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    old_table     regclass := live::regclass;
    new_table     regclass := shadow::regclass;
    indexes       jsonb;
    row_security  boolean;
    row_force     boolean;
    row           record;
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', old_table);

    SELECT c.relrowsecurity, c.relforcerowsecurity INTO row_security, row_force FROM pg_class c WHERE c.oid = old_table;
    IF row_security THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', new_table);
    END IF;
    IF row_force THEN
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', new_table);
    END IF;
    FOR row IN
        SELECT p.polname AS name, p.polpermissive AS permissive, p.polcmd AS command,
               pg_get_expr(p.polqual, p.polrelid) AS seen, pg_get_expr(p.polwithcheck, p.polrelid) AS written,
               (SELECT string_agg(CASE member WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(member)) END, ', ')
                FROM unnest(p.polroles) AS member) AS roles
        FROM pg_policy p
        WHERE p.polrelid = old_table
    LOOP
        EXECUTE format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', row.name, new_table,
                       CASE WHEN row.permissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                       CASE row.command WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                        WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, row.roles)
                || coalesce(' USING (' || row.seen || ')', '') || coalesce(' WITH CHECK (' || row.written || ')', '');
    END LOOP;
    FOR row IN
        SELECT a.privilege_type AS privilege, a.is_grantable AS grantable,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = old_table AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON %s TO %s', row.privilege, new_table, row.grantee)
                || CASE WHEN row.grantable THEN ' WITH GRANT OPTION' ELSE '' END;
    END LOOP;

    -- An index is known by its definition without its own name and its table's.
    SELECT coalesce(jsonb_object_agg(regexp_replace(pg_get_indexdef(i.indexrelid), '^(CREATE (UNIQUE )?INDEX) \S+ ON \S+ ', '\1 '),
                                     c.relname), '{}')
    INTO indexes
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = old_table;

    EXECUTE format('DROP TABLE %s', old_table);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', new_table, live);

    FOR row IN
        SELECT c.relname AS name,
               indexes ->> regexp_replace(pg_get_indexdef(i.indexrelid), '^(CREATE (UNIQUE )?INDEX) \S+ ON \S+ ', '\1 ') AS old_name
        FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = new_table
    LOOP
        IF row.old_name IS NOT NULL AND row.old_name <> row.name THEN
            EXECUTE format('ALTER INDEX %I RENAME TO %I', row.name, row.old_name);
        END IF;
    END LOOP;
END $$;
