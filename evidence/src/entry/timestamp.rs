//! Moments as an event's leaf covers them, and their one spelling.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
const DAYS_AN_ERA: i64 = 146_097;
/// Days from 1 March 0000 to 1 January 1970.
const DAYS_TO_1970: i64 = 719_468;
/// Years with which every number of microseconds can be written.
const YEAR_MAX: i64 = 300_000;

/// Microseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
///
/// Its text is RFC 3339 in UTC with six digits of a second, `2026-01-31T23:59:59.000001Z`; years before 0000 and after 9999 have a sign
/// and six digits, as ISO 8601 expands them. Each moment has one text and each text one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Why a text is no moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a moment such as 2026-01-31T23:59:59.000001Z")]
pub struct ParseTimestampError;

impl Timestamp {
    /// The moment so many microseconds after the beginning of 1970.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the beginning of 1970.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(MICROS_A_SECOND);
        let micros = self.0.rem_euclid(MICROS_A_SECOND);
        let (year, month, day) = date_of(seconds.div_euclid(SECONDS_A_DAY));
        let second = seconds.rem_euclid(SECONDS_A_DAY);
        match year {
            0..=9999 => write!(formatter, "{year:04}")?,
            _ => write!(formatter, "{year:+07}")?,
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(formatter, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        // The year has 4 characters, or 7 with its sign.
        let rest_at = text.len().checked_sub("-01-31T23:59:59.000001Z".len()).ok_or(ParseTimestampError)?;
        let (year, rest) = text.as_bytes().split_at(rest_at);
        let year = match year {
            [b'+', digits @ ..] if digits.len() == 6 => number(digits).filter(|year| *year > 9999),
            [b'-', digits @ ..] if digits.len() == 6 => number(digits).filter(|year| *year > 0).map(|year| -year),
            digits if digits.len() == 4 => number(digits),
            _ => None,
        };
        let year = year.filter(|year| year.abs() <= YEAR_MAX).ok_or(ParseTimestampError)?;
        let part = |before: u8, at: usize, length: usize, from: i64, to: i64| {
            let value = number(rest.get(at + 1..=at + length)?)?;
            (rest[at] == before && (from..=to).contains(&value)).then_some(value)
        };
        let parts = || {
            let (month, day) = (part(b'-', 0, 2, 1, 12)?, part(b'-', 3, 2, 1, 31)?);
            let (hour, minute) = (part(b'T', 6, 2, 0, 23)?, part(b':', 9, 2, 0, 59)?);
            let (second, micros) = (part(b':', 12, 2, 0, 59)?, part(b'.', 15, 6, 0, 999_999)?);
            let days = days_of(year, month, day);
            // 31 April and 30 February are other days than they say.
            let exists = date_of(days) == (year, month, day) && rest[22] == b'Z';
            let seconds = days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second;
            // The first seconds that there are begin before the first microsecond.
            let micros = i128::from(seconds) * i128::from(MICROS_A_SECOND) + i128::from(micros);
            i64::try_from(micros).ok().filter(|_| exists)
        };
        parts().map(Self).ok_or(ParseTimestampError)
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0')))
}

/// Days from 1970 to a date of the Gregorian calendar; years begin in March here, so that a leap day is the last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_AN_ERA + day_of_era - DAYS_TO_1970
}

/// Year, month and day.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_1970;
    let era = days.div_euclid(DAYS_AN_ERA);
    let day_of_era = days.rem_euclid(DAYS_AN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = (month + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a moment such as 2026-01-31T23:59:59.000001Z")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::{ParseTimestampError, Timestamp};

    #[test]
    fn moments_are_written_in_one_way() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (1_769_903_999_000_001, "2026-01-31T23:59:59.000001Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (-62_167_219_200_000_000, "0000-01-01T00:00:00.000000Z"),
            (-62_167_219_200_000_001, "-000001-12-31T23:59:59.999999Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "+010000-01-01T00:00:00.000000Z"),
            (i64::MAX, "+294247-01-10T04:00:54.775807Z"),
            (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
        ] {
            assert_eq!(Timestamp::from_micros(micros).to_string(), text);
            assert_eq!(text.parse(), Ok(Timestamp::from_micros(micros)));
        }
    }

    #[test]
    fn days_of_the_whole_calendar_are_read_back() {
        for day in -1_000_000..4_000_000_i64 {
            if day % 101 == 0 || (10_000..12_000).contains(&day) {
                let moment = Timestamp::from_micros(day * 86_400_000_000 + day.rem_euclid(86_400_000_000));
                assert_eq!(moment.to_string().parse(), Ok(moment));
            }
        }
    }

    #[test]
    fn other_spellings_are_no_moments() {
        for text in [
            "",
            "2026-01-31",
            "2026-01-31T23:59:59Z",
            "2026-01-31T23:59:59.001Z",
            "2026-01-31T23:59:59.000001+00:00",
            "2026-01-31t23:59:59.000001Z",
            "2026-01-31 23:59:59.000001Z",
            "2026-01-31T23:59:59.000001z",
            "2026-13-31T23:59:59.000001Z",
            "2026-00-31T23:59:59.000001Z",
            "2026-02-29T23:59:59.000001Z",
            "2026-04-31T23:59:59.000001Z",
            "2026-01-00T23:59:59.000001Z",
            "2026-01-31T24:00:00.000000Z",
            "2026-01-31T23:60:00.000000Z",
            "2026-12-31T23:59:60.000000Z",
            "+002026-01-31T23:59:59.000001Z",
            "-000000-01-31T23:59:59.000001Z",
            "+10000-01-31T23:59:59.000001Z",
            "+294247-01-10T04:00:54.775808Z",
            "-290308-12-21T19:59:05.224191Z",
            "+999999-01-01T00:00:00.000000Z",
            "2026-01-31T23:59:59.0000011Z",
            " 026-01-31T23:59:59.000001Z",
            "+026-01-31T23:59:59.000001Z",
            "é26-01-31T23:59:59.000001Z",
            "2026-01-31T23:59:59.00000éZ",
            "2026-é1-31T23:59:59.000001Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(ParseTimestampError), "{text}");
        }
    }
}
