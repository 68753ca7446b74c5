-- Tenants are kept apart by PostgreSQL itself: every table with a tenant has row-level security, also for its owner.
--
-- hub_query     what a tenant's queries become for one transaction: they read a few tables, and of those the rows of hub.tenant_id only
-- hub_platform  what the platform's own queries become: they read the same tables, all rows
-- hub_worker    the program itself (writer, relay, projections, process managers): all rows of whatever its login may touch
--
-- Roles belong to the whole server, so another database may be making them at this moment.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['hub_query', 'hub_platform', 'hub_worker'] LOOP
        IF to_regrole(role) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'the role % is missing and % may not create it', role, current_user
                        USING ERRCODE = 'insufficient_privilege',
                              HINT = format('as a superuser: CREATE ROLE %I NOLOGIN; GRANT %I TO %I', role, role, current_user);
            END;
        END IF;
        IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role AND (r.rolsuper OR r.rolbypassrls)) THEN
            RAISE EXCEPTION 'the role % is above row-level security', role USING ERRCODE = 'invalid_role_specification';
        END IF;
        -- A superuser may become any role.
        IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
            BEGIN
                EXECUTE format('GRANT %I TO %I', role, current_user);
            EXCEPTION WHEN insufficient_privilege OR unique_violation OR internal_error THEN
                IF NOT pg_has_role(current_user, role, 'MEMBER') THEN
                    RAISE;
                END IF;
            END;
        END IF;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO hub_query, hub_platform', current_schema());
END $$;

-- The tenant that the transaction is about. An error when nobody has said it: an empty answer would look like an empty tenant.
CREATE FUNCTION hub_tenant_id() RETURNS uuid LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    tenant text := current_setting('hub.tenant_id', true);
BEGIN
    IF tenant IS NULL OR tenant = '' THEN
        RAISE EXCEPTION 'the transaction does not say whose rows it reads'
            USING ERRCODE = 'insufficient_privilege', HINT = 'SET LOCAL hub.tenant_id = ''<uuid>''';
    END IF;
    RETURN tenant::uuid;
END $$;
GRANT EXECUTE ON FUNCTION hub_tenant_id() TO hub_query;

-- For every table that has a tenant: nobody but the program sees its rows, the owner of the table included. May be called again.
CREATE FUNCTION isolate_table(isolated regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', isolated);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', isolated);
    EXECUTE format('DROP POLICY IF EXISTS worker ON %s', isolated);
    EXECUTE format('CREATE POLICY worker ON %s TO hub_worker USING (true) WITH CHECK (true)', isolated);
END $$;

-- For those that queries read: each tenant sees its own rows, the platform all.
CREATE FUNCTION isolate_read_model(isolated regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM isolate_table(isolated);
    EXECUTE format('DROP POLICY IF EXISTS own_tenant ON %s', isolated);
    EXECUTE format('CREATE POLICY own_tenant ON %s FOR SELECT TO hub_query USING (tenant_id = hub_tenant_id())', isolated);
    EXECUTE format('DROP POLICY IF EXISTS platform ON %s', isolated);
    EXECUTE format('CREATE POLICY platform ON %s FOR SELECT TO hub_platform USING (true)', isolated);
    EXECUTE format('GRANT SELECT ON %s TO hub_query, hub_platform', isolated);
END $$;

-- What is there, also candidates and retired tables.
DO $$
DECLARE
    isolated regclass;
BEGIN
    FOR isolated IN
        SELECT DISTINCT c.oid
        FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
          AND a.attname IN ('tenant_id', 'realm_id') AND NOT a.attisdropped
    LOOP
        PERFORM isolate_table(isolated);
    END LOOP;
    FOREACH isolated IN ARRAY ARRAY[
        'tenants', 'subscriptions', 'roles', 'service_instances', 'webhooks', 'event_counts', 'mrr_movements', 'audit_entries', 'charges',
        'access_requests', 'break_glasses', 'support_accesses', 'identity_providers', 'duty_sets', 'role_templates', 'events', 'tenant_heads'
    ]::regclass[] LOOP
        PERFORM isolate_read_model(isolated);
    END LOOP;
END $$;

-- What the platform offers to every tenant.
DROP POLICY own_tenant ON role_templates;
CREATE POLICY offered ON role_templates FOR SELECT TO hub_query USING (true);

-- How far the log and the read models are; of no tenant.
GRANT SELECT ON log_head, projection_checkpoints TO hub_query, hub_platform;

-- Makes the table `copy` like `live`, without rows and indexes. Only its owner can do anything with it. It is not forced to be isolated
-- before `index_read_model` has made its last indexes, because COPY does not fill a table that is.
CREATE OR REPLACE FUNCTION copy_read_model(live text, copy text) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
    options text := (SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = live::regclass);
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL EXCLUDING INDEXES)', copy, live);
    IF options <> '' THEN
        EXECUTE format('ALTER TABLE %I SET (%s)', copy, options);
    END IF;
    IF (SELECT relrowsecurity FROM pg_class WHERE oid = live::regclass) THEN
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', copy);
    END IF;
END $$;

-- Gives `copy` the primary key of `live`, or else all its other indexes; with those it is whole, and isolated if `live` is. Policies and
-- grants of `live` come with the switch.
CREATE OR REPLACE FUNCTION index_read_model(live text, copy text, is_primary boolean) RETURNS void
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
    IF NOT is_primary AND (SELECT relforcerowsecurity FROM pg_class WHERE oid = live::regclass) THEN
        PERFORM isolate_table(copy::regclass);
    END IF;
END $$;
