//! Versioned component configuration files, read strictly.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A configuration file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("failed to read config file {0:?}: {1}")]
    Read(PathBuf, std::io::Error),
    /// It isn't YAML.
    #[error("failed to load config file {path:?}: {reason}")]
    Yaml {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// It is of another kind or version.
    #[error("failed to load config file {path:?}: no kind {kind:?} is registered for version {version:?}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        kind: String,
        /// Its version.
        version: String,
    },
    /// A field is unknown or of the wrong type.
    #[error("failed to load config file {path:?}: {reason}")]
    Field {
        /// The file.
        path: PathBuf,
        /// Names the field.
        reason: String,
    },
}

/// Reads a file whose `apiVersion` and `kind` are among `kinds` into `T`.
///
/// `T` should deny unknown fields and need not have `apiVersion` and `kind`. The matching kind is returned too.
pub fn load<T: DeserializeOwned>(
    path: &Path,
    kinds: &[(&'static str, &'static str)],
) -> Result<(T, (&'static str, &'static str)), Error> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::Read(path.to_owned(), e))?;
    parse(path, &text, kinds)
}

/// Like [`load`], from text that was read from `path`.
pub fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    kinds: &[(&'static str, &'static str)],
) -> Result<(T, (&'static str, &'static str)), Error> {
    let mut value: Value = serde_saphyr::from_str(text)
        .map_err(|e| Error::Yaml { path: path.to_owned(), reason: e.to_string() })?;
    let (mut version, mut kind) = (String::new(), String::new());
    if let Some(object) = value.as_object_mut() {
        let mut take = |name| match object.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        (version, kind) = (take("apiVersion"), take("kind"));
        // A null is an absent field.
        strip_nulls(&mut value);
    }
    let Some(found) = kinds.iter().find(|(v, k)| *v == version && *k == kind) else {
        return Err(Error::Kind { path: path.to_owned(), kind, version });
    };
    let config = serde_json::from_value(value)
        .map_err(|e| Error::Field { path: path.to_owned(), reason: reword(&e.to_string()) })?;
    Ok((config, *found))
}

fn strip_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().for_each(strip_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}

/// Says unknown fields in upstream's words.
fn reword(text: &str) -> String {
    let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
    match unknown {
        Some((field, _)) => format!("strict decoding error: unknown field {field:?}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, Default, PartialEq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Config {
        bind_address: String,
        period: proto::time::Duration,
    }
    const KINDS: &[(&str, &str)] = &[("x.k8s.io/v1", "XConfiguration")];

    fn read(body: &str) -> Result<Config, String> {
        let text = format!("apiVersion: x.k8s.io/v1\nkind: XConfiguration\n{body}");
        parse(Path::new("x.yaml"), &text, KINDS).map(|(config, _)| config).map_err(|e| e.to_string())
    }

    #[test]
    fn files_are_read_strictly() {
        let config = read("bindAddress: 0.0.0.0\nperiod: 1m30s").unwrap();
        assert_eq!((config.bind_address.as_str(), config.period.to_string().as_str()), ("0.0.0.0", "1m30s"));
        assert_eq!(read("period: null").unwrap(), Config::default());
        let error = read("bindAdress: x").unwrap_err();
        assert_eq!(
            error,
            "failed to load config file \"x.yaml\": strict decoding error: unknown field \"bindAdress\""
        );
        let error = parse::<Config>(Path::new("x.yaml"), "kind: Other\napiVersion: v1", KINDS)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "failed to load config file \"x.yaml\": no kind \"Other\" is registered for version \"v1\""
        );
    }
}
