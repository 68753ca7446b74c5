-- Events per tenant, UTC day and type.
CREATE TABLE event_counts (
    tenant_id  uuid   NOT NULL,
    day        date   NOT NULL,
    event_type text   NOT NULL,
    count      bigint NOT NULL,
    PRIMARY KEY (tenant_id, day, event_type)
) WITH (fillfactor = 80);
CREATE INDEX event_counts_day ON event_counts (day, event_type);

-- How monthly recurring revenue moved, per tenant, currency and UTC day, in minor units.
CREATE TABLE mrr_movements (
    tenant_id          uuid   NOT NULL,
    currency           text   NOT NULL,
    day                date   NOT NULL,
    new_minor          bigint NOT NULL,
    expansion_minor    bigint NOT NULL,
    contraction_minor  bigint NOT NULL,
    churn_minor        bigint NOT NULL,
    reactivation_minor bigint NOT NULL,
    net_minor          bigint NOT NULL,
    PRIMARY KEY (tenant_id, currency, day)
) WITH (fillfactor = 80);
CREATE INDEX mrr_movements_day ON mrr_movements (currency, day);
