-- The event store: one log in commit order, and what an append must check in the same transaction.

CREATE TABLE log_head (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL
);
INSERT INTO log_head (position) VALUES (0);

CREATE TABLE tenant_heads (
    tenant_id uuid PRIMARY KEY,
    position  bigint NOT NULL
);

-- `json`, not `jsonb`: the bytes stay as they were hashed.
CREATE TABLE events (
    position        bigint      PRIMARY KEY,
    tenant_position bigint      NOT NULL,
    event_id        uuid        NOT NULL,
    tenant_id       uuid        NOT NULL,
    aggregate_id    uuid        NOT NULL,
    sequence        bigint      NOT NULL CHECK (sequence > 0),
    occurred_at     timestamptz NOT NULL,
    event_version   integer     NOT NULL CHECK (event_version > 0),
    aggregate_type  text        NOT NULL,
    event_type      text        NOT NULL,
    payload         json        NOT NULL,
    metadata        json        NOT NULL,
    leaf_hash       bytea       NOT NULL
);
CREATE UNIQUE INDEX events_stream ON events (tenant_id, aggregate_type, aggregate_id, sequence);
CREATE UNIQUE INDEX events_tenant ON events (tenant_id, tenant_position);

-- The last sequence of each stream.
CREATE TABLE streams (
    tenant_id      uuid   NOT NULL,
    aggregate_type text   NOT NULL,
    aggregate_id   uuid   NOT NULL,
    sequence       bigint NOT NULL,
    PRIMARY KEY (tenant_id, aggregate_type, aggregate_id)
) WITH (fillfactor = 80);

-- What each command led to, so that the same command answers the same and appends nothing.
CREATE TABLE command_outcomes (
    command_id     uuid        PRIMARY KEY,
    fingerprint    bytea       NOT NULL,
    tenant_id      uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   uuid        NOT NULL,
    sequence       bigint      NOT NULL,
    position       bigint      NOT NULL,
    event_count    integer     NOT NULL,
    outcome        json,
    recorded_at    timestamptz NOT NULL
);

-- Names that only one stream may hold: unique on the platform (realm of the platform) or in a tenant (realm = tenant).
CREATE TABLE claims (
    realm_id       uuid NOT NULL,
    scope          text NOT NULL,
    key            text NOT NULL,
    tenant_id      uuid NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id   uuid NOT NULL,
    PRIMARY KEY (realm_id, scope, key)
);

-- Counted places and versions of a tenant that a command may limit or expect.
CREATE TABLE counters (
    tenant_id uuid   NOT NULL,
    name      text   NOT NULL,
    value     bigint NOT NULL,
    PRIMARY KEY (tenant_id, name)
) WITH (fillfactor = 80);

-- How far the relay has published, over all and per partition.
CREATE TABLE relay_cursor (
    only_row            boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position            bigint   NOT NULL,
    partition_positions bigint[] NOT NULL
);
INSERT INTO relay_cursor (position, partition_positions) VALUES (0, array_fill(0::bigint, ARRAY[16]));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'events are neither updated nor deleted' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER events_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
REVOKE UPDATE, DELETE, TRUNCATE ON events FROM PUBLIC;

-- Appends one batch of commands, in the order given, and answers one verdict per command:
--   0 accepted             position, tenant_position and sequence are those of its last event
--   1 duplicate            the first outcome of the same command id
--   2 command id reused    the same command id with another fingerprint
--   3 sequence conflict    `sequence` is the actual one
--   4 name taken           `detail` is the scope, `outcome` the key
--   5 counter at maximum   `detail` is the counter, `position` its value
--   6 counter has moved    `detail` is the counter, `position` its value
--   7 guard has moved      `detail` is the aggregate type of the guarded stream
-- A command that is not accepted leaves no trace; the others go on. No two commands of one batch may touch the same stream,
-- command id, name or counter, nor may one guard what another writes: the caller keeps such commands for the next batch.
-- Arrays c_* have an element per command; e_*, k_*, n_* and g_* one per event, claim, counter change and guard, each naming its
-- command by its place (from 1). A NULL in c_expected asks for no check.
CREATE FUNCTION append_events(
    c_id uuid[], c_fingerprint bytea[], c_tenant uuid[], c_type text[], c_aggregate uuid[], c_expected bigint[], c_count integer[],
    c_outcome text[], c_at timestamptz[],
    e_command integer[], e_index integer[], e_id uuid[], e_type text[], e_version integer[], e_payload text[], e_metadata text[],
    e_at timestamptz[], e_hash bytea[],
    k_command integer[], k_realm uuid[], k_scope text[], k_key text[], k_take boolean[],
    n_command integer[], n_tenant uuid[], n_name text[], n_delta bigint[], n_max bigint[], n_expected bigint[],
    g_command integer[], g_tenant uuid[], g_type text[], g_aggregate uuid[], g_sequence bigint[]
) RETURNS TABLE (
    verdict smallint, "position" bigint, tenant_position bigint, sequence bigint, event_count integer,
    tenant_id uuid, aggregate_type text, aggregate_id uuid, detail text, outcome text
)
LANGUAGE plpgsql
-- A session that first calls this on empty tables would otherwise keep sequential scans for good.
SET enable_seqscan = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    size     integer    := cardinality(c_id);
    v        smallint[] := array_fill(0::smallint, ARRAY[size]);
    actual   bigint[]   := c_expected;
    value_at bigint[]   := array_fill(0::bigint, ARRAY[size]);
    first_at bigint[];
    tenant_first_at bigint[];
    details  text[]     := array_fill(NULL::text, ARRAY[size]);
    keys     text[]     := array_fill(NULL::text, ARRAY[size]);
    base     bigint;
    total    bigint;
    row      record;
