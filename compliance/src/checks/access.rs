//! Checks of who may do what, for how long, and whether somebody looks at it.

use super::check;

/// Emergency accesses that are over.
pub(crate) const BREAK_GLASS_UNREVIEWED: &str = check!(
    "
SELECT g.tenant_id, 'break_glass/' || g.id, CASE
    WHEN g.status = 'unreviewed' AND g.updated_at < b.now - b.most * interval '1 day'
    THEN format('it ended at %s and nobody has reviewed it', g.updated_at) END
FROM break_glasses g
CROSS JOIN bound b
WHERE g.status <> 'open'"
);

/// Accesses for a time that are in force.
pub(crate) const TEMPORARY_ACCESS_OVERDUE: &str = check!(
    "
SELECT given.tenant_id, given.kind || '/' || given.id, CASE
    WHEN given.granted_until < b.now - b.most * interval '1 second'
    THEN format('it should have ended at %s', given.granted_until) END
FROM (
    SELECT tenant_id, 'break_glass' AS kind, id, granted_until FROM break_glasses WHERE status = 'open'
    UNION ALL
    SELECT tenant_id, 'support_access', id, granted_until FROM support_accesses WHERE status = 'granted'
    UNION ALL
    SELECT tenant_id, 'access_request', id, granted_until FROM access_requests WHERE status = 'approved'
) given
CROSS JOIN bound b"
);

/// Keys that are accepted.
pub(crate) const API_KEY_WITHOUT_END: &str = check!(
    "
SELECT k.tenant_id, 'api_key/' || k.id, CASE WHEN k.expires_at IS NULL THEN 'it has no end' END
FROM api_keys k
CROSS JOIN bound b
WHERE k.status = 'valid' AND (k.expires_at IS NULL OR k.expires_at > b.now)"
);

/// Keys that are accepted, with the last use of either of their secrets; a key that was never used counts from its issue.
pub(crate) const API_KEY_UNUSED: &str = check!(
    "
SELECT k.tenant_id, 'api_key/' || k.id, CASE
    WHEN greatest(k.issued_at, used.at) < b.now - b.most * interval '1 day'
    THEN coalesce('it was last used at ' || used.at, 'it was never used') END
FROM api_keys k
CROSS JOIN bound b
CROSS JOIN LATERAL (
    SELECT max(u.last_used_at) AS at FROM api_key_uses u
    WHERE u.tenant_id = k.tenant_id AND u.secret_id IN (k.secret_id, k.previous_secret_id)) used
WHERE k.status = 'valid' AND (k.expires_at IS NULL OR k.expires_at > b.now)"
);

/// Keys that are accepted, with the age of their secret.
pub(crate) const API_KEY_AGE: &str = check!(
    "
SELECT k.tenant_id, 'api_key/' || k.id, CASE
    WHEN coalesce(k.rotated_at, k.issued_at) < b.now - b.most * interval '1 day'
    THEN format('its secret is from %s', coalesce(k.rotated_at, k.issued_at)) END
FROM api_keys k
CROSS JOIN bound b
WHERE k.status = 'valid' AND (k.expires_at IS NULL OR k.expires_at > b.now)"
);

/// Grants that have held for the whole time and still do. Nothing to look at before uses have been written down for as long. What the
/// platform's own people hold on the platform they use in every tenant.
pub(crate) const GRANT_UNUSED: &str = check!(
    "
SELECT f.tenant_id, f.aggregate_type || '/' || f.aggregate_id || '/' || f.part, CASE
    WHEN NOT EXISTS (SELECT FROM permission_uses u
                     WHERE u.tenant_id = f.tenant_id AND u.home = f.fact ->> 'home' AND u.principal = f.fact ->> 'principal'
                       AND u.last_used_at >= b.now - b.most * interval '1 day')
     AND NOT (f.tenant_id = '00000000-0000-0000-0000-000000000001' AND EXISTS (
            SELECT FROM permission_uses u
            WHERE u.home = 'platform' AND u.principal = f.fact ->> 'principal'
              AND u.last_used_at >= b.now - b.most * interval '1 day'))
    THEN format('it has been held since %s, and nothing was used in that time', f.fact ->> 'from') END
FROM facts f
CROSS JOIN bound b
WHERE f.fact ->> 'kind' = 'grant' AND (f.fact ->> 'from')::timestamptz < b.now - b.most * interval '1 day'
  AND coalesce((f.fact ->> 'until')::timestamptz > b.now, true)
  AND (SELECT min(recorded_since) FROM permission_uses_begin) < b.now - b.most * interval '1 day'"
);

