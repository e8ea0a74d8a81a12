//! The types of patches: `Object`, whose parts are `Object.spec` and so on, and `JSONPatch`.
//!
//! Nothing is known of an object's fields when an expression is compiled. So any field may have any value, and names are
//! compared with places when the object is made use of.

use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};

use crate::env::Types;
use crate::eval::Error;
use crate::syntax::with_stack;
use crate::types::Type;
use crate::value::{Object, Value};

/// The type of whole objects; parts are named after the fields they are in.
pub const OBJECT: &str = "Object";
/// The type of a step of a JSON patch.
pub const JSON_PATCH: &str = "JSONPatch";
/// The fields of a step that are texts; the other is `value`.
const TEXTS: [&str; 3] = ["op", "path", "from"];

/// The types of patches.
pub struct PatchTypes;

impl Types for PatchTypes {
    fn is_object(&self, name: &str) -> bool {
        name == JSON_PATCH
            || name.strip_prefix(OBJECT).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    fn field(&self, object: &str, field: &str) -> Option<Type> {
        match (object, field) {
            (JSON_PATCH, "value") => Some(Type::Dyn),
            (JSON_PATCH, field) => TEXTS.contains(&field).then_some(Type::String),
            _ => Some(Type::Dyn),
        }
    }

    fn construct<'a>(
        &self,
        object: &str,
        fields: Vec<(Arc<str>, Value<'a>)>,
    ) -> Option<Result<Value<'a>, Error>> {
        if object == JSON_PATCH {
            let wrong =
                fields.iter().find(|(name, value)| TEXTS.contains(&&**name) && value.as_str().is_none());
            if let Some((name, value)) = wrong {
                let ty = value.go_name();
                let message = format!("unexpected type {ty} for JSONPatchType '{name}' field");
                return Some(Err(Error::new(message)));
            }
        }
        Some(Ok(Value::Object(Arc::new(Object { name: object.into(), fields }))))
    }
}

impl<'a> Object<'a> {
    /// The value of a field that is set. Empty texts of a step of a patch count as not set.
    pub(crate) fn get(&self, name: &str) -> Option<&Value<'a>> {
        let (_, value) = self.fields.iter().find(|(field, _)| **field == *name)?;
        let is_unset = *self.name == *JSON_PATCH && value.as_str() == Some("");
        (!is_unset || name == "value").then_some(value)
    }

    /// What a field that isn't set is read as.
    pub(crate) fn unset(&self, name: &str) -> Value<'a> {
        if *self.name == *JSON_PATCH && TEXTS.contains(&name) { Value::str("") } else { Value::Null }
    }
}

/// What is wrong with an object, or a part of one.
#[derive(Default)]
struct Faults {
    /// Parts that are not named after the fields they are in.
    names: Vec<String>,
    /// The places of nulls.
    nulls: Vec<String>,
}

impl Faults {
    fn find(&mut self, value: &Value<'_>, place: &str) -> Result<(), Error> {
        with_stack(|| self.look(value, place))
    }

