-- One charge for each opened period of a subscription.
CREATE TABLE charges (
    tenant_id       uuid        NOT NULL,
    subscription_id uuid        NOT NULL,
    period_number   bigint      NOT NULL,
    kind            text        NOT NULL,
    plan_code       text        NOT NULL,
    plan_name       text        NOT NULL,
    interval        text        NOT NULL,
    seats           bigint      NOT NULL,
    starts_at       timestamptz NOT NULL,
    ends_at         timestamptz NOT NULL,
    price_minor     bigint      NOT NULL,
    amount_minor    bigint      NOT NULL,
    currency        text        NOT NULL,
    opened_at       timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, subscription_id, period_number)
);
CREATE INDEX charges_starts ON charges (tenant_id, starts_at, subscription_id, period_number);
CREATE INDEX charges_totals ON charges (tenant_id, currency) INCLUDE (amount_minor);
