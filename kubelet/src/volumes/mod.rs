//! Volumes: directories of the node made ready before a pod's containers start, and cleared after.
//!
//! Everything lies below `<pod>/volumes/<plugin>/<name>`, with upstream's plugin names, so either
//! kubelet finds and clears the other's. Setting up is idempotent: it runs again on every sync, which
//! is also how changed ConfigMaps reach running pods.

mod atomic;
mod content;
mod directory;
mod ownership;
mod subpath;
mod teardown;
pub mod token;

pub use content::{References, references};
pub use subpath::{SubPath, prepare as prepare_subpath};
pub use teardown::{clear, is_clear};

use crate::api::{Pod, PodView, Volume};
use crate::container::downward::Surroundings;
use crate::objects::Sources;
use crate::sys::SharedSys;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What setting up needs besides the pod.
pub struct Inputs<'a> {
    /// `<root>/pods`
    pub pods_root: &'a Path,
    /// Config maps and secrets.
    pub sources: &'a Sources,
    /// Service account tokens by audience and life time.
    pub tokens: &'a BTreeMap<token::Request, Result<String, String>>,
    /// Claims by volume name: what stands behind them.
    pub claims: &'a BTreeMap<String, Result<Volume, String>>,
    /// The node and the pod's addresses.
    pub around: &'a Surroundings,
    /// The kernel.
    pub sys: &'a SharedSys,
}

/// A volume couldn't be set up; the text is that of the event.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct SetupError {
    /// The volume's name in the spec.
    pub volume: String,
    /// What is wrong.
    pub message: String,
}

/// How a volume is backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, or memory.
    EmptyDir,
    /// A path of the node.
    HostPath,
    /// Files of a ConfigMap.
    ConfigMap,
    /// Files of a Secret.
    Secret,
    /// Files that show the pod.
    Downward,
    /// Files of several sources.
    Projected,
    /// A network filesystem.
    Nfs,
    /// An image, mounted by the runtime.
    Image,
}

impl Kind {
    /// Tells how a volume is backed; the error names what isn't supported.
    pub fn of(volume: &Volume) -> Result<Kind, String> {
        Ok(if volume.empty_dir.is_some() {
            Kind::EmptyDir
        } else if volume.host_path.is_some() {
            Kind::HostPath
        } else if volume.config_map.is_some() {
            Kind::ConfigMap
        } else if volume.secret.is_some() {
            Kind::Secret
        } else if volume.downward_api.is_some() {
            Kind::Downward
        } else if volume.projected.is_some() {
            Kind::Projected
        } else if volume.nfs.is_some() {
            Kind::Nfs
        } else if volume.image.is_some() {
            Kind::Image
        } else {
            return Err("no volume plugin matched".into());
        })
    }

    fn directory(self) -> Option<&'static str> {
        Some(match self {
            Kind::EmptyDir => "kubernetes.io~empty-dir",
            Kind::ConfigMap => "kubernetes.io~configmap",
            Kind::Secret => "kubernetes.io~secret",
            Kind::Downward => "kubernetes.io~downward-api",
            Kind::Projected => "kubernetes.io~projected",
            Kind::Nfs => "kubernetes.io~nfs",
            Kind::HostPath | Kind::Image => return None,
        })
    }

    /// Whether containers can't write to it whatever they ask for.
    pub fn read_only(self) -> bool {
        matches!(self, Kind::ConfigMap | Kind::Secret | Kind::Downward | Kind::Projected)
    }
}

/// Names that occur below a pod's directory.
pub fn pod_dir(pods_root: &Path, uid: &str) -> PathBuf {
    pods_root.join(uid)
}

/// What a claim's volume really is; other volumes are what they say.
pub fn resolve<'a>(
    volume: &'a Volume,
    claims: &'a BTreeMap<String, Result<Volume, String>>,
) -> Result<&'a Volume, String> {
    if volume.persistent_volume_claim.is_none() && volume.ephemeral.is_none() {
        return Ok(volume);
    }
    match claims.get(&volume.name) {
        Some(Ok(volume)) => Ok(volume),
        Some(Err(e)) => Err(e.clone()),
        None => Err(format!("claim of volume {:?} is not known", volume.name)),
    }
}

/// Where a volume's content lies on the node; none for an image.
pub fn path(pods_root: &Path, uid: &str, name: &str, volume: &Volume) -> Result<Option<PathBuf>, String> {
    let kind = Kind::of(volume)?;
    if let Some(host) = &volume.host_path {
        return Ok(Some(host.path.clone().into()));
    }
    Ok(kind.directory().map(|dir| pod_dir(pods_root, uid).join("volumes").join(dir).join(name)))
}

/// Makes the pod's directories and sets all its volumes up. Every volume is tried; the errors of those
/// that failed come back.
pub fn setup_all(pod: &Pod, inputs: &Inputs<'_>) -> Vec<SetupError> {
    let mut errors = Vec::new();
    for volume in pod.volumes().iter().filter(|v| is_used(pod, &v.name)) {
        if let Err(message) = setup(pod, volume, inputs) {
            errors.push(SetupError { volume: volume.name.clone(), message });
        }
    }
    errors
}

/// A volume nobody mounts isn't set up.
fn is_used(pod: &Pod, name: &str) -> bool {
    let mounts = |c: &crate::api::Container| {
        let env_file = |e: &k8s_openapi::api::core::v1::EnvVar| {
            let from = e.value_from.as_ref().and_then(|f| f.file_key_ref.as_ref());
            from.is_some_and(|f| f.volume_name == name)
        };
        c.volume_mounts.iter().flatten().any(|m| m.name == name) || c.env.iter().flatten().any(env_file)
    };
    let ephemeral = |e: &k8s_openapi::api::core::v1::EphemeralContainer| {
        e.volume_mounts.iter().flatten().any(|m| m.name == name)
    };
    pod.containers().iter().any(mounts)
        || pod.init_containers().iter().any(mounts)
        || pod.ephemeral_containers().iter().any(ephemeral)
}

fn setup(pod: &Pod, declared: &Volume, inputs: &Inputs<'_>) -> Result<(), String> {
    let volume = resolve(declared, inputs.claims)?;
    let kind = Kind::of(volume)?;
    let Some(dir) = path(inputs.pods_root, pod.uid(), &declared.name, volume)? else { return Ok(()) };
    let owner = ownership::Owner::of(pod);
    match kind {
        Kind::HostPath => directory::host_path(volume),
        Kind::EmptyDir => {
            if directory::empty_dir(pod, volume, &dir, inputs.sys)? {
                owner.apply(&dir, false, inputs.sys)?;
            }
            Ok(())
        }
        Kind::Nfs => directory::nfs(volume, &dir, inputs.sys),
        Kind::ConfigMap | Kind::Secret | Kind::Downward | Kind::Projected => {
            let files = content::files(pod, volume, inputs)?;
            if kind == Kind::ConfigMap {
                directory::plain(&dir)?;
            } else {
                // What may be secret isn't written to a disk.
                directory::memory(&dir, "", inputs.sys)?;
            }
            let apply = || owner.apply(&dir, true, inputs.sys);
            atomic::write(&dir, &files, inputs.sys, apply).map_err(|e| e.to_string())
        }
        Kind::Image => Ok(()),
    }
}

#[cfg(test)]
mod tests;
