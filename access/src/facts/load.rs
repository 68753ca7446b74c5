//! A tenant's facts as rows: all of them, or what has changed since they were read before (`reader`).
//!
//! Each fact bears the position of the event that set it, and the last removals of a tenant are kept with theirs (see the migration
//! `0075_facts_changed.sql`), so what is behind the position of facts at hand is all that has changed. Positions are given and committed in one
//! order, and each statement reads one snapshot, so nothing can appear before them later. Where that is not enough (facts were repaired, which
//! no position tells of; more was removed than is kept; the log has lost its end) everything is read anew.

use sqlx::PgPool;
use uuid::Uuid;

use super::{FactName, TenantFacts, Version};

/// The facts of one tenant, its version, and the end of the log at the same moment.
pub(crate) const FACTS: &str = "
SELECT l.position, coalesce(h.position, 0), s.repair_count, coalesce(h.removal_count, 0), f.aggregate_type, f.aggregate_id, f.part, f.fact::text
FROM log_head l
CROSS JOIN facts_state s
LEFT JOIN fact_heads h ON h.tenant_id = $1
LEFT JOIN facts f ON f.tenant_id = $1
LIMIT $2";

/// A tenant with more facts is refused everything: nobody's rights could be known in time.
pub const FACT_COUNT_MAX: usize = 200_000;

/// So many removals of each tenant are kept, by `set_fact`.
pub const REMOVAL_COUNT_MAX: i64 = 256;

/// When more has changed, everything is read anew.
pub(super) const CHANGE_COUNT_MAX: usize = 2_000;

/// Why facts are not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FactsError {
    /// PostgreSQL does not answer, or not in time.
    #[error("the facts cannot be read: {0}")]
    Unavailable(String),
    /// More than `FACT_COUNT_MAX`.
    #[error("the tenant has too many facts")]
    TooMany,
    /// A fact that this version of the program does not understand.
    #[error("a fact cannot be understood: {0}")]
    Corrupt(String),
}

/// End of the log, last change, repairs, removals, and a fact's type, aggregate, part and text.
pub(super) type Row = (i64, i64, i64, i64, Option<String>, Option<Uuid>, Option<String>, Option<String>);

/// What each row says of the moment at which it was read.
struct Moment {
    position: i64,
    version: Version,
    removal_count: i64,
}

impl Moment {
    fn of(rows: &[Row]) -> Result<Self, FactsError> {
        let missing = || FactsError::Unavailable("the log has no head".to_owned());
        let (position, changed, repair_count, removal_count, ..) = rows.first().ok_or_else(missing)?;
        let version = Version { position: *changed, repair_count: *repair_count };
        Ok(Self { position: *position, version, removal_count: *removal_count })
    }
}

impl TenantFacts {
    /// Reads all facts of the tenant in one statement.
    ///
    /// # Errors
    /// See [`FactsError`].
    pub async fn load(pool: &PgPool, tenant_id: Uuid) -> Result<Self, FactsError> {
        let limit = i64::try_from(FACT_COUNT_MAX).expect("the bound is small") + 1;
        let rows = sqlx::query_as(FACTS).bind(tenant_id).bind(limit).fetch_all(pool);
        let rows: Vec<Row> = rows.await.map_err(|error| FactsError::Unavailable(error.to_string()))?;
        if rows.len() > FACT_COUNT_MAX {
            return Err(FactsError::TooMany);
        }
        let mut facts = Self::default();
        facts.move_to(Moment::of(&rows)?, rows)?;
        Ok(facts)
    }

    /// Whether those of a later moment can be made of these at all.
    pub(super) const fn extensible(&self) -> bool {
        !self.clashes
    }

    /// Those of a later moment, by what was set or removed since; `None` when that does not lead there.
    pub(super) fn extended(&self, rows: Vec<Row>) -> Result<Option<Self>, FactsError> {
        let moment = Moment::of(&rows)?;
        if rows.len() > CHANGE_COUNT_MAX || !self.leads_to(&moment) {
            return Ok(None);
        }
        let mut facts = self.clone();
        facts.move_to(moment, rows)?;
        if facts.places.len() > FACT_COUNT_MAX {
            return Err(FactsError::TooMany);
        }
        Ok((!facts.clashes).then_some(facts))
    }

    /// Whether what is behind the position of these facts is all that makes those of the moment of them.
    fn leads_to(&self, moment: &Moment) -> bool {
        moment.position >= self.position
            && moment.version.position >= self.version.position
            && moment.version.repair_count == self.version.repair_count
            && (0..=REMOVAL_COUNT_MAX).contains(&(moment.removal_count - self.removal_count))
    }

    fn move_to(&mut self, moment: Moment, rows: Vec<Row>) -> Result<(), FactsError> {
        let mut set = Vec::with_capacity(rows.len());
        for (.., aggregate_type, aggregate_id, part, fact) in rows {
            let (Some(aggregate_type), Some(aggregate_id), Some(part)) = (aggregate_type, aggregate_id, part) else {
                continue;
            };
            let name = FactName { aggregate_type, aggregate_id, part };
            match fact {
                Some(fact) => set.push((name, fact)),
                None => self.unset(&name),
            }
        }
        // After the removals: what is there now is there, whatever was removed under its name before. What goes, goes first, so that nothing
        // seems to be said twice.
        set.iter().for_each(|(name, _)| self.unset(name));
        for (name, fact) in set {
            let fact =
                serde_json::from_str(&fact).map_err(|error| FactsError::Corrupt(format!("{}: {error}", name.part)))?;
            self.set(name, fact);
        }
        let Moment { position, version, removal_count } = moment;
        (self.position, self.version, self.removal_count) = (position, version, removal_count);
        Ok(())
    }
}
