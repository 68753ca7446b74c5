//! Building candidates, putting them in place, and the way back.

use hub_projections::rebuild::{self, RebuildError, Rebuilt};
use indicatif::ProgressBar;
use sqlx::PgPool;

use super::super::progress;
use crate::serve::upcasters;

pub(super) async fn rebuild(pool: &PgPool, name: &str) -> anyhow::Result<String> {
    let work = async |show: rebuild::Progress<'_>| {
        rebuild::rebuild(pool, &upcasters(), &hub_projections::all(), name, show).await
    };
    let built = with_bar(name, work).await?;
    Ok(format!("{name} is built anew up to position {}, {} events parked\n", built.position, built.parked))
}

pub(super) async fn build(pool: &PgPool, name: &str) -> anyhow::Result<String> {
    let work = async |show: rebuild::Progress<'_>| {
        rebuild::build(pool, &upcasters(), &hub_projections::all(), name, show).await
    };
    let built = with_bar(name, work).await?;
    Ok(format!(
        "a candidate of {name} is ready at position {}, {} events parked; `hub projections promote {name}` puts it in place\n",
        built.position, built.parked
    ))
}

pub(super) async fn promote(pool: &PgPool, name: &str) -> anyhow::Result<String> {
    let work = async |show: rebuild::Progress<'_>| {
        rebuild::promote(pool, &upcasters(), &hub_projections::all(), name, show).await
    };
    let built = with_bar(name, work).await?;
    Ok(format!(
        "the candidate of {name} is live at position {}; `hub projections rollback {name}` is the way back\n",
        built.position
    ))
}

pub(super) async fn rollback(pool: &PgPool, name: &str) -> anyhow::Result<String> {
    let work = async |show: rebuild::Progress<'_>| {
        rebuild::rollback(pool, &upcasters(), &hub_projections::all(), name, show).await
    };
    let built = with_bar(name, work).await?;
    Ok(format!("the table of {name} that was retired is live again at position {}\n", built.position))
}

pub(super) async fn discard(pool: &PgPool, name: &str, retired: bool) -> anyhow::Result<String> {
    let kind = if retired { "retired table" } else { "candidate" };
    let found = rebuild::discard(pool, &hub_projections::all(), name, retired).await?;
    Ok(if found { format!("the {kind} of {name} is dropped\n") } else { format!("{name} has no {kind}\n") })
}

async fn with_bar(
    name: &str,
    work: impl AsyncFnOnce(rebuild::Progress<'_>) -> Result<Rebuilt, RebuildError>,
) -> Result<Rebuilt, RebuildError> {
    let bar: ProgressBar = progress::events(name);
    let show = |done, all| progress::show(&bar, done, all);
    let built = work(&show).await;
    bar.finish_and_clear();
    built
}
