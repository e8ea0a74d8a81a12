//! The API's time types: `Time` (whole seconds), `MicroTime` (microseconds) and Go's duration text.
//!
//! All three travel as strings. `Time` is cut to whole seconds on output, as RFC 3339 in UTC, so two
//! times that print alike compare alike after a round trip.

mod parse;

use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that isn't a time or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a time of the expected layout; the text is what Go prints.
    #[error("{0}")]
    Time(String),
    /// Not one of Go's durations; the text is what Go prints.
    #[error("time: invalid duration {0:?}")]
    Duration(String),
    /// A number without a unit.
    #[error("time: missing unit in duration {0:?}")]
    MissingUnit(String),
    /// A unit Go doesn't know.
    #[error("time: unknown unit {unit:?} in duration {text:?}")]
    UnknownUnit {
        /// The unit found.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// A point in time, printed to the second: `2006-01-02T15:04:05Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Timestamp);

/// A point in time, printed to the microsecond: `2006-01-02T15:04:05.000000Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroTime(pub Timestamp);

impl Time {
    /// The present, cut to whole seconds.
    pub fn now() -> Self {
        Self::from(Timestamp::now())
    }

    /// How long ago this was at `now`; zero if it lies ahead.
    pub fn elapsed_at(self, now: Timestamp) -> StdDuration {
        StdDuration::try_from(now.duration_since(self.0)).unwrap_or_default()
    }
}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(Timestamp::from_second(at.as_second()).unwrap_or(at))
    }
}

impl MicroTime {
    /// The present, cut to microseconds.
    pub fn now() -> Self {
        Self::from(Timestamp::now())
    }
}

impl From<Timestamp> for MicroTime {
    fn from(at: Timestamp) -> Self {
        Self(Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", Timestamp::from_second(self.0.as_second()).unwrap_or(self.0))
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl FromStr for Time {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse::parse(text, parse::SECONDS).map(Self::from).map_err(ParseError::Time)
    }
}

impl FromStr for MicroTime {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse::parse(text, parse::MICROS).map(Self::from).map_err(ParseError::Time)
    }
}

/// A duration as Go writes it: `1h30m0s`, `1.5s`, `100ms`, `0s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    /// Nanoseconds; durations in flags and configuration may be negative.
    pub nanos: i64,
}

impl Duration {
    /// A whole number of seconds.
    pub const fn from_secs(secs: i64) -> Self {
        Self { nanos: secs.saturating_mul(1_000_000_000) }
    }

    /// A whole number of milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self { nanos: millis.saturating_mul(1_000_000) }
    }

    /// As a length of time; negative durations become zero.
    pub const fn to_std(self) -> StdDuration {
        StdDuration::from_nanos(if self.nanos < 0 { 0 } else { self.nanos as u64 })
    }

    /// In seconds.
    pub fn as_secs_f64(self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

impl From<StdDuration> for Duration {
    fn from(d: StdDuration) -> Self {
        Self { nanos: i64::try_from(d.as_nanos()).unwrap_or(i64::MAX) }
    }
}

impl FromStr for Duration {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let invalid = || ParseError::Duration(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(invalid());
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(number_end);
            let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
            if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
                return Err(invalid());
            }
            let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let scale: i128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" => return Err(ParseError::MissingUnit(text.to_owned())),
                _ => return Err(ParseError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() }),
            };
            if !whole.is_empty() {
                let whole: i128 = whole.parse::<u64>().map_err(|_| invalid())?.into();
                total += whole * scale;
            }
            if !fraction.is_empty() {
                // Digits beyond the nanosecond are dropped, as in Go.
                let digits = &fraction[..fraction.len().min(18)];
                let value: i128 = digits.parse::<u64>().map_err(|_| invalid())?.into();
                total += value * scale / 10i128.pow(digits.len() as u32);
            }
            rest = tail;
        }
        let nanos = i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())?;
        Ok(Self { nanos })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos.unsigned_abs();
        if self.nanos < 0 {
            f.write_str("-")?;
        }
        let decimal = |value: u64, unit: u64| {
            let fraction = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
            let fraction = fraction.trim_end_matches('0');
            let whole = value / unit;
            if fraction.is_empty() || unit == 1 { whole.to_string() } else { format!("{whole}.{fraction}") }
        };
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => write!(f, "{}µs", decimal(nanos, 1_000)),
            1_000_000..1_000_000_000 => write!(f, "{}ms", decimal(nanos, 1_000_000)),
            _ => {
                let minutes = nanos / 60_000_000_000;
                let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
                match (minutes / 60, minutes % 60) {
                    (0, 0) => write!(f, "{seconds}s"),
                    (0, m) => write!(f, "{m}m{seconds}s"),
                    (h, m) => write!(f, "{h}h{m}m{seconds}s"),
                }
            }
        }
    }
}

/// How long before `now` the API prints as an age: `5s`, `3m20s`, `2h5m`, `4d`, `2y30d`.
pub fn human_age(at: Timestamp, now: Timestamp) -> String {
    human_duration(now.duration_since(at).as_secs())
}

/// A number of seconds in the short form that tables use.
pub fn human_duration(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".to_owned();
    }
    if seconds < 0 {
        return "0s".to_owned();
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |major: i64, major_unit: &str, minor: i64, minor_unit: &str| {
        if minor == 0 {
            format!("{major}{major_unit}")
        } else {
            format!("{major}{major_unit}{minor}{minor_unit}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if days < 8 {
        pair(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 2920 {
        pair(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

/// `at` plus a length of time; the furthest time there is if that overflows.
pub fn add(at: Timestamp, by: StdDuration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    at.checked_add(millis.milliseconds()).unwrap_or(Timestamp::MAX)
}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl de::Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(concat!("a ", stringify!($type)))
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )*};
}
serde_as_text!(Time, MicroTime, Duration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_the_api_does() {
        let t: Time = "2024-05-06T07:08:09.987654321+02:00".parse().unwrap();
        assert_eq!(t.to_string(), "2024-05-06T05:08:09Z");
        let t: MicroTime = "2024-05-06T07:08:09.500000Z".parse().unwrap();
        assert_eq!(t.to_string(), "2024-05-06T07:08:09.500000Z");
        for bad in ["", "2024-05-06", "2024-05-06 07:08:09Z", "2024-05-06T07:08:09", "x"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_round_trip_in_go_text() {
        for (text, nanos, printed) in [
            ("0", 0, "0s"),
            ("5m", 300_000_000_000, "5m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-100ms", -100_000_000, "-100ms"),
            (".5h", 1_800_000_000_000, "30m0s"),
            ("1us", 1_000, "1µs"),
            ("1h0.25s", 3_600_250_000_000, "1h0m0.25s"),
        ] {
            let d: Duration = text.parse().unwrap();
            assert_eq!((d.nanos, d.to_string().as_str()), (nanos, printed), "{text}");
        }
        for (text, message) in [
            ("x", "time: invalid duration \"x\""),
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5d", "time: unknown unit \"d\" in duration \"5d\""),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn ages_are_short() {
        const HOUR: i64 = 3600;
        const DAY: i64 = 24 * HOUR;
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * HOUR, "3h"),
            (3 * HOUR + 60, "3h1m"),
            (8 * HOUR + 60, "8h"),
            (47 * HOUR, "47h"),
            (48 * HOUR, "2d"),
            (49 * HOUR, "2d1h"),
            (8 * DAY + HOUR, "8d"),
            (729 * DAY, "729d"),
            (730 * DAY, "2y"),
            (731 * DAY, "2y1d"),
            (3000 * DAY, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
