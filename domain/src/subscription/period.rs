//! The calendar of a subscription: where its periods begin and end.
//!
//! Periods are half-open, `[starts_at, ends_at)`, follow each other without a gap, and are numbered from 1. A boundary is the
//! anchor plus whole calendar months, clamped to the end of a shorter month and always counted from the anchor: 31 January, then
//! 28 February, then 31 March. Months are counted across changes of the interval, so that a plan that goes from monthly to yearly
//! and back keeps its day of the month. Only a pause that outlasts its period moves the anchor, to the moment of the resumption.

use chrono::{DateTime, Datelike, Months, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::AsRefStr;

use super::plan::Interval;

/// A subscription may start in the years from this one on.
pub const START_YEAR_MIN: i32 = 2000;
/// A subscription may start in the years up to this one.
pub const START_YEAR_MAX: i32 = 2199;

/// What a period is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, AsRefStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum PeriodKind {
    /// One interval of service, charged in full.
    Service,
    /// The part of a pause that no paid period covers; charged nothing.
    Pause,
}

/// One half-open span of time, `[starts_at, ends_at)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    pub number: u32,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
}

/// Which periods were opened, and from where the next ones are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// The moment from which boundaries are counted.
    anchor_at: DateTime<Utc>,
    /// How many months after the anchor the last opened period ends.
    months: u32,
    /// The number of the last opened period; 0 before the first.
    number: u32,
    /// The end of the last opened period; the anchor before the first.
    opened_until_at: DateTime<Utc>,
}

impl Calendar {
    /// A calendar in which nothing was opened yet.
    #[must_use]
    pub const fn new(anchor_at: DateTime<Utc>) -> Self {
        Self { anchor_at, months: 0, number: 0, opened_until_at: anchor_at }
    }

    /// The end of the last opened period, which is where the next one begins.
    #[must_use]
    pub const fn opened_until_at(&self) -> DateTime<Utc> {
        self.opened_until_at
    }

    /// The period of service to open next.
    #[must_use]
    pub fn next(&self, interval: Interval) -> Period {
        let ends_at = boundary(self.anchor_at, self.months.saturating_add(interval.months()));
        Period { number: self.next_number(), starts_at: self.opened_until_at, ends_at }
    }

    /// The period that covers a pause up to its end.
    #[must_use]
    pub fn rest(&self, until_at: DateTime<Utc>) -> Period {
        Period { number: self.next_number(), starts_at: self.opened_until_at, ends_at: until_at }
    }

    /// Takes an opened period in; `interval` is the one it was opened with.
    pub(super) fn open(&mut self, kind: PeriodKind, interval: Interval, number: u32, ends_at: DateTime<Utc>) {
        self.number = number;
        self.opened_until_at = ends_at;
        match kind {
            PeriodKind::Service => self.months = self.months.saturating_add(interval.months()),
            PeriodKind::Pause => (self.anchor_at, self.months) = (ends_at, 0),
        }
    }

    const fn next_number(&self) -> u32 {
        self.number.saturating_add(1)
    }
}

