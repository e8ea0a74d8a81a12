//! Makes a sandbox, starts a container.

use super::backoff::{Nanos, now};
use super::hooks;
use super::plan::KillReason;
use crate::api::{Container, ContainerKind, Pod, PodView};
use crate::container::{config, dns, env, hosts, mounts, sandbox};
use crate::images::keyring::Keyring;
use crate::images::pull::rpc_text;
use crate::kubelet::Kubelet;
use crate::logs::paths;
use crate::objects::Kind;
use crate::references::Gathered;
use crate::runtime::{Observed, ObservedContainer, State};
use crate::status::Reason;
use component_base::events::EventType::{Normal, Warning};
use proto::cri;
use std::sync::Arc;

/// A container couldn't be started.
#[derive(Debug)]
pub struct Failure {
    /// For its status.
    pub reason: Reason,
    /// When to try again, if that is decided.
    pub retry_at: Option<Nanos>,
}

fn failure(reason: &str, message: impl Into<String>) -> Failure {
    Failure { reason: Reason { reason: reason.into(), message: message.into() }, retry_at: None }
}

/// What all containers of a pod have in common while they are started.
pub struct Common {
    /// What the pod refers to.
    pub gathered: Gathered,
    /// The sandbox's configuration, which the runtime wants again with each container.
    pub sandbox: cri::PodSandboxConfig,
    /// The runtime handler.
    pub handler: String,
    /// Host name and domain.
    pub hostname: (String, String),
    /// Credentials of the pod's pull secrets.
    pub keyring: Keyring,
}

impl Kubelet {
    /// Works out what a pod's sandbox and containers have in common.
    pub async fn common(&self, pod: &Pod, gathered: Gathered, attempt: u32) -> Result<Common, String> {
        let settings = &self.settings;
        if pod.spec().host_users == Some(false) {
            // Running it in the node's user namespace would grant what the pod asked not to have.
            return Err("can't set `spec.hostUsers: false`, runtime does not support user namespaces".into());
        }
        let handler = self.runtime_handler(pod).await?;
        let node_file = std::fs::read_to_string(&settings.dns.resolv_conf).unwrap_or_default();
        let (dns, remarks) = dns::pod_config(pod, &settings.dns, &dns::parse_resolv_conf(&node_file));
        for remark in remarks {
            self.events.pod(pod, Warning, remark.reason, remark.message);
        }
        let hostname = dns::hostname(pod, &settings.dns.cluster_domain)?;
        let as_fqdn = pod.spec().set_hostname_as_fqdn.unwrap_or(false);
        let inputs = sandbox::Inputs {
            dns,
            hostname: dns::kernel_hostname(&hostname.0, &hostname.1, as_fqdn)?,
            log_root: &settings.log_root,
            cgroup_parent: self.groups.parent(pod),
            userns: None,
            limits: &settings.limits,
        };
        let sandbox = sandbox::config(pod, attempt, inputs)?;
        let keyring = keyring(pod, &gathered);
        Ok(Common { gathered, sandbox, handler, hostname, keyring })
    }

    /// Makes and starts a sandbox.
    pub async fn create_sandbox(&self, pod: &Pod, common: &Common) -> Result<String, String> {
        std::fs::create_dir_all(&common.sandbox.log_directory)
            .map_err(|e| format!("create pod log directory: {e}"))?;
        let request = cri::RunPodSandboxRequest {
            config: Some(common.sandbox.clone()),
            runtime_handler: common.handler.clone(),
        };
        match self.cri.run_pod_sandbox(request).await {
            Ok(response) => Ok(response.pod_sandbox_id),
            Err(status) => {
                let error = rpc_text(&status);
                self.events.pod(
                    pod,
                    Warning,
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {error}"),
                );
                Err(format!("failed to create sandbox for pod {:?}: {error}", pod.display()))
            }
        }
    }

