//! The keys in PostgreSQL, each wrapped by another one; no key itself is ever in a database.

use std::collections::HashMap;

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use sqlx::{
    PgPool, Row as _,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

use crate::{
    ClassKey, DestroyedList, KeyKind, KeyState, OPENED_COUNT_MAX, Opened, Place, RootKey, SealedText, VaultError,
    destroyed::Destroyed,
    key::{Key, Owner},
};

/// The schema of the vault's tables, in whichever database they are.
pub const SCHEMA: &str = "vault";

/// The vault's tables.
pub static MIGRATOR: Migrator = sqlx::migrate!("../migrations/vault");

/// Connections that one process opens to the vault; each is held for a statement or two.
const CONNECTIONS_MAX: u32 = 4;

/// One statement may take so long.
const STATEMENT_LIMIT_MS: &str = "5000";

/// How long somebody waits for a connection.
const ACQUIRE_LIMIT: std::time::Duration = std::time::Duration::from_secs(5);

/// A subject that many make at once is found after so many attempts.
const ATTEMPT_COUNT_MAX: u32 = 5;

const MAKE_SCHEMA: &str = "CREATE SCHEMA IF NOT EXISTS vault";

const CLAIM_ROOT: &str = "INSERT INTO roots (root_sha256) VALUES ($1) ON CONFLICT (only_row) DO NOTHING";

const CLAIMED_ROOT: &str = "SELECT root_sha256 FROM roots";

const MAKE_TENANT_KEY: &str =
    "INSERT INTO tenant_keys (tenant_id, wrapped, created_at) VALUES ($1, $2, $3) ON CONFLICT (tenant_id) DO NOTHING";

const TENANT_KEY: &str = "SELECT wrapped FROM tenant_keys WHERE tenant_id = $1";

const FIND: &str = "
SELECT k.key_id, k.wrapped
FROM lookups l
JOIN keys k ON k.key_id = l.key_id
WHERE l.tenant_id = $1 AND l.kind = $2 AND l.digest = $3 AND k.wrapped IS NOT NULL";

const MAKE_KEY: &str = "
INSERT INTO keys (key_id, tenant_id, class, period, wrapped, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant_id, class, period) DO NOTHING";

const MAKE_LOOKUP: &str = "
INSERT INTO lookups (tenant_id, kind, digest, key_id)
VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant_id, kind, digest) DO NOTHING";

const CLASS_KEY: &str = "SELECT key_id, wrapped FROM keys WHERE tenant_id = $1 AND class = $2 AND period = $3";

const CLASS_KEYS_BEFORE: &str = "
SELECT key_id, period
FROM keys
WHERE tenant_id = $1 AND class = $2 AND period < $3 AND wrapped IS NOT NULL
ORDER BY period
LIMIT $4";

const KEYS: &str = "
SELECT k.tenant_id, k.key_id, k.wrapped, t.wrapped AS tenant_wrapped
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, key_id)
JOIN keys k ON k.tenant_id = wanted.tenant_id AND k.key_id = wanted.key_id
JOIN tenant_keys t ON t.tenant_id = k.tenant_id";

const KEY_STATE: &str = "
SELECT k.class, k.period, k.created_at, coalesce(k.destroyed_at, t.destroyed_at) AS destroyed_at
FROM keys k
JOIN tenant_keys t ON t.tenant_id = k.tenant_id
WHERE k.tenant_id = $1 AND k.key_id = $2";

const DESTROY_KEY: &str =
    "UPDATE keys SET wrapped = NULL, destroyed_at = $3 WHERE tenant_id = $1 AND key_id = $2 AND wrapped IS NOT NULL";

const FORGET_KEY: &str = "DELETE FROM lookups WHERE key_id = $1";

