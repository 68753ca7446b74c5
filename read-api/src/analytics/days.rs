//! A range of days, both ends included, with a bound.

use chrono::NaiveDate;
use hub_http::Problem;

/// At most so many days in one range.
pub(crate) const DAY_COUNT_MAX: i64 = 400;

/// Days of UTC from `from` to `to`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Days {
    pub(crate) from: NaiveDate,
    pub(crate) to: NaiveDate,
}

impl Days {
    /// 400 `invalid_query` when the range is empty or too long.
    pub(crate) fn new(from: NaiveDate, to: NaiveDate) -> Result<Self, Problem> {
        if from > to {
            return Err(Problem::invalid_query(Some("from"), "from is a later day than to"));
        }
        if (to - from).num_days() >= DAY_COUNT_MAX {
            let detail = format!("from and to are at most {DAY_COUNT_MAX} days apart, both counted");
            return Err(Problem::invalid_query(Some("to"), detail));
        }
        Ok(Self { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_a_day_and_at_most_400() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let code = |from, to| Days::new(day(from), day(to)).map_err(|problem| problem.code().to_owned());
        assert!(code("2025-01-01", "2025-01-01").is_ok());
        assert!(code("2025-01-01", "2026-02-04").is_ok(), "400 days");
        assert_eq!(code("2025-01-01", "2026-02-05"), Err("invalid_query".to_owned()));
        assert_eq!(code("2025-01-02", "2025-01-01"), Err("invalid_query".to_owned()));
    }
}
