-- Bulk imports, and the seven columns of postgres-es over the log.

-- One row per import. `event_count` is its cursor: it moves in the transaction of each batch and nowhere else.
CREATE TABLE imports (
    import_id   uuid        PRIMARY KEY,
    source      text        NOT NULL,
    event_count bigint      NOT NULL,
    started_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);

-- What postgres-es calls a stream that came from there, or that was written through `cqrs_events`.
CREATE TABLE cqrs_streams (
    tenant_id      uuid NOT NULL,
    source_type    text NOT NULL,
    source_id      text NOT NULL,
    aggregate_type text NOT NULL,
    aggregate_id   uuid NOT NULL,
    PRIMARY KEY (tenant_id, source_type, source_id),
    UNIQUE (tenant_id, aggregate_type, aggregate_id)
);

-- Appends one batch of an import, in the order given: all of it, or nothing. The verdict is
--   0 appended           `position` is that of the last event
--   1 sequence conflict  `place` is the first stream of s_* that is not where it should be, `actual` its sequence
--   2 cursor has moved   `actual` is the import's cursor; somebody else appends for the same import, or an answer was lost
-- Arrays s_* have an element per stream: its sequence before and after the batch, and what it is called at the source (NULL for
-- streams that were never in a table of postgres-es). t_* have one per tenant with the number of its events, e_* one per event, with
-- the tenant's place in t_* and the event's own place among the tenant's events of the batch (both from 1).
-- Each stream of an import counts as one command, whose outcome grows with it.
CREATE FUNCTION import_events(
    i_import uuid, i_cursor bigint, i_at timestamptz,
    s_command uuid[], s_fingerprint bytea[], s_tenant uuid[], s_type text[], s_aggregate uuid[], s_before bigint[], s_after bigint[],
    s_last integer[], s_source_type text[], s_source_id text[],
    t_tenant uuid[], t_count bigint[],
    e_tenant_place integer[], e_tenant_index bigint[], e_tenant uuid[], e_aggregate_type text[], e_aggregate uuid[], e_sequence bigint[],
    e_id uuid[], e_type text[], e_version integer[], e_payload text[], e_metadata text[], e_at timestamptz[], e_hash bytea[]
) RETURNS TABLE (verdict smallint, "position" bigint, place bigint, actual bigint)
LANGUAGE plpgsql
SET enable_seqscan = off
SET enable_mergejoin = off
SET plan_cache_mode = force_generic_plan
-- A sequential scan that is left counts as so dear that each call would be compiled, for longer than it runs.
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    total       bigint := cardinality(e_id);
    at_cursor   bigint;
    base        bigint;
    tenant_base bigint[];
    conflict    record;
