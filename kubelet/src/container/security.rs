//! Users, groups, capabilities, namespaces and profiles.

use crate::api::{Container, Pod, PodView};
use k8s_openapi::api::core::v1::{SELinuxOptions, SeccompProfile};
use proto::cri;
use std::path::Path;

/// The user an image asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageUser {
    /// By number.
    pub uid: Option<i64>,
    /// By name.
    pub name: String,
}

/// The namespaces of a pod's sandbox and containers.
pub fn namespaces(pod: &Pod) -> cri::NamespaceOption {
    use cri::NamespaceMode::{Container, Node, Pod as PodMode};
    let spec = pod.spec();
    let host_or_pod = |host: Option<bool>| if host == Some(true) { Node } else { PodMode } as i32;
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => Node,
        (_, Some(true)) => PodMode,
        _ => Container,
    };
    cri::NamespaceOption {
        network: host_or_pod(spec.host_network),
        ipc: host_or_pod(spec.host_ipc),
        pid: pid as i32,
        ..Default::default()
    }
}

/// Whether any container of the pod is privileged.
pub fn any_privileged(pod: &Pod) -> bool {
    let privileged = |c: &Container| c.security_context.as_ref().and_then(|s| s.privileged) == Some(true);
    pod.init_containers().iter().chain(pod.containers()).any(privileged)
}

/// The security settings of a sandbox.
pub fn sandbox(
    pod: &Pod,
    userns: Option<cri::UserNamespace>,
) -> Result<cri::LinuxSandboxSecurityContext, String> {
    let mut out = cri::LinuxSandboxSecurityContext {
        privileged: any_privileged(pod),
        seccomp: Some(profile(cri::ProfileType::RuntimeDefault, String::new())),
        ..Default::default()
    };
    let Some(sc) = &pod.spec().security_context else { return Ok(out) };
    out.run_as_user = sc.run_as_user.map(int64);
    out.run_as_group = sc.run_as_group.map(int64);
    out.namespace_options = Some(cri::NamespaceOption { userns_options: userns, ..namespaces(pod) });
    out.supplemental_groups = groups(pod);
    out.supplemental_groups_policy = groups_policy(pod)?;
    out.selinux_options = sc.se_linux_options.as_ref().map(selinux);
    Ok(out)
}

fn groups(pod: &Pod) -> Vec<i64> {
    let Some(sc) = &pod.spec().security_context else { return Vec::new() };
    sc.fs_group.into_iter().chain(sc.supplemental_groups.iter().flatten().copied()).collect()
}

fn groups_policy(pod: &Pod) -> Result<i32, String> {
    let policy = pod.spec().security_context.as_ref().and_then(|s| s.supplemental_groups_policy.as_deref());
    match policy {
        None | Some("Merge") => Ok(cri::SupplementalGroupsPolicy::Merge as i32),
        Some("Strict") => Ok(cri::SupplementalGroupsPolicy::Strict as i32),
        Some(other) => Err(format!("unsupported supplementalGroupsPolicy: {other}")),
    }
}

