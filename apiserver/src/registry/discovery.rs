//! The group discovery.k8s.io: endpoint slices.

use proto::content;
use proto::field::{Error, Errors};
use proto::view::{View, at, text_at};
use serde_json::Value;

use super::checks::*;
use super::core::endpoints::address;
use super::defaults::{each as each_item, fill};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy, warnings};
use crate::engine::meta;

const GROUP: &str = "discovery.k8s.io";

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The controllers of the cluster itself, whose addresses are well formed.
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "endpointslices", "EndpointSlice")
        .default(|object| {
            each_item(object, "ports", |port| {
                fill(port, "name", "");
                fill(port, "protocol", "TCP");
            });
        })
        .hooks(Hooks {
            prepare_create: |_, new| {
                strategy::first_generation(new);
                drop_topology(new, &Value::Null);
            },
            prepare_update: |_, new, old| {
                let labels = ["metadata", "labels"];
                if at(new, &labels) != at(old, &labels) {
                    meta::raise_generation(new, meta::generation(old));
                } else {
                    strategy::count_changes(new, old, &["addressType", "endpoints", "ports"]);
                }
                if new["endpoints"] != old["endpoints"] {
                    drop_topology(new, old);
                }
            },
            validate: |_, new| validate(new, &Value::Null),
            validate_update: |_, new, old| {
                let mut errors = validate(new, old);
                let kind = |slice| View::root(slice).get("addressType");
                immutable_str(&kind(new), &kind(old), &mut errors);
                errors
            },
            warnings: |_, new| {
                let mut warnings = Vec::new();
                if text_at(new, &["addressType"]) == "FQDN" {
                    warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
                }
                warnings.extend(odd_addresses(new));
                warnings
            },
            warnings_update: |_, new, _| odd_addresses(new),
            ..Hooks::default()
        })
        .install(builder, enabled);
}

/// Topology is of an older version. Where it named the node before, the node's name stays known.
fn drop_topology(new: &mut Value, old: &Value) {
    const HOST: [&str; 2] = ["deprecatedTopology", "kubernetes.io/hostname"];
    let before: Vec<&str> =
        old["endpoints"].as_array().into_iter().flatten().map(|endpoint| text_at(endpoint, &HOST)).collect();
    each_item(new, "endpoints", |endpoint| {
        let node = text_at(endpoint, &HOST).to_owned();
        if !node.is_empty()
            && before.contains(&node.as_str())
            && content::is_dns1123_subdomain(&node).is_empty()
        {
            fill(endpoint, "nodeName", node);
        }
        proto::view::remove_at(endpoint, &["deprecatedTopology"]);
    });
}

fn odd_addresses(slice: &Value) -> Vec<String> {
    if CONTROLLERS.contains(&text_at(slice, &["metadata", "labels", MANAGED_BY])) {
        return Vec::new();
    }
    let endpoints = View::root(slice).get("endpoints").items();
    let addresses = endpoints.iter().flat_map(|endpoint| endpoint.get("addresses").items());
    addresses.flat_map(|address| warnings::ip(address.path(), address.str())).collect()
}

fn validate(new: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    let slice = View::root(new);
    required_supported(&slice.get("addressType"), &["FQDN", "IPv4", "IPv6"], &mut errors);
    ports(&slice.get("ports"), &mut errors);
    // Endpoints that were there before may have been good once.
    if old.is_null() || old["endpoints"] != new["endpoints"] {
        endpoints(&slice.get("endpoints"), slice.text("addressType"), &mut errors);
    }
    errors
}

fn too_many(list: &View, limit: usize, errors: &mut Errors) -> bool {
    let over = list.len() > limit;
    if over {
        errors.push(Error::too_many(list.path(), list.len(), limit));
    }
    over
}

fn unique<'a>(view: &View<'a>, seen: &mut Vec<&'a str>, errors: &mut Errors) {
    if seen.contains(&view.str()) {
        errors.push(Error::duplicate(view.path(), view.str()));
    } else {
        seen.push(view.str());
    }
}

fn ports(list: &View, errors: &mut Errors) {
    if too_many(list, 20000, errors) {
        return;
    }
    let mut names = Vec::new();
    for port in list.items() {
        let (name, protocol, app) = (port.get("name"), port.get("protocol"), port.get("appProtocol"));
        if !name.is_empty() {
            dns_label(&name, errors);
        }
        unique(&name, &mut names, errors);
        if protocol.is_set() {
            supported(&protocol, &["SCTP", "TCP", "UDP"], errors);
        } else {
            errors.push(protocol.required(""));
        }
        if app.is_set() {
            qualified_name(&app, errors);
        }
    }
}