BEGIN
    -- The one writer lock: held for this statement and its commit, never across a round trip of the client.
    PERFORM pg_advisory_xact_lock(7236831001);

    SELECT i.event_count INTO at_cursor FROM imports i WHERE i.import_id = i_import;
    IF at_cursor IS DISTINCT FROM i_cursor THEN
        RETURN QUERY SELECT 2::smallint, 0::bigint, 0::bigint, coalesce(at_cursor, -1);
        RETURN;
    END IF;

    SELECT s.i, coalesce(h.sequence, 0) AS sequence INTO conflict
    FROM unnest(s_tenant, s_type, s_aggregate, s_before) WITH ORDINALITY AS s (tenant, type, aggregate, before, i)
    LEFT JOIN streams h ON h.tenant_id = s.tenant AND h.aggregate_type = s.type AND h.aggregate_id = s.aggregate
    WHERE s.before <> coalesce(h.sequence, 0)
    ORDER BY s.i
    LIMIT 1;
    IF FOUND THEN
        RETURN QUERY SELECT 1::smallint, 0::bigint, conflict.i, conflict.sequence;
        RETURN;
    END IF;

    UPDATE imports SET event_count = event_count + total, updated_at = i_at WHERE import_id = i_import;
    UPDATE log_head SET position = log_head.position + total WHERE only_row RETURNING log_head.position - total INTO base;

    SELECT array_agg(coalesce(h.position, 0) ORDER BY t.i) INTO tenant_base
    FROM unnest(t_tenant) WITH ORDINALITY AS t (tenant, i)
    LEFT JOIN tenant_heads h ON h.tenant_id = t.tenant;

    INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version,
                        aggregate_type, event_type, payload, metadata, leaf_hash)
    SELECT base + e.i, tenant_base[e.tenant_place] + e.tenant_index, e.id, e.tenant, e.aggregate, e.sequence, e.at, e.version,
           e.aggregate_type, e.type, e.payload::json, e.metadata::json, e.hash
    FROM unnest(e_tenant_place, e_tenant_index, e_tenant, e_aggregate_type, e_aggregate, e_sequence, e_id, e_type, e_version, e_payload,
                e_metadata, e_at, e_hash) WITH ORDINALITY
         AS e (tenant_place, tenant_index, tenant, aggregate_type, aggregate, sequence, id, type, version, payload, metadata, at, hash, i);

    INSERT INTO streams (tenant_id, aggregate_type, aggregate_id, sequence)
    SELECT s.tenant, s.type, s.aggregate, s.after
    FROM unnest(s_tenant, s_type, s_aggregate, s_after) AS s (tenant, type, aggregate, after)
    ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE SET sequence = EXCLUDED.sequence;

    INSERT INTO tenant_heads AS h (tenant_id, position)
    SELECT t.tenant, t.count
    FROM unnest(t_tenant, t_count) AS t (tenant, count)
    ON CONFLICT (tenant_id) DO UPDATE SET position = h.position + EXCLUDED.position;

    INSERT INTO command_outcomes AS o (command_id, fingerprint, tenant_id, aggregate_type, aggregate_id, sequence, position, event_count,
                                       outcome, recorded_at)
    SELECT s.command, s.fingerprint, s.tenant, s.type, s.aggregate, s.after, base + s.last, s.after - s.before, NULL, i_at
    FROM unnest(s_command, s_fingerprint, s_tenant, s_type, s_aggregate, s_before, s_after, s_last)
         AS s (command, fingerprint, tenant, type, aggregate, before, after, last)
    ON CONFLICT (command_id) DO UPDATE
    SET sequence = EXCLUDED.sequence, position = EXCLUDED.position, event_count = o.event_count + EXCLUDED.event_count;

    -- A name that another stream has already ends the batch with a unique violation.
    INSERT INTO cqrs_streams (tenant_id, source_type, source_id, aggregate_type, aggregate_id)
    SELECT s.tenant, s.source_type, s.source_id, s.type, s.aggregate
    FROM unnest(s_tenant, s_type, s_aggregate, s_before, s_source_type, s_source_id)
         AS s (tenant, type, aggregate, before, source_type, source_id)
    WHERE s.before = 0 AND s.source_id IS NOT NULL;

    PERFORM pg_notify('hub_log', (base + total)::text);
    RETURN QUERY SELECT 0::smallint, base + total, 0::bigint, 0::bigint;
END $$;

-- The tenant whose events a session of postgres-es means; nobody is shown an empty log because a setting was forgotten.
CREATE FUNCTION cqrs_tenant() RETURNS uuid LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    tenant text := current_setting('hub.tenant_id', true);
BEGIN
    IF tenant IS NULL OR tenant = '' THEN
        RAISE EXCEPTION 'the setting hub.tenant_id does not name a tenant'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'set it in the options of the connection: -c hub.tenant_id=<uuid>';
    END IF;
    RETURN tenant::uuid;
END $$;