const DESTROY_TENANT_KEY: &str = "
INSERT INTO tenant_keys AS t (tenant_id, created_at, destroyed_at)
VALUES ($1, $2, $2)
ON CONFLICT (tenant_id) DO UPDATE SET wrapped = NULL, destroyed_at = EXCLUDED.destroyed_at WHERE t.wrapped IS NOT NULL";

const FORGET_TENANT: &str = "DELETE FROM lookups WHERE tenant_id = $1";

/// Every statement of this room, to be prepared by a test.
pub const QUERIES: &[&str] = &[
    CLAIM_ROOT,
    CLAIMED_ROOT,
    MAKE_TENANT_KEY,
    TENANT_KEY,
    FIND,
    MAKE_KEY,
    MAKE_LOOKUP,
    CLASS_KEY,
    CLASS_KEYS_BEFORE,
    KEYS,
    KEY_STATE,
    DESTROY_KEY,
    FORGET_KEY,
    DESTROY_TENANT_KEY,
    FORGET_TENANT,
];

/// What a mail address is found by; the kind of its look-ups.
const EMAIL: &str = "email";

/// The keys of all tenants; cheap to clone.
#[derive(Debug, Clone)]
pub struct Vault {
    pool: PgPool,
    root: RootKey,
    destroyed: Option<DestroyedList>,
}

/// A key that texts can be sealed with.
pub struct SealingKey {
    key_id: Uuid,
    key: Key,
}

impl Vault {
    /// The vault in the schema [`SCHEMA`] of this database, connected to when it is needed. Without a list of destroyed keys a restored
    /// backup brings keys back.
    #[must_use]
    pub fn new(options: PgConnectOptions, root: RootKey, destroyed: Option<DestroyedList>) -> Self {
        let options = options
            .application_name("hub-vault")
            .options([("search_path", SCHEMA), ("statement_timeout", STATEMENT_LIMIT_MS)]);
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(ACQUIRE_LIMIT)
            .connect_lazy_with(options);
        Self { pool, root, destroyed }
    }

    /// Makes the tables, sees that the root key is the one they were made with, and destroys again whatever is on the list: to be done before
    /// anything is served.
    ///
    /// # Errors
    /// When the database does not answer, the root key is another one, or the list cannot be read.
    pub async fn prepare(&self) -> Result<(), VaultError> {
        // Two that make a schema at once can disturb each other in spite of IF NOT EXISTS; the second finds it.
        if sqlx::query(MAKE_SCHEMA).execute(&self.pool).await.is_err() {
            sqlx::query(MAKE_SCHEMA).execute(&self.pool).await?;
        }
        MIGRATOR.run(&self.pool).await?;
        let fingerprint = self.root.fingerprint();
        sqlx::query(CLAIM_ROOT).bind(fingerprint.as_slice()).execute(&self.pool).await?;
        let claimed: Vec<u8> = sqlx::query_scalar(CLAIMED_ROOT).fetch_one(&self.pool).await?;
        if claimed != fingerprint {
            return Err(VaultError::AnotherRoot);
        }
        self.destroy_listed().await
    }

    /// The key of whoever has this mail address in the tenant, made when there is none.
    ///
    /// # Errors
    /// When the vault does not answer, or the tenant's key is destroyed.
    pub async fn key_by_email(
        &self,
        tenant_id: Uuid,
        email: &str,
        now: DateTime<Utc>,
    ) -> Result<SealingKey, VaultError> {
        let tenant_key = self.tenant_key(tenant_id, now).await?;
        let digest = digest(&tenant_key, email);
        for _ in 0..ATTEMPT_COUNT_MAX {
            if let Some((key_id, wrapped)) = self.find(tenant_id, &digest).await? {
                let key = tenant_key.unwrap(&wrapped, Owner::Key { tenant_id, key_id })?;
                return Ok(SealingKey { key_id, key });
            }
            let (key_id, key) = (Uuid::now_v7(), Key::generate());
            let wrapped = tenant_key.wrap(&key, Owner::Key { tenant_id, key_id });
            let mut transaction = self.pool.begin().await?;
            make_key(tenant_id, key_id, None, wrapped, now).execute(&mut *transaction).await?;
            let made = sqlx::query(MAKE_LOOKUP).bind(tenant_id).bind(EMAIL).bind(digest.as_slice()).bind(key_id);
            if made.execute(&mut *transaction).await?.rows_affected() == 1 {
                transaction.commit().await?;
                return Ok(SealingKey { key_id, key });
            }
            transaction.rollback().await?;
        }
        Err(VaultError::Corrupt("a look-up leads to no key".to_owned()))
    }

