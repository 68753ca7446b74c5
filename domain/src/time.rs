//! Times that somebody names: to the microsecond, as PostgreSQL keeps times, and in years that it can hold.

use chrono::{DateTime, Datelike, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, de::Error};

fn gate<E: Error>(time: DateTime<Utc>) -> Result<DateTime<Utc>, E> {
    if (1970..=9999).contains(&time.year()) {
        return Ok(time.trunc_subsecs(6));
    }
    Err(E::custom("a time lies in the years 1970 to 9999"))
}

/// Reads a time through the gate.
pub(crate) fn parsed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    gate(DateTime::deserialize(deserializer)?)
}

/// Reads an optional time through the gate; together with `#[serde(default)]`.
pub(crate) fn parsed_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    Option::deserialize(deserializer)?.map(gate).transpose()
}
