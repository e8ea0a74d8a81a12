//! Printer columns of custom resources.

use std::sync::Arc;

use jiff::Timestamp;
use proto::time::human_age;
use proto::view::{at, text_at};
use serde_json::Value;

use crate::registry::{Column, Endpoint, Name};

/// Where each column's value is, and its type.
struct Paths(Vec<(Vec<Step>, String)>);

/// One step of a JSONPath; the subset that columns are written in.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// `.name` or `['name']`
    Field(String),
    /// `[0]`
    Index(usize),
    /// `[*]`
    All,
    /// `[?(@.name=="value")]`
    Where(String, String),
}

/// Gives the endpoint the version's columns: the name, then those of the definition, or the age if it has none.
pub(super) fn install(endpoint: &mut Endpoint, version: &Value) {
    let mut columns = vec![Column::of_name()];
    let mut paths = Vec::new();
    for column in at(version, &["additionalPrinterColumns"]).as_array().into_iter().flatten() {
        let text = |name: &str| Name::Owned(text_at(column, &[name]).to_owned());
        columns.push(Column {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: text("description"),
            priority: column["priority"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
        });
        paths.push((parse(text_at(column, &["jsonPath"])), text_at(column, &["type"]).to_owned()));
    }
    if paths.is_empty() {
        columns.push(Column::new("Age", "date", 0, ""));
        paths.push((parse(".metadata.creationTimestamp"), "date".to_owned()));
    }
    endpoint.columns = columns;
    endpoint.data = Some(Arc::new(Paths(paths)));
    endpoint.row = Some(row);
}

fn row(endpoint: &Endpoint, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![at(object, &["metadata", "name"]).clone()];
    let paths = endpoint.data.clone().and_then(|data| data.downcast::<Paths>().ok());
    for (path, kind) in paths.iter().flat_map(|p| &p.0) {
        cells.push(find(object, path).map_or(Value::Null, |value| cell(value, kind, now)));
    }
    cells
}

fn cell(value: &Value, kind: &str, now: Timestamp) -> Value {
    match (kind, value) {
        ("date", Value::String(text)) => match text.parse() {
            Ok(then) => human_age(then, now).into(),
            Err(_) => "<invalid>".into(),
        },
        ("string", Value::String(_))
        | ("integer" | "number", Value::Number(_))
        | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", other) => other.to_string().into(),
        _ => Value::Null,
    }
}

fn find<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    let items = || value.as_array().into_iter().flatten();
    match step {
        Step::Field(name) => find(value.get(name)?, rest),
        Step::Index(i) => find(value.get(i)?, rest),
        Step::All => items().find_map(|item| find(item, rest)),
        Step::Where(name, wanted) => items()
            .filter(|item| item.get(name).and_then(Value::as_str) == Some(wanted))
            .find_map(|item| find(item, rest)),
    }
}

/// The steps of a path; what can't be read finds nothing.
fn parse(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}');
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let Some(end) = bracket.find(']') else { break };
            let inner = &bracket[..end];
            rest = &bracket[end + 1..];
            let quoted = |s: &str| s.trim_matches(|c| c == '\'' || c == '"').to_owned();
            let filter = inner.strip_prefix("?(@.").and_then(|f| f.strip_suffix(')'));
            steps.push(match (filter.and_then(|f| f.split_once("==")), inner.parse()) {
                (Some((name, value)), _) => Step::Where(name.trim().to_owned(), quoted(value.trim())),
                (None, Ok(index)) => Step::Index(index),
                (None, Err(_)) if inner == "*" => Step::All,
                (None, Err(_)) => Step::Field(quoted(inner)),
            });
            continue;
        }
        rest = rest.strip_prefix('.').unwrap_or(rest);
        // A dot that belongs to the name has a backslash before it.
        let mut name = String::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((i, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = i;
                    break;
                }
                c => name.push(c),
            }
        }
        rest = &rest[end..];
        if name.is_empty() {
            break;
        }
        steps.push(Step::Field(name));
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_values() {
        let object = json!({
            "metadata": {"labels": {"a.b/c": "l"}},
            "status": {"conditions": [{"type": "A", "status": "1"}, {"type": "Ready", "status": "2"}]},
        });
        let get = |path: &str| find(&object, &parse(path)).cloned();
        assert_eq!(get(".status.conditions[?(@.type==\"Ready\")].status"), Some(json!("2")));
        assert_eq!(get(".status.conditions[0].type"), Some(json!("A")));
        assert_eq!(get(".metadata.labels.a\\.b/c"), Some(json!("l")));
        assert_eq!(get(".metadata.labels['a.b/c']"), Some(json!("l")));
        assert_eq!(get(".spec.none"), None);
    }
}
