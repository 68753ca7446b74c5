//! Writes down what checks of controls came to, and opens and ends the findings by it; nobody can order this by HTTP.
//!
//! Every command's id is derived from the run, so a run that was interrupted goes on where it was, and two processes that run at once
//! write everything once.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use hub_domain::{
    aggregate::Decide,
    control_check::{Command, ControlCheck, Evaluation, id_of},
    control_run::{self, ControlRun},
    finding::{self, Finding, Severity},
    id::PLATFORM_TENANT,
    text::Remark,
};
use hub_event_store::{
    event::Metadata,
    repository::{Order, Prepared, Repository},
    store::EventStore,
};
use uuid::Uuid;

use crate::effects::effects_of;

/// Who checks.
const ACTOR: &str = "process:controls";

/// Namespace of the ids of these commands.
const NAMESPACE: Uuid = Uuid::from_u128(0x8e0f_4d3b_c2a1_4b5d_9c6e_1f70_83a2_64d7);

/// So many findings are written at the same time; their commands then share batches.
const CONCURRENCY: usize = 16;

/// Why something could not be written; it is to be tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} cannot be written: {reason}")]
pub struct Unwritten {
    what: &'static str,
    reason: String,
}

/// Writes what checks came to; cheap to clone.
#[derive(Clone, Debug)]
pub struct ControlChecks {
    checks: Repository<ControlCheck>,
    runs: Repository<ControlRun>,
    findings: Repository<Finding>,
    store: EventStore,
}

impl ControlChecks {
    /// Writes into this log.
    #[must_use]
    pub fn new(store: EventStore) -> Self {
        Self {
            checks: Repository::new(store.clone(), effects_of::<ControlCheck>),
            runs: Repository::new(store.clone(), effects_of::<ControlRun>),
            findings: Repository::new(store.clone(), effects_of::<Finding>),
            store,
        }
    }

    /// Writes one evaluation, and then opens and ends findings by what stands in the log. What an interrupted run has left is done first.
    ///
    /// # Errors
    /// When the log does not take everything; the same again then goes on with what is missing.
    pub async fn evaluated(&self, evaluation: Evaluation, severity: Severity) -> Result<(), Unwritten> {
        let (run_id, id) = (evaluation.run_id, id_of(&evaluation.control_id));
        let before = self.state(id).await?;
        if before.last.as_ref().is_none_or(|last| last.run_id != run_id) {
            self.follow_up(&before, severity).await?;
            self.execute(&self.checks, (run_id, "evaluate"), id, Command::Evaluate(evaluation)).await?;
        }
        self.follow_up(&self.state(id).await?, severity).await
    }

    async fn state(&self, id: Uuid) -> Result<ControlCheck, Unwritten> {
        let loaded = self.checks.load_latest(PLATFORM_TENANT.0, id).await;
        loaded.map(|loaded| loaded.state.clone()).map_err(|error| unwritten("a control", &error))
    }

    /// Does what the last evaluation says about findings, each once.
    async fn follow_up(&self, state: &ControlCheck, severity: Severity) -> Result<(), Unwritten> {
        let Some(Evaluation { run_id, control_id, .. }) = &state.last else { return Ok(()) };
        let (run_id, now) = (*run_id, self.store.now());
        let found = state.found().map(|listed| {
            let command = finding::Command::Find {
                control_id: control_id.clone(),
                severity,
                tenant_id: listed.tenant_id,
                about: listed.about.clone(),
                what: listed.what.clone(),
                run_id,
                now,
            };
            ("find", listed.finding_id, command)
        });
        let over = state.over.iter().map(|id| ("miss", *id, finding::Command::Miss { run_id }));
        let commands: Vec<_> = found.chain(over).collect();
        let written =
            commands.into_iter().map(|(step, id, command)| self.execute(&self.findings, (run_id, step), id, command));
        let written: Vec<_> = written.collect();
        stream::iter(written).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    /// Writes the end of a run.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn completed(&self, run_id: Uuid, command: control_run::Command) -> Result<(), Unwritten> {
        self.execute(&self.runs, (run_id, "complete"), run_id, command).await
    }

    /// Asks for a run on behalf of whoever has the machine; answers its id.
    ///
    /// # Errors
    /// When the log does not take it.
    pub async fn request(&self, reason: Remark) -> Result<Uuid, Unwritten> {
        let run_id = Uuid::now_v7();
        self.execute(&self.runs, (run_id, "request"), run_id, control_run::Command::Request { reason }).await?;
        Ok(run_id)
    }

    async fn execute<A>(
        &self,
        repository: &Repository<A>,
        (run_id, step): (Uuid, &str),
        id: Uuid,
        command: A::Command,
    ) -> Result<(), Unwritten>
    where
        A: Decide<Command: Clone + Send + Sync> + Clone + 'static,
    {
        let name = format!("{run_id}/{}/{id}/{step}", A::TYPE);
        let metadata = Metadata {
            actor: ACTOR.to_owned(),
            command_id: Uuid::new_v5(&NAMESPACE, name.as_bytes()),
            correlation_id: run_id,
            causation_id: None,
            traceparent: None,
        };
        let order = Order { metadata, fingerprint: [0; 32], repeatable: true, expected_sequence: None };
        let prepare = |_| {
            let prepared = Prepared::new(command.clone());
            async { Ok(prepared) }
        };
        let executed = repository.execute(PLATFORM_TENANT.0, id, &order, prepare).await;
        executed.map(drop).map_err(|error| unwritten(A::TYPE, &error))
    }
}

fn unwritten(what: &'static str, error: &impl std::error::Error) -> Unwritten {
    Unwritten { what, reason: error.to_string() }
}
