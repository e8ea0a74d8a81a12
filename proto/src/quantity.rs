//! `resource.Quantity`: an exact decimal amount with the unit style it was written in.
//!
//! Invariants:
//! * The value is `mantissa × 10^exponent`, always exact; no floating point takes part except in
//!   [`Quantity::to_f64`].
//! * Nothing finer than 10⁻⁹ is kept: a parsed amount is rounded away from zero to a whole number of nanos.
//! * Equality and order look at the value only; the format says how it prints.
//! * A canonical input keeps its spelling (`text`), so that reading and writing changes no bytes.
//!
//! Amounts of more than 38 significant digits are refused on input, and sums beyond that saturate.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// How a quantity prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// Powers of ten written as an exponent: `12e6`.
    DecimalExponent,
    /// Powers of 1024: `12Mi`.
    BinarySi,
    /// Powers of 1000: `12M`, `500m`.
    #[default]
    DecimalSi,
}

/// Why a text is no quantity. The texts are those of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text has not the shape number + suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number is not one, or has too many digits.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact amount of some resource.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    format: Format,
    text: Option<Box<str>>,
}

/// The finest unit kept: 10⁻⁹.
const NANO: i32 = -9;
/// The exponent of milli units, for [`Quantity::scaled_value`].
pub const MILLI: i32 = -3;
/// Decimal digits that always fit an `i64`; longer inputs lose their spelling.
const I64_DIGITS: i32 = 18;

impl Quantity {
    /// The amount `value`, printed in `format`.
    pub fn new(value: i64, format: Format) -> Self {
        Self::scaled(value, 0, format)
    }

