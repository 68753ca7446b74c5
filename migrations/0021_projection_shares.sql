-- A checkpoint becomes a share: some of the partitions of a projection, moved by one worker. The shares of a projection hold each of
-- the 16 partitions exactly once, so partition 0, and with it the share 0, is always there.

ALTER TABLE projection_checkpoints
    -- The lowest of its partitions, which no other share can have.
    ADD COLUMN share      smallint   NOT NULL DEFAULT 0,
    -- In ascending order.
    ADD COLUMN partitions smallint[] NOT NULL DEFAULT '{0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15}',
    DROP CONSTRAINT projection_checkpoints_pkey,
    ADD PRIMARY KEY (projection, share),
    ADD CONSTRAINT projection_checkpoints_partitions CHECK (cardinality(partitions) BETWEEN 1 AND 16 AND share = partitions[1]);

-- The workers that want a part of a projection, until when each was last heard of.
CREATE TABLE projection_workers (
    projection text        NOT NULL,
    worker_id  uuid        NOT NULL,
    seen_until timestamptz NOT NULL,
    PRIMARY KEY (projection, worker_id)
);
