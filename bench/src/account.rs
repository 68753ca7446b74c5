//! The one aggregate that every subject works on, told to cqrs-es and to esrs; and its read model, told to hub and to cqrs-es.
//!
//! An account takes entries. A command loads the account, adds the amount to its balance, and appends one event of some 300 bytes.
//! hub and postgres-es use the very same type; esrs has a trait of its own, so there the same functions are called from another
//! `impl`. After its tenth entry an account is left alone and a new one is begun.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent, EventEnvelope, View, event_sink::EventSink};
use hub_event_store::event::{Metadata, Recorded};
use hub_projections::model::{AggregateKey, FoldError, ReadModel, of_aggregate};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// So many entries an account has when the next one is begun.
pub const ENTRIES_PER_ACCOUNT: u64 = 10;

/// The accounts are spread over so many tenants.
pub const TENANT_COUNT: u64 = 100;

/// Brings the payload to some 300 bytes, and is the same in every event of every subject.
pub const NOTE: &str = "Monthly charge for managed mail, forty-eight mailboxes on the professional plan, prorated from the \
                        ninth; ordered by the customer's administrator, approved by accounting without remarks.";

/// What happened to an account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// An amount was added.
    Entered { amount_minor: i64, balance_minor: i64, reference: Uuid, note: String },
}

impl DomainEvent for Event {
    fn event_type(&self) -> String {
        "entered".to_owned()
    }

    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

/// What an account can be ordered to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Adds an amount, which is not zero.
    Enter { amount_minor: i64, reference: Uuid, note: String },
}

impl Command {
    /// The command that everybody sends.
    pub fn new(reference: Uuid) -> Self {
        Self::Enter { amount_minor: 1_250, reference, note: NOTE.to_owned() }
    }
}

/// Why an account refuses.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("an entry of nothing")]
    NoAmount,
}

/// An account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    entry_count: u64,
    balance_minor: i64,
}

impl Account {
    fn decide(&self, command: Command) -> Result<Vec<Event>, Error> {
        let Command::Enter { amount_minor, reference, note } = command;
        if amount_minor == 0 {
            return Err(Error::NoAmount);
        }
        Ok(vec![Event::Entered { amount_minor, balance_minor: self.balance_minor + amount_minor, reference, note }])
    }

    fn evolve(&mut self, event: &Event) {
        let Event::Entered { balance_minor, .. } = event;
        self.entry_count += 1;
        self.balance_minor = *balance_minor;
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = Command;
    type Event = Event;
    type Error = Error;
    type Services = ();

    async fn handle(&mut self, command: Command, (): &(), sink: &EventSink<Self>) -> Result<(), Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        self.evolve(&event);
    }
}

/// An event as esrs stores it: it has no place for metadata, so that is part of the payload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventWithMetadata {
    event: Event,
    metadata: Metadata,
}

/// The account as an esrs aggregate.
#[derive(Debug)]
pub struct EsrsAccount;

impl esrs::Aggregate for EsrsAccount {
    const NAME: &'static str = "account";
    type State = Account;
    type Command = (Command, Metadata);
    type Event = EventWithMetadata;
    type Error = Error;

    fn handle_command(state: &Account, (command, metadata): Self::Command) -> Result<Vec<EventWithMetadata>, Error> {
        let events = state.decide(command)?;
        Ok(events.into_iter().map(|event| EventWithMetadata { event, metadata: metadata.clone() }).collect())
    }

    fn apply_event(mut state: Account, stored: EventWithMetadata) -> Account {
        state.evolve(&stored.event);
        state
    }
}

/// Metadata as the command API makes it, some 200 bytes of JSON.
pub fn metadata(command_id: Uuid) -> Metadata {
    let trace = command_id.simple();
    Metadata {
        actor: "key:administrator".to_owned(),
        command_id,
        correlation_id: command_id,
        causation_id: None,
        traceparent: Some(format!("00-{trace}-{:016x}-01", command_id.as_u128() >> 64)),
    }
}

/// The same as the map that cqrs-es takes.
pub fn metadata_map(command_id: Uuid) -> HashMap<String, String> {
    let metadata = metadata(command_id);
    [
        ("actor", metadata.actor),
        ("command_id", metadata.command_id.to_string()),
        ("correlation_id", metadata.correlation_id.to_string()),
        ("traceparent", metadata.traceparent.unwrap_or_default()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// The tenant with this number.
pub fn tenant(number: u64) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(number % TENANT_COUNT))
}

/// The read model: one row an account.
#[derive(Debug)]
pub struct Accounts;

/// One account; also the view of the peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRow {
    pub tenant_id: Uuid,
    pub id: Uuid,
    pub entry_count: i64,
    pub balance_minor: i64,
    pub last_note: String,
    pub updated_at: DateTime<Utc>,
    pub sequence: i64,
}

/// The table of [`Accounts`], and the one of the peer's view.
pub const READ_MODEL_TABLES: &str = "CREATE TABLE bench_accounts (tenant_id uuid NOT NULL, id uuid NOT NULL, entry_count bigint NOT NULL, \
     balance_minor bigint NOT NULL, last_note text NOT NULL, updated_at timestamptz NOT NULL, sequence bigint NOT NULL, \
     PRIMARY KEY (tenant_id, id)); \
     CREATE TABLE account_view (view_id text PRIMARY KEY, version bigint CHECK (version >= 0) NOT NULL, payload json NOT NULL)";

impl ReadModel for Accounts {
    type Row = AccountRow;
    type Key = AggregateKey;

    const NAME: &'static str = "bench_accounts";
    const TABLE: &'static str = "bench_accounts";
    const KEY: &'static [&'static str] = AggregateKey::COLUMNS;

    fn concerns(event_type: &str) -> bool {
        of_aggregate(event_type, Account::TYPE)
    }

    fn key_of(row: &AccountRow) -> AggregateKey {
        AggregateKey { tenant_id: row.tenant_id, id: row.id }
    }

    fn keys(event: &Recorded) -> Result<Vec<AggregateKey>, FoldError> {
        Ok(vec![AggregateKey::of(event)])
    }

    fn fold(row: Option<AccountRow>, key: &AggregateKey, event: &Recorded) -> Result<Option<AccountRow>, FoldError> {
        let Event::Entered { balance_minor, note, .. } = event.decode()?;
        let entry_count = row.map_or(0, |row| row.entry_count) + 1;
        Ok(Some(AccountRow {
            tenant_id: key.tenant_id,
            id: key.id,
            entry_count,
            balance_minor,
            last_note: note,
            updated_at: event.occurred_at,
            sequence: event.sequence,
        }))
    }
}

impl View<Account> for AccountRow {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        let Event::Entered { balance_minor, note, .. } = &event.payload;
        self.entry_count += 1;
        self.balance_minor = *balance_minor;
        self.last_note.clone_from(note);
        self.sequence = i64::try_from(event.sequence).unwrap_or(i64::MAX);
    }
}
