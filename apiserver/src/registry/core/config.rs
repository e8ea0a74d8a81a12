//! ConfigMaps and Secrets: data that pods read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{View, at, remove_at, set_at, text_at};
use serde_json::Value;

use super::{key_pair, kind};
use crate::registry::checks::*;
use crate::registry::defaults::fill;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Hooks};

/// The most that data may have in all.
const MOST: usize = 1024 * 1024;
const WHEN_IMMUTABLE: &str = "field is immutable when `immutable` is set";
const REDACTED: &str = "<secret contents redacted>";

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("configmaps", "ConfigMap")
        .short(&["cm"])
        .hooks(Hooks {
            validate: |_, new| config_map(new),
            validate_update: |_, new, old| {
                let mut errors = Errors::new();
                immutable_data(new, old, &["data", "binaryData"], &mut errors);
                errors.extend(config_map(new));
                errors
            },
            ..Hooks::default()
        })
        .install(builder, enabled);
    kind("secrets", "Secret")
        .selectable(&["type"])
        .default(|object| {
            encode_texts(object);
            fill(object, "type", "Opaque");
        })
        .hooks(Hooks {
            prepare_update: |_, new, old| {
                if at(new, &["type"]).is_null() {
                    set_at(new, &["type"], at(old, &["type"]).clone());
                }
            },
            validate: |_, new| secret(new),
            validate_update: |_, new, old| {
                let mut errors = Errors::new();
                immutable_str(&View::root(new).get("type"), &View::root(old).get("type"), &mut errors);
                immutable_data(new, old, &["data"], &mut errors);
                errors.extend(secret(new));
                errors
            },
            warnings: |_, new| key_pair_warning(new),
            warnings_update: |_, new, _| key_pair_warning(new),
            ..Hooks::default()
        })
        .install(builder, enabled);
}

fn key_pair_warning(secret: &Value) -> Vec<String> {
    if text_at(secret, &["type"]) != "kubernetes.io/tls" {
        return Vec::new();
    }
    let data = |name: &str| BASE64.decode(text_at(secret, &["data", name])).unwrap_or_default();
    key_pair::problem(&data("tls.crt"), &data("tls.key")).into_iter().collect()
}

/// `stringData` is for writing alone: each text becomes, or replaces, an entry of `data`.
fn encode_texts(object: &mut Value) {
    let Some(Value::Object(texts)) = remove_at(object, &["stringData"]) else { return };
    for (name, text) in texts {
        let encoded = BASE64.encode(text.as_str().unwrap_or_default());
        set_at(object, &["data", &name], Value::from(encoded));
    }
}

fn immutable_data(new: &Value, old: &Value, fields: &[&'static str], errors: &mut Errors) {
    let frozen = |object: &Value| at(object, &["immutable"]) == &Value::Bool(true);
    if !frozen(old) {
        return;
    }
    if !frozen(new) {
        errors.push(Error::forbidden(&Path::new("immutable"), WHEN_IMMUTABLE));
    }
    for field in fields {
        if at(new, &[field]) != at(old, &[field]) {
            errors.push(Error::forbidden(&Path::new(field), WHEN_IMMUTABLE));
        }
    }
}

fn key(entry: &View, key: &str, errors: &mut Errors) {
    each_at(entry.path(), key, content::is_config_map_key(key), errors);
}

/// The number of bytes that base64 text stands for.
fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|c| *c == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

fn config_map(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    let binary = view.get("binaryData");
    let mut size = 0;
    for (name, entry) in view.get("data").entries() {
        key(&entry, name, &mut errors);
        if binary.has(name) {
            errors.push(Error::invalid(entry.path(), name, "duplicate of key present in binaryData"));
        }
        size += entry.str().len();
    }
    for (name, entry) in binary.entries() {
        key(&entry, name, &mut errors);
        size += decoded_len(entry.str());
    }
    if size > MOST {
        errors.push(Error::too_long(&Path::new(""), MOST));
    }
    errors
}

fn secret(object: &Value) -> Errors {
    const ACCOUNT: &str = "kubernetes.io/service-account.name";
    let mut errors = Errors::new();
    let view = View::root(object);
    let data = view.get("data");
    let mut size = 0;
    for (name, entry) in data.entries() {
        key(&entry, name, &mut errors);
        size += decoded_len(entry.str());
    }
    if size > MOST {
        errors.push(Error::too_long(data.path(), MOST));
    }
    let mut missing = |name: &str| {
        let entry = data.key(name);
        if !entry.is_set() {
            errors.push(entry.required(""));
        }
    };
    match view.text("type") {
        "kubernetes.io/service-account-token"
            if text_at(object, &["metadata", "annotations", ACCOUNT]).is_empty() =>
        {
            errors.push(view.get("metadata").get("annotations").key(ACCOUNT).required(""));
        }
        "kubernetes.io/dockercfg" => docker_config(&data.key(".dockercfg"), &mut errors),
        "kubernetes.io/dockerconfigjson" => docker_config(&data.key(".dockerconfigjson"), &mut errors),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            missing("username");
            missing("password");
        }
        "kubernetes.io/ssh-auth" => {
            let private = data.key("ssh-privatekey");
            if private.is_empty() {
                errors.push(private.required(""));
            }
        }
        "kubernetes.io/tls" => {
            missing("tls.crt");
            missing("tls.key");
        }
        _ => {}
    }
    errors
}

fn docker_config(entry: &View, errors: &mut Errors) {
    if !entry.is_set() {
        errors.push(entry.required(""));
        return;
    }
    let bytes = BASE64.decode(entry.str()).unwrap_or_default();
    if let Some(problem) = json_problem(&bytes) {
        errors.push(Error::invalid(entry.path(), REDACTED, problem));
    }
}

/// What Go's JSON decoder says of bytes that are no JSON object.
fn json_problem(bytes: &[u8]) -> Option<String> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(Value::Object(_) | Value::Null) => None,
        Ok(other) => {
            let kind = match other {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Bool(_) => "bool",
                _ => "array",
            };
            Some(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
        }
        Err(error) if error.is_eof() => Some("unexpected end of JSON input".to_owned()),
        Err(error) => {
            let found = bytes.get(error.column().saturating_sub(1)).copied().unwrap_or_default();
            let shown = match found {
                0x80.. => format!("\\x{found:02x}"),
                _ => char::from(found).escape_default().to_string(),
            };
            Some(format!("invalid character '{shown}' looking for beginning of value"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn secrets_have_what_their_type_says() {
        let cases = [
            (json!({"type": "Opaque", "data": {"a": "YQ=="}}), vec![]),
            (
                json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
                vec!["data[tls.key]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": ""}}),
                vec![
                    "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": unexpected end of JSON input",
                ],
            ),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
        ];
        for (object, want) in cases {
            assert_eq!(texts(secret(&object)), want);
        }
    }

    #[test]
    fn texts_become_data() {
        let mut object = json!({"data": {"a": "b2xk", "b": "a2VwdA=="}, "stringData": {"a": "new"}});
        encode_texts(&mut object);
        assert_eq!(object, json!({"data": {"a": "bmV3", "b": "a2VwdA=="}}));
    }

    #[test]
    fn sizes_are_those_of_the_bytes() {
        for (bytes, text) in [(0, ""), (1, "YQ=="), (2, "YWI="), (3, "YWJj")] {
            assert_eq!(decoded_len(text), bytes);
        }
    }
}
