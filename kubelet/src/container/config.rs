//! What a container is made from.

use super::expand::expand;
use super::security::{self, ImageUser};
use super::{limits, mounts};
use crate::api::{Container, Pod, PodView};
use crate::logs::paths;
use crate::runtime::labels;
use proto::cri;
use std::collections::BTreeMap;

/// What isn't in the spec.
pub struct Inputs<'a> {
    /// The image as the runtime knows it.
    pub image_ref: &'a str,
    /// The user the image asks for.
    pub image_user: &'a ImageUser,
    /// The place in the series of restarts.
    pub restart_count: u32,
    /// The environment.
    pub env: &'a BTreeMap<String, String>,
    /// What mounts need.
    pub mounts: mounts::Inputs<'a>,
    /// The container whose processes an ephemeral one sees.
    pub target: Option<&'a str>,
    /// The pod's user namespace.
    pub userns: Option<cri::UserNamespace>,
    /// Settings for security.
    pub security: &'a security::Settings,
    /// Settings for resources.
    pub limits: &'a limits::Settings,
}

/// Builds the configuration of a container.
pub fn config(pod: &Pod, container: &Container, inputs: &Inputs<'_>) -> Result<cri::ContainerConfig, String> {
    let lookup = |name: &str| inputs.env.get(name).cloned();
    let expand_all = |list: &Option<Vec<String>>| {
        list.iter().flatten().map(|text| expand(text, lookup)).collect::<Vec<_>>()
    };
    let security = security::container(
        pod,
        container,
        inputs.image_user,
        inputs.target,
        inputs.userns.clone(),
        inputs.security,
    )?;
    let stop_signal = container.lifecycle.as_ref().and_then(|l| l.stop_signal.as_deref());
    Ok(cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata {
            name: container.name.clone(),
            attempt: inputs.restart_count,
        }),
        image: Some(cri::ImageSpec {
            image: inputs.image_ref.into(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand_all(&container.command),
        args: expand_all(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        envs: inputs
            .env
            .iter()
            .map(|(k, v)| cri::KeyValue { key: k.clone(), value: v.clone().into_bytes() })
            .collect(),
        mounts: mounts::build(pod, container, &inputs.mounts)?,
        labels: labels::container_labels(pod, container),
        annotations: labels::container_annotations(pod, container, inputs.restart_count),
        log_path: paths::container_log(&container.name, inputs.restart_count),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(limits::container(pod, container, inputs.limits)),
            security_context: Some(security),
        }),
        stop_signal: stop_signal.and_then(cri::Signal::from_name).unwrap_or(cri::Signal::RuntimeDefault)
            as i32,
        ..Default::default()
    })
}

/// Whether the pod gets an `/etc/hosts` of the kubelet's.
pub fn manages_hosts(pod: &Pod, ips: &[String]) -> bool {
    pod.host_network() || !ips.is_empty()
}
