//! The runtime's own time: the calls that a kubelet makes for a pod of one container, with the same settings, and no kubelet.

use super::{NAMESPACE, Place};
use anyhow::{Context, Result};
use futures::future::try_join_all;
use proto::cri;
use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, Instant};

const SOCKET: &str = "/run/keelson/containerd/containerd.sock";
/// Where the files of its pods are on the node; the node's own cleaning leaves it alone.
const FILES: &str = "/var/log/bench";
/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(120);

/// A runtime, used directly.
pub(super) struct Runtime<'a> {
    cri: cri::Client,
    place: &'a Place,
}

/// A pod that runs.
struct Running {
    sandbox: String,
    container: String,
}

/// What pods took: until all ran, until all had stopped, until all were removed.
pub(super) struct Times {
    pub(super) up: Duration,
    pub(super) stop: Duration,
    pub(super) remove: Duration,
}

impl<'a> Runtime<'a> {
    pub(super) fn new(place: &'a Place) -> Result<Runtime<'a>> {
        let cri = cri::Client::new(&place.path(SOCKET).display().to_string(), LIMIT)?;
        Ok(Runtime { cri, place })
    }

    /// Runs this many pods at once, stops them, removes them.
    pub(super) async fn pods(&self, count: usize) -> Result<Times> {
        let configs: Vec<_> = (0..count).map(|_| self.config()).collect::<Result<_>>()?;
        let mut began = Instant::now();
        let pods = try_join_all(configs.into_iter().map(|config| self.run(config))).await?;
        let up = began.elapsed();
        began = Instant::now();
        try_join_all(pods.iter().map(|pod| self.stop(pod))).await?;
        let stop = began.elapsed();
        began = Instant::now();
        try_join_all(pods.iter().map(|pod| self.remove(pod))).await?;
        Ok(Times { up, stop, remove: began.elapsed() })
    }

    /// Makes what a kubelet has ready before it calls, and the two configurations.
    fn config(&self) -> Result<(cri::PodSandboxConfig, cri::ContainerConfig)> {
        let uid = format!("{:016x}", rand::random::<u64>());
        let folder = format!("{FILES}/{uid}");
        let made = self.place.path(&folder);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(made.join("token"))
            .with_context(|| made.display().to_string())?;
        for file in ["hosts", "message"] {
            std::fs::write(made.join(file), "")?;
        }
        let namespaces =
            cri::NamespaceOption { pid: cri::NamespaceMode::Container as i32, ..Default::default() };
        let profile = |kind: cri::ProfileType| {
            Some(cri::SecurityProfile { profile_type: kind as i32, ..Default::default() })
        };
        let sandbox = cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata {
                name: format!("bench-{uid}"),
                uid: uid.clone(),
                namespace: NAMESPACE.into(),
                attempt: 0,
            }),
            hostname: format!("bench-{uid}"),
            log_directory: folder.clone(),
            dns_config: Some(cri::DNSConfig { servers: vec!["10.96.0.10".into()], ..Default::default() }),
            linux: Some(cri::LinuxPodSandboxConfig {
                cgroup_parent: format!("{}/bench/{uid}", self.place.cgroup),
                security_context: Some(cri::LinuxSandboxSecurityContext {
                    namespace_options: Some(namespaces.clone()),
                    seccomp: profile(cri::ProfileType::RuntimeDefault),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mount = |file: &str, at: &str, readonly: bool| cri::Mount {
            container_path: at.into(),
            host_path: format!("{folder}/{file}"),
            readonly,
            ..Default::default()
        };
        let paths = |list: &[&str]| list.iter().map(|path| (*path).to_owned()).collect();
        let container = cri::ContainerConfig {
            metadata: Some(cri::ContainerMetadata { name: "web".into(), attempt: 0 }),
            image: Some(cri::ImageSpec { image: super::pods::IMAGE.into(), ..Default::default() }),
            mounts: vec![
                mount("token", "/var/run/secrets/kubernetes.io/serviceaccount", true),
                mount("hosts", "/etc/hosts", false),
                mount("message", "/dev/termination-log", false),
            ],
            labels: BTreeMap::new(),
            log_path: "web.log".into(),
            linux: Some(cri::LinuxContainerConfig {
                resources: Some(cri::LinuxContainerResources {
                    cpu_shares: 2,
                    oom_score_adj: 1000,
                    ..Default::default()
                }),
                security_context: Some(cri::LinuxContainerSecurityContext {
                    namespace_options: Some(namespaces),
                    seccomp: profile(cri::ProfileType::Unconfined),
                    masked_paths: paths(cri::MASKED_PATHS),
                    readonly_paths: paths(cri::READ_ONLY_PATHS),
                    ..Default::default()
                }),
            }),
            ..Default::default()
        };
        Ok((sandbox, container))
    }

    async fn run(
        &self,
        (sandbox, container): (cri::PodSandboxConfig, cri::ContainerConfig),
    ) -> Result<Running> {
        let request = cri::RunPodSandboxRequest { config: Some(sandbox.clone()), ..Default::default() };
        let made = self.cri.run_pod_sandbox(request).await.context("RunPodSandbox")?.pod_sandbox_id;
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: made.clone(),
            config: Some(container),
            sandbox_config: Some(sandbox),
        };
        let container_id = self.cri.create_container(request).await.context("CreateContainer")?.container_id;
        let request = cri::StartContainerRequest { container_id: container_id.clone() };
        self.cri.start_container(request).await.context("StartContainer")?;
        Ok(Running { sandbox: made, container: container_id })
    }

    async fn stop(&self, pod: &Running) -> Result<()> {
        let request = cri::StopContainerRequest { container_id: pod.container.clone(), timeout: 30 };
        self.cri.stop_container(request).await.context("StopContainer")?;
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: pod.sandbox.clone() };
        self.cri.stop_pod_sandbox(request).await.context("StopPodSandbox")?;
        Ok(())
    }

    async fn remove(&self, pod: &Running) -> Result<()> {
        let request = cri::RemoveContainerRequest { container_id: pod.container.clone() };
        self.cri.remove_container(request).await.context("RemoveContainer")?;
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: pod.sandbox.clone() };
        self.cri.remove_pod_sandbox(request).await.context("RemovePodSandbox")?;
        Ok(())
    }
}
