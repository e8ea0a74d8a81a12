//! Limit ranges and resource quotas: how much a namespace may use.

use std::collections::{BTreeMap, BTreeSet};

use proto::field::{Error, Errors, Path};
use proto::quantity::{Format, Quantity};
use proto::view::{View, set_at, strs, text_at};
use serde_json::Value;

use super::pod::resources;
use super::{defaults, kind};
use crate::registry::checks::*;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Hooks, strategy};

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("limitranges", "LimitRange")
        .short(&["limits"])
        .default(defaults::limit_range)
        .hooks(Hooks {
            prepare_create: |_, new| {
                if text_at(new, &["metadata", "name"]).is_empty() {
                    let name = uuid::Uuid::new_v4().to_string();
                    set_at(new, &["metadata", "name"], Value::from(name));
                }
            },
            validate: |_, new| limit_range(new),
            validate_update: |_, new, _| limit_range(new),
            allow_create_on_update: true,
            ..Hooks::default()
        })
        .install(builder, enabled);
    kind("resourcequotas", "ResourceQuota")
        .short(&["quota"])
        .default(defaults::resource_quota)
        .hooks(Hooks {
            validate: |_, new| {
                let mut errors = Errors::new();
                quota_spec(new, &mut errors);
                quota_amounts(new, "status", &["hard", "used"], &mut errors);
                errors
            },
            validate_update: |_, new, old| {
                let mut errors = Errors::new();
                quota_spec(new, &mut errors);
                let scopes = View::root(new).get("spec").get("scopes");
                let set = |value: &Value| -> BTreeSet<String> {
                    strs(value).into_iter().map(str::to_owned).collect()
                };
                if set(scopes.value()) != set(proto::view::at(old, &["spec", "scopes"])) {
                    errors.push(scopes.invalid(IMMUTABLE));
                }
                errors
            },
            warnings: |_, new| quota_warnings(new),
            return_deleted: true,
            ..strategy::with_status()
        })
        .status(Hooks {
            validate_update: |_, new, _| {
                let mut errors = Errors::new();
                quota_amounts(new, "status", &["hard", "used"], &mut errors);
                errors
            },
            ..strategy::status()
        })
        .install(builder, enabled);
}

type Amounts<'a> = BTreeMap<&'a str, Quantity>;

fn limit_range(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    let mut kinds = Vec::new();
    for item in view.get("spec").get("limits").items() {
        let kind = item.get("type");
        let before = errors.len();
        qualified_name(&kind, &mut errors);
        let standard = ["Container", "PersistentVolumeClaim", "Pod"];
        if errors.len() == before && !kind.str().contains('/') && !standard.contains(&kind.str()) {
            errors.push(kind.invalid_str("must be a standard limit type or fully qualified"));
        }
        if kinds.contains(&kind.str()) {
            errors.push(kind.duplicate());
        }
        kinds.push(kind.str());
        limits(&item, kind.str(), &mut errors);
    }
    errors
}

fn amounts<'a>(item: &View<'a>, field: &'static str, kind: &str, errors: &mut Errors) -> Amounts<'a> {
    let mut amounts = Amounts::new();
    for (name, amount) in item.get(field).entries() {
        if matches!(kind, "Pod" | "Container") {
            resources::container_resource_name(&amount, name, errors);
        } else {
            resources::resource_name(&amount, name, errors);
        }
        amounts.insert(name, quantity(amount.value()));
    }
    amounts
}

fn limits(item: &View, kind: &str, errors: &mut Errors) {
    let max = amounts(item, "max", kind, errors);
    let min = amounts(item, "min", kind, errors);
    let (mut default, mut request) = (Amounts::new(), Amounts::new());
    if kind == "Pod" {
        for field in ["default", "defaultRequest"] {
            if !item.get(field).is_empty() {
                errors.push(item.get(field).forbidden("may not be specified when `type` is 'Pod'"));
            }
        }
    } else {
        default = amounts(item, "default", kind, errors);
        request = amounts(item, "defaultRequest", kind, errors);
    }
    if kind == "PersistentVolumeClaim" && !min.contains_key("storage") && !max.contains_key("storage") {
        let path = item.path().child("limits");
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path, detail));
    }
    let ratio = amounts(item, "maxLimitRequestRatio", kind, errors);
    let names: BTreeSet<&str> =
        [&max, &min, &default, &request, &ratio].iter().flat_map(|list| list.keys().copied()).collect();
    for name in names {
        let mut wrong = |field: &'static str, value: &Quantity, detail: String| {
            let path = item.path().child(field).key(name);
            errors.push(Error::invalid(&path, value.to_string(), detail));
        };
        let (max, min) = (max.get(name), min.get(name));
        let (default, request, ratio) = (default.get(name), request.get(name), ratio.get(name));
        let above = |a: Option<&Quantity>, b: Option<&Quantity>| match (a, b) {
            (Some(a), Some(b)) if a > b => Some((a.clone(), b.clone())),
            _ => None,
        };
        if let Some((min, max)) = above(min, max) {
            wrong("min", &min, format!("min value {min} is greater than max value {max}"));
        }
        if let Some((min, request)) = above(min, request) {
            let detail = format!("min value {min} is greater than default request value {request}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((request, max)) = above(request, max) {
            let detail = format!("default request value {request} is greater than max value {max}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((request, default)) = above(request, default) {
            let detail =
                format!("default request value {request} is greater than default limit value {default}");
            wrong("defaultRequest", &request, detail);
        }
        if let Some((min, default)) = above(min, default) {
            wrong("default", &min, format!("min value {min} is greater than default value {default}"));
        }
        if let Some((default, max)) = above(default, max) {
            wrong("default", &max, format!("default value {default} is greater than max value {max}"));
        }
        if let Some(ratio) = ratio {
            if *ratio < Quantity::new(1, Format::DecimalSi) {
                wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
            }
            if let (Some(min), Some(max)) = (min, max) {
                let most = max.to_f64() / min.to_f64();
                if ratio.to_f64() > most {
                    let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
                    wrong("maxLimitRequestRatio", ratio, detail);
                }
            }
        }
        if let (Some(default), Some(request)) = (default, request)
            && !resources::overcommit_allowed(name)
            && default != request
        {
            let detail =
                format!("default value {default} must equal to defaultRequest value {request} in {name}");
            wrong("defaultRequest", request, detail);
        }
    }
}

