-- Who used what is read by its own tenant, and by the platform.
SELECT isolate_read_model('permission_uses');
GRANT SELECT ON permission_uses_begin TO hub_query, hub_platform;
