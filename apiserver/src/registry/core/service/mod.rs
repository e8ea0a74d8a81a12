//! Services: stable addresses in front of pods.

mod addresses;
mod validation;

use proto::view::{View, at, int_at, set_at, text_at};
use serde_json::{Value, json};

use super::kind;
use crate::allocator;
use crate::registry::defaults::{each, fill, inside, within};
use crate::registry::kind::Enabled;
use crate::registry::strategy::{drop_status, keep};
use crate::registry::{Builder, Connect, Hooks, Verbs, strategy, warnings};

pub(crate) use validation::addresses as validate_addresses;

const CLIENT_IP_TIMEOUT: i64 = 3 * 3600;

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    let proxy = Verbs::CREATE | Verbs::DELETE | Verbs::GET | Verbs::PATCH | Verbs::UPDATE;
    kind("services", "Service")
        .short(&["svc"])
        .category("all")
        .prefix("services/specs")
        .selectable(&["spec.clusterIP", "spec.type"])
        .default(defaults)
        .hooks(Hooks {
            prepare_create: |_, new| drop_status(new),
            prepare_update: |_, new, old| {
                keep(new, old, &["status"]);
                drop_fields_of_old_type(new, old);
            },
            validate: |_, new| validation::validate(new, &Value::Null),
            validate_update: |_, new, old| validation::validate_update(new, old),
            warnings: |_, new| warnings(new),
            warnings_update: |_, new, _| warnings(new),
            validate_name: strategy::label_name,
            decorate: Some(addresses::from_old_versions),
            begin: Some(allocator::service::begin),
            after_delete: Some(allocator::service::after_delete),
            allow_create_on_update: true,
            return_deleted: true,
            ..strategy::with_status()
        })
        .connect("proxy", Some("ServiceProxyOptions"), proxy, Connect::ServiceProxy)
        .status(Hooks {
            validate_update: |_, new, old| validation::validate_status(new, old),
            ..strategy::status()
        })
        .install(builder, enabled);
}

