-- Replays take turns: the one whose last piece was the longest ago is next.
ALTER TABLE webhook_replays ADD COLUMN moved_at timestamptz NOT NULL DEFAULT '-infinity';

-- What was given up is found by its position, since a replay of that goes from one to the next.
CREATE INDEX webhook_attempts_given_up ON webhook_attempts (tenant_id, webhook_id, position) WHERE outcome = 'given_up';