    /// The key of the class's events in the month of `now`, made when there is none.
    ///
    /// # Errors
    /// When the vault does not answer, or the tenant's key is destroyed.
    pub async fn class_key(&self, tenant_id: Uuid, class: &str, now: DateTime<Utc>) -> Result<SealingKey, VaultError> {
        let tenant_key = self.tenant_key(tenant_id, now).await?;
        let period = now.date_naive().with_day(1).expect("every month has a first day");
        let wrapped = |key: &Key, key_id| tenant_key.wrap(key, Owner::Key { tenant_id, key_id });
        let find = || sqlx::query(CLASS_KEY).bind(tenant_id).bind(class).bind(period).fetch_optional(&self.pool);
        let row = match find().await? {
            Some(row) => row,
            None => {
                let (key_id, key) = (Uuid::now_v7(), Key::generate());
                let made = make_key(tenant_id, key_id, Some((class, period)), wrapped(&key, key_id), now);
                made.execute(&self.pool).await?;
                find().await?.ok_or_else(|| VaultError::Corrupt("a key that was made is not there".to_owned()))?
            }
        };
        let (key_id, wrapped): (Uuid, Option<Vec<u8>>) = (row.try_get("key_id")?, row.try_get("wrapped")?);
        let wrapped = wrapped.ok_or_else(|| VaultError::Corrupt("the key of this month is destroyed".to_owned()))?;
        Ok(SealingKey { key_id, key: tenant_key.unwrap(&wrapped, Owner::Key { tenant_id, key_id })? })
    }

