//! Semantic versions: Kubernetes' `semver` library, version 1.

use std::cmp::Ordering;

use proto::field::quote;

use super::{Result, opaque, text};
use crate::env::Library;
use crate::eval::Error;
use crate::types::Type;
use crate::value::{Opaque, Value, downcast};

/// A version. Build metadata does not count when versions are compared.
#[derive(Debug)]
struct Version {
    numbers: [u64; 3],
    prerelease: Vec<Part>,
}

/// Numbers come before texts.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Text(String),
}

impl Version {
    fn order(&self, other: &Version) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.prerelease.is_empty(), other.prerelease.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => self.prerelease.cmp(&other.prerelease),
            }
        })
    }
}

impl Opaque for Version {
    fn ty(&self) -> Type {
        Type::object("kubernetes.Semver")
    }

    fn equals(&self, other: &dyn Opaque) -> Option<bool> {
        downcast::<Version>(other).map(|other| self.order(other).is_eq())
    }
}

pub(super) fn install(library: &mut Library) {
    let ty = Type::object("kubernetes.Semver");
    library.named_type("kubernetes.Semver", ty.clone());
    let one = [ty.clone()];
    let two = [ty.clone(), ty.clone()];
    let tolerant = [Type::String, Type::Bool];
    library.global("semver", "string_to_semver", &[Type::String], ty.clone(), version);
    library.global("semver", "string_bool_to_semver", &tolerant, ty, version);
    library.global("isSemver", "is_semver_string", &[Type::String], Type::Bool, is_version);
    library.global("isSemver", "is_semver_string_bool", &tolerant, Type::Bool, is_version);
    library.member("isGreaterThan", "semver_is_greater_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(order(args)?.is_gt()))
    });
    library.member("isLessThan", "semver_is_less_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(order(args)?.is_lt()))
    });
    library.member("compareTo", "semver_compare_to", &two, Type::Int, |args| {
        Ok(Value::Int(order(args)? as i64))
    });
    library.member("major", "semver_major", &one, Type::Int, |args| number(args, 0));
    library.member("minor", "semver_minor", &one, Type::Int, |args| number(args, 1));
    library.member("patch", "semver_patch", &one, Type::Int, |args| number(args, 2));
}

fn order(args: &[Value<'_>]) -> std::result::Result<Ordering, Error> {
    Ok(opaque::<Version>(args, 0)?.order(opaque::<Version>(args, 1)?))
}

fn number<'a>(args: &[Value<'a>], index: usize) -> Result<'a> {
    Ok(Value::Int(opaque::<Version>(args, 0)?.numbers[index] as i64))
}

fn parsed(args: &[Value<'_>]) -> std::result::Result<std::result::Result<Version, String>, Error> {
    let text = text(args, 0)?;
    Ok(match args.get(1) {
        None | Some(Value::Bool(false)) => parse(text),
        Some(Value::Bool(true)) => normalized(text).and_then(|text| parse(&text)),
        Some(_) => return Err(Error::NO_SUCH_OVERLOAD),
    })
}

fn version<'a>(args: &[Value<'a>]) -> Result<'a> {
    parsed(args)?.map(Value::opaque).map_err(Error::new)
}

fn is_version<'a>(args: &[Value<'a>]) -> Result<'a> {
    Ok(Value::Bool(parsed(args)?.is_ok()))
}

/// Drops a `v` and leading zeroes, and adds numbers that are missing.
fn normalized(text: &str) -> std::result::Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text
        .splitn(3, '.')
        .map(|part| {
            if part.len() < 2 {
                return part.to_owned();
            }
            let trimmed = part.trim_start_matches('0');
            let number = trimmed.starts_with(|c: char| c.is_ascii_digit());
            if number { trimmed.to_owned() } else { format!("0{trimmed}") }
        })
        .collect();
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".into());
        }
        parts.resize(3, "0".into());
    }
    Ok(parts.join("."))
}

fn parse(text: &str) -> std::result::Result<Version, String> {
    if text.is_empty() {
        return Err("Version string empty".into());
    }
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, patch] = parts.as_slice() else {
        return Err("No Major.Minor.Patch elements found".into());
    };
    let numbers = [component(major, "major", "Major")?, component(minor, "minor", "Minor")?];
    let (patch, build) = match patch.split_once('+') {
        Some((patch, build)) => (patch, Some(build)),
        None => (*patch, None),
    };
    let (patch, prerelease) = match patch.split_once('-') {
        Some((patch, prerelease)) => (patch, Some(prerelease)),
        None => (patch, None),
    };
    let patch = component(patch, "patch", "Patch")?;
    let mut parts = Vec::new();
    for part in prerelease.into_iter().flat_map(|prerelease| prerelease.split('.')) {
        if part.is_empty() {
            return Err("Prerelease is empty".into());
        }
        if part.bytes().all(|c| c.is_ascii_digit()) {
            if part.len() > 1 && part.starts_with('0') {
                let part = quote(part);
                return Err(format!("Numeric PreRelease version must not contain leading zeroes {part}"));
            }
            parts.push(Part::Number(integer(part)?));
        } else if part.bytes().all(is_identifier) {
            parts.push(Part::Text(part.to_owned()));
        } else {
            return Err(format!("Invalid character(s) found in prerelease {}", quote(part)));
        }
    }
    for part in build.into_iter().flat_map(|build| build.split('.')) {
        if part.is_empty() {
            return Err("Build meta data is empty".into());
        }
        if !part.bytes().all(is_identifier) {
            return Err(format!("Invalid character(s) found in build meta data {}", quote(part)));
        }
    }
    Ok(Version { numbers: [numbers[0], numbers[1], patch], prerelease: parts })
}

fn is_identifier(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'-'
}

fn component(text: &str, name: &str, title: &str) -> std::result::Result<u64, String> {
    if !text.bytes().all(|c| c.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {name} number {}", quote(text)));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{title} number must not contain leading zeroes {}", quote(text)));
    }
    integer(text)
}

fn integer(text: &str) -> std::result::Result<u64, String> {
    let reason = if text.is_empty() { "invalid syntax" } else { "value out of range" };
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {}: {reason}", quote(text)))
}
