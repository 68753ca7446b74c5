//! Reading what has changed, for all who wait for it at a time by one statement.
//!
//! There is one connection, and no task: whoever comes first reads for all who are there by then, and those who come meanwhile are read for
//! by one of them afterwards. So a change of rights costs a share of a round trip, however many tenants change theirs at once.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::{Mutex, oneshot};
use uuid::Uuid;

use super::{
    FactsError, TenantFacts,
    load::{CHANGE_COUNT_MAX, Row},
};

/// Tables that have just been filled are read by their indexes, by plans that are made once; and no statement lasts.
pub(crate) const SETTINGS: &str = "SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false), \
     set_config('plan_cache_mode', 'force_generic_plan', false), set_config('statement_timeout', '10s', false)";

/// The facts of several tenants that were set or removed after a position of each, removed ones without what they said; with each the end of
/// the log, the tenant's version and its removals at the same moment.
pub(crate) const FACTS_SINCE: &str = "
SELECT w.place, l.position, coalesce(h.position, 0), s.repair_count, coalesce(h.removal_count, 0),
       c.aggregate_type, c.aggregate_id, c.part, c.fact
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w (tenant_id, since, removal_count, place)
CROSS JOIN log_head l
CROSS JOIN facts_state s
LEFT JOIN fact_heads h ON h.tenant_id = w.tenant_id
LEFT JOIN LATERAL (
    (SELECT f.aggregate_type, f.aggregate_id, f.part, f.fact::text AS fact FROM facts f
     WHERE f.tenant_id = w.tenant_id AND f.position > w.since
     LIMIT $4)
    UNION ALL
    (SELECT r.aggregate_type, r.aggregate_id, r.part, NULL FROM fact_removals r
     WHERE h.removal_count > w.removal_count AND r.tenant_id = w.tenant_id AND r.position > w.since)
) c ON true";

/// So many tenants are read by one statement.
const TENANT_COUNT_MAX: usize = 64;

/// Whoever waited for somebody who has gone away tries again so often.
const ATTEMPT_COUNT_MAX: usize = 5;

/// A row with the place of its wish, from 1.
type Found = (i64, i64, i64, i64, i64, Option<String>, Option<Uuid>, Option<String>, Option<String>);

type Answer = Result<Vec<Row>, FactsError>;

/// What somebody waits for.
struct Wish {
    tenant_id: Uuid,
    /// The end of the log, and the tenant's removals, when its facts were read before.
    since: i64,
    removal_count: i64,
    answer: oneshot::Sender<Answer>,
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct FactsReader(Arc<Inner>);

struct Inner {
    pool: PgPool,
    waiting: std::sync::Mutex<Vec<Wish>>,
    /// `None` before the first statement, and after one that failed or was left.
    connection: Mutex<Option<PgConnection>>,
}

impl fmt::Debug for FactsReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FactsReader").finish_non_exhaustive()
    }
}

impl FactsReader {
    /// Connects as the connections of this pool do, when it is asked for the first time.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self(Arc::new(Inner { pool, waiting: std::sync::Mutex::default(), connection: Mutex::default() }))
    }

    /// The tenant's present facts, from those of an earlier moment. `None` when these cannot tell them; then all must be read.
    ///
    /// # Errors
    /// See [`FactsError`].
    pub async fn changed(&self, tenant_id: Uuid, facts: &TenantFacts) -> Result<Option<TenantFacts>, FactsError> {
        if !facts.extensible() {
            return Ok(None);
        }
        let rows = self.rows(tenant_id, facts).await?;
        facts.extended(rows)
    }

    async fn rows(&self, tenant_id: Uuid, facts: &TenantFacts) -> Answer {
        let (since, removal_count) = (facts.position, facts.removal_count);
        for _ in 0..ATTEMPT_COUNT_MAX {
            let (answer, mut answered) = oneshot::channel();
            self.waiting().push(Wish { tenant_id, since, removal_count, answer });
            let rows = tokio::select! {
                biased;
                rows = &mut answered => rows.ok(),
                mut connection = self.0.connection.lock() => self.lead(&mut connection, answered).await,
            };
            if let Some(rows) = rows {
                return rows;
            }
        }
        Err(FactsError::Unavailable("nobody has read them".to_owned()))
    }

    /// Reads for all who wait, until this one has its answer, too.
    async fn lead(
        &self,
        connection: &mut Option<PgConnection>,
        mut answered: oneshot::Receiver<Answer>,
    ) -> Option<Answer> {
        loop {
            match answered.try_recv() {
                Ok(rows) => return Some(rows),
                Err(oneshot::error::TryRecvError::Closed) => return None,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let wishes: Vec<Wish> = {
                let mut waiting = self.waiting();
                // Those who have gone away do not matter any more.
                waiting.retain(|wish| !wish.answer.is_closed());
                let count = waiting.len().min(TENANT_COUNT_MAX);
                waiting.drain(..count).collect()
            };
            match self.read(connection, &wishes).await {
                Ok(rows) => {
                    for (wish, rows) in wishes.into_iter().zip(rows) {
                        drop(wish.answer.send(Ok(rows)));
                    }
                }
                Err(error) => {
                    let error = FactsError::Unavailable(error.to_string());
                    wishes.into_iter().for_each(|wish| drop(wish.answer.send(Err(error.clone()))));
                }
            }
        }
    }

    /// The rows of each wish; once more with another connection when that of before has gone.
    async fn read(&self, connection: &mut Option<PgConnection>, wishes: &[Wish]) -> Result<Vec<Vec<Row>>, sqlx::Error> {
        // Taken, so that a statement that is left on its way takes its connection with it.
        if let Some(used) = connection.take()
            && let Ok((used, rows)) = fetch(used, wishes).await
        {
            *connection = Some(used);
            return Ok(rows);
        }
        let mut new = PgConnection::connect_with(&self.0.pool.connect_options()).await?;
        sqlx::query(SETTINGS).execute(&mut new).await?;
        let (used, rows) = fetch(new, wishes).await?;
        *connection = Some(used);
        Ok(rows)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Wish>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(mut connection: PgConnection, wishes: &[Wish]) -> Result<(PgConnection, Vec<Vec<Row>>), sqlx::Error> {
    let tenants: Vec<Uuid> = wishes.iter().map(|wish| wish.tenant_id).collect();
    let since: Vec<i64> = wishes.iter().map(|wish| wish.since).collect();
    let removals: Vec<i64> = wishes.iter().map(|wish| wish.removal_count).collect();
    let limit = i64::try_from(CHANGE_COUNT_MAX).expect("the bound is small") + 1;
    let query = sqlx::query_as(FACTS_SINCE).bind(tenants).bind(since).bind(removals).bind(limit);
    let found: Vec<Found> = query.fetch_all(&mut connection).await?;
    let mut rows: Vec<Vec<Row>> = wishes.iter().map(|_| Vec::new()).collect();
    for (place, position, changed, repair_count, removal_count, aggregate_type, aggregate_id, part, fact) in found {
        let of_wish = usize::try_from(place - 1).ok().and_then(|place| rows.get_mut(place));
        let of_wish = of_wish.expect("the places are those of the wishes");
        of_wish.push((position, changed, repair_count, removal_count, aggregate_type, aggregate_id, part, fact));
    }
    Ok((connection, rows))
}
