//! Pods: the rows, what may be written when, and the subresources.

mod binding;
mod eviction;
mod qos;
mod strategy;

use proto::view::{at, text_at};

use super::kind;
use crate::registry::kind::Enabled;
use crate::registry::{Builder, Connect, Subresource, Verbs};

pub(super) fn install(builder: &mut Builder, enabled: Enabled) {
    let connect = Verbs::CREATE | Verbs::GET;
    let proxy = Verbs::CREATE | Verbs::DELETE | Verbs::GET | Verbs::PATCH | Verbs::UPDATE;
    kind("pods", "Pod")
        .short(&["po"])
        .category("all")
        .selectable(&[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.nominatedNodeName",
        ])
        .selectable_or("spec.hostNetwork", "false")
        .selectable_by("status.podIP", |pod| {
            let first = at(pod, &["status", "podIPs"]).get(0);
            first.map(|ip| text_at(ip, &["ip"]).to_owned()).unwrap_or_default()
        })
        .hooks(strategy::pod())
        .connect("attach", Some("PodAttachOptions"), connect, Connect::PodAttach)
        .subresource(Subresource::create("binding", "", "v1", "Binding", binding::create))
        .subresource(Subresource::object("ephemeralcontainers", strategy::ephemeral_containers()))
        .subresource(Subresource::create("eviction", "policy", "v1", "Eviction", eviction::create))
        .connect("exec", Some("PodExecOptions"), connect, Connect::PodExec)
        .connect("log", None, Verbs::GET, Connect::PodLog)
        .connect("portforward", Some("PodPortForwardOptions"), connect, Connect::PodPortForward)
        .connect("proxy", Some("PodProxyOptions"), proxy, Connect::PodProxy)
        .subresource(Subresource::object("resize", strategy::resize()))
        .status(strategy::status())
        .install(builder, enabled);
    crate::registry::kind::Kind::posted("", "v1", "bindings", "Binding", binding::create)
        .install(builder, enabled);
}

/// The containers of a pod spec with their paths, in the order upstream visits them.
pub(super) fn containers<'a>(spec: &proto::view::View<'a>) -> Vec<proto::view::View<'a>> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|field| spec.get(field).items())
        .collect()
}
