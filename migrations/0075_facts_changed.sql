-- Facts are read again by what has changed since they were read before, not as a whole.

-- Which facts of a tenant were set after a position.
CREATE INDEX facts_position ON facts (tenant_id, position);

-- How many facts of the tenant were removed since this is counted.
ALTER TABLE fact_heads ADD COLUMN removal_count bigint NOT NULL DEFAULT 0;

-- The last 256 removals of each tenant: a removal is in the slot of its number modulo 256, in place of an older one. Whoever has missed more than
-- that reads all facts again.
CREATE TABLE fact_removals (
    tenant_id      uuid     NOT NULL,
    slot           smallint NOT NULL,
    position       bigint   NOT NULL,
    aggregate_type text     NOT NULL,
    aggregate_id   uuid     NOT NULL,
    part           text     NOT NULL,
    PRIMARY KEY (tenant_id, slot)
) WITH (fillfactor = 80);
SELECT isolate_table('fact_removals');

-- Sets a fact of a stream, or removes it when it is NULL, which is written down with the same position.
CREATE OR REPLACE FUNCTION set_fact(a_tenant uuid, a_type text, a_aggregate uuid, a_part text, a_fact json, a_position bigint) RETURNS void
LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    removed integer := 0;
    number  bigint;
BEGIN
    IF a_fact IS NULL THEN
        DELETE FROM facts
        WHERE tenant_id = a_tenant AND aggregate_type = a_type AND aggregate_id = a_aggregate AND part = a_part;
        GET DIAGNOSTICS removed = ROW_COUNT;
    ELSE
        INSERT INTO facts (tenant_id, aggregate_type, aggregate_id, part, position, fact)
        VALUES (a_tenant, a_type, a_aggregate, a_part, a_position, a_fact)
        ON CONFLICT (tenant_id, aggregate_type, aggregate_id, part)
        DO UPDATE SET position = EXCLUDED.position, fact = EXCLUDED.fact;
    END IF;
    INSERT INTO fact_heads AS h (tenant_id, position, removal_count)
    VALUES (a_tenant, a_position, removed)
    ON CONFLICT (tenant_id) DO UPDATE
    SET position = greatest(h.position, EXCLUDED.position), removal_count = h.removal_count + EXCLUDED.removal_count
    RETURNING h.removal_count INTO number;
    IF removed > 0 THEN
        INSERT INTO fact_removals (tenant_id, slot, position, aggregate_type, aggregate_id, part)
        VALUES (a_tenant, number % 256, a_position, a_type, a_aggregate, a_part)
        ON CONFLICT (tenant_id, slot) DO UPDATE
        SET position = EXCLUDED.position, aggregate_type = EXCLUDED.aggregate_type, aggregate_id = EXCLUDED.aggregate_id,
            part = EXCLUDED.part;
    END IF;
END $$;
