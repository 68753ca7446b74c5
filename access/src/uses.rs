//! When each secret of a key was last used, for people who want to know which keys are still needed.
//!
//! The gate notes every use in memory; one task writes what was noted since the time before, in one statement. It is best effort: no event
//! tells it, and what a process noted last is lost when it is killed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Writes the uses of `$1` tenants and `$2` secrets at the times `$3`; none becomes earlier. They come in the order of their keys, so that
/// two processes never wait for each other in a circle.
pub(crate) const WRITE: &str = "
INSERT INTO api_key_uses AS known (tenant_id, secret_id, last_used_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[])
ON CONFLICT (tenant_id, secret_id) DO UPDATE SET last_used_at = EXCLUDED.last_used_at
WHERE known.last_used_at < EXCLUDED.last_used_at";

/// Between two writes.
const INTERVAL: Duration = Duration::from_secs(10);

/// One write may take so long.
const WRITE_LIMIT: Duration = Duration::from_secs(3);

/// So many secrets' uses wait to be written; further secrets are not noted until then.
const WAITING_COUNT_MAX: usize = 20_000;

/// A secret: its tenant and its public id, which is a number of 64 bits.
type SecretKey = (Uuid, u64);

/// Shared by all who note uses in this process; cheap to clone.
#[derive(Clone, Default)]
pub struct Uses(Arc<Mutex<BTreeMap<SecretKey, DateTime<Utc>>>>);

impl fmt::Debug for Uses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Uses").field("waiting", &self.waiting().len()).finish()
    }
}

impl Uses {
    /// Notes that a secret was used; nothing is waited for but other notes.
    pub fn note(&self, tenant_id: Uuid, secret_id: &str, now: DateTime<Utc>) {
        let Ok(number) = u64::from_str_radix(secret_id, 16) else { return };
        put(&mut self.waiting(), (tenant_id, number), now);
    }

    /// Writes every ten seconds until `end`, and once more then.
    pub async fn run(self, pool: PgPool, end: CancellationToken) {
        loop {
            let ended = tokio::select! {
                () = end.cancelled() => true,
                () = sleep(INTERVAL) => false,
            };
            self.write(&pool).await;
            if ended {
                return;
            }
        }
    }

    /// Writes what waits; what could not be written waits again.
    async fn write(&self, pool: &PgPool) {
        let noted = std::mem::take(&mut *self.waiting());
        if noted.is_empty() {
            return;
        }
        let tenants: Vec<Uuid> = noted.keys().map(|(tenant_id, _)| *tenant_id).collect();
        let secrets: Vec<String> = noted.keys().map(|(_, number)| format!("{number:016x}")).collect();
        let times: Vec<DateTime<Utc>> = noted.values().copied().collect();
        let query = sqlx::query(WRITE).bind(tenants).bind(secrets).bind(times).execute(pool);
        match timeout(WRITE_LIMIT, query).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => tracing::debug!(%error, "cannot write when keys were used"),
            Err(_) => tracing::debug!("writing when keys were used was given up after {} s", WRITE_LIMIT.as_secs()),
        }
        let mut waiting = self.waiting();
        noted.into_iter().for_each(|(secret, time)| put(&mut waiting, secret, time));
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<SecretKey, DateTime<Utc>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The later of two times counts.
fn put(waiting: &mut BTreeMap<SecretKey, DateTime<Utc>>, secret: SecretKey, time: DateTime<Utc>) {
    let room = waiting.len() < WAITING_COUNT_MAX;
    match waiting.get_mut(&secret) {
        Some(known) => *known = time.max(*known),
        None if room => drop(waiting.insert(secret, time)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    const TENANT: Uuid = Uuid::from_u128(7);

    fn noon() -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn the_latest_use_of_each_secret_waits_once() {
        let uses = Uses::default();
        for minutes in [1, 5, 3] {
            uses.note(TENANT, "00000000000000ff", noon() + TimeDelta::minutes(minutes));
        }
        uses.note(Uuid::from_u128(8), "00000000000000ff", noon());
        let waiting: Vec<_> = uses.waiting().clone().into_iter().collect();
        let expected = [((TENANT, 255), noon() + TimeDelta::minutes(5)), ((Uuid::from_u128(8), 255), noon())];
        assert_eq!(waiting, expected);
    }

    #[test]
    fn no_more_secrets_wait_than_there_is_room_for() {
        let uses = Uses::default();
        for number in 0..=WAITING_COUNT_MAX {
            uses.note(TENANT, &format!("{number:016x}"), noon());
        }
        assert_eq!(uses.waiting().len(), WAITING_COUNT_MAX);
        uses.note(TENANT, "0000000000000000", noon() + TimeDelta::minutes(1));
        assert_eq!(uses.waiting()[&(TENANT, 0)], noon() + TimeDelta::minutes(1), "a secret that waits is noted still");
    }

    #[tokio::test]
    async fn what_could_not_be_written_waits_again() {
        let options = sqlx::postgres::PgPoolOptions::new().acquire_timeout(Duration::from_millis(50));
        let pool = options.connect_lazy("postgres://127.0.0.1:1/nowhere").unwrap();
        let uses = Uses::default();
        uses.note(TENANT, "00000000000000ff", noon());
        uses.write(&pool).await;
        assert_eq!(uses.waiting().len(), 1);
    }
}
