-- How far the consumers of each event subscription are: reading state, which changes with every event that is handed out or acknowledged, and
-- is neither business nor read model. It is written outside of the log, by a role of its own.
--
-- hub_consume  reads the events of one tenant, and writes these two tables, of that tenant
--
-- Unlike the other roles that write it is no member of hub_worker: it sees the rows of hub.tenant_id only, as hub_query does.
DO $$
BEGIN
    IF to_regrole('hub_consume') IS NULL THEN
        BEGIN
            CREATE ROLE hub_consume NOLOGIN;
        EXCEPTION
            -- Roles belong to the whole server, so another database may be making it at this moment.
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role hub_consume is missing and % may not create it', current_user
                    USING ERRCODE = 'insufficient_privilege',
                          HINT = format('as a superuser: CREATE ROLE hub_consume NOLOGIN; GRANT hub_consume TO %I', current_user);
        END;
    END IF;
    IF EXISTS (SELECT FROM pg_roles r WHERE r.rolname = 'hub_consume' AND (r.rolsuper OR r.rolbypassrls)) THEN
        RAISE EXCEPTION 'the role hub_consume is above row-level security' USING ERRCODE = 'invalid_role_specification';
    END IF;
    -- A superuser may become any role.
    IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
        BEGIN
            IF NOT pg_has_role(current_user, 'hub_consume', 'MEMBER') THEN
                EXECUTE format('GRANT hub_consume TO %I', current_user);
            END IF;
        EXCEPTION WHEN insufficient_privilege OR unique_violation OR internal_error THEN
            IF NOT pg_has_role(current_user, 'hub_consume', 'MEMBER') THEN
                RAISE EXCEPTION '% is not a member of hub_consume and may not become one', current_user
                    USING ERRCODE = 'insufficient_privilege', HINT = format('as a superuser: GRANT hub_consume TO %I', current_user);
            END IF;
        END;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO hub_consume', current_schema());
END $$;

-- One row a subscription, from the first time that it is pulled. Whoever changes anything of a subscription locks it first.
CREATE TABLE event_subscription_cursors (
    tenant_id       uuid        NOT NULL,
    subscription_id uuid        NOT NULL,
    -- Every event of the tenant up to here has been looked at: it was not wanted, or is in the messages, or is done with.
    position        bigint      NOT NULL CHECK (position >= 0),
    -- Grows with each reset, so that what was handed out before is known.
    epoch           bigint      NOT NULL DEFAULT 1,
    -- The number of the last lease; each pull that hands something out takes the next.
    lease           bigint      NOT NULL DEFAULT 0,
    -- Who has an exclusive subscription, and until when.
    holder          text,
    holder_until    timestamptz,
    -- So many events were passed over because nobody acknowledged them.
    skipped         bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, subscription_id)
) WITH (fillfactor = 50);

-- Events that were looked at, are wanted and are not done with; they vanish when they are acknowledged.
CREATE TABLE event_subscription_messages (
    tenant_id       uuid        NOT NULL,
    subscription_id uuid        NOT NULL,
    position        bigint      NOT NULL,
    aggregate_type  text        NOT NULL,
    aggregate_id    uuid        NOT NULL,
    -- How often it was handed out.
    deliveries      integer     NOT NULL,
    -- The lease that it is handed out with; 0 when it waits.
    lease           bigint      NOT NULL,
    -- When it may be handed out: the end of its lease, or of its rest.
    available_at    timestamptz NOT NULL,
    -- Who had it last.
    consumer        text,
    parked_at       timestamptz,
    parked_reason   text,
    PRIMARY KEY (tenant_id, subscription_id, position)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX event_subscription_messages_open
    ON event_subscription_messages (tenant_id, subscription_id, position) WHERE parked_at IS NULL;
CREATE INDEX event_subscription_messages_parked
    ON event_subscription_messages (tenant_id, subscription_id, position) WHERE parked_at IS NOT NULL;

SELECT isolate_table('event_subscription_cursors'), isolate_table('event_subscription_messages');
CREATE POLICY consumed ON event_subscription_cursors TO hub_consume
    USING (tenant_id = hub_tenant_id()) WITH CHECK (tenant_id = hub_tenant_id());
CREATE POLICY consumed ON event_subscription_messages TO hub_consume
    USING (tenant_id = hub_tenant_id()) WITH CHECK (tenant_id = hub_tenant_id());
CREATE POLICY consumed ON events FOR SELECT TO hub_consume USING (tenant_id = hub_tenant_id());
CREATE POLICY consumed ON tenant_heads FOR SELECT TO hub_consume USING (tenant_id = hub_tenant_id());
GRANT EXECUTE ON FUNCTION hub_tenant_id() TO hub_consume;
GRANT SELECT ON events, tenant_heads TO hub_consume;
GRANT SELECT, INSERT, UPDATE, DELETE ON event_subscription_cursors, event_subscription_messages TO hub_consume;
