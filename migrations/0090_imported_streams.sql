-- Whether a tenant has imported events, whose times do not follow the order of its log, is asked by whoever looks for a time in it.
SELECT isolate_read_model('cqrs_streams');
CREATE POLICY consumed ON cqrs_streams FOR SELECT TO hub_consume USING (tenant_id = hub_tenant_id());
GRANT SELECT ON cqrs_streams TO hub_consume;
