-- A lease is now always one of the process that delivers: when another one takes over, what it finds leased is put off until the lease is
-- over instead. What is leased therefore waits in the memory of the one that claims, in its order, and only rows that are not leased have
-- to be found by their aggregate. Most rows are leased from their beginning to their end and are in no index but that of their key.
DROP INDEX webhook_queue_aggregate;
CREATE INDEX webhook_queue_aggregate ON webhook_queue (webhook_id, aggregate_id, position) WHERE NOT leased;
