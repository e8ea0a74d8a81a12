//! What the daemons say about their version.

use serde_json::{Value, json};

/// The version served.
pub const GIT_VERSION: &str = "v1.36.2";
/// Major version.
pub const MAJOR: &str = "1";
/// Minor version.
pub const MINOR: &str = "36";

/// The architecture, by Go's name.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// The answer to `/version`.
pub fn info() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION,
        "gitCommit": "keelson",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", arch()),
    })
}

/// The text of `--version`, or of `--version=raw`; none if the flag wasn't used.
pub fn requested(flag: &str) -> Option<String> {
    match flag {
        "false" | "" => None,
        "raw" => Some(format!("{:#}", info())),
        _ => Some(format!("Kubernetes {GIT_VERSION}")),
    }
}
