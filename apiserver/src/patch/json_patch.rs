//! JSON patches (RFC 6902) and merge patches (RFC 7386), with upstream's limits and texts.

use proto::json;
use serde_json::{Map, Value};

use super::{Error, Patched};

/// How many operations a JSON patch may have.
const MAX_OPERATIONS: usize = 10_000;

/// How many bytes the copy operations of a patch may add.
const MAX_COPIED: usize = 3 * 1024 * 1024;

type Result<T> = std::result::Result<T, Error>;

/// Applies a JSON patch to a printed tree.
pub fn json_patch(current: &Value, patch: &[u8]) -> Result<Patched> {
    let decoded = json::decode_any(patch)
        .map_err(|error| Error::BadRequest(format!("error decoding patch: {error}")))?;
    let Value::Array(operations) = decoded.value else {
        return Err(Error::BadRequest(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            kind(&decoded.value)
        )));
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(Error::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let mut strict: Vec<String> = decoded.strict.iter().map(|error| format!("json patch {error}")).collect();
    for (index, operation) in operations.iter().enumerate() {
        let Value::Object(operation) = operation else { continue };
        for name in operation.keys().filter(|name| !matches!(name.as_str(), "op" | "path" | "from" | "value"))
        {
            strict.push(format!("json patch unknown field \"[{index}].{name}\""));
        }
    }
    let mut document = current.clone();
    apply_steps(&mut document, &operations).map_err(|failed| Error::Unprocessable(failed.to_string()))?;
    Ok(Patched { value: document, strict })
}

/// Why the steps of a JSON patch don't apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// A step tests for a value, which is another.
    #[error("testing value {0} failed: test failed")]
    Test(String),
    /// A step can't be taken.
    #[error("{0}")]
    Step(String),
}

impl From<String> for Failed {
    fn from(text: String) -> Failed {
        Failed::Step(text)
    }
}

/// Applies the steps of a JSON patch to a printed tree, which is half patched if one of them fails.
pub fn apply_steps(document: &mut Value, steps: &[Value]) -> std::result::Result<(), Failed> {
    let mut copied = 0;
    steps.iter().try_for_each(|step| apply(document, step, &mut copied))
}

/// Applies a merge patch to a printed tree.
pub fn merge_patch(current: &Value, patch: &[u8]) -> Result<Patched> {
    let decoded = json::decode_any(patch)
        .map_err(|error| Error::BadRequest(format!("error decoding patch: {error}")))?;
    let Value::Object(patch) = decoded.value else {
        let found = kind(&decoded.value);
        let text = if found == "null" {
            "Invalid JSON Patch".to_owned()
        } else {
            format!(
                "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
            )
        };
        return Err(Error::BadRequest(text));
    };
    let mut value = current.clone();
    merge(&mut value, patch);
    Ok(Patched { value, strict: decoded.strict })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn merge(target: &mut Value, patch: Map<String, Value>) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => drop(map.remove(&name)),
            Value::Object(patch) => merge(map.entry(name).or_insert(Value::Null), patch),
            Value::Array(items) => {
                drop(map.insert(name, Value::Array(items.into_iter().map(pruned).collect())))
            }
            value => drop(map.insert(name, value)),
        }
    }
}

/// The objects in a list of a merge patch are new, so nulls in them mean nothing.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, pruned(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(pruned).collect()),
        value => value,
    }
}

type Applied<T> = std::result::Result<T, String>;