    /// What these texts say, in their order.
    ///
    /// # Errors
    /// When the vault does not answer, a text is not where it was sealed for, or there are more than [`OPENED_COUNT_MAX`].
    pub async fn open(&self, texts: &[(Place<'_>, &SealedText)]) -> Result<Vec<Opened>, VaultError> {
        if texts.len() > OPENED_COUNT_MAX {
            return Err(VaultError::TooMany);
        }
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) =
            texts.iter().map(|(place, text)| (place.tenant_id, text.key_id)).unzip();
        let rows = sqlx::query(KEYS).bind(&tenants).bind(&ids).fetch_all(&self.pool).await?;
        let mut keys = HashMap::with_capacity(rows.len());
        for row in rows {
            let (tenant_id, key_id): (Uuid, Uuid) = (row.try_get("tenant_id")?, row.try_get("key_id")?);
            let wrapped: Option<Vec<u8>> = row.try_get("wrapped")?;
            let tenant_wrapped: Option<Vec<u8>> = row.try_get("tenant_wrapped")?;
            let key = match (wrapped, tenant_wrapped) {
                (Some(wrapped), Some(tenant_wrapped)) => {
                    let tenant_key = self.root.key().unwrap(&tenant_wrapped, Owner::Tenant(tenant_id))?;
                    Some(tenant_key.unwrap(&wrapped, Owner::Key { tenant_id, key_id })?)
                }
                _ => None,
            };
            keys.insert((tenant_id, key_id), key);
        }
        let open = |(place, text): &(Place<'_>, &SealedText)| match keys.get(&(place.tenant_id, text.key_id)) {
            Some(Some(key)) => key.open(&text.sealed, place, text.key_id).map(Opened::Text),
            Some(None) => Ok(Opened::Erased),
            None => Ok(Opened::Missing),
        };
        texts.iter().map(open).collect()
    }

    /// Who has this mail address in the tenant, if anybody whose key is not destroyed.
    ///
    /// # Errors
    /// When the vault does not answer.
    pub async fn subject_by_email(&self, tenant_id: Uuid, email: &str) -> Result<Option<Uuid>, VaultError> {
        let Some(tenant_key) = self.known_tenant_key(tenant_id).await?.flatten() else { return Ok(None) };
        Ok(self.find(tenant_id, &digest(&tenant_key, email)).await?.map(|(key_id, _)| key_id))
    }

    /// What is known of a key; nothing when the tenant has none of this id.
    ///
    /// # Errors
    /// When the vault does not answer.
    pub async fn key_state(&self, tenant_id: Uuid, key_id: Uuid) -> Result<Option<KeyState>, VaultError> {
        let row = sqlx::query(KEY_STATE).bind(tenant_id).bind(key_id).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let (class, period): (Option<String>, Option<NaiveDate>) = (row.try_get("class")?, row.try_get("period")?);
        let kind = match (class, period) {
            (Some(name), Some(period)) => KeyKind::Class { name, period },
            _ => KeyKind::Subject,
        };
        let (created_at, destroyed_at) = (row.try_get("created_at")?, row.try_get("destroyed_at")?);
        Ok(Some(KeyState { kind, created_at, destroyed_at }))
    }

    /// Whether there is a key of the tenant that is not destroyed.
    ///
    /// # Errors
    /// When the vault does not answer.
    pub async fn tenant_key_live(&self, tenant_id: Uuid) -> Result<bool, VaultError> {
        Ok(self.known_tenant_key(tenant_id).await?.flatten().is_some())
    }

    /// The keys of a class for the months before `period` that are not destroyed, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the vault does not answer.
    pub async fn class_keys_before(
        &self,
        tenant_id: Uuid,
        class: &str,
        period: NaiveDate,
        limit: i64,
    ) -> Result<Vec<ClassKey>, VaultError> {
        let query = sqlx::query(CLASS_KEYS_BEFORE).bind(tenant_id).bind(class).bind(period).bind(limit);
        let rows = query.fetch_all(&self.pool).await?;
        let class_key = |row: &sqlx::postgres::PgRow| {
            Ok(ClassKey { key_id: row.try_get("key_id")?, class: class.to_owned(), period: row.try_get("period")? })
        };
        rows.iter().map(class_key).collect()
    }

    /// Destroys the key of a subject or of a class's month, and every look-up that leads to it. It is on the list before it is destroyed. Doing
    /// it again changes nothing.
    ///
    /// # Errors
    /// When the list cannot be written or the vault does not answer; it can be tried again.
    pub async fn destroy_key(&self, tenant_id: Uuid, key_id: Uuid, now: DateTime<Utc>) -> Result<(), VaultError> {
        let destroyed = Destroyed { at: now, tenant_id, key_id: Some(key_id) };
        self.list(destroyed).await?;
        self.destroy(destroyed).await
    }

    /// Destroys the tenant's key, and with it everything that is sealed for the tenant. Doing it again changes nothing.
    ///
    /// # Errors
    /// As [`destroy_key`](Self::destroy_key).
    pub async fn destroy_tenant(&self, tenant_id: Uuid, now: DateTime<Utc>) -> Result<(), VaultError> {
        let destroyed = Destroyed { at: now, tenant_id, key_id: None };
        self.list(destroyed).await?;
        self.destroy(destroyed).await
    }

    async fn list(&self, destroyed: Destroyed) -> Result<(), VaultError> {
        let Some(list) = self.destroyed.clone() else { return Ok(()) };
        let added = tokio::task::spawn_blocking(move || list.add(destroyed)).await;
        Ok(added.map_err(std::io::Error::other)??)
    }

    async fn destroy_listed(&self) -> Result<(), VaultError> {
        let Some(list) = self.destroyed.clone() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            list.read(|destroyed| all.push(destroyed)).map(|()| all)
        });
        for destroyed in read.await.map_err(std::io::Error::other)?? {
            self.destroy(destroyed).await?;
        }
        Ok(())
    }

    async fn destroy(&self, Destroyed { at, tenant_id, key_id }: Destroyed) -> Result<(), VaultError> {
        let mut transaction = self.pool.begin().await?;
        let changed = match key_id {
            Some(key_id) => {
                sqlx::query(FORGET_KEY).bind(key_id).execute(&mut *transaction).await?;
                sqlx::query(DESTROY_KEY).bind(tenant_id).bind(key_id).bind(at).execute(&mut *transaction).await?
            }
            None => {
                sqlx::query(FORGET_TENANT).bind(tenant_id).execute(&mut *transaction).await?;
                sqlx::query(DESTROY_TENANT_KEY).bind(tenant_id).bind(at).execute(&mut *transaction).await?
            }
        };
        transaction.commit().await?;
        if changed.rows_affected() > 0 {
            tracing::info!(%tenant_id, ?key_id, "a key of personal data was destroyed");
        }
        Ok(())
    }

    async fn find(&self, tenant_id: Uuid, digest: &[u8; 32]) -> Result<Option<(Uuid, Vec<u8>)>, VaultError> {
        let query = sqlx::query_as(FIND).bind(tenant_id).bind(EMAIL).bind(digest.as_slice());
        Ok(query.fetch_optional(&self.pool).await?)
    }

    /// The tenant's key, made when there is none.
    async fn tenant_key(&self, tenant_id: Uuid, now: DateTime<Utc>) -> Result<Key, VaultError> {
        if let Some(known) = self.known_tenant_key(tenant_id).await? {
            return known.ok_or(VaultError::TenantErased);
        }
        let wrapped = self.root.key().wrap(&Key::generate(), Owner::Tenant(tenant_id));
        sqlx::query(MAKE_TENANT_KEY).bind(tenant_id).bind(wrapped).bind(now).execute(&self.pool).await?;
        // Another process may have been faster: what is in the table counts.
        self.known_tenant_key(tenant_id).await?.flatten().ok_or(VaultError::TenantErased)
    }

    /// The tenant's key: nothing when there is none, and nothing inside when it is destroyed.
    async fn known_tenant_key(&self, tenant_id: Uuid) -> Result<Option<Option<Key>>, VaultError> {
        let row: Option<Option<Vec<u8>>> =
            sqlx::query_scalar(TENANT_KEY).bind(tenant_id).fetch_optional(&self.pool).await?;
        let unwrap = |wrapped: Vec<u8>| self.root.key().unwrap(&wrapped, Owner::Tenant(tenant_id));
        row.map(|wrapped| wrapped.map(unwrap).transpose()).transpose()
    }
}

impl SealingKey {
    /// The key's id, which is the subject's.
    #[must_use]
    pub const fn key_id(&self) -> Uuid {
        self.key_id
    }

    /// The text sealed for its place.
    #[must_use]
    pub fn seal(&self, text: &str, place: &Place<'_>) -> SealedText {
        SealedText { key_id: self.key_id, sealed: self.key.seal(text, place, self.key_id) }
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SealingKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// A mail address is found however its letters were written.
fn digest(tenant_key: &Key, email: &str) -> [u8; 32] {
    tenant_key.digest(EMAIL, &email.trim().to_lowercase())
}

fn make_key(
    tenant_id: Uuid,
    key_id: Uuid,
    class: Option<(&str, NaiveDate)>,
    wrapped: Vec<u8>,
    now: DateTime<Utc>,
) -> sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let (class, period) = class.unzip();
    sqlx::query(MAKE_KEY)
        .bind(key_id)
        .bind(tenant_id)
        .bind(class.map(str::to_owned))
        .bind(period)
        .bind(wrapped)
        .bind(now)
}