-- `BankAccount`, `bankAccount` and `bank_account` are all `bank_account`; `HTTPCheck` is `http_check`.
CREATE FUNCTION cqrs_snake_case(name text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lower(regexp_replace(regexp_replace(name, '([A-Z]+)([A-Z][a-z])', '\1_\2', 'g'), '([a-z0-9])([A-Z])', '\1_\2', 'g'))
$$;

-- A payload as serde writes it for an aggregate of cqrs-es: `{"Opened": {..}}`, `"Closed"`, or `{"type": "opened", "data": {..}}`.
CREATE FUNCTION cqrs_payload(event_type text, payload json, source json) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN source ->> 'variant' IS NULL
            THEN '{"type":' || to_json(split_part(event_type, '.', 2)) || ',"data":' || payload || '}'
        WHEN (source ->> 'unit')::boolean THEN to_json(source ->> 'variant')::text
        ELSE '{' || to_json(source ->> 'variant') || ':' || payload || '}'
    END::json
$$;

-- The log of the session's tenant as postgres-es knows it, streams of its own first and then those that only Service Hub has written.
-- Its rows can be read and inserted; see the trigger below.
CREATE VIEW cqrs_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) AS
SELECT c.source_type, c.source_id, e.sequence, coalesce(e.metadata #>> '{source,event_type}', e.event_type),
       coalesce(e.metadata #>> '{source,event_version}', e.event_version::text),
       cqrs_payload(e.event_type, e.payload, e.metadata -> 'source'), coalesce(e.metadata #> '{source,metadata}', e.metadata)
FROM cqrs_streams c
JOIN events e ON e.tenant_id = c.tenant_id AND e.aggregate_type = c.aggregate_type AND e.aggregate_id = c.aggregate_id
WHERE c.tenant_id = cqrs_tenant()
UNION ALL
SELECT e.aggregate_type, s.aggregate_id::text, e.sequence, e.event_type, e.event_version::text,
       cqrs_payload(e.event_type, e.payload, e.metadata -> 'source'), coalesce(e.metadata #> '{source,metadata}', e.metadata)
FROM streams s
JOIN events e ON e.tenant_id = s.tenant_id AND e.aggregate_type = s.aggregate_type AND e.aggregate_id = s.aggregate_id
WHERE s.tenant_id = cqrs_tenant()
  AND NOT EXISTS (
      SELECT FROM cqrs_streams c
      WHERE c.tenant_id = s.tenant_id AND c.aggregate_type = s.aggregate_type AND c.aggregate_id = s.aggregate_id
  );

-- A text as the leaf hash covers it: its length in bytes (4, big-endian) and its bytes.
CREATE FUNCTION leaf_text(value text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8')
$$;

-- The leaf hash of an event, byte for byte as `leaf_hash` in event-store/src/event.rs makes it.
CREATE FUNCTION leaf_hash(
    event_id uuid, tenant_id uuid, aggregate_type text, aggregate_id uuid, sequence bigint, event_type text, event_version integer,
    occurred_at timestamptz, payload text, metadata text
) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(
        '\x00'::bytea || 'hub.event.v1'::bytea || uuid_send(event_id) || uuid_send(tenant_id) || leaf_text(aggregate_type)
        || uuid_send(aggregate_id) || int8send(sequence) || leaf_text(event_type) || int4send(event_version)
        || int8send((extract(epoch FROM occurred_at) * 1000000)::bigint) || leaf_text(payload) || leaf_text(metadata)
    )
$$;

-- Appends one event that postgres-es inserts. The writer lock is held until the inserting transaction ends, so that positions stay
-- contiguous; this way in is for compatibility, not for speed. All events of one transaction on one stream are one command.
CREATE FUNCTION cqrs_insert() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tenant    uuid := cqrs_tenant();
    moment    timestamptz := clock_timestamp();
    type      text;
    id        uuid;
    head      bigint;
    place     bigint;
    tenant_place bigint;
    event     uuid;
    command   text;
    stream    text;
    tag       text;
    variant   text;
    unit      boolean := false;
    data      text;
    keys      text[];
    version   integer;
    metadata  text;
BEGIN
    PERFORM pg_advisory_xact_lock(7236831001);

    SELECT c.aggregate_type, c.aggregate_id INTO type, id
    FROM cqrs_streams c
    WHERE c.tenant_id = tenant AND c.source_type = NEW.aggregate_type AND c.source_id = NEW.aggregate_id;
    IF NOT FOUND THEN
        -- A type that was imported under another name keeps it.
        SELECT c.aggregate_type INTO type FROM cqrs_streams c WHERE c.tenant_id = tenant AND c.source_type = NEW.aggregate_type LIMIT 1;
        type := coalesce(type, cqrs_snake_case(NEW.aggregate_type));
        IF type !~ '^[a-z][a-z0-9_]*$' THEN
            RAISE EXCEPTION 'aggregate type `%` cannot be a name in the log', NEW.aggregate_type USING ERRCODE = 'check_violation';
        END IF;
        id := CASE
            WHEN NEW.aggregate_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN NEW.aggregate_id::uuid
            ELSE gen_random_uuid()
        END;
        INSERT INTO cqrs_streams (tenant_id, source_type, source_id, aggregate_type, aggregate_id)
        VALUES (tenant, NEW.aggregate_type, NEW.aggregate_id, type, id);
    END IF;

    SELECT s.sequence INTO head FROM streams s WHERE s.tenant_id = tenant AND s.aggregate_type = type AND s.aggregate_id = id;
    head := coalesce(head, 0);
    -- The code by which postgres-es knows a lost race.
    IF NEW.sequence <= head THEN
        RAISE EXCEPTION '% % is at sequence % already', NEW.aggregate_type, NEW.aggregate_id, head USING ERRCODE = 'unique_violation';
    ELSIF NEW.sequence <> head + 1 THEN
        RAISE EXCEPTION '% % is at sequence %, % would leave a gap', NEW.aggregate_type, NEW.aggregate_id, head, NEW.sequence
            USING ERRCODE = 'check_violation';
    END IF;

    data := NEW.payload::text;
    IF json_typeof(NEW.payload) = 'string' THEN
        variant := NEW.payload #>> '{}';
        unit := true;
        data := '{}';
    ELSIF json_typeof(NEW.payload) = 'object' THEN
        SELECT array_agg(k ORDER BY k) INTO keys FROM json_object_keys(NEW.payload) AS k;
        IF keys = ARRAY['data', 'type'] AND json_typeof(NEW.payload -> 'type') = 'string' THEN
            tag := NEW.payload ->> 'type';
            data := (NEW.payload -> 'data')::text;
        ELSIF cardinality(keys) = 1 AND keys[1] NOT IN ('data', 'type') THEN
            variant := keys[1];
            data := (NEW.payload -> variant)::text;
        END IF;
    END IF;
    tag := coalesce(tag, cqrs_snake_case(variant));
    IF tag IS NULL OR tag !~ '^[a-z][a-z0-9_]*$' THEN
        RAISE EXCEPTION '% % sequence %: the payload is no enum that serde has tagged', NEW.aggregate_type, NEW.aggregate_id, NEW.sequence
            USING ERRCODE = 'check_violation';
    END IF;
    version := substring(NEW.event_version FROM '^([1-9][0-9]{0,8})(\.0)*$')::integer;
    IF version IS NULL THEN
        RAISE EXCEPTION '% % sequence %: event version `%` is no whole number', NEW.aggregate_type, NEW.aggregate_id, NEW.sequence,
            NEW.event_version USING ERRCODE = 'check_violation';
    END IF;

    stream := tenant::text || ' ' || type || ' ' || id::text || ' ';
    command := current_setting('hub.cqrs_command', true);
    command := CASE WHEN starts_with(command, stream) THEN substr(command, length(stream) + 1) ELSE gen_random_uuid()::text END;
    PERFORM set_config('hub.cqrs_command', stream || command, true);
    -- UUIDv7: 48 bits of milliseconds, then version and variant, the rest random.
    event := encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send(floor(extract(epoch FROM moment) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid;
    metadata := '{"actor":"cqrs-es","command_id":"' || command || '","correlation_id":"' || command || '","source":{"event_type":'
        || to_json(NEW.event_type) || ',"event_version":' || to_json(NEW.event_version)
        || CASE WHEN variant IS NULL THEN '' ELSE ',"variant":' || to_json(variant) END
        || CASE WHEN unit THEN ',"unit":true' ELSE '' END
        || ',"metadata":' || NEW.metadata || '}}';

    UPDATE log_head SET position = position + 1 RETURNING position INTO place;
    INSERT INTO tenant_heads AS h (tenant_id, position) VALUES (tenant, 1)
    ON CONFLICT (tenant_id) DO UPDATE SET position = h.position + 1
    RETURNING h.position INTO tenant_place;
    INSERT INTO events (position, tenant_position, event_id, tenant_id, aggregate_id, sequence, occurred_at, event_version,
                        aggregate_type, event_type, payload, metadata, leaf_hash)
    VALUES (place, tenant_place, event, tenant, id, NEW.sequence, moment, version, type, type || '.' || tag, data::json, metadata::json,
            leaf_hash(event, tenant, type, id, NEW.sequence, type || '.' || tag, version, moment, data, metadata));
    INSERT INTO streams (tenant_id, aggregate_type, aggregate_id, sequence) VALUES (tenant, type, id, NEW.sequence)
    ON CONFLICT (tenant_id, aggregate_type, aggregate_id) DO UPDATE SET sequence = EXCLUDED.sequence;
    INSERT INTO command_outcomes AS o (command_id, fingerprint, tenant_id, aggregate_type, aggregate_id, sequence, position, event_count,
                                       outcome, recorded_at)
    VALUES (command::uuid, sha256(convert_to(command, 'UTF8')), tenant, type, id, NEW.sequence, place, 1, NULL, moment)
    ON CONFLICT (command_id) DO UPDATE
    SET sequence = EXCLUDED.sequence, position = EXCLUDED.position, event_count = o.event_count + 1;
    PERFORM pg_notify('hub_log', place::text);
    RETURN NEW;
END $$;
CREATE TRIGGER cqrs_insert INSTEAD OF INSERT ON cqrs_events FOR EACH ROW EXECUTE FUNCTION cqrs_insert();
