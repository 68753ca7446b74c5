//! From a request to its receipt: the order that the store executes, and its outcome as an answer.

use std::sync::OnceLock;

use hub_domain::{aggregate::Decide, id::PLATFORM_TENANT, refusal::Refusal};
use hub_event_store::{
    append::{Accepted, Append, AppendError, Rejection},
    event::{Metadata, StreamId},
    repository::{ExecuteError, Order, Prepared},
    store::EventStore,
};
use hub_http::{Caller, CommandHeaders, ConsistencyToken, Fingerprint, Granting, IfMatch, Pass, Problem, Receipt};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    in_flight::Place,
    outcome::{Outcome, Refused},
    room::{Commands, Context},
};

/// Namespace of command ids that are derived from idempotency keys.
const KEY_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_9c1e_52a4_4d0b_8a5e_0b7c_33c8_7a10);

/// The receipt's body: what was changed and how far it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changed {
    /// The aggregate's id.
    pub id: Uuid,
    /// The aggregate's sequence after the command; also the `ETag`.
    pub sequence: i64,
    /// How many events the command led to; 0 when all was so already.
    pub event_count: i32,
}

/// One command on its way, from its sender to the log.
#[derive(Debug)]
pub(crate) struct Dispatch {
    store: EventStore,
    tenant_id: Uuid,
    order: Order,
    exists: bool,
    /// What the answer needs beside the place in the log; null when it needs nothing.
    kept: Value,
    /// Held until the answer is there.
    _place: Option<Place>,
}

/// What became of an accepted command.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) accepted: Accepted,
    /// What was kept for the answer beside the place in the log.
    kept: Value,
    correlation_id: Uuid,
}

/// Why a command could not be prepared.
#[derive(Debug)]
pub(crate) enum PrepareError<E: std::error::Error + 'static> {
    /// Something beside the aggregate refuses, such as the tenant.
    Refused(Refused),
    /// As when the aggregate itself is executed.
    Execute(ExecuteError<E>),
}

impl<E: std::error::Error + 'static> From<ExecuteError<E>> for PrepareError<E> {
    fn from(error: ExecuteError<E>) -> Self {
        Self::Execute(error)
    }
}

impl Dispatch {
    /// Begins a command of `caller` in `tenant_id`.
    ///
    /// # Errors
    /// `idempotency_key_in_flight` when the same command is at work.
    pub(crate) fn begin(
        commands: &Commands,
        caller: &Caller,
        tenant_id: Uuid,
        headers: CommandHeaders,
        fingerprint: Fingerprint,
    ) -> Result<Self, Problem> {
        Self::begin_in(tenant_id, commands, caller, tenant_id, headers, fingerprint)
    }

    /// Begins a command that makes the tenant it belongs to, so that its idempotency key is known to the platform.
    ///
    /// # Errors
    /// `idempotency_key_in_flight` when the same command is at work.
    pub(crate) fn begin_platform(
        commands: &Commands,
        caller: &Caller,
        tenant_id: Uuid,
        headers: CommandHeaders,
        fingerprint: Fingerprint,
    ) -> Result<Self, Problem> {
        Self::begin_in(PLATFORM_TENANT.0, commands, caller, tenant_id, headers, fingerprint)
    }

    fn begin_in(
        realm_id: Uuid,
        commands: &Commands,
        caller: &Caller,
        tenant_id: Uuid,
        headers: CommandHeaders,
        fingerprint: Fingerprint,
    ) -> Result<Self, Problem> {
        let keyed = headers.idempotency_key.as_ref().map(|key| {
            let name = [caller.principal.as_bytes(), b"\0", realm_id.as_bytes(), key.as_str().as_bytes()].concat();
            Uuid::new_v5(&KEY_NAMESPACE, &name)
        });
        let place = keyed
            .map(|command_id| commands.in_flight.enter(command_id).ok_or_else(Problem::idempotency_key_in_flight))
            .transpose()?;
        let order = Order {
            expected_sequence: headers.expected_sequence(),
            repeatable: keyed.is_some(),
            fingerprint: *fingerprint.as_bytes(),
            metadata: Metadata {
                actor: caller.principal.clone(),
                command_id: keyed.unwrap_or_else(Uuid::now_v7),
                correlation_id: headers.correlation_id,
                causation_id: headers.causation_id,
                traceparent: headers.traceparent,
            },
        };
        let exists = headers.if_match == Some(IfMatch::Exists);
        Ok(Self { store: commands.store.clone(), tenant_id, order, exists, kept: Value::Null, _place: place })
    }

    /// The tenant that the command's aggregate belongs to.
    pub(crate) fn tenant_id(&self) -> Uuid {
        self.tenant_id
    }

