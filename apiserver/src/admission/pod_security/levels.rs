//! Which level applies in a namespace, for each mode.

use std::fmt;

use proto::field::{Error, Errors, Path};
use serde_json::Value;

/// How much a pod may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version of Kubernetes 1.x whose rules count; `None`: the newest.
pub(super) type Version = Option<u32>;

/// A level as some version defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LevelVersion {
    pub(super) level: Level,
    pub(super) version: Version,
}

impl fmt::Display for LevelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: LevelVersion,
    pub(super) audit: LevelVersion,
    pub(super) warn: LevelVersion,
}

const PREFIX: &str = "pod-security.kubernetes.io/";

/// Reads the policy from a namespace's labels, and what is wrong with them. A level that can't be
/// read is enforced as the strictest, but neither audited nor warned about.
pub(super) fn policy_of(namespace: &Value) -> (Policy, Errors) {
    let labels = &namespace["metadata"]["labels"];
    let mut errors = Errors::new();
    let privileged = LevelVersion { level: Level::Privileged, version: None };
    let mut policy = Policy { enforce: privileged, audit: privileged, warn: privileged };
    for (mode, target, fallback) in [
        ("enforce", &mut policy.enforce, Level::Restricted),
        ("audit", &mut policy.audit, Level::Privileged),
        ("warn", &mut policy.warn, Level::Privileged),
    ] {
        let read = |key: String| labels[&key].as_str().map(|text| (key, text));
        if let Some((key, text)) = read(format!("{PREFIX}{mode}")) {
            target.level = parse_level(text).unwrap_or_else(|| {
                errors.push(invalid(&key, text, "must be one of privileged, baseline, restricted"));
                fallback
            });
        }
        if let Some((key, text)) = read(format!("{PREFIX}{mode}-version")) {
            target.version = parse_version(text).unwrap_or_else(|| {
                errors.push(invalid(&key, text, "must be \"latest\" or \"v1.x\""));
                None
            });
        }
    }
    let has = |label: &str| labels.get(format!("{PREFIX}{label}")).is_some();
    let enforces = labels[format!("{PREFIX}enforce")].as_str().and_then(parse_level).is_some();
    if !has("warn") && enforces && policy.enforce.level > policy.warn.level {
        policy.warn.level = policy.enforce.level;
        if !has("warn-version") {
            policy.warn.version = policy.enforce.version;
        }
    }
    (policy, errors)
}

fn invalid(key: &str, value: &str, detail: &str) -> Error {
    Error::invalid(&Path::new("metadata").child("labels").key(key), value, detail)
}

fn parse_level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(None);
    }
    let minor = text.strip_prefix("v1.")?;
    let is_plain = minor == "0" || (!minor.starts_with('0') && minor.bytes().all(|b| b.is_ascii_digit()));
    is_plain.then(|| minor.parse().ok()).flatten().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(labels: &[(&str, &str)]) -> (String, usize) {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| (format!("{PREFIX}{key}"), json!(value))).collect();
        let (policy, errors) = policy_of(&json!({ "metadata": { "labels": labels } }));
        (format!("{} {} {}", policy.enforce, policy.audit, policy.warn), errors.len())
    }

    #[test]
    fn labels() {
        let all = "privileged:latest privileged:latest privileged:latest";
        assert_eq!(policy(&[]), (all.to_owned(), 0));
        for (labels, expected, errors) in [
            (
                &[("enforce", "baseline"), ("enforce-version", "v1.25")][..],
                "baseline:v1.25 privileged:latest baseline:v1.25",
                0,
            ),
            (
                &[("enforce", "restricted"), ("warn", "baseline")],
                "restricted:latest privileged:latest baseline:latest",
                0,
            ),
            (&[("enforce", "strict")], "restricted:latest privileged:latest privileged:latest", 1),
            (&[("audit", "x"), ("warn-version", "v1.01"), ("enforce-version", "1.2")], all, 3),
        ] {
            assert_eq!(policy(labels), (expected.to_owned(), errors), "{labels:?}");
        }
    }
}
