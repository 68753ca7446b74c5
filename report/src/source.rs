//! The events that a report is made of, page after page and window after window, so that no statement reads a whole log.

use hub_event_store::event::Recorded;
use sqlx::{FromRow as _, PgConnection, postgres::PgRow};
use uuid::Uuid;

use crate::{Kind, Request, access, emergency, head::Begun};

macro_rules! columns {
    () => {
        "SELECT position, tenant_position, event_id, tenant_id, aggregate_type, aggregate_id, sequence, event_type, event_version, \
         occurred_at, payload::text AS payload, metadata::text AS metadata, leaf_hash FROM events "
    };
}

/// A page of one tenant's events: of these aggregate types, and by this actor, if given.
pub(crate) const PAGE_OF_TENANT: &str = concat!(
    columns!(),
    "WHERE tenant_id = $1 AND tenant_position > $2 AND tenant_position <= $3 \
     AND ($4::text[] IS NULL OR aggregate_type = ANY($4)) AND ($5::text IS NULL OR metadata->>'actor' = $5) \
     ORDER BY tenant_position LIMIT $6"
);

/// A page of one stream, up to a place in the tenant's log.
pub(crate) const PAGE_OF_STREAM: &str = concat!(
    columns!(),
    "WHERE tenant_id = $1 AND aggregate_type = $2 AND aggregate_id = $3 AND sequence > $4 AND tenant_position <= $5 \
     ORDER BY sequence LIMIT $6"
);

/// So many events are in memory at once.
const PAGE_SIZE: i64 = 1_000;

/// A statement looks at so many positions at most.
const WINDOW_SIZE: i64 = 50_000;

/// What is read.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    tenant_id: Uuid,
    what: What<'a>,
    /// The last place that was read; of a stream, its sequence.
    after: i64,
    from: i64,
    to: i64,
}

#[derive(Debug)]
enum What<'a> {
    Stream(&'a str, Uuid),
    Tenant {
        /// The types to be known from before the period.
        before: &'static [&'static str],
        /// The types within it; all when absent.
        within: Option<&'static [&'static str]>,
        actor: Option<&'a str>,
    },
}

impl<'a> Source<'a> {
    pub(crate) fn of(request: &'a Request, begun: &Begun) -> Self {
        let types = access::TYPES;
        let what = match request.kind {
            Kind::Access => What::Tenant { before: types, within: Some(types), actor: None },
            Kind::Activity => What::Tenant { before: &[], within: None, actor: request.principal.as_deref() },
            Kind::Emergency => What::Tenant { before: emergency::TYPES, within: None, actor: None },
            Kind::History => What::Stream(
                request.aggregate_type.as_deref().unwrap_or_default(),
                request.aggregate_id.unwrap_or_default(),
            ),
        };
        let after = match what {
            What::Tenant { before: &[], .. } => begun.from - 1,
            What::Tenant { .. } | What::Stream(..) => 0,
        };
        Self { tenant_id: request.tenant_id, what, after, from: begun.from, to: begun.to }
    }

    /// The next page, which may be empty; none after the last one.
    pub(crate) async fn next(&mut self, connection: &mut PgConnection) -> Result<Option<Vec<Recorded>>, sqlx::Error> {
        match self.what {
            What::Stream(aggregate_type, aggregate_id) => {
                let query = sqlx::query(PAGE_OF_STREAM)
                    .bind(self.tenant_id)
                    .bind(aggregate_type)
                    .bind(aggregate_id)
                    .bind(self.after)
                    .bind(self.to)
                    .bind(PAGE_SIZE);
                let page = events(&query.fetch_all(connection).await?)?;
                self.after = page.last().map_or(self.after, |event| event.sequence);
                Ok((!page.is_empty()).then_some(page))
            }
            What::Tenant { before, within, actor } => {
                if self.after >= self.to {
                    return Ok(None);
                }
                let early = self.after < self.from - 1;
                let end = if early { self.to.min(self.from - 1) } else { self.to };
                let end = end.min(self.after + WINDOW_SIZE);
                let query = sqlx::query(PAGE_OF_TENANT)
                    .bind(self.tenant_id)
                    .bind(self.after)
                    .bind(end)
                    .bind(if early { Some(before) } else { within })
                    .bind(actor)
                    .bind(PAGE_SIZE);
                let page = events(&query.fetch_all(connection).await?)?;
                let full = i64::try_from(page.len()).is_ok_and(|count| count >= PAGE_SIZE);
                self.after = page.last().filter(|_| full).map_or(end, |event| event.tenant_position);
                Ok(Some(page))
            }
        }
    }
}

fn events(rows: &[PgRow]) -> Result<Vec<Recorded>, sqlx::Error> {
    rows.iter().map(Recorded::from_row).collect()
}
