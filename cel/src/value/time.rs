//! Instants and spans of time, as Go's `time` package reads and prints them.

use std::cmp::Ordering;

use jiff::tz::TimeZone;

use crate::eval::Error;

/// Seconds from the year 1 to 1970.
const MIN_SECONDS: i64 = -62_135_596_800;
/// Seconds from 1970 to the end of the year 9999.
const MAX_SECONDS: i64 = 253_402_300_799;
const NANOS: i64 = 1_000_000_000;

/// An instant, with the offset from UTC it was written in.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
    offset: i32,
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.seconds, self.nanos).cmp(&(other.seconds, other.nanos))
    }
}

/// A date and a time of day.
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    /// From 1.
    pub(crate) day: i64,
    /// From 1.
    pub(crate) day_of_year: i64,
    /// From 0, which is Sunday.
    pub(crate) weekday: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
}

impl Timestamp {
    /// The instant so many seconds after 1970 began.
    ///
    /// # Errors
    ///
    /// If it is not within the years 1 to 9999.
    pub fn from_seconds(seconds: i64) -> Result<Self, Error> {
        Self::checked(seconds, 0, 0)
    }

    fn checked(seconds: i64, nanos: u32, offset: i32) -> Result<Self, Error> {
        match (MIN_SECONDS..=MAX_SECONDS).contains(&seconds) {
            true => Ok(Timestamp { seconds, nanos, offset }),
            false => Err(Error::new("timestamp overflow")),
        }
    }

    /// Whole seconds since 1970 began.
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    /// Nanoseconds beyond the whole seconds.
    pub fn nanos(&self) -> u32 {
        self.nanos
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.seconds == MIN_SECONDS && self.nanos == 0
    }

    /// Reads an instant as of RFC 3339; `None` if it isn't one.
    pub fn parse(text: &str) -> Option<Result<Self, Error>> {
        let (days, rest) = date(text)?;
        let rest = rest.strip_prefix('T')?;
        let (of_day, rest) = clock(rest)?;
        let (nanos, rest) = fraction(rest)?;
        let offset = zone(rest)?;
        Some(Self::checked(days * 86_400 + of_day - i64::from(offset), nanos, offset))
    }

    /// Reads a date; the instant is its midnight in UTC.
    pub(crate) fn parse_date(text: &str) -> Option<Self> {
        let (days, rest) = date(text)?;
        if rest.is_empty() { Self::from_seconds(days * 86_400).ok() } else { None }
    }

    /// Reads an instant as the `date-time` format of OpenAPI allows it: the zone may be left out.
    pub(crate) fn parse_openapi(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Self::from_seconds(0).ok();
        }
        let upper = text.to_ascii_uppercase();
        let zoned = || Self::parse(&upper).and_then(Result::ok);
        zoned().or_else(|| Self::parse(&format!("{upper}Z")).and_then(Result::ok))
    }

    /// The instant some nanoseconds later.
    pub(crate) fn add(&self, nanos: i64) -> Result<Self, Error> {
        let total = i128::from(self.seconds) * i128::from(NANOS) + i128::from(self.nanos) + i128::from(nanos);
        let seconds = total.div_euclid(i128::from(NANOS)) as i64;
        Self::checked(seconds, total.rem_euclid(i128::from(NANOS)) as u32, self.offset)
    }

    /// The nanoseconds since another instant.
    pub(crate) fn since(&self, other: &Timestamp) -> Result<i64, Error> {
        let seconds = i128::from(self.seconds) - i128::from(other.seconds);
        let total = seconds * i128::from(NANOS) + i128::from(self.nanos) - i128::from(other.nanos);
        i64::try_from(total).map_err(|_| Error::new("duration overflow"))
    }

    /// The date and time in a zone: an IANA name or an offset such as `-08:00`.
    pub(crate) fn in_zone(&self, zone: &str) -> Result<Civil, Error> {
        let offset = match zone.split_once(':') {
            None if zone.is_empty() || zone == "UTC" => 0,
            None => {
                let unknown = || Error::new(format!("unknown time zone {zone}"));
                let zone = TimeZone::get(zone).map_err(|_| unknown())?;
                let at = jiff::Timestamp::from_second(self.seconds).map_err(|_| unknown())?;
                i64::from(zone.to_offset(at).seconds())
            }
            Some((hours, minutes)) => {
                let number = |text: &str| {
                    let wrong = || Error::new(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
                    text.parse::<i32>().map(i64::from).map_err(|_| wrong())
                };
                let (hours, minutes) = (number(hours)?, number(minutes)?);
                60 * if zone.starts_with('-') { hours * 60 - minutes } else { hours * 60 + minutes }
            }
        };
        Ok(civil(self.seconds.saturating_add(offset)))
    }
}

impl std::fmt::Display for Timestamp {
    /// Prints as RFC 3339 with as many digits of the second as needed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } =
            civil(self.seconds + i64::from(self.offset));
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        match self.offset {
            0 => f.write_str("Z"),
            offset => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

fn civil(seconds: i64) -> Civil {
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    // Eras of 400 years that begin on March 1st.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil {
        year,
        month,
        day,
        day_of_year: days - days_to(year, 1, 1) + 1,
        weekday: (days + 4).rem_euclid(7),
        hour: of_day / 3600,
        minute: of_day / 60 % 60,
        second: of_day % 60,
    }
}

/// The days from 1970 to a date.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    era * 146_097 + of_era - 719_468
}

