//! What a container sees of volumes and of files the kubelet writes for it.

use super::expand::expand;
use crate::api::{Container, Pod, PodView, Volume};
use crate::sys::SharedSys;
use crate::volumes::{self, SubPath};
use k8s_openapi::api::core::v1::VolumeMount;
use proto::cri;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What mounts depend on besides the container.
pub struct Inputs<'a> {
    /// `<root>/pods`
    pub pods_root: &'a Path,
    /// Claims by volume name.
    pub claims: &'a BTreeMap<String, Result<Volume, String>>,
    /// Images by volume name.
    pub images: &'a BTreeMap<String, String>,
    /// The container's environment, for `subPathExpr`.
    pub env: &'a BTreeMap<String, String>,
    /// The text of `/etc/hosts`; none if the container keeps its image's.
    pub hosts: Option<&'a str>,
    /// Whether the runtime can make mounts read-only with all below them.
    pub recursive_read_only: bool,
    /// The kernel.
    pub sys: &'a SharedSys,
}

const ETC_HOSTS: &str = "/etc/hosts";

/// Builds a container's mounts and makes the files behind those that are the kubelet's own.
pub fn build(pod: &Pod, container: &Container, inputs: &Inputs<'_>) -> Result<Vec<cri::Mount>, String> {
    let mut mounts = Vec::new();
    let mut hosts = inputs.hosts;
    for (i, mount) in container.volume_mounts.iter().flatten().enumerate() {
        if mount.mount_path == ETC_HOSTS {
            hosts = None;
        }
        mounts.push(volume_mount(pod, container, mount, i, inputs)?);
    }
    let pod_dir = volumes::pod_dir(inputs.pods_root, pod.uid());
    if let Some(text) = hosts {
        let file = pod_dir.join("etc-hosts");
        write_file(&file, text, 0o644).map_err(|e| format!("write {}: {e}", file.display()))?;
        mounts.push(plain_mount(&file, ETC_HOSTS));
    }
    let message = container.termination_message_path.as_deref().unwrap_or_default();
    if !message.is_empty() {
        let dir = pod_dir.join("containers").join(&container.name);
        let file = dir.join(format!("{:08x}", rand::random::<u32>()));
        let made = fs::create_dir_all(&dir).and_then(|()| write_file(&file, "", 0o666));
        match made {
            Ok(()) => mounts.push(plain_mount(&file, message)),
            Err(e) => tracing::error!(file = %file.display(), error = %e, "can't make termination log"),
        }
    }
    Ok(mounts)
}

fn write_file(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn plain_mount(file: &Path, container_path: &str) -> cri::Mount {
    cri::Mount {
        container_path: container_path.into(),
        host_path: file.to_string_lossy().into_owned(),
        ..Default::default()
    }
}

fn volume_mount(
    pod: &Pod,
    container: &Container,
    mount: &VolumeMount,
    index: usize,
    inputs: &Inputs<'_>,
) -> Result<cri::Mount, String> {
    let unknown =
        || format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name);
    let declared = pod.volumes().iter().find(|v| v.name == mount.name).ok_or_else(unknown)?;
    let volume = volumes::resolve(declared, inputs.claims)?;
    let kind = volumes::Kind::of(volume)?;
    let claim_read_only =
        declared.persistent_volume_claim.as_ref().and_then(|c| c.read_only).unwrap_or(false);
    let part = sub_path(mount, inputs.env)?;
    let absolute = |path: &str| if path.starts_with('/') { path.to_string() } else { format!("/{path}") };
    let mut out = cri::Mount {
        container_path: absolute(&mount.mount_path),
        readonly: mount.read_only.unwrap_or(false) || kind.read_only() || claim_read_only,
        propagation: propagation(mount.mount_propagation.as_deref())? as i32,
        recursive_read_only: recursive_read_only(mount, inputs.recursive_read_only)?,
        ..Default::default()
    };
    if kind == volumes::Kind::Image {
        let image = inputs.images.get(&mount.name).ok_or_else(unknown)?;
        out.image = Some(cri::ImageSpec { image: image.clone(), ..Default::default() });
        out.image_sub_path = part.unwrap_or_default();
        out.readonly = true;
        return Ok(out);
    }
    let path = volumes::path(inputs.pods_root, pod.uid(), &mount.name, volume)?.ok_or_else(unknown)?;
    let host_path = match part {
        None => path,
        Some(part) => {
            let sub = SubPath {
                volume: &path,
                part: &part,
                pod_dir: &volumes::pod_dir(inputs.pods_root, pod.uid()),
                volume_name: &mount.name,
                container: &container.name,
                index,
            };
            volumes::prepare_subpath(&sub, inputs.sys)?
        }
    };
    out.host_path = host_path.to_string_lossy().into_owned();
    Ok(out)
}

fn sub_path(mount: &VolumeMount, env: &BTreeMap<String, String>) -> Result<Option<String>, String> {
    let Some(expr) = mount.sub_path_expr.as_deref().filter(|e| !e.is_empty()) else {
        return Ok(mount.sub_path.clone().filter(|p| !p.is_empty()));
    };
    let missing = RefCell::new(Vec::new());
    let path = expand(expr, |name| {
        let value = env.get(name).filter(|v| !v.is_empty()).cloned();
        if value.is_none() {
            missing.borrow_mut().push(name.to_string());
        }
        Some(value.unwrap_or_default())
    });
    let mut missing = missing.into_inner();
    if missing.is_empty() {
        return Ok(Some(path));
    }
    missing.sort();
    missing.dedup();
    Err(format!("missing value for {}", missing.join(", ")))
}

fn propagation(mode: Option<&str>) -> Result<cri::MountPropagation, String> {
    match mode {
        None | Some("None") => Ok(cri::MountPropagation::Private),
        Some("HostToContainer") => Ok(cri::MountPropagation::HostToContainer),
        Some("Bidirectional") => Ok(cri::MountPropagation::Bidirectional),
        Some(other) => Err(format!("invalid MountPropagation mode: {other:?}")),
    }
}

/// Whether a mount is to be read-only with all below it.
pub fn recursive_read_only(mount: &VolumeMount, supported: bool) -> Result<bool, String> {
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => Ok(false),
        Some(mode) if mount.read_only != Some(true) => Err(format!(
            "volume {:?} requested recursive read-only mode {mode:?}, but it is not read-only",
            mount.name
        )),
        Some("IfPossible") => Ok(supported),
        Some("Enabled") if supported => Ok(true),
        Some("Enabled") => Err(format!(
            "volume {:?} requested recursive read-only mode, but it is not supported by the runtime",
            mount.name
        )),
        Some(other) => Err(format!("unknown recursive read-only mode {other:?}")),
    }
}
