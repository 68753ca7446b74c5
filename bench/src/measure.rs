//! How long things take: clients that do one thing after the other until a moment, each thing timed by itself.
//!
//! Clients run side by side, each with one command under way. What ends before the warm-up is over does not count, nor what ends
//! after the window; a percentile is one of all single latencies, never one of averages.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

/// A client that is still not done so long after the end of its window is stuck.
const GRACE: Duration = Duration::from_secs(60);

/// When is measured.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Not counted.
    pub warm_up: Duration,
    /// Counted.
    pub length: Duration,
}

/// What one subject did in one window.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// How often the thing was done.
    pub count: u64,
    /// In how many seconds.
    pub seconds: f64,
    /// Single latencies in microseconds; empty where there are none.
    pub latencies_us: Vec<u32>,
    /// Conflicts that a caller was shown.
    pub conflicts: u64,
}

impl Sample {
    /// A sample without single latencies: `count` things in `elapsed`.
    pub fn rate(count: u64, elapsed: Duration) -> Self {
        Self { count, seconds: elapsed.as_secs_f64(), ..Self::default() }
    }

    /// Things a second.
    pub fn per_second(&self) -> f64 {
        if self.seconds > 0.0 { to_f64(self.count) / self.seconds } else { 0.0 }
    }
}

/// Somebody who does one thing after the other.
pub trait Client: Send + 'static {
    /// Does the thing once.
    fn step(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Lets all clients work for the window.
pub async fn drive<C: Client>(clients: Vec<C>, window: Window) -> anyhow::Result<Sample> {
    let begin = Instant::now() + window.warm_up;
    let end = begin + window.length;
    let mut tasks = JoinSet::new();
    for mut client in clients {
        tasks.spawn(async move {
            let mut latencies_us = Vec::new();
            loop {
                let started = Instant::now();
                if started >= end {
                    return anyhow::Ok(latencies_us);
                }
                client.step().await?;
                let ended = Instant::now();
                if ended >= begin && ended < end {
                    latencies_us.push(micros(ended - started));
                }
            }
        });
    }
    let all = async {
        let mut latencies_us = Vec::new();
        while let Some(done) = tasks.join_next().await {
            latencies_us.extend(done.context("a client was lost")??);
        }
        anyhow::Ok(latencies_us)
    };
    let latencies_us = tokio::time::timeout(window.warm_up + window.length + GRACE, all)
        .await
        .context("a client did not end in time")??;
    Ok(Sample { count: latencies_us.len() as u64, seconds: window.length.as_secs_f64(), latencies_us, conflicts: 0 })
}

/// Whole microseconds, at most an hour.
pub fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// The value that `share` (0 to 1) of the sorted values do not exceed.
pub fn percentile(sorted: &[u32], share: f64) -> u32 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in a list that is in memory")]
    let place = (to_f64(sorted.len() as u64) * share).ceil() as usize;
    sorted[place.saturating_sub(1).min(last)]
}

/// The middle value; of two the mean.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// A count as a number to calculate with.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub const fn to_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&values, 0.5), 50);
        assert_eq!(percentile(&values, 0.99), 99);
        assert_eq!(percentile(&[7], 0.99), 7);
        assert_eq!(percentile(&[], 0.5), 0);
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert!((median(&[4.0, 1.0, 3.0]) - 3.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < f64::EPSILON);
    }
}
