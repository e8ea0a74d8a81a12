//! Fields behind feature gates that are off: nobody can begin to use them, but where they are in use they stay.

use component_base::features::{Gates, find};
use proto::schema::{Field, Flags, Shape, Type};
use serde_json::Value;

/// Data sources in other namespaces: claims see to the field themselves.
pub(crate) const CROSS_NAMESPACE_SOURCES: &str = "CrossNamespaceVolumeDataSource";

/// A step on the way to a field.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// A field.
    Field(String),
    /// Each item of a list, each value of a map.
    Each,
}

/// Paths of the fields of one type whose gates are off.
#[derive(Clone, Debug, Default)]
pub struct Disabled(Vec<Vec<Step>>);

impl Disabled {
    /// Those of a schema.
    pub(crate) fn of(schema: &'static Type, gates: &Gates) -> Self {
        let mut walk = Walk { gates, above: Vec::new(), types: Vec::new(), found: Vec::new() };
        walk.object(schema);
        Disabled(walk.found)
    }

    /// Removes what the old object (null if there is none) doesn't have either.
    pub(crate) fn drop(&self, new: &mut Value, old: &Value) {
        for path in &self.0 {
            if !is_used(old, path) {
                remove(new, path);
            }
        }
    }
}

struct Walk<'a> {
    gates: &'a Gates,
    above: Vec<Step>,
    /// The types on the way here: types may contain themselves.
    types: Vec<*const Type>,
    found: Vec<Vec<Step>>,
}

impl Walk<'_> {
    fn object(&mut self, ty: &'static Type) {
        if self.types.contains(&std::ptr::from_ref(ty)) {
            return;
        }
        self.types.push(ty);
        for field in ty.fields.iter() {
            self.field(field);
        }
        self.types.pop();
    }

    fn field(&mut self, field: &'static Field) {
        let inline = field.flags.has(Flags::INLINE);
        if !inline {
            self.above.push(Step::Field(field.name.to_string()));
        }
        // A gate that isn't known any more is on for good.
        let off = |gate: &str| {
            gate != CROSS_NAMESPACE_SOURCES
                && gate.split(',').any(|gate| find(gate).is_some() && !self.gates.enabled(gate))
        };
        if field.gate().is_some_and(off) {
            self.found.push(self.above.clone());
        } else {
            self.shape(&field.shape);
        }
        if !inline {
            self.above.pop();
        }
    }

    fn shape(&mut self, shape: &'static Shape) {
        match shape {
            Shape::Struct(ty) => self.object(ty),
            Shape::List(list) => self.each(&list.items),
            Shape::Map(map) => self.each(&map.values),
            _ => {}
        }
    }

    fn each(&mut self, shape: &'static Shape) {
        self.above.push(Step::Each);
        self.shape(shape);
        self.above.pop();
    }
}

fn is_used(object: &Value, path: &[Step]) -> bool {
    match (path.split_first(), object) {
        (None, value) => !value.is_null(),
        (Some((Step::Field(name), rest)), Value::Object(fields)) => {
            fields.get(name).is_some_and(|value| is_used(value, rest))
        }
        (Some((Step::Each, rest)), Value::Array(items)) => items.iter().any(|item| is_used(item, rest)),
        (Some((Step::Each, rest)), Value::Object(entries)) => {
            entries.values().any(|value| is_used(value, rest))
        }
        _ => false,
    }
}

fn remove(object: &mut Value, path: &[Step]) {
    match (path.split_first(), object) {
        (Some((Step::Field(name), [])), Value::Object(fields)) => {
            fields.remove(name);
        }
        (Some((Step::Field(name), rest)), Value::Object(fields)) => {
            if let Some(value) = fields.get_mut(name) {
                remove(value, rest);
            }
        }
        (Some((Step::Each, rest)), Value::Array(items)) => {
            items.iter_mut().for_each(|item| remove(item, rest))
        }
        (Some((Step::Each, rest)), Value::Object(entries)) => {
            entries.values_mut().for_each(|value| remove(value, rest));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn disabled(group: &str, kind: &str) -> Disabled {
        let schema = proto::schema::lookup(group, "v1", kind).expect("a schema");
        Disabled::of(schema, &Gates::default())
    }

    #[test]
    fn fields_of_gates_that_are_off_are_not_taken_into_use() {
        let disabled = disabled("coordination.k8s.io", "Lease");
        let lease = json!({"spec": {"strategy": "x", "holderIdentity": "a"}});
        let mut new = lease.clone();
        disabled.drop(&mut new, &Value::Null);
        assert_eq!(new, json!({"spec": {"holderIdentity": "a"}}));
        let mut new = lease.clone();
        disabled.drop(&mut new, &lease);
        assert_eq!(new, lease);
    }

    #[test]
    fn kinds_without_such_fields_have_no_paths() {
        assert!(disabled("", "ConfigMap").0.is_empty());
    }
}