fn apply(document: &mut Value, operation: &Value, copied: &mut usize) -> std::result::Result<(), Failed> {
    let text = |name: &str| operation.get(name).and_then(Value::as_str);
    let value = || operation.get("value").cloned();
    let op = text("op").unwrap_or("unknown");
    let decode = |name: &str| {
        text(name).ok_or_else(|| {
            let field =
                if name == "path" { "operation missing path field" } else { "operation, missing from field" };
            match (op, name) {
                ("add" | "remove", _) | ("copy", "path") => {
                    format!("{op} operation failed to decode {name}: missing value")
                }
                _ => format!("{op} operation failed to decode {name}: {field}: missing value"),
            }
        })
    };
    match op {
        "add" => {
            let path = decode("path")?;
            let (parent, key) = parent(document, path).ok_or_else(|| {
                format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
            })?;
            insert(parent, &key, value().unwrap_or_default())
                .map_err(|error| format!("error in add for path: '{path}': {error}"))?;
        }
        "remove" => {
            let path = decode("path")?;
            let (parent, key) = parent(document, path).ok_or_else(|| {
                format!("remove operation does not apply: doc is missing path: \"{path}\": missing value")
            })?;
            remove(parent, &key).map_err(|error| format!("error in remove for path: '{path}': {error}"))?;
        }
        "replace" => {
            let path = decode("path")?;
            if path.is_empty() {
                *document = value().unwrap_or_default();
                return Ok(());
            }
            let (parent, key) = parent(document, path).ok_or_else(|| {
                format!("replace operation does not apply: doc is missing path: {path}: missing value")
            })?;
            match parent {
                Value::Array(items) => {
                    let at =
                        index(&key, items.len()).ok().filter(|at| *at < items.len()).ok_or_else(|| {
                            format!(
                                "replace operation does not apply: doc is missing key: {path}: missing value"
                            )
                        })?;
                    items[at] = value().unwrap_or_default();
                }
                parent => insert(parent, &key, value().unwrap_or_default())?,
            }
        }
        "move" => {
            let from = decode("from")?;
            let (holder, key) = parent(document, from).ok_or_else(|| {
                format!("move operation does not apply: doc is missing from path: {from}: missing value")
            })?;
            let moved =
                remove(holder, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
            let path = decode("path")?;
            let (holder, key) = parent(document, path).ok_or_else(|| {
                format!(
                    "move operation does not apply: doc is missing destination path: {path}: missing value"
                )
            })?;
            insert(holder, &key, moved)
                .map_err(|error| format!("error in move for path: '{path}': {error}"))?;
        }
        "copy" => {
            let from = decode("from")?;
            let (holder, key) = parent(document, from).ok_or_else(|| {
                format!("copy operation does not apply: doc is missing from path: {from}: missing value")
            })?;
            let copy =
                get(holder, &key).map_err(|error| format!("error in copy for from: '{from}': {error}"))?;
            let copy = copy.cloned().unwrap_or_default();
            *copied += copy.to_string().len();
            if *copied > MAX_COPIED {
                return Err(Failed::Step(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                )));
            }
            let path = decode("path")?;
            let (holder, key) = parent(document, path).ok_or_else(|| {
                format!(
                    "copy operation does not apply: doc is missing destination path: {path}: missing value"
                )
            })?;
            insert(holder, &key, copy)
                .map_err(|error| format!("error while adding value during copy: {error}"))?;
        }
        "test" => {
            let path = decode("path")?;
            let wanted = value().unwrap_or_default();
            let tested = |same: bool| if same { Ok(()) } else { Err(Failed::Test(path.to_owned())) };
            if path.is_empty() {
                return tested(printed(document) == printed(&wanted));
            }
            let (holder, key) = parent(document, path).ok_or_else(|| {
                format!("test operation does not apply: is missing path: {path}: missing value")
            })?;
            let found =
                get(holder, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?;
            tested(printed(found.unwrap_or(&Value::Null)) == printed(&wanted))?;
        }
        other => return Err(Failed::Step(format!("Unexpected kind: {other}"))),
    }
    Ok(())
}

/// What a test compares: numbers are the same if they are printed so, which no conversion between them could tell.
fn printed(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    json::encode_any(value, &mut text);
    text
}

/// The container that a path's last step is in, and that step.
fn parent<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut steps = path.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).peekable();
    let mut at = document;
    while let Some(step) = steps.next() {
        if steps.peek().is_none() {
            return (at.is_object() || at.is_array()).then_some((at, step));
        }
        at = match at {
            Value::Object(map) => map.get_mut(&step)?,
            Value::Array(items) => {
                let index = index(&step, items.len()).ok()?;
                items.get_mut(index)?
            }
            _ => return None,
        };
    }
    None
}

/// A position in a list; negative ones count from the end.
fn index(key: &str, length: usize) -> Applied<usize> {
    let position: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let invalid = || format!("Unable to access invalid index: {position}: invalid index referenced");
    let at = if position < 0 { position + length as i64 } else { position };
    usize::try_from(at).map_err(|_| invalid())
}

fn get<'a>(parent: &'a Value, key: &str) -> Applied<Option<&'a Value>> {
    match parent {
        Value::Array(items) => {
            let at = index(key, items.len())?;
            let invalid = || format!("Unable to access invalid index: {at}: invalid index referenced");
            items.get(at).map(Some).ok_or_else(invalid)
        }
        parent => Ok(parent.get(key)),
    }
}

fn insert(parent: &mut Value, key: &str, value: Value) -> Applied<()> {
    match parent {
        Value::Object(map) => drop(map.insert(key.to_owned(), value)),
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let not_index = |error| format!("value was not a proper array index: '{key}': {error}");
            // A negative position counts from the end of the longer list.
            let at = match key.starts_with('-') {
                true => index(key, items.len() + 1),
                false => index(key, items.len()).map_err(not_index),
            }?;
            if at > items.len() {
                return Err(format!("Unable to access invalid index: {at}: invalid index referenced"));
            }
            items.insert(at, value);
        }
        _ => return Err("unknown object type".to_owned()),
    }
    Ok(())
}

