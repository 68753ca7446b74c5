-- Of an endpoint without an order, what is due is found by when it is, whatever waits beside it. What is leased waits in memory and is in no
-- index but that of its key.
CREATE INDEX webhook_queue_due ON webhook_queue (webhook_id, due_at, position) WHERE NOT leased;