fn endpoints(list: &View, kind: &str, errors: &mut Errors) {
    if too_many(list, 1000, errors) {
        return;
    }
    for endpoint in list.items() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            errors.push(addresses.required("must contain at least 1 address"));
        } else {
            too_many(&addresses, 100, errors);
        }
        for item in addresses.items() {
            endpoint_address(&item, &addresses, kind, errors);
        }
        let (node, host) = (endpoint.get("nodeName"), endpoint.get("hostname"));
        if node.is_set() {
            dns_subdomain(&node, errors);
        }
        let topology = endpoint.get("deprecatedTopology");
        too_many(&topology, 16, errors);
        labels(&topology, errors);
        if host.is_set() {
            dns_label(&host, errors);
        }
        hints(&endpoint.get("hints"), errors);
    }
}

fn endpoint_address(item: &View, list: &View, kind: &str, errors: &mut Errors) {
    let before = errors.len();
    let v4 = match kind {
        "IPv4" => {
            legacy_ip(item, &[], errors);
            true
        }
        "IPv6" => {
            errors.extend(content::is_valid_ip(item.path(), item.str()));
            false
        }
        "FQDN" => return domain_name(item, errors),
        _ => return,
    };
    if errors.len() > before {
        return;
    }
    if content::parse_ip_sloppy(item.str()).is_some_and(|ip| ip.is_ipv4() != v4) {
        errors.push(Error::invalid(list.path(), item.str(), format!("must be an {kind} address")));
    }
    address(item, errors);
}

/// A domain name of at least two labels.
fn domain_name(view: &View, errors: &mut Errors) {
    if !required(view, errors) {
        return;
    }
    let name = view.str().strip_suffix('.').unwrap_or(view.str());
    let wrong = |value: &str, detail: String| Error::invalid(view.path(), value, detail);
    let messages = content::is_dns1123_subdomain(name);
    if !messages.is_empty() {
        errors.push(wrong(name, messages.join(",")));
    } else if !name.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(wrong(name, detail.to_owned()));
    } else {
        let bad = |label: &&str| !content::is_dns1123_label(label).is_empty();
        if let Some(label) = name.split('.').find(bad) {
            errors.push(wrong(label, content::is_dns1123_label(label).join(",")));
        }
    }
}

fn hints(hints: &View, errors: &mut Errors) {
    type Check = fn(&str) -> Vec<String>;
    let lists: [(&'static str, Check); 2] =
        [("forZones", content::is_label_value), ("forNodes", content::is_dns1123_subdomain)];
    for (field, check) in lists {
        let list = hints.get(field);
        if too_many(&list, 8, errors) {
            return;
        }
        let mut names = Vec::new();
        for hint in list.items() {
            let name = hint.get("name");
            unique(&name, &mut names, errors);
            each(&name, check(name.str()), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(kind: &str, endpoint: Value) -> Vec<String> {
        let slice = json!({"addressType": kind, "endpoints": [endpoint]});
        validate(&slice, &Value::Null).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn addresses_are_of_the_type() {
        let none: [&str; 0] = [];
        assert_eq!(texts("IPv4", json!({"addresses": ["10.0.0.1"]})), none);
        assert_eq!(
            texts("IPv4", json!({"addresses": ["2001:db8::1"]})),
            ["endpoints[0].addresses: Invalid value: \"2001:db8::1\": must be an IPv4 address"]
        );
        assert_eq!(
            texts("FQDN", json!({"addresses": ["a"]})),
            [
                "endpoints[0].addresses[0]: Invalid value: \"a\": should be a domain with at least two segments separated by dots"
            ]
        );
        assert_eq!(
            texts("IPv4", json!({})),
            ["endpoints[0].addresses: Required value: must contain at least 1 address"]
        );
    }

    #[test]
    fn a_node_that_was_known_by_topology_stays_known() {
        let topology = json!({"kubernetes.io/hostname": "n1"});
        let old = json!({"endpoints": [{"deprecatedTopology": topology}]});
        let mut new = old.clone();
        drop_topology(&mut new, &old);
        assert_eq!(new, json!({"endpoints": [{"nodeName": "n1"}]}));
        let mut new = old.clone();
        drop_topology(&mut new, &Value::Null);
        assert_eq!(new, json!({"endpoints": [{}]}));
    }
}