fn warnings(service: &Value) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let (metadata, spec) = (View::root(service).get("metadata"), View::root(service).get("spec"));
    let mut out = Vec::new();
    if metadata.get("annotations").key(HINTS).is_set() {
        out.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let external_name = spec.text("type") == "ExternalName";
    let headless = spec.text("type") == "ClusterIP" && spec.text("clusterIP") == "None";
    let externals = spec.get("externalIPs");
    if !external_name && !headless {
        let ips = spec.get("clusterIPs").items();
        out.extend(ips.iter().flat_map(|ip| warnings::ip(ip.path(), ip.str())));
    }
    if headless {
        let ignored = [
            (!spec.text("loadBalancerIP").is_empty(), "loadBalancerIP"),
            (!externals.is_empty(), "externalIPs"),
            (spec.text("sessionAffinity") != "None", "SessionAffinity"),
        ];
        let given = ignored.iter().filter(|(given, _)| *given);
        out.extend(given.map(|(_, field)| format!("spec.{field} is ignored for headless services")));
    }
    out.extend(externals.items().iter().flat_map(|ip| warnings::ip(ip.path(), ip.str())));
    if !externals.is_empty() && !headless && !external_name {
        out.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    let balancer = spec.get("loadBalancerIP");
    out.extend(warnings::ip(balancer.path(), balancer.str()));
    let ranges = spec.get("loadBalancerSourceRanges").items();
    out.extend(ranges.iter().flat_map(|range| warnings::cidr(range.path(), range.str())));
    if external_name && !externals.is_empty() {
        out.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external_name && !spec.text("externalName").is_empty() {
        out.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec.text("trafficDistribution") == "PreferClose" {
        out.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned(),
        );
    }
    out
}

fn defaults(object: &mut Value) {
    let mut balanced = false;
    inside(object, "spec", |spec| {
        fill(spec, "sessionAffinity", "None");
        match text_at(spec, &["sessionAffinity"]) {
            "None" => set_at(spec, &["sessionAffinityConfig"], Value::Null),
            "ClientIP" if at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).is_null() => {
                let config = json!({"clientIP": {"timeoutSeconds": CLIENT_IP_TIMEOUT}});
                set_at(spec, &["sessionAffinityConfig"], config);
            }
            _ => {}
        }
        fill(spec, "type", "ClusterIP");
        each(spec, "ports", |port| {
            fill(port, "protocol", "TCP");
            let target = port.get("targetPort");
            if target.is_none_or(|target| target == 0 || target == "") {
                let number = port.get("port").cloned().unwrap_or(Value::from(0));
                set_at(port, &["targetPort"], number);
            }
        });
        let kind = text_at(spec, &["type"]).to_owned();
        if is_external(spec) {
            fill(spec, "externalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
            fill(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            balanced = true;
            fill(spec, "allocateLoadBalancerNodePorts", true);
        }
    });
    if balanced {
        within(object, "status", |status| {
            within(status, "loadBalancer", |balancer| {
                each(balancer, "ingress", |ingress| {
                    if !text_at(ingress, &["ip"]).is_empty() {
                        fill(ingress, "ipMode", "VIP");
                    }
                });
            });
        });
    }
}

/// Whether traffic from outside the cluster reaches a service with this spec.
pub(crate) fn is_external(spec: &Value) -> bool {
    let external_ips = !at(spec, &["externalIPs"]).is_null();
    match text_at(spec, &["type"]) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => external_ips,
        _ => false,
    }
}

/// Whether a load balancer asks the nodes if they have endpoints.
pub(crate) fn needs_health_check(spec: &Value) -> bool {
    text_at(spec, &["type"]) == "LoadBalancer" && text_at(spec, &["externalTrafficPolicy"]) == "Local"
}

/// Whether a service with this spec has addresses of its own.
pub(crate) fn needs_cluster_ip(spec: &Value) -> bool {
    text_at(spec, &["type"]) != "ExternalName"
}

/// Whether a service of this type has ports on nodes.
fn has_node_ports(spec: &Value) -> bool {
    matches!(text_at(spec, &["type"]), "NodePort" | "LoadBalancer")
}

/// The ports on nodes that a spec names.
pub(crate) fn node_ports(spec: &Value) -> Vec<i64> {
    let ports = View::root(spec).get("ports").items();
    ports.iter().map(|port| port.int("nodePort")).filter(|port| *port != 0).collect()
}

/// When only the type changes, what belonged to the old type goes with it.
fn drop_fields_of_old_type(new: &mut Value, old: &Value) {
    let old = at(old, &["spec"]).clone();
    let Some(spec) = new.get_mut("spec") else { return };
    let same = |spec: &Value, field: &str| at(spec, &[field]) == at(&old, &[field]);
    if needs_cluster_ip(&old) && !needs_cluster_ip(spec) {
        if same(spec, "clusterIP") && same(spec, "clusterIPs") {
            set_at(spec, &["clusterIP"], Value::Null);
            set_at(spec, &["clusterIPs"], Value::Null);
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if same(spec, field) {
                set_at(spec, &[field], Value::Null);
            }
        }
    }
    if has_node_ports(&old) && !has_node_ports(spec) {
        let before = node_ports(&old);
        if node_ports(spec).iter().all(|port| before.contains(port)) {
            each(spec, "ports", |port| set_at(port, &["nodePort"], Value::Null));
        }
    }
    let dependent: [(&str, fn(&Value) -> bool); 4] = [
        ("healthCheckNodePort", needs_health_check),
        ("allocateLoadBalancerNodePorts", is_balanced),
        ("loadBalancerClass", is_balanced),
        ("externalTrafficPolicy", is_external),
    ];
    for (field, applies) in dependent {
        if applies(&old) && !applies(spec) && same(spec, field) {
            set_at(spec, &[field], Value::Null);
        }
    }
    if !is_balanced(spec) {
        set_at(new, &["status", "loadBalancer"], Value::Null);
        if new.get("status").is_some_and(proto::view::is_empty) {
            set_at(new, &["status"], Value::Null);
        }
    }
}

fn is_balanced(spec: &Value) -> bool {
    text_at(spec, &["type"]) == "LoadBalancer"
}

/// The port that a load balancer asks, or 0.
pub(crate) fn health_check_port(spec: &Value) -> i64 {
    if needs_health_check(spec) { int_at(spec, &["healthCheckNodePort"]) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_service_gets_its_defaults() {
        let mut object = json!({"spec": {"ports": [{"port": 80}]}});
        defaults(&mut object);
        assert_eq!(
            object["spec"],
            json!({
                "type": "ClusterIP",
                "sessionAffinity": "None",
                "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            })
        );
    }

    #[test]
    fn node_ports_go_with_their_type() {
        let old = json!({"spec": {"type": "NodePort", "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 30000}]}});
        let mut new = old.clone();
        new["spec"]["type"] = json!("ClusterIP");
        drop_fields_of_old_type(&mut new, &old);
        assert_eq!(new["spec"], json!({"type": "ClusterIP", "ports": [{"port": 80}]}));
    }
}
