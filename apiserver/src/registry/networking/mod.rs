//! The group networking.k8s.io: ingresses, network policies, and the addresses of services.

use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "networking.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "ingressclasses", "IngressClass")
        .cluster()
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
        .hooks(strategy::generation_only())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "servicecidrs", "ServiceCIDR")
        .cluster()
        .hooks(strategy::with_status())
        .status(strategy::status_only())
        .also("v1beta1")
        .install(builder, enabled);
}
