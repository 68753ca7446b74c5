//! What was measured, by workload, number of clients and subject, and what becomes of it over the rounds.
//!
//! A rate is the median of the rounds' rates; percentiles are of all latencies of all rounds together.

use std::collections::BTreeMap;

use crate::measure::{Sample, median, percentile, to_f64};

/// Who was measured at what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    workload: &'static str,
    clients: usize,
    subject: String,
    /// Several ways to run one subject, such as sizes of its pool; only the best is shown.
    way: String,
}

#[derive(Debug, Clone, Default)]
struct Rounds {
    order: usize,
    rates: Vec<f64>,
    latencies_us: Vec<u32>,
    conflicts: u64,
    count: u64,
}

/// One line of the result.
#[derive(Debug, Clone)]
pub struct Row {
    pub workload: &'static str,
    pub clients: usize,
    pub subject: String,
    /// How the subject was run, if there were several ways.
    pub way: String,
    pub per_second: f64,
    /// In milliseconds; `None` where nothing single was timed.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// Conflicts shown to callers, a thousand commands.
    pub conflicts_per_thousand: f64,
    pub conflicts: u64,
}

/// Everything that a run has measured.
#[derive(Debug, Default)]
pub struct Report {
    measured: BTreeMap<Key, Rounds>,
    /// Largest resident sets in MiB, by what the process did.
    peaks: BTreeMap<String, u64>,
}

impl Report {
    /// Adds one round of a subject that is run in one way only.
    pub fn add(&mut self, workload: &'static str, clients: usize, subject: &str, sample: Sample) {
        self.add_way(workload, clients, subject, "", sample);
    }

    /// Adds one round of a subject that is run in several ways.
    pub fn add_way(&mut self, workload: &'static str, clients: usize, subject: &str, way: &str, sample: Sample) {
        eprintln!("  {workload:<8} {clients:>3} clients  {subject:<12} {way:<8} {:>12.1}/s", sample.per_second());
        let order = self.measured.len();
        let key = Key { workload, clients, subject: subject.to_owned(), way: way.to_owned() };
        let rounds = self.measured.entry(key).or_insert_with(|| Rounds { order, ..Rounds::default() });
        rounds.rates.push(sample.per_second());
        rounds.latencies_us.extend(sample.latencies_us);
        rounds.conflicts += sample.conflicts;
        rounds.count += sample.count;
    }

    /// Adds the peak memory of a process; the largest of all rounds is kept.
    pub fn peak(&mut self, what: &str, mib: Option<u64>) {
        if let Some(mib) = mib {
            let peak = self.peaks.entry(what.to_owned()).or_default();
            *peak = mib.max(*peak);
        }
    }

    /// A line for each peak.
    pub fn peak_lines(&self) -> Vec<String> {
        self.peaks.iter().map(|(what, mib)| format!("peak memory (VmHWM) of {what}: {mib} MiB")).collect()
    }

    /// The best way of each subject, in the order in which they were first measured.
    pub fn rows(&self) -> Vec<Row> {
        let mut best: BTreeMap<(&'static str, usize, &str), (usize, Row)> = BTreeMap::new();
        for (key, rounds) in &self.measured {
            let row = row(key, rounds);
            let place = (key.workload, key.clients, key.subject.as_str());
            match best.get_mut(&place) {
                Some((order, known)) => {
                    *order = (*order).min(rounds.order);
                    if row.per_second > known.per_second {
                        *known = row;
                    }
                }
                None => drop(best.insert(place, (rounds.order, row))),
            }
        }
        let mut rows: Vec<(usize, Row)> = best.into_values().collect();
        rows.sort_by_key(|(order, _)| *order);
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

fn row(key: &Key, rounds: &Rounds) -> Row {
    let mut sorted = rounds.latencies_us.clone();
    sorted.sort_unstable();
    let at = |share| (!sorted.is_empty()).then(|| f64::from(percentile(&sorted, share)) / 1_000.0);
    Row {
        workload: key.workload,
        clients: key.clients,
        subject: key.subject.clone(),
        way: key.way.clone(),
        per_second: median(&rounds.rates),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        conflicts_per_thousand: if rounds.count > 0 {
            to_f64(rounds.conflicts) * 1_000.0 / to_f64(rounds.count)
        } else {
            0.0
        },
        conflicts: rounds.conflicts,
    }
}

/// The row of one subject.
pub fn find<'a>(rows: &'a [Row], workload: &str, clients: usize, subject: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.workload == workload && row.clients == clients && row.subject == subject)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Report, find};
    use crate::measure::Sample;

    #[test]
    fn the_median_of_the_better_way_counts() {
        let mut report = Report::default();
        for (way, rates) in [("pool 10", [10, 90, 20]), ("pool 64", [30, 31, 1])] {
            for count in rates {
                report.add_way("append", 64, "peer", way, Sample::rate(count, Duration::from_secs(1)));
            }
        }
        let rows = report.rows();
        let row = find(&rows, "append", 64, "peer").unwrap();
        assert_eq!((rows.len(), row.way.as_str()), (1, "pool 64"));
        assert!((row.per_second - 30.0).abs() < 1e-9);
    }
}
