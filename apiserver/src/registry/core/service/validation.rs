//! What is wrong with a service.

use proto::content;
use proto::field::{Error, Errors, Path};
use proto::view::{View, at, text_at};
use serde_json::{Value, json};

use super::{is_external, needs_health_check};
use crate::registry::checks::*;
use crate::registry::core::endpoints;

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const NOT_EXTERNAL_NAME: &str = "may not be set for ExternalName services";
const ONCE: &str = "may not change once set";

/// A new service, or a changed one, by itself.
pub(super) fn validate(service: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let object = View::root(service);
    topology_annotations(&object, &mut errors);
    let spec = object.get("spec");
    let kind = spec.get("type");
    let headless = is_headless(&spec);
    if spec.get("ports").is_empty() && !headless && kind.str() != "ExternalName" {
        errors.push(spec.get("ports").required(""));
    }
    by_type(&spec, headless, &mut errors);
    ports(&spec, &mut errors);
    labels(&spec.get("selector"), &mut errors);
    session_affinity(&spec, &mut errors);
    addresses(service, old, &mut errors);
    let before = View::root(old).get("spec").texts("externalIPs");
    for ip in spec.get("externalIPs").items() {
        let count = errors.len();
        legacy_ip(&ip, &before, &mut errors);
        if errors.len() == count {
            endpoints::address(&ip, &mut errors);
        }
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    required_supported(&kind, &types, &mut errors);
    node_ports(&spec, &mut errors);
    source_ranges(&object, old, &mut errors);
    let allocates = spec.get("allocateLoadBalancerNodePorts");
    if allocates.is_set() && kind.str() != "LoadBalancer" {
        errors.push(allocates.forbidden(ONLY_BALANCED));
    }
    if !allocates.is_set() && kind.str() == "LoadBalancer" {
        errors.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    balancer_class(&spec, &mut errors);
    traffic_policies(&spec, &mut errors);
    errors
}

fn topology_annotations(object: &View, errors: &mut Errors) {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let annotations = object.get("metadata").get("annotations");
    let (mode, hints) = (annotations.key("service.kubernetes.io/topology-mode"), annotations.key(HINTS));
    if mode.is_set() && hints.is_set() && mode.str() != hints.str() {
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(mode.invalid_str(detail));
    }
}

fn is_headless(spec: &View) -> bool {
    spec.texts("clusterIPs") == ["None"]
}

fn by_type(spec: &View, headless: bool, errors: &mut Errors) {
    let kind = spec.text("type");
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let path = spec.path().child("clusterIPs").index(0);
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(Error::invalid(&path, "None", detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.get(field).is_empty() {
                    errors.push(spec.get(field).forbidden(NOT_EXTERNAL_NAME));
                }
            }
            let name = spec.get("externalName");
            let trimmed = name.str().strip_suffix('.').unwrap_or(name.str());
            if trimmed.is_empty() {
                errors.push(name.required(""));
            } else {
                each_at(name.path(), trimmed, content::is_dns1123_subdomain(trimmed), errors);
            }
        }
        _ => {}
    }
}

fn ports(spec: &View, errors: &mut Errors) {
    let list = spec.get("ports").items();
    let mut names = Vec::new();
    for port in &list {
        let name = port.get("name");
        if name.is_empty() {
            if list.len() > 1 {
                errors.push(name.required(""));
            }
        } else {
            dns_label(&name, errors);
            if names.contains(&name.str()) {
                errors.push(name.duplicate());
            }
            names.push(name.str());
        }
        let number = port.get("port");
        each_int(&number, content::is_valid_port_num(number.i64()), errors);
        required_supported(&port.get("protocol"), &PROTOCOLS, errors);
        port_or_name(&port.get("targetPort"), errors);
        if port.has("appProtocol") {
            qualified_name(&port.get("appProtocol"), errors);
        }
    }
}

fn session_affinity(spec: &View, errors: &mut Errors) {
    const MOST: i64 = 86400;
    const WHEN: &str = "when session affinity type is ClientIP";
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    required_supported(&affinity, &["ClientIP", "None"], errors);
    match affinity.str() {
        "ClientIP" => {
            let client = config.get("clientIP");
            let timeout = client.get("timeoutSeconds");
            if let Some(missing) = [&config, &client, &timeout].iter().find(|view| !view.is_set()) {
                errors.push(missing.required(WHEN));
            } else if !(1..=MOST).contains(&timeout.i64()) {
                errors.push(timeout.invalid_int(format!("must be greater than 0 and less than {MOST}")));
            }
        }
        "None" if config.is_set() => {
            errors.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// The fields about addresses, among themselves.
pub(crate) fn addresses(service: &Value, old: &Value, errors: &mut Errors) {
    let spec = View::root(service).get("spec");
    if spec.text("type") == "ExternalName" {
        return;
    }
    let (first, all) = (spec.text("clusterIP"), spec.get("clusterIPs"));
    let list = all.strs();
    if first.is_empty() {
        if !list.is_empty() {
            errors.push(all.invalid("must be empty when `clusterIP` is not specified"));
        }
    } else if list.is_empty() {
        errors.push(all.required(""));
    } else if list.first() != Some(&first) {
        errors.push(all.invalid("first value must match `clusterIP`"));
    }
    let families = spec.get("ipFamilies");
    let mut seen = Vec::new();
    for family in families.items() {
        supported(&family, &["IPv4", "IPv6"], errors);
        if seen.contains(&family.str()) {
            errors.push(family.duplicate());
        }
        seen.push(family.str());
    }
    if spec.has("ipFamilyPolicy") {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        supported(&spec.get("ipFamilyPolicy"), &policies, errors);
    }
    let mut bad = false;
    let before = View::root(old).get("spec").texts("clusterIPs");
    for (index, ip) in all.items().iter().enumerate() {
        if index == 0 && ip.str() == "None" {
            if list.len() > 1 {
                bad = true;
                errors.push(all.invalid("'None' must be the first and only value"));
            }
            continue;
        }
        let count = errors.len();
        legacy_ip(ip, &before, errors);
        bad |= errors.len() > count;
    }
    if list.len() > 2 {
        errors.push(all.invalid("may only hold up to 2 values"));
    }
    if bad {
        return;
    }
    let six = |ip: &str| content::parse_ip_sloppy(ip).is_some_and(|ip| ip.is_ipv6());
    if list.len() > 1 && !(list.iter().any(|ip| six(ip)) && list.iter().any(|ip| !six(ip))) {
        errors.push(all.invalid("may specify no more than one IP for each IP family"));
    }
    if is_headless(&spec) {
        return;
    }
    for ((index, ip), family) in all.items().iter().enumerate().zip(families.strs()) {
        if six(ip.str()) != (family == "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(ip.invalid_str(detail));
        }
    }
}

fn node_ports(spec: &View, errors: &mut Errors) {
    let list = spec.get("ports").items();
    if spec.text("type") == "ClusterIP" {
        for port in list.iter().filter(|port| port.int("nodePort") != 0) {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(port.get("nodePort").forbidden(detail));
        }
    }
    let (mut on_nodes, mut own) = (Vec::new(), Vec::new());
    for port in &list {
        let number = port.int("nodePort");
        let key = (port.text("protocol"), number);
        if number != 0 {
            if on_nodes.contains(&key) {
                errors.push(Error::duplicate(&port.path().child("nodePort"), number));
            }
            on_nodes.push(key);
        }
    }
    for port in &list {
        let key = (port.text("protocol"), port.int("port"));
        if own.contains(&key) {
            // Upstream shows its internal struct.
            let shown = json!({"protocol": key.0, "port": key.1});
            errors.push(Error::duplicate(port.path(), shown));
        }
        own.push(key);
    }
}

fn source_ranges(object: &View, old: &Value, errors: &mut Errors) {
    let spec = object.get("spec");
    let balanced = spec.text("type") == "LoadBalancer";
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let path = spec.path().child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(Error::forbidden(&path, ONLY_BALANCED));
        }
        let old = View::root(old).get("spec");
        let before: Vec<&str> =
            old.texts("loadBalancerSourceRanges").iter().map(|range| range.trim()).collect();
        for (index, range) in ranges.strs().iter().enumerate() {
            errors.extend(content::is_valid_cidr_legacy(&path.index(index), range.trim(), true, &before));
        }
        return;
    }
    let annotation = object.get("metadata").get("annotations").key(SOURCE_RANGES);
    if !annotation.is_set() {
        return;
    }
    if !balanced {
        errors.push(annotation.forbidden(ONLY_BALANCED));
    }
    if text_at(old, &["metadata", "annotations", SOURCE_RANGES]) == annotation.str()
        && !at(old, &["metadata", "annotations", SOURCE_RANGES]).is_null()
    {
        return;
    }
    for range in annotation.str().trim().split(',').filter(|_| !annotation.str().trim().is_empty()) {
        errors.extend(content::is_valid_cidr_legacy(annotation.path(), range.trim(), true, &[]));
    }
}

fn balancer_class(spec: &View, errors: &mut Errors) {
    let class = spec.get("loadBalancerClass");
    if !class.is_set() {
        return;
    }
    if spec.text("type") == "LoadBalancer" {
        qualified_name(&class, errors);
    } else {
        errors.push(class.forbidden(ONLY_BALANCED));
    }
}

fn traffic_policies(spec: &View, errors: &mut Errors) {
    const POLICIES: [&str; 2] = ["Cluster", "Local"];
    let external = spec.get("externalTrafficPolicy");
    if is_external(spec.value()) {
        required_supported(&external, &POLICIES, errors);
    } else if !external.is_empty() {
        errors.push(external.invalid_str("may only be set for externally-accessible services"));
    }
    let port = spec.get("healthCheckNodePort");
    if needs_health_check(spec.value()) {
        if port.i64() == 0 {
            errors.push(port.required(""));
        } else {
            each_int(&port, content::is_valid_port_num(port.i64()), errors);
        }
    } else if port.i64() != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(port.invalid_int(detail));
    }
    let internal = spec.get("internalTrafficPolicy");
    if internal.is_set() {
        supported(&internal, &POLICIES, errors);
    } else if matches!(spec.text("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.push(internal.required(""));
    }
    let distribution = spec.get("trafficDistribution");
    if distribution.is_set() {
        supported(&distribution, &["PreferClose", "PreferSameZone", "PreferSameNode"], errors);
    }
}

/// A change of a service.
pub(super) fn validate_update(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let (new_spec, old_spec) = (View::root(new).get("spec"), View::root(old).get("spec"));
    let external_name = |spec: &View| spec.text("type") == "ExternalName";
    if !external_name(&new_spec) && !external_name(&old_spec) {
        let headless = (is_headless(&new_spec), is_headless(&old_spec));
        if headless != (true, true) {
            list_change(&new_spec, &old_spec, &IPS, &mut errors);
        }
        if headless == (false, false) {
            list_change(&new_spec, &old_spec, &FAMILIES, &mut errors);
        }
    }
    let class = new_spec.get("loadBalancerClass");
    let both_balanced = new_spec.text("type") == "LoadBalancer" && old_spec.text("type") == "LoadBalancer";
    if both_balanced && class.value() != old_spec.raw("loadBalancerClass") {
        errors.push(class.invalid(ONCE));
    }
    balancer_class(&new_spec, &mut errors);
    let port = new_spec.get("healthCheckNodePort");
    if needs_health_check(old_spec.value())
        && needs_health_check(new_spec.value())
        && port.value() != old_spec.raw("healthCheckNodePort")
    {
        errors.push(port.forbidden(IMMUTABLE));
    }
    errors.extend(validate(new, old));
    errors
}

/// A list of one or two entries, of which the second may come and go.
struct Pair {
    field: &'static str,
    one: &'static str,
    secondary: &'static str,
}

const IPS: Pair = Pair { field: "clusterIPs", one: "clusterIP", secondary: "clusterIP" };
const FAMILIES: Pair = Pair { field: "ipFamilies", one: "ipFamily", secondary: "ipFamily" };

fn list_change(new: &View, old: &View, pair: &Pair, errors: &mut Errors) {
    let (view, before, now) = (new.get(pair.field), old.texts(pair.field), new.texts(pair.field));
    let list = || Value::from(now.clone());
    let invalid_at = |index, detail: String| Error::invalid(&view.path().index(index), list(), detail);
    if before.len() == now.len() {
        for (index, (before, now)) in before.iter().zip(&now).enumerate() {
            if before != now {
                let index = if pair.field == "ipFamilies" { 0 } else { index };
                errors.push(invalid_at(index, ONCE.to_owned()));
            }
        }
        return;
    }
    if before.len() > now.len() && now.is_empty() {
        errors.push(invalid_at(0, format!("primary {} can not be unset", pair.one)));
    }
    if let (Some(first_before), Some(first_now)) = (before.first(), now.first())
        && first_before != first_now
    {
        errors.push(invalid_at(0, ONCE.to_owned()));
    }
    let policy = new.get("ipFamilyPolicy");
    if before.len() > now.len() && now.len() == 1 && policy.str() != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {}", pair.secondary);
        errors.push(policy.invalid(detail));
    }
}

/// A change of a service's status.
pub(super) fn validate_status(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let balancer = View::root(new).get("status").get("loadBalancer");
    let before = View::root(old).get("status").get("loadBalancer");
    let ingress = balancer.get("ingress");
    if text_at(new, &["spec", "type"]) != "LoadBalancer" && !ingress.is_empty() {
        errors.push(ingress.forbidden("may only be used when `spec.type` is 'LoadBalancer'"));
        return errors;
    }
    load_balancer(&balancer, &before, &mut errors);
    errors
}

fn load_balancer(status: &View, old: &View, errors: &mut Errors) {
    let old: Vec<View> = old.get("ingress").items();
    let before: Vec<&str> =
        old.iter().map(|ingress| ingress.text("ip")).filter(|ip| !ip.is_empty()).collect();
    for ingress in status.get("ingress").items() {
        let (ip, mode, name) = (ingress.get("ip"), ingress.get("ipMode"), ingress.get("hostname"));
        if !ip.is_empty() {
            legacy_ip(&ip, &before, errors);
        }
        if !mode.is_set() {
            if !ip.is_empty() {
                errors.push(mode.required("must be specified when `ip` is set"));
            }
        } else if ip.is_empty() {
            errors.push(mode.forbidden("may not be specified when `ip` is not set"));
        } else {
            supported(&mode, &["Proxy", "VIP"], errors);
        }
        host_name(&name, errors);
    }
}

/// A host name of a load balancer, which is no address.
pub(crate) fn host_name(name: &View, errors: &mut Errors) {
    if name.is_empty() {
        return;
    }
    dns_subdomain(name, errors);
    if content::parse_ip_sloppy(name.str()).is_some() {
        errors.push(name.invalid_str("must be a DNS name, not an IP address"));
    }
}
