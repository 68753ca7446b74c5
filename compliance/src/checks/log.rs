//! Checks of the log: that it is sealed, whole, and kept from being changed.

use super::check;

/// How far the platform's own log of checkpoints is: its size, and its root in Base64.
pub(crate) const SEALED: &str =
    "SELECT size, encode(root, 'base64') FROM sealed_trees WHERE tenant_id = '00000000-0000-0000-0000-000000000000'";

/// The first event of each tenant that is not sealed.
pub(crate) const SEAL_LAG: &str = check!(
    "
SELECT h.tenant_id, 'log', CASE WHEN e.occurred_at < b.now - b.most * interval '1 second'
    THEN format('event %s has waited for its seal since %s', e.tenant_position, e.occurred_at) END
FROM tenant_heads h
LEFT JOIN sealed_trees s ON s.tenant_id = h.tenant_id
LEFT JOIN events e ON e.tenant_id = h.tenant_id AND e.tenant_position = coalesce(s.size, 0) + 1
CROSS JOIN bound b"
);

/// The last self-check of everything; nothing to look at as long as the log is younger than the limit.
pub(crate) const SELF_CHECK_RECENT: &str = check!(
    "
SELECT NULL::uuid, 'self_check', CASE
    WHEN last.at IS NULL THEN 'there was none'
    WHEN last.at < b.now - b.most * interval '1 hour' THEN format('the last one was completed at %s', last.at) END
FROM bound b
CROSS JOIN (SELECT max(e.occurred_at) AS at FROM events e
            WHERE e.tenant_id = '00000000-0000-0000-0000-000000000001' AND e.aggregate_type = 'self_check'
              AND e.payload ->> 'scope' = 'full') last
WHERE (SELECT occurred_at FROM events ORDER BY position LIMIT 1) < b.now - b.most * interval '1 hour'"
);

/// What the self-checks of the last hours found, each event once; a check that found nothing is a thing that was looked at.
pub(crate) const SELF_CHECK_CLEAN: &str = check!(
    "
SELECT * FROM (
    SELECT DISTINCT ON (1, 2) (f ->> 'tenant_id')::uuid, 'event/' || (f ->> 'position'), f ->> 'what'
    FROM bound b
    JOIN events e ON e.tenant_id = '00000000-0000-0000-0000-000000000001' AND e.aggregate_type = 'self_check'
        AND e.occurred_at >= b.now - b.most * interval '1 hour'
    CROSS JOIN json_array_elements(e.payload -> 'findings') f
    ORDER BY 1, 2, e.position DESC) found
UNION ALL
SELECT NULL::uuid, 'self_check/' || e.aggregate_id, NULL
FROM bound b
JOIN events e ON e.tenant_id = '00000000-0000-0000-0000-000000000001' AND e.aggregate_type = 'self_check'
    AND e.occurred_at >= b.now - b.most * interval '1 hour'
WHERE json_array_length(e.payload -> 'findings') = 0"
);

/// Triggers before UPDATE (16), DELETE (8) and TRUNCATE (32) that refuse, on what must not change.
pub(crate) const APPEND_ONLY: &str = check!(
    "
SELECT NULL::uuid, 'table/' || kept.name, CASE WHEN coalesce(held.bits, 0) & 56 <> 56
    THEN 'a statement could change it: no trigger in force refuses UPDATE, DELETE and TRUNCATE' END
FROM unnest(ARRAY['events', 'checkpoints']) kept (name)
CROSS JOIN LATERAL (
    SELECT bit_or(t.tgtype::integer) AS bits
    FROM pg_trigger t
    JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass(kept.name) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
      AND p.proname LIKE 'refuse%' AND t.tgtype::integer & 2 = 2) held"
);

/// Tables with a tenant. A candidate that is being built is read by nobody, and is isolated before it is.
pub(crate) const ROW_SECURITY: &str = check!(
    "
SELECT NULL::uuid, 'table/' || c.relname, CASE WHEN NOT (c.relrowsecurity AND c.relforcerowsecurity)
    THEN 'row-level security is not forced' END
FROM pg_class c
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relpersistence = 'p'
  AND c.relname NOT LIKE '%\\_shadow'
  AND EXISTS (SELECT FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attname IN ('tenant_id', 'realm_id') AND NOT a.attisdropped)"
);

/// The roles that queries have.
pub(crate) const QUERY_ROLES: &str = check!(
    "
SELECT NULL::uuid, 'role/' || r.rolname, CASE
    WHEN r.rolsuper OR r.rolbypassrls THEN 'it is above row-level security'
    WHEN EXISTS (SELECT FROM pg_class c
                 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
                   AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))
    THEN 'it may write to a table' END
FROM pg_roles r
WHERE r.rolname IN ('hub_query', 'hub_platform')"
);

/// The keys that sign now; the name of a key has its hash.
pub(crate) const EVIDENCE_KEY_AGE: &str = check!(
    "
SELECT NULL::uuid, 'evidence_key/' || split_part(k.verifier_key, '+', 1) || '+' || split_part(k.verifier_key, '+', 2),
    CASE WHEN k.added_at < b.now - b.most * interval '1 day' THEN format('it has signed since %s', k.added_at) END
FROM evidence_keys k
CROSS JOIN bound b
WHERE k.retired_at IS NULL"
);
