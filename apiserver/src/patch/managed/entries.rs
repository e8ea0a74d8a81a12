//! `metadata.managedFields` and the managers it lists.

use std::collections::BTreeMap;
use std::str::FromStr;

use proto::time::Time;
use serde_json::{Map, Value};

use crate::patch::fields::Set;

/// How a manager sets fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// What tells managers apart. One that applies has one entry, whatever version it uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) manager: String,
    pub(super) operation: Operation,
    /// Empty for a manager that applies.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

/// The fields of a manager.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) api_version: String,
    pub(super) time: Option<String>,
    pub(super) set: Set,
}

impl Entry {
    pub(super) fn seconds(&self) -> i64 {
        self.time.as_deref().and_then(|time| Time::from_str(time).ok()).map_or(0, |time| time.0.as_second())
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managers(pub(super) BTreeMap<Key, Entry>);

impl Managers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads `metadata.managedFields`.
    pub(super) fn decode(list: Option<&Value>) -> Result<Managers, String> {
        let mut managers = BTreeMap::new();
        for (index, entry) in list.and_then(Value::as_array).into_iter().flatten().enumerate() {
            let text = |name| entry.get(name).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
            }
            let key = Key {
                manager: text("manager").to_owned(),
                operation,
                api_version: if operation == Operation::Update {
                    api_version.to_owned()
                } else {
                    String::new()
                },
                subresource: text("subresource").to_owned(),
            };
            let set = match entry.get("fieldsV1") {
                Some(fields) => {
                    Set::from_fields(fields).map_err(|error| format!("error decoding set: {error}"))?
                }
                None => Set::default(),
            };
            let time = Some(text("time")).filter(|time| !time.is_empty()).map(str::to_owned);
            managers.insert(key, Entry { api_version: api_version.to_owned(), time, set });
        }
        Ok(Managers(managers))
    }

    /// The form in `metadata.managedFields`, in upstream's order; `None` if there are no managers.
    pub(super) fn encode(&self) -> Option<Value> {
        let mut entries: Vec<(&Key, &Entry)> = self.0.iter().collect();
        entries.sort_by(|(a_key, a), (b_key, b)| {
            let order = |key: &Key, entry: &Entry| (key.operation.name(), entry.seconds());
            order(a_key, a)
                .cmp(&order(b_key, b))
                .then_with(|| a_key.manager.cmp(&b_key.manager))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a_key.subresource.cmp(&b_key.subresource))
        });
        (!entries.is_empty())
            .then(|| Value::Array(entries.into_iter().map(|(key, entry)| encoded(key, entry)).collect()))
    }
}

fn encoded(key: &Key, entry: &Entry) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, text: &str| {
        if !text.is_empty() {
            map.insert(name.to_owned(), Value::from(text));
        }
    };
    put("manager", &key.manager);
    put("operation", key.operation.name());
    put("apiVersion", &entry.api_version);
    put("time", entry.time.as_deref().unwrap_or_default());
    put("fieldsType", "FieldsV1");
    put("subresource", &key.subresource);
    map.insert("fieldsV1".to_owned(), entry.set.to_fields());
    Value::Object(map)
}
