//! The group networking.k8s.io: ingresses, network policies, and the addresses of services.

mod address;
mod ingress;
mod policy;

use super::Builder;
use super::kind::{Enabled, Kind};

const GROUP: &str = "networking.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "ingressclasses", "IngressClass")
        .cluster()
        .default(ingress::class_defaults)
        .hooks(ingress::class())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "ingresses", "Ingress")
        .short(&["ing"])
        .prefix("ingress")
        .hooks(ingress::ingress())
        .status(ingress::status())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "ipaddresses", "IPAddress")
        .cluster()
        .short(&["ip"])
        .hooks(address::address())
        .also("v1beta1")
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "networkpolicies", "NetworkPolicy")
        .short(&["netpol"])
        .default(policy::defaults)
        .hooks(policy::policy())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "servicecidrs", "ServiceCIDR")
        .cluster()
        .hooks(address::range())
        .status(super::strategy::status_only())
        .also("v1beta1")
        .install(builder, enabled);
}
