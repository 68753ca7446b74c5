//! Where a reader of a tenant's log begins, and how far back that may be.

use chrono::{DateTime, Utc};
use hub_event_store::moment::position_before;
use hub_http::{Problem, TenantScope};
use sqlx::PgConnection;

use crate::{failure::failed, heads::tenant_head, state::Queries};

/// What every way of writing it is told.
const FORMS: &str = "after is a position, a time such as 2026-01-01T00:00:00Z, earliest or latest";

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Behind this position.
    Position(i64),
    /// Before the first event of this time or later.
    Time(DateTime<Utc>),
    /// Before the oldest event that is served.
    Earliest,
    /// Behind the last event.
    Latest,
    /// Behind the event that a client got last.
    LastEventId(i64),
}

/// The part of a tenant's log that can be served: what comes after `oldest`, up to and with `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Servable {
    pub(crate) oldest: i64,
    pub(crate) head: i64,
}

impl Servable {
    /// The one place that says how far back a reader may begin: so many events before the end, or anywhere.
    pub(crate) fn new(head: i64, history_max: Option<i64>) -> Self {
        Self { oldest: history_max.map_or(0, |history_max| head.saturating_sub(history_max).max(0)), head }
    }

    /// 410 `position_expired` when not all that comes after `position` can be served.
    pub(crate) fn check(self, position: i64) -> Result<i64, Problem> {
        if position < self.oldest { Err(Problem::position_expired(self.oldest)) } else { Ok(position) }
    }
}

impl Queries {
    /// How far the log reaches, in both directions; 404 `not_found` for a tenant that nothing ever happened to.
    pub(crate) async fn servable(
        &self,
        tenant: TenantScope,
        connection: &mut PgConnection,
    ) -> Result<Servable, Problem> {
        Ok(Servable::new(tenant_head(tenant, connection).await?, self.stream_settings.history_max))
    }
}

impl Cursor {
    /// Reads the parameter `after`; 400 `invalid_query` for what is none of its forms.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "earliest" => return Ok(Self::Earliest),
            "latest" => return Ok(Self::Latest),
            _ => {}
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // What is too large for a position is ahead of every log.
            return Ok(Self::Position(text.parse().unwrap_or(i64::MAX)));
        }
        // A plus sign that was not escaped arrives as a space.
        let time = DateTime::parse_from_rfc3339(&text.replace(' ', "+"));
        time.map(|time| Self::Time(time.to_utc())).map_err(|_| Problem::invalid_query(Some("after"), FORMS))
    }

    /// The position behind which the reader begins. 400 when the log has not got there, because whoever waits there would miss what comes
    /// before; 410 `position_expired` when something in between could not be served.
    pub(crate) async fn resolve(
        self,
        tenant: TenantScope,
        servable: Servable,
        connection: &mut PgConnection,
    ) -> Result<i64, Problem> {
        let ends = || format!("the log of the tenant ends at {}", servable.head);
        match self {
            Self::Position(position) if position > servable.head => Err(Problem::invalid_query(Some("after"), ends())),
            Self::LastEventId(position) if position > servable.head => Err(Problem::invalid_event_id(ends())),
            Self::Position(position) | Self::LastEventId(position) => servable.check(position),
            Self::Earliest => Ok(servable.oldest),
            Self::Latest => Ok(servable.head),
            Self::Time(time) => {
                let before = position_before(connection, tenant.id(), time, servable.head).await;
                servable.check(before.map_err(failed)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Servable};

    #[test]
    fn a_place_is_a_position_a_time_or_one_of_the_ends() {
        assert_eq!(Cursor::parse("earliest").unwrap(), Cursor::Earliest);
        assert_eq!(Cursor::parse("latest").unwrap(), Cursor::Latest);
        assert_eq!(Cursor::parse("42").unwrap(), Cursor::Position(42));
        assert_eq!(Cursor::parse("99999999999999999999").unwrap(), Cursor::Position(i64::MAX));
        let time = Cursor::Time("2026-01-01T00:00:00Z".parse().unwrap());
        for text in ["2026-01-01T00:00:00Z", "2026-01-01T02:00:00+02:00", "2026-01-01T02:00:00 02:00"] {
            assert_eq!(Cursor::parse(text).unwrap(), time, "{text}");
        }
        for bad in ["", "-1", "x", "1.5", "2026-01-01", "Earliest"] {
            assert_eq!(Cursor::parse(bad).unwrap_err().code(), "invalid_query", "{bad}");
        }
    }

    #[test]
    fn everything_is_served_unless_somebody_has_set_how_far_back_one_may_begin() {
        assert_eq!(Servable::new(10, None), Servable { oldest: 0, head: 10 });
        assert_eq!(Servable::new(10, Some(20)), Servable { oldest: 0, head: 10 });
        let some = Servable::new(10, Some(3));
        assert_eq!((some.oldest, some.check(7).unwrap()), (7, 7));
        assert_eq!(some.check(6).unwrap_err().code(), "position_expired");
    }
}
