//! Nodes.

use proto::content;
use proto::field::{Error, Errors, Path, quote};
use proto::view::{View, at, remove_at, set_at};
use serde_json::Value;

use super::pod::{resources, scheduling};
use super::{defaults, kind};
use crate::registry::checks::*;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Connect, Hooks, Verbs, strategy};

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    let proxy = Verbs::CREATE | Verbs::DELETE | Verbs::GET | Verbs::PATCH | Verbs::UPDATE;
    kind("nodes", "Node")
        .cluster()
        .short(&["no"])
        .prefix("minions")
        .default(defaults::node)
        .selectable_or("spec.unschedulable", "false")
        .hooks(Hooks {
            prepare_create: |_, new| {
                remove_at(new, &["spec", "configSource"]);
                remove_at(new, &["status", "config"]);
            },
            prepare_update: |_, new, old| {
                strategy::keep(new, old, &["status"]);
                if at(old, &["spec", "configSource"]).is_null() {
                    set_at(new, &["spec", "configSource"], Value::Null);
                }
            },
            validate: |_, new| validate(new),
            validate_update: |_, new, old| {
                let mut errors = validate(new);
                errors.extend(validate_update(new, old));
                errors
            },
            ..strategy::with_status()
        })
        .connect("proxy", Some("NodeProxyOptions"), proxy, Connect::NodeProxy)
        .status(Hooks {
            prepare_update: |_, new, old| {
                strategy::keep(new, old, &["spec"]);
                if at(old, &["status", "config"]).is_null() {
                    set_at(new, &["status", "config"], Value::Null);
                }
            },
            validate_update: |_, new, old| validate_update(new, old),
            ..strategy::status()
        })
        .install(builder, enabled);
}

fn validate(node: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(node);
    taints(&view, &mut errors);
    amounts(&view, &mut errors);
    let swap = view.get("status").get("nodeInfo").get("swap");
    if swap.has("capacity") {
        let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        let capacity = swap.get("capacity").with_path(path);
        if capacity.i64() < 0 {
            errors.push(capacity.invalid_int("must be greater than or equal to 0"));
        }
    }
    features(&view, &mut errors);
    let ranges = view.get("spec").get("podCIDRs");
    for range in ranges.items() {
        legacy_cidr(&range, &[], &mut errors);
    }
    let texts = ranges.strs();
    if texts.len() > 1 {
        let family = |range: &&str| content::parse_cidr_sloppy(range).map(|(address, _)| address.is_ipv4());
        let families: Vec<Option<bool>> = texts.iter().map(family).collect();
        if let Some((index, bad)) = texts.iter().enumerate().find(|(_, range)| family(range).is_none()) {
            let detail = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid CIDR address: {bad})"
            );
            errors.push(Error::internal(ranges.path(), detail));
        }
        let dual =
            !families.contains(&None) && families.contains(&Some(true)) && families.contains(&Some(false));
        if !dual || texts.len() > 2 {
            errors.push(ranges.invalid("may specify no more than one CIDR for each IP family"));
        }
    }
    errors
}