    /// The amount `value / 1000`, printed in `format`.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self::scaled(value, MILLI, format)
    }

    /// The amount `value × 10^exponent`, printed in `format`.
    pub fn scaled(value: i64, exponent: i32, format: Format) -> Self {
        Quantity { mantissa: value.into(), exponent, format, text: None }
    }

    /// Reads a quantity as the API does.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        if text == "0" {
            return Ok(Quantity { text: Some("0".into()), ..Default::default() });
        }
        let parts = Parts::split(text)?;
        let suffix = interpret(parts.suffix).ok_or(ParseError::Suffix)?;
        let (digits, dropped) = parts.digits();
        let fraction_len = i32::try_from(parts.fraction.len()).map_err(|_| ParseError::Numeric)?;
        let sign = if parts.negative { -1 } else { 1 };
        let exponent = |e: i32| {
            e.checked_sub(fraction_len).and_then(|e| e.checked_add(dropped)).ok_or(ParseError::Numeric)
        };
        let mut quantity = match suffix {
            Suffix::Decimal(e, format) => {
                Quantity { mantissa: sign * digits, exponent: exponent(e)?, format, text: None }
            }
            Suffix::Binary(power) => {
                let scaled = digits.checked_mul(1 << power);
                // Binary amounts are capped below, so an overflow is just a very large one.
                let mantissa = sign * scaled.unwrap_or(i128::MAX);
                let exponent = if scaled.is_some() { exponent(0)? } else { 0 };
                Quantity { mantissa, exponent, format: Format::BinarySi, text: None }
            }
        };
        if parts.keeps_spelling(suffix, digits, quantity.exponent) {
            quantity.text = Some(text.into());
            return Ok(quantity);
        }
        quantity.round_up(NANO);
        if quantity.format == Format::BinarySi {
            quantity.limit_binary();
        }
        Ok(quantity)
    }

    /// Reads a JSON string or number; `null` and absence are zero.
    pub fn from_json(value: &Value) -> Result<Self, ParseError> {
        match value {
            Value::Null => Ok(Self::default()),
            Value::String(s) => Self::parse(s.trim()),
            Value::Number(n) => Self::parse(&n.to_string()),
            _ => Err(ParseError::Format),
        }
    }

    /// Caps a binary amount at the largest `i64`; a positive one below 1 prints decimally.
    fn limit_binary(&mut self) {
        let max = Quantity::new(i64::MAX, Format::BinarySi);
        let magnitude = Quantity { mantissa: self.mantissa.abs(), text: None, ..self.clone() };
        if magnitude > max {
            self.mantissa = max.mantissa * self.mantissa.signum();
            self.exponent = 0;
        } else if !self.is_zero() && magnitude < Quantity::new(1, Format::BinarySi) {
            self.format = Format::DecimalSi;
        }
    }

    /// How it prints.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Is it zero?
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// Whole units, rounded away from zero; saturates at the range of `i64`.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Thousandths, rounded away from zero; saturates at the range of `i64`.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(MILLI)
    }

    /// Units of `10^exponent`, rounded away from zero; saturates at the range of `i64`.
    pub fn scaled_value(&self, exponent: i32) -> i64 {
        let (value, _) = rescale(self.mantissa, i64::from(self.exponent) - i64::from(exponent));
        clamp_i64(value)
    }

    /// The exact whole number, if it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        let (value, exact) = rescale(self.mantissa, self.exponent.into());
        if exact { i64::try_from(value).ok() } else { None }
    }

    /// The nearest floating-point number.
    pub fn to_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.exponent)
    }

    /// Rounds away from zero to a multiple of `10^exponent`; says whether nothing was lost.
    pub fn round_up(&mut self, exponent: i32) -> bool {
        if self.exponent >= exponent {
            return true;
        }
        let (mantissa, exact) = rescale(self.mantissa, i64::from(self.exponent) - i64::from(exponent));
        *self = Quantity { mantissa, exponent, format: self.format, text: None };
        exact
    }

    /// Adds `other`. A zero takes over the format of what is added to it.
    pub fn add(&mut self, other: &Quantity) {
        self.combine(other, 1);
    }

    /// Subtracts `other`. A zero takes over the format of what is subtracted from it.
    pub fn sub(&mut self, other: &Quantity) {
        self.combine(other, -1);
    }

    fn combine(&mut self, other: &Quantity, sign: i128) {
        self.text = None;
        if self.is_zero() {
            self.format = other.format;
            self.mantissa = sign * other.mantissa;
            self.exponent = other.exponent;
            return;
        }
        if other.is_zero() {
            return;
        }
        let low = self.exponent.min(other.exponent);
        let (a, _) = rescale(self.mantissa, i64::from(self.exponent) - i64::from(low));
        let (b, _) = rescale(other.mantissa, i64::from(other.exponent) - i64::from(low));
        self.mantissa = clamp(a.saturating_add(sign * b));
        self.exponent = low;
    }

    /// Multiplies by a whole number.
    pub fn mul(&mut self, factor: i64) {
        self.text = None;
        self.mantissa = clamp(self.mantissa.saturating_mul(factor.into()));
    }

    /// Changes the sign.
    pub fn neg(&mut self) {
        self.text = None;
        self.mantissa = -self.mantissa;
    }

    fn write_canonical(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_zero() {
            return f.write_str("0");
        }
        let (whole, exact) = rescale(self.mantissa, self.exponent.into());
        if self.format == Format::BinarySi && exact && whole.unsigned_abs() >= 1024 {
            let mut amount = whole;
            let mut power = 0;
            while amount % 1024 == 0 && power < BINARY.len() - 1 {
                amount /= 1024;
                power += 1;
            }
            return write!(f, "{amount}{}", BINARY[power]);
        }
        let (mut amount, mut exponent) = (self.mantissa, self.exponent);
        while amount % 10 == 0 {
            amount /= 10;
            exponent += 1;
        }
        if self.format == Format::DecimalExponent {
            let zeros = exponent.rem_euclid(3);
            write_padded(f, amount, zeros)?;
            return if exponent == zeros { Ok(()) } else { write!(f, "e{}", exponent - zeros) };
        }
        // What lies beyond the suffixes is written out in zeros.
        let unit = exponent.div_euclid(3).min(6);
        write_padded(f, amount, exponent - unit * 3)?;
        let index = usize::try_from(unit + 3).unwrap_or(0);
        f.write_str(DECIMAL.get(index).copied().unwrap_or(""))
    }
}

