//! Commands on event subscriptions: `POST /v1/tenants/{tenant_id}/event-subscriptions` and
//! `.../event-subscriptions/{event_subscription_id}/<verb>`.
//!
//! Where a subscription begins is found out here, once, and kept as a position. Consuming is no command and lives elsewhere.

use axum::extract::State;
use hub_domain::{
    event_subscription::{
        CODES, Command, DELIVERIES_MAX_DEFAULT, EVENT_SUBSCRIPTION_COUNT_MAX, EventSubscription, Handling,
        LEASE_SECONDS_DEFAULT, LIMIT_REACHED, Mode, OnExhausted, POSITION_AHEAD, Retry, Start, decide,
    },
    text::{Key, parsed},
};
use hub_filter::Filter;
use hub_http::{Body, CommandHeaders, Created, Path, Problem, Receipt, Routes, TenantCaller};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Commands,
    dispatch::{Changed, Dispatch},
    documented::Documented,
    outcome::Refused,
    room::Context,
    verb::{ResourcePath, bare, order},
};

/// What the log itself refuses for a subscription.
pub(crate) const CONDITIONS: &[(&str, &str)] =
    &[(decide::NAME, "event_subscription_name_taken"), (decide::EVENT_SUBSCRIPTIONS, LIMIT_REACHED.code)];

const DOCUMENTED: Documented = Documented::new("event-subscriptions", CODES);

/// So many subscriptions a tenant.
const MAXIMA: &[(&str, i64)] = &[(decide::EVENT_SUBSCRIPTIONS, EVENT_SUBSCRIPTION_COUNT_MAX)];

pub(crate) fn routes() -> Routes<Commands> {
    let subscriptions = "/v1/tenants/{tenant_id}/event-subscriptions";
    let subscription = "/v1/tenants/{tenant_id}/event-subscriptions/{event_subscription_id}";
    let [pause, resume, delete] = [Command::Pause, Command::Resume, Command::Delete].map(bare::<EventSubscriptionPath>);
    Routes::new()
        .post(subscriptions, "event_subscription:create", create, |op| {
            DOCUMENTED.creation(
                op,
                "createEventSubscription",
                "Create an event subscription",
                "Keeps for its consumers which events they have had. Its name is unique in the tenant. `start` is turned into a position \
                 when it is created; with `latest` the first event that it looks at is its own creation.",
            )
        })
        .post(&format!("{subscription}/update"), "event_subscription:update", update, |op| {
            DOCUMENTED.command(
                op,
                "updateEventSubscription",
                "Update an event subscription",
                "Each field that is given replaces the old value as a whole; the others stay. What was looked at before stays as it was \
                 decided then; reset the subscription to have the log looked at again.",
            )
        })
        .post(&format!("{subscription}/pause"), "event_subscription:pause", pause, |op| {
            DOCUMENTED.command(
                op,
                "pauseEventSubscription",
                "Pause an event subscription",
                "Nothing is handed out until it is resumed; what was handed out can still be acknowledged.",
            )
        })
        .post(&format!("{subscription}/resume"), "event_subscription:resume", resume, |op| {
            DOCUMENTED.command(
                op,
                "resumeEventSubscription",
                "Resume an event subscription",
                "Events are handed out again, beginning with those of the meantime.",
            )
        })
        .post(&format!("{subscription}/delete"), "event_subscription:delete", delete, |op| {
            DOCUMENTED.command(
                op,
                "deleteEventSubscription",
                "Delete an event subscription",
                "The end: it hands out nothing any more, what was parked is gone, and its name is free.",
            )
        })
}

#[derive(Debug, Deserialize, JsonSchema)]
struct EventSubscriptionPath {
    /// The event subscription's id.
    event_subscription_id: Uuid,
}

impl ResourcePath for EventSubscriptionPath {
    type Resource = EventSubscription;

    fn id(&self) -> Uuid {
        self.event_subscription_id
    }

    fn context(commands: &Commands) -> &Context<EventSubscription> {
        &commands.event_subscriptions
    }
}

