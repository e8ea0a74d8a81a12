//! The group networking.k8s.io: ingresses, network policies, and the addresses of services.

use serde_json::{Value, json};

use super::defaults::{each, fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "networking.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "ingressclasses", "IngressClass")
        .cluster()
        .default(ingress_class_defaults)
        .hooks(strategy::generation_only())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "ingresses", "Ingress")
        .short(&["ing"])
        .prefix("ingress")
        .hooks(strategy::with_generation())
        .status(strategy::status())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "ipaddresses", "IPAddress")
        .cluster()
        .short(&["ip"])
        .hooks(Hooks::default())
        .also("v1beta1")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "networkpolicies", "NetworkPolicy")
        .short(&["netpol"])
        .default(network_policy_defaults)
        .hooks(strategy::generation_only())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "servicecidrs", "ServiceCIDR")
        .cluster()
        .hooks(strategy::with_status())
        .status(strategy::status_only())
        .also("v1beta1")
        .install(builder, enabled);
}

fn ingress_class_defaults(object: &mut Value) {
    within(object, "spec", |spec| {
        within(spec, "parameters", |parameters| fill(parameters, "scope", "Cluster"));
    });
}

fn network_policy_defaults(object: &mut Value) {
    inside(object, "spec", |spec| {
        let types =
            if spec.get("egress").is_some() { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        fill(spec, "policyTypes", types);
        for list in ["ingress", "egress"] {
            each(spec, list, |rule| each(rule, "ports", |port| fill(port, "protocol", "TCP")));
        }
    });
}
