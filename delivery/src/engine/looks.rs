//! When endpoints are looked at in the database: one time each, the soonest that was asked for.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The times, on the platform's clock. Whoever looks plans the next look himself.
#[derive(Debug, Default)]
pub(super) struct Looks {
    by_time: BTreeSet<(DateTime<Utc>, Uuid)>,
    by_webhook: HashMap<Uuid, DateTime<Utc>>,
}

impl Looks {
    /// Has an endpoint looked at then, unless that is planned for sooner.
    pub(super) fn plan(&mut self, webhook_id: Uuid, at: DateTime<Utc>) {
        if let Some(planned) = self.by_webhook.get(&webhook_id) {
            if *planned <= at {
                return;
            }
            self.by_time.remove(&(*planned, webhook_id));
        }
        self.by_webhook.insert(webhook_id, at);
        self.by_time.insert((at, webhook_id));
    }

    /// Takes the one whose time came first, if any time has come.
    pub(super) fn take(&mut self, now: DateTime<Utc>) -> Option<Uuid> {
        self.next().filter(|at| *at <= now)?;
        let (_, webhook_id) = self.by_time.pop_first()?;
        self.by_webhook.remove(&webhook_id);
        Some(webhook_id)
    }

    /// When the next look is.
    pub(super) fn next(&self) -> Option<DateTime<Utc>> {
        self.by_time.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use uuid::Uuid;

    use super::Looks;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    #[test]
    fn the_soonest_time_counts_and_each_endpoint_has_one() {
        let [one, other] = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let mut looks = Looks::default();
        for (webhook_id, seconds) in [(one, 20), (one, 10), (one, 30), (other, 15)] {
            looks.plan(webhook_id, at(seconds));
        }
        assert_eq!((looks.take(at(9)), looks.next()), (None, Some(at(10))));
        assert_eq!((looks.take(at(60)), looks.take(at(60)), looks.take(at(60))), (Some(one), Some(other), None));
        looks.plan(one, at(70));
        assert_eq!(looks.next(), Some(at(70)));
    }
}
