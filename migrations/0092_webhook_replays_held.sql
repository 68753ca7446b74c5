-- What a webhook had not got when it was disabled waits, held, until it is enabled again.
ALTER TABLE webhook_replays ADD COLUMN held boolean NOT NULL DEFAULT false;
