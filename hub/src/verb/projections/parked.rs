//! `hub projections parked`: what could not be taken in, trying again, and leaving out for good.

use std::fmt::Write as _;

use anyhow::bail;
use hub_projections::{
    parked::repair::{DiscardedEvent, discard, discarded_events, retry},
    status::{ParkedEvent, parked_events},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::serve::upcasters;

/// So many events of one read model are shown.
const SHOWN_COUNT_MAX: i64 = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show what is parked, and what was left out for good
    List {
        /// Only this read model
        name: Option<String>,
    },
    /// Take parked events in after all, each stream in order, up to the first that still cannot be
    Retry {
        /// The read model's name
        name: String,
        /// Only the stream of this aggregate
        #[arg(long, value_name = "UUID", required_unless_present = "all")]
        stream: Option<Uuid>,
        /// All streams that wait
        #[arg(long, conflicts_with = "stream")]
        all: bool,
    },
    /// Leave one parked event out of the read model for good, also in rebuilds; this is written down with your name
    Discard {
        /// The read model's name
        name: String,
        /// The event's position in the log
        position: i64,
        /// Why it is left out
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) async fn run(pool: &PgPool, arguments: Arguments) -> anyhow::Result<String> {
    let projections = hub_projections::all();
    match arguments.what {
        What::List { name } => {
            let mut text = String::new();
            let asked = |one: &str| name.as_deref().is_none_or(|name| name == one);
            let names: Vec<_> = projections.iter().map(|one| one.name()).filter(|one| asked(one)).collect();
            if names.is_empty() {
                bail!("there is no read model named {}", name.unwrap_or_default());
            }
            for name in names {
                let parked = parked_events(pool, name, 0, SHOWN_COUNT_MAX).await?;
                let discarded = discarded_events(pool, name, 0, SHOWN_COUNT_MAX).await?;
                list(&mut text, name, &parked, &discarded)?;
            }
            Ok(if text.is_empty() { "nothing is parked\n".to_owned() } else { text })
        }
        What::Retry { name, stream, all: _ } => {
            let retried = retry(pool, &upcasters(), &projections, &name, stream).await?;
            Ok(format!("{} events of {name} are taken in, {} are still parked\n", retried.taken, retried.left))
        }
        What::Discard { name, position, reason } => {
            discard(pool, &projections, &name, position, &reason, &operator()).await?;
            Ok(format!(
                "the event at position {position} is left out of {name}; `hub projections parked retry {name}` takes in what waited behind it\n"
            ))
        }
    }
}

fn list(
    text: &mut String,
    name: &str,
    parked: &[ParkedEvent],
    discarded: &[DiscardedEvent],
) -> Result<(), std::fmt::Error> {
    for event in parked {
        let (kind, id) = (&event.aggregate_type, event.aggregate_id);
        writeln!(
            text,
            "{name:<20} {:>10}  parked     {kind} {id} of tenant {}: {}",
            event.position, event.tenant_id, event.error
        )?;
    }
    for event in discarded {
        let (kind, id) = (&event.aggregate_type, event.aggregate_id);
        writeln!(
            text,
            "{name:<20} {:>10}  discarded  {kind} {id} of tenant {} by {} at {}: {}",
            event.position,
            event.tenant_id,
            event.discarded_by,
            event.discarded_at.format("%FT%TZ"),
            event.reason
        )?;
    }
    Ok(())
}

/// Who sits at this terminal, as the system knows it.
fn operator() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let named = named.filter(|name| !name.is_empty());
    named.map_or_else(|| format!("uid:{}", rustix::process::getuid().as_raw()), |name| format!("os:{name}"))
}
