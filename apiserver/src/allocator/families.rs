//! Which address families a service has, and how the singular and plural address fields follow each other.

use proto::field::{Error, Errors, Path};
use proto::view::{View, at, set_at, strs, text_at};
use serde_json::{Value, json};

use crate::registry::Settings;
use crate::registry::core::service::{needs_cluster_ip, needs_health_check, node_ports, validate_addresses};

const ADDRESS: [&str; 2] = ["spec", "clusterIP"];
const ADDRESSES: [&str; 2] = ["spec", "clusterIPs"];
const FAMILIES: [&str; 2] = ["spec", "ipFamilies"];
const POLICY: [&str; 2] = ["spec", "ipFamilyPolicy"];

fn same(new: &Value, old: &Value, path: &[&str]) -> bool {
    at(new, path) == at(old, path)
}

/// A client that does not name what was allocated means to keep it.
pub(super) fn keep_allocated(new: &mut Value, old: &Value) {
    if old.is_null() {
        return;
    }
    let (new_spec, old_spec) = (at(new, &["spec"]).clone(), at(old, &["spec"]));
    if needs_cluster_ip(&new_spec) && needs_cluster_ip(old_spec) {
        for path in [ADDRESS, ADDRESSES] {
            if proto::view::is_empty(at(new, &path)) {
                set_at(new, &path, at(old, &path).clone());
            }
        }
    }
    if wants_node_ports(&new_spec) && wants_node_ports(old_spec) {
        let (new_ports, old_ports) = (node_ports(&new_spec), node_ports(old_spec));
        let list = new.get_mut("spec").and_then(|spec| spec.get_mut("ports")).and_then(Value::as_array_mut);
        for port in list.into_iter().flatten().filter(|port| port.get("nodePort").is_none()) {
            let name = text_at(port, &["name"]).to_owned();
            let before = View::root(old_spec).get("ports").items();
            let before = before.iter().rfind(|old| old.text("name") == name).map(|old| old.int("nodePort"));
            let unused = |port: &i64| *port != 0 && !(old_ports.contains(port) && new_ports.contains(port));
            if let Some(number) = before.filter(unused) {
                set_at(port, &["nodePort"], Value::from(number));
            }
        }
    }
    const HEALTH: [&str; 2] = ["spec", "healthCheckNodePort"];
    if needs_health_check(&new_spec) && needs_health_check(old_spec) && at(new, &HEALTH).is_null() {
        set_at(new, &HEALTH, at(old, &HEALTH).clone());
    }
}

fn wants_node_ports(spec: &Value) -> bool {
    match text_at(spec, &["type"]) {
        "NodePort" => true,
        "LoadBalancer" => at(spec, &["allocateLoadBalancerNodePorts"]).as_bool().unwrap_or(true),
        _ => false,
    }
}

/// Clients that know only `clusterIP` change `clusterIPs` with it.
pub(super) fn normalize_addresses(new: &mut Value, old: &Value) {
    let address = at(new, &ADDRESS).clone();
    if old.is_null() {
        if !address.is_null() && at(new, &ADDRESSES).is_null() {
            set_at(new, &ADDRESSES, json!([address]));
        }
        return;
    }
    if at(new, &ADDRESSES).is_null() && same(new, old, &ADDRESS) {
        set_at(new, &ADDRESSES, at(old, &ADDRESSES).clone());
    }
    if !same(new, old, &ADDRESS) && same(new, old, &ADDRESSES) {
        let cleared = address.is_null() && !at(old, &ADDRESS).is_null();
        set_at(new, &ADDRESSES, if cleared { Value::Null } else { json!([address]) });
    }
}

