//! Separation of duty: before somebody is given more, all of the tenant's grants are judged together.
//!
//! The judgement is of one moment and is appended only if no grant, parent or set of duties has come to be since: the command expects the
//! counter of them to stand where it stood before anything was read. Emergency access is not judged; it is short, alerted and reviewed.

use hub_domain::{
    duty_set::{Change, Picture, VIOLATED, decide::SETS, violations},
    fact::{Fact, GRANTS},
};
use hub_event_store::{append::AppendError, repository::ExecuteError};
use uuid::Uuid;

use crate::{Commands, dispatch::PrepareError, outcome::Refused};

/// Counters that must stand where they stood: name and value.
pub(crate) type Expected = Vec<(&'static str, i64)>;

impl Commands {
    /// What the append must expect so that none of these changes, one after the other, lets anybody hold too many roles of a set.
    ///
    /// # Errors
    /// `duty_set_violated`, or when the store does not answer.
    pub(crate) async fn duties_kept<E>(&self, tenant_id: Uuid, changes: &[Change]) -> Result<Expected, PrepareError<E>>
    where
        E: std::error::Error + 'static,
    {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let log = self.store.log();
        // The counters come first: a change between them and the facts costs an attempt then, and never the rule.
        let sets = log.counter(tenant_id, SETS).await.map_err(unavailable)?;
        let concerned = sets > 0 || changes.iter().any(|change| matches!(change, Change::Set(_)));
        if !concerned {
            return Ok(vec![(SETS, sets)]);
        }
        let grants = log.counter(tenant_id, GRANTS).await.map_err(unavailable)?;
        let mut picture = Picture::default();
        for (stream, fact) in log.facts(tenant_id).await.map_err(unavailable)? {
            let fact: Fact = serde_json::from_str(&fact)
                .map_err(|error| ExecuteError::Corrupt(format!("a fact of {stream} cannot be read: {error}")))?;
            picture.take(stream, fact);
        }
        let now = self.store.now();
        for change in changes {
            if let Some(violation) = violations(&picture, Some(change), now).into_iter().next() {
                let detail = format!("{} would hold too many roles of the set {}", violation.principal, violation.set);
                return Err(PrepareError::Refused(Refused::new(VIOLATED.kind, VIOLATED.code, detail)));
            }
            if let Change::Grant(grant) = change {
                picture.take(Uuid::nil(), Fact::Grant(grant.clone()));
            }
        }
        Ok(vec![(GRANTS, grants)])
    }
}

fn unavailable<E>(error: sqlx::Error) -> ExecuteError<E>
where
    E: std::error::Error + 'static,
{
    ExecuteError::Append(AppendError::Unavailable(error.to_string()))
}
