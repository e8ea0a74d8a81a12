//! Workloads and PodGroups: pods that are scheduled together (KEP-4671).

use proto::field::{Error, Errors};
use proto::view::{View, at};
use serde_json::Value;

use crate::registry::checks::conditions;
use crate::registry::declarative::{Field, label_key, long_name, path_segment_name, short_name};
use crate::registry::{Ctx, Hooks, Settings, strategy};

const TOPOLOGY: &str = "TopologyAwareWorkloadScheduling";
const CLAIMS: &str = "DRAWorkloadResourceClaims";
const PREEMPTION: &str = "WorkloadAwarePreemption";
const MAX_TEMPLATES: usize = 8;
const MAX_CLAIMS: usize = 4;
const MAX_CONSTRAINTS: usize = 1;
/// The highest priority that is not the system's.
const HIGHEST: i64 = 1_000_000_000;

/// Hooks of Workloads.
pub(super) fn workload() -> Hooks {
    Hooks {
        prepare_create: |ctx, new| drop_in_templates(ctx, new, &Value::Null),
        prepare_update: drop_in_templates,
        validate: |ctx, new| validate_workload(new, &Value::Null, &on(ctx)),
        validate_update: |ctx, new, old| validate_workload(new, old, &on(ctx)),
        ..Hooks::default()
    }
}

/// Hooks of PodGroups.
pub(super) fn pod_group() -> Hooks {
    Hooks {
        prepare_create: |ctx, new| {
            strategy::drop_status(new);
            drop_in_group(ctx, new, &Value::Null);
        },
        prepare_update: |ctx, new, old| {
            strategy::keep(new, old, &["status"]);
            drop_in_group(ctx, new, old);
        },
        validate: |ctx, new| validate_group(new, &Value::Null, &on(ctx)),
        validate_update: |ctx, new, old| validate_group(new, old, &on(ctx)),
        ..strategy::with_status()
    }
}

/// Hooks of the status of PodGroups.
pub(super) fn status() -> Hooks {
    Hooks {
        prepare_update: |ctx, new, old| {
            strategy::keep(new, old, &["spec"]);
            strategy::keep_metadata(new, old);
            if !Settings::has(ctx, CLAIMS) && at(old, &["spec", "resourceClaims"]).is_null() {
                proto::view::remove_at(new, &["status", "resourceClaimStatuses"]);
            }
        },
        validate_update: |_, new, old| validate_status(new, old),
        ..strategy::status_only()
    }
}

/// Which features are on.
struct On {
    topology: bool,
    preemption: bool,
}

fn on(ctx: &Ctx) -> On {
    On { topology: Settings::has(ctx, TOPOLOGY), preemption: Settings::has(ctx, PREEMPTION) }
}

/// The schema knows the gates of the other fields.
fn drop_fields(ctx: &Ctx, new: &mut Value, old: &Value) {
    strategy::drop_unless(Settings::has(ctx, CLAIMS), new, old, &["resourceClaims"]);
}

fn drop_in_group(ctx: &Ctx, new: &mut Value, old: &Value) {
    if let Some(spec) = new.get_mut("spec") {
        drop_fields(ctx, spec, at(old, &["spec"]));
    }
}

fn drop_in_templates(ctx: &Ctx, new: &mut Value, old: &Value) {
    let old = at(old, &["spec", "podGroupTemplates"]);
    let templates = new.pointer_mut("/spec/podGroupTemplates").and_then(Value::as_array_mut);
    for (at, template) in templates.into_iter().flatten().enumerate() {
        drop_fields(ctx, template, old.get(at).unwrap_or(&Value::Null));
    }
}

fn validate_workload(new: &Value, old: &Value, on: &On) -> Errors {
    let mut errors = Errors::new();
    let spec = Field::root(new, old).get("spec");
    if spec.is_same() {
        return errors;
    }
    let owner = spec.get("controllerRef");
    if !owner.is_same() && owner.immutable(&mut errors) && owner.new.is_set() {
        let group = owner.get("apiGroup");
        if !group.new.is_empty() {
            group.optional_text(long_name, &mut errors);
        }
        owner.get("kind").required_text(path_segment_name, &mut errors);
        owner.get("name").required_text(path_segment_name, &mut errors);
    }
    let templates = spec.get("podGroupTemplates");
    if templates.is_same() {
        return errors;
    }
    let mut further = templates.immutable(&mut errors) & templates.max_items(MAX_TEMPLATES, &mut errors);
    if templates.new.is_empty() {
        errors.push(templates.new.required(""));
        further = false;
    }
    if further {
        templates.unique("name", &mut errors);
        for template in templates.items_by("name") {
            template.get("name").required_text(short_name, &mut errors);
            policy(&template.get("schedulingPolicy"), &mut errors);
            constraints(&template.get("schedulingConstraints"), on, &mut errors);
            claims(&template.get("resourceClaims"), &mut errors);
            preemption(&template, on, false, &mut errors);
        }
    }
    errors
}

