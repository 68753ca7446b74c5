-- Blue/green read models: a candidate is built beside the live table, and the table that was live before is kept for a way back.
-- There is at most one of each a projection.

CREATE TABLE projection_builds (
    projection        text             NOT NULL,
    kind              text             NOT NULL CHECK (kind IN ('candidate', 'retired')),
    -- `building` without anybody who holds the projection's build lock is left over from a process that ended.
    state             text             NOT NULL CHECK (state IN ('building', 'ready', 'failed', 'retired')),
    version           integer          NOT NULL,
    -- Every event up to and with this one is in the table, or parked.
    position          bigint           NOT NULL,
    -- The last position of the log when the row was written.
    head              bigint           NOT NULL,
    row_count         bigint,
    events_per_second double precision,
    error             text,
    -- How far each share of a retired table was when it left, as far as beyond `position`: [{"partitions": [..] or null, "position": ..}].
    shares            jsonb            NOT NULL DEFAULT '[]',
    started_at        timestamptz      NOT NULL,
    updated_at        timestamptz      NOT NULL,
    PRIMARY KEY (projection, kind)
);

-- What is parked in a table that is not live; the same as `parked_events` for the live ones.
CREATE TABLE build_parked_events (
    projection     text        NOT NULL,
    kind           text        NOT NULL,
    position       bigint      NOT NULL,
    tenant_id      uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    error          text        NOT NULL,
    parked_at      timestamptz NOT NULL,
    PRIMARY KEY (projection, kind, position),
    FOREIGN KEY (projection, kind) REFERENCES projection_builds ON DELETE CASCADE
);

-- Parked events that somebody decided to leave out of a read model for good. Never deleted.
CREATE TABLE discarded_events (
    projection     text        NOT NULL,
    position       bigint      NOT NULL,
    tenant_id      uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    -- Why it was parked.
    error          text        NOT NULL,
    reason         text        NOT NULL,
    discarded_by   text        NOT NULL,
    discarded_at   timestamptz NOT NULL,
    PRIMARY KEY (projection, position)
);

-- Makes the table `copy` like `live`, without rows and indexes.
CREATE FUNCTION copy_read_model(live text, copy text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    options text := (SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = live::regclass);
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES)', copy, live);
    IF options <> '' THEN
        EXECUTE format('ALTER TABLE %I SET (%s)', copy, options);
    END IF;
END $$;

-- Gives `copy` the primary key of `live`, or else all its other indexes.
CREATE FUNCTION index_read_model(live text, copy text, is_primary boolean) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    row record;
BEGIN
    FOR row IN
        SELECT pg_get_indexdef(i.indexrelid) AS index, pg_get_constraintdef(c.oid) AS "constraint"
        FROM pg_index i
        LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid AND c.contype = 'p'
        WHERE i.indrelid = live::regclass AND i.indisprimary = is_primary
        ORDER BY i.indexrelid
    LOOP
        IF is_primary THEN
            EXECUTE format('ALTER TABLE %I ADD %s', copy, row."constraint");
        ELSE
            EXECUTE regexp_replace(row.index, '^CREATE (UNIQUE )?INDEX \S+ ON \S+ ', format('CREATE \1INDEX ON %I ', copy));
        END IF;
    END LOOP;
END $$;

-- Puts the table `incoming` in the place of `live`, which becomes `retired`; a `retired` that was there before is dropped, unless it
-- is the one that comes in. The new table takes over the names of the indexes, the grants and the row-level security of the old one.
CREATE FUNCTION switch_read_model(live text, incoming text, retired text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    old_table    regclass := live::regclass;
    new_table    regclass := incoming::regclass;
    indexes      jsonb;
    row_security boolean;
    row_force    boolean;
    row          record;
BEGIN
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', old_table);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', new_table);

    SELECT c.relrowsecurity, c.relforcerowsecurity INTO row_security, row_force FROM pg_class c WHERE c.oid = old_table;
    EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY', new_table, CASE WHEN row_security THEN 'ENABLE' ELSE 'DISABLE' END);
    EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY', new_table, CASE WHEN row_force THEN 'FORCE' ELSE 'NO FORCE' END);
    FOR row IN SELECT p.polname AS name FROM pg_policy p WHERE p.polrelid = new_table LOOP
        EXECUTE format('DROP POLICY %I ON %s', row.name, new_table);
    END LOOP;
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
    -- What was granted on a retired table may have been revoked from the live one since.
    FOR row IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = new_table AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', new_table, row.grantee);
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

    IF incoming <> retired THEN
        EXECUTE format('DROP TABLE IF EXISTS %I', retired);
    END IF;
    EXECUTE format('ALTER TABLE %s RENAME TO %I', old_table, live || '_leaving');
    EXECUTE format('ALTER TABLE %s RENAME TO %I', new_table, live);
    EXECUTE format('ALTER TABLE %s RENAME TO %I', old_table, retired);
    -- Names of no other table's indexes.
    FOR row IN SELECT i.indexrelid AS id FROM pg_index i WHERE i.indrelid = old_table LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I', row.id::regclass, left(retired, 45) || '_' || row.id);
    END LOOP;
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

DROP FUNCTION swap_read_model(text, text);
