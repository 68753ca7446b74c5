//! Commands on subscriptions: `POST /v1/tenants/{tenant_id}/subscriptions` and
//! `.../subscriptions/{subscription_id}/<verb>`.

use axum::extract::State;
use hub_domain::{
    money::Money,
    subscription::{CODES, Command, Interval, Plan, Timing},
    text::{Key, Name, Remark, parsed, parsed_option},
};
use hub_http::{Body, CommandHeaders, Created, Fingerprint, NoBody, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
    moment::Moment,
    process,
};

/// What the log itself refuses for a subscription: nothing.
pub(crate) const CONDITIONS: &[(&str, &str)] = &[];

const DOCUMENTED: Documented = Documented::new("subscriptions", CODES);

pub(crate) fn routes() -> Routes<Commands> {
    let subscriptions = "/v1/tenants/{tenant_id}/subscriptions";
    let subscription = "/v1/tenants/{tenant_id}/subscriptions/{subscription_id}";
    Routes::new()
        .post(subscriptions, "subscription:create", create, |op| {
            DOCUMENTED.creation(
                op,
                "createSubscription",
                "Create a subscription",
                "The tenant buys a plan at the price given, which stays whatever the catalogue says \
                     later. Without trial days the subscription is active at once and its first period is \
                     opened.",
            )
        })
        .post(&format!("{subscription}/activate"), "subscription:activate", activate, |op| {
            DOCUMENTED.command(
                op,
                "activateSubscription",
                "Activate a subscription",
                "Ends the trial early and opens the first period.",
            )
        })
        .post(&format!("{subscription}/end-trial"), "subscription:end-trial", end_trial, |op| {
            DOCUMENTED.command(
                op,
                "endSubscriptionTrial",
                "End a trial",
                "Ends a trial whose time has come; the scheduler does it by itself.",
            )
        })
        .post(&format!("{subscription}/change-plan"), "subscription:change-plan", change_plan, |op| {
            DOCUMENTED.command(
                op,
                "changeSubscriptionPlan",
                "Change the plan",
                "Now or at the end of the period, in the same currency. Nothing is prorated: what changes \
                     at once is charged from the next period on. Ordering the present plan withdraws a change \
                     that waits.",
            )
        })
        .post(&format!("{subscription}/change-seats"), "subscription:change-seats", change_seats, |op| {
            DOCUMENTED.command(
                op,
                "changeSubscriptionSeats",
                "Change the number of seats",
                "At once; charged from the next period on.",
            )
        })
        .post(&format!("{subscription}/pause"), "subscription:pause", pause, |op| {
            DOCUMENTED.command(
                op,
                "pauseSubscription",
                "Pause a subscription",
                "No new period opens while it is paused; what is paid stays paid.",
            )
        })
        .post(&format!("{subscription}/resume"), "subscription:resume", resume, |op| {
            DOCUMENTED.command(
                op,
                "resumeSubscription",
                "Resume a subscription",
                "Goes on in the paid period, or begins a new one now when that has ended.",
            )
        })
        .post(&format!("{subscription}/cancel"), "subscription:cancel", cancel, |op| {
            DOCUMENTED.command(
                op,
                "cancelSubscription",
                "Cancel a subscription",
                "Now, or at the end of the period; until then the cancellation can be undone.",
            )
        })
        .post(&format!("{subscription}/undo-cancel"), "subscription:undo-cancel", undo_cancel, |op| {
            DOCUMENTED.command(
                op,
                "undoSubscriptionCancellation",
                "Undo a cancellation",
                "The subscription goes on after the period.",
            )
        })
        .post(&format!("{subscription}/mark-past-due"), "subscription:mark-past-due", mark_past_due, |op| {
            DOCUMENTED.command(
                op,
                "markSubscriptionPastDue",
                "Mark as past due",
                "A charge was not paid in time; periods go on opening.",
            )
        })
        .post(&format!("{subscription}/mark-paid"), "subscription:mark-paid", mark_paid, |op| {
            DOCUMENTED.command(op, "markSubscriptionPaid", "Mark as paid", "Everything owed was paid.")
        })
        .post(&format!("{subscription}/open-next-period"), "subscription:open-next-period", open_next_period, |op| {
            DOCUMENTED.command(
                op,
                "openNextSubscriptionPeriod",
                "Open the next period",
                "Does what is due at the end of a period: the change that waits, then the next period. \
                     The scheduler does it by itself.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct SubscriptionPath {
    /// The subscription's id.
    subscription_id: Uuid,
}

/// A plan as it is sold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PlanSold")]
struct PlanBody {
    /// The plan's key in the catalogue.
    #[serde(deserialize_with = "parsed")]
    code: Key,
    /// The plan's name for people.
    #[serde(deserialize_with = "parsed")]
    name: Name,
    /// The plan's level, such as `basic` or `premium`.
    #[serde(deserialize_with = "parsed")]
    tier: Key,
    /// The price of one seat for one interval: 0 to 10,000,000,000 minor units.
    price: Money,
    /// How long one period lasts.
    interval: Interval,
}

impl From<PlanBody> for Plan {
    fn from(PlanBody { code, name, tier, price, interval }: PlanBody) -> Self {
        Self { code, name, tier, price, interval }
    }
}

/// A new subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CreateSubscription")]
struct Create {
    plan: PlanBody,
    #[schemars(range(min = 1, max = 100_000))]
    seats: u32,
    /// 0: no trial.
    #[serde(default)]
    #[schemars(range(max = 365))]
    trial_days: u32,
    /// When it, or its trial, starts; now when absent. May lie in the past: what is due since then is done shortly
    /// after. May lie in the future: it is trialing until then, and nothing is charged.
    #[serde(default, deserialize_with = "parsed_option")]
    starts_at: Option<Moment>,
}

/// Another plan.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangeSubscriptionPlan")]
struct ChangePlan {
    plan: PlanBody,
    timing: Timing,
}

/// Another number of seats.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ChangeSubscriptionSeats")]
struct ChangeSeats {
    #[schemars(range(min = 1, max = 100_000))]
    seats: u32,
}

/// The end of a subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CancelSubscription")]
struct Cancel {
    timing: Timing,
    /// For the record.
    #[serde(deserialize_with = "parsed")]
    reason: Remark,
}

async fn create(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Create>,
) -> Result<Created<Changed>, Problem> {
    let Create { plan, seats, trial_days, starts_at } = body.value;
    let now = commands.store.now();
    let starts_at = starts_at.map_or(now, |Moment(time)| time);
    let command = Command::Create { plan: plan.into(), seats, trial_days, starts_at, now };
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let done = dispatch.execute_in_tenant(&commands, &commands.subscriptions, Uuid::now_v7(), command, &[]).await?;
    let location = format!("/v1/tenants/{tenant_id}/subscriptions/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

async fn activate(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let now = commands.store.now();
    order(&commands, &caller, path, headers, body.fingerprint, Command::Activate { now }).await
}

async fn end_trial(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let now = commands.store.now();
    order(&commands, &caller, path, headers, body.fingerprint, Command::EndTrial { now }).await
}

async fn change_plan(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ChangePlan>,
) -> Result<Receipt<Changed>, Problem> {
    let ChangePlan { plan, timing } = body.value;
    let command = Command::ChangePlan { plan: plan.into(), timing, now: commands.store.now() };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn change_seats(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<ChangeSeats>,
) -> Result<Receipt<Changed>, Problem> {
    let ChangeSeats { seats } = body.value;
    order(&commands, &caller, path, headers, body.fingerprint, Command::ChangeSeats { seats }).await
}

async fn pause(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let now = commands.store.now();
    order(&commands, &caller, path, headers, body.fingerprint, Command::Pause { now }).await
}

async fn resume(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let now = commands.store.now();
    order(&commands, &caller, path, headers, body.fingerprint, Command::Resume { now }).await
}

async fn cancel(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Cancel>,
) -> Result<Receipt<Changed>, Problem> {
    let Cancel { timing, reason } = body.value;
    let command = Command::Cancel { timing, reason, now: commands.store.now() };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}

async fn undo_cancel(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::UndoCancel).await
}

async fn mark_past_due(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::MarkPastDue).await
}

async fn mark_paid(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    order(&commands, &caller, path, headers, body.fingerprint, Command::MarkPaid).await
}

async fn open_next_period(
    caller: TenantCaller,
    Path(path): Path<SubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: NoBody,
) -> Result<Receipt<Changed>, Problem> {
    let now = commands.store.now();
    order(&commands, &caller, path, headers, body.fingerprint, Command::OpenNextPeriod { now }).await
}

/// The way of every command on a subscription that is there. What is due by then is done first, so that what a change costs does not
/// depend on whether the scheduler or the customer is faster.
async fn order(
    commands: &Commands,
    caller: &TenantCaller,
    SubscriptionPath { subscription_id }: SubscriptionPath,
    headers: CommandHeaders,
    fingerprint: Fingerprint,
    command: Command,
) -> Result<Receipt<Changed>, Problem> {
    let tenant_id = caller.tenant.id();
    let dispatch = Dispatch::begin(commands, &caller.caller, tenant_id, headers, fingerprint)?;
    if !matches!(command, Command::EndTrial { .. } | Command::OpenNextPeriod { .. }) {
        process::catch_up(commands, tenant_id, subscription_id).await?;
    }
    Ok(dispatch.execute_in_tenant(commands, &commands.subscriptions, subscription_id, command, &[]).await?.receipt())
}
