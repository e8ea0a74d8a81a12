//! Endpoints: the addresses behind a service, in their first form.

use std::net::IpAddr;

use proto::content;
use proto::field::Errors;
use proto::view::View;
use serde_json::Value;

use super::kind;
use crate::registry::checks::*;
use crate::registry::defaults::{each as each_item, fill};
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Hooks};

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    kind("endpoints", "Endpoints")
        .singular("endpoints")
        .short(&["ep"])
        .prefix("services/endpoints")
        .default(|object| {
            each_item(object, "subsets", |subset| {
                each_item(subset, "ports", |port| fill(port, "protocol", "TCP"));
            });
        })
        .hooks(Hooks {
            validate: |_, new| validate(new),
            validate_update: |_, new, old| {
                let mut errors = validate(new);
                // What was wrong before may stay as it is.
                if new.get("subsets") == old.get("subsets") {
                    errors.retain(|error| !error.path.starts_with("subsets"));
                }
                errors
            },
            allow_create_on_update: true,
            ..Hooks::default()
        })
        .install(builder, enabled);
}

fn validate(object: &Value) -> Errors {
    let mut errors = Errors::new();
    let view = View::root(object);
    for subset in view.get("subsets").items() {
        let (ready, not_ready) = (subset.get("addresses"), subset.get("notReadyAddresses"));
        if ready.is_empty() && not_ready.is_empty() {
            errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for entry in ready.items().iter().chain(&not_ready.items()) {
            endpoint(entry, &mut errors);
        }
        let ports = subset.get("ports").items();
        for entry in &ports {
            port(entry, ports.len() > 1, &mut errors);
        }
    }
    errors
}

fn endpoint(entry: &View, errors: &mut Errors) {
    legacy_ip(&entry.get("ip"), &[], errors);
    if !entry.get("hostname").is_empty() {
        dns_label(&entry.get("hostname"), errors);
    }
    if entry.has("nodeName") {
        dns_subdomain(&entry.get("nodeName"), errors);
    }
    address(&entry.get("ip"), errors);
}

fn port(port: &View, named: bool, errors: &mut Errors) {
    let name = port.get("name");
    if !name.is_empty() {
        dns_label(&name, errors);
    } else if named {
        errors.push(name.required(""));
    }
    let number = port.get("port");
    each_int(&number, content::is_valid_port_num(number.i64()), errors);
    required_supported(&port.get("protocol"), &["SCTP", "TCP", "UDP"], errors);
    if port.has("appProtocol") {
        qualified_name(&port.get("appProtocol"), errors);
    }
}

/// An address that traffic can be sent to from another host.
pub(crate) fn address(view: &View, errors: &mut Errors) {
    let text = view.str();
    let Some(ip) = content::parse_ip_sloppy(text) else {
        errors.push(view.invalid_str("must be a valid IP address"));
        return;
    };
    if ip.is_unspecified() {
        errors.push(view.invalid_str(format!("may not be unspecified ({text})")));
    }
    if ip.is_loopback() {
        errors.push(view.invalid_str("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    let (link_local, multicast) = match ip {
        IpAddr::V4(v4) => {
            let octets = v4.octets();
            (v4.is_link_local(), octets[0] == 224 && octets[1] == 0 && octets[2] == 0)
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            (first & 0xffc0 == 0xfe80, first & 0xff0f == 0xff02)
        }
    };
    if link_local {
        errors.push(view.invalid_str("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if multicast {
        let detail = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
        errors.push(view.invalid_str(detail));
    }
}