    /// Whether a crashed container still has to wait.
    fn crash_wait(
        &self,
        pod: &Pod,
        list: ContainerKind,
        container: &Container,
        observed: &Observed,
    ) -> Result<(), Failure> {
        let mut ended =
            observed.containers.iter().filter(|c| c.name == container.name && c.state == State::Exited);
        let Some(last) = ended.next() else { return Ok(()) };
        let key = format!("{}_{}", pod.uid(), container.name);
        let mut crashes = self.crashes.lock();
        let Some((wait, end)) = crashes.until(&key, last.finished_at, now()) else {
            crashes.next(&key, last.finished_at, now());
            return Ok(());
        };
        drop(crashes);
        let place = (list, container.name.as_str());
        let text =
            format!("Back-off restarting failed container {} in pod {}", container.name, pod.display());
        self.events.start_failure(pod, place, "", Warning, "BackOff", text);
        let wait = proto::time::Duration::from(wait);
        let message =
            format!("back-off {wait} restarting failed container={} pod={}", container.name, pod.display());
        Err(Failure { retry_at: Some(end), ..failure("CrashLoopBackOff", message) })
    }

    /// Starts a container in a sandbox: image, creation, start, log link, hook.
    pub async fn start_container(
        &self,
        pod: &Arc<Pod>,
        (list, container): (ContainerKind, &Container),
        target_name: Option<&str>,
        sandbox_id: &str,
        common: &Common,
        observed: &Observed,
    ) -> Result<(), Failure> {
        self.crash_wait(pod, list, container, observed)?;
        let place = (list, container.name.as_str());
        let warn = |id: &str, message: &str| {
            self.events.start_failure(pod, place, id, Warning, "Failed", format!("Error: {message}"));
        };
        let image = self
            .puller
            .ensure(pod, list, container, &common.keyring, &common.sandbox, &common.handler)
            .await
            .map_err(|e| {
                warn("", &e.reason.reason);
                Failure { reason: e.reason, retry_at: e.retry_at }
            })?;
        let log_dir = paths::pod_directory(&self.settings.log_root, pod).join(&container.name);
        let restart_count = match observed.container(&container.name) {
            Some(last) => u32::try_from(last.restart_count + 1).unwrap_or(0),
            None => paths::next_restart_count(&log_dir),
        };
        let config = self
            .container_config(pod, container, target_name, common, observed, &image, restart_count)
            .await
            .and_then(|config| {
                std::fs::create_dir_all(&log_dir).map_err(|e| {
                    format!("create container log directory for container {} failed: {e}", container.name)
                })?;
                Ok(config)
            })
            .map_err(|message| {
                warn("", &message);
                failure("CreateContainerConfigError", message)
            })?;
        let log_path = config.log_path.clone();
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.into(),
            config: Some(config),
            sandbox_config: Some(common.sandbox.clone()),
        };
        let id = match self.cri.create_container(request).await {
            Ok(response) => response.container_id,
            Err(status) => {
                warn("", status.message());
                return Err(failure("CreateContainerError", status.message()));
            }
        };
        self.events.container(pod, place, &id, Normal, "Created", "Container created");
        if let Err(status) =
            self.cri.start_container(cri::StartContainerRequest { container_id: id.clone() }).await
        {
            warn(&id, status.message());
            return Err(failure("RunContainerError", status.message()));
        }
        self.events.container(pod, place, &id, Normal, "Started", "Container started");
        let log = std::path::Path::new(&common.sandbox.log_directory).join(log_path);
        let link = paths::link(&id, &container.name, pod.name(), pod.namespace());
        if log.exists()
            && let Err(e) = std::os::unix::fs::symlink(&log, &link)
        {
            tracing::error!(pod = pod.key(), link = %link.display(), error = %e, "Failed to create log symlink");
        }
        self.post_start(pod, list, container, &id, observed).await
    }

    async fn post_start(
        &self,
        pod: &Pod,
        list: ContainerKind,
        container: &Container,
        id: &str,
        observed: &Observed,
    ) -> Result<(), Failure> {
        let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) else {
            return Ok(());
        };
        let ip = observed.ips.first().map(String::as_str).unwrap_or_default();
        let Err(message) = hooks::run(&self.cri, &self.events, pod, container, id, ip, hook).await else {
            return Ok(());
        };
        tracing::error!(
            pod = pod.key(),
            container = container.name,
            error = message,
            "Failed to execute PostStartHook"
        );
        // The message may hold what a server answered, secrets among it, so the event doesn't.
        let place = (list, container.name.as_str());
        self.events.container(pod, place, id, Warning, "FailedPostStartHook", "PostStartHook failed");
        let seen = ObservedContainer { id: id.into(), name: container.name.clone(), ..Default::default() };
        let reason = KillReason::FailedPostStartHook;
        if let Err(e) = self.kill_container(pod, &seen, "FailedPostStartHook", reason, None, ip, None).await {
            tracing::error!(pod = pod.key(), error = %e, "Failed to kill container");
        }
        Err(failure("PostStartHookError", message))
    }

    async fn container_config(
        &self,
        pod: &Pod,
        container: &Container,
        target_name: Option<&str>,
        common: &Common,
        observed: &Observed,
        image: &crate::images::pull::Present,
        restart_count: u32,
    ) -> Result<cri::ContainerConfig, String> {
        let settings = &self.settings;
        let host_ips = self.info.with(|f| f.host_ips.clone());
        let mut ips = crate::status::generate::sort_ips(&observed.ips, &host_ips);
        if pod.host_network() && ips.is_empty() {
            ips = host_ips;
        }
        let around = self.info.surroundings(ips.clone());
        let services = self.service_variables(pod)?;
        let volume_path = |name: &str| {
            let declared = pod.volumes().iter().find(|v| v.name == name)?;
            let volume = crate::volumes::resolve(declared, &common.gathered.claims).ok()?;
            crate::volumes::path(&settings.pods_root, pod.uid(), name, volume).ok()?
        };
        let env = env::build(pod, container, &services, &common.gathered.sources, &around, volume_path)?;
        let hosts = config::manages_hosts(pod, &ips).then(|| self.hosts_text(pod, &ips, &common.hostname));
        let target = match target_name.filter(|t| !t.is_empty()) {
            None => None,
            Some(name) => Some(
                observed
                    .container(name)
                    .map(|c| c.id.clone())
                    .ok_or_else(|| format!("unable to find target container {name}"))?,
            ),
        };
        let inputs = config::Inputs {
            image_ref: &image.reference,
            image_user: &image.user,
            restart_count,
            env: &env,
            mounts: mounts::Inputs {
                pods_root: &settings.pods_root,
                claims: &common.gathered.claims,
                images: &image_volumes(pod),
                env: &env,
                hosts: hosts.as_deref(),
                recursive_read_only: self.info.recursive_read_only(&common.handler),
                sys: &self.sys,
            },
            target: target.as_deref(),
            userns: None,
            security: &settings.security,
            limits: &settings.limits,
        };
        config::config(pod, container, &inputs)
    }

    fn hosts_text(&self, pod: &Pod, ips: &[String], (hostname, domain): &(String, String)) -> String {
        let aliases = pod.spec().host_aliases.as_deref().unwrap_or_default();
        if pod.host_network() {
            let node_file = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
            return hosts::host_file(&node_file, aliases);
        }
        hosts::pod_file(ips, hostname, domain, aliases)
    }
}

/// Images of image volumes by the volume's name.
fn image_volumes(pod: &Pod) -> std::collections::BTreeMap<String, String> {
    let image = |v: &crate::api::Volume| Some((v.name.clone(), v.image.as_ref()?.reference.clone()?));
    pod.volumes().iter().filter_map(image).collect()
}

fn keyring(pod: &Pod, gathered: &Gathered) -> Keyring {
    let mut ring = Keyring::default();
    for secret in pod.spec().image_pull_secrets.iter().flatten() {
        // A missing secret is no error: the image may not need it.
        let Ok(Some(object)) = gathered.sources.get(Kind::Secret, &secret.name, true) else { continue };
        let added = match (object.data.get(".dockerconfigjson"), object.data.get(".dockercfg")) {
            (Some(text), _) => ring.add_config_json(text),
            (None, Some(text)) => ring.add_dockercfg(text),
            (None, None) => Ok(()),
        };
        if let Err(e) = added {
            tracing::warn!(pod = pod.key(), secret = secret.name, error = %e, "Pull secret doesn't parse");
        }
    }
    ring
}
