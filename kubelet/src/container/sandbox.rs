//! What a pod's sandbox is made from.

use super::security;
use crate::api::{Container, Pod, PodView};
use crate::resources;
use crate::runtime::labels;
use proto::cri;
use std::path::Path;

/// What isn't in the pod's spec.
pub struct Inputs<'a> {
    /// The resolver settings.
    pub dns: cri::DNSConfig,
    /// The kernel's host name for the pod; unused on the node's network.
    pub hostname: String,
    /// The directory of all logs.
    pub log_root: &'a Path,
    /// The pod's cgroup.
    pub cgroup_parent: String,
    /// The pod's user namespace, if it has one of its own.
    pub userns: Option<cri::UserNamespace>,
    /// Settings for resources.
    pub limits: &'a super::limits::Settings,
}

/// Builds the configuration of sandbox number `attempt`.
pub fn config(pod: &Pod, attempt: u32, inputs: Inputs<'_>) -> Result<cri::PodSandboxConfig, String> {
    let metadata = cri::PodSandboxMetadata {
        name: pod.name().into(),
        uid: pod.uid().into(),
        namespace: pod.namespace().into(),
        attempt,
    };
    let sysctls = pod.spec().security_context.as_ref().and_then(|s| s.sysctls.as_ref());
    // The runtime wants dots between the parts of a name, the API allows slashes as well.
    let sysctls = sysctls.into_iter().flatten().map(|s| (dotted(&s.name), s.value.clone())).collect();
    Ok(cri::PodSandboxConfig {
        metadata: Some(metadata),
        hostname: if pod.host_network() { String::new() } else { inputs.hostname },
        log_directory: crate::logs::paths::pod_directory(inputs.log_root, pod).to_string_lossy().into_owned(),
        dns_config: Some(inputs.dns),
        port_mappings: pod.containers().iter().flat_map(port_mappings).collect(),
        labels: labels::sandbox_labels(pod),
        annotations: pod.metadata.annotations.clone().unwrap_or_default(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent: inputs.cgroup_parent,
            security_context: Some(security::sandbox(pod, inputs.userns)?),
            sysctls,
            overhead: Some(totals(&resources::parse(pod.spec().overhead.as_ref()), inputs.limits)),
            resources: Some(pod_totals(pod, inputs.limits)),
        }),
    })
}

/// `a/b.c` and `a.b/c` name the same thing: the first separator tells which one it is.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(i) if name.as_bytes().get(i) == Some(&b'/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                c => c,
            })
            .collect(),
        _ => name.to_string(),
    }
}

fn totals(list: &resources::List, settings: &super::limits::Settings) -> cri::LinuxContainerResources {
    let cpu = resources::milli(list, "cpu");
    let mut out = cri::LinuxContainerResources {
        cpu_shares: super::limits::shares(cpu),
        memory_limit_in_bytes: resources::value(list, "memory"),
        ..Default::default()
    };
    if settings.cpu_quota && cpu > 0 {
        out.cpu_period = settings.cpu_period;
        out.cpu_quota = super::limits::quota(cpu, settings.cpu_period);
    }
    out
}

fn pod_totals(pod: &Pod, settings: &super::limits::Settings) -> cri::LinuxContainerResources {
    let mut out = totals(&resources::pod_limits(pod), settings);
    out.cpu_shares = super::limits::shares(resources::milli(&resources::pod_requests(pod), "cpu"));
    out
}

fn port_mappings(container: &Container) -> Vec<cri::PortMapping> {
    let ports = container.ports.iter().flatten();
    let mapping = |p: &k8s_openapi::api::core::v1::ContainerPort| cri::PortMapping {
        protocol: match p.protocol.as_deref() {
            Some("UDP") => cri::Protocol::Udp,
            Some("SCTP") => cri::Protocol::Sctp,
            _ => cri::Protocol::Tcp,
        } as i32,
        container_port: p.container_port,
        host_port: p.host_port.unwrap_or(0),
        host_ip: p.host_ip.clone().unwrap_or_default(),
    };
    ports.map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::dotted;

    #[test]
    fn sysctl_names() {
        assert_eq!(dotted("net/ipv4/conf/eth0.1/x"), "net.ipv4.conf.eth0/1.x");
        assert_eq!(dotted("kernel.shm_rmid_forced"), "kernel.shm_rmid_forced");
    }
}