/// A new event subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CreateEventSubscription")]
struct Create {
    #[serde(deserialize_with = "parsed")]
    name: Key,
    /// Which events are wanted; all when it is absent.
    #[serde(default)]
    filter: Filter,
    /// Where it begins; `latest` when it is absent.
    #[serde(default)]
    start: Start,
    /// Whether consumers share the events, which is so when it is absent.
    mode: Option<Mode>,
    /// 5 to 3600, 60 when it is absent: how long a consumer has an event for itself.
    lease_seconds: Option<u32>,
    /// 1 to 100, 10 when it is absent: so often an event is handed out at most.
    deliveries_max: Option<u32>,
    /// 5 to 600 seconds when it is absent.
    #[serde(default)]
    retry: Retry,
    /// What becomes of an event that was handed out so often; it is parked when this is absent.
    on_exhausted: Option<OnExhausted>,
}

/// What changes of an event subscription.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UpdateEventSubscription")]
struct Update {
    /// All that is wanted from now on.
    filter: Option<Filter>,
    mode: Option<Mode>,
    /// 5 to 3600; leases that were given stay as long as they are.
    lease_seconds: Option<u32>,
    /// 1 to 100.
    deliveries_max: Option<u32>,
    retry: Option<Retry>,
    on_exhausted: Option<OnExhausted>,
}

async fn create(
    caller: TenantCaller,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Create>,
) -> Result<Created<Changed>, Problem> {
    let Create { name, filter, start, mode, lease_seconds, deliveries_max, retry, on_exhausted } = body.value;
    let tenant_id = caller.tenant.id();
    let handling = Handling {
        mode: mode.unwrap_or(Mode::Competing),
        lease_seconds: lease_seconds.unwrap_or(LEASE_SECONDS_DEFAULT),
        deliveries_max: deliveries_max.unwrap_or(DELIVERIES_MAX_DEFAULT),
        retry,
        on_exhausted: on_exhausted.unwrap_or(OnExhausted::Park),
    };
    let dispatch = Dispatch::begin(&commands, &caller.caller, tenant_id, headers, body.fingerprint)?;
    let start_position = position_of(&commands, tenant_id, start).await?;
    let command = Command::Create { name, filter, start_position, handling };
    let done =
        dispatch.execute_in_tenant(&commands, &commands.event_subscriptions, Uuid::now_v7(), command, MAXIMA).await?;
    let location = format!("/v1/tenants/{tenant_id}/event-subscriptions/{}", done.accepted.aggregate_id);
    Ok(done.receipt().created(location))
}

/// The position of the tenant's log behind which a subscription begins.
async fn position_of(commands: &Commands, tenant_id: Uuid, start: Start) -> Result<i64, Problem> {
    let log = commands.store.log();
    let unread = |error: sqlx::Error| {
        tracing::warn!(%error, "where a subscription is to begin cannot be read");
        Problem::store_unavailable()
    };
    // What nothing ever happened to is refused by the command itself.
    let Some(head) = log.tenant_head(tenant_id).await.map_err(unread)? else { return Ok(0) };
    match start {
        Start::Earliest => Ok(0),
        Start::Latest => Ok(head),
        Start::Position(position) if position > head => {
            let detail = format!("the log of the tenant ends at {head}");
            Err(Refused::new(POSITION_AHEAD.kind, POSITION_AHEAD.code, detail).problem())
        }
        Start::Position(position) => Ok(position),
        Start::Time(time) => log.tenant_position_before(tenant_id, time, head).await.map_err(unread),
    }
}

async fn update(
    caller: TenantCaller,
    Path(path): Path<EventSubscriptionPath>,
    headers: CommandHeaders,
    State(commands): State<Commands>,
    body: Body<Update>,
) -> Result<Receipt<Changed>, Problem> {
    let Update { filter, mode, lease_seconds, deliveries_max, retry, on_exhausted } = body.value;
    let command = Command::Update { filter, mode, lease_seconds, deliveries_max, retry, on_exhausted };
    order(&commands, &caller, path, headers, body.fingerprint, command).await
}
