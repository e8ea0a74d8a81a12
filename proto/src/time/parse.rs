//! Times as Go's `time.Parse` reads them, with its words for what is wrong.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// How times are written: to the second, with any fraction.
pub(super) const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
/// The same to the microsecond, always with a fraction.
pub(super) const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// What the layouts consist of, in their order. The fraction stands in one of them only.
const PARTS: [&str; 13] =
    ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", ".000000", "Z07:00"];

/// What is left of the text, and what it was.
struct Reader<'a> {
    text: &'a str,
    layout: &'static str,
    rest: &'a str,
}

/// Reads a time of a layout.
pub(super) fn parse(text: &str, layout: &'static str) -> Result<Timestamp, String> {
    let mut reader = Reader { text, layout, rest: text };
    let mut year = 0;
    let [mut month, mut day, mut hour, mut minute, mut second] = [0; 5];
    let (mut nanos, mut offset) = (0, 0);
    for part in PARTS {
        match part {
            "2006" => year = reader.year()?,
            "01" => month = reader.number(part, true, 1..=12, "month")?,
            "02" => day = reader.number(part, true, 0..=99, "day")?,
            "15" => hour = reader.number(part, false, 0..=23, "hour")?,
            "04" => minute = reader.number(part, true, 0..=59, "minute")?,
            "05" => {
                second = reader.number(part, true, 0..=59, "second")?;
                if layout == SECONDS {
                    nanos = reader.any_fraction();
                }
            }
            ".000000" if layout == SECONDS => {}
            ".000000" => nanos = reader.fraction(part)?,
            "Z07:00" => offset = reader.offset(part)?,
            separator => reader.skip(separator)?,
        }
    }
    if !reader.rest.is_empty() {
        return Err(reader.message(&format!("extra text: {}", quote(reader.rest))));
    }
    let civil = DateTime::new(year, month, day, hour, minute, second, nanos);
    let civil = civil.map_err(|_| reader.message("day out of range"))?;
    let offset = Offset::from_seconds(offset).map_err(|_| reader.message("time zone offset out of range"))?;
    offset.to_timestamp(civil).map_err(|_| reader.message("time out of range"))
}

impl<'a> Reader<'a> {
    fn message(&self, what: &str) -> String {
        format!("parsing time {}: {what}", quote(self.text))
    }

    /// The rest at some place doesn't fit a part of the layout.
    fn bad(&self, at: &str, part: &str) -> String {
        let (text, layout, part) = (quote(self.text), quote(self.layout), quote(part));
        format!("parsing time {text} as {layout}: cannot parse {} as {part}", quote(at))
    }

    fn digit(&self, at: usize) -> Option<i8> {
        let byte = self.rest.as_bytes().get(at).filter(|byte| byte.is_ascii_digit())?;
        i8::try_from(byte - b'0').ok()
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn skip(&mut self, separator: &str) -> Result<(), String> {
        match self.rest.strip_prefix(separator) {
            Some(rest) => self.rest = rest,
            None => return Err(self.bad(self.rest, separator)),
        }
        Ok(())
    }

    fn year(&mut self) -> Result<i16, String> {
        let digits: Option<Vec<i8>> = (0..4).map(|at| self.digit(at)).collect();
        let Some(digits) = digits else { return Err(self.bad(self.rest, "2006")) };
        self.advance(4);
        Ok(digits.iter().fold(0, |year, digit| year * 10 + i16::from(*digit)))
    }

    /// A number of two digits, or of one if it need not be `fixed`.
    fn number(
        &mut self,
        part: &str,
        fixed: bool,
        range: std::ops::RangeInclusive<i8>,
        name: &str,
    ) -> Result<i8, String> {
        let number = match (self.digit(0), self.digit(1)) {
            (Some(tens), Some(ones)) => {
                self.advance(2);
                tens * 10 + ones
            }
            (Some(ones), None) if !fixed => {
                self.advance(1);
                ones
            }
            _ => return Err(self.bad(self.rest, part)),
        };
        match range.contains(&number) {
            true => Ok(number),
            false => Err(self.message(&format!("{name} out of range"))),
        }
    }

    /// A fraction that the layout doesn't mention: as many digits as there are.
    fn any_fraction(&mut self) -> i32 {
        if !self.rest.starts_with(['.', ',']) || self.digit(1).is_none() {
            return 0;
        }
        let digits = self.rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        let nanos = nanos(&self.rest[1..=digits]);
        self.advance(digits + 1);
        nanos
    }

    /// The fraction that the layout asks for.
    fn fraction(&mut self, part: &str) -> Result<i32, String> {
        let shaped = self.rest.starts_with(['.', ',']) && (1..part.len()).all(|at| self.digit(at).is_some());
        if !shaped {
            return Err(self.bad(self.rest, part));
        }
        let nanos = nanos(&self.rest[1..part.len()]);
        self.advance(part.len());
        Ok(nanos)
    }

    /// The seconds that local time is ahead of UTC.
    fn offset(&mut self, part: &str) -> Result<i32, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let sign = match bytes.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(self.bad(self.rest, part)),
        };
        let digits = [1, 2, 4, 5].map(|at| self.digit(at));
        let [Some(h1), Some(h0), Some(m1), Some(m0)] = digits else {
            return Err(self.bad(self.rest, part));
        };
        if bytes.get(3) != Some(&b':') {
            return Err(self.bad(self.rest, part));
        }
        self.advance(6);
        let (hours, minutes) = (i32::from(h1 * 10 + h0), i32::from(m1 * 10 + m0));
        if hours > 24 {
            return Err(self.message("time zone offset hour out of range"));
        }
        if minutes > 60 {
            return Err(self.message("time zone offset minute out of range"));
        }
        Ok(sign * (hours * 3600 + minutes * 60))
    }
}