fn remove(parent: &mut Value, key: &str) -> Applied<Value> {
    match parent {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        Value::Array(items) => {
            let at = index(key, items.len())?;
            if at >= items.len() {
                return Err(format!("Unable to access invalid index: {at}: invalid index referenced"));
            }
            Ok(items.remove(at))
        }
        _ => Err("unknown object type".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn patched(current: Value, patch: Value) -> std::result::Result<Value, String> {
        json_patch(&current, patch.to_string().as_bytes())
            .map(|patched| patched.value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn operations_apply_in_order() {
        let current = json!({"a": {"b": [1, 2]}, "c~/d": 1});
        let patch = json!([
            {"op": "add", "path": "/a/b/-", "value": 3}, {"op": "add", "path": "/a/b/0", "value": 0},
            {"op": "remove", "path": "/a/b/1"}, {"op": "replace", "path": "/c~0~1d", "value": 2},
            {"op": "copy", "from": "/a/b", "path": "/e"}, {"op": "move", "from": "/c~0~1d", "path": "/f"},
            {"op": "test", "path": "/f", "value": 2}, {"op": "test", "path": "/nothing", "value": null},
            {"op": "remove", "path": "/a/b/-1"}
        ]);
        assert_eq!(patched(current, patch).unwrap(), json!({"a": {"b": [0, 2]}, "e": [0, 2, 3], "f": 2}));
    }

    #[test]
    fn operations_that_do_not_apply_are_explained() {
        for (patch, expected) in [
            (
                json!([{"op": "remove", "path": "/x"}]),
                "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                json!([{"op": "add", "path": "/x/y", "value": 1}]),
                "add operation does not apply: doc is missing path: \"/x/y\": missing value",
            ),
            (
                json!([{"op": "replace", "path": "/l/9", "value": 1}]),
                "replace operation does not apply: doc is missing key: /l/9: missing value",
            ),
            (
                json!([{"op": "add", "path": "/l/9", "value": 1}]),
                "error in add for path: '/l/9': Unable to access invalid index: 9: invalid index referenced",
            ),
            (json!([{"op": "test", "path": "/a", "value": 2}]), "testing value /a failed: test failed"),
            (json!([{"op": "jump", "path": "/a"}]), "Unexpected kind: jump"),
            (json!([{"op": "remove"}]), "remove operation failed to decode path: missing value"),
            (
                json!({"op": "remove"}),
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
        ] {
            assert_eq!(patched(json!({"a": 1, "l": [1]}), patch).unwrap_err(), expected);
        }
    }

    #[test]
    fn numbers_lose_nothing() {
        let current = json!({"i": 9_007_199_254_740_993_i64, "f": 2.0});
        let patch =
            br#"[{"op":"test","path":"/i","value":9007199254740993},{"op":"test","path":"/f","value":2},
            {"op":"copy","from":"/i","path":"/c"},{"op":"add","path":"/a","value":-9223372036854775808}]"#;
        let patched = json_patch(&current, patch).unwrap().value;
        assert_eq!(
            (patched["c"].as_i64(), patched["a"].as_i64()),
            (Some(9_007_199_254_740_993), Some(i64::MIN))
        );
        for other in ["9007199254740992", "9007199254740992.0", "9.007199254740993e15"] {
            let patch = format!(r#"[{{"op":"test","path":"/i","value":{other}}}]"#);
            assert!(json_patch(&current, patch.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn patches_are_limited() {
        let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "test", "path": "/a", "value": 1})).collect();
        let error = patched(json!({"a": 1}), Value::Array(many)).unwrap_err();
        assert_eq!(error, "The allowed maximum operations in a JSON patch is 10000, got 10001");
        let double: Vec<Value> =
            (0..60).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        assert!(
            patched(json!({"a": ["x"]}), Value::Array(double))
                .unwrap_err()
                .starts_with("Unable to complete the copy")
        );
    }

    #[test]
    fn merge_patches_merge() {
        let current = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        let patch = br#"{"a":{"b":null,"e":{"f":null,"g":1}},"d":[{"h":null}],"d":[{"h":null}]}"#;
        let patched = merge_patch(&current, patch).unwrap();
        assert_eq!(patched.value, json!({"a": {"c": 2, "e": {"g": 1}}, "d": [{}]}));
        assert_eq!(patched.strict, ["duplicate field \"d\""]);
        assert!(merge_patch(&current, b"[]").is_err());
    }
}
