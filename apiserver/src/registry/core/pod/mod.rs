//! Pods: the rows, what may be written when, and the subresources.

mod binding;
mod containers;
mod env;
mod eviction;
pub(crate) mod level;
mod options;
mod probes;
mod qos;
mod resize;
pub(crate) mod resources;
pub(crate) mod scheduling;
mod security;
pub(crate) mod sources;
pub(crate) mod spec;
mod status;
mod status_resources;
mod strategy;
mod update;
mod volumes;
pub(crate) mod warnings;

use proto::field::Errors;
use proto::view::{View, at, text_at};

pub(crate) use options::{Options, of_template};

use super::kind;
use crate::registry::defaults;
use crate::registry::kind::{Enabled, Kind};
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
        .selectable_by("status.podIP", &["status.podIPs.ip"], |pod| {
            let first = at(pod, &["status", "podIPs"]).get(0);
            first.map(|ip| text_at(ip, &["ip"]).to_owned()).unwrap_or_default()
        })
        .default(defaults::pod)
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
    Kind::posted("", "v1", "bindings", "Binding", binding::create).install(builder, enabled);
}

/// The containers of a pod spec with their paths, in the order upstream visits them.
pub(super) fn containers<'a>(spec: &View<'a>) -> Vec<View<'a>> {
    ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|field| spec.get(field).items())
        .collect()
}

/// What is wrong with a new pod.
fn validate(pod: &View) -> Errors {
    let mut errors = Errors::new();
    let spec = pod.get("spec");
    let options = Options { is_pod: true, ..Options::default() };
    spec::pod(pod, &options, &mut errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("cannot be set on create"));
    }
    let node = spec.get("nodeName");
    if !node.is_empty() && !spec.get("schedulingGates").is_empty() {
        errors.push(node.forbidden("cannot be set until all schedulingGates have been cleared"));
    }
    security::annotations_match(&pod.get("metadata"), &spec, &containers(&spec), &mut errors);
    errors
}