fn taints(node: &View, errors: &mut Errors) {
    let list = node.get("spec").get("taints").with_path(Path::new("metadata").child("taints"));
    let mut seen = Vec::new();
    for taint in list.items() {
        label_name(&taint.get("key"), errors);
        let value = taint.get("value");
        let messages = content::is_label_value(value.str());
        if !messages.is_empty() {
            errors.push(value.invalid_str(messages.join(";")));
        }
        let effect = taint.get("effect");
        if required(&effect, errors) {
            scheduling::taint_effect(&effect, errors);
        }
        let key = (taint.text("key"), taint.text("effect"));
        if seen.contains(&key) {
            let mut error = taint.duplicate();
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
        seen.push(key);
    }
}

fn amounts(node: &View, errors: &mut Errors) {
    for field in ["capacity", "allocatable"] {
        let list = node.get("status").get(field);
        for (name, amount) in list.entries() {
            let view = amount.with_path(list.path().child_named(name));
            resources::resource_amount(&view, name, errors);
        }
    }
}

fn features(node: &View, errors: &mut Errors) {
    let list = node.get("status").get("declaredFeatures").items();
    for (index, feature) in list.iter().enumerate() {
        let name = feature.str();
        if name.len() > content::SUBDOMAIN_MAX {
            let detail = format!(
                "invalid feature name {}: must be no more than {} characters",
                quote(name),
                content::SUBDOMAIN_MAX
            );
            errors.push(feature.invalid_str(detail));
        } else if !is_feature_name(name) {
            let detail = format!(
                "invalid feature name {}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
                quote(name)
            );
            errors.push(feature.invalid_str(detail));
        }
        if let Some(next) = list.get(index + 1) {
            match name.cmp(next.str()) {
                std::cmp::Ordering::Equal => errors.push(next.duplicate()),
                std::cmp::Ordering::Greater => {
                    errors.push(next.invalid_str("list must be sorted alphabetically"));
                }
                std::cmp::Ordering::Less => {}
            }
        }
    }
}

fn is_feature_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split('/').all(|segment| {
            segment.starts_with(|c: char| c.is_ascii_alphabetic())
                && segment.chars().all(|c| c.is_ascii_alphanumeric())
        })
}

fn validate_update(new: &Value, old: &Value) -> Errors {
    const ONCE: &str = "except from \"\" to valid";
    let mut errors = Errors::new();
    let (view, old) = (View::root(new), View::root(old));
    amounts(&view, &mut errors);
    features(&view, &mut errors);
    let mut addresses = Vec::new();
    for address in view.get("status").get("addresses").items() {
        if addresses.contains(&address.value()) {
            errors.push(address.duplicate());
        }
        addresses.push(address.value());
    }
    let (spec, old_spec) = (view.get("spec"), old.get("spec"));
    let ranges = spec.get("podCIDRs");
    if !old_spec.get("podCIDRs").is_empty() && ranges.value() != old_spec.raw("podCIDRs") {
        errors.push(ranges.forbidden(format!("node updates may not change podCIDR {ONCE}")));
    }
    let provider = spec.get("providerID");
    if !old_spec.text("providerID").is_empty() && provider.str() != old_spec.text("providerID") {
        errors.push(provider.forbidden(format!("node updates may not change providerID {ONCE}")));
    }
    config_source(&spec.get("configSource"), false, &mut errors);
    for field in ["assigned", "active", "lastKnownGood"] {
        config_source(&view.get("status").get("config").get(field), true, &mut errors);
    }
    taints(&view, &mut errors);
    if spec.text("externalID") != old_spec.text("externalID") {
        errors.push(spec.get("externalID").forbidden("may not be updated"));
    }
    errors
}

/// A source of kubelet configuration, which old nodes may still have.
fn config_source(source: &View, resolved: bool, errors: &mut Errors) {
    if !source.is_set() {
        return;
    }
    let map = source.get("configMap");
    if !map.is_set() {
        errors.push(source.invalid("exactly one reference subfield must be non-nil"));
        return;
    }
    for field in ["uid", "resourceVersion"] {
        let view = map.get(field);
        if resolved {
            required(&view, errors);
        } else if !view.is_empty() {
            errors.push(view.forbidden(format!("{field} must not be set in spec")));
        }
    }
    let checks: [(&'static str, fn(&str) -> Vec<String>); 3] = [
        ("namespace", content::is_dns1123_label),
        ("name", content::is_dns1123_subdomain),
        ("kubeletConfigKey", content::is_config_map_key),
    ];
    for (field, check) in checks {
        let view = map.get(field);
        if required(&view, errors) {
            each(&view, check(view.str()), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_are_unique_by_key_and_effect() {
        let taint = json!({"key": "a", "effect": "NoSchedule"});
        let errors = validate(&json!({"spec": {"taints": [taint, taint]}}));
        assert_eq!(
            errors[0].to_string(),
            "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair"
        );
    }

    #[test]
    fn feature_names() {
        assert!(is_feature_name("MyFeature/mySub"));
        for bad in ["myFeature", "My-Feature", "My//x", ""] {
            assert!(!is_feature_name(bad), "{bad}");
        }
    }
}
