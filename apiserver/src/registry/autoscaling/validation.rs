//! What is wrong with an autoscaler.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::View;
use serde_json::Value;

use crate::registry::checks::*;
use crate::registry::core::pod::resources::container_resource_name;

const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

/// An autoscaler; `old` is null if it is new.
pub(super) fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(new);
    let spec = view.get("spec");
    let old_spec = View::root(old).get("spec");
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    // Scaling to nothing is behind a feature gate that is off.
    let bound = i64::from(old_spec.raw("minReplicas").as_i64() != Some(0));
    if least.is_set() && least.i64() < bound {
        errors.push(least.invalid_int(format!("must be greater than or equal to {bound}")));
    }
    if most.i64() == 0 {
        errors.push(most.required("must be set and greater than 0"));
    } else if most.i64() < 0 {
        errors.push(most.invalid_int("must be greater than or equal to 1"));
    }
    if least.is_set() && most.i64() < least.i64() {
        errors.push(most.invalid_int("must be greater than or equal to `minReplicas`"));
    }
    let (target, old_target) = (spec.get("scaleTargetRef"), old_spec.get("scaleTargetRef"));
    let same = ["apiVersion", "kind"].iter().all(|field| target.text(field) == old_target.text(field));
    let version = if !old.is_null() && same {
        Version::Any
    } else if target.text("kind") == "ReplicationController" {
        Version::Core
    } else {
        Version::Group
    };
    reference(&target, version, &mut errors);
    metrics(&spec, &old_spec, &mut errors);
    for field in ["scaleUp", "scaleDown"] {
        rules(&spec.get("behavior").get(field), &mut errors);
    }
    errors
}

/// A change of an autoscaler's status.
pub(super) fn validate_status(new: &Value) -> Errors {
    let mut errors = Errors::new();
    let status = View::root(new).get("status");
    nonnegative(&status.get("currentReplicas"), &mut errors);
    nonnegative(&status.get("desiredReplicas"), &mut errors);
    errors
}

/// What the apiVersion of a reference may be.
#[derive(Clone, Copy, PartialEq)]
enum Version {
    /// Anything, as it was wrong before.
    Any,
    /// Also one of the core group.
    Core,
    /// One with a group.
    Group,
}

fn version_problem(reference: &View, version: Version) -> Option<String> {
    let text = reference.text("apiVersion");
    match text.matches('/').count() {
        _ if version == Version::Any => None,
        0 if version == Version::Group => Some("apiVersion must specify API group".to_owned()),
        0 | 1 => None,
        _ => Some(format!("unexpected GroupVersion string: {text}")),
    }
}

fn reference(reference: &View, version: Version, errors: &mut Errors) {
    for field in ["kind", "name"] {
        let view = reference.get(field);
        if required(&view, errors) {
            each(&view, content::is_path_segment_name(view.str()), errors);
        }
    }
    if let Some(problem) = version_problem(reference, version) {
        errors.push(reference.get("apiVersion").invalid_str(problem));
    }
}

fn metrics(spec: &View, old: &View, errors: &mut Errors) {
    let list = spec.get("metrics");
    let mut described = old.get("metrics").items().into_iter();
    let was_wrong = described
        .any(|metric| version_problem(&metric.get("object").get("describedObject"), Version::Core).is_some());
    let version = if was_wrong { Version::Any } else { Version::Core };
    for metric in list.items() {
        self::metric(&metric, version, errors);
    }
    let scales_to_zero =
        list.items().iter().any(|metric| matches!(metric.text("type"), "Object" | "External"));
    if spec.raw("minReplicas").as_i64() == Some(0) && !scales_to_zero {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(list.forbidden(detail));
    }
}

fn metric(metric: &View, version: Version, errors: &mut Errors) {
    const FIELDS: [(&str, &str); 5] = [
        ("object", "Object"),
        ("external", "External"),
        ("pods", "Pods"),
        ("resource", "Resource"),
        ("containerResource", "ContainerResource"),
    ];
    let kind = metric.get("type");
    if kind.is_empty() {
        errors.push(kind.required("must specify a metric source type"));
    }
    supported(&kind, &TYPES, errors);
    let present: Vec<&'static str> =
        FIELDS.iter().map(|(field, _)| *field).filter(|field| metric.has(field)).collect();
    if let Some(field) = present.first() {
        source(field, &metric.get(field), version, errors);
    }
    let expected = FIELDS.iter().find(|(_, name)| *name == kind.str()).map(|(field, _)| *field);
    match expected {
        Some(field) => {
            if !metric.has(field) {
                let detail = "must populate information for the given metric source";
                errors.push(metric.get(field).required(detail));
            }
        }
        None => {
            supported(&kind, &TYPES, errors);
        }
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|field| Some(*field) != expected) {
            errors.push(metric.get(field).forbidden("must populate the given metric source only"));
        }
    }
}

