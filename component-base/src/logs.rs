//! Logs in klog's text form or as JSON lines, from `tracing` events.
//!
//! Verbosity follows klog's habit: `-v=4` and above show debug events, `-v=6` and above traces; libraries stay at
//! warnings below `-v=8`. `--vmodule` gives single source files a verbosity of their own.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::flags::Parsed;

/// Log settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An unknown format.
    #[error("format: Invalid value: {0:?}: Unsupported log format")]
    Format(String),
    /// A `--vmodule` that isn't `pattern=N,...`.
    #[error("invalid argument {0:?} for \"--vmodule\" flag: expect comma-separated list of filename=N")]
    Module(String),
    /// Logs were set up twice.
    #[error("logging is already set up")]
    Twice,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Text,
    Json,
}

/// Sets up logs for the process as the flags of [`groups::LOGS`](crate::flags::groups::LOGS) say.
pub fn init(flags: &Parsed) -> Result<(), Error> {
    let format = match flags.str("logging-format") {
        "text" | "" => Format::Text,
        "json" => Format::Json,
        other => return Err(Error::Format(other.to_owned())),
    };
    let split =
        flags.bool(if format == Format::Json { "log-json-split-stream" } else { "log-text-split-stream" });
    let log = Log { format, split, verbosity: flags.int("v"), modules: parse_modules(flags.str("vmodule"))? };
    let most = log.modules.iter().map(|(_, n)| *n).chain([log.verbosity]).max().unwrap_or(0);
    let subscriber =
        tracing_subscriber::registry().with(log.with_filter(LevelFilter::from_level(level_of(most))));
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Twice)
}

fn level_of(verbosity: i64) -> Level {
    match verbosity {
        ..4 => Level::INFO,
        4..6 => Level::DEBUG,
        _ => Level::TRACE,
    }
}

fn parse_modules(text: &str) -> Result<Vec<(String, i64)>, Error> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (pattern, n) = pair.split_once('=').ok_or_else(|| Error::Module(text.to_owned()))?;
            Ok((pattern.to_owned(), n.parse().map_err(|_| Error::Module(text.to_owned()))?))
        })
        .collect()
}

struct Log {
    format: Format,
    split: bool,
    verbosity: i64,
    modules: Vec<(String, i64)>,
}

impl Log {
    fn shows(&self, meta: &Metadata<'_>) -> bool {
        let stem = meta
            .file()
            .map(Path::new)
            .and_then(Path::file_stem)
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        let own = self.modules.iter().find(|(pattern, _)| matches_glob(pattern, stem)).map(|(_, n)| *n);
        let verbosity = own.unwrap_or(self.verbosity);
        let library =
            ["hyper", "h2", "rustls", "tonic", "tower", "tokio", "mio", "want", "netlink", "rtnetlink"];
        let crate_name = meta.target().split(':').next().unwrap_or_default();
        if library.iter().any(|name| crate_name.starts_with(name)) && verbosity < 8 {
            return *meta.level() <= Level::WARN;
        }
        *meta.level() <= level_of(verbosity)
    }
}

/// Matches `*` and `?`, as file patterns do.
fn matches_glob(pattern: &str, text: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            matches_glob(&pattern[1..], text)
                || text.chars().next().is_some_and(|c| matches_glob(pattern, &text[c.len_utf8()..]))
        }
        (Some('?'), Some(c)) => matches_glob(&pattern[1..], &text[c.len_utf8()..]),
        (Some(p), Some(c)) if p == c => matches_glob(&pattern[p.len_utf8()..], &text[c.len_utf8()..]),
        _ => false,
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn enabled(&self, meta: &Metadata<'_>, _: Context<'_, S>) -> bool {
        meta.is_span() || self.shows(meta)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        if !self.shows(meta) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = match self.format {
            Format::Text => text_line(meta, &fields, Timestamp::now()),
            Format::Json => json_line(meta, fields, Timestamp::now()),
        };
        // A log that can't be written has nowhere to complain.
        let _ = if self.split && *meta.level() > Level::WARN {
            io::stdout().write_all(line.as_bytes())
        } else {
            io::stderr().write_all(line.as_bytes())
        };
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, Value)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        match field.name() {
            "message" => self.message = text,
            name => self.pairs.push((name, text.into())),
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => self.pairs.push((name, value.into())),
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.pairs.push((field.name(), value.into()));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.pairs.push((field.name(), value.into()));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.pairs.push((field.name(), value.into()));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.pairs.push((field.name(), value.into()));
    }
}

fn caller(meta: &Metadata<'_>) -> String {
    let file = meta
        .file()
        .map(Path::new)
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or("unknown");
    format!("{file}:{}", meta.line().unwrap_or(0))
}

fn text_line(meta: &Metadata<'_>, fields: &Fields, now: Timestamp) -> String {
    let letter = match *meta.level() {
        Level::ERROR => 'E',
        Level::WARN => 'W',
        _ => 'I',
    };
    let time = now.strftime("%m%d %H:%M:%S%.6f");
    let mut line = format!("{letter}{time} {:>7} {}] {:?}", std::process::id(), caller(meta), fields.message);
    for (name, value) in &fields.pairs {
        // Texts are quoted, numbers and booleans aren't, as klog does.
        let _ = write!(line, " {name}={value}");
    }
    line.push('\n');
    line
}

fn json_line(meta: &Metadata<'_>, fields: Fields, now: Timestamp) -> String {
    let mut line = Map::new();
    line.insert("ts".into(), json!(now.as_microsecond() as f64 / 1e3));
    line.insert("caller".into(), caller(meta).into());
    line.insert("msg".into(), fields.message.into());
    if *meta.level() != Level::ERROR {
        let verbosity = if *meta.level() == Level::TRACE {
            6
        } else if *meta.level() == Level::DEBUG {
            4
        } else {
            0
        };
        line.insert("v".into(), verbosity.into());
    }
    line.extend(fields.pairs.into_iter().map(|(name, value)| (name.to_owned(), value)));
    let mut text = Value::Object(line).to_string();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_vmodule_does() {
        for (pattern, text, matches) in [
            ("reflector", "reflector", true),
            ("ref*", "reflector", true),
            ("*or", "reflector", true),
            ("r?f", "ref", true),
            ("ref", "reflector", false),
        ] {
            assert_eq!(matches_glob(pattern, text), matches, "{pattern} {text}");
        }
        assert_eq!(parse_modules("a=2,b*=4").unwrap(), [("a".to_owned(), 2), ("b*".to_owned(), 4)]);
        assert!(parse_modules("a").is_err());
    }
}
