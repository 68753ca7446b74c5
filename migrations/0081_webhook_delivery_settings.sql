-- What webhooks say of their deliveries. Rows of before have what an endpoint has that says nothing of it.
ALTER TABLE webhooks
    ADD COLUMN filter          jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN delivery        jsonb NOT NULL DEFAULT '{"ordering": "parallel", "payload": "full", "batch_max": 1, "timeout_seconds": 10,
        "retry": {"schedule_seconds": [5, 30, 120, 600, 1800, 3600, 7200, 14400], "age_max_hours": 72},
        "concurrency": 10, "rate_per_second": null, "signature": "v1"}',
    ADD COLUMN public_key      text,
    ADD COLUMN verified_at     timestamptz,
    ADD COLUMN disabled_reason text,
    ADD COLUMN disabled_at     timestamptz,
    ADD COLUMN failing_since   timestamptz;
