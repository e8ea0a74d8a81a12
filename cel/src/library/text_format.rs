//! `format`: texts from templates such as `%s is %d`.

use proto::field::quote;

use super::{Result, list, text};
use crate::cost::work;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{List, Map, Value, convert::convert};

/// A place in a template where an argument goes.
#[derive(Clone, Copy)]
pub(crate) struct Clause {
    pub(crate) verb: char,
    precision: Option<usize>,
}

const PRECISION: usize = 6;
const PRECISION_MAX: usize = 1000;

type Text = std::result::Result<String, Error>;

pub(super) fn format<'a>(args: &[Value<'a>]) -> Result<'a> {
    let items = list(args, 1)?;
    let formatted = each_clause(text(args, 0)?, items.len(), &mut |clause, index| match items.get(index) {
        Some(item) => one(clause, &item?),
        None => Err(Error::new(format!("index {index} out of range"))),
    });
    formatted.map(Value::string)
}

/// Puts a text together from a template, with `count` arguments that `one` formats.
pub(crate) fn each_clause(template: &str, count: usize, one: &mut dyn FnMut(Clause, usize) -> Text) -> Text {
    let (mut out, mut rest, mut index) = (String::new(), template, 0);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        if rest.is_empty() {
            return Err(Error::new("unexpected end of string"));
        }
        if index >= count {
            return Err(Error::new(format!("index {index} out of range")));
        }
        let clause;
        (clause, rest) =
            parse(rest).map_err(|error| Error::new(format!("could not parse formatting clause: {error}")))?;
        let formatted = one(clause, index);
        out.push_str(&formatted.map_err(|error| match error.is_cost_limit() {
            true => error,
            false => Error::new(format!("error during formatting: {error}")),
        })?);
        index += 1;
    }
    out.push_str(rest);
    Ok(out)
}

fn parse(text: &str) -> std::result::Result<(Clause, &str), String> {
    let mut precision = None;
    let mut rest = text;
    if let Some(digits) = text.strip_prefix('.') {
        let wrong = |reason: &str| format!("error while parsing precision: {reason}");
        let end = digits.find(|c: char| !c.is_ascii_digit());
        let end = end.ok_or_else(|| wrong("could not find end of precision specifier"))?;
        let number = digits[..end].parse().map_err(|_| {
            wrong(&format!(
                "error while converting precision to integer: strconv.Atoi: parsing {}: invalid syntax",
                quote(&digits[..end])
            ))
        })?;
        precision = Some(PRECISION_MAX.min(number));
        rest = &digits[end..];
    }
    match rest.chars().next() {
        Some(verb) if "sdfebxXo".contains(verb) => Ok((Clause { verb, precision }, &rest[1..])),
        verb => Err(format!("unrecognized formatting clause \"{}\"", verb.unwrap_or_default())),
    }
}

/// The error for an argument of a type that can't be formatted so.
pub(crate) fn refusal(verb: char, ty: &str) -> Error {
    let rule = match verb {
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
        'o' => "octal clause can only be used on integers",
        _ => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
    };
    Error::new(format!("{rule}, was given {ty}"))
}