const QUOTA_RESOURCES: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

fn is_quota_resource(name: &str) -> bool {
    QUOTA_RESOURCES.contains(&name)
        || resources::is_huge_page(name)
        || name.starts_with("requests.hugepages-")
}

fn quota_amounts(object: &Value, part: &'static str, fields: &[&'static str], errors: &mut Errors) {
    for field in fields {
        for (name, amount) in View::root(object).get(part).get(field).entries() {
            resources::resource_name(&amount, name, errors);
            if !name.contains('/') && !is_quota_resource(name) {
                errors.push(Error::invalid(amount.path(), name, "must be a standard resource for quota"));
            }
            resources::resource_amount(&amount, name, errors);
        }
    }
}

fn quota_spec(object: &Value, errors: &mut Errors) {
    quota_amounts(object, "spec", &["hard"], errors);
    let spec = View::root(object).get("spec");
    let hard: Vec<&str> = spec
        .get("hard")
        .entries()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| is_quota_resource(name))
        .collect();
    let scopes = spec.get("scopes");
    for scope in scopes.strs() {
        if !is_scope(scope) {
            errors.push(scopes.invalid("unsupported scope"));
        }
        for _ in hard.iter().filter(|name| !scope_covers(scope, name)) {
            errors.push(scopes.invalid("unsupported scope applied to resource"));
        }
    }
    conflicting(&scopes.strs(), scopes.path(), &scopes, errors);
    let selector = spec.get("scopeSelector");
    if selector.is_set() {
        scope_selector(&spec, &selector, &hard, errors);
    }
}

fn conflicting(scopes: &[&str], path: &Path, shown: &View, errors: &mut Errors) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.push(Error::invalid(path, shown.value().clone(), "conflicting scopes"));
        }
    }
}

fn is_scope(scope: &str) -> bool {
    const SCOPES: [&str; 7] = [
        "Terminating",
        "NotTerminating",
        "BestEffort",
        "NotBestEffort",
        "PriorityClass",
        "CrossNamespacePodAffinity",
        "VolumeAttributesClass",
    ];
    SCOPES.contains(&scope)
}

fn scope_covers(scope: &str, name: &str) -> bool {
    const COMPUTE: [&str; 6] =
        ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => name == "pods" || COMPUTE.contains(&name),
        "BestEffort" => name == "pods",
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn scope_selector(spec: &View, selector: &View, hard: &[&str], errors: &mut Errors) {
    let path = selector.path().child("matchExpressions");
    let mut scopes = Vec::new();
    for requirement in selector.get("matchExpressions").items() {
        let scope = requirement.text("scopeName");
        let at = |field| requirement.get(field).with_path(path.child(field));
        if !is_scope(scope) {
            errors.push(at("scopeName").invalid_str("unsupported scope"));
        }
        for _ in hard.iter().filter(|name| !scope_covers(scope, name)) {
            let detail = "unsupported scope applied to resource";
            errors.push(Error::invalid(&path, selector.value().clone(), detail));
        }
        let (operator, values) = (at("operator"), at("values"));
        let exists_only = !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && is_scope(scope);
        if exists_only && operator.str() != "Exists" {
            errors.push(operator.invalid_str("must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"));
        }
        match operator.str() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    errors.push(values.required(
                        "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
                    ));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    errors.push(values.invalid(
                        "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                    ));
                }
            }
            _ => errors.push(operator.invalid_str("not a valid selector operator")),
        }
        scopes.push(scope);
    }
    conflicting(&scopes, &path, &spec.get("scopes"), errors);
}

fn quota_warnings(object: &Value) -> Vec<String> {
    let hard = View::root(object).get("spec").get("hard");
    let mut warnings = Vec::new();
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut request_name = format!("requests.{resource}");
        if !hard.has(&request_name) && matches!(resource, "cpu" | "memory") {
            request_name = resource.to_owned();
        }
        let limit_name = format!("limits.{resource}");
        if !hard.has(&request_name) || !hard.has(&limit_name) {
            continue;
        }
        let (request, limit) = (quantity(hard.raw(&request_name)), quantity(hard.raw(&limit_name)));
        if request > limit {
            warnings.push(format!(
                "ResourceQuota {request_name} ({request}) should be less than {limit_name} ({limit})"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn limits_must_agree() {
        let object =
            json!({"spec": {"limits": [{"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}]}});
        let texts: Vec<String> = limit_range(&object).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1"]
        );
    }

    #[test]
    fn scopes_must_fit() {
        let object = json!({"spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}});
        let mut errors = Errors::new();
        quota_spec(&object, &mut errors);
        let details: Vec<&str> = errors.iter().map(|error| error.detail.as_str()).collect();
        assert_eq!(details, ["unsupported scope applied to resource", "conflicting scopes"]);
    }
}