/// The security settings of a container. `target` is the container whose processes an ephemeral one sees.
pub fn container(
    pod: &Pod,
    container: &Container,
    image_user: &ImageUser,
    target: Option<&str>,
    userns: Option<cri::UserNamespace>,
    settings: &Settings,
) -> Result<cri::LinuxContainerSecurityContext, String> {
    let pod_sc = pod.spec().security_context.clone().unwrap_or_default();
    let sc = container.security_context.clone().unwrap_or_default();
    let user = sc.run_as_user.or(pod_sc.run_as_user);
    verify_non_root(pod, container, user, sc.run_as_non_root.or(pod_sc.run_as_non_root), image_user)?;
    let privileged = sc.privileged.unwrap_or(false);
    let mut namespaces = cri::NamespaceOption { userns_options: userns, ..namespaces(pod) };
    if let Some(id) = target
        && namespaces.pid == cri::NamespaceMode::Container as i32
    {
        namespaces.pid = cri::NamespaceMode::Target as i32;
        namespaces.target_id = id.to_string();
    }
    let unmasked = sc.proc_mount.as_deref() == Some("Unmasked");
    let paths = |list: &[&str]| -> Vec<String> {
        if unmasked { vec![] } else { list.iter().map(|p| p.to_string()).collect() }
    };
    let mut masked = paths(cri::MASKED_PATHS);
    if !unmasked {
        masked.extend(settings.thermal_paths.iter().cloned());
    }
    let seccomp = sc.seccomp_profile.as_ref().or(pod_sc.seccomp_profile.as_ref());
    let apparmor = sc.app_armor_profile.as_ref().or(pod_sc.app_armor_profile.as_ref());
    let apparmor = match apparmor.map(|p| (p.type_.as_str(), p.localhost_profile.clone().unwrap_or_default()))
    {
        None => None,
        Some(("RuntimeDefault", _)) => Some(profile(cri::ProfileType::RuntimeDefault, String::new())),
        Some(("Localhost", name)) => Some(profile(cri::ProfileType::Localhost, name)),
        Some(_) => Some(profile(cri::ProfileType::Unconfined, String::new())),
    };
    Ok(cri::LinuxContainerSecurityContext {
        capabilities: sc.capabilities.map(|c| cri::Capability {
            add_capabilities: c.add.unwrap_or_default(),
            drop_capabilities: c.drop.unwrap_or_default(),
            ..Default::default()
        }),
        privileged,
        namespace_options: Some(namespaces),
        selinux_options: sc.se_linux_options.or(pod_sc.se_linux_options).as_ref().map(selinux),
        run_as_user: user.or(image_user.uid).map(int64),
        run_as_username: if user.is_none() { image_user.name.clone() } else { String::new() },
        run_as_group: sc.run_as_group.or(pod_sc.run_as_group).map(int64),
        readonly_rootfs: sc.read_only_root_filesystem.unwrap_or(false),
        supplemental_groups: groups(pod),
        supplemental_groups_policy: groups_policy(pod)?,
        no_new_privs: sc.allow_privilege_escalation == Some(false),
        masked_paths: masked,
        readonly_paths: paths(cri::READ_ONLY_PATHS),
        seccomp: Some(seccomp_profile(seccomp, settings)?),
        apparmor,
    })
}

/// Node-wide security settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Pods without a seccomp profile get the runtime's.
    pub seccomp_default: bool,
    /// Where local profiles lie.
    pub seccomp_root: String,
    /// Files below `/sys` that tell how warm each CPU is, and so what others do.
    pub thermal_paths: Vec<String>,
}

fn seccomp_profile(
    wanted: Option<&SeccompProfile>,
    settings: &Settings,
) -> Result<cri::SecurityProfile, String> {
    use cri::ProfileType::{Localhost, RuntimeDefault, Unconfined};
    Ok(match wanted {
        None if settings.seccomp_default => profile(RuntimeDefault, String::new()),
        None => profile(Unconfined, String::new()),
        Some(p) => match p.type_.as_str() {
            "RuntimeDefault" => profile(RuntimeDefault, String::new()),
            "Localhost" => {
                let name = p.localhost_profile.as_deref().filter(|n| !n.is_empty());
                let name = name.ok_or("localhostProfile must be set if seccompProfile type is Localhost.")?;
                let path = Path::new(&settings.seccomp_root).join(name);
                profile(Localhost, path.to_string_lossy().into_owned())
            }
            _ => profile(Unconfined, String::new()),
        },
    })
}

fn profile(kind: cri::ProfileType, name: String) -> cri::SecurityProfile {
    cri::SecurityProfile { profile_type: kind as i32, localhost_ref: name }
}

fn verify_non_root(
    pod: &Pod,
    container: &Container,
    user: Option<i64>,
    non_root: Option<bool>,
    image: &ImageUser,
) -> Result<(), String> {
    if non_root != Some(true) {
        return Ok(());
    }
    let place = format!("(pod: {:?}, container: {})", pod.display(), container.name);
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, None) if !image.name.is_empty() => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {place}",
            image.name
        )),
        _ => Ok(()),
    }
}

fn int64(value: i64) -> cri::Int64Value {
    cri::Int64Value { value }
}

fn selinux(o: &SELinuxOptions) -> cri::SELinuxOption {
    cri::SELinuxOption {
        user: o.user.clone().unwrap_or_default(),
        role: o.role.clone().unwrap_or_default(),
        r#type: o.type_.clone().unwrap_or_default(),
        level: o.level.clone().unwrap_or_default(),
    }
}
