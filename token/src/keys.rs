//! The keys of providers, kept: fetched when first needed, refreshed behind the requests that use them, bounded in every way.
//!
//! Each process asks a provider at most once a minute, for whatever reason: keys that are not there yet, keys that have
//! become old, a `kid` that is not among them, an attempt that failed. Whoever comes in between gets what is at hand, or a
//! refusal. A fetch is a task of its own, so a client that hangs up neither ends it nor wastes the minute; those who need
//! its result wait for the same one. The time is that of the request, so tests move it.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, StatusCode, header};
use tokio::sync::{Mutex, OwnedMutexGuard};
use url::Url;
use uuid::Uuid;

use crate::{
    jwk::{self, KeySet, PublicKey},
    outbound::{self, Limits, Outbound, Request},
    refused::Refused,
    verify::Provider,
};

/// Least time between two questions to one provider.
const ASK_INTERVAL: TimeDelta = TimeDelta::seconds(60);

/// For how long keys are fresh: what `Cache-Control: max-age` says, within bounds.
const FRESH_DEFAULT: TimeDelta = TimeDelta::minutes(15);
const FRESH_MIN: TimeDelta = TimeDelta::minutes(5);
const FRESH_MAX: TimeDelta = TimeDelta::hours(24);

/// For how long keys that are no longer fresh are used while their provider is away.
const STALE_MAX: TimeDelta = TimeDelta::hours(24);

/// What a provider's answer may take and have.
const ANSWER_LIMITS: Limits = Limits { time: Duration::from_secs(5), body_bytes_max: 64 * 1024 };

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Most providers whose keys are kept at a time; the one that was not needed for longest makes room. At least 1.
    pub providers_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { providers_max: 1024 }
    }
}

/// The keys of many providers. Cloning it shares them.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    outbound: Outbound,
    settings: Settings,
    entries: RwLock<HashMap<EntryId, Arc<Entry>>>,
}

/// A registration and its URL: a provider that moves starts anew, and none ever sees another's keys.
#[derive(Clone, PartialEq, Eq, Hash)]
struct EntryId {
    provider_id: Uuid,
    jwks_uri: Url,
}

struct Entry {
    state: RwLock<State>,
    /// Held by whoever asks the provider; others wait for it to learn the result.
    turn: Arc<Mutex<()>>,
    /// When it was last needed, in milliseconds since 1970.
    used_at: AtomicI64,
}

#[derive(Clone, Default)]
struct State {
    kept: Option<Kept>,
    /// When the provider was last asked, whatever came of it.
    asked_at: Option<DateTime<Utc>>,
}

#[derive(Clone)]
struct Kept {
    keys: Arc<KeySet>,
    fresh_until: DateTime<Utc>,
}

/// What is at hand for a `kid`.
enum AtHand {
    /// The key; `old` if its set should be fetched again.
    Key { key: Arc<PublicKey>, old: bool },
    /// Keys, and none of this name.
    NoSuchKey,
    /// No keys, or none that may still be used.
    NoKeys,
}