fn one(clause: Clause, value: &Value<'_>) -> Text {
    let signed = |number: i64, digits: String| if number < 0 { format!("-{digits}") } else { digits };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let formatted = match (clause.verb, value) {
        ('s', value) => return as_text(value),
        ('d', Value::Int(number)) => number.to_string(),
        ('d', Value::Uint(number)) => number.to_string(),
        ('b', Value::Int(number)) => signed(*number, format!("{:b}", number.unsigned_abs())),
        ('b', Value::Uint(number)) => format!("{number:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('o', Value::Int(number)) => signed(*number, format!("{:o}", number.unsigned_abs())),
        ('o', Value::Uint(number)) => format!("{number:o}"),
        ('x' | 'X', Value::Int(number)) => signed(*number, format!("{:x}", number.unsigned_abs())),
        ('x' | 'X', Value::Uint(number)) => format!("{number:x}"),
        ('x' | 'X', Value::String(text)) => hex(text.as_bytes()),
        ('x' | 'X', Value::Bytes(bytes)) => hex(bytes),
        ('f' | 'e', Value::Double(number)) => double(clause, *number),
        ('f' | 'e', Value::String(text)) => match &**text {
            "NaN" => double(clause, f64::NAN),
            "Infinity" => double(clause, f64::INFINITY),
            "-Infinity" => double(clause, f64::NEG_INFINITY),
            _ => return Err(refusal(clause.verb, "string")),
        },
        (verb, value) => return Err(refusal(verb, &value.type_name())),
    };
    Ok(if clause.verb == 'X' { formatted.to_uppercase() } else { formatted })
}

/// A number as it is written in English: digits in groups, powers of ten in full.
fn double(clause: Clause, number: f64) -> String {
    let precision = clause.precision.unwrap_or(PRECISION);
    if !number.is_finite() {
        let text = if number.is_nan() { "NaN" } else { "\u{221e}" };
        let text = if number == f64::NEG_INFINITY { format!("-{text}") } else { text.to_owned() };
        // The scientific clause takes the precision for a width.
        return if clause.verb == 'e' { format!("{text:>precision$}") } else { text };
    }
    if clause.verb == 'f' {
        let text = format!("{number:.precision$}");
        let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        let digits = whole.trim_start_matches('-');
        let mut grouped = String::new();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        let sign = if whole.starts_with('-') { "-" } else { "" };
        return format!("{sign}{grouped}{fraction}");
    }
    let text = format!("{number:.PRECISION$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ("\u{207b}", exponent),
        None => ("", exponent),
    };
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let raised: String =
        format!("{exponent:0>2}").chars().filter_map(|c| Some(RAISED[c.to_digit(10)? as usize])).collect();
    let out = format!("{digits}\u{d7}10{sign}{raised}");
    format!("{out:>precision$}")
}

fn as_text(value: &Value<'_>) -> Text {
    match value {
        Value::List(items) => of_list(items),
        Value::Map(map) => of_map(map),
        Value::Null => Ok("null".into()),
        Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Bool(_)
        | Value::String(_)
        | Value::Timestamp(_)
        | Value::Bytes(_)
        | Value::Duration(_)
        | Value::Type(_) => Ok(convert(value, &Type::String)?.as_str().unwrap_or_default().to_owned()),
        other => Err(refusal('s', &other.type_name())),
    }
}

/// A value within a list or map, as a literal. Lists may hold one text many times over: it is work.
fn nested(value: &Value<'_>) -> Text {
    let plain = || as_text(value);
    let text = match value {
        Value::String(text) => quote(text),
        Value::Bytes(_) => format!("b{}", quote(&plain()?)),
        Value::Timestamp(_) => format!("timestamp({})", quote(&plain()?)),
        Value::Duration(_) => format!("duration({})", quote(&plain()?)),
        Value::Double(number) if number.is_finite() => format!("{number:.PRECISION$}"),
        Value::Double(number) if number.is_nan() => "\"NaN\"".into(),
        Value::Double(number) => if *number > 0.0 { "\"+Inf\"" } else { "\"-Inf\"" }.into(),
        Value::Int(_) | Value::Uint(_) | Value::Bool(_) | Value::Null | Value::Type(_) => plain()?,
        Value::List(_) | Value::Map(_) => plain()?,
        other => return Err(Error::new(format!("no formatting function for {}", other.type_name()))),
    };
    work::spend(text.len())?;
    Ok(text)
}

fn of_list(items: &List<'_>) -> Text {
    let mut out = String::from("[");
    for (position, item) in items.iter().enumerate() {
        out.push_str(if position > 0 { ", " } else { "" });
        out.push_str(&nested(&item?)?);
    }
    out.push(']');
    Ok(out)
}

fn of_map(map: &Map<'_>) -> Text {
    let mut pairs = Vec::with_capacity(map.len());
    for (key, value) in map.entries()? {
        if !matches!(key, Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Uint(_)) {
            let message = format!("no formatting function for map key of type {}", key.type_name());
            return Err(Error::new(message));
        }
        pairs.push((nested(&key)?, nested(&value)?));
    }
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
    Ok(format!("{{{}}}", pairs.join(", ")))
}
