//! `subPath`: part of a volume shown in a container.
//!
//! A container can change the volume while the part is being mounted, so the part is opened step by
//! step without following symlinks and bound to a place of the kubelet's own, which the runtime then
//! mounts: `<pod>/volume-subpaths/<volume>/<container>/<index>`.

use crate::sys::SharedSys;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The part of a volume to show.
pub struct SubPath<'a> {
    /// Where the volume lies.
    pub volume: &'a Path,
    /// The part, relative to it.
    pub part: &'a str,
    /// The pod's directory.
    pub pod_dir: &'a Path,
    /// The volume's name in the spec.
    pub volume_name: &'a str,
    /// The container's name.
    pub container: &'a str,
    /// The place of the mount in the container's list.
    pub index: usize,
}

/// Makes the part, if it isn't there, binds it, and tells where to.
pub fn prepare(sub: &SubPath<'_>, sys: &SharedSys) -> Result<PathBuf, String> {
    let part = Path::new(sub.part);
    if part.is_absolute() {
        return Err(format!("error SubPath `{}` must not be an absolute path", sub.part));
    }
    if sub.part.split('/').any(|p| p == "..") {
        return Err(format!("unable to provision SubPath `{}`: must not contain '..'", sub.part));
    }
    let failed = |what: &str, e: String| {
        tracing::error!(volume = sub.volume_name, container = sub.container, error = e, "subPath failed");
        format!("failed to {what} for volumeMount {:?} of container {:?}", sub.volume_name, sub.container)
    };
    let root = fs::canonicalize(sub.volume).map_err(|e| failed("prepare subPath", e.to_string()))?;
    let wanted = root.join(part);
    if fs::symlink_metadata(&wanted).is_err() {
        let mode = fs::metadata(&root).map_or(0o750, |m| m.permissions().mode() & 0o7777);
        sys.make_below(&root, &normal(part), mode)
            .map_err(|e| failed("create subPath directory", e.to_string()))?;
    }
    // A symlink that stays in the volume is fine; what it leads to is then walked without any.
    let real = fs::canonicalize(&wanted).unwrap_or(wanted);
    let relative = real.strip_prefix(&root).map_err(|_| {
        failed("prepare subPath", format!("{} is not below {}", real.display(), root.display()))
    })?;
    let target = sub
        .pod_dir
        .join("volume-subpaths")
        .join(sub.volume_name)
        .join(sub.container)
        .join(sub.index.to_string());
    bind(&root, relative, &real, &target, sys).map_err(|e| failed("prepare subPath", e.to_string()))?;
    Ok(target)
}

fn normal(path: &Path) -> PathBuf {
    path.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect()
}

fn bind(root: &Path, relative: &Path, real: &Path, target: &Path, sys: &SharedSys) -> std::io::Result<()> {
    // A bind left by an earlier start of the container may show a file that has been replaced since.
    if sys.mount_points()?.iter().any(|m| m == target) {
        sys.unmount(target)?;
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if real.is_dir() {
        fs::create_dir_all(target)?;
    } else {
        fs::OpenOptions::new().create(true).truncate(false).write(true).open(target)?;
    }
    sys.bind_below(root, relative, target)
}
