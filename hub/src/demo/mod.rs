//! A believable year of a provider of managed services, played on a platform through its public HTTP API only.
//!
//! `story` says what happens to each tenant, as data and from a seed; `play` sends it, step by step, and judges the answers;
//! `client` speaks HTTP; `summary` tells what came of it and where to look. Each command's idempotency key is made from the seed
//! and the step, so playing the same seed again changes nothing, and playing more tenants goes on where it ended.

pub mod catalogue;
pub mod client;
pub mod company;
pub mod play;
pub mod step;
pub mod story;
pub mod summary;

use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::{ProgressBar, ProgressStyle};

use client::Client;
use play::Played;
use story::Story;

/// Most tenants of one demo.
pub const TENANTS_MAX: u16 = 500;

/// Most tenants that are played at the same time.
pub const CONCURRENCY_MAX: u16 = 64;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many tenants there are.
    pub tenants: u16,
    /// The same seed has the same story.
    pub seed: u64,
    /// How many tenants are played at the same time.
    pub concurrency: u16,
}

/// What came of a year.
#[derive(Debug)]
pub struct Year {
    /// Each tenant, in the order of the cast.
    pub played: Vec<Played>,
    /// How long it took.
    pub took: Duration,
}

/// Plays the year, with a progress bar on a terminal.
///
/// # Errors
/// When the platform does not answer or does not take the key, and the first step whose answer is not what it should be.
pub async fn run(client: &Client, options: Options) -> anyhow::Result<Year> {
    client.meet().await?;
    let cast: Vec<Story> = (0..usize::from(options.tenants)).map(|index| story::tell(options.seed, index)).collect();
    let progress = progress_bar(&cast);
    let started = Instant::now();
    let outcome: anyhow::Result<Vec<Played>> = stream::iter(&cast)
        .map(|story| play::play(client, options.seed, story, || progress.inc(1)))
        .buffer_unordered(usize::from(options.concurrency))
        .try_collect()
        .await;
    progress.finish_and_clear();
    let mut played = outcome?;
    played.sort_by_key(|played| played.index);
    Ok(Year { played, took: started.elapsed() })
}

fn progress_bar(cast: &[Story]) -> ProgressBar {
    let step_count: usize = cast.iter().map(|story| story.steps.len()).sum();
    let style =
        ProgressStyle::with_template("{spinner} a year of {msg} {bar:32} {pos}/{len} steps, {per_sec}, {eta} left")
            .expect("the template has no mistake");
    let bar = ProgressBar::new(u64::try_from(step_count).expect("a cast has fewer steps than fit 64 bits"));
    bar.with_style(style).with_message(format!("{} tenants", cast.len()))
}
