//! The read models as lines of text.

use std::fmt::{Error, Write as _};

use hub_projections::{rebuild::state::Build, status::ProjectionStatus};

/// One line each.
pub(super) fn list(statuses: &[ProjectionStatus]) -> Result<String, Error> {
    let mut text = format!(
        "{:<20} {:>7} {:>10} {:>8} {:>9} {:>7}  {}\n",
        "name", "version", "position", "lag", "rows", "parked", "state"
    );
    for one in statuses {
        writeln!(
            text,
            "{:<20} {:>7} {:>10} {:>8} {:>9} {:>7}  {}",
            one.name,
            version(one),
            one.position,
            one.lag,
            one.rows,
            one.parked,
            state(one),
        )?;
    }
    Ok(text)
}

/// One line each for the live table, and one for each table beside it.
pub(super) fn status(statuses: &[ProjectionStatus]) -> Result<String, Error> {
    let mut text = format!(
        "{:<20} {:>7} {:>10} {:>8} {:>7} {:>9} {:>7} {:>9}  {}\n",
        "name", "version", "position", "lag", "lag s", "rows", "parked", "discarded", "state"
    );
    for one in statuses {
        writeln!(
            text,
            "{:<20} {:>7} {:>10} {:>8} {:>7.1} {:>9} {:>7} {:>9}  {}",
            one.name,
            version(one),
            one.position,
            one.lag,
            one.lag_seconds,
            one.rows,
            one.parked,
            one.discarded,
            state(one),
        )?;
        for build in &one.builds {
            writeln!(
                text,
                "  {:<18} {:>7} {:>10} {:>8} {:>7} {:>9} {:>7} {:>9}  {}",
                build.kind,
                build.version,
                build.position,
                (one.head - build.position).max(0),
                "",
                build.row_count.map_or(String::new(), |count| count.to_string()),
                build.parked,
                "",
                progress(build)
            )?;
        }
    }
    Ok(text)
}

fn version(one: &ProjectionStatus) -> String {
    match one.version {
        Some(version) if version == one.code_version => version.to_string(),
        Some(version) => format!("{version}->{}", one.code_version),
        None => "-".to_owned(),
    }
}

fn state(one: &ProjectionStatus) -> String {
    let state = format!("{:?}", one.state).to_lowercase();
    one.last_error.as_ref().map_or(state.clone(), |error| format!("{state}: {error}"))
}

fn progress(build: &Build) -> String {
    if build.abandoned() {
        return "left over by a process that ended; the next build clears it away".to_owned();
    }
    let mut text = build.state.clone();
    if let Some(rate) = build.events_per_second.filter(|_| build.kind == "candidate") {
        text += &format!(", {rate:.0} events/s");
    }
    if let Some(seconds) = build.seconds_to_go() {
        text += &format!(", {seconds:.0} s to go");
    }
    if let Some(error) = &build.error {
        text += &format!(": {error}");
    }
    text
}
