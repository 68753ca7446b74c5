-- Whether a tenant has imported events, whose times do not follow the order of its log, is asked by whoever looks for a time in it.
CREATE POLICY own_tenant ON cqrs_streams FOR SELECT TO hub_query USING (tenant_id = hub_tenant_id());
CREATE POLICY platform ON cqrs_streams FOR SELECT TO hub_platform USING (true);
CREATE POLICY consumed ON cqrs_streams FOR SELECT TO hub_consume USING (tenant_id = hub_tenant_id());
GRANT SELECT ON cqrs_streams TO hub_query, hub_platform, hub_consume;