fn validate_group(new: &Value, old: &Value, on: &On) -> Errors {
    let mut errors = Errors::new();
    let group = Field::root(new, old);
    let spec = group.get("spec");
    if spec.is_same() {
        return errors;
    }
    let template = spec.get("podGroupTemplateRef");
    if !template.is_same() && template.immutable(&mut errors) && template.new.is_set() {
        template.union(&["workload"], &mut errors);
        let workload = template.get("workload");
        if !workload.is_same() && workload.new.is_set() {
            workload.get("workloadName").required_text(long_name, &mut errors);
            workload.get("podGroupTemplateName").required_text(short_name, &mut errors);
        }
    }
    let scheduling = spec.get("schedulingPolicy");
    if !scheduling.is_same() && scheduling.immutable(&mut errors) {
        policy(&scheduling, &mut errors);
    }
    let topology = spec.get("schedulingConstraints");
    if topology.is_same() || !on.topology || topology.immutable(&mut errors) {
        constraints(&topology, on, &mut errors);
    }
    claims(&spec.get("resourceClaims"), &mut errors);
    preemption(&spec, on, true, &mut errors);
    errors
}

fn validate_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    conditions(&view.get("status").get("conditions"), &mut errors);
    let claims = view.get("spec").get("resourceClaims").items();
    for status in view.get("status").get("resourceClaimStatuses").items() {
        let name = status.get("name");
        if !claims.iter().any(|claim| claim.text("name") == name.str()) {
            errors.push(name.invalid_str("must match the name of an entry in `spec.resourceClaims`"));
        }
    }
    let statuses = Field::root(new, old).get("status").get("resourceClaimStatuses");
    if !statuses.is_same() && statuses.max_items(MAX_CLAIMS, &mut errors) {
        statuses.unique("name", &mut errors);
        for status in statuses.items_by("name") {
            status.get("resourceClaimName").optional_text(long_name, &mut errors);
        }
    }
    errors
}

fn policy(policy: &Field, errors: &mut Errors) {
    if policy.is_same() {
        return;
    }
    policy.union(&["basic", "gang"], errors);
    let gang = policy.get("gang");
    let least = gang.get("minCount");
    if gang.new.is_set() && !gang.is_same() && !least.is_same() {
        match least.new.i64() {
            0 => errors.push(least.new.required("")),
            ..0 => errors.push(least.new.invalid_int("must be greater than or equal to 1")),
            _ => {}
        }
    }
}

fn constraints(constraints: &Field, on: &On, errors: &mut Errors) {
    if constraints.is_same() || !constraints.new.is_set() {
        return;
    }
    if !on.topology {
        errors.push(constraints.new.forbidden(""));
        return;
    }
    let topology = constraints.get("topology");
    if !topology.is_same() && topology.max_items(MAX_CONSTRAINTS, errors) {
        for constraint in topology.items() {
            constraint.get("key").required_text(label_key, errors);
        }
    }
}

fn claims(claims: &Field, errors: &mut Errors) {
    if claims.is_same() {
        return;
    }
    let further = claims.immutable(errors) & claims.max_items(MAX_CLAIMS, errors);
    if !further {
        return;
    }
    claims.unique("name", errors);
    for claim in claims.items_by("name") {
        claim.union(&["resourceClaimName", "resourceClaimTemplateName"], errors);
        claim.get("name").required_text(short_name, errors);
        claim.get("resourceClaimName").optional_text(long_name, errors);
        claim.get("resourceClaimTemplateName").optional_text(long_name, errors);
    }
}