/// Why a fetch came to nothing. Only logged.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Outbound(#[from] outbound::Error),
    #[error("the answer has status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    KeySet(#[from] jwk::Error),
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl Keys {
    /// Keys that are fetched through `outbound`.
    pub fn new(outbound: Outbound, settings: Settings) -> Self {
        Self { inner: Arc::new(Inner { outbound, settings, entries: RwLock::default() }) }
    }

    /// The key that `provider` publishes as `key_id`.
    pub(crate) async fn key(
        &self,
        provider: &Provider,
        key_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Arc<PublicKey>, Refused> {
        let id = EntryId { provider_id: provider.id, jwks_uri: provider.jwks_uri.clone() };
        let entry = self.entry(&id, now);
        if let AtHand::Key { key, old } = entry.at_hand(key_id, now) {
            if old
                && let Ok(turn) = entry.turn.clone().try_lock_owned()
                && entry.ask(now)
            {
                tokio::spawn(refresh(self.inner.outbound.clone(), id, entry, now, turn));
            }
            return Ok(key);
        }
        // Whoever had to wait for the turn may not ask any more, and finds below what has been brought meanwhile.
        let turn = entry.turn.clone().lock_owned().await;
        if entry.ask(now) {
            // A task, so that it ends whether or not this request is still there to see it.
            let task = tokio::spawn(refresh(self.inner.outbound.clone(), id, entry.clone(), now, turn));
            if let Err(error) = task.await {
                tracing::error!(%error, provider = %provider.id, "fetching the keys of an identity provider ended early");
            }
        }
        match entry.at_hand(key_id, now) {
            AtHand::Key { key, .. } => Ok(key),
            AtHand::NoSuchKey => Err(Refused::UnknownKey),
            AtHand::NoKeys => Err(Refused::KeysUnavailable),
        }
    }

    fn entry(&self, id: &EntryId, now: DateTime<Utc>) -> Arc<Entry> {
        let used_at = now.timestamp_millis();
        let entries = self.inner.entries.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(id) {
            entry.used_at.fetch_max(used_at, Ordering::Relaxed);
            return entry.clone();
        }
        drop(entries);
        let mut entries = self.inner.entries.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.inner.settings.providers_max && !entries.contains_key(id) {
            let idle = entries.iter().min_by_key(|(_, entry)| entry.used_at.load(Ordering::Relaxed));
            if let Some(idle) = idle.map(|(id, _)| id.clone()) {
                entries.remove(&idle);
            }
        }
        entries.entry(id.clone()).or_insert_with(|| Arc::new(Entry::new(used_at))).clone()
    }
}

impl Entry {
    fn new(used_at: i64) -> Self {
        Self { state: RwLock::default(), turn: Arc::default(), used_at: AtomicI64::new(used_at) }
    }

    fn at_hand(&self, key_id: &str, now: DateTime<Utc>) -> AtHand {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match &state.kept {
            Some(kept) if now < kept.fresh_until + STALE_MAX => match kept.keys.get(key_id) {
                Some(key) => AtHand::Key { key: key.clone(), old: now >= kept.fresh_until },
                None => AtHand::NoSuchKey,
            },
            Some(_) | None => AtHand::NoKeys,
        }
    }

    /// Whether the provider may be asked now, which counts as having asked it.
    fn ask(&self, now: DateTime<Utc>) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // The distance, since a clock that was set back must not stop the asking until it has caught up.
        if state.asked_at.is_some_and(|asked_at| (now - asked_at).abs() < ASK_INTERVAL) {
            return false;
        }
        state.asked_at = Some(now);
        true
    }

    fn keep(&self, kept: Kept) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).kept = Some(kept);
    }
}

/// Asks the provider and keeps what it answers; a failure leaves what is there, for as long as it may be used.
async fn refresh(outbound: Outbound, id: EntryId, entry: Arc<Entry>, now: DateTime<Utc>, turn: OwnedMutexGuard<()>) {
    match fetch(&outbound, &id.jwks_uri, now).await {
        Ok(kept) => {
            tracing::debug!(provider = %id.provider_id, keys = kept.keys.len(), "fetched the keys of an identity provider");
            entry.keep(kept);
        }
        Err(error) => {
            tracing::warn!(%error, provider = %id.provider_id, "the keys of an identity provider cannot be fetched");
        }
    }
    drop(turn);
}

async fn fetch(outbound: &Outbound, uri: &Url, now: DateTime<Utc>) -> Result<Kept, FetchError> {
    let answer = outbound.send(Request::get(uri.clone()), ANSWER_LIMITS).await?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let keys = Arc::new(KeySet::read(answer.body())?);
    Ok(Kept { keys, fresh_until: now + fresh_for(answer.headers()) })
}

/// What `Cache-Control` allows, within our bounds; those who forbid keeping get the shortest time.
fn fresh_for(headers: &HeaderMap) -> TimeDelta {
    let values = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut fresh = FRESH_DEFAULT;
    for directive in values.flat_map(|value| value.split(',')) {
        let directive = directive.trim().to_ascii_lowercase();
        if directive == "no-store" || directive == "no-cache" {
            return FRESH_MIN;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=").and_then(|text| text.trim_matches('"').parse().ok()) {
            fresh = TimeDelta::try_seconds(seconds).unwrap_or(FRESH_MAX).clamp(FRESH_MIN, FRESH_MAX);
        }
    }
    fresh
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::{FRESH_DEFAULT, FRESH_MAX, FRESH_MIN, TimeDelta, fresh_for};

    #[test]
    fn keys_are_fresh_for_what_cache_control_says_within_bounds() {
        for (value, fresh) in [
            ("", FRESH_DEFAULT),
            ("public", FRESH_DEFAULT),
            ("max-age=x", FRESH_DEFAULT),
            ("max-age=-1", FRESH_MIN),
            ("max-age=0", FRESH_MIN),
            ("max-age=299", FRESH_MIN),
            ("public, Max-Age=3600, must-revalidate", TimeDelta::hours(1)),
            ("max-age=\"600\"", TimeDelta::minutes(10)),
            ("max-age=9223372036854775807", FRESH_MAX),
            ("max-age=86401", FRESH_MAX),
            ("max-age=3600, no-store", FRESH_MIN),
            ("no-cache", FRESH_MIN),
        ] {
            let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(value))]);
            assert_eq!(fresh_for(&headers), fresh, "{value}");
        }
        assert_eq!(fresh_for(&HeaderMap::new()), FRESH_DEFAULT);
    }
}
