//! What the project wants to reach, as ratios within one run, and whether it has.

use crate::report::{Row, find};

/// One figure that is wanted.
#[derive(Debug, Clone)]
pub struct Goal {
    /// What is compared with what.
    pub what: String,
    /// What was measured; `None` when a part of it was not run.
    pub measured: Option<f64>,
    /// What is wanted.
    pub wanted: Wanted,
    /// `x` for ratios, `ms` for times.
    pub unit: &'static str,
}

/// On which side of the figure the good ones are.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// `reached`, or how far it is from that.
    pub fn verdict(&self) -> String {
        let Some(measured) = self.measured else { return "not run".to_owned() };
        match self.wanted {
            Wanted::AtLeast(wanted) if measured >= wanted => "reached".to_owned(),
            Wanted::AtMost(wanted) if measured <= wanted => "reached".to_owned(),
            Wanted::AtLeast(wanted) => format!("missed: {:.0} % of it", measured / wanted * 100.0),
            Wanted::AtMost(wanted) if wanted > 0.0 => format!("missed: {:.1} times as much", measured / wanted),
            Wanted::AtMost(_) => "missed".to_owned(),
        }
    }

    /// The wanted figure as text.
    pub fn wanted_text(&self) -> String {
        match self.wanted {
            Wanted::AtLeast(wanted) => format!(">= {wanted} {}", self.unit),
            Wanted::AtMost(wanted) => format!("<= {wanted} {}", self.unit),
        }
    }

    /// The measured figure as text.
    pub fn measured_text(&self) -> String {
        self.measured.map_or_else(|| "-".to_owned(), |measured| format!("{measured:.2} {}", self.unit))
    }
}

/// Compares the rows with everything that is wanted.
pub fn goals(rows: &[Row]) -> Vec<Goal> {
    let rate = |workload: &str, clients: usize, subject: &str| {
        find(rows, workload, clients, subject).map(|row| row.per_second)
    };
    let ratio = |workload: &str, clients: usize, ours: &str, theirs: &str| {
        quotient(rate(workload, clients, ours), rate(workload, clients, theirs))
    };
    let p99 = |subject: &str| find(rows, "append", 64, subject).and_then(|row| row.p99_ms);
    let decision = |subject: &str| find(rows, "decide", 1, subject).and_then(|row| row.p50_ms);
    let visible = find(rows, "visible", 1, "hub");
    let at_least = |what: &str, measured, wanted| Goal {
        what: what.to_owned(),
        measured,
        wanted: Wanted::AtLeast(wanted),
        unit: "x",
    };
    let at_most = |what: &str, measured, wanted, unit| Goal {
        what: what.to_owned(),
        measured,
        wanted: Wanted::AtMost(wanted),
        unit,
    };
    #[expect(clippy::cast_precision_loss, reason = "the count of conflicts is small or zero")]
    let shown = find(rows, "hot", 32, "hub").map(|row| row.conflicts as f64);
    vec![
        at_least("append, 1 client: hub / postgres-es", ratio("append", 1, "hub", "postgres-es"), 2.5),
        at_least("append, 8 clients: hub / postgres-es", ratio("append", 8, "hub", "postgres-es"), 4.0),
        at_least("append, 32 clients: hub / postgres-es", ratio("append", 32, "hub", "postgres-es"), 7.0),
        at_least("append, 64 clients: hub / postgres-es", ratio("append", 64, "hub", "postgres-es"), 10.0),
        at_most("append, 64 clients: p99 of hub / postgres-es", quotient(p99("hub"), p99("postgres-es")), 0.1, "x"),
        at_least("append, 32 clients: hub / pgbench", ratio("append", 32, "hub", "pgbench"), 2.0),
        at_least("hot streams, 32 clients on 4: hub / postgres-es", ratio("hot", 32, "hub", "postgres-es"), 20.0),
        at_most("hot streams: conflicts shown to a caller of hub", shown, 0.0, ""),
        at_least("import, batches of 500: hub / postgres-es", ratio("import", 500, "hub", "postgres-es"), 5.0),
        at_least("import, batches of 5,000: hub / postgres-es", ratio("import", 5_000, "hub", "postgres-es"), 5.0),
        at_least(
            "commands over HTTP, 64 connections: hub / postgres-es as a library",
            quotient(rate("http", 64, "hub"), rate("append", 64, "postgres-es")),
            2.0,
        ),
        at_least("rebuild: hub / binary COPY of the log", ratio("rebuild", 1, "hub", "copy-limit"), 0.6),
        at_least("rebuild: hub / GenericQuery", ratio("rebuild", 1, "hub", "postgres-es"), 250.0),
        at_least(
            "offline verification: hub / SHA-256 and skipping through the JSON",
            ratio("verify", 1, "hub", "sha256-skip"),
            0.5,
        ),
        at_least("relay: hub / one by one", ratio("relay", 1, "hub", "one-by-one"), 15.0),
        at_least("webhooks, 100 connections: hub / a bare client", ratio("webhooks", 100, "hub", "bare"), 0.5),
        at_least(
            "webhooks, 1,000 endpoints: those that answer beside 100 that do not / beside 100 that do",
            ratio("webhooks", 1_000, "healthy-beside-dead", "healthy"),
            0.9,
        ),
        at_most(
            "command to first attempt of its webhook at 500 events/s: p99",
            find(rows, "webhooks", 1, "paced").and_then(|row| row.p99_ms),
            250.0,
            "ms",
        ),
        at_most("acknowledged to visible at 500 events/s: p50", visible.and_then(|row| row.p50_ms), 3.0, "ms"),
        at_most("acknowledged to visible at 500 events/s: p99", visible.and_then(|row| row.p99_ms), 10.0, "ms"),
        at_least("cached query, 32 connections: hub / bare axum", ratio("query", 32, "hub", "axum"), 0.85),
        at_least(
            "events to 200 streams beside 2,000 idle ones: hub / bare axum with the bytes at hand",
            ratio("stream", 200, "hub", "axum-sse"),
            0.5,
        ),
        at_most("a decision, 200 roles and 5,000 grants: p50", decision("hub"), 0.1, "ms"),
        at_most(
            "a decision: p50 of hub / one round trip to PostgreSQL",
            quotient(decision("hub"), decision("postgres")),
            1.0,
            "x",
        ),
        at_least(
            "append at 5 million events / at 10 thousand",
            quotient(rate("growth", 32, "hub@5M"), rate("growth", 32, "hub@10k")),
            0.8,
        ),
    ]
}

fn quotient(ours: Option<f64>, theirs: Option<f64>) -> Option<f64> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => Some(ours / theirs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, Wanted};

    #[test]
    fn a_goal_says_how_far_it_is_missed() {
        let goal = |measured, wanted| Goal { what: String::new(), measured: Some(measured), wanted, unit: "x" };
        assert_eq!(goal(2.5, Wanted::AtLeast(2.5)).verdict(), "reached");
        assert_eq!(goal(3.0, Wanted::AtLeast(4.0)).verdict(), "missed: 75 % of it");
        assert_eq!(goal(12.0, Wanted::AtMost(10.0)).verdict(), "missed: 1.2 times as much");
    }
}
