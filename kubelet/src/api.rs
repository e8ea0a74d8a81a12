//! Views of the API objects the kubelet works on.
//!
//! Optional lists of the API read as empty ones here, so that the rest of the kubelet needn't care.

use k8s_openapi::api::core::v1::EphemeralContainer;
pub use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, Pod, PodCondition, PodSpec, PodStatus, Volume,
};
pub use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::sync::LazyLock;

/// The hash of a static pod's manifest: also the uid it goes by on the node.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Marks the pod that stands in the API for a static one, naming that pod's hash.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Where the pod came from: `file`, `http` or `api`.
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// When the kubelet first saw the pod.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

static NO_SPEC: LazyLock<PodSpec> = LazyLock::new(PodSpec::default);
static NO_STATUS: LazyLock<PodStatus> = LazyLock::new(PodStatus::default);

/// Reads a pod without its many options.
pub trait PodView {
    /// The uid the kubelet knows the pod by.
    fn uid(&self) -> &str;
    /// `metadata.name`.
    fn name(&self) -> &str;
    /// `metadata.namespace`.
    fn namespace(&self) -> &str;
    /// The spec; empty if the pod has none.
    fn spec(&self) -> &PodSpec;
    /// The status; empty if the pod has none.
    fn status(&self) -> &PodStatus;
    /// An annotation.
    fn annotation(&self, key: &str) -> Option<&str>;
    /// Init containers in the order of the spec.
    fn init_containers(&self) -> &[Container];
    /// Ephemeral containers.
    fn ephemeral_containers(&self) -> &[EphemeralContainer];
    /// Volumes.
    fn volumes(&self) -> &[Volume];

    /// `name_namespace`, which identifies a pod across its static and mirror form.
    fn full_name(&self) -> String {
        format!("{}_{}", self.name(), self.namespace())
    }
    /// `namespace/name`, as log lines have it.
    fn key(&self) -> String {
        format!("{}/{}", self.namespace(), self.name())
    }
    /// `name_namespace(uid)`, as error messages have it.
    fn display(&self) -> String {
        format!("{}_{}({})", self.name(), self.namespace(), self.uid())
    }
    /// Whether the pod came from anything but the API server.
    fn is_static(&self) -> bool {
        self.annotation(CONFIG_SOURCE).is_some_and(|source| source != "api")
    }
    /// Whether this is the API's image of a static pod.
    fn is_mirror(&self) -> bool {
        self.annotation(CONFIG_MIRROR).is_some()
    }
    /// Whether it runs in the node's network namespace.
    fn host_network(&self) -> bool {
        self.spec().host_network.unwrap_or(false)
    }
    /// Regular containers.
    fn containers(&self) -> &[Container] {
        &self.spec().containers
    }
    /// The pod's restart policy.
    fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }
    /// Whether any phase after this one is impossible.
    fn is_terminal(&self) -> bool {
        is_terminal_phase(self.status().phase.as_deref().unwrap_or_default())
    }
    /// Whether the API server was asked to delete it.
    fn deleted(&self) -> bool;
    /// A critical pod is admitted by preemption and evicted last.
    fn is_critical(&self) -> bool {
        const SYSTEM_CRITICAL: i32 = 2_000_000_000;
        self.is_static() || self.is_mirror() || self.spec().priority.is_some_and(|p| p >= SYSTEM_CRITICAL)
    }
}

impl PodView for Pod {
    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }
    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
    fn spec(&self) -> &PodSpec {
        self.spec.as_ref().unwrap_or(&NO_SPEC)
    }
    fn status(&self) -> &PodStatus {
        self.status.as_ref().unwrap_or(&NO_STATUS)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
    fn init_containers(&self) -> &[Container] {
        self.spec().init_containers.as_deref().unwrap_or_default()
    }
    fn ephemeral_containers(&self) -> &[EphemeralContainer] {
        self.spec().ephemeral_containers.as_deref().unwrap_or_default()
    }
    fn volumes(&self) -> &[Volume] {
        self.spec().volumes.as_deref().unwrap_or_default()
    }
    fn deleted(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

/// Which list of the spec a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// `spec.initContainers`
    Init,
    /// `spec.containers`
    Regular,
    /// `spec.ephemeralContainers`
    Ephemeral,
}

impl ContainerKind {
    /// The path events use to point at a container of this kind.
    pub fn field_path(self, name: &str) -> String {
        let list = match self {
            ContainerKind::Init => "initContainers",
            ContainerKind::Regular => "containers",
            ContainerKind::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{name}}}")
    }
}

/// Whether `Succeeded` or `Failed`.
pub fn is_terminal_phase(phase: &str) -> bool {
    matches!(phase, "Succeeded" | "Failed")
}

/// Whether an init container is a sidecar: one that restarts for as long as the pod lives.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// An ephemeral container has every field a regular one has, and the name of its target.
pub fn as_container(e: &EphemeralContainer) -> Container {
    Container {
        args: e.args.clone(),
        command: e.command.clone(),
        env: e.env.clone(),
        env_from: e.env_from.clone(),
        image: e.image.clone(),
        image_pull_policy: e.image_pull_policy.clone(),
        lifecycle: e.lifecycle.clone(),
        liveness_probe: e.liveness_probe.clone(),
        name: e.name.clone(),
        ports: e.ports.clone(),
        readiness_probe: e.readiness_probe.clone(),
        resize_policy: e.resize_policy.clone(),
        resources: e.resources.clone(),
        restart_policy: e.restart_policy.clone(),
        restart_policy_rules: e.restart_policy_rules.clone(),
        security_context: e.security_context.clone(),
        startup_probe: e.startup_probe.clone(),
        stdin: e.stdin,
        stdin_once: e.stdin_once,
        termination_message_path: e.termination_message_path.clone(),
        termination_message_policy: e.termination_message_policy.clone(),
        tty: e.tty,
        volume_devices: e.volume_devices.clone(),
        volume_mounts: e.volume_mounts.clone(),
        working_dir: e.working_dir.clone(),
    }
}

/// The container of that name, wherever in the spec it stands.
pub fn find_container(pod: &Pod, name: &str) -> Option<(ContainerKind, Container)> {
    let named = |c: &&Container| c.name == name;
    if let Some(c) = pod.containers().iter().find(named) {
        return Some((ContainerKind::Regular, c.clone()));
    }
    if let Some(c) = pod.init_containers().iter().find(named) {
        return Some((ContainerKind::Init, c.clone()));
    }
    let e = pod.ephemeral_containers().iter().find(|e| e.name == name)?;
    Some((ContainerKind::Ephemeral, as_container(e)))
}

/// A status from a list, by container name.
pub fn status_of<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|s| s.name == name)
}

/// The condition of that type.
pub fn condition_of<'a>(conditions: &'a [PodCondition], kind: &str) -> Option<&'a PodCondition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// The current second, which is as fine as API timestamps go.
pub fn now() -> Time {
    let now = jiff::Timestamp::now();
    Time(jiff::Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// A time in nanoseconds since the epoch, cut to the second.
pub fn time_from_nanos(nanos: i64) -> Option<Time> {
    jiff::Timestamp::from_second(nanos.div_euclid(1_000_000_000)).ok().map(Time)
}
