//! Schedules of CronJobs, in the dialect of upstream's parser (robfig/cron v3, standard form): five fields, names of
//! months and days, steps, `@daily` and its kin, `@every`, and an optional time zone in front.

use std::time::Duration as StdDuration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, Unit, Zoned};

use crate::time::Duration;

/// The years that are searched for a time that fits.
const YEARS: i16 = 5;
/// Marks a field that was given as `*`.
const STAR: u64 = 1 << 63;

/// A field's least and greatest value, and the names of its values from `first_name` on.
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
    first_name: u32,
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[], first_name: 0 };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[], first_name: 0 };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[], first_name: 0 };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    first_name: 1,
};
const WEEKDAYS: Bounds =
    Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"], first_name: 0 };

/// When something is to happen again and again.
#[derive(Clone, Debug)]
pub struct Schedule {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Clone, Debug)]
enum Rule {
    Every(StdDuration),
    Fields { minute: u64, hour: u64, day: u64, month: u64, weekday: u64 },
}

/// Finds a time zone of the IANA database; the empty name and `UTC` are UTC, `Local` is the system's.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => Ok(TimeZone::UTC),
        "Local" => Ok(TimeZone::system()),
        // Names that could lead out of a database of files.
        _ if name.contains("..") || name.starts_with('/') || name.contains('\\') => {
            Err("time: invalid location name".to_owned())
        }
        _ => TimeZone::get(name).map_err(|_| format!("unknown time zone {name}")),
    }
}

impl Schedule {
    /// Reads a schedule. Without a zone of its own it means the system's.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let (zone, text) = match text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
            None => (TimeZone::system(), text),
            Some(rest) => {
                // Upstream's parser panics without a space, which its callers turn into an error.
                let (name, rest) =
                    rest.split_once(' ').ok_or("runtime error: slice bounds out of range [:-1]")?;
                let zone = time_zone(name).map_err(|why| format!("provided bad location {name}: {why}"))?;
                (zone, rest.trim())
            }
        };
        let rule = if text.starts_with('@') { descriptor(text)? } else { fields(text)? };
        Ok(Schedule { rule, zone })
    }

    /// The first time after `after`; none if no date within five years fits.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(period) => {
                let whole = after
                    .round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor));
                whole.ok()?.checked_add(*period).ok()
            }
            Rule::Fields { minute, hour, day, month, weekday } => {
                search(after.to_zoned(self.zone.clone()), [*minute, *hour, *day, *month, *weekday])
            }
        }
    }
}

/// Goes forward unit by unit, the largest first; what is smaller than a unit that was moved starts at its least value.
/// A unit that wraps around changes the larger ones, which are then looked at again.
fn search(after: Zoned, [minute, hour, day, month, weekday]: [u64; 5]) -> Option<Timestamp> {
    let has = |bits: u64, value: i8| u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0);
    let day_fits = |time: &Zoned| {
        let by_day = has(day, time.day());
        let by_weekday = has(weekday, time.weekday().to_sunday_zero_offset());
        if day & STAR != 0 || weekday & STAR != 0 { by_day && by_weekday } else { by_day || by_weekday }
    };
    let floor = |time: &Zoned, unit: Unit| {
        time.round(jiff::ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Floor)).ok()
    };
    let mut time = floor(&after, Unit::Second)?.checked_add(1.second()).ok()?;
    let last_year = time.year().saturating_add(YEARS);
    // Whether the units below the one in hand are at their least value already.
    let mut at_start = false;
    'again: loop {
        if time.year() > last_year {
            return None;
        }
        while !has(month, time.month()) {
            if !at_start {
                at_start = true;
                time = time.first_of_month().ok()?.start_of_day().ok()?;
            }
            time = time.checked_add(1.month()).ok()?;
            if time.month() == 1 {
                continue 'again;
            }
        }
        while !day_fits(&time) {
            if !at_start {
                at_start = true;
                time = time.start_of_day().ok()?;
            }
            // Where a change of the clock has no midnight, the day starts later.
            time = time.checked_add(1.day()).ok()?.start_of_day().ok()?;
            if time.day() == 1 {
                continue 'again;
            }
        }
        while !has(hour, time.hour()) {
            if !at_start {
                at_start = true;
                let minutes = SignedDuration::from_mins(time.minute().into());
                time = floor(&time, Unit::Minute)?.checked_sub(minutes).ok()?;
            }
            time = time.checked_add(1.hour()).ok()?;
            if time.hour() == 0 {
                continue 'again;
            }
        }
        while !has(minute, time.minute()) {
            if !at_start {
                at_start = true;
                time = floor(&time, Unit::Minute)?;
            }
            time = time.checked_add(1.minute()).ok()?;
            if time.minute() == 0 {
                continue 'again;
            }
        }
        while time.second() != 0 {
            time = time.checked_add(1.second()).ok()?;
            if time.second() == 0 {
                continue 'again;
            }
        }
        return Some(time.timestamp());
    }
}

fn descriptor(text: &str) -> Result<Rule, String> {
    let standard = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(period) = text.strip_prefix("@every ") else {
                return Err(format!("unrecognized descriptor: {text}"));
            };
            let period: Duration =
                period.parse().map_err(|why| format!("failed to parse duration {text}: {why}"))?;
            let period = period.to_std().max(StdDuration::from_secs(1));
            return Ok(Rule::Every(StdDuration::from_secs(period.as_secs())));
        }
    };
    fields(standard)
}

fn fields(text: &str) -> Result<Rule, String> {
    let list: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = list[..] else {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", list.len(), list.join(" ")));
    };
    Ok(Rule::Fields {
        minute: field(minute, &MINUTES)?,
        hour: field(hour, &HOURS)?,
        day: field(day, &DAYS)?,
        month: field(month, &MONTHS)?,
        weekday: field(weekday, &WEEKDAYS)?,
    })
}

