//! What every query works with: connections, the end of the log, the keys of callers and cursors, and the room for streams.

use std::{fmt, sync::Arc};

use axum::extract::FromRef;
use hub_event_store::{tail::Tail, upcast::Upcasters};
use hub_http::{Access, CursorKey, Gate, Resources};
use hub_projections::positions::Positions;
use hub_vault::Vault;
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    answers::Answers,
    attributes::OfRows,
    changes::Changes,
    checkpoints::Checkpoints,
    event_stream::{Places, Rights, StreamSettings, Tails},
    read::Database,
    reports::{Disclosures, REPORTS_MAX, Unrecorded},
};

/// Event streams that one process serves at once when nothing else is said.
pub const STREAMS_MAX_DEFAULT: usize = 4_000;

/// What the query API is given from outside.
#[derive(Clone)]
pub struct Settings {
    /// Connections that only read, whose login may become `hub_query` and `hub_platform`; the owner of the pool bounds how long a
    /// statement may take.
    pub pool: PgPool,
    /// The end of the log, kept up to date by somebody else.
    pub tail: Tail,
    /// How far the projections of this process have got; empty when none run here.
    pub positions: Positions,
    /// Who may call.
    pub gate: Arc<dyn Gate>,
    /// What cursors are sealed with.
    pub cursor_key: CursorKey,
    /// So many event streams are open at once at most; further ones get 503 `overloaded`.
    pub streams_max: usize,
    /// Ends event streams.
    pub shutdown: CancellationToken,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("streams_max", &self.streams_max).finish_non_exhaustive()
    }
}

/// The state of the query API; cheap to clone.
#[derive(Clone)]
pub struct Queries {
    pub(crate) database: Database,
    pub(crate) access: Access,
    pub(crate) cursor_key: CursorKey,
    pub(crate) streams: Places,
    pub(crate) stream_settings: StreamSettings,
    pub(crate) reports: Arc<Semaphore>,
    pub(crate) disclosures: Arc<dyn Disclosures>,
    pub(crate) tails: Tails,
    pub(crate) rights: Rights,
    pub(crate) tail: Tail,
    pub(crate) positions: Positions,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) answers: Answers,
    pub(crate) shutdown: CancellationToken,
    /// The keys of personal data; without them it is answered as sealed.
    pub(crate) vault: Option<Vault>,
    /// How old events are read.
    pub(crate) upcasters: Upcasters,
}

impl Queries {
    /// The query API on these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let Settings { pool, tail, positions, gate, cursor_key, streams_max, shutdown } = settings;
        let database = Database::new(pool);
        let changes = Changes::new(database.clone(), tail.clone(), shutdown.clone());
        Self {
            answers: Answers::new(gate.clone(), changes),
            tails: Tails::new(database.clone(), tail.clone(), shutdown.clone()),
            rights: Rights::default(),
            checkpoints: Checkpoints::new(database.clone(), shutdown.clone()),
            tail,
            positions,
            access: Access::new(gate, Arc::new(OfRows(database.clone()))),
            database,
            cursor_key,
            streams: Places::new(streams_max),
            stream_settings: StreamSettings::default(),
            reports: Arc::new(Semaphore::new(REPORTS_MAX)),
            disclosures: Arc::new(Unrecorded),
            shutdown,
            vault: None,
            upcasters: Upcasters::default(),
        }
    }

    /// With streams that behave otherwise.
    #[must_use]
    pub fn with_streams(self, stream_settings: StreamSettings) -> Self {
        Self { stream_settings, ..self }
    }

    /// Reads old events with these, for answers about the past.
    #[must_use]
    pub fn with_upcasters(self, upcasters: Upcasters) -> Self {
        Self { upcasters, ..self }
    }
}

impl Queries {
    /// The same with the keys of personal data.
    #[must_use]
    pub fn with_vault(self, vault: Vault) -> Self {
        Self { vault: Some(vault), ..self }
    }

    /// What conditions of permissions may look at, read from the read models.
    #[must_use]
    pub fn resources(&self) -> Arc<dyn Resources> {
        self.access.resources().clone()
    }
}

impl fmt::Debug for Queries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Queries").finish_non_exhaustive()
    }
}

impl FromRef<Queries> for Access {
    fn from_ref(queries: &Queries) -> Self {
        queries.access.clone()
    }
}
