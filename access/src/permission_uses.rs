//! When each principal last used each permission, for people who want to know which rights nobody needs.
//!
//! The gate notes what it has allowed in memory, each principal and permission once a minute at most; one task writes what was noted since
//! the time before, in one statement. It is best effort, as notes on keys are (`uses`).

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use hub_domain::id::PLATFORM_TENANT;
use hub_http::{Permission, Scope};
use sqlx::PgPool;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{gate::Clock, slice::Subject};

/// Writes the uses in `$1` tenants by principals at home at `$2` with the names `$3` of the permissions `$4` at the times `$5`; none becomes
/// earlier. They come in one order, so that two processes never wait for each other in a circle.
pub(crate) const WRITE: &str = "
INSERT INTO permission_uses AS known (tenant_id, home, principal, permission, last_used_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
ON CONFLICT (tenant_id, home, principal, permission) DO UPDATE SET last_used_at = EXCLUDED.last_used_at
WHERE known.last_used_at < EXCLUDED.last_used_at";

/// Forgets uses before `$1`, at most `$2`. What somebody else is writing is left to him.
pub(crate) const FORGET: &str = "
DELETE FROM permission_uses
WHERE ctid = ANY (ARRAY(SELECT ctid FROM permission_uses WHERE last_used_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))";

/// Since when uses are noted.
pub(crate) const BEGIN: &str = "SELECT recorded_since FROM permission_uses_begin";

/// Of grants, of which the one in place n is to the principal `$3[n]` at home at `$2[n]` and gives the set `$4[n]` of permissions: how many of these were
/// used since `$7` in the tenant `$1`, and when the last one was. Sets are lines of `$5` and `$6`. Grants without any use are left out.
pub(crate) const USED: &str = "
SELECT g.place, count(*) FILTER (WHERE u.last_used_at >= $7), max(u.last_used_at)
FROM unnest($2::text[], $3::text[], $4::integer[]) WITH ORDINALITY AS g (home, principal, permissions, place)
JOIN permission_uses u ON u.tenant_id = $1 AND u.home = g.home AND u.principal = g.principal
JOIN unnest($5::integer[], $6::text[]) AS s (permissions, permission)
  ON s.permissions = g.permissions AND s.permission = u.permission
GROUP BY g.place";

/// The same of the platform's principals, wherever they used them: `$1` principals, `$2` sets, `$3` and `$4` lines of sets, since `$5`.
pub(crate) const USED_ANYWHERE: &str = "
SELECT g.place, count(DISTINCT u.permission) FILTER (WHERE u.last_used_at >= $5), max(u.last_used_at)
FROM unnest($1::text[], $2::integer[]) WITH ORDINALITY AS g (principal, permissions, place)
JOIN permission_uses u ON u.home = 'platform' AND u.principal = g.principal
JOIN unnest($3::integer[], $4::text[]) AS s (permissions, permission)
  ON s.permissions = g.permissions AND s.permission = u.permission
GROUP BY g.place";

/// Between two writes.
const INTERVAL: Duration = Duration::from_secs(10);

/// One write may take so long.
const WRITE_LIMIT: Duration = Duration::from_secs(3);

/// Looking for old uses, for which the whole table is read, may take so long.
const FORGET_LIMIT: Duration = Duration::from_secs(60);

/// A use is not noted when it is so little later than the one noted before.
const NOTE_INTERVAL_MS: i64 = 60_000;

/// So many uses wait to be written; further ones are not noted until then.
const WAITING_COUNT_MAX: usize = 20_000;

/// Uses are kept so long.
pub const KEPT_DAYS: u16 = 400;

/// Old uses are looked for so often.
const FORGET_INTERVAL: Duration = Duration::from_secs(24 * 3_600);

/// So many old uses are forgotten at once.
const FORGET_COUNT_MAX: u32 = 10_000;

/// A principal and what it used where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    tenant_id: Uuid,
    home: &'static str,
    principal: String,
    permission: Permission,
}

type Waiting = BTreeMap<Use, DateTime<Utc>>;

/// When the last use of one principal and permission was noted.
#[derive(Debug)]
pub(crate) struct Noted(AtomicI64);

impl Default for Noted {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Noted {
    /// Whether a use at `now` is to be noted; of several who ask at the same time one is told so.
    fn due(&self, now: DateTime<Utc>) -> bool {
        let (now, before) = (now.timestamp_millis(), self.0.load(Ordering::Relaxed));
        now.saturating_sub(before) >= NOTE_INTERVAL_MS
            && self.0.compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// What a grant gives, and to whom, as reports ask for its uses.
#[derive(Debug)]
pub(crate) struct GrantUses<'a> {
    /// Where the principal is at home.
    pub(crate) scope: Scope,
    pub(crate) principal: &'a str,
    /// A place in the list of sets.
    pub(crate) permissions: usize,
}

/// How much of a grant was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// So many of its permissions in the time asked for.
    pub(crate) permission_count: i64,
    /// When one of them was used last, whenever that was.
    pub(crate) last_at: Option<DateTime<Utc>>,
}

/// Shared by all who note or read uses in this process; cheap to clone.
#[derive(Clone)]
pub struct PermissionUses {
    pool: PgPool,
    waiting: Arc<Mutex<Waiting>>,
}

impl fmt::Debug for PermissionUses {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PermissionUses").field("waiting", &self.waiting().len()).finish_non_exhaustive()
    }
}

