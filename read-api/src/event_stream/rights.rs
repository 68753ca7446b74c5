//! Whether those who follow still may: one task asks the gate about each right once, however many streams rest on it.
//!
//! The gate decides in memory on facts that are at most a second old, so asking often is cheap, but asking for each of thousands of streams
//! would not be. What nobody can answer for a while counts as lost.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::StatusCode;
use futures::{StreamExt as _, stream::FuturesUnordered};
use hub_http::{Pass, Problem, access::PassKey};
use tokio::{sync::watch, time::sleep};

use super::{RENEWALS, message::End};

/// So often each right is asked about: one that has gone ends its streams within a second.
const RENEWAL_INTERVAL: Duration = Duration::from_millis(500);

/// So often in a row the gate may fail to decide before a right counts as lost.
const FAILURES_MAX: u32 = 5;

/// The rights of all open streams; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Whether the task runs; it ends when nobody follows any more.
    running: bool,
    rights: HashMap<PassKey, Right>,
}

#[derive(Debug)]
struct Right {
    pass: Pass,
    failures: u32,
    lost: watch::Sender<Option<End>>,
}

impl Rights {
    /// Tells when the right is lost, and why.
    pub(crate) fn follow(&self, pass: Pass) -> watch::Receiver<Option<End>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let right = held.rights.entry(pass.key()).or_insert_with(|| Right {
            pass,
            failures: 0,
            lost: watch::Sender::new(None),
        });
        let receiver = right.lost.subscribe();
        if !held.running {
            held.running = true;
            tokio::spawn(self.clone().run());
        }
        receiver
    }

    async fn run(self) {
        // However the task ends, no right outlives it unasked.
        let _last = Last(&self);
        loop {
            sleep(RENEWAL_INTERVAL).await;
            let Some(passes) = self.passes() else { return };
            metrics::counter!(RENEWALS).increment(u64::try_from(passes.len()).unwrap_or(u64::MAX));
            let mut renewals: FuturesUnordered<_> = passes
                .into_iter()
                .map(async |(key, pass)| {
                    let renewed = pass.renew().await;
                    (key, renewed)
                })
                .collect();
            while let Some((key, renewed)) = renewals.next().await {
                self.note(&key, renewed);
            }
        }
    }

    /// The rights that somebody rests on; `None` ends the task, until somebody follows again.
    fn passes(&self) -> Option<Vec<(PassKey, Pass)>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.rights.retain(|_, right| right.lost.receiver_count() > 0);
        held.running = !held.rights.is_empty();
        held.running.then(|| held.rights.iter().map(|(key, right)| (key.clone(), right.pass.clone())).collect())
    }

    fn note(&self, key: &PassKey, renewed: Result<(), Problem>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(right) = held.rights.get_mut(key) else { return };
        let end = match renewed {
            Ok(()) => {
                right.failures = 0;
                return;
            }
            Err(problem) if problem.status().is_server_error() => {
                right.failures += 1;
                if right.failures < FAILURES_MAX {
                    return;
                }
                End::Unavailable
            }
            Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => End::TokenExpired,
            Err(_) => End::Forbidden,
        };
        // Who comes again with the same right is asked about anew.
        if let Some(right) = held.rights.remove(key) {
            right.lost.send_replace(Some(end));
        }
    }
}

/// Lets go of every right that is still held when the task ends.
struct Last<'a>(&'a Rights);

impl Drop for Last<'_> {
    fn drop(&mut self) {
        let mut held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        // After an end in order somebody may have started the next task already; it has receivers, and keeps them.
        if std::thread::panicking() {
            *held = Held::default();
        }
    }
}
