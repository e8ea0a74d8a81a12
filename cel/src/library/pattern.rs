//! Regular expressions: `matches`, `find` and `findAll`.

use regex::{Regex, RegexBuilder};

use super::{Result, integer, text};
use crate::cost::work;
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::Value;

/// How a function is computed whose pattern has been compiled before.
pub(crate) type Implementation = for<'a> fn(&Regex, &[Value<'a>]) -> Result<'a>;

/// The work of compiling a pattern, that for each of its bytes, and that for each byte each time it is repeated.
const COMPILED: (usize, usize, usize) = (2000, 100, 10);

/// Larger patterns are refused.
const SIZE_MAX: usize = 10 << 20;

pub(super) fn install(library: &mut Library) {
    let two = [Type::String, Type::String];
    let three = [Type::String, Type::String, Type::Int];
    library
        .member("find", "string_find_string", &two, Type::String, |args| find(&legal(text(args, 1)?)?, args));
    library.member("findAll", "string_find_all_string", &two, Type::list(Type::String), |args| {
        find_all(&legal(text(args, 1)?)?, args)
    });
    library.member("findAll", "string_find_all_string_int", &three, Type::list(Type::String), |args| {
        find_all(&legal(text(args, 1)?)?, args)
    });
}

fn legal(pattern: &str) -> std::result::Result<Regex, Error> {
    compile(pattern).map_err(|error| match error.is_cost_limit() {
        true => error,
        false => Error::new(format!("Illegal regex: {error}")),
    })
}

/// The function that a constant pattern is compiled for beforehand, if it is one.
pub(crate) fn implementation(function: &str) -> Option<Implementation> {
    match function {
        "matches" => Some(matches),
        "find" => Some(find),
        "findAll" => Some(find_all),
        _ => None,
    }
}

/// Compiles a pattern of Go's syntax.
pub(crate) fn compile(pattern: &str) -> std::result::Result<Regex, Error> {
    let (whole, byte, repeated) = COMPILED;
    let each = repeats(pattern).saturating_mul(repeated).saturating_add(byte);
    work::spend(pattern.len().saturating_mul(each).saturating_add(whole))?;
    let translated = translate(pattern);
    let regex = RegexBuilder::new(&translated).size_limit(SIZE_MAX).build();
    regex.map_err(|error| Error::new(format!("error parsing regexp: {}", reason(pattern, &error))))
}

/// How often a part of a pattern is repeated by number, such as `(a{3}){2,5}`, at most.
fn repeats(pattern: &str) -> usize {
    let counts = pattern.split('{').skip(1).filter_map(|rest| {
        let (range, _) = rest.split_once('}')?;
        range.rsplit(',').find_map(|count| count.parse::<usize>().ok())
    });
    counts.fold(1, |product, count| product.saturating_mul(count.max(1)))
}

/// Rewrites what Go and the regex crate write differently: classes are about ASCII in Go.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut in_class = false;
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('s') => out.push_str(if in_class { r"\t\n\x0C\r " } else { r"[\t\n\x0C\r ]" }),
                Some('D') => out.push_str("[^0-9]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('S') => out.push_str(r"[^\t\n\x0C\r ]"),
                Some('b') if !in_class => out.push_str(r"(?-u:\b)"),
                Some('Q') => {
                    let mut quoted = String::new();
                    while let Some(c) = chars.next() {
                        if c == '\\' && chars.peek() == Some(&'E') {
                            chars.next();
                            break;
                        }
                        quoted.push(c);
                    }
                    out.push_str(&regex::escape(&quoted));
                }
                Some('C') => out.push_str("(?s:.)"),
                Some(c) => {
                    out.push('\\');
                    out.push(c);
                }
                None => out.push('\\'),
            },
            '[' if in_class && chars.peek() != Some(&':') => out.push_str(r"\["),
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
                // A bracket that comes first is one of the characters.
                if chars.peek() == Some(&']') {
                    chars.next();
                    out.push_str(r"\]");
                }
            }
            '[' => {
                // A named class within a class.
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

/// Why a pattern is none, in Go's words where it is clear which they are.
fn reason(pattern: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let is = |part: &str| text.contains(part);
    if let regex::Error::CompiledTooBig(_) = error {
        return "expression too large".into();
    }
    match () {
        () if is("unclosed group") => format!("missing closing ): `{pattern}`"),
        () if is("unopened group") => format!("unexpected ): `{pattern}`"),
        () if is("unclosed character class") => {
            let from = pattern.rfind('[').map_or(pattern, |at| &pattern[at..]);
            format!("missing closing ]: `{from}`")
        }
        () if is("repetition operator missing expression") => {
            let operator = pattern.chars().find(|c| matches!(c, '*' | '+' | '?')).unwrap_or('*');
            format!("missing argument to repetition operator: `{operator}`")
        }
        () if is("look-around") => {
            let at = ["(?=", "(?!", "(?<"].iter().filter_map(|look| pattern.find(look)).min().unwrap_or(0);
            let shown: String = pattern[at..].chars().take(3).collect();
            format!("invalid or unsupported Perl syntax: `{shown}`")
        }
        () if is("unrecognized escape sequence") => {
            let at = text.rfind('^').and_then(|_| pattern.find('\\')).unwrap_or(0);
            let shown: String = pattern[at..].chars().take(2).collect();
            format!("invalid escape sequence: `{shown}`")
        }
        () => text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

fn matches<'a>(regex: &Regex, args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::Bool(regex.is_match(text(args, 0)?)))
}

fn find<'a>(regex: &Regex, args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::string(regex.find(text(args, 0)?).map_or("", |found| found.as_str())))
}

fn find_all<'a>(regex: &Regex, args: &[Value<'a>]) -> Result<'a> {
    let limit = if args.len() > 2 { integer(args, 2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    Ok(Value::strings(regex.find_iter(text(args, 0)?).take(limit).map(|found| found.as_str())))
}