    fn look(&mut self, value: &Value<'_>, place: &str) -> Result<(), Error> {
        match value {
            Value::Object(object) => {
                if *object.name != *place {
                    self.names.push(format!(
                        "unexpected type name \"{}\", expected \"{place}\", which matches field name path from root Object type",
                        object.name
                    ));
                }
                object
                    .fields
                    .iter()
                    .try_for_each(|(name, value)| self.find(value, &format!("{place}.{name}")))
            }
            Value::List(list) => list.iter().try_for_each(|item| self.find(&item?, place)),
            Value::Map(map) => map.entries()?.iter().try_for_each(|(_, value)| self.find(value, place)),
            Value::Null => {
                self.nulls.push(place.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn of(value: &Value<'_>, place: &str) -> Result<Faults, String> {
        let mut faults = Faults::default();
        faults.find(value, place).map_err(|error| error.to_string())?;
        match faults.names.as_slice() {
            [] => Ok(faults),
            names => Err(format!("type mismatch: {}", names.join("\n"))),
        }
    }
}

/// The configuration to apply that an expression has made.
///
/// # Errors
///
/// It is none, or parts of it are named after other fields than those they are in.
pub fn configuration(value: &Value<'_>) -> Result<Json, String> {
    match value.to_json() {
        Ok(json) if json.is_object() => match Faults::of(value, OBJECT)?.nulls.as_slice() {
            [] => Ok(json),
            nulls => Err(format!("null can't be applied: {}", nulls.join(", "))),
        },
        Ok(_) => {
            Err(format!("unsupported return type from ApplyConfiguration expression: {}", value.type_name()))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The steps of the JSON patch that an expression has made.
///
/// # Errors
///
/// They are none, or hold values that JSON has no form for.
pub fn json_patch(value: &Value<'_>) -> Result<Vec<Json>, String> {
    const NO_LIST: &str = "type mismatch: JSONPatchType.expression should evaluate to array";
    let Value::List(list) = value else { return Err(NO_LIST.to_owned()) };
    list.iter().map(|step| self::step(&step.map_err(|error| error.to_string())?)).collect()
}

fn step(step: &Value<'_>) -> Result<Json, String> {
    let object = match step {
        Value::Object(object) if *object.name == *JSON_PATCH => object,
        other => {
            return Err(format!(
                "type mismatch: JSONPatchType.expression should evaluate to array of JSONPatch: got element of {}",
                other.type_name()
            ));
        }
    };
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut json = JsonMap::new();
    json.insert("op".to_owned(), text("op").into());
    json.insert("path".to_owned(), text("path").into());
    if let Some(from) = object.get("from").and_then(Value::as_str) {
        json.insert("from".to_owned(), from.into());
    }
    if let Some(value) = object.get("value") {
        let mut made = value.to_json().map_err(|error| {
            format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {error}")
        })?;
        match value {
            Value::Object(part) => {
                Faults::of(value, &part.name)?;
            }
            _ => make_safe(&mut made),
        }
        json.insert("value".to_owned(), made);
    }
    Ok(Json::Object(json))
}

/// The largest integer below which every integer is a double.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Makes texts of integers that not every reader of JSON could read, as cel-go does.
fn make_safe(json: &mut Json) {
    with_stack(|| match json {
        Json::Number(number) => {
            let size = number.as_i64().map(i64::unsigned_abs).or(number.as_u64());
            if size.is_some_and(|size| size > MAX_SAFE_INTEGER) {
                *json = Json::String(number.to_string());
            }
        }
        Json::Array(items) => items.iter_mut().for_each(make_safe),
        Json::Object(map) => map.values_mut().for_each(make_safe),
        _ => {}
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::PER_CALL_LIMIT;
    use crate::eval::Program;
    use crate::library;
    use serde_json::json;

    /// What an expression evaluates to.
    fn evaluate<T>(text: &str, then: impl FnOnce(Result<Value<'_>, String>) -> T) -> T {
        let env = library::mutation(library::base());
        let checked = match env.compile(text) {
            Ok(checked) => checked,
            Err(issues) => return then(Err(issues.to_string())),
        };
        let program = Program::new(&checked, &env).unwrap();
        then(program.evaluate(&(), PER_CALL_LIMIT).value.map_err(|error| error.to_string()))
    }

    fn json_of(text: &str) -> Result<Json, String> {
        evaluate(text, |value| value?.to_json().map_err(|error| error.to_string()))
    }

    #[test]
    fn objects_and_steps_are_made() {
        for (text, expected) in [
            ("string(114514)", json!("114514")),
            ("Object{}", json!({})),
            ("Object{spec: Object.spec{replicas: 3}}", json!({ "spec": { "replicas": 3 } })),
            (
                "Object{spec: Object.spec{containers: [Object.spec.containers.item{name: 'nginx', args: ['-g']}]}}",
                json!({ "spec": { "containers": [{ "name": "nginx", "args": ["-g"] }] } }),
            ),
            ("Object{intList: [1, 2, 3]}", json!({ "intList": [1, 2, 3] })),
            ("Object{annotations: {'foo': 'bar'}}", json!({ "annotations": { "foo": "bar" } })),
            ("Object{intList: [1, 2, 3]}.intList.sum()", json!(6)),
            (
                "Object{spec: Object.spec{replicas: 3}} == Object{spec: Object.spec{replicas: 1 + 2}}",
                json!(true),
            ),
            ("Object{field: 'x'} == Object{field: 'y'}", json!(false)),
            ("dyn(Object{a: 1}) == dyn(Object.b{a: 1})", json!(false)),
            (
                "true ? JSONPatch{op: 'add', path: '/a', value: 3} : JSONPatch{op: 'remove', path: '/a'}",
                json!({ "op": "add", "path": "/a", "value": 3 }),
            ),
            // Values are not checked before they are made use of.
            ("JSONPatch{op: 'invalid', value: 3}", json!({ "op": "invalid", "value": 3 })),
            ("Object{?existing: optional.none()}", json!({})),
            ("Object{?spec: optional.ofNonZeroValue(Object.spec{?replicas: Object{}.?replicas})}", json!({})),
            ("Object{zero: optional.of(0), absent: optional.none()}", json!({ "zero": 0, "absent": null })),
            ("Object{}.?existing == optional.none()", json!(true)),
            ("has(Object{field: 1}.field)", json!(true)),
            ("has(Object{}.field)", json!(false)),
            ("Object{}.field == null", json!(true)),
            (
                "[JSONPatch{op: 'o'}.op, JSONPatch{path: 'p'}.path, JSONPatch{from: 'f'}.from, JSONPatch{}.op]",
                json!(["o", "p", "f", ""]),
            ),
            (
                "[has(JSONPatch{op: 'o'}.op), has(JSONPatch{}.op), has(JSONPatch{value: ''}.value), has(JSONPatch{}.value)]",
                json!([true, false, true, false]),
            ),
            ("JSONPatch{} == JSONPatch{}", json!(true)),
            ("JSONPatch{op: 'add', value: 1} == JSONPatch{op: 'add', value: 1}", json!(true)),
            ("JSONPatch{op: 'add', value: '1'} == JSONPatch{op: 'add', value: 1}", json!(false)),
            ("JSONPatch{op: 'add'} == JSONPatch{op: 'remove'}", json!(false)),
            ("jsonpatch.escapeKey('k8s.io/x~y')", json!("k8s.io~1x~0y")),
        ] {
            assert_eq!(json_of(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_does_not_compile_is_explained() {
        for (text, expected) in [
            ("Invalid{}", "undeclared reference to 'Invalid'"),
            ("Objects{}", "undeclared reference to 'Objects'"),
            ("JSONPatch{op: 'add', path: '/a', value: Invalid{}}", "undeclared reference to 'Invalid'"),
            ("JSONPatch{op: 'move', from: Invalid{}}", "undeclared reference to 'Invalid'"),
            ("JSONPatch{op: 1}", "expected type of field 'op' is 'string' but provided type is 'int'"),
            ("JSONPatch{path: 1}", "expected type of field 'path' is 'string' but provided type is 'int'"),
            ("JSONPatch{from: 1}", "expected type of field 'from' is 'string' but provided type is 'int'"),
            ("JSONPatch{op: dyn(1)}", "unexpected type types.Int for JSONPatchType 'op' field"),
        ] {
            let error = json_of(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn parts_are_named_after_their_fields() {
        let applied = |text: &str| evaluate(text, |value| configuration(&value.unwrap()));
        let good = "Object{spec: Object.spec{m: {'k': Object.spec.m{}}, l: [Object.spec.l{}], n: 1}}";
        assert_eq!(applied(good), Ok(json!({ "spec": { "m": { "k": {} }, "l": [{}], "n": 1 } })));
        for (text, found, expected) in [
            ("Object{invalid: Object.spec{replicas: 100}}", "Object.spec", "Object.invalid"),
            (
                "Object{spec: Object.spec{m: {'k': Object.spec.invalid{}}}}",
                "Object.spec.invalid",
                "Object.spec.m",
            ),
            ("Object{spec: Object.spec{l: [Object.spec.invalid{}]}}", "Object.spec.invalid", "Object.spec.l"),
        ] {
            let error = format!(
                "type mismatch: unexpected type name \"{found}\", expected \"{expected}\", which matches field name path from root Object type"
            );
            assert_eq!(applied(text), Err(error), "{text}");
        }
    }

    #[test]
    fn nulls_are_not_applied() {
        let applied = |text: &str| evaluate(text, |value| configuration(&value.unwrap()));
        assert_eq!(applied("Object{a: optional.none()}"), Ok(json!({ "a": null })));
        let error = applied("Object{spec: Object.spec{a: null, l: [null]}}").unwrap_err();
        assert_eq!(error, "null can't be applied: Object.spec.a, Object.spec.l");
    }

    #[test]
    fn steps_become_json() {
        let steps = |text: &str| evaluate(text, |value| json_patch(&value.unwrap()));
        assert_eq!(
            steps("[JSONPatch{op: 'move', from: '/a', path: '/b'}, JSONPatch{op: 'add', value: null}]"),
            Ok(vec![
                json!({ "op": "move", "from": "/a", "path": "/b" }),
                json!({ "op": "add", "path": "", "value": null }),
            ])
        );
        // The part of an object may be any, as long as what it holds is named after it.
        assert_eq!(
            steps("[JSONPatch{op: 'add', path: '/spec', value: Object.invalid{replicas: 1}}]"),
            Ok(vec![json!({ "op": "add", "path": "/spec", "value": { "replicas": 1 } })])
        );
        assert_eq!(
            steps("[JSONPatch{op: 'add', value: Object.spec.c{ports: [Object.spec.c.portsZ{}]}}]")
                .unwrap_err(),
            "type mismatch: unexpected type name \"Object.spec.c.portsZ\", expected \"Object.spec.c.ports\", which matches field name path from root Object type"
        );
        assert_eq!(
            steps(
                "[JSONPatch{value: [dyn(9007199254740991), dyn(-9007199254740992), dyn(18446744073709551615u)]}]"
            ),
            Ok(vec![json!({ "op": "", "path": "",
                "value": [9_007_199_254_740_991_i64, "-9007199254740992", "18446744073709551615"] })])
        );
        let typed = steps("[JSONPatch{op: 'add', value: type(1)}]").unwrap_err();
        assert!(typed.starts_with("JSONPath valueExpression evaluated to a type"), "{typed}");
    }
}
