-- The events after which a key must be gone: read at every start, in the order of the log, since a restored backup brings keys back.
CREATE INDEX events_destructions ON events (position) WHERE event_type IN ('erasure.begun', 'retention_policy.key_expired');