fn digits(text: &str, count: usize) -> Option<(i64, &str)> {
    let (number, rest) = text.split_at_checked(count)?;
    let all = number.bytes().all(|c| c.is_ascii_digit());
    Some((number.parse().ok().filter(|_| all)?, rest))
}

fn date(text: &str) -> Option<(i64, &str)> {
    let (year, rest) = digits(text, 4)?;
    let (month, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = digits(rest.strip_prefix('-')?, 2)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=length).contains(&day).then(|| (days_to(year, month, day), rest))
}

fn clock(text: &str) -> Option<(i64, &str)> {
    let (hour, rest) = digits(text, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = digits(rest.strip_prefix(':')?, 2)?;
    (hour < 24 && minute < 60 && second < 60).then_some((hour * 3600 + minute * 60 + second, rest))
}

fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    if end == 0 {
        return None;
    }
    let nanos = format!("{:0<9}", &rest[..end.min(9)]).parse().ok()?;
    Some((nanos, &rest[end..]))
}

fn zone(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, rest) = digits(text.strip_prefix(['+', '-'])?, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(':')?, 2)?;
    (rest.is_empty() && hours <= 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60) as i32)
}

/// Reads a span of time such as `1h30m`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let whole = &rest[..end];
        rest = &rest[end..];
        let mut decimals = "";
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            decimals = &after[..end];
            rest = &after[end..];
        }
        if whole.is_empty() && decimals.is_empty() {
            return None;
        }
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let unit: u64 = match &rest[..end] {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &rest[end..];
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut value = whole.checked_mul(unit)?;
        if !decimals.is_empty() {
            let decimals = &decimals[..decimals.len().min(18)];
            let scale = 10f64.powi(decimals.len() as i32);
            value =
                value.checked_add((decimals.parse::<u64>().ok()? as f64 * (unit as f64 / scale)) as u64)?;
        }
        total = total.checked_add(value).filter(|total| *total <= 1 << 63)?;
    }
    match negative {
        true if total == 1 << 63 => Some(i64::MIN),
        true => Some(-(total as i64)),
        false => i64::try_from(total).ok(),
    }
}

/// Reads a span of time as OpenAPI's `duration` format allows it: also in days and weeks.
pub(crate) fn parse_openapi_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 8] = [
        ("ns nano", 1),
        ("us \u{b5}s micro", 1_000),
        ("ms milli", 1_000_000),
        ("s sec", 1_000_000_000),
        ("m min", 60_000_000_000),
        ("h hr hour", 3_600_000_000_000),
        ("d day", 86_400_000_000_000),
        ("w wk week", 604_800_000_000_000),
    ];
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let (mut rest, mut total) = (text.trim(), 0i64);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: i64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        let name = rest[..end].to_lowercase();
        rest = rest[end..].trim_start();
        let singular = name.strip_suffix('s').filter(|name| name.len() > 1).unwrap_or(&name);
        let is_unit = |names: &str| {
            names
                .split(' ')
                .any(|unit| unit == name || singular.starts_with(unit) && unit.len() > 2 || unit == singular)
        };
        let (_, unit) = UNITS.iter().find(|(names, _)| is_unit(names))?;
        total = total.checked_add(count.checked_mul(*unit)?)?;
    }
    (!text.trim().is_empty()).then_some(total)
}

/// Seconds as `string()` prints them.
pub(crate) fn seconds_text(nanos: i64) -> String {
    let seconds = (nanos / NANOS) as f64 + (nanos % NANOS) as f64 / 1e9;
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_printed_as_go_does() {
        for text in
            ["2023-07-14T10:30:45.123Z", "0001-01-01T00:00:00Z", "2000-02-29T23:59:59.999999999+14:00"]
        {
            assert_eq!(Timestamp::parse(text).unwrap().unwrap().to_string(), text);
        }
        for text in ["2023-02-29T00:00:00Z", "2023-01-01", "2023-01-01t00:00:00Z", "2023-01-01T24:00:00Z", ""]
        {
            assert!(Timestamp::parse(text).is_none(), "{text}");
        }
        let civil = Timestamp::parse("2023-07-14T01:00:00Z").unwrap().unwrap().in_zone("-08:00").unwrap();
        assert_eq!((civil.day, civil.hour, civil.weekday, civil.day_of_year), (13, 17, 4, 194));
    }

    #[test]
    fn spans_are_read_as_go_does() {
        let cases = [
            ("1h2m3s", Some(3_723_000_000_000)),
            ("-1.5ms", Some(-1_500_000)),
            ("0", Some(0)),
            ("1", None),
            ("", None),
            (".s", None),
            ("9999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
        assert_eq!(parse_openapi_duration("3 days"), Some(259_200_000_000_000));
        assert_eq!(seconds_text(3_723_456_000_000), "3723.456s");
    }
}
