//! Checks of whether the platform does what it should, and people what they have to.

use super::check;

/// Each read model: what it has set aside, and whether it stands still.
pub(crate) const PARKED_EVENTS: &str = check!(
    "
SELECT NULL::uuid, 'projection/' || c.projection, CASE
    WHEN c.stopped THEN 'it stands still at an event that it cannot take in'
    WHEN parked.count > 0 THEN format('it has set %s events aside', parked.count) END
FROM (SELECT projection, bool_or(status = 'stopped') AS stopped FROM projection_checkpoints GROUP BY projection) c
CROSS JOIN LATERAL (SELECT count(*) AS count FROM parked_events p WHERE p.projection = c.projection) parked"
);

/// Each read model, with the first event that it lacks.
pub(crate) const PROJECTION_LAG: &str = check!(
    "
SELECT NULL::uuid, 'projection/' || c.projection, CASE WHEN e.occurred_at < b.now - b.most * interval '1 second'
    THEN format('it lacks what has happened since %s', e.occurred_at) END
FROM (SELECT projection, min(position) AS position FROM projection_checkpoints GROUP BY projection) c
CROSS JOIN bound b
LEFT JOIN events e ON e.position = c.position + 1"
);

/// The first event that is not published.
pub(crate) const RELAY_LAG: &str = check!(
    "
SELECT NULL::uuid, 'relay', CASE WHEN e.occurred_at < b.now - b.most * interval '1 second'
    THEN format('what has happened since %s is not published', e.occurred_at) END
FROM relay_cursor c
CROSS JOIN bound b
LEFT JOIN events e ON e.position = c.position + 1"
);

/// What will be due, or is.
pub(crate) const DUE_WORK_LATE: &str = check!(
    "
SELECT d.tenant_id, d.aggregate_type || '/' || d.aggregate_id, CASE WHEN d.due_at < b.now - b.most * interval '1 second'
    THEN format('it was due at %s', d.due_at) END
FROM scheduler_due d
CROSS JOIN bound b"
);

/// Serious findings that somebody has to do something about; not those that say so of another finding.
pub(crate) const FINDING_OPEN: &str = check!(
    "
SELECT f.concerned_tenant_id, 'finding/' || f.id, CASE
    WHEN coalesce(f.reopened_at, f.opened_at) < b.now - b.most * interval '1 day'
    THEN format('it has been open since %s', coalesce(f.reopened_at, f.opened_at)) END
FROM findings f
CROSS JOIN bound b
WHERE f.severity IN ('high', 'critical') AND f.status IN ('open', 'acknowledged', 'in_remediation') AND f.about NOT LIKE 'finding/%'"
);

/// Where events are sent to, and where keys of identity providers are read.
pub(crate) const OUTBOUND_ADDRESSES: &str = check!(
    "
SELECT w.tenant_id, 'webhook/' || w.id, CASE WHEN w.url NOT LIKE 'https://%' THEN 'its address is not https' END
FROM webhooks w
UNION ALL
SELECT p.tenant_id, 'identity_provider/' || p.id, CASE WHEN p.jwks_uri NOT LIKE 'https://%' THEN 'the address of its keys is not https' END
FROM identity_providers p"
);
