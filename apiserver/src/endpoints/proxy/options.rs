//! What a connection asks for, as the object that admission sees: PodExecOptions and its like, read from the query.

use proto::schema::{Shape, Type};
use serde_json::{Map, Value, json};

use crate::server::query::Query;

/// The options of this kind (core/v1). `rest` is the path after `proxy`, without the slash it begins with.
pub(in super::super) fn object(kind: &str, ty: &Type, query: &Query, rest: &str) -> Value {
    let mut options = Map::new();
    options.insert("kind".to_owned(), kind.into());
    options.insert("apiVersion".to_owned(), "v1".into());
    ty.each_field(&mut |field| {
        let name = &*field.name;
        let value = match &field.shape {
            // Upstream's defaulting asks for the output, whatever the query says.
            Shape::Bool if matches!(name, "stdout" | "stderr") => json!(true),
            Shape::Bool => query.flag(name).filter(|given| *given).into(),
            Shape::String if name == "path" && !rest.is_empty() => format!("/{rest}").into(),
            Shape::String => query.non_empty(name).into(),
            Shape::List(list) => {
                let item = |text: &str| match list.items {
                    Shape::Int32 => text.parse::<i32>().ok().map(Value::from),
                    _ => Some(text.into()),
                };
                let items: Vec<Value> = query.all(name).filter_map(item).collect();
                if items.is_empty() { Value::Null } else { items.into() }
            }
            _ => Value::Null,
        };
        if !value.is_null() {
            options.insert(name.to_owned(), value);
        }
    });
    Value::Object(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::schema;

    #[test]
    fn options_come_from_the_query() {
        for (kind, query, rest, expected) in [
            (
                "PodExecOptions",
                "command=sh&command=-c&stdin=true&tty=false&container=c&stderr=0",
                "",
                json!({"command": ["sh", "-c"], "stdin": true, "container": "c", "stdout": true, "stderr": true}),
            ),
            ("PodAttachOptions", "stdin=", "", json!({"stdin": true, "stdout": true, "stderr": true})),
            ("PodPortForwardOptions", "ports=80&ports=x", "", json!({"ports": [80]})),
            ("NodeProxyOptions", "", "pods/", json!({"path": "/pods/"})),
            ("ServiceProxyOptions", "path=q", "", json!({"path": "q"})),
        ] {
            let ty = schema::lookup("", "v1", kind).expect("a kind");
            let mut made = object(kind, ty, &Query::parse(Some(query)), rest);
            let fields = made.as_object_mut().expect("an object");
            assert_eq!(fields.remove("kind"), Some(kind.into()));
            assert_eq!(fields.remove("apiVersion"), Some("v1".into()));
            assert_eq!(made, expected, "{kind}");
        }
    }
}
