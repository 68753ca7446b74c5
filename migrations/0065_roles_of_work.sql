-- Each part of the program that writes becomes a role which may do that and nothing else.
--
-- hub_append   brings events into the log, by append_events and import_events, with what those keep beside it
-- hub_seal     reads the log, and writes seals, checkpoints and the keys that are published
-- hub_project  reads the log, and writes read models and how far they are
--
-- None of them may change or take away an event, and none may do another's work. All rows are theirs (hub_worker), of the tables that
-- they may touch at all. Roles belong to the whole server, so another database may be making them at this moment; a lock would not
-- help, because it belongs to one database.
DO $$
DECLARE
    role    text;
    granted text;
    member  text;
BEGIN
    FOREACH role IN ARRAY ARRAY['hub_append', 'hub_seal', 'hub_project'] LOOP
        IF to_regrole(role) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            EXCEPTION
                WHEN duplicate_object OR unique_violation THEN
                    NULL;
                WHEN insufficient_privilege THEN
                    RAISE EXCEPTION 'the role % is missing and % may not create it', role, current_user
                        USING ERRCODE = 'insufficient_privilege',
                              HINT = format('as a superuser: CREATE ROLE %1$I NOLOGIN; GRANT hub_worker TO %1$I; GRANT %1$I TO %2$I',
                                            role, current_user);
            END;
        END IF;
        IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role AND (r.rolsuper OR r.rolbypassrls)) THEN
            RAISE EXCEPTION 'the role % is above row-level security', role USING ERRCODE = 'invalid_role_specification';
        END IF;
        -- Two memberships: all rows for the role, and the role for the program's login unless that is a superuser.
        FOR granted, member IN
            SELECT 'hub_worker', role
            UNION ALL
            SELECT role, r.rolname FROM pg_roles r WHERE r.rolname = current_user AND NOT r.rolsuper
        LOOP
            BEGIN
                IF NOT pg_has_role(member, granted, 'MEMBER') THEN
                    EXECUTE format('GRANT %I TO %I', granted, member);
                END IF;
            EXCEPTION WHEN insufficient_privilege OR unique_violation OR internal_error THEN
                IF NOT pg_has_role(member, granted, 'MEMBER') THEN
                    RAISE EXCEPTION 'the role % is not a member of % and % may not make it one', member, granted, current_user
                        USING ERRCODE = 'insufficient_privilege', HINT = format('as a superuser: GRANT %I TO %I', granted, member);
                END IF;
            END;
        END LOOP;
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO hub_append, hub_seal, hub_project', current_schema());
END $$;

-- The functions run with the rights of whoever calls them.
DO $$
DECLARE
    appending regprocedure;
BEGIN
    FOR appending IN
        SELECT p.oid FROM pg_proc p
        WHERE p.pronamespace = current_schema()::regnamespace AND p.proname IN ('append_events', 'import_events', 'set_fact')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', appending);
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO hub_append', appending);
    END LOOP;
END $$;
GRANT INSERT ON events, cqrs_streams TO hub_append;
-- Which of its events are in the log already, after a connection was lost; nothing of what they say.
GRANT SELECT (position, tenant_position, event_id, leaf_hash) ON events TO hub_append;
GRANT SELECT, INSERT ON claims TO hub_append;
GRANT DELETE ON claims, facts TO hub_append;
GRANT SELECT, UPDATE ON log_head, imports TO hub_append;
GRANT SELECT, INSERT, UPDATE ON tenant_heads, streams, command_outcomes, counters, facts, fact_heads TO hub_append;

GRANT SELECT ON events, tenant_heads, log_head TO hub_seal, hub_project;
GRANT SELECT, INSERT, UPDATE ON sealed_trees, sealed_tiles, evidence_keys TO hub_seal;
GRANT SELECT, INSERT ON checkpoints TO hub_seal;

GRANT SELECT, INSERT, UPDATE, DELETE ON projection_checkpoints, projection_workers, projection_builds, parked_events, build_parked_events
TO hub_project;
GRANT SELECT ON discarded_events TO hub_project;

-- For those that queries read: each tenant sees its own rows, the platform all, and projections write them.
CREATE OR REPLACE FUNCTION isolate_read_model(isolated regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM isolate_table(isolated);
    EXECUTE format('DROP POLICY IF EXISTS own_tenant ON %s', isolated);
    EXECUTE format('CREATE POLICY own_tenant ON %s FOR SELECT TO hub_query USING (tenant_id = hub_tenant_id())', isolated);
    EXECUTE format('DROP POLICY IF EXISTS platform ON %s', isolated);
    EXECUTE format('CREATE POLICY platform ON %s FOR SELECT TO hub_platform USING (true)', isolated);
    EXECUTE format('GRANT SELECT ON %s TO hub_query, hub_platform', isolated);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO hub_project', isolated);
END $$;

-- What is there and read by queries, but for what others write.
DO $$
DECLARE
    read_model regclass;
BEGIN
    FOR read_model IN
        SELECT p.polrelid FROM pg_policy p
        JOIN pg_class c ON c.oid = p.polrelid
        WHERE p.polname = 'platform' AND c.relnamespace = current_schema()::regnamespace
          AND c.relname NOT IN ('events', 'tenant_heads', 'sealed_tiles', 'checkpoints', 'api_key_uses', 'permission_uses')
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO hub_project', read_model);
    END LOOP;
END $$;

-- Nobody has these rights; that it stays so is said once more where it is looked for. The trigger of 0001 refuses the owner as well, and now
-- also in a session that pretends to be a replica.
REVOKE UPDATE, DELETE, TRUNCATE ON events, checkpoints FROM PUBLIC, hub_append, hub_seal, hub_project, hub_query, hub_platform, hub_worker;
ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_kept;
ALTER TABLE checkpoints ENABLE ALWAYS TRIGGER checkpoints_are_kept;

-- Whoever checks the platform's own log reads it in its order.
CREATE INDEX checkpoints_platform ON checkpoints (platform_index) WHERE platform_index IS NOT NULL;
