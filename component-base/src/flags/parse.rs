//! The parser: pflag's grammar and error texts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proto::time::Duration;

use super::{Entry, Flag, Group, Kind, Parsed, Support, Value, help};

/// A command line that can't be used; the texts are pflag's where pflag has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such flag.
    #[error("unknown flag: --{name}{}", hint(.nearest))]
    Unknown {
        /// As typed.
        name: String,
        /// A known name that looks like it.
        nearest: Option<&'static str>,
    },
    /// No such one-letter flag.
    #[error("unknown shorthand flag: {letter:?} in {argument}")]
    UnknownShort {
        /// The letter.
        letter: char,
        /// The whole argument.
        argument: String,
    },
    /// A flag at the end that needs a value.
    #[error("flag needs an argument: {0}")]
    MissingValue(String),
    /// Something like `--=x`.
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    /// A value of the wrong type.
    #[error("invalid argument {value:?} for {flag:?} flag: {reason}")]
    Invalid {
        /// As typed.
        value: String,
        /// With dashes, and the one-letter form where there is one.
        flag: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Arguments that aren't flags.
    #[error("{program:?} does not take any arguments, got {got:?}")]
    Arguments {
        /// The daemon.
        program: String,
        /// The first of them, in a list as upstream prints it.
        got: Vec<String>,
    },
    /// A flag whose effect can't be given.
    #[error("--{name}={value} is not supported: {why}")]
    Refused {
        /// The flag.
        name: &'static str,
        /// As typed.
        value: String,
        /// From the table.
        why: &'static str,
    },
}

fn hint(nearest: &Option<&'static str>) -> String {
    nearest.map(|name| format!(" (did you mean --{name}?)")).unwrap_or_default()
}

/// Parses the arguments after the program's name against the groups.
pub fn parse(program: &str, about: &str, groups: &[&Group], args: &[String]) -> Result<Parsed, Error> {
    let mut entries = BTreeMap::new();
    for flag in groups.iter().flat_map(|group| group.flags) {
        let mut value = empty(flag.kind);
        if !flag.default.is_empty() {
            set(&mut value, flag.kind, flag.default, true).unwrap_or_else(|reason| {
                panic!("the table's default {:?} of --{} is wrong: {reason}", flag.default, flag.name)
            });
        }
        let old = entries.insert(flag.name, Entry { flag: *flag, value, given: None });
        assert!(old.is_none(), "--{} stands in the table twice", flag.name);
    }
    let mut parsed = Parsed { program: program.to_owned(), entries, help: None };
    let mut rest = args.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            if let Some(extra) = rest.next() {
                return Err(Error::Arguments { program: program.to_owned(), got: vec![extra.clone()] });
            }
            break;
        } else if let Some(body) = argument.strip_prefix("--") {
            if body.is_empty() || body.starts_with(['-', '=']) {
                return Err(Error::Syntax(argument.clone()));
            }
            let (typed, attached) = split_value(body);
            let name = typed.replace('_', "-");
            if name == "help" {
                parsed.help = Some(help::render(program, about, groups));
                continue;
            }
            let Some(entry) = parsed.entries.get_mut(&*name) else {
                let nearest = nearest(&name, parsed.entries.keys().copied());
                return Err(Error::Unknown { name: typed.to_owned(), nearest });
            };
            let value = match attached {
                Some(value) => value.to_owned(),
                None => match implied(&entry.flag) {
                    Some(value) => value.to_owned(),
                    None => rest.next().cloned().ok_or_else(|| Error::MissingValue(argument.clone()))?,
                },
            };
            assign(entry, &value)?;
        } else if argument.len() > 1 && argument.starts_with('-') {
            let mut letters = argument[1..].chars();
            while let Some(letter) = letters.next() {
                if letter == 'h' {
                    parsed.help = Some(help::render(program, about, groups));
                    continue;
                }
                let Some(entry) = parsed.entries.values_mut().find(|entry| entry.flag.short == Some(letter))
                else {
                    return Err(Error::UnknownShort { letter, argument: argument.clone() });
                };
                let tail = letters.as_str();
                let value = match (tail.strip_prefix('='), implied(&entry.flag)) {
                    (Some(value), _) => value.to_owned(),
                    (None, Some(value)) => {
                        assign(entry, value)?;
                        continue;
                    }
                    (None, None) if !tail.is_empty() => tail.to_owned(),
                    (None, None) => match rest.next() {
                        Some(value) => value.clone(),
                        None => return Err(Error::MissingValue(format!("{letter:?} in {argument}"))),
                    },
                };
                assign(entry, &value)?;
                break;
            }
        } else {
            return Err(Error::Arguments { program: program.to_owned(), got: vec![argument.clone()] });
        }
    }
    if parsed.help.is_none() {
        refuse(&parsed)?;
    }
    Ok(parsed)
}

