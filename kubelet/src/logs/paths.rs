//! Where logs lie.

use crate::api::{Pod, PodView};
use std::path::{Path, PathBuf};

/// Where symlinks to logs are kept for collectors.
pub const LINKS: &str = "/var/log/containers";

/// `<root>/<namespace>_<name>_<uid>`
pub fn pod_directory(root: &Path, pod: &Pod) -> PathBuf {
    root.join(format!("{}_{}_{}", pod.namespace(), pod.name(), pod.uid()))
}

/// The log's path below the pod's directory.
pub fn container_log(name: &str, restart_count: u32) -> String {
    format!("{name}/{restart_count}.log")
}

/// The symlink collectors find a log by. All its parts are ASCII, so it can be cut anywhere.
pub fn link(id: &str, container: &str, pod: &str, namespace: &str) -> PathBuf {
    // A file name has at most 255 bytes, the suffix among them.
    let mut name = format!("{pod}_{namespace}_{container}-{id}");
    name.truncate(251);
    Path::new(LINKS).join(format!("{name}.log"))
}

/// One more than the highest restart count that left a log. Runtimes that forget dead containers on a
/// reboot would otherwise overwrite them.
pub fn next_restart_count(directory: &Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let number = |name: &str| name.split_once(".log")?.0.parse::<u32>().ok();
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    names.filter_map(|name| number(&name)).max().map_or(0, |n| n.saturating_add(1))
}
