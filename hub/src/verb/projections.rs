//! `hub projections`: the read models as they stand, building them anew beside the live ones, and what they could not take in.

mod builds;
mod parked;
mod table;

use std::process::ExitCode;

use anyhow::bail;
use hub_projections::{checkpoint, status};
use sqlx::PgPool;

use super::{print, with_database};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show each read model: how far it is, how many rows it has, what is parked
    List,
    /// Show each read model and the tables beside it: candidates with their progress, retired ones
    Status,
    /// Build a candidate beside the live table and keep it until it is promoted; replaces an earlier candidate
    Build {
        /// The read model's name, as `list` shows it
        name: String,
    },
    /// Bring the candidate up to date and put it in the place of the live table, which is kept for a rollback
    Promote {
        /// The read model's name, as `list` shows it
        name: String,
    },
    /// Bring the retired table up to date and put it back in the place of the live one
    Rollback {
        /// The read model's name, as `list` shows it
        name: String,
    },
    /// Drop the candidate, or the retired table
    Drop {
        /// The read model's name, as `list` shows it
        name: String,
        /// Drop the retired table; there is no way back after that
        #[arg(long)]
        retired: bool,
    },
    /// Build a read model anew from the log beside the live one, then put it in its place
    Rebuild {
        /// The read model's name, as `list` shows it
        name: String,
    },
    /// Let a read model go on that has stopped at an event, once the reason is gone
    Resume {
        /// The read model's name, as `list` shows it
        name: String,
    },
    /// Events that a read model could not take in
    Parked(parked::Arguments),
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let answer = with_database(config, async |pool| match arguments.what {
        What::List => Ok(table::list(&statuses(&pool).await?)?),
        What::Status => Ok(table::status(&statuses(&pool).await?)?),
        What::Build { name } => builds::build(&pool, &name).await,
        What::Promote { name } => builds::promote(&pool, &name).await,
        What::Rollback { name } => builds::rollback(&pool, &name).await,
        What::Drop { name, retired } => builds::discard(&pool, &name, retired).await,
        What::Rebuild { name } => builds::rebuild(&pool, &name).await,
        What::Resume { name } if checkpoint::resume(&pool, &name).await? => {
            Ok(format!("{name} goes on where it stopped\n"))
        }
        What::Resume { name } => bail!("no read model {name} has stopped"),
        What::Parked(arguments) => parked::run(&pool, arguments).await,
    });
    print(&answer.await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn statuses(pool: &PgPool) -> Result<Vec<status::ProjectionStatus>, sqlx::Error> {
    status::list(pool, &hub_projections::all()).await
}