/// Suffixes of the powers of 1000 from 10⁻⁹ on.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
/// Suffixes of the powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

#[derive(Clone, Copy)]
enum Suffix {
    Decimal(i32, Format),
    Binary(u32),
}

fn interpret(suffix: &str) -> Option<Suffix> {
    if let Some(i) = DECIMAL.iter().position(|s| *s == suffix) {
        return Some(Suffix::Decimal((i as i32 - 3) * 3, Format::DecimalSi));
    }
    if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
        return Some(Suffix::Binary(i as u32 * 10));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let exponent: i64 = exponent.parse().ok()?;
    // The API's exponent is 32 bits wide; a longer one can only be a mistake.
    Some(Suffix::Decimal(i32::try_from(exponent).ok()?, Format::DecimalExponent))
}

/// A quantity's text, cut up. Leading zeros of the whole part are dropped.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let (negative, rest) = match text.as_bytes()[0] {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (whole, rest) = take(rest, |b| b.is_ascii_digit());
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => take(rest, |b| b.is_ascii_digit()),
            None => ("", rest),
        };
        let (_, rest) = take(suffix, |b| b"eEinumkKMGTP".contains(&b));
        let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        let (_, rest) = take(rest, |b| b.is_ascii_digit());
        if !rest.is_empty() {
            return Err(ParseError::Format);
        }
        Ok(Parts { negative, whole: whole.trim_start_matches('0'), fraction, suffix })
    }

    /// Whole part and fraction read as one number, and how many digits at its end are left out: so many that count nobody has.
    fn digits(&self) -> (i128, i32) {
        let (mut number, mut dropped): (i128, i32) = (0, 0);
        for digit in self.whole.bytes().chain(self.fraction.bytes()) {
            if number < LIMIT / 10 {
                number = number * 10 + i128::from(digit - b'0');
            } else {
                dropped = dropped.saturating_add(1);
            }
        }
        (number, dropped)
    }

    /// Whether the text counts as canonical already, and so keeps its spelling.
    fn keeps_spelling(&self, suffix: Suffix, digits: i128, exponent: i32) -> bool {
        // An empty whole part counts as one digit, "0".
        let whole_len = self.whole.len().max(1) as i32;
        let fraction_len = self.fraction.len() as i32;
        match suffix {
            Suffix::Decimal(..) => {
                whole_len + fraction_len <= I64_DIGITS
                    && exponent >= NANO
                    && exponent % 3 == 0
                    && !self.whole.is_empty()
                    && !(self.fraction.ends_with("000")
                        || fraction_len < 3 && {
                            // The last three digits may straddle the point.
                            digits % 1000 == 0
                        })
            }
            Suffix::Binary(power) => {
                self.fraction.is_empty() && 14 - whole_len - (power as i32 * 3 / 10) >= 0 && digits % 8 != 0
            }
        }
    }
}

fn take(text: &str, accept: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !accept(b)).unwrap_or(text.len());
    // Only ASCII is accepted, but what follows may be anything.
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The largest magnitude kept: one that still can be rounded up and negated.
const LIMIT: i128 = i128::MAX / 10;

fn clamp(value: i128) -> i128 {
    value.clamp(-LIMIT, LIMIT)
}