impl PermissionUses {
    /// Written to and read from this database.
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool, waiting: Arc::default() }
    }

    /// Notes that a principal may do something and does it, unless that was noted a moment ago.
    pub(crate) fn note(&self, noted: &Noted, subject: Subject<'_>, permission: Permission, now: DateTime<Utc>) {
        if noted.due(now) {
            let Subject { principal, scope, tenant_id } = subject;
            let usage = Use { tenant_id, home: home_of(scope), principal: principal.to_owned(), permission };
            put(&mut self.waiting(), usage, now);
        }
    }

    /// Writes every ten seconds until `end`, and once more then; forgets old uses at the beginning and once a day.
    pub async fn run(self, clock: Clock, end: CancellationToken) {
        let mut forget_at = Instant::now();
        loop {
            if Instant::now() >= forget_at {
                let forgotten = tokio::select! {
                    forgotten = self.forget(clock()) => forgotten,
                    () = end.cancelled() => 0,
                };
                // What is left over is for the next time, in ten seconds.
                if forgotten < u64::from(FORGET_COUNT_MAX) {
                    forget_at = Instant::now() + FORGET_INTERVAL;
                }
            }
            let ended = tokio::select! {
                () = end.cancelled() => true,
                () = sleep(INTERVAL) => false,
            };
            self.write().await;
            if ended {
                return;
            }
        }
    }

    /// Writes what waits; what could not be written waits again.
    async fn write(&self) {
        let noted = std::mem::take(&mut *self.waiting());
        if noted.is_empty() {
            return;
        }
        let query = sqlx::query(WRITE)
            .bind(noted.keys().map(|usage| usage.tenant_id).collect::<Vec<_>>())
            .bind(noted.keys().map(|usage| usage.home).collect::<Vec<_>>())
            .bind(noted.keys().map(|usage| usage.principal.clone()).collect::<Vec<_>>())
            .bind(noted.keys().map(|usage| usage.permission.to_string()).collect::<Vec<_>>())
            .bind(noted.values().copied().collect::<Vec<_>>());
        match timeout(WRITE_LIMIT, query.execute(&self.pool)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => tracing::debug!(%error, "cannot write when permissions were used"),
            Err(_) => {
                tracing::debug!("writing when permissions were used was given up after {} s", WRITE_LIMIT.as_secs());
            }
        }
        let mut waiting = self.waiting();
        noted.into_iter().for_each(|(usage, time)| put(&mut waiting, usage, time));
    }

    /// Forgets what is too old, and says how much that was.
    async fn forget(&self, now: DateTime<Utc>) -> u64 {
        let query = sqlx::query(FORGET).bind(kept_since(now)).bind(i64::from(FORGET_COUNT_MAX));
        match timeout(FORGET_LIMIT, query.execute(&self.pool)).await {
            Ok(Ok(done)) => done.rows_affected(),
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot forget when permissions were used");
                0
            }
            Err(_) => {
                tracing::debug!("forgetting old uses was given up after {} s", FORGET_LIMIT.as_secs());
                0
            }
        }
    }

    /// What was used of each grant of a tenant since then, and since when uses are recorded. The platform's own grants reach into every
    /// tenant, so all of its principals' uses count there.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn of_grants(
        &self,
        tenant_id: Uuid,
        grants: &[GrantUses<'_>],
        sets: &[Vec<Permission>],
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(Vec<Used>, DateTime<Utc>), sqlx::Error> {
        let everywhere = tenant_id == PLATFORM_TENANT.0;
        let homes: Vec<&str> = grants.iter().map(|grant| home_of(grant.scope)).collect();
        let principals: Vec<&str> = grants.iter().map(|grant| grant.principal).collect();
        let of_grants: Vec<i32> = grants.iter().map(|grant| place(grant.permissions)).collect();
        let lines = || sets.iter().enumerate().flat_map(|(set, all)| all.iter().map(move |one| (place(set), one)));
        let (of_sets, permissions): (Vec<i32>, Vec<String>) = lines().map(|(set, one)| (set, one.to_string())).unzip();
        let query = if everywhere {
            sqlx::query_as(USED_ANYWHERE).bind(principals)
        } else {
            sqlx::query_as(USED).bind(tenant_id).bind(homes).bind(principals)
        };
        // Planned for these lists each time: a plan for lists of any length is some hundred times slower on long ones.
        let query = query.bind(of_grants).bind(of_sets).bind(permissions).bind(since).persistent(false);
        let mut transaction = self.pool.begin_with(words(tenant_id, everywhere)).await?;
        let begin: DateTime<Utc> = sqlx::query_scalar(BEGIN).fetch_one(&mut *transaction).await?;
        let rows: Vec<(i64, i64, DateTime<Utc>)> = query.fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        let mut used = vec![Used::default(); grants.len()];
        for (place, permission_count, last_at) in rows {
            let place = usize::try_from(place - 1).expect("places count from one");
            used[place] = Used { permission_count, last_at: Some(last_at) };
        }
        Ok((used, begin.max(kept_since(now))))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kept_since(now: DateTime<Utc>) -> DateTime<Utc> {
    now - TimeDelta::days(i64::from(KEPT_DAYS))
}

/// Gives up the rights of the login for those of one tenant's queries, or of the platform's. A setting takes no parameters; an id as text
/// is hexadecimal digits and hyphens.
fn words(tenant_id: Uuid, everywhere: bool) -> String {
    if everywhere {
        return "BEGIN READ ONLY; SET LOCAL ROLE hub_platform".to_owned();
    }
    format!("BEGIN READ ONLY; SET LOCAL ROLE hub_query; SET LOCAL hub.tenant_id = '{tenant_id}'")
}

/// As the table names it, and as `Home` does.
fn home_of(scope: Scope) -> &'static str {
    match scope {
        Scope::Platform => "platform",
        Scope::Tenant(_) => "tenant",
    }
}

fn place(place: usize) -> i32 {
    i32::try_from(place).expect("there are fewer sets than grants, whose number is bounded")
}

/// The later of two times counts.
fn put(waiting: &mut Waiting, usage: Use, time: DateTime<Utc>) {
    let room = waiting.len() < WAITING_COUNT_MAX;
    match waiting.get_mut(&usage) {
        Some(known) => *known = time.max(*known),
        None if room => drop(waiting.insert(usage, time)),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: Uuid = Uuid::from_u128(7);

    fn noon() -> DateTime<Utc> {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn reading() -> Permission {
        Permission::parse("webhook:read").unwrap()
    }

    fn subject(principal: &str, scope: Scope) -> Subject<'_> {
        Subject { principal, scope, tenant_id: TENANT }
    }

    fn unreachable() -> PermissionUses {
        let options = sqlx::postgres::PgPoolOptions::new().acquire_timeout(Duration::from_millis(50));
        PermissionUses::new(options.connect_lazy("postgres://127.0.0.1:1/nowhere").unwrap())
    }

    #[test]
    fn a_use_is_due_once_a_minute() {
        let noted = Noted::default();
        let seconds = [0, 1, 59, 60, 61, 119, 121];
        let due = seconds.map(|seconds| noted.due(noon() + TimeDelta::seconds(seconds)));
        assert_eq!(due, [true, false, false, true, false, false, true]);
        assert!(!noted.due(noon()), "a clock that was set back notes nothing");
    }

    #[tokio::test]
    async fn the_latest_use_of_each_principal_and_permission_waits_once() {
        let (uses, own) = (unreachable(), Scope::Tenant(TENANT));
        for minutes in [1, 5, 3] {
            let now = noon() + TimeDelta::minutes(minutes);
            uses.note(&Noted::default(), subject("user:ada", own), reading(), now);
        }
        uses.note(&Noted::default(), subject("user:ada", Scope::Platform), reading(), noon());
        uses.note(&Noted::default(), subject("user:bob", own), reading(), noon());
        let waiting: Vec<_> = uses.waiting().clone().into_iter().collect();
        let of = |home, principal: &str| Use {
            tenant_id: TENANT,
            home,
            principal: principal.to_owned(),
            permission: reading(),
        };
        let later = noon() + TimeDelta::minutes(5);
        let expected = [
            (of("platform", "user:ada"), noon()),
            (of("tenant", "user:ada"), later),
            (of("tenant", "user:bob"), noon()),
        ];
        assert_eq!(waiting, expected);
    }

    #[tokio::test]
    async fn what_was_noted_a_moment_ago_waits_for_nobody() {
        let (uses, noted) = (unreachable(), Noted::default());
        uses.note(&noted, subject("user:ada", Scope::Platform), reading(), noon());
        let others = uses.waiting();
        // This would not come back if it wanted the list.
        uses.note(&noted, subject("user:ada", Scope::Platform), reading(), noon() + TimeDelta::seconds(59));
        assert_eq!(others.len(), 1);
    }

    #[tokio::test]
    async fn no_more_uses_wait_than_there_is_room_for() {
        let uses = unreachable();
        for number in 0..=WAITING_COUNT_MAX {
            uses.note(&Noted::default(), subject(&format!("user:{number}"), Scope::Platform), reading(), noon());
        }
        assert_eq!(uses.waiting().len(), WAITING_COUNT_MAX);
    }

    #[tokio::test]
    async fn what_could_not_be_written_waits_again() {
        let uses = unreachable();
        uses.note(&Noted::default(), subject("user:ada", Scope::Platform), reading(), noon());
        uses.write().await;
        assert_eq!(uses.waiting().len(), 1);
        assert_eq!(uses.forget(noon()).await, 0);
    }
}