/// The anchor plus `months` calendar months, clamped to the end of a shorter month; the end of time where the calendar ends.
#[must_use]
pub fn boundary(anchor_at: DateTime<Utc>, months: u32) -> DateTime<Utc> {
    anchor_at.checked_add_months(Months::new(months)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Whether a subscription may start at this moment.
pub(super) fn start_allowed(starts_at: DateTime<Utc>) -> bool {
    (START_YEAR_MIN..=START_YEAR_MAX).contains(&starts_at.year())
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Datelike, Days, NaiveDate, TimeDelta, Utc};

    use super::{Calendar, Period, PeriodKind, boundary, start_allowed};
    use crate::subscription::plan::Interval;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn days(anchor: &str, interval: Interval, count: u32) -> Vec<String> {
        let anchor_at = at(anchor);
        (0..count).map(|n| boundary(anchor_at, n * interval.months()).format("%Y-%m-%d").to_string()).collect()
    }

    /// Every day of four years and more, so that each place in the leap cycle is an anchor; the time of day varies too.
    fn anchors() -> impl Iterator<Item = DateTime<Utc>> {
        (0..1_500).map(|day| at("2023-01-01T00:00:00Z") + Days::new(day) + TimeDelta::milliseconds(day as i64 * 57_599))
    }

    fn last_day(moment: DateTime<Utc>) -> u32 {
        let (year, month) =
            if moment.month() == 12 { (moment.year() + 1, 1) } else { (moment.year(), moment.month() + 1) };
        NaiveDate::from_ymd_opt(year, month, 1).unwrap().pred_opt().unwrap().day()
    }

    fn open(calendar: &mut Calendar, interval: Interval) -> Period {
        let period = calendar.next(interval);
        calendar.open(PeriodKind::Service, interval, period.number, period.ends_at);
        period
    }

    #[test]
    fn the_last_of_january_clamps_and_comes_back() {
        assert_eq!(
            days("2026-01-31T08:30:00Z", Interval::Month, 6),
            ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]
        );
        assert_eq!(days("2028-01-31T00:00:00Z", Interval::Month, 3), ["2028-01-31", "2028-02-29", "2028-03-31"]);
    }

    #[test]
    fn the_thirtieth_and_the_twenty_ninth_clamp_in_february_only() {
        assert_eq!(days("2026-01-30T00:00:00Z", Interval::Month, 3), ["2026-01-30", "2026-02-28", "2026-03-30"]);
        assert_eq!(days("2026-01-29T00:00:00Z", Interval::Month, 3), ["2026-01-29", "2026-02-28", "2026-03-29"]);
        assert_eq!(days("2028-01-29T00:00:00Z", Interval::Month, 3), ["2028-01-29", "2028-02-29", "2028-03-29"]);
    }

    #[test]
    fn the_twenty_ninth_of_february_comes_back_each_leap_year() {
        assert_eq!(
            days("2024-02-29T12:00:00Z", Interval::Year, 9),
            [
                "2024-02-29",
                "2025-02-28",
                "2026-02-28",
                "2027-02-28",
                "2028-02-29",
                "2029-02-28",
                "2030-02-28",
                "2031-02-28",
                "2032-02-29"
            ]
        );
        assert_eq!(days("2096-02-29T00:00:00Z", Interval::Year, 5)[4], "2100-02-28");
    }

    #[test]
    fn boundaries_cross_the_end_of_the_year() {
        assert_eq!(
            days("2026-11-30T00:00:00Z", Interval::Month, 4),
            ["2026-11-30", "2026-12-30", "2027-01-30", "2027-02-28"]
        );
    }

    #[test]
    fn every_boundary_keeps_the_anchors_day_or_the_months_last() {
        for anchor_at in anchors() {
            for n in 0..60 {
                let moment = boundary(anchor_at, n);
                assert_eq!(moment.day(), anchor_at.day().min(last_day(moment)), "{anchor_at} + {n}");
                assert_eq!(moment.time(), anchor_at.time(), "{anchor_at} + {n}");
                let months =
                    (moment.year() - anchor_at.year()) * 12 + moment.month0() as i32 - anchor_at.month0() as i32;
                assert_eq!(months, n as i32, "{anchor_at} + {n}");
            }
        }
    }

    #[test]
    fn periods_are_contiguous_and_numbered_from_one() {
        for anchor_at in anchors() {
            for interval in [Interval::Month, Interval::Year] {
                let mut calendar = Calendar::new(anchor_at);
                let mut ends_at = anchor_at;
                for n in 1..=30 {
                    let period = open(&mut calendar, interval);
                    assert_eq!(period.number, n);
                    assert_eq!(period.starts_at, ends_at, "period {n} from {anchor_at}");
                    assert!(period.starts_at < period.ends_at, "period {n} from {anchor_at}");
                    assert_eq!(period.ends_at, boundary(anchor_at, n * interval.months()));
                    ends_at = period.ends_at;
                }
            }
        }
    }

    #[test]
    fn every_moment_lies_in_one_period() {
        let mut calendar = Calendar::new(at("2026-01-31T08:30:00Z"));
        let periods: Vec<_> = (0..24).map(|_| open(&mut calendar, Interval::Month)).collect();
        let end = periods.last().unwrap().ends_at;
        let mut moment = periods[0].starts_at;
        while moment < end {
            let holding = periods.iter().filter(|period| period.starts_at <= moment && moment < period.ends_at).count();
            assert_eq!(holding, 1, "{moment}");
            moment += TimeDelta::minutes(15);
        }
    }

    #[test]
    fn a_change_of_the_interval_keeps_the_day_and_leaves_no_gap() {
        let mut calendar = Calendar::new(at("2026-01-31T00:00:00Z"));
        let ends: Vec<_> = [Interval::Month, Interval::Year, Interval::Month, Interval::Month, Interval::Year]
            .into_iter()
            .map(|interval| open(&mut calendar, interval).ends_at.format("%Y-%m-%d").to_string())
            .collect();
        assert_eq!(ends, ["2026-02-28", "2027-02-28", "2027-03-31", "2027-04-30", "2028-04-30"]);
    }

    #[test]
    fn mixed_intervals_stay_contiguous_from_every_anchor() {
        for (n, anchor_at) in anchors().enumerate() {
            let mut calendar = Calendar::new(anchor_at);
            let mut ends_at = anchor_at;
            for step in 0..20 {
                let interval = if (n >> (step % 8)) & 1 == 0 { Interval::Month } else { Interval::Year };
                let period = open(&mut calendar, interval);
                assert_eq!(period.starts_at, ends_at);
                assert!(period.starts_at < period.ends_at);
                ends_at = period.ends_at;
            }
        }
    }

    #[test]
    fn a_pause_moves_the_anchor_to_its_end() {
        let mut calendar = Calendar::new(at("2026-01-31T00:00:00Z"));
        open(&mut calendar, Interval::Month);
        let pause = calendar.rest(at("2026-05-10T09:00:00Z"));
        assert_eq!((pause.number, pause.starts_at), (2, at("2026-02-28T00:00:00Z")));
        calendar.open(PeriodKind::Pause, Interval::Month, pause.number, pause.ends_at);
        let next = calendar.next(Interval::Month);
        assert_eq!(
            (next.number, next.starts_at, next.ends_at),
            (3, at("2026-05-10T09:00:00Z"), at("2026-06-10T09:00:00Z"))
        );
    }

    #[test]
    fn the_end_of_the_calendar_is_not_crossed() {
        assert_eq!(boundary(at("2026-01-31T00:00:00Z"), u32::MAX), DateTime::<Utc>::MAX_UTC);
    }

    #[test]
    fn a_start_has_bounds() {
        assert!(start_allowed(at("2000-01-01T00:00:00Z")));
        assert!(start_allowed(at("2199-12-31T23:59:59Z")));
        assert!(!start_allowed(at("1999-12-31T23:59:59Z")));
        assert!(!start_allowed(at("2200-01-01T00:00:00Z")));
    }
}
