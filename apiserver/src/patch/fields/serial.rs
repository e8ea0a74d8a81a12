//! The `FieldsV1` form of a set: nested objects whose keys are the elements' texts, `.` for the node itself.

use proto::json;
use serde_json::{Map, Value};

use super::{Element, Scalar, Set};

impl Set {
    /// The set's `FieldsV1` form.
    pub fn to_fields(&self) -> Value {
        let mut map = Map::new();
        for element in &self.members {
            map.insert(key(element), Value::Object(Map::new()));
        }
        for (element, child) in &self.children {
            let Value::Object(mut below) = child.to_fields() else { continue };
            if self.members.contains(element) && !below.is_empty() {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            map.insert(key(element), Value::Object(below));
        }
        Value::Object(map)
    }

    /// Reads the `FieldsV1` form. Elements of unknown kinds are skipped.
    pub fn from_fields(fields: &Value) -> Result<Set, String> {
        read(fields).map(|(set, _)| set)
    }
}

/// The set below a node, and whether the node itself is a member of its parent's set.
fn read(fields: &Value) -> Result<(Set, bool), String> {
    let mut set = Set::default();
    let mut member = false;
    let map = match fields {
        Value::Object(map) => map,
        Value::Null => return Ok((set, true)),
        _ => return Err("a set of fields must be an object".to_owned()),
    };
    for (key, below) in map {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = element(key)? else { continue };
        let (child, is_member) = read(below)?;
        if is_member {
            set.members.insert(element.clone());
        }
        if !child.members.is_empty() || !child.children.is_empty() {
            set.children.insert(element, child);
        }
    }
    let leaf = set.members.is_empty() && set.children.is_empty();
    Ok((set, member || leaf))
}

fn key(element: &Element) -> String {
    match element {
        Element::Field(name) => format!("f:{name}"),
        Element::Key(keys) => {
            let mut map = vec![b'{'];
            for (index, (name, value)) in keys.iter().enumerate() {
                if index > 0 {
                    map.push(b',');
                }
                json::encode_any(&Value::from(name.as_ref()), &mut map);
                map.push(b':');
                json::encode_any(&value.0, &mut map);
            }
            map.push(b'}');
            format!("k:{}", String::from_utf8_lossy(&map))
        }
        Element::Value(value) => {
            let mut text = Vec::new();
            json::encode_any(&value.0, &mut text);
            format!("v:{}", String::from_utf8_lossy(&text))
        }
        Element::Index(index) => format!("i:{index}"),
    }
}

fn element(key: &str) -> Result<Option<Element>, String> {
    let wrong = || format!("parsing key as path element: {key:?}");
    let (kind, text) = key.split_once(':').filter(|(kind, _)| kind.len() == 1).ok_or_else(wrong)?;
    let value =
        |text: &str| json::decode_any(text.as_bytes()).map(|decoded| decoded.value).map_err(|_| wrong());
    Ok(Some(match kind {
        "f" => Element::Field(text.into()),
        "v" => Element::Value(Scalar(value(text)?)),
        "i" => Element::Index(text.parse().map_err(|_| wrong())?),
        "k" => {
            let Value::Object(keys) = value(text)? else { return Err(wrong()) };
            Element::Key(keys.into_iter().map(|(name, value)| (name.into(), Scalar(value))).collect())
        }
        _ => return Ok(None),
    }))
}
