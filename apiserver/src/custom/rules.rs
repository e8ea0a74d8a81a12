//! Rules of schemas in CEL (`x-kubernetes-validations`): what is wrong with them, and what they have against an object.

use cel::kube::rules;
pub(super) use cel::kube::rules::Rules;
use proto::field::{Errors, Path};
use proto::view::{at, text_at};
use serde_json::Value;

use super::version::{self, Version};

fn schema(version: &Value) -> &Value {
    at(version, &["schema", "openAPIV3Schema"])
}

/// What is wrong with the rules of a definition; costs are not looked at again in schemas that are as they were.
pub(super) fn check(definition: &Value, old: Option<&Value>) -> Errors {
    let versions: Vec<&Value> = version::all(definition).collect();
    let is_unchanged = |version: &Value| {
        let name = text_at(version, &["name"]);
        let mut before = old.into_iter().flat_map(version::all);
        before.any(|before| text_at(before, &["name"]) == name && schema(before) == schema(version))
    };
    let spec = Path::new("spec");
    // What all versions have in common stands on its own.
    if let Some(first) = versions.first()
        && versions.iter().all(|version| schema(version) == schema(first))
    {
        let path = spec.child("validation").child("openAPIV3Schema");
        return rules::check(&path, schema(first), versions.iter().all(|version| is_unchanged(version)));
    }
    let mut errors = Errors::new();
    for (index, version) in versions.iter().enumerate() {
        let path = spec.child("versions").index(index).child("schema").child("openAPIV3Schema");
        errors.extend(rules::check(&path, schema(version), is_unchanged(version)));
    }
    errors
}

/// Adds what the rules have against an object of this version.
pub(super) fn apply(version: &Version, new: &Value, old: Option<&Value>, errors: &mut Errors) {
    if let Some(rules) = &version.rules {
        let findings = rules.validate_after(errors, new, old);
        errors.extend(findings.errors);
    }
}

/// What the rules have against parts of an object that an update leaves as they were.
pub(super) fn broken_before(version: &Version, new: &Value, old: &Value) -> Vec<String> {
    let findings = version.rules.as_ref().map(|rules| rules.validate_after(&Errors::new(), new, Some(old)));
    findings.map_or_else(Vec::new, |findings| findings.warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with_rule(rule: &str) -> Value {
        json!({ "type": "object", "properties": { "spec": { "type": "object",
            "properties": { "min": { "type": "integer" }, "max": { "type": "integer" } },
            "x-kubernetes-validations": [{ "rule": rule }] } } })
    }

    #[test]
    fn objects_are_held_to_rules() {
        let version = Version::with_schema(with_rule("self.min <= self.max"));
        let texts = |new: Value, old: Option<Value>| {
            let mut errors = Errors::new();
            apply(&version, &new, old.as_ref(), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let bad = json!({ "spec": { "min": 2, "max": 1 } });
        assert_eq!(texts(bad.clone(), None), ["spec: Invalid value: failed rule: self.min <= self.max"]);
        assert_eq!(
            broken_before(&version, &bad, &bad),
            ["spec: Invalid value: failed rule: self.min <= self.max"]
        );
        assert_eq!(texts(bad.clone(), Some(bad)), Vec::<String>::new());
        assert_eq!(texts(json!({ "spec": { "min": 1, "max": 1 } }), None), Vec::<String>::new());
    }

    #[test]
    fn rules_are_compiled() {
        let definition = |rule: &str| {
            let version = json!({ "name": "v1", "schema": { "openAPIV3Schema": with_rule(rule) } });
            json!({ "spec": { "versions": [version] } })
        };
        assert!(check(&definition("self.min > 0"), None).is_empty());
        let errors = check(&definition("self.mn > 0"), None);
        let text = errors[0].to_string();
        assert!(text.starts_with("spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Invalid value:"), "{text}");
        assert!(text.contains("undefined field 'mn'"), "{text}");
    }
}
