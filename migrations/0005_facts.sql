-- Facts: what decisions about access read, changed in the transaction of the append, so that they are never behind the log.

CREATE TABLE facts (
    tenant_id      uuid   NOT NULL,
    aggregate_type text   NOT NULL,
    aggregate_id   uuid   NOT NULL,
    part           text   NOT NULL,
    position       bigint NOT NULL,
    fact           json   NOT NULL,
    PRIMARY KEY (tenant_id, aggregate_type, aggregate_id, part)
);

-- The position of the last event that changed a tenant's facts: the version of whatever is made of them.
CREATE TABLE fact_heads (
    tenant_id uuid   PRIMARY KEY,
    position  bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX fact_heads_position ON fact_heads (position);

-- Sets a fact of a stream, or removes it when it is NULL.
CREATE FUNCTION set_fact(a_tenant uuid, a_type text, a_aggregate uuid, a_part text, a_fact json, a_position bigint) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
BEGIN
    IF a_fact IS NULL THEN
        DELETE FROM facts
        WHERE tenant_id = a_tenant AND aggregate_type = a_type AND aggregate_id = a_aggregate AND part = a_part;
    ELSE
        INSERT INTO facts (tenant_id, aggregate_type, aggregate_id, part, position, fact)
        VALUES (a_tenant, a_type, a_aggregate, a_part, a_position, a_fact)
        ON CONFLICT (tenant_id, aggregate_type, aggregate_id, part)
        DO UPDATE SET position = EXCLUDED.position, fact = EXCLUDED.fact;
    END IF;
    INSERT INTO fact_heads AS h (tenant_id, position)
    VALUES (a_tenant, a_position)
    ON CONFLICT (tenant_id) DO UPDATE SET position = greatest(h.position, EXCLUDED.position);
END $$;

DROP FUNCTION append_events(
    uuid[], bytea[], uuid[], text[], uuid[], bigint[], integer[], integer[], bigint[], bigint[], text[], timestamptz[],
    integer[], integer[], uuid[], text[], uuid[], bigint[], uuid[], text[], integer[], text[], text[], timestamptz[], bytea[],
    integer[], uuid[], text[], text[], boolean[],
    integer[], uuid[], text[], bigint[], bigint[], bigint[],
    integer[], uuid[], text[], uuid[], bigint[]
);

-- Appends one batch of commands, in the order given, and answers one verdict per command:
--   0 accepted             position and sequence are those of its last event
--   1 duplicate            the first outcome of the same command id
--   2 command id reused    the same command id with another fingerprint
--   3 sequence conflict    `sequence` is the actual one
--   4 name taken           `detail` is the scope, `outcome` the key
--   5 counter at maximum   `detail` is the counter, `position` its value
--   6 counter has moved    `detail` is the counter, `position` its value
--   7 guard has moved      `detail` is the aggregate type of the guarded stream
-- A command that is not accepted leaves no trace; the others go on. No two commands of one batch may touch the same command id, name
-- or counter, nor may one guard what another writes: the caller keeps such commands for the next batch. A command may follow another one
-- on its stream: c_chain is that one's place (0 for none), and c_expected what that one leaves. It is refused with 3 when that one is not accepted.
-- Arrays c_* have an element per command; e_*, k_*, n_*, g_* and f_* one per event, claim, counter change, guard and change of a fact, each
-- naming its command by its place (from 1). Of several changes of one fact the last one of an accepted command counts; NULL removes it. A NULL in c_expected asks for no check and comes with no events. c_before counts the events of all earlier
-- commands, c_tenant_before those of the same tenant.
CREATE FUNCTION append_events(
    c_id uuid[], c_fingerprint bytea[], c_tenant uuid[], c_type text[], c_aggregate uuid[], c_expected bigint[], c_chain integer[],
    c_count integer[], c_before bigint[], c_tenant_before bigint[], c_outcome text[], c_at timestamptz[],
    e_command integer[], e_index integer[], e_tenant uuid[], e_aggregate_type text[], e_aggregate uuid[], e_sequence bigint[],
    e_id uuid[], e_type text[], e_version integer[], e_payload text[], e_metadata text[], e_at timestamptz[], e_hash bytea[],
    k_command integer[], k_realm uuid[], k_scope text[], k_key text[], k_take boolean[],
    n_command integer[], n_tenant uuid[], n_name text[], n_delta bigint[], n_max bigint[], n_expected bigint[],
    g_command integer[], g_tenant uuid[], g_type text[], g_aggregate uuid[], g_sequence bigint[],
    f_command integer[], f_part text[], f_fact text[]
) RETURNS TABLE (
    verdict smallint, "position" bigint, sequence bigint, event_count integer, tenant_id uuid, aggregate_id uuid, detail text, outcome text
)
LANGUAGE plpgsql
-- A session that first calls this on empty tables would otherwise keep sequential scans for good; and what the planner believes a
-- forbidden scan to cost would have each statement compiled to machine code first.
SET enable_seqscan = off
SET enable_mergejoin = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    size     integer    := cardinality(c_id);
    chained  boolean    := 0 < ANY (c_chain);
    clear    boolean    := true;
    v        smallint[] := array_fill(0::smallint, ARRAY[size]);
    actual   bigint[]   := c_expected;
    value_at bigint[];
    details  text[];
    keys     text[];
    base     bigint;
    total    bigint     := c_before[size] + c_count[size];
    row      record;
BEGIN
    -- The one writer lock: held for this statement and its commit, never across a round trip of the client.
    PERFORM pg_advisory_xact_lock(7236831001);

    FOR row IN
        SELECT c.i, c.expected IS NOT NULL AND c.chain = 0 AND c.expected <> coalesce(s.sequence, 0) AS moved,
               CASE WHEN c.chain = 0 THEN coalesce(s.sequence, 0) ELSE c.expected END AS actual,
               o.command_id IS NOT NULL AS known, o.fingerprint = c.fingerprint AS same
        FROM unnest(c_id, c_fingerprint, c_tenant, c_type, c_aggregate, c_expected, c_chain) WITH ORDINALITY
             AS c (id, fingerprint, tenant, type, aggregate, expected, chain, i)
        LEFT JOIN command_outcomes o ON o.command_id = c.id
        LEFT JOIN streams s ON s.tenant_id = c.tenant AND s.aggregate_type = c.type AND s.aggregate_id = c.aggregate
        WHERE o.command_id IS NOT NULL OR (c.chain = 0 AND c.expected IS DISTINCT FROM coalesce(s.sequence, 0))
    LOOP
        actual[row.i] := row.actual;
        IF row.known OR row.moved THEN
            clear := false;
            v[row.i] := CASE WHEN row.same THEN 1 WHEN row.known THEN 2 ELSE 3 END;
        END IF;
    END LOOP;

    IF cardinality(g_command) > 0 THEN
        FOR row IN
            SELECT g.command AS i, g.type
            FROM unnest(g_command, g_tenant, g_type, g_aggregate, g_sequence) AS g (command, tenant, type, aggregate, sequence)
            LEFT JOIN streams s ON s.tenant_id = g.tenant AND s.aggregate_type = g.type AND s.aggregate_id = g.aggregate
            WHERE g.sequence <> coalesce(s.sequence, 0)
        LOOP
            clear := false;
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
            clear := false;
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
            clear := false;
            IF v[row.i] = 0 THEN
                v[row.i] := 4;
                details[row.i] := row.scope;
                keys[row.i] := row.key;
            END IF;
        END LOOP;
    END IF;

    IF NOT clear THEN
        IF chained THEN
            -- In order, so that whoever follows one that follows a refused one falls with it. It decided on what never came to be, so
            -- whatever else was found about it does not count; a duplicate stays one.
            FOR i IN 1..size LOOP
                IF c_chain[i] > 0 AND v[c_chain[i]] <> 0 THEN
                    actual[i] := actual[c_chain[i]];
                    IF v[i] NOT IN (1, 2) THEN
                        v[i] := 3;
                    END IF;
                END IF;
            END LOOP;
        END IF;

        -- Places are given out only now that nothing can be refused any more, so there are no gaps.
        SELECT array_agg(p.before ORDER BY p.i), array_agg(p.tenant_before ORDER BY p.i), sum(p.count)
        INTO c_before, c_tenant_before, total
        FROM (
            SELECT a.i, a.count,
                   (sum(a.count) OVER (ORDER BY a.i) - a.count)::bigint AS before,
                   (sum(a.count) OVER (PARTITION BY a.tenant ORDER BY a.i) - a.count)::bigint AS tenant_before
            FROM (
                SELECT c.i, c.tenant, CASE WHEN c.verdict = 0 THEN c.count ELSE 0 END AS count
                FROM unnest(c_tenant, c_count, v) WITH ORDINALITY AS c (tenant, count, verdict, i)
            ) a
        ) p;
    END IF;

    UPDATE log_head SET position = log_head.position + total WHERE only_row RETURNING log_head.position - total INTO base;

    IF total > 0 THEN
        INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version,
                            aggregate_type, event_type, payload, metadata, leaf_hash)
        SELECT base + c_before[e.command] + e.index, coalesce(h.position, 0) + c_tenant_before[e.command] + e.index, e.id, e.tenant,
               e.aggregate, e.sequence, e.at, e.version, e.aggregate_type, e.type, e.payload::json, e.metadata::json, e.hash
        FROM unnest(e_command, e_index, e_tenant, e_aggregate_type, e_aggregate, e_sequence, e_id, e_type, e_version, e_payload,
                    e_metadata, e_at, e_hash)
             AS e (command, index, tenant, aggregate_type, aggregate, sequence, id, type, version, payload, metadata, at, hash)
        LEFT JOIN tenant_heads h ON h.tenant_id = e.tenant
        WHERE v[e.command] = 0;

        IF chained THEN
            INSERT INTO streams AS s (tenant_id, aggregate_type, aggregate_id, sequence)
            SELECT c.tenant, c.type, c.aggregate, max(c.expected + c.count)
            FROM unnest(c_tenant, c_type, c_aggregate, c_expected, c_count, v) AS c (tenant, type, aggregate, expected, count, verdict)
            WHERE c.verdict = 0 AND c.count > 0
            GROUP BY c.tenant, c.type, c.aggregate
            ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE SET sequence = EXCLUDED.sequence;
        ELSE
            INSERT INTO streams AS s (tenant_id, aggregate_type, aggregate_id, sequence)
            SELECT c.tenant, c.type, c.aggregate, c.expected + c.count
            FROM unnest(c_tenant, c_type, c_aggregate, c_expected, c_count, v) AS c (tenant, type, aggregate, expected, count, verdict)
            WHERE c.verdict = 0 AND c.count > 0
            ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE SET sequence = EXCLUDED.sequence;
        END IF;

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

        IF cardinality(f_command) > 0 THEN
            FOR row IN
                SELECT DISTINCT ON (c.tenant, c.type, c.aggregate, f.part)
                       c.tenant, c.type, c.aggregate, f.part, f.fact, base + c.before + c.count AS at
                FROM unnest(f_command, f_part, f_fact) WITH ORDINALITY AS f (command, part, fact, i)
                JOIN unnest(c_tenant, c_type, c_aggregate, c_before, c_count) WITH ORDINALITY AS c (tenant, type, aggregate, before, count, i)
                  ON c.i = f.command
                WHERE v[f.command] = 0
                ORDER BY c.tenant, c.type, c.aggregate, f.part, f.i DESC
            LOOP
                PERFORM set_fact(row.tenant, row.type, row.aggregate, row.part, row.fact::json, row.at);
            END LOOP;
        END IF;

        PERFORM pg_notify('hub_log', (base + total)::text);
    END IF;

    INSERT INTO command_outcomes (command_id, fingerprint, tenant_id, aggregate_type, aggregate_id, sequence, position, event_count,
                                  outcome, recorded_at)
    SELECT c.id, c.fingerprint, c.tenant, c.type, c.aggregate, c.actual + c.count,
           CASE WHEN c.count > 0 THEN base + c.before + c.count ELSE base END, c.count, c.outcome::json, c.at
    FROM unnest(c_id, c_fingerprint, c_tenant, c_type, c_aggregate, actual, c_before, c_count, c_outcome, c_at, v)
         AS c (id, fingerprint, tenant, type, aggregate, actual, before, count, outcome, at, verdict)
    WHERE c.verdict = 0;

    IF clear THEN
        RETURN QUERY
        SELECT 0::smallint, CASE WHEN c.count > 0 THEN base + c.before + c.count ELSE base END, c.actual + c.count, c.count,
               c.tenant, c.aggregate, NULL::text, NULL::text
        FROM unnest(c_tenant, c_aggregate, actual, c_before, c_count) AS c (tenant, aggregate, actual, before, count);
    ELSE
        RETURN QUERY
        SELECT c.verdict,
               CASE c.verdict WHEN 0 THEN CASE WHEN c.count > 0 THEN base + c.before + c.count ELSE base END
                              WHEN 1 THEN o.position ELSE coalesce(value_at[c.i], 0) END,
               CASE c.verdict WHEN 0 THEN c.actual + c.count WHEN 1 THEN o.sequence ELSE c.actual END,
               coalesce(o.event_count, c.count), coalesce(o.tenant_id, c.tenant), coalesce(o.aggregate_id, c.aggregate),
               details[c.i],
               CASE c.verdict WHEN 1 THEN o.outcome::text WHEN 4 THEN keys[c.i] END
        FROM unnest(c_id, c_tenant, c_aggregate, actual, c_before, c_count, v) WITH ORDINALITY
             AS c (id, tenant, aggregate, actual, before, count, verdict, i)
        LEFT JOIN command_outcomes o ON c.verdict = 1 AND o.command_id = c.id
        ORDER BY c.i;
    END IF;
END $$;

-- Administrators are API keys of the platform now, enrolled through the log.
DROP TABLE administrator_keys;
