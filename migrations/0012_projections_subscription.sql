-- Subscriptions, one row each.
CREATE TABLE subscriptions (
    tenant_id           uuid        NOT NULL,
    id                  uuid        NOT NULL,
    stage               text        NOT NULL,
    plan                jsonb       NOT NULL,
    seats               bigint      NOT NULL,
    currency            text        NOT NULL,
    recurring_minor     bigint      NOT NULL,
    mrr_minor           bigint      NOT NULL,
    starts_at           timestamptz NOT NULL,
    trial_ends_at       timestamptz,
    anchor_at           timestamptz,
    current_period      jsonb,
    scheduled_change    jsonb,
    paused_at           timestamptz,
    cancelled_at        timestamptz,
    cancellation_reason text,
    next_due_at         timestamptz,
    created_at          timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    sequence            bigint      NOT NULL,
    plan_code           text        NOT NULL GENERATED ALWAYS AS (plan ->> 'code') STORED,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX subscriptions_stage ON subscriptions (tenant_id, stage, id);
CREATE INDEX subscriptions_plan_code ON subscriptions (tenant_id, plan_code, id);
CREATE INDEX subscriptions_due ON subscriptions (next_due_at) WHERE next_due_at IS NOT NULL;
CREATE INDEX subscriptions_revenue ON subscriptions (currency, stage) INCLUDE (mrr_minor);
