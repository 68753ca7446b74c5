//! A moment of a log: the place of an event, or a time.

use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use hub_event_store::log::Log;
use serde::Serialize;

use super::{Replay, ReplayError, Scope};
pub use crate::evidence::export::Bound as Moment;
use crate::evidence::seals;

/// Whether a time has not come yet.
pub(crate) const FUTURE: &str = "SELECT $1::timestamptz > now()";

/// As `LAST_BEFORE` and `FIRST_AT` of a tenant's seals, for the whole log.
pub(crate) const PLATFORM_LAST_BEFORE: &str = "SELECT max(position) FROM events WHERE occurred_at < $1";
pub(crate) const PLATFORM_FIRST_AT: &str = "SELECT min(position) FROM events WHERE occurred_at >= $1";

/// The last event that is in a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Its place in the log that is replayed: the tenant's own, or the platform's.
    #[serde(rename = "position")]
    pub place: i64,
    /// Its place in the platform's log.
    pub platform_position: i64,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// The last event of the log at the time.
    pub head: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.occurred_at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        write!(formatter, "event {} of {}, {at}", self.place, self.head)
    }
}

impl Replay {
    /// The last event of a moment. A time includes what happened at it.
    pub(super) async fn place(&self, moment: Moment) -> Result<Place, ReplayError> {
        let head = self.head().await?;
        let place = match moment {
            Moment::Position(0) => return Err(ReplayError::Moment("positions begin at 1".to_owned())),
            Moment::Position(position) => i64::try_from(position).unwrap_or(i64::MAX),
            Moment::Time(time) => self.place_at(time).await?,
        };
        if place > head {
            let scope = self.scope;
            return Err(ReplayError::Moment(format!("the log of the {scope} ends at position {head}, before {place}")));
        }
        self.place_of(place, head).await
    }

    async fn place_of(&self, place: i64, head: i64) -> Result<Place, ReplayError> {
        let mut pages = self.pages(place);
        pages.after = place - 1;
        let page = pages.next().await?;
        let event = page.and_then(|page| page.into_iter().find(|event| self.scope.place_of(event) == place));
        let event = event.ok_or_else(|| ReplayError::Moment(format!("the log has no event at position {place}")))?;
        Ok(Place { place, platform_position: event.position, occurred_at: event.occurred_at, head })
    }

    async fn place_at(&self, time: DateTime<Utc>) -> Result<i64, ReplayError> {
        if sqlx::query_scalar(FUTURE).bind(time).fetch_one(&self.pool).await? {
            return Err(ReplayError::Moment(format!("{} is in the future", written(time))));
        }
        // PostgreSQL keeps microseconds.
        let after = time.checked_add_signed(TimeDelta::microseconds(1)).unwrap_or(time);
        let last: Option<i64> = match self.scope {
            Scope::Tenant(tenant_id) => {
                sqlx::query_scalar(seals::LAST_BEFORE).bind(tenant_id).bind(after).fetch_one(&self.pool).await?
            }
            Scope::Platform => sqlx::query_scalar(PLATFORM_LAST_BEFORE).bind(after).fetch_one(&self.pool).await?,
        };
        if let Some(last) = last {
            return Ok(last);
        }
        let first: Option<i64> = match self.scope {
            Scope::Tenant(tenant_id) => {
                sqlx::query_scalar(seals::FIRST_AT).bind(tenant_id).bind(after).fetch_one(&self.pool).await?
            }
            Scope::Platform => sqlx::query_scalar(PLATFORM_FIRST_AT).bind(after).fetch_one(&self.pool).await?,
        };
        let first = self.place_of(first.unwrap_or(1), 0).await?.occurred_at;
        let (scope, time, first) = (self.scope, written(time), written(first));
        Err(ReplayError::Moment(format!("nothing had happened at {time}: the log of the {scope} begins at {first}")))
    }

    /// The place of the last event.
    pub(super) async fn head(&self) -> Result<i64, ReplayError> {
        let head: Option<i64> = match self.scope {
            Scope::Tenant(tenant_id) => sqlx::query_scalar(seals::HEAD).bind(tenant_id).fetch_one(&self.pool).await?,
            Scope::Platform => Some(Log::new(self.pool.clone()).head().await?),
        };
        let head = head.filter(|head| *head > 0);
        head.ok_or_else(|| ReplayError::Moment(format!("the {} has no events", self.scope)))
    }
}

fn written(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
