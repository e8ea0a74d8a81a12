//! Printer columns of custom resources.

use proto::view::{at, text_at};
use serde_json::{Number, Value};

use super::jsonpath::Path;
use super::version::Version;
use crate::registry::{Ages, Column, Endpoint, Name};

/// Where each column's value is, and its type.
pub(super) type Cells = Vec<(Path, String)>;

const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// The version's columns: the name, then those of the definition, or the age if it has none. A path that can't be read ends them.
pub(super) fn of(version: &Value) -> (Vec<Column>, Cells) {
    let mut columns = vec![Column::of_name()];
    let mut cells = Cells::new();
    let declared =
        at(version, &["additionalPrinterColumns"]).as_array().map(Vec::as_slice).unwrap_or_default();
    if declared.is_empty() {
        columns.push(Column::new("Age", "date", 0, AGE));
        cells.extend(Path::parse(".metadata.creationTimestamp").map(|path| (path, "date".to_owned())));
    }
    for column in declared {
        let text = |name: &str| Name::Owned(text_at(column, &[name]).to_owned());
        let json_path = text_at(column, &["jsonPath"]);
        let Some(path) = Path::parse(json_path) else { break };
        let description = match text_at(column, &["description"]) {
            "" => format!("Custom resource definition column (in JSONPath format): {json_path}"),
            given => given.to_owned(),
        };
        columns.push(Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: description.into(),
            priority: column["priority"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        });
        cells.push((path, text_at(column, &["type"]).to_owned()));
    }
    (columns, cells)
}

/// The cells of an object.
pub(super) fn row(endpoint: &Endpoint, object: &Value, ages: &Ages) -> Vec<Value> {
    let mut row = vec![at(object, &["metadata", "name"]).clone()];
    for (path, kind) in Version::of(endpoint).into_iter().flat_map(|version| &version.columns) {
        row.push(path.find(object).first().map_or(Value::Null, |value| cell(value, kind, ages)));
    }
    row
}

fn cell(value: &Value, kind: &str, ages: &Ages) -> Value {
    match (kind, value) {
        ("string", Value::String(_)) => value.clone(),
        ("string", Value::Null) => "<no value>".into(),
        ("string", other) => other.to_string().into(),
        ("integer", Value::Number(number)) => {
            number.as_i64().or_else(|| number.as_f64().map(|f| f as i64)).into()
        }
        ("number", Value::Number(number)) => number.as_f64().map_or(Value::Null, whole_or_float),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if text.is_empty() => "<unknown>".into(),
        ("date", Value::String(text)) => match text.parse() {
            Ok(then) => ages.since(then).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// A float as Go prints it: without a fraction if it has none.
fn whole_or_float(float: f64) -> Value {
    if float.fract() == 0.0 && float.abs() < 1e15 {
        return Value::from(float as i64);
    }
    Number::from_f64(float).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_follow_their_types() {
        let ages = Ages::at("2024-01-02T00:00:00Z".parse().expect("a time"));
        let cases = [
            ("string", json!("a"), json!("a")),
            ("string", json!(3), json!("3")),
            ("string", json!(["a", 1]), json!("[\"a\",1]")),
            ("string", json!(null), json!("<no value>")),
            ("integer", json!(2.7), json!(2)),
            ("number", json!(2), json!(2)),
            ("number", json!(2.5), json!(2.5)),
            ("boolean", json!("true"), json!(null)),
            ("date", json!("2024-01-01T00:00:00Z"), json!("24h")),
            ("date", json!("soon"), json!("<invalid>")),
        ];
        for (kind, value, want) in cases {
            assert_eq!(cell(&value, kind, &ages), want, "{kind} {value}");
        }
    }

    #[test]
    fn columns_are_described() {
        let version = json!({"additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1}]});
        let (columns, cells) = of(&version);
        assert_eq!(cells.len(), 1);
        assert_eq!(columns[1].priority, 1);
        assert_eq!(
            columns[1].description,
            "Custom resource definition column (in JSONPath format): .spec.size"
        );
        assert_eq!(of(&json!({})).0[1].name, "Age");
    }
}
