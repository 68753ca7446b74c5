//! Times in request bodies: to the microsecond, as PostgreSQL keeps them, and within the years that it can hold.

use std::str::FromStr;

use chrono::{DateTime, Datelike, SubsecRound, Utc};
use hub_domain::text::InvalidText;
use schemars::JsonSchema;

/// A time of RFC 3339 in the years 1970 to 9999; what is finer than a microsecond is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[schemars(transparent)]
pub(crate) struct Moment(pub(crate) DateTime<Utc>);

impl FromStr for Moment {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let time = DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc().trunc_subsecs(6));
        time.filter(|time| (1970..=9999).contains(&time.year())).map(Self).ok_or_else(|| {
            InvalidText("a time looks like 2026-01-31T12:00:00Z and lies in the years 1970 to 9999".to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn a_time_is_kept_in_utc_to_the_microsecond() {
        let moment: Moment = "2026-01-31T12:00:00.1234567+01:00".parse().unwrap();
        assert_eq!(moment.0.to_rfc3339(), "2026-01-31T11:00:00.123456+00:00");
    }

    #[test]
    fn what_is_no_time_or_lies_far_off_is_refused() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-30T12:00:00Z",
            "1969-12-31T23:59:59Z",
            "+12026-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