fn split_value(body: &str) -> (&str, Option<&str>) {
    match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    }
}

/// The value of a flag that may stand alone.
fn implied(flag: &Flag) -> Option<&'static str> {
    (flag.kind == Kind::Bool || flag.name == "version").then_some("true")
}

fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 5))
        .map(|(_, candidate)| candidate)
}

fn assign(entry: &mut Entry, text: &str) -> Result<(), Error> {
    let first = entry.given.is_none();
    set(&mut entry.value, entry.flag.kind, text, first).map_err(|reason| Error::Invalid {
        value: text.to_owned(),
        flag: match entry.flag.short {
            Some(short) => format!("-{short}, --{}", entry.flag.name),
            None => format!("--{}", entry.flag.name),
        },
        reason,
    })?;
    entry.given = Some(text.to_owned());
    Ok(())
}

fn refuse(parsed: &Parsed) -> Result<(), Error> {
    for entry in parsed.entries.values() {
        if let (Support::Refused(why), Some(given)) = (entry.flag.support, &entry.given) {
            let mut default = empty(entry.flag.kind);
            if !entry.flag.default.is_empty() {
                // Checked when the table was read.
                let _ = set(&mut default, entry.flag.kind, entry.flag.default, true);
            }
            if default != entry.value {
                return Err(Error::Refused { name: entry.flag.name, value: given.clone(), why });
            }
        }
    }
    Ok(())
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::Bool => Value::Bool(false),
        Kind::Int => Value::Int(0),
        Kind::Uint => Value::Uint(0),
        Kind::Float => Value::Float(0.0),
        Kind::Duration => Value::Duration(Duration::default()),
        Kind::String | Kind::Ip => Value::Text(String::new()),
        Kind::List | Kind::Array => Value::List(Vec::new()),
        Kind::Map => Value::Map(BTreeMap::new()),
    }
}

/// Sets or, for lists and maps that were already given, extends a value.
fn set(value: &mut Value, kind: Kind, text: &str, first: bool) -> Result<(), String> {
    let go = |function: &str, why: &str| format!("strconv.{function}: parsing {text:?}: {why}");
    let number_fault = |error: &std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    match (kind, value) {
        (Kind::Bool, Value::Bool(value)) => {
            *value = parse_bool(text).ok_or_else(|| go("ParseBool", "invalid syntax"))?
        }
        (Kind::Int, Value::Int(value)) => {
            *value = text.parse().map_err(|e| go("ParseInt", number_fault(&e)))?
        }
        (Kind::Uint, Value::Uint(value)) => {
            *value = text.parse().map_err(|e| go("ParseUint", number_fault(&e)))?
        }
        (Kind::Float, Value::Float(value)) => {
            *value = text.parse().map_err(|_| go("ParseFloat", "invalid syntax"))?
        }
        (Kind::Duration, Value::Duration(value)) => *value = text.parse().map_err(|e| format!("{e}"))?,
        (Kind::String, Value::Text(value)) => text.clone_into(value),
        (Kind::Ip, Value::Text(value)) => {
            if !text.is_empty() && text.parse::<IpAddr>().is_err() {
                return Err(format!("failed to parse IP: {text:?}"));
            }
            text.clone_into(value);
        }
        (Kind::List, Value::List(list)) => {
            if first {
                list.clear();
            }
            list.extend(text.split(',').map(str::to_owned).filter(|_| !text.is_empty()));
        }
        (Kind::Array, Value::List(list)) => {
            if first {
                list.clear();
            }
            list.push(text.to_owned());
        }
        (Kind::Map, Value::Map(map)) => {
            if first {
                map.clear();
            }
            for pair in text.split(',').filter(|pair| !pair.is_empty()) {
                // Eviction thresholds are the one map whose pairs are written with another sign.
                let (key, value) = pair
                    .split_once(['=', '<'])
                    .ok_or_else(|| format!("{pair} must be formatted as key=value"))?;
                map.insert(key.trim().to_owned(), value.trim().to_owned());
            }
        }
        (kind, value) => panic!("a flag of kind {kind:?} holds {value:?}"),
    }
    Ok(())
}

