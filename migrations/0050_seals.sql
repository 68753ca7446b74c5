-- Seals: each tenant's log as a Merkle tree whose root is signed, and the platform's log of all that was signed.
--
-- The platform's own log of checkpoints stands in the same tables under the nil uuid, which is no tenant's.

-- How much of each log is sealed.
CREATE TABLE sealed_trees (
    tenant_id uuid        PRIMARY KEY,
    size      bigint      NOT NULL CHECK (size > 0),
    root      bytea       NOT NULL,
    sealed_at timestamptz NOT NULL
) WITH (fillfactor = 80);

-- The hashes of the trees, as C2SP tlog-tiles: of a tile that is not full the widest version.
CREATE TABLE sealed_tiles (
    tenant_id  uuid     NOT NULL,
    level      smallint NOT NULL,
    tile_index bigint   NOT NULL,
    hashes     bytea    NOT NULL,
    PRIMARY KEY (tenant_id, level, tile_index)
);

-- Everything that was signed. platform_index is the place of a tenant's checkpoint in the platform's log.
CREATE TABLE checkpoints (
    tenant_id      uuid        NOT NULL,
    size           bigint      NOT NULL,
    note           text        NOT NULL,
    platform_index bigint,
    sealed_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, size)
);

-- Whose signatures the platform stands for; the private halves are not in PostgreSQL.
CREATE TABLE evidence_keys (
    verifier_key text        PRIMARY KEY,
    added_at     timestamptz NOT NULL,
    retired_at   timestamptz
);

-- What was signed stays.
CREATE TRIGGER checkpoints_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

SELECT isolate_read_model('sealed_tiles'), isolate_read_model('checkpoints'), isolate_table('sealed_trees');

-- Every tenant may see that his checkpoint stands in the platform's log.
CREATE POLICY of_the_platform ON sealed_tiles FOR SELECT TO hub_query USING (tenant_id = '00000000-0000-0000-0000-000000000000');
CREATE POLICY of_the_platform ON checkpoints FOR SELECT TO hub_query USING (tenant_id = '00000000-0000-0000-0000-000000000000');
GRANT SELECT ON evidence_keys TO hub_query, hub_platform;
