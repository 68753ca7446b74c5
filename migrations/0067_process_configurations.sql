-- How each process that serves is configured, as far as controls ask for it; no process knows of the others otherwise.
CREATE TABLE process_configurations (
    process_id    uuid        PRIMARY KEY,
    configuration jsonb       NOT NULL,
    seen_at       timestamptz NOT NULL
);