fn clamp_i64(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// `value × 10^by`, rounded away from zero, and whether that is exact. Saturates.
fn rescale(value: i128, by: i64) -> (i128, bool) {
    if value == 0 || by == 0 {
        return (value, true);
    }
    let factor = u32::try_from(by.unsigned_abs()).ok().and_then(|n| 10i128.checked_pow(n));
    match (by > 0, factor) {
        (true, factor) => match factor.and_then(|f| value.checked_mul(f)) {
            Some(scaled) => (scaled, true),
            None => (LIMIT * value.signum(), false),
        },
        (false, Some(factor)) => {
            let rest = value % factor;
            (value / factor + rest.signum(), rest == 0)
        }
        (false, None) => (value.signum(), false),
    }
}

fn write_padded(f: &mut fmt::Formatter<'_>, amount: i128, zeros: i32) -> fmt::Result {
    write!(f, "{amount}")?;
    // As many as the largest request has room for: huge exponents are printed as such.
    for _ in 0..zeros.clamp(0, 3 << 20) {
        f.write_str("0")?;
    }
    Ok(())
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None => self.write_canonical(f),
        }
    }
}

impl std::str::FromStr for Quantity {
    type Err = ParseError;
    fn from_str(s: &str) -> Result<Self, ParseError> {
        Self::parse(s)
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.exponent == other.exponent || self.sign() != other.sign() || self.is_zero() {
            return match self.exponent == other.exponent {
                true => self.mantissa.cmp(&other.mantissa),
                false => self.sign().cmp(&other.sign()),
            };
        }
        let difference = i64::from(self.exponent) - i64::from(other.exponent);
        if difference < 0 {
            return other.cmp(self).reverse();
        }
        // Bring the coarser one down to the finer unit; if that overflows, it is the larger by far.
        match rescale(self.mantissa, difference) {
            (scaled, true) => scaled.cmp(&other.mantissa),
            (_, false) => self.sign().cmp(&0),
        }
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity: a string or a number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                Quantity::parse(text.trim()).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Quantity, E> {
                self.visit_str(&n.to_string())
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Quantity, E> {
                Ok(Quantity::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    #[test]
    fn parses_values_exactly() {
        for (text, value, exponent, format) in [
            ("0Ki", 0, 0, Format::BinarySi),
            ("8Ki", 8 * 1024, 0, Format::BinarySi),
            ("3Ei", 3 << 60, 0, Format::BinarySi),
            ("5n", 5, -9, Format::DecimalSi),
            ("300T", 3, 14, Format::DecimalSi),
            ("1E-3", 1, -3, Format::DecimalExponent),
            ("1.3E+6", 13, 5, Format::DecimalExponent),
            ("100.035k", 100035, 0, Format::DecimalSi),
            ("0.0005k", 5, -1, Format::DecimalSi),
            ("3.001n", 4, -9, Format::DecimalSi),
            ("0.0000000001", 1, -9, Format::DecimalSi),
            ("0.5e-9", 1, -9, Format::DecimalExponent),
            ("9Ei", i64::MAX, 0, Format::BinarySi),
            ("9223372036854775807Ki", i64::MAX, 0, Format::BinarySi),
            ("12E", 12, 18, Format::DecimalSi),
            ("100.035Ki", 10243584, -2, Format::BinarySi),
            ("0.025Ti", 274877906944, -1, Format::BinarySi),
            ("0.000000000001Ki", 2, -9, Format::DecimalSi),
            (".0001k", 100, -3, Format::DecimalSi),
            ("1.G", 1, 9, Format::DecimalSi),
            (".", 0, 0, Format::DecimalSi),
        ] {
            let expected = Quantity::scaled(value, exponent, format);
            assert_eq!(q(text), expected, "{text}");
            assert_eq!(q(text).format(), format, "{text}");
            let mut negative = expected;
            negative.neg();
            assert_eq!(q(&format!("-{text}")), negative, "-{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for (text, error) in [
            ("", ParseError::Format),
            ("1+1.0M", ParseError::Format),
            ("1.1.M", ParseError::Format),
            ("0.1mi", ParseError::Suffix),
            ("0.1am", ParseError::Format),
            (".5i", ParseError::Suffix),
            ("-3.01e-", ParseError::Suffix),
            (" 1", ParseError::Format),
            ("1 ", ParseError::Format),
            ("é", ParseError::Format),
            ("1é", ParseError::Format),
            ("1e99999999999999999999", ParseError::Suffix),
        ] {
            assert_eq!(Quantity::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn prints_canonically() {
        for (text, canonical) in [
            ("1024Mi", "1Gi"),
            ("307200Ki", "300Mi"),
            ("5000m", "5"),
            ("0.5", "500m"),
            ("1000M", "1G"),
            ("0.001T", "1G"),
            ("1.08", "1080m"),
            ("1080000000n", "1080m"),
            (".001e12", "1e9"),
            ("1000e-12", "1e-9"),
            ("00", "0"),
            ("1025", "1025"),
            ("1000Ki", "1000Ki"),
            ("0.5Mi", "512Ki"),
            ("1.5", "1500m"),
            ("0.1", "100m"),
            ("1000E", "1000E"),
            ("-1500m", "-1500m"),
        ] {
            assert_eq!(q(text).to_string(), canonical, "{text}");
        }
        assert_eq!(Quantity::new(512, Format::BinarySi).to_string(), "512");
        assert_eq!(Quantity::new(1 << 30, Format::BinarySi).to_string(), "1Gi");
        assert_eq!(Quantity::from_milli(1_234_567, Format::BinarySi).to_string(), "1234567m");
    }

    #[test]
    fn canonical_input_keeps_its_spelling() {
        for text in ["+5", "05", "1.500", "3Ki", "5.", "1e3"] {
            assert_eq!(q(text).to_string(), text);
        }
    }

    #[test]
    fn compares_across_scales() {
        assert!(q("100m") > q("50m"));
        assert!(q("10000T") > q("100Gi"));
        assert_eq!(q("1"), q("1000m"));
        assert!(q("-1") < q("0"));
        assert!(q("1e2000000000") > q("1e-5"));
        assert!(q("-1e2000000000") < q("1n"));
    }

    #[test]
    fn adds_and_subtracts() {
        for text in ["100m", "1Gi"] {
            let mut sum = q("0");
            sum.add(&q(text));
            assert_eq!(sum.to_string(), text);
            sum.add(&q("0"));
            assert_eq!(sum.to_string(), text);
            sum.sub(&q(text));
            assert!(sum.is_zero());
        }
        let mut sum = q("1500m");
        sum.add(&q("1Ki"));
        assert_eq!(sum.to_string(), "1025500m");
    }

    #[test]
    fn rounds_away_from_zero() {
        assert_eq!(q("9.01").value(), 10);
        assert_eq!(q("-9.01").value(), -10);
        assert_eq!(q("1n").milli_value(), 1);
        assert_eq!(q("100m").milli_value(), 100);
        assert_eq!(q("12E").milli_value(), i64::MAX);
        assert_eq!(q("2k").as_i64(), Some(2000));
        assert_eq!(q("2500m").as_i64(), None);
        let mut amount = q("9.01");
        assert!(!amount.round_up(2));
        assert_eq!(amount, q("100"));
    }

    #[test]
    fn reads_json_numbers() {
        assert_eq!(serde_json::from_str::<Quantity>("0.1").unwrap(), q("100m"));
        assert_eq!(serde_json::from_str::<Quantity>("\" 2 \"").unwrap(), q("2"));
        assert_eq!(serde_json::to_string(&q("0.1")).unwrap(), "\"100m\"");
    }

    #[test]
    fn more_digits_than_anyone_counts_still_print_as_they_parse() {
        for text in [
            "100100000000000010000000000000000000.85477m",
            &"9".repeat(60),
            &"12".repeat(900),
            &format!("0.{}1k", "0".repeat(50)),
        ] {
            let quantity = Quantity::parse(text).expect("parses");
            let printed = quantity.to_string();
            let again = Quantity::parse(&printed).expect("parses");
            assert_eq!(again.to_string(), printed);
            assert_eq!(again, quantity, "{text}");
        }
    }
}
