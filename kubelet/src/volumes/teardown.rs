//! Clears what a pod leaves on the node.

use crate::sys::SharedSys;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Whether nothing of the pod's volumes is left.
pub fn is_clear(pod_dir: &Path) -> bool {
    !pod_dir.join("volumes").exists() && !pod_dir.join("volume-subpaths").exists()
}

/// Unmounts and removes the pod's volumes. Nothing is removed while anything is still mounted below,
/// so that data elsewhere can't be deleted through a mount.
pub fn clear(pod_dir: &Path, sys: &SharedSys) -> io::Result<()> {
    let real = match fs::canonicalize(pod_dir) {
        Ok(real) => real,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for point in mounts_below(&real, sys)? {
        sys.unmount(&point)?;
    }
    let left = mounts_below(&real, sys)?;
    if let Some(point) = left.first() {
        return Err(io::Error::other(format!("{} is still mounted", point.display())));
    }
    for part in ["volume-subpaths", "volumes"] {
        match fs::remove_dir_all(real.join(part)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Mount points below a directory, the latest first.
fn mounts_below(dir: &Path, sys: &SharedSys) -> io::Result<Vec<PathBuf>> {
    let mut points: Vec<_> = sys.mount_points()?.into_iter().filter(|p| p.starts_with(dir)).collect();
    points.reverse();
    Ok(points)
}