BEGIN
    -- The one writer lock: held for this statement and its commit, never across a round trip of the client.
    PERFORM pg_advisory_xact_lock(7236831001);

    FOR row IN
        SELECT c.i, o.fingerprint = c.fingerprint AS same
        FROM unnest(c_id, c_fingerprint) WITH ORDINALITY AS c (id, fingerprint, i)
        JOIN command_outcomes o ON o.command_id = c.id
    LOOP
        v[row.i] := CASE WHEN row.same THEN 1 ELSE 2 END;
    END LOOP;

    FOR row IN
        SELECT c.i, c.expected, coalesce(s.sequence, 0) AS actual
        FROM unnest(c_tenant, c_type, c_aggregate, c_expected) WITH ORDINALITY AS c (tenant, type, aggregate, expected, i)
        LEFT JOIN streams s ON s.tenant_id = c.tenant AND s.aggregate_type = c.type AND s.aggregate_id = c.aggregate
        WHERE c.expected IS DISTINCT FROM coalesce(s.sequence, 0)
    LOOP
        actual[row.i] := row.actual;
        IF v[row.i] = 0 AND row.expected IS NOT NULL THEN
            v[row.i] := 3;
        END IF;
    END LOOP;

    IF cardinality(g_command) > 0 THEN
        FOR row IN
            SELECT g.command AS i, g.type
            FROM unnest(g_command, g_tenant, g_type, g_aggregate, g_sequence) AS g (command, tenant, type, aggregate, sequence)
            LEFT JOIN streams s ON s.tenant_id = g.tenant AND s.aggregate_type = g.type AND s.aggregate_id = g.aggregate
            WHERE g.sequence <> coalesce(s.sequence, 0)
        LOOP
            IF v[row.i] = 0 THEN
                v[row.i] := 7;
                details[row.i] := row.type;
            END IF;
        END LOOP;
    END IF;

    IF cardinality(n_command) > 0 THEN
        FOR row IN
            SELECT n.command AS i, n.name, coalesce(k.value, 0) AS value, n.expected IS NOT NULL AND n.expected <> coalesce(k.value, 0) AS moved
            FROM unnest(n_command, n_tenant, n_name, n_delta, n_max, n_expected) AS n (command, tenant, name, delta, maximum, expected)
            LEFT JOIN counters k ON k.tenant_id = n.tenant AND k.name = n.name
            WHERE n.expected <> coalesce(k.value, 0) OR (n.delta > 0 AND coalesce(k.value, 0) + n.delta > n.maximum)
        LOOP
            IF v[row.i] = 0 THEN
                v[row.i] := CASE WHEN row.moved THEN 6 ELSE 5 END;
                value_at[row.i] := row.value;
                details[row.i] := row.name;
            END IF;
        END LOOP;
    END IF;

    IF cardinality(k_command) > 0 THEN
        FOR row IN
            SELECT k.command AS i, k.scope, k.key
            FROM unnest(k_command, k_realm, k_scope, k_key, k_take) AS k (command, realm, scope, key, take)
            JOIN claims held ON held.realm_id = k.realm AND held.scope = k.scope AND held.key = k.key
            WHERE k.take
        LOOP
            IF v[row.i] = 0 THEN
                v[row.i] := 4;
                details[row.i] := row.scope;
                keys[row.i] := row.key;
            END IF;
        END LOOP;
    END IF;

    SELECT coalesce(sum(c.count), 0) INTO total
    FROM unnest(c_count, v) AS c (count, verdict)
    WHERE c.verdict = 0;

    UPDATE log_head SET position = log_head.position + total RETURNING log_head.position - total INTO base;

    -- Places are given out only now that nothing can be refused any more, so there are no gaps.
    SELECT array_agg(p.first_at ORDER BY p.i), array_agg(p.tenant_first_at ORDER BY p.i)
    INTO first_at, tenant_first_at
    FROM (
        SELECT c.i,
               base + sum(c.count) OVER (ORDER BY c.i) - c.count AS first_at,
               coalesce(h.position, 0) + sum(c.count) OVER (PARTITION BY c.tenant ORDER BY c.i) - c.count AS tenant_first_at
        FROM (
            SELECT a.i, a.tenant, CASE WHEN a.verdict = 0 THEN a.count ELSE 0 END AS count
            FROM unnest(c_tenant, c_count, v) WITH ORDINALITY AS a (tenant, count, verdict, i)
        ) c
        LEFT JOIN tenant_heads h ON h.tenant_id = c.tenant
    ) p;

    IF total > 0 THEN
        INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version,
                            aggregate_type, event_type, payload, metadata, leaf_hash)
        SELECT first_at[e.command] + e.index, tenant_first_at[e.command] + e.index, e.id, c.tenant, c.aggregate,
               actual[e.command] + e.index, e.at, e.version, c.type, e.type, e.payload::json, e.metadata::json, e.hash
        FROM unnest(e_command, e_index, e_id, e_type, e_version, e_payload, e_metadata, e_at, e_hash)
             AS e (command, index, id, type, version, payload, metadata, at, hash)
        JOIN unnest(c_tenant, c_type, c_aggregate) WITH ORDINALITY AS c (tenant, type, aggregate, i) ON c.i = e.command
        WHERE v[e.command] = 0;

        INSERT INTO streams AS s (tenant_id, aggregate_type, aggregate_id, sequence)
        SELECT c.tenant, c.type, c.aggregate, actual[c.i] + c.count
        FROM unnest(c_tenant, c_type, c_aggregate, c_count, v) WITH ORDINALITY AS c (tenant, type, aggregate, count, verdict, i)
        WHERE c.verdict = 0 AND c.count > 0
        ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE SET sequence = EXCLUDED.sequence;

        INSERT INTO tenant_heads AS h (tenant_id, position)
        SELECT c.tenant, sum(c.count)
        FROM unnest(c_tenant, c_count, v) AS c (tenant, count, verdict)
        WHERE c.verdict = 0 AND c.count > 0
        GROUP BY c.tenant
        ON CONFLICT (tenant_id) DO UPDATE SET position = h.position + EXCLUDED.position;

        IF cardinality(k_command) > 0 THEN
            DELETE FROM claims held
            USING unnest(k_command, k_realm, k_scope, k_key, k_take) AS k (command, realm, scope, key, take)
            WHERE NOT k.take AND v[k.command] = 0 AND held.realm_id = k.realm AND held.scope = k.scope AND held.key = k.key
              AND held.tenant_id = c_tenant[k.command] AND held.aggregate_id = c_aggregate[k.command];

            INSERT INTO claims (realm_id, scope, key, tenant_id, aggregate_type, aggregate_id)
            SELECT k.realm, k.scope, k.key, c_tenant[k.command], c_type[k.command], c_aggregate[k.command]
            FROM unnest(k_command, k_realm, k_scope, k_key, k_take) AS k (command, realm, scope, key, take)
            WHERE k.take AND v[k.command] = 0;
        END IF;

        IF cardinality(n_command) > 0 THEN
            INSERT INTO counters AS n (tenant_id, name, value)
            SELECT k.tenant, k.name, k.delta
            FROM unnest(n_command, n_tenant, n_name, n_delta) AS k (command, tenant, name, delta)
            WHERE v[k.command] = 0 AND k.delta <> 0
            ON CONFLICT (tenant_id, name) DO UPDATE SET value = n.value + EXCLUDED.value;
        END IF;

        PERFORM pg_notify('hub_log', (base + total)::text);
    END IF;

    INSERT INTO command_outcomes (command_id, fingerprint, tenant_id, aggregate_type, aggregate_id, sequence, position, event_count,
                                  outcome, recorded_at)
    SELECT c.id, c.fingerprint, c.tenant, c.type, c.aggregate, actual[c.i] + c.count,
           CASE WHEN c.count > 0 THEN first_at[c.i] + c.count ELSE base END, c.count, c.outcome::json, c.at
    FROM unnest(c_id, c_fingerprint, c_tenant, c_type, c_aggregate, c_count, c_outcome, c_at, v) WITH ORDINALITY
         AS c (id, fingerprint, tenant, type, aggregate, count, outcome, at, verdict, i)
    WHERE c.verdict = 0;

    RETURN QUERY
    SELECT c.verdict,
           CASE c.verdict WHEN 0 THEN CASE WHEN c.count > 0 THEN first_at[c.i] + c.count ELSE base END
                          WHEN 1 THEN o.position ELSE value_at[c.i] END,
           CASE c.verdict WHEN 0 THEN tenant_first_at[c.i] + c.count ELSE 0 END,
           CASE c.verdict WHEN 0 THEN actual[c.i] + c.count WHEN 1 THEN o.sequence ELSE actual[c.i] END,
           CASE c.verdict WHEN 1 THEN o.event_count ELSE c.count END,
           coalesce(o.tenant_id, c.tenant), coalesce(o.aggregate_type, c.type), coalesce(o.aggregate_id, c.aggregate),
           details[c.i],
           CASE c.verdict WHEN 1 THEN o.outcome::text WHEN 4 THEN keys[c.i] END
    FROM unnest(c_id, c_tenant, c_type, c_aggregate, c_count, v) WITH ORDINALITY AS c (id, tenant, type, aggregate, count, verdict, i)
    LEFT JOIN command_outcomes o ON o.command_id = c.id AND c.verdict = 1
    ORDER BY c.i;
END $$;
