//! `hub projections`: the read models as they stand, and building one anew.

use std::{fmt::Write as _, process::ExitCode};

use anyhow::bail;
use hub_projections::{checkpoint, rebuild::rebuild, status};
use sqlx::PgPool;

use super::{print, progress, with_database};
use crate::{config::Config, serve::upcasters};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show each read model: how far it is, how many rows it has, what is parked
    List,
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
}

pub(super) async fn run(config: &Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let answer = with_database(config, async |pool| match arguments.what {
        What::List => Ok(table(&status::list(&pool, &hub_projections::all()).await?)?),
        What::Rebuild { name } => build(&pool, &name).await,
        What::Resume { name } if checkpoint::resume(&pool, &name).await? => {
            Ok(format!("{name} goes on where it stopped\n"))
        }
        What::Resume { name } => bail!("no read model {name} has stopped"),
    });
    print(&answer.await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn build(pool: &PgPool, name: &str) -> anyhow::Result<String> {
    let bar = progress::events(name);
    let show = |done, all| progress::show(&bar, done, all);
    let rebuilt = rebuild(pool, &upcasters(), &hub_projections::all(), name, &show).await;
    bar.finish_and_clear();
    let rebuilt = rebuilt?;
    Ok(format!("{name} is built anew up to position {}, {} events parked\n", rebuilt.position, rebuilt.parked))
}

fn table(statuses: &[status::ProjectionStatus]) -> Result<String, std::fmt::Error> {
    let mut text = format!(
        "{:<20} {:>7} {:>10} {:>8} {:>9} {:>7}  {}\n",
        "name", "version", "position", "lag", "rows", "parked", "state"
    );
    for one in statuses {
        let version = one.version.map_or("-".to_owned(), |version| version.to_string());
        let state = format!("{:?}", one.state).to_lowercase();
        writeln!(
            text,
            "{:<20} {:>7} {:>10} {:>8} {:>9} {:>7}  {}{}",
            one.name,
            version,
            one.position,
            one.lag,
            one.rows,
            one.parked,
            state,
            one.last_error.as_ref().map_or(String::new(), |error| format!(": {error}"))
        )?;
    }
    Ok(text)
}