/// Who holds the role of the owner in each tenant that is active.
pub(crate) const SINGLE_OWNER: &str = check!(
    "
SELECT t.tenant_id, 'role/owner', CASE WHEN held.count < 2 THEN format('%s hold the role of the owner', held.count) END
FROM tenants t
CROSS JOIN bound b
CROSS JOIN LATERAL (
    SELECT count(DISTINCT g.fact ->> 'principal') AS count
    FROM facts r
    JOIN facts g ON g.tenant_id = r.tenant_id AND g.fact ->> 'kind' = 'grant' AND g.fact ->> 'home' = 'tenant'
        AND (g.fact ->> 'role_id')::uuid = r.aggregate_id AND coalesce((g.fact ->> 'until')::timestamptz > b.now, true)
    WHERE r.tenant_id = t.tenant_id AND r.aggregate_type = 'role' AND r.fact ->> 'kind' = 'role'
      AND r.fact ->> 'key' = 'owner' AND (r.fact ->> 'system')::boolean) held
WHERE t.status = 'active'"
);

/// Principals that have ended, with what they are granted: in their tenant, or anywhere when they were the platform's.
pub(crate) const ENDED_PRINCIPAL_GRANTS: &str = check!(
    "
SELECT f.tenant_id, 'principal/' || f.aggregate_id, CASE
    WHEN e.occurred_at < b.now - b.most * interval '1 second' AND held.count > 0
    THEN format('it has ended at %s and is granted %s roles', e.occurred_at, held.count) END
FROM facts f
CROSS JOIN bound b
JOIN events e ON e.position = f.position
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM facts g
    WHERE g.fact ->> 'kind' = 'grant' AND g.fact ->> 'principal' = f.fact ->> 'principal'
      AND coalesce((g.fact ->> 'until')::timestamptz > b.now, true)
      AND CASE WHEN f.tenant_id = '00000000-0000-0000-0000-000000000001'
               THEN g.tenant_id = f.tenant_id OR g.fact ->> 'home' = 'platform'
               ELSE g.tenant_id = f.tenant_id AND g.fact ->> 'home' = 'tenant' END) held
WHERE f.fact ->> 'kind' = 'ended'"
);

/// Failed logins of each tenant in a day.
pub(crate) const FAILED_LOGINS: &str = check!(
    "
SELECT h.tenant_id, 'logins', CASE WHEN failed.count > b.most THEN format('%s logins failed in a day', failed.count) END
FROM tenant_heads h
CROSS JOIN bound b
CROSS JOIN LATERAL (
    SELECT coalesce(sum((e.payload #>> '{seen,count}')::bigint), 0) AS count
    FROM audit_entries a
    JOIN events e ON e.position = a.position
    WHERE a.tenant_id = h.tenant_id AND a.occurred_at >= b.now - interval '1 day'
      AND a.event_type = 'access_record.login_failed') failed"
);

/// Decisions of each tenant that failed in a day.
pub(crate) const DECISION_ERRORS: &str = check!(
    "
SELECT h.tenant_id, 'decisions', CASE WHEN failed.count > 0 THEN format('%s decisions failed in a day', failed.count) END
FROM tenant_heads h
CROSS JOIN bound b
CROSS JOIN LATERAL (
    SELECT coalesce(sum((e.payload #>> '{seen,count}')::bigint), 0) AS count
    FROM audit_entries a
    JOIN events e ON e.position = a.position
    WHERE a.tenant_id = h.tenant_id AND a.occurred_at >= b.now - interval '1 day'
      AND a.event_type = 'access_record.refused' AND e.payload ->> 'reason' = 'error') failed"
);
