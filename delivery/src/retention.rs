//! The parts of the log of attempts, a day each: made before they are needed, dropped when they are old enough.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use sqlx::PgConnection;

/// The parts that there are.
pub(crate) const PARTS: &str = "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
     WHERE i.inhparent = 'webhook_attempts'::regclass";

/// What their names begin with; then comes the day.
const PREFIX: &str = "webhook_attempts_";

/// Parts are there for so many days beyond today.
const AHEAD: u64 = 2;

/// The days that there are parts for.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    days: BTreeSet<NaiveDate>,
    looked_for: Option<NaiveDate>,
}

impl Parts {
    /// Whether all was done that is to be done on that day.
    pub(crate) fn kept_at(&self, now: DateTime<Utc>) -> bool {
        self.looked_for == Some(now.date_naive())
    }

    /// Makes the parts for today and the next days, once each day, and drops those that are older than `kept`.
    pub(crate) async fn keep(
        &mut self,
        connection: &mut PgConnection,
        now: DateTime<Utc>,
        kept: TimeDelta,
    ) -> Result<(), sqlx::Error> {
        if self.kept_at(now) {
            return Ok(());
        }
        let today = now.date_naive();
        let names: Vec<String> = sqlx::query_scalar(PARTS).fetch_all(&mut *connection).await?;
        self.days = names.iter().filter_map(|name| day_of(name)).collect();
        let wanted = (0..=AHEAD).filter_map(|days| today.checked_add_days(Days::new(days)));
        for day in wanted.filter(|day| !self.days.contains(day)).collect::<Vec<_>>() {
            let name = name_of(day);
            let next = day + TimeDelta::days(1);
            let make = format!(
                "CREATE TABLE IF NOT EXISTS {name} PARTITION OF webhook_attempts FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
            );
            sqlx::query(&make).execute(&mut *connection).await?;
            sqlx::query(&format!("SELECT isolate_table('{name}')")).execute(&mut *connection).await?;
        }
        // A part is old when its last moment is.
        for day in self
            .days
            .iter()
            .filter(|day| (**day + TimeDelta::days(1)).and_time(chrono::NaiveTime::MIN).and_utc() < now - kept)
        {
            sqlx::query(&format!("DROP TABLE IF EXISTS {}", name_of(*day))).execute(&mut *connection).await?;
        }
        self.looked_for = Some(today);
        Ok(())
    }
}

fn name_of(day: NaiveDate) -> String {
    format!("{PREFIX}{}", day.format("%Y%m%d"))
}

fn day_of(name: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(name.strip_prefix(PREFIX)?, "%Y%m%d").ok()
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::{day_of, name_of};

    #[test]
    fn a_part_is_named_after_its_day() {
        let day = NaiveDate::from_ymd_opt(2026, 2, 3).unwrap();
        assert_eq!(name_of(day), "webhook_attempts_20260203");
        assert_eq!(day_of("webhook_attempts_20260203"), Some(day));
        assert_eq!(day_of("webhook_attempts_default"), None);
    }
}
