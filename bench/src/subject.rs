//! The subjects that append: hub's library, postgres-es, esrs, and pgbench as the limit of a transaction a command.

pub mod esrs;
pub mod hub;
pub mod pgbench;
pub mod postgres_es;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use uuid::Uuid;

use crate::account::{ENTRIES_PER_ACCOUNT, tenant};

/// Which account a client's next command is for.
#[derive(Debug, Clone)]
pub enum Stream {
    /// The client's own; a new one after every tenth entry.
    Own { number: u64, entries: u64, account: Uuid },
    /// One that several clients work on at the same moment; all of them go on to a new one when it has ten entries.
    Hot { number: u64, seed: Uuid, accepted: Arc<AtomicU64> },
}

impl Stream {
    /// One for each of `count` clients.
    pub fn own(count: usize) -> Vec<Self> {
        (0..count as u64).map(|number| Self::Own { number, entries: 0, account: Uuid::now_v7() }).collect()
    }

    /// `streams` streams shared evenly by `count` clients.
    pub fn hot(count: usize, streams: usize) -> Vec<Self> {
        let shared: Vec<_> = (0..streams as u64)
            .map(|number| Self::Hot { number, seed: Uuid::now_v7(), accepted: Arc::default() })
            .collect();
        (0..count).map(|client| shared[client % streams].clone()).collect()
    }

    /// Tenant and account of the next command.
    pub fn next(&mut self) -> (Uuid, Uuid) {
        match self {
            Self::Own { number, entries, account } => {
                if *entries == ENTRIES_PER_ACCOUNT {
                    *entries = 0;
                    *account = Uuid::now_v7();
                    *number += 1;
                }
                *entries += 1;
                (tenant(*number), *account)
            }
            Self::Hot { number, seed, accepted } => {
                let generation = accepted.load(Ordering::Relaxed) / ENTRIES_PER_ACCOUNT;
                // Ordered by time as a UUIDv7 is: the generation is in the lowest bits of the seed's random part.
                let account = Uuid::from_u128(seed.as_u128() & !0xffff_ffff | u128::from(generation));
                (tenant(*number), account)
            }
        }
    }

    /// The command was accepted.
    pub fn accepted(&self) {
        if let Self::Hot { accepted, .. } = self {
            accepted.fetch_add(1, Ordering::Relaxed);
        }
    }
}
