//! Server-side printing: objects as rows of a Table.

use serde_json::{Value, json};

use super::shape::{Include, metadata_only};
use crate::registry::{Ages, Column, Endpoint};
use crate::storage::codec::schema_of;

const CREATED: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A Table without rows.
pub fn head(endpoint: &Endpoint, version: &str, metadata: &Value) -> Value {
    let columns: Vec<Value> = if endpoint.columns.is_empty() {
        vec![definition(&Column::of_name()), definition(&Column::new("Created At", "date", 0, CREATED))]
    } else {
        endpoint.columns.iter().map(definition).collect()
    };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": [],
    })
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

/// The row of an object of the endpoint's version.
pub fn row(endpoint: &Endpoint, object: &Value, version: &str, include: Include, ages: &Ages) -> Value {
    let cells = match endpoint.row {
        Some(cells) if !endpoint.columns.is_empty() => cells(endpoint, object, ages),
        _ => {
            let text = |name: &str| object.pointer(&format!("/metadata/{name}")).cloned().unwrap_or_default();
            vec![text("name"), text("creationTimestamp")]
        }
    };
    let shown = match include {
        Include::None => Value::Null,
        Include::Metadata => metadata_only(object, version),
        Include::Object => match schema_of(endpoint) {
            Some(ty) => proto::json::print(object, ty),
            None => object.clone(),
        },
    };
    json!({"cells": cells, "object": shown})
}