fn source(field: &str, source: &View, version: Version, errors: &mut Errors) {
    let target = source.get("target");
    let (value, average) = (target.get("value"), target.get("averageValue"));
    let utilization = target.get("averageUtilization");
    match field {
        "object" => {
            reference(&source.get("describedObject"), version, errors);
            identifier(&source.get("metric"), errors);
            self::target(&target, errors);
            if !value.is_set() && !average.is_set() {
                errors.push(average.required("must set either a target value or averageValue"));
            }
        }
        "external" => {
            identifier(&source.get("metric"), errors);
            self::target(&target, errors);
            if !value.is_set() && !average.is_set() {
                let detail = "must set either a target value for metric or a per-pod target";
                errors.push(average.required(detail));
            }
            if value.is_set() && average.is_set() {
                let detail = "may not set both a target value for metric and a per-pod target";
                errors.push(value.forbidden(detail));
            }
        }
        "pods" => {
            identifier(&source.get("metric"), errors);
            self::target(&target, errors);
            if !average.is_set() {
                errors.push(average.required("must specify a positive target averageValue"));
            }
        }
        _ => {
            let name = source.get("name");
            if name.is_empty() {
                errors.push(name.required("must specify a resource name"));
            } else if field == "containerResource" {
                container_resource_name(&name, name.str(), errors);
            }
            if field == "containerResource" {
                let container = source.get("container");
                if container.is_empty() {
                    errors.push(container.required("must specify a container"));
                } else {
                    dns_label(&container, errors);
                }
            }
            self::target(&target, errors);
            if !utilization.is_set() && !average.is_set() {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(utilization.required(detail));
            }
            if utilization.is_set() && average.is_set() {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(average.forbidden(detail));
            }
        }
    }
}

fn identifier(metric: &View, errors: &mut Errors) {
    let name = metric.get("name");
    if name.is_empty() {
        errors.push(name.required("must specify a metric name"));
    } else {
        each(&name, content::is_path_segment_name(name.str()), errors);
    }
}

fn target(target: &View, errors: &mut Errors) {
    let kind = target.get("type");
    if kind.is_empty() {
        errors.push(kind.required("must specify a metric target type"));
    }
    if !matches!(kind.str(), "Utilization" | "Value" | "AverageValue") {
        errors.push(kind.invalid_str("must be either Utilization, Value, or AverageValue"));
    }
    for field in ["value", "averageValue"] {
        let amount = target.get(field);
        if amount.is_set() && quantity(amount.value()).sign() != 1 {
            errors.push(amount.invalid("must be positive"));
        }
    }
    let percent = target.get("averageUtilization");
    if percent.is_set() && percent.i64() < 1 {
        errors.push(percent.invalid_int("must be greater than 0"));
    }
}

fn rules(rules: &View, errors: &mut Errors) {
    const LONGEST_WINDOW: i64 = 3600;
    const LONGEST_PERIOD: i64 = 1800;
    if !rules.is_set() {
        return;
    }
    let window = rules.get("stabilizationWindowSeconds");
    if window.i64() < 0 {
        errors.push(window.invalid_int("must be greater than or equal to zero"));
    }
    if window.i64() > LONGEST_WINDOW {
        errors.push(window.invalid_int(format!("must be less than or equal to {LONGEST_WINDOW}")));
    }
    if rules.has("selectPolicy") {
        supported(&rules.get("selectPolicy"), &["Disabled", "Max", "Min"], errors);
    }
    let policies = rules.get("policies");
    if policies.is_empty() {
        errors.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        supported(&policy.get("type"), &["Percent", "Pods"], errors);
        let (value, period) = (policy.get("value"), policy.get("periodSeconds"));
        positive(&value, errors);
        positive(&period, errors);
        if period.i64() > LONGEST_PERIOD {
            errors.push(period.invalid_int(format!("must be less than or equal to {LONGEST_PERIOD}")));
        }
    }
    let tolerance = rules.get("tolerance");
    if tolerance.is_set() {
        let amount = quantity(tolerance.value());
        if amount.sign() < 0 {
            let detail = "must be greater than or equal to 0";
            errors.push(Error::invalid(tolerance.path(), amount.to_string(), detail));
        }
    }
}