fn field(text: &str, bounds: &Bounds) -> Result<u64, String> {
    text.split(',').filter(|part| !part.is_empty()).try_fold(0, |bits, part| Ok(bits | range(part, bounds)?))
}

/// `low[-high][/step]` as the set of its values.
fn range(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let mut parts = text.split('/');
    let (limits, step) = (parts.next().unwrap_or_default(), parts.next());
    let ends: Vec<&str> = limits.split('-').collect();
    let mut star = 0;
    let (low, mut high) = match ends[..] {
        ["*" | "?", ..] => {
            star = STAR;
            (bounds.min, bounds.max)
        }
        [one] => (value(one, bounds)?, value(one, bounds)?),
        [low, high] => (value(low, bounds)?, value(high, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match step {
        None => 1,
        Some(_) if parts.next().is_some() => return Err(format!("too many slashes: {text}")),
        Some(step) => {
            let step = number(step)?;
            if ends.len() == 1 {
                high = bounds.max;
            }
            if step > 1 {
                star = 0;
            }
            step
        }
    };
    let (min, max) = (bounds.min, bounds.max);
    if low < min {
        return Err(format!("beginning of range ({low}) below minimum ({min}): {text}"));
    }
    if high > max {
        return Err(format!("end of range ({high}) above maximum ({max}): {text}"));
    }
    if low > high {
        return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((low..=high).step_by(step).fold(star, |bits, value| bits | 1 << value))
}

fn value(text: &str, bounds: &Bounds) -> Result<u32, String> {
    match (bounds.first_name..).zip(bounds.names).find(|(_, name)| text.eq_ignore_ascii_case(name)) {
        Some((value, _)) => Ok(value),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        ));
    }
    let value: i64 = text.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: value out of range")
    })?;
    if value < 0 {
        return Err(format!("negative number ({value}) not allowed: {text}"));
    }
    Ok(u32::try_from(value).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the tables of robfig/cron's spec_test.go.
    #[test]
    fn next_times() {
        for (from, schedule, expected) in [
            ("2012-07-09T14:45:00Z", "TZ=UTC 0/15 * * * *", "2012-07-09T15:00:00Z"),
            ("2012-07-09T14:59:59Z", "TZ=UTC 0/15 * * * *", "2012-07-09T15:00:00Z"),
            ("2012-07-09T15:45:00Z", "TZ=UTC 20-35/15 * * * *", "2012-07-09T16:20:00Z"),
            ("2012-07-09T23:46:00Z", "TZ=UTC */15 * * * *", "2012-07-10T00:00:00Z"),
            ("2012-07-09T23:45:00Z", "TZ=UTC 20-35/15 1/2 * * *", "2012-07-10T01:20:00Z"),
            ("2012-07-09T23:35:00Z", "TZ=UTC 0 0 9 Apr-Oct ?", "2012-08-09T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "TZ=UTC 0 0 */5 Apr,Aug,Oct Mon", "2012-08-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "TZ=UTC 0 0 */5 Oct Mon", "2012-10-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "TZ=UTC 0 0 * Feb Mon", "2013-02-04T00:00:00Z"),
            ("2012-12-31T23:59:45Z", "TZ=UTC * * * * *", "2013-01-01T00:00:00Z"),
            ("2012-07-09T23:35:00Z", "TZ=UTC 0 0 29 Feb ?", "2016-02-29T00:00:00Z"),
            // Hours that the clock skips, and that it shows twice.
            ("2012-03-11T00:00:00-05:00", "TZ=America/New_York 30 2 11 Mar ?", "2013-03-11T02:30:00-04:00"),
            ("2012-03-11T01:00:00-05:00", "TZ=America/New_York 0 * * * ?", "2012-03-11T03:00:00-04:00"),
            ("2012-03-11T00:00:00-05:00", "TZ=America/New_York 0 2 * * ?", "2012-03-12T02:00:00-04:00"),
            ("2012-11-04T01:45:00-04:00", "TZ=America/New_York 0 1 * * ?", "2012-11-04T01:00:00-05:00"),
            ("2012-11-04T01:00:00-04:00", "TZ=America/New_York 0 2 * * ?", "2012-11-04T02:00:00-05:00"),
            ("2012-11-04T00:00:00-04:00", "TZ=America/New_York 0 3 * * ?", "2012-11-04T03:00:00-05:00"),
            ("2018-10-17T05:00:00-04:00", "TZ=America/Sao_Paulo 0 9 4 Nov ?", "2018-11-04T06:00:00-05:00"),
            ("2018-11-03T05:00:00-04:00", "TZ=America/Sao_Paulo 0 0 * * ?", "2018-11-05T00:00:00-02:00"),
            ("2020-01-01T00:00:30.5Z", "@every 1h30m", "2020-01-01T01:30:30Z"),
            ("2020-01-01T00:00:00Z", "TZ=Asia/Tokyo @daily", "2020-01-01T15:00:00Z"),
        ] {
            let from: Timestamp = from.parse().unwrap();
            let next = Schedule::parse(schedule).unwrap().next(from);
            assert_eq!(next, Some(expected.parse().unwrap()), "{schedule} after {from}");
        }
        for never in ["TZ=UTC 0 0 30 Feb ?", "TZ=UTC 0 0 31 Apr ?"] {
            assert_eq!(Schedule::parse(never).unwrap().next(Timestamp::UNIX_EPOCH), None, "{never}");
        }
    }

    #[test]
    fn errors() {
        for (text, error) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
            ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
