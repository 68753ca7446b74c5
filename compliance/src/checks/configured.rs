//! Checks of what processes tell of their configuration; a process that has not been heard of for some minutes is gone.

use super::check;

/// Files with keys of each process.
pub(crate) const KEY_FILE_MODES: &str = check!(
    "
SELECT NULL::uuid, 'key_file/' || (f ->> 'name') || '@' || (p.configuration ->> 'listen'),
    max(CASE WHEN NOT (f ->> 'private')::boolean THEN 'others may read or write it: its mode is ' || (f ->> 'mode') END)
FROM process_configurations p
CROSS JOIN bound b
CROSS JOIN jsonb_array_elements(p.configuration -> 'key_files') f
WHERE p.seen_at > b.now - interval '5 minutes'
GROUP BY 2"
);

/// Where each process answers requests.
pub(crate) const LISTENER_TLS: &str = check!(
    "
SELECT NULL::uuid, 'listener/' || (p.configuration ->> 'listen'),
    max(CASE WHEN NOT (p.configuration ->> 'listen_is_local')::boolean AND NOT (p.configuration ->> 'tls')::boolean
        THEN 'it can be reached from elsewhere and does not speak TLS' END)
FROM process_configurations p
CROSS JOIN bound b
WHERE p.seen_at > b.now - interval '5 minutes'
GROUP BY 2"
);

/// Where each process shows its metrics.
pub(crate) const METRICS_LISTENER: &str = check!(
    "
SELECT NULL::uuid, 'metrics/' || (p.configuration ->> 'metrics_listen'),
    max(CASE WHEN (p.configuration ->> 'metrics_are_public')::boolean THEN 'its address is public, or it listens on all of them' END)
FROM process_configurations p
CROSS JOIN bound b
WHERE p.seen_at > b.now - interval '5 minutes'
GROUP BY 2"
);