    /// Asks whether the caller may give these rights away. A command that has its outcome already only hears it again, whatever has become
    /// of rights and roles since.
    ///
    /// # Errors
    /// 403 `forbidden`, 404 `role_not_found`.
    pub(crate) async fn granting(&self, pass: &Pass, granting: Granting) -> Result<(), Problem> {
        let Err(problem) = pass.may_grant(&granting).await else { return Ok(()) };
        if self.has_outcome().await? { Ok(()) } else { Err(problem) }
    }

    /// Whether the command has its outcome already, and only hears it again.
    ///
    /// # Errors
    /// When the store does not answer, or knows another command by this id.
    pub(crate) async fn has_outcome(&self) -> Result<bool, Problem> {
        if !self.order.repeatable {
            return Ok(false);
        }
        let first = self.store.outcome(self.order.metadata.command_id, &self.order.fingerprint).await;
        Ok(first.map_err(|error| problem_of_append(&error))?.is_some())
    }

    /// Keeps `data` with the command, so that the answer to its repetition has it too; never a secret.
    #[must_use]
    pub(crate) fn keeping(self, data: Value) -> Self {
        Self { kept: data, ..self }
    }

    /// Executes a command that depends on its own aggregate only.
    ///
    /// # Errors
    /// The refusal as a problem.
    pub(crate) async fn execute<A>(self, context: &Context<A>, id: Uuid, command: A::Command) -> Result<Done, Problem>
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        self.execute_prepared(context, id, |_| {
            let prepared = Prepared::new(command.clone());
            async { Ok(prepared) }
        })
        .await
    }

    /// Executes a command that must be prepared anew for every attempt; see `Repository::execute`.
    ///
    /// # Errors
    /// The refusal as a problem.
    pub(crate) async fn execute_prepared<A, P, F>(
        self,
        context: &Context<A>,
        id: Uuid,
        prepare: P,
    ) -> Result<Done, Problem>
    where
        A: Decide + Clone + 'static,
        P: Fn(u32) -> F + Send + Sync,
        F: Future<Output = Result<Prepared<A::Command>, PrepareError<A::Error>>> + Send,
    {
        let outcome = (!self.kept.is_null()).then(|| Outcome::Done(self.kept.clone()).to_json());
        // The repository knows the refusals of its own aggregate only, so another one goes around it.
        let elsewhere = OnceLock::new();
        let executed = {
            let (prepare, outcome, elsewhere) = (&prepare, &outcome, &elsewhere);
            let prepare = move |attempt| {
                let prepared = prepare(attempt);
                async move {
                    match prepared.await {
                        Ok(prepared) => Ok(Prepared { outcome: outcome.clone(), ..prepared }),
                        Err(PrepareError::Execute(error)) => Err(error),
                        Err(PrepareError::Refused(refused)) => {
                            elsewhere.get_or_init(|| refused);
                            Err(ExecuteError::Contended)
                        }
                    }
                }
            };
            context.repository.execute(self.tenant_id, id, &self.order, prepare).await
        };
        if let Some(refused) = elsewhere.into_inner() {
            return self.refuse(A::TYPE, id, refused).await;
        }
        let error = match executed {
            Ok(accepted) => return self.done(accepted),
            Err(error) => error,
        };
        // What the command was prepared from may have moved since its first time, too.
        if self.order.repeatable && matches!(error, ExecuteError::VersionConflict { .. } | ExecuteError::Contended) {
            let first = self.store.outcome(self.order.metadata.command_id, &self.order.fingerprint).await;
            if let Some(first) = first.map_err(|error| problem_of_append(&error))? {
                return self.done(first);
            }
        }
        match refusal_of(&error, context) {
            Some(refused) => self.refuse(A::TYPE, id, refused).await,
            None => Err(problem_of(&error)),
        }
    }

    fn done(self, accepted: Accepted) -> Result<Done, Problem> {
        // The log answers what it kept only to a repetition.
        let outcome =
            if accepted.replayed { Outcome::of(accepted.outcome.as_deref()) } else { Outcome::Done(self.kept) };
        match outcome {
            Outcome::Refused(refused) => Err(refused
                .problem()
                .header(hub_http::headers::IDEMPOTENT_REPLAYED, axum::http::HeaderValue::from_static("true"))),
            Outcome::Done(kept) => Ok(Done { accepted, kept, correlation_id: self.order.metadata.correlation_id }),
        }
    }

    /// Keeps a refusal for the sender's next attempt with the same key, and answers it.
    async fn refuse(self, aggregate_type: &'static str, id: Uuid, refused: Refused) -> Result<Done, Problem> {
        if self.exists && refused.is_not_found() {
            return Err(Problem::version_conflict(None));
        }
        if !self.order.repeatable {
            return Err(refused.problem());
        }
        let append = Append {
            stream: StreamId { tenant_id: self.tenant_id, aggregate_type, aggregate_id: id },
            expected_sequence: None,
            metadata: self.order.metadata.clone(),
            fingerprint: self.order.fingerprint,
            events: Vec::new(),
            claims: Vec::new(),
            counters: Vec::new(),
            facts: Vec::new(),
            guards: Vec::new(),
            outcome: Some(Outcome::Refused(refused.clone()).to_json()),
        };
        match self.store.append(append).await {
            Ok(accepted) if accepted.replayed => self.done(accepted),
            Ok(_) => Err(refused.problem()),
            Err(error) => Err(problem_of_append(&error)),
        }
    }
}