/// The fields of the feature of preemption; those of a group itself are `fixed`.
fn preemption(spec: &Field, on: &On, fixed: bool, errors: &mut Errors) {
    let mut judge = |name: &'static str| {
        let field = spec.get(name);
        if field.is_same() {
            return None;
        }
        if !on.preemption {
            if !field.new.is_empty() {
                errors.push(field.new.forbidden(""));
            }
            return None;
        }
        if fixed && field.new.is_empty() && name == "disruptionMode" {
            errors.push(field.new.required(""));
        }
        let further = !fixed || field.immutable(errors);
        (further && !field.new.is_empty()).then_some(field.new)
    };
    let found = [judge("disruptionMode"), judge("priorityClassName"), judge("priority")];
    let [mode, class, priority] = found;
    if let Some(mode) = mode.filter(|mode| !matches!(mode.str(), "Pod" | "PodGroup")) {
        errors.push(mode.not_supported(&["Pod", "PodGroup"]));
    }
    if let Some(class) = class {
        crate::registry::checks::each(&class, long_name(class.str()), errors);
    }
    if let Some(priority) = priority.filter(|priority| priority.i64() > HIGHEST) {
        let detail = format!("must be less than or equal to {HIGHEST}");
        errors.push(Error::invalid(priority.path(), priority.i64(), detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NONE: On = On { topology: false, preemption: false };
    const ALL: On = On { topology: true, preemption: true };

    fn texts(errors: Errors) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn template(name: &str) -> Value {
        json!({"name": name, "schedulingPolicy": {"gang": {"minCount": 2}}})
    }

    #[test]
    fn workloads_are_checked() {
        let many: Vec<Value> = (0..9).map(|n| template(&format!("t{n}"))).collect();
        let cases = [
            (json!({"podGroupTemplates": [template("a")]}), vec![]),
            (json!({}), vec!["spec.podGroupTemplates: Required value"]),
            (
                json!({"podGroupTemplates": many}),
                vec!["spec.podGroupTemplates: Too many: 9: must have at most 8 items"],
            ),
            (
                json!({"podGroupTemplates": [{"name": "a", "schedulingPolicy": {}}]}),
                vec![
                    "spec.podGroupTemplates[0].schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`",
                ],
            ),
            (
                json!({"podGroupTemplates": [{"name": "a", "schedulingPolicy": {"basic": {}, "gang": {"minCount": -1}}}]}),
                vec![
                    "spec.podGroupTemplates[0].schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`",
                    "spec.podGroupTemplates[0].schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1",
                ],
            ),
            (
                json!({"controllerRef": {"kind": "a/b"}, "podGroupTemplates": [template("a")]}),
                vec![
                    "spec.controllerRef.kind: Invalid value: \"a/b\": may not contain '/'",
                    "spec.controllerRef.name: Required value",
                ],
            ),
        ];
        for (spec, want) in cases {
            let object = json!({"spec": spec});
            assert_eq!(texts(validate_workload(&object, &Value::Null, &NONE)), want, "{object}");
        }
        let old = json!({"spec": {"podGroupTemplates": [template("a")]}});
        let new = json!({"spec": {"podGroupTemplates": [template("b")]}});
        assert_eq!(
            texts(validate_workload(&new, &old, &NONE)),
            ["spec.podGroupTemplates: Invalid value: null: field is immutable"]
        );
        assert!(validate_workload(&old, &old, &NONE).is_empty());
    }

    #[test]
    fn groups_are_checked() {
        let group = |more: Value| {
            let mut spec = json!({"schedulingPolicy": {"basic": {}}});
            for (name, value) in more.as_object().into_iter().flatten() {
                spec[name] = value.clone();
            }
            json!({"spec": spec})
        };
        let claim = json!({"name": "c", "resourceClaimName": "x", "resourceClaimTemplateName": "y"});
        let cases = [
            (group(json!({})), &NONE, vec![]),
            (group(json!({"priority": 5})), &NONE, vec!["spec.priority: Forbidden"]),
            (group(json!({})), &ALL, vec!["spec.disruptionMode: Required value"]),
            (
                group(json!({"disruptionMode": "Node", "priority": 1000000001})),
                &ALL,
                vec![
                    "spec.disruptionMode: Unsupported value: \"Node\": supported values: \"Pod\", \"PodGroup\"",
                    "spec.priority: Invalid value: 1000000001: must be less than or equal to 1000000000",
                ],
            ),
            (
                group(json!({"resourceClaims": [claim]})),
                &NONE,
                vec![
                    "spec.resourceClaims[0]: Invalid value: \"{resourceClaimName, resourceClaimTemplateName}\": must specify exactly one of: `resourceClaimName`, `resourceClaimTemplateName`",
                ],
            ),
            (
                group(json!({"disruptionMode": "Pod", "schedulingConstraints": {"topology": [{}]}})),
                &ALL,
                vec!["spec.schedulingConstraints.topology[0].key: Required value"],
            ),
        ];
        for (object, on, want) in cases {
            assert_eq!(texts(validate_group(&object, &Value::Null, on)), want, "{object}");
        }
    }

    #[test]
    fn statuses_name_claims_of_the_spec() {
        let object = json!({
            "spec": {"resourceClaims": [{"name": "a"}]},
            "status": {"resourceClaimStatuses": [{"name": "b", "resourceClaimName": "X"}]},
        });
        let errors = texts(validate_status(&object, &json!({"spec": {}})));
        assert_eq!(
            errors[0],
            "status.resourceClaimStatuses[0].name: Invalid value: \"b\": must match the name of an entry in `spec.resourceClaims`"
        );
        assert!(
            errors[1].starts_with("status.resourceClaimStatuses[0].resourceClaimName: Invalid value: \"X\"")
        );
    }
}