/// Gives a service its families and their policy.
pub(super) fn initialize(settings: &Settings, new: &mut Value, old: &Value) -> Result<(), Errors> {
    if !needs_cluster_ip(at(new, &["spec"])) || keeps_preferring_both(new, old) {
        return Ok(());
    }
    let external = is_headless_without_selector(new);
    if at(new, &POLICY).is_null() {
        let policy = match at(old, &POLICY) {
            Value::Null if external => Value::from("RequireDualStack"),
            Value::Null => Value::from("SingleStack"),
            before => before.clone(),
        };
        set_at(new, &POLICY, policy);
    }
    let mut errors = Errors::new();
    validate_addresses(new, old, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    release_second(new, old, &mut errors);
    families_of_addresses(settings, new, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    let first = if settings.service_ranges.first().is_some_and(|(address, _)| address.is_ipv6()) {
        "IPv6"
    } else {
        "IPv4"
    };
    if external {
        // Where the addresses come from is someone else's business, so both families are possible.
        complete(new, first, true);
        return Ok(());
    }
    configured(settings, new, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    complete(new, first, has_family(settings, "IPv4") && has_family(settings, "IPv6"));
    Ok(())
}

/// A change that leaves type, policy, addresses and families of a service that prefers both has nothing to do.
fn keeps_preferring_both(new: &Value, old: &Value) -> bool {
    let prefers = |service| text_at(service, &POLICY) == "PreferDualStack";
    !old.is_null()
        && prefers(new)
        && (prefers(old) || at(old, &POLICY).is_null())
        && [&["spec", "type"], &ADDRESSES, &FAMILIES].iter().all(|path| same(new, old, *path))
}

fn is_headless_without_selector(service: &Value) -> bool {
    text_at(service, &ADDRESS) == "None" && proto::view::is_empty(at(service, &["spec", "selector"]))
}

fn policy_path() -> Path {
    Path::new("spec").child("ipFamilyPolicy")
}

fn count(service: &Value, path: &[&str]) -> usize {
    strs(at(service, path)).len()
}

/// With one stack wanted, the second address and family go; with both, they may not be left out.
fn release_second(new: &mut Value, old: &Value, errors: &mut Errors) {
    let single = text_at(new, &POLICY) == "SingleStack";
    let policy = at(new, &POLICY).clone();
    for (path, what) in [(ADDRESSES, "cluster IP"), (FAMILIES, "IP family")] {
        if old.is_null() {
            continue;
        }
        let length = count(new, &path);
        if single {
            if same(new, old, &path) && length > 1 {
                let first: Vec<Value> = strs(at(new, &path)).into_iter().take(1).map(Value::from).collect();
                set_at(new, &path, Value::from(first));
            }
        } else if length > 0 && length < count(old, &path) {
            let detail = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(Error::invalid(&policy_path(), policy.clone(), detail));
        }
    }
    if single {
        for (path, what) in [(ADDRESSES, "cluster IPs"), (FAMILIES, "IP families")] {
            if count(new, &path) == 2 {
                let detail = format!(
                    "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                );
                errors.push(Error::invalid(&policy_path(), policy.clone(), detail));
            }
        }
    }
}

fn family_of(address: &str) -> &'static str {
    if address.contains(':') { "IPv6" } else { "IPv4" }
}

fn has_family(settings: &Settings, family: &str) -> bool {
    settings.service_ranges.iter().any(|(address, _)| address.is_ipv6() == (family == "IPv6"))
}

/// Addresses given without their families tell them.
fn families_of_addresses(settings: &Settings, new: &mut Value, errors: &mut Errors) {
    let list = at(new, &ADDRESSES).clone();
    let addresses = strs(&list);
    let mut families: Vec<String> = strs(at(new, &FAMILIES)).into_iter().map(str::to_owned).collect();
    for (index, address) in addresses.iter().enumerate() {
        if *address == "None" {
            break;
        }
        if index < families.len() {
            continue;
        }
        let family = family_of(address);
        if has_family(settings, family) {
            families.push(family.to_owned());
        } else {
            let path = Path::new("spec").child("clusterIPs").index(index);
            let detail = format!("{family} is not configured on this cluster");
            errors.push(Error::invalid(&path, list.clone(), detail));
        }
    }
    if !families.is_empty() {
        set_at(new, &FAMILIES, json!(families));
    }
}

fn configured(settings: &Settings, new: &Value, errors: &mut Errors) {
    let both = has_family(settings, "IPv4") && has_family(settings, "IPv6");
    if text_at(new, &POLICY) == "RequireDualStack" && !both {
        let detail = "this cluster is not configured for dual-stack services";
        errors.push(Error::invalid(&policy_path(), at(new, &POLICY).clone(), detail));
    }
    for family in View::root(new).get("spec").get("ipFamilies").items() {
        if !has_family(settings, family.str()) {
            errors.push(family.invalid_str("not configured on this cluster"));
        }
    }
}

/// The first family by default, and the other one where both are wanted and possible.
fn complete(new: &mut Value, first: &str, both: bool) {
    let mut families: Vec<String> = strs(at(new, &FAMILIES)).into_iter().map(str::to_owned).collect();
    if families.is_empty() {
        families.push(first.to_owned());
    }
    if families.len() == 1 && both && text_at(new, &POLICY) != "SingleStack" {
        let other = if families.iter().any(|family| family == "IPv4") { "IPv6" } else { "IPv4" };
        families.push(other.to_owned());
    }
    set_at(new, &FAMILIES, json!(families));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialized(spec: Value) -> Value {
        let mut service = json!({"spec": spec});
        normalize_addresses(&mut service, &Value::Null);
        initialize(&Settings::default(), &mut service, &Value::Null).expect("valid");
        service["spec"].take()
    }

    #[test]
    fn one_family_by_default() {
        let spec = initialized(json!({"type": "ClusterIP"}));
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
    }

    #[test]
    fn headless_without_selector_has_both() {
        let spec = initialized(json!({"type": "ClusterIP", "clusterIP": "None"}));
        assert_eq!(spec["clusterIPs"], json!(["None"]));
        assert_eq!(spec["ipFamilies"], json!(["IPv4", "IPv6"]));
        assert_eq!(spec["ipFamilyPolicy"], "RequireDualStack");
    }

    #[test]
    fn what_is_not_configured_is_refused() {
        let mut service = json!({"spec": {"type": "ClusterIP", "ipFamilyPolicy": "RequireDualStack"}});
        let errors = initialize(&Settings::default(), &mut service, &Value::Null).expect_err("one stack");
        assert_eq!(
            errors[0].to_string(),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services"
        );
    }

    #[test]
    fn an_update_keeps_what_was_allocated() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30001}]}});
        let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 81}]}});
        keep_allocated(&mut new, &old);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.1"]));
        assert_eq!(new["spec"]["ports"][0]["nodePort"], 30001);
    }
}
