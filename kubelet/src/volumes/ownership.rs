//! `fsGroup`: the group that may use a pod's volumes.

use crate::api::{Pod, PodView};
use crate::sys::SharedSys;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

const SETGID: u32 = 0o2000;
const EXECUTE: u32 = 0o110;

/// The group, if the pod states one.
pub(super) struct Owner {
    group: Option<u32>,
    only_on_mismatch: bool,
}

impl Owner {
    /// Reads it from the pod.
    pub(super) fn of(pod: &Pod) -> Owner {
        let sc = pod.spec().security_context.as_ref();
        Owner {
            group: sc.and_then(|s| s.fs_group).and_then(|g| u32::try_from(g).ok()),
            only_on_mismatch: sc.and_then(|s| s.fs_group_change_policy.as_deref()) == Some("OnRootMismatch"),
        }
    }

    /// Gives everything below `root` to the group.
    pub(super) fn apply(&self, root: &Path, read_only: bool, sys: &SharedSys) -> Result<(), String> {
        let Some(group) = self.group else { return Ok(()) };
        let bits = if read_only { 0o440 } else { 0o660 };
        if self.only_on_mismatch && matches(root, group, bits) {
            return Ok(());
        }
        walk(root, group, bits, sys).map_err(|e| format!("set group of {}: {e}", root.display()))
    }
}

fn matches(root: &Path, group: u32, bits: u32) -> bool {
    let wanted = bits | EXECUTE | SETGID;
    fs::metadata(root).is_ok_and(|m| m.gid() == group && m.mode() & wanted == wanted)
}

fn walk(path: &Path, group: u32, bits: u32, sys: &SharedSys) -> std::io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() {
        // The root comes last: it tells whether all below it is done.
        for entry in fs::read_dir(path)? {
            walk(&entry?.path(), group, bits, sys)?;
        }
    }
    sys.chown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let extra = if meta.is_dir() { SETGID | EXECUTE } else { 0 };
    fs::set_permissions(path, fs::Permissions::from_mode((meta.mode() & 0o7777) | bits | extra))
}
