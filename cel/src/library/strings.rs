//! Functions on texts: cel-go's `strings` extension, version 2. Positions are counted in characters.

use super::text_format::format;
use super::{Result, integer, list, text};
use crate::cost::work;
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::Value;

pub(super) fn install(library: &mut Library) {
    use Type::{Int, String};
    let strings = || Type::list(String);
    let s = |count: usize| vec![String; count];
    let with_int = |count: usize| [vec![String; count], vec![Int]].concat();
    library.member("charAt", "string_char_at_int", &with_int(1), String, char_at);
    library.member("indexOf", "string_index_of_string", &s(2), Int, index_of);
    library.member("indexOf", "string_index_of_string_int", &with_int(2), Int, index_of);
    library.member("lastIndexOf", "string_last_index_of_string", &s(2), Int, last_index_of);
    library.member("lastIndexOf", "string_last_index_of_string_int", &with_int(2), Int, last_index_of);
    library.member("lowerAscii", "string_lower_ascii", &s(1), String, |args| {
        Ok(Value::string(text(args, 0)?.to_ascii_lowercase()))
    });
    library.member("upperAscii", "string_upper_ascii", &s(1), String, |args| {
        Ok(Value::string(text(args, 0)?.to_ascii_uppercase()))
    });
    library.member("replace", "string_replace_string_string", &s(3), String, replace);
    library.member("replace", "string_replace_string_string_int", &with_int(3), String, replace);
    library.member("split", "string_split_string", &s(2), strings(), split);
    library.member("split", "string_split_string_int", &with_int(2), strings(), split);
    library.member("substring", "string_substring_int", &[String, Int], String, substring);
    library.member("substring", "string_substring_int_int", &[String, Int, Int], String, substring);
    library.member("trim", "string_trim", &s(1), String, |args| Ok(Value::string(text(args, 0)?.trim())));
    library.member("format", "string_format", &[String, Type::list(Type::Dyn)], String, format);
    library.global("strings.quote", "strings_quote", &s(1), String, |args| {
        Ok(Value::string(quoted(text(args, 0)?)))
    });
    library.member("join", "list_join", &[strings()], String, join);
    library.member("join", "list_join_string", &[strings(), String], String, join);
}

fn out_of_range(index: i64) -> Error {
    Error::new(format!("index out of range: {index}"))
}

/// The part of a text between two positions, if it has so many characters.
fn part(text: &str, start: i64, end: Option<i64>) -> Option<&str> {
    let at = |position: i64| -> Option<usize> {
        let position = usize::try_from(position).ok()?;
        text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(position)
    };
    text.get(at(start)?..end.map_or(Some(text.len()), at)?)
}

fn char_at<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (text, index) = (text(args, 0)?, integer(args, 1)?);
    let rest = part(text, index, None).ok_or_else(|| out_of_range(index))?;
    Ok(Value::string(rest.chars().next().map(String::from).unwrap_or_default()))
}

fn index_of<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (text, wanted) = (text(args, 0)?, text(args, 1)?);
    let offset = if args.len() > 2 { integer(args, 2)? } else { 0 };
    if wanted.is_empty() {
        return Ok(Value::Int(offset));
    }
    if offset < 0 {
        return Err(out_of_range(offset));
    }
    let found = part(text, offset, None).and_then(|rest| Some(&rest[..rest.find(wanted)?]));
    Ok(Value::Int(found.map_or(-1, |before| offset + before.chars().count() as i64)))
}

fn last_index_of<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (text, wanted) = (text(args, 0)?, text(args, 1)?);
    let length = text.chars().count() as i64;
    if args.len() == 2 && wanted.is_empty() {
        return Ok(Value::Int(length));
    }
    if args.len() == 2 && text.len() < wanted.len() {
        return Ok(Value::Int(-1));
    }
    let offset = if args.len() > 2 { integer(args, 2)? } else { length - 1 };
    if wanted.is_empty() {
        return Ok(Value::Int(offset));
    }
    if offset < 0 {
        return Err(out_of_range(offset));
    }
    if offset >= length {
        return Ok(Value::Int(-1));
    }
    // A match may begin at the offset and go on beyond it.
    let end = (offset + wanted.chars().count() as i64).min(length);
    let found = part(text, 0, Some(end)).and_then(|head| Some(&head[..head.rfind(wanted)?]));
    Ok(Value::Int(found.map_or(-1, |before| before.chars().count() as i64)))
}

fn replace<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (text, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let limit = if args.len() > 3 { integer(args, 3)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // One long text may come in the place of each character.
    work::spend(text.matches(from).take(limit).count().saturating_mul(to.len()))?;
    Ok(Value::string(text.replacen(from, to, limit)))
}

fn split<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (text, separator) = (text(args, 0)?, text(args, 1)?);
    let limit = if args.len() > 2 { integer(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if !separator.is_empty() {
        return Ok(Value::strings(text.splitn(limit, separator)));
    }
    // Nothing separates all characters; the last part holds what is beyond the limit.
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if parts.len() + 1 == limit {
            parts.push(rest);
            break;
        }
        let (head, tail) = rest.split_at(c.len_utf8());
        parts.push(head);
        rest = tail;
    }
    Ok(Value::strings(parts))
}

fn substring<'a>(args: &[Value<'a>]) -> Result<'a> {
    let (text, start) = (text(args, 0)?, integer(args, 1)?);
    let length = text.chars().count() as i64;
    let end = if args.len() > 2 { integer(args, 2)? } else { length };
    if args.len() > 2 && start > end {
        return Err(Error::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    for position in [start, end] {
        if !(0..=length).contains(&position) {
            return Err(out_of_range(position));
        }
    }
    Ok(Value::string(part(text, start, Some(end)).unwrap_or_default()))
}

fn join<'a>(args: &[Value<'a>]) -> Result<'a> {
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut out = String::new();
    for (position, item) in list(args, 0)?.iter().enumerate() {
        out.push_str(if position > 0 { separator } else { "" });
        match item? {
            Value::String(text) => {
                work::spend(separator.len().saturating_add(text.len()))?;
                out.push_str(&text);
            }
            other => return Err(Error::new(format!("join: invalid input: {other}"))),
        }
    }
    Ok(Value::string(out))
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
