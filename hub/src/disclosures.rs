//! What leaves the platform, written down first: reports over the API, and what the program's verbs take out of a database.

use anyhow::Context as _;
use hub_commands::disclosure::Disclosures;
use hub_domain::{
    disclosure::{CheckpointRef, Event, Range, Recipient, ReportFormat, ReportKind, ReportScope},
    fact::Home,
    id::PLATFORM_TENANT,
};
use hub_event_store::{store::EventStore, tail::Tail};
use hub_http::{Caller, Problem, Scope, access::BoxFuture};
use hub_report::{Format, Head, Kind};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{clock::system_clock, serve::upcasters};

/// By which login PostgreSQL knows whoever runs a verb.
pub(crate) const LOGIN: &str = "SELECT session_user::text";

/// Writes down which reports are answered.
#[derive(Debug, Clone)]
pub struct ReportRuns(Disclosures);

impl ReportRuns {
    /// Writes into this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self(Disclosures::new(store))
    }
}

impl hub_read_api::Disclosures for ReportRuns {
    fn report_run<'a>(
        &'a self,
        caller: &'a Caller,
        head: &'a Head,
        format: Format,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move {
            let principal = caller.principal.parse().map_err(|error| {
                tracing::error!(%error, "a caller is no principal");
                Problem::internal()
            })?;
            let home = if caller.scope == Scope::Platform { Home::Platform } else { Home::Tenant };
            let disclosure = report_run(Recipient::Principal { principal, home }, head, format);
            self.0.record_for_caller(head.tenant_id, &disclosure).await
        })
    }
}

/// A report, as it is written down.
pub(crate) fn report_run(recipient: Recipient, head: &Head, format: Format) -> Event {
    Event::ReportRun {
        recipient,
        report: match head.report {
            Kind::Access => ReportKind::Access,
            Kind::Activity => ReportKind::Activity,
            Kind::History => ReportKind::History,
            Kind::Emergency => ReportKind::Emergency,
        },
        scope: ReportScope {
            principal: head.principal.clone(),
            aggregate_type: head.aggregate_type.clone(),
            aggregate_id: head.aggregate_id,
        },
        range: Range { from: head.from, to: head.to },
        format: match format {
            Format::Csv => ReportFormat::Csv,
            Format::Ndjson => ReportFormat::Ndjson,
        },
        row_count: head.row_count,
        complete: head.complete,
        checkpoint: head
            .checkpoint
            .as_ref()
            .map(|checkpoint| CheckpointRef { size: checkpoint.size, root: checkpoint.root.clone() }),
    }
}

/// Writes down what a verb is about to hand over, in the log of a tenant, or in that of the platform when it is about all of them.
///
/// # Errors
/// When it cannot be written; nothing may be handed over then.
pub(crate) async fn record(
    pool: &PgPool,
    tenant_id: Option<Uuid>,
    disclosure: impl FnOnce(Recipient) -> Event,
) -> anyhow::Result<()> {
    let recorded = async {
        let database_login: String = sqlx::query_scalar(LOGIN).fetch_one(pool).await?;
        let store = EventStore::start(pool.clone(), Tail::default(), upcasters(), system_clock());
        let disclosure = disclosure(Recipient::Operator { database_login });
        Disclosures::new(store).record(tenant_id.unwrap_or(PLATFORM_TENANT.0), &disclosure).await?;
        anyhow::Ok(())
    };
    recorded.await.context("nothing is handed over, because that cannot be recorded")
}