/// The spellings of booleans that Go accepts.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: Group = Group {
        title: "Test",
        flags: &[
            Flag::new("leader-elect", Kind::Bool, "true", "Elect."),
            Flag::new("kube-api-burst", Kind::Int, "30", "Burst."),
            Flag::new("v", Kind::Int, "0", "Verbosity.").short('v'),
            Flag::new("controllers", Kind::List, "*", "Controllers."),
            Flag::new("lease", Kind::Duration, "15s", "Lease."),
            Flag::new("bind-address", Kind::Ip, "0.0.0.0", "Address."),
            Flag::new("feature-gates", Kind::Map, "", "Gates."),
            Flag::new("old", Kind::String, "", "Old.").no_effect("it is old"),
            Flag::new("gone", Kind::Bool, "false", "Gone.").refused("it is gone"),
        ],
    };

    fn run(args: &[&str]) -> Result<Parsed, Error> {
        let args: Vec<String> = args.iter().map(|&a| a.to_owned()).collect();
        parse("testd", "Tests.", &[&TABLE], &args)
    }

    #[test]
    fn every_form_of_a_value_is_read() {
        let p = run(&[
            "--leader_elect=false",
            "--kube-api-burst",
            "5",
            "-v4",
            "--controllers=a,b",
            "--controllers=c",
        ])
        .unwrap();
        assert!(!p.bool("leader-elect"));
        assert_eq!((p.int("kube-api-burst"), p.int("v")), (5, 4));
        assert_eq!(p.list("controllers"), ["a", "b", "c"]);
        assert_eq!(p.duration("lease"), Duration::from_secs(15));
        assert!(p.is_set("controllers") && !p.is_set("lease"));
        let p = run(&["--leader-elect", "-v=2", "--feature-gates=A=true,B=false", "--old=x"]).unwrap();
        assert_eq!((p.bool("leader-elect"), p.int("v")), (true, 2));
        assert_eq!(p.map("feature-gates").get("B").map(String::as_str), Some("false"));
        assert_eq!(p.remarks(), ["Flag --old has no effect: it is old"]);
        assert!(run(&["--help"]).unwrap().help().unwrap().contains("--leader-elect"));
    }

    #[test]
    fn faults_have_pflags_texts() {
        for (args, text) in [
            (&["--leader-elekt"][..], "unknown flag: --leader-elekt (did you mean --leader-elect?)"),
            (&["--zzzzzzzz"], "unknown flag: --zzzzzzzz"),
            (&["-z"], "unknown shorthand flag: 'z' in -z"),
            (&["--lease"], "flag needs an argument: --lease"),
            (&["--=x"], "bad flag syntax: --=x"),
            (
                &["-v", "x"],
                "invalid argument \"x\" for \"-v, --v\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            (&["--lease=x"], "invalid argument \"x\" for \"--lease\" flag: time: invalid duration \"x\""),
            (
                &["--leader-elect=x"],
                "invalid argument \"x\" for \"--leader-elect\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            (
                &["--bind-address=x"],
                "invalid argument \"x\" for \"--bind-address\" flag: failed to parse IP: \"x\"",
            ),
            (&["extra"], "\"testd\" does not take any arguments, got [\"extra\"]"),
            (&["--gone"], "--gone=true is not supported: it is gone"),
        ] {
            assert_eq!(run(args).unwrap_err().to_string(), text);
        }
        assert!(run(&["--gone=false"]).is_ok());
    }
}