/// The first nine digits of a fraction as nanoseconds.
fn nanos(digits: &str) -> i32 {
    let digits = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    digits.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'))
}

/// As the errors of Go's package quote texts.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => {
                let mut buffer = [0; 4];
                for byte in char.encode_utf8(&mut buffer).bytes() {
                    out.push_str(&format!("\\x{byte:02x}"));
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        for (text, seconds, nanos) in [
            ("2006-01-02T15:04:05Z", 1_136_214_245, 0),
            ("2006-01-02T15:04:05.123456789123Z", 1_136_214_245, 123_456_789),
            ("2006-01-02T15:04:05,5+01:00", 1_136_210_645, 500_000_000),
            ("2006-01-02T5:04:05-07:30", 1_136_205_245, 0),
        ] {
            let time = parse(text, SECONDS).expect(text);
            assert_eq!((time.as_second(), time.subsec_nanosecond()), (seconds, nanos), "{text}");
        }
        let micros = parse("2006-01-02T15:04:05.000001Z", MICROS).expect("a time");
        assert_eq!(micros.subsec_nanosecond(), 1000);
    }

    #[test]
    fn what_is_wrong_is_told_as_go_tells_it() {
        let layout = "\"2006-01-02T15:04:05Z07:00\"";
        let bad = |text: &str, at: &str, part: &str| {
            (text.to_owned(), format!("parsing time {text:?} as {layout}: cannot parse {at:?} as {part:?}"))
        };
        for (text, error) in [
            bad("x", "x", "2006"),
            bad("", "", "2006"),
            bad("2006", "", "-"),
            bad("2006-1-02T15:04:05Z", "1-02T15:04:05Z", "01"),
            bad("2006-01-02 15:04:05Z", " 15:04:05Z", "T"),
            bad("2006-01-02T15:04Z", "Z", ":"),
            bad("2006-01-02T15:04:05", "", "Z07:00"),
            bad("2006-01-02T15:04:05z", "z", "Z07:00"),
            bad("2006-01-02T15:04:05+0100", "+0100", "Z07:00"),
        ] {
            assert_eq!(parse(&text, SECONDS), Err(error));
        }
        for (text, error) in [
            ("2006-13-02T15:04:05Z", "month out of range"),
            ("2006-02-30T15:04:05Z", "day out of range"),
            ("2006-01-02T24:04:05Z", "hour out of range"),
            ("2006-01-02T15:04:60Z", "second out of range"),
            ("2006-01-02T15:04:05Zé", "extra text: \"\\xc3\\xa9\""),
        ] {
            let told = parse(text, SECONDS).expect_err(text);
            assert!(
                told.starts_with("parsing time \"2006-") && told.ends_with(&format!("\": {error}")),
                "{told}"
            );
        }
        assert_eq!(
            parse("2006-01-02T15:04:05Z", MICROS),
            Err("parsing time \"2006-01-02T15:04:05Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\"".to_owned())
        );
    }
}
