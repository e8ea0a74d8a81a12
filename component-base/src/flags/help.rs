//! The `--help` text.

use std::fmt::Write;

use super::{Flag, Group, Kind, Support};

/// Renders the groups as upstream lays them out.
pub(super) fn render(program: &str, about: &str, groups: &[&Group]) -> String {
    let mut out = format!("{about}\n\nUsage:\n  {program} [flags]\n");
    for group in groups {
        let mut flags: Vec<&Flag> = group.flags.iter().collect();
        flags.sort_by_key(|flag| flag.name);
        let heads: Vec<String> = flags.iter().map(|flag| head(flag)).collect();
        let width = heads.iter().map(String::len).max().unwrap_or(0);
        let _ = write!(out, "\n{} flags:\n\n", group.title);
        for (flag, head) in flags.iter().zip(&heads) {
            let _ = writeln!(out, "{head:width$}   {}{}", flag.help, notes(flag));
        }
    }
    out.push_str("\nGlobal flags:\n\n  -h, --help                     help for ");
    out.push_str(program);
    out.push('\n');
    out
}

fn head(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
    let kind = match flag.kind {
        Kind::Bool => "",
        Kind::Int => " int",
        Kind::Uint => " uint",
        Kind::Float => " float",
        Kind::Duration => " duration",
        Kind::String => " string",
        Kind::Ip => " ip",
        Kind::List | Kind::Array => " strings",
        Kind::Map => " mapStringString",
    };
    format!("  {short}--{}{kind}", flag.name)
}

fn notes(flag: &Flag) -> String {
    let mut out = String::new();
    match (flag.kind, flag.default) {
        (_, "") | (Kind::Bool, "false") | (Kind::Int | Kind::Uint | Kind::Float, "0") => {}
        (Kind::String, text) => {
            let _ = write!(out, " (default {text:?})");
        }
        (Kind::List | Kind::Array | Kind::Map, text) => {
            let _ = write!(out, " (default [{text}])");
        }
        (_, text) => {
            let _ = write!(out, " (default {text})");
        }
    }
    if let Some(why) = flag.deprecated {
        let _ = write!(out, " (DEPRECATED: {why})");
    }
    match flag.support {
        Support::Implemented => {}
        Support::NoEffect(why) => {
            let _ = write!(out, " (no effect: {why})");
        }
        Support::Refused(why) => {
            let _ = write!(out, " (only the default is accepted: {why})");
        }
    }
    out
}
