//! Defaults of pods that didn't pass the API server.

use crate::api::{Container, Pod};
use serde_json::Value;

/// Fills in what the API server would.
pub fn apply(value: Value) -> Result<Pod, serde_json::Error> {
    let mut value = value;
    if let Some(schema) = proto::schema::lookup("", "v1", "Pod") {
        proto::schema::default(&mut value, schema);
    }
    let mut pod: Pod = serde_json::from_value(value)?;
    let spec = pod.spec.get_or_insert_default();
    spec.enable_service_links.get_or_insert(true);
    spec.restart_policy.get_or_insert_with(|| "Always".into());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".into());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context.get_or_insert_default();
    spec.scheduler_name.get_or_insert_with(|| "default-scheduler".into());
    let host_network = spec.host_network == Some(true);
    let init = spec.init_containers.iter_mut().flatten();
    for c in spec.containers.iter_mut().chain(init) {
        container(c, host_network);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(v) = &mut volume.config_map {
            v.default_mode.get_or_insert(0o644);
        }
        if let Some(v) = &mut volume.secret {
            v.default_mode.get_or_insert(0o644);
        }
        if let Some(v) = &mut volume.host_path {
            v.type_.get_or_insert_default();
        }
    }
    Ok(pod)
}

fn container(c: &mut Container, host_network: bool) {
    let image = c.image.clone().unwrap_or_default();
    let latest = match crate::images::name::parse(&image) {
        Ok(name) => name.digest.is_none() && name.tag.unwrap_or("latest") == "latest",
        Err(_) => false,
    };
    let policy = if latest { "Always" } else { "IfNotPresent" };
    c.image_pull_policy.get_or_insert_with(|| policy.into());
    c.termination_message_path.get_or_insert_with(|| "/dev/termination-log".into());
    c.termination_message_policy.get_or_insert_with(|| "File".into());
    for port in c.ports.iter_mut().flatten() {
        port.protocol.get_or_insert_with(|| "TCP".into());
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    if let Some(resources) = &mut c.resources
        && let Some(limits) = resources.limits.clone()
    {
        let requests = resources.requests.get_or_insert_default();
        for (name, limit) in limits {
            requests.entry(name).or_insert(limit);
        }
    }
    for probe in [&mut c.startup_probe, &mut c.readiness_probe, &mut c.liveness_probe].into_iter().flatten() {
        probe.timeout_seconds.get_or_insert(1);
        probe.period_seconds.get_or_insert(10);
        probe.success_threshold.get_or_insert(1);
        probe.failure_threshold.get_or_insert(3);
        if let Some(get) = &mut probe.http_get {
            get.scheme.get_or_insert_with(|| "HTTP".into());
            get.path.get_or_insert_with(|| "/".into());
        }
    }
}
