//! The group storagemigration.k8s.io: rewriting stored objects in another version.

use proto::content;
use proto::field::Errors;
use proto::view::View;
use serde_json::Value;

use super::checks::{IMMUTABLE, conditions, immutable};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new("storagemigration.k8s.io", "v1beta1", "storageversionmigrations", "StorageVersionMigration")
        .gated("StorageVersionMigrator")
        .cluster()
        .hooks(Hooks {
            validate: |_, new| validate(new),
            validate_update: |_, new, old| {
                let mut errors = validate(new);
                immutable(&View::root(new).get("spec"), &View::root(old).get("spec"), &mut errors);
                errors
            },
            allow_unconditional_update: false,
            ..strategy::with_status()
        })
        .status(Hooks {
            validate_update: |_, new, old| validate_status(new, old),
            allow_unconditional_update: false,
            ..strategy::status_only()
        })
        .install(builder, enabled);
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let named = View::root(object).get("spec").get("resource");
    let (resource, group) = (named.get("resource"), named.get("group"));
    if resource.is_empty() {
        errors.push(resource.required("resource is required to be set"));
    }
    for (view, messages) in [
        (&resource, content::is_dns1035_label(resource.str())),
        (&group, content::is_dns1123_subdomain(group.str())),
    ] {
        if !view.is_empty() && !messages.is_empty() {
            errors.push(view.invalid_str(messages.join(",")));
        }
    }
    errors
}

fn validate_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (status, before) = (View::root(new).get("status"), View::root(old).get("status"));
    let version = status.get("resourceVersion");
    let is_number =
        !version.str().starts_with('0') && version.str().bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        let detail = format!("resource version is not well formed: {}", version.str());
        errors.push(version.invalid_str(detail));
    }
    let list = status.get("conditions");
    conditions(&list, &mut errors);
    let was = before.text("resourceVersion");
    if !was.is_empty() && was != version.str() {
        errors.push(version.invalid_str(IMMUTABLE));
    }
    if is_true(&status, "Succeeded") && is_true(&status, "Failed") {
        errors.push(list.invalid("Both success and failed conditions cannot be true at the same time"));
    }
    for (kind, shown) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if is_true(&before, kind) && !is_true(&status, kind) {
            errors.push(list.invalid(format!("{shown} condition cannot be set to false once it is true")));
        }
    }
    errors
}

fn is_true(status: &View, kind: &str) -> bool {
    let conditions = status.get("conditions").items();
    let found = conditions.iter().find(|condition| condition.text("type") == kind);
    found.is_some_and(|condition| condition.text("status") == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn migrations_are_checked() {
        assert_eq!(
            texts(validate(&json!({"spec": {"resource": {"group": "A"}}})))[0],
            "spec.resource.resource: Required value: resource is required to be set"
        );
        assert!(validate(&json!({"spec": {"resource": {"resource": "pods"}}})).is_empty());
    }

    #[test]
    fn statuses_are_checked() {
        let condition = |kind: &str| json!({"type": kind, "status": "True", "reason": "r", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        let old = json!({"status": {"resourceVersion": "5", "conditions": [condition("Succeeded")]}});
        let new = json!({"status": {"resourceVersion": "05", "conditions": []}});
        assert_eq!(
            texts(validate_status(&new, &old)),
            [
                "status.resourceVersion: Invalid value: \"05\": resource version is not well formed: 05",
                "status.resourceVersion: Invalid value: \"05\": field is immutable",
                "status.conditions: Invalid value: []: Success condition cannot be set to false once it is true",
            ]
        );
        let both = json!({"status": {"conditions": [condition("Succeeded"), condition("Failed")]}});
        assert!(texts(validate_status(&both, &json!({})))[0].ends_with("cannot be true at the same time"));
    }
}
