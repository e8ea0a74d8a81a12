//! Command lines from tables, in pflag's syntax.
//!
//! A daemon's command line is a list of [`Group`]s of [`Flag`] rows: some shared (`groups`), some its
//! own. Every flag that upstream's daemon has is listed, with what this one does about it: a flag
//! without effect is named once in the log when set, and one whose effect can't be given refuses to
//! start rather than pretend. Values are checked when parsed, so the getters of [`Parsed`] never fail.

pub mod groups;
mod help;
mod parse;

use std::collections::BTreeMap;

use proto::time::Duration;

pub use parse::{Error, parse, parse_bool};

/// The type of a flag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--flag`, `--flag=true`, `--flag=false`.
    Bool,
    /// A signed integer.
    Int,
    /// An unsigned integer.
    Uint,
    /// A floating-point number.
    Float,
    /// A duration in Go's text form.
    Duration,
    /// Any text.
    String,
    /// An IP address.
    Ip,
    /// A list split at commas; repeating the flag appends.
    List,
    /// A list that isn't split; repeating the flag appends.
    Array,
    /// `a=b,c=d`; repeating the flag merges.
    Map,
}

/// What this daemon does about a flag that upstream's has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It works.
    Implemented,
    /// It is accepted and changes nothing, for the given reason.
    NoEffect(&'static str),
    /// Only its default is accepted, for the given reason.
    Refused(&'static str),
}

/// One row of a command-line table.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// The long name, without dashes.
    pub name: &'static str,
    /// The one-letter form.
    pub short: Option<char>,
    /// The value's type.
    pub kind: Kind,
    /// The default, as it would be typed.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// What setting it does.
    pub support: Support,
    /// Upstream's deprecation notice, if it has one.
    pub deprecated: Option<&'static str>,
}

impl Flag {
    /// A flag that works.
    pub const fn new(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Self {
        Self { name, short: None, kind, default, help, support: Support::Implemented, deprecated: None }
    }

    /// Gives it a one-letter form.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Marks it as accepted without effect.
    pub const fn no_effect(mut self, why: &'static str) -> Self {
        self.support = Support::NoEffect(why);
        self
    }

    /// Marks it as refused unless it keeps its default.
    pub const fn refused(mut self, why: &'static str) -> Self {
        self.support = Support::Refused(why);
        self
    }

    /// Marks it as deprecated.
    pub const fn deprecated(mut self, notice: &'static str) -> Self {
        self.deprecated = Some(notice);
        self
    }
}

/// A titled part of a command line.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The title in `--help`.
    pub title: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
}

/// One parsed value.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Duration(Duration),
    Text(String),
    List(Vec<String>),
    Map(BTreeMap<String, String>),
}

#[derive(Debug, Clone)]
struct Entry {
    flag: Flag,
    value: Value,
    /// The text given last, if any was given.
    given: Option<String>,
}

/// A parsed command line.
///
/// Asking for a flag that isn't in the daemon's table, or as another type than the table says, is a
/// bug of the daemon; each getter's panic says so.
#[derive(Debug, Clone)]
pub struct Parsed {
    program: String,
    entries: BTreeMap<&'static str, Entry>,
    /// `-v`, kept apart since every daemon has it.
    help: Option<String>,
}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $type:ty, $value:ident => $read:expr) => {
        $(#[$doc])*
        pub fn $name(&self, name: &str) -> $type {
            match &self.entry(name).value {
                Value::$variant($value) => $read,
                other => panic!("flag --{name} is read as {} but holds {other:?}", stringify!($variant)),
            }
        }
    };
}

impl Parsed {
    fn entry(&self, name: &str) -> &Entry {
        self.entries.get(name).unwrap_or_else(|| panic!("flag --{name} is read but isn't in the table"))
    }

    /// The daemon's name.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Whether the table has this flag.
    pub fn knows(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Whether the flag was given on the command line.
    pub fn is_set(&self, name: &str) -> bool {
        self.entry(name).given.is_some()
    }

    /// The `--help` text, if it was asked for.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// Names and texts of the flags that were given, in order of name.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.entries.values().filter_map(|entry| Some((entry.flag.name, entry.given.as_deref()?)))
    }

    /// The rows that were given and have no effect, or are deprecated: what the log should mention once.
    pub fn remarks(&self) -> Vec<String> {
        let given = self.entries.values().filter(|entry| entry.given.is_some());
        given
            .flat_map(|entry| {
                let name = entry.flag.name;
                let deprecated =
                    entry.flag.deprecated.map(|why| format!("Flag --{name} has been deprecated, {why}"));
                let idle = match entry.flag.support {
                    Support::NoEffect(why) => Some(format!("Flag --{name} has no effect: {why}")),
                    _ => None,
                };
                deprecated.into_iter().chain(idle)
            })
            .collect()
    }

    getter!(/// A boolean.
        bool, Bool, bool, value => *value);
    getter!(/// A signed integer.
        int, Int, i64, value => *value);
    getter!(/// An unsigned integer.
        uint, Uint, u64, value => *value);
    getter!(/// A floating-point number.
        float, Float, f64, value => *value);
    getter!(/// A duration.
        duration, Duration, Duration, value => *value);
    getter!(/// A text or an address.
        str, Text, &str, value => value);
    getter!(/// A list.
        list, List, &[String], value => value);
    getter!(/// A map.
        map, Map, &BTreeMap<String, String>, value => value);

    /// A text, or nothing if it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&str> {
        Some(self.str(name)).filter(|text| !text.is_empty())
    }

    /// The value of `given` where the flag was set, else of the file: flags win over files.
    pub fn override_with<T>(&self, name: &str, from_file: &mut T, read: impl FnOnce(&Self) -> T) {
        if self.is_set(name) {
            *from_file = read(self);
        }
    }
}