impl Done {
    /// The receipt of a command on an aggregate that was there before.
    pub(crate) fn receipt(self) -> Receipt<Changed> {
        let changed = self.changed();
        self.receipt_with(changed)
    }

    /// What was kept under `name`.
    ///
    /// # Errors
    /// `internal` when it is not what the command keeps.
    pub(crate) fn kept<T: DeserializeOwned>(&self, name: &str) -> Result<T, Problem> {
        serde_json::from_value(self.kept[name].clone()).map_err(|error| {
            tracing::error!(%error, name, "what was kept with a command cannot be read");
            Problem::internal()
        })
    }

    /// What the receipt says in its body.
    pub(crate) fn changed(&self) -> Changed {
        Changed {
            id: self.accepted.aggregate_id,
            sequence: self.accepted.sequence,
            event_count: self.accepted.event_count,
        }
    }

    /// The receipt with another body.
    pub(crate) fn receipt_with<T>(self, body: T) -> Receipt<T> {
        Receipt::new(body, self.accepted.sequence, ConsistencyToken(self.accepted.position))
            .replayed(self.accepted.replayed)
            .correlated(self.correlation_id)
    }
}

/// What the aggregate or the log refuses by a rule of the business; everything else is trouble of another kind.
fn refusal_of<A: Decide>(error: &ExecuteError<A::Error>, context: &Context<A>) -> Option<Refused> {
    match error {
        ExecuteError::Refused(refusal) => Some(Refused::of(refusal)),
        ExecuteError::Append(AppendError::Rejected(rejection)) => match rejection {
            Rejection::NameTaken { scope, key } => {
                let code = context.code_of(scope)?;
                Some(Refused::new(code.kind, code.code, format!("`{key}` is taken")))
            }
            Rejection::CounterAtMaximum { counter, value } => {
                let code = context.code_of(counter)?;
                Some(Refused::new(code.kind, code.code, format!("there are {value} already, as many as are allowed")))
            }
            Rejection::CommandIdReused
            | Rejection::SequenceConflict { .. }
            | Rejection::CounterMoved { .. }
            | Rejection::GuardMoved { .. } => None,
        },
        ExecuteError::VersionConflict { .. }
        | ExecuteError::Contended
        | ExecuteError::Append(_)
        | ExecuteError::Corrupt(_) => None,
    }
}

/// What a caller is told of a command that led to nothing.
pub(crate) fn problem_of<E: Refusal>(error: &ExecuteError<E>) -> Problem {
    match error {
        ExecuteError::VersionConflict { actual } => Problem::version_conflict((*actual > 0).then_some(*actual)),
        ExecuteError::Contended => Problem::concurrent_change(),
        ExecuteError::Append(error) => problem_of_append(error),
        ExecuteError::Corrupt(reason) => {
            tracing::error!(%reason, "a stream cannot be read");
            Problem::internal()
        }
        ExecuteError::Refused(refusal) => Refused::of(refusal).problem(),
    }
}

fn problem_of_append(error: &AppendError) -> Problem {
    match error {
        AppendError::Rejected(Rejection::CommandIdReused) => Problem::idempotency_key_reused(),
        AppendError::Rejected(rejection) => {
            tracing::error!(%rejection, "the log refuses by a condition that no context knows");
            Problem::internal()
        }
        AppendError::Overloaded => Problem::overloaded(),
        AppendError::Unavailable(reason) => {
            tracing::warn!(%reason, "a command found the store not available");
            Problem::store_unavailable()
        }
        AppendError::Invalid(reason) => {
            tracing::error!(%reason, "the store cannot hold the events of a command");
            Problem::internal()
        }
    }
}

/// The problem of a failure while a command's surroundings were being read.
pub(crate) fn unread<E: Refusal, F: std::error::Error>(error: ExecuteError<E>) -> ExecuteError<F> {
    match error {
        ExecuteError::Append(error) => ExecuteError::Append(error),
        ExecuteError::VersionConflict { actual } => ExecuteError::VersionConflict { actual },
        ExecuteError::Contended => ExecuteError::Contended,
        ExecuteError::Corrupt(reason) => ExecuteError::Corrupt(reason),
        // Loading decides nothing, so nothing is refused.
        ExecuteError::Refused(refusal) => ExecuteError::Corrupt(refusal.to_string()),
    }
}
