//! The first administrator: enrolled once by the program itself, with a key that it made.
//!
//! The enrolment is one command with one id, so of several processes that enrol at once one key counts, and later ones are told so. Whoever
//! may reach the database may enrol a further administrator on purpose, when the key was lost.

use hub_domain::{
    api_key::{Command, KeyScopes, KeyText, Networks},
    id::PLATFORM_TENANT,
    role::{SystemRole, system_role_id},
};
use hub_event_store::{
    append::{AppendError, Rejection},
    event::Metadata,
    repository::{ExecuteError, Order, Prepared},
};
use uuid::Uuid;

use crate::Commands;

/// Namespace of the ids of enrolments and of the keys that they issue.
const NAMESPACE: Uuid = Uuid::from_u128(0x8d0f_2b61_7c3e_4a59_9f1d_36b5_0e4a_c2d7);

/// Who enrols.
const ACTOR: &str = "process:enrolment";

/// What became of an enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// The key is an administrator's, now or since an earlier time.
    Administrator,
    /// Another key was enrolled before.
    AnotherBefore,
}

/// Why nothing is known of an enrolment.
#[derive(Debug, thiserror::Error)]
#[error("the administrator could not be enrolled: {0}")]
pub struct NotEnrolled(String);

impl Commands {
    /// Makes `key` the first administrator's, who owns the platform; `further` makes it one more administrator's.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn enrol(&self, key: &KeyText, further: bool) -> Result<Enrolment, NotEnrolled> {
        self.ensure_system_roles(PLATFORM_TENANT.0).await.map_err(not_enrolled)?;
        let api_key_id = Uuid::new_v5(&NAMESPACE, key.id().as_bytes());
        let owner = system_role_id(PLATFORM_TENANT, SystemRole::Owner);
        let command = Command::Issue {
            name: "Administrator".parse().expect("the name of a key is a name"),
            secret_id: key.secret_id(),
            sha256: key.sha256(),
            roles: [owner].into(),
            scopes: KeyScopes::default(),
            networks: Networks::default(),
            expires_at: None,
            now: self.store.now(),
        };
        let prepare = |_| {
            let command = command.clone();
            async move { Ok(Prepared::new(command)) }
        };
        let order = order(api_key_id, further);
        match self.api_keys.repository.execute(PLATFORM_TENANT.0, api_key_id, &order, prepare).await {
            Ok(_) => Ok(Enrolment::Administrator),
            // The first key again, asked for as a further one.
            Err(ExecuteError::Refused(hub_domain::api_key::Error::AlreadyIssued)) => Ok(Enrolment::Administrator),
            Err(ExecuteError::Append(AppendError::Rejected(Rejection::CommandIdReused))) => {
                Ok(Enrolment::AnotherBefore)
            }
            Err(error) => Err(not_enrolled(error)),
        }
    }
}

fn not_enrolled(error: impl std::fmt::Display) -> NotEnrolled {
    NotEnrolled(error.to_string())
}

/// The first enrolment is the same command whatever the key; its fingerprint tells the keys apart.
fn order(api_key_id: Uuid, further: bool) -> Order {
    let mut fingerprint = [0; 32];
    fingerprint[..16].copy_from_slice(api_key_id.as_bytes());
    let command_id = if further {
        Uuid::new_v5(&NAMESPACE, &[b"further\0", api_key_id.as_bytes().as_slice()].concat())
    } else {
        Uuid::new_v5(&NAMESPACE, b"first administrator")
    };
    Order {
        metadata: Metadata {
            actor: ACTOR.to_owned(),
            command_id,
            correlation_id: command_id,
            causation_id: None,
            traceparent: None,
        },
        fingerprint,
        repeatable: true,
        expected_sequence: None,
    }
}
