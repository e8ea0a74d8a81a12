//! Volumes that are directories: of the node, of the pod, or in memory.

use crate::api::{Pod, Volume};
use crate::resources;
use crate::sys::{Mount, SharedSys};
use proto::quantity::Quantity;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

/// Makes a directory everyone may use.
pub(super) fn plain(dir: &Path) -> Result<(), String> {
    let go = || {
        fs::create_dir_all(dir)?;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o777))
    };
    go().map_err(|e: std::io::Error| format!("mkdir {}: {e}", dir.display()))
}

/// Makes a directory in memory; tells whether it is new.
pub(super) fn memory(dir: &Path, options: &str, sys: &SharedSys) -> Result<bool, String> {
    if is_mounted(dir, sys)? {
        return Ok(false);
    }
    plain(dir)?;
    let mount = Mount {
        source: "tmpfs".into(),
        fstype: "tmpfs".into(),
        data: options.to_string(),
        ..Mount::default()
    };
    sys.mount(&mount, dir).map_err(|e| format!("mount tmpfs on {}: {e}", dir.display()))?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).map_err(|e| e.to_string())?;
    Ok(true)
}

fn is_mounted(dir: &Path, sys: &SharedSys) -> Result<bool, String> {
    let real = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    let points = sys.mount_points().map_err(|e| format!("read the mount table: {e}"))?;
    Ok(points.contains(&real))
}

/// An `emptyDir`; tells whether it is new.
pub(super) fn empty_dir(pod: &Pod, volume: &Volume, dir: &Path, sys: &SharedSys) -> Result<bool, String> {
    let spec = volume.empty_dir.clone().unwrap_or_default();
    match spec.medium.as_deref().unwrap_or_default() {
        "" => {
            let new = !dir.is_dir();
            plain(dir)?;
            Ok(new)
        }
        "Memory" => memory(dir, &size_option(pod, spec.size_limit.as_ref().map(|q| q.0.as_str())), sys),
        huge if huge.starts_with("HugePages") => huge_pages(pod, huge, dir, sys),
        other => Err(format!("unknown storage medium {other:?}")),
    }
}

/// Memory is bounded by the volume's own limit and by the pod's.
fn size_option(pod: &Pod, limit: Option<&str>) -> String {
    let own = limit.and_then(|l| Quantity::parse(l).ok()).map(|q| q.value()).filter(|n| *n > 0);
    let limits = resources::pod_limits(pod);
    let all_limited = crate::cgroups::pod_limits(pod, true, 100_000).memory.is_some();
    let pods = all_limited.then(|| resources::value(&limits, "memory")).filter(|n| *n > 0);
    own.into_iter().chain(pods).min().map(|n| format!("size={n}")).unwrap_or_default()
}

fn huge_pages(pod: &Pod, medium: &str, dir: &Path, sys: &SharedSys) -> Result<bool, String> {
    if is_mounted(dir, sys)? {
        return Ok(false);
    }
    let size = match medium.strip_prefix("HugePages-") {
        Some(size) => size.to_string(),
        None => {
            let requests = resources::pod_requests(pod);
            let mut sizes = requests.keys().filter_map(|name| name.strip_prefix("hugepages-"));
            let first =
                sizes.next().ok_or("medium HugePages can be used only if a container requests huge pages")?;
            if sizes.next().is_some() {
                return Err(
                    "medium HugePages can be used only if container requests only one huge page size".into(),
                );
            }
            first.to_string()
        }
    };
    let bytes = Quantity::parse(&size).map_err(|e| e.to_string())?.value();
    plain(dir)?;
    let mount = Mount {
        source: "nodev".into(),
        fstype: "hugetlbfs".into(),
        data: format!("pagesize={bytes}"),
        ..Mount::default()
    };
    sys.mount(&mount, dir).map_err(|e| format!("mount hugetlbfs on {}: {e}", dir.display()))?;
    Ok(true)
}

/// Checks a `hostPath` against its type, making what its type says to make.
pub(super) fn host_path(volume: &Volume) -> Result<(), String> {
    let Some(spec) = &volume.host_path else { return Ok(()) };
    let path = Path::new(&spec.path);
    let wrong = |what: &str| Err(format!("hostPath type check failed: {} is not {what}", spec.path));
    let meta = fs::metadata(path).ok();
    let check = |ok: fn(&fs::FileType) -> bool| meta.as_ref().is_some_and(|m| ok(&m.file_type()));
    match spec.type_.as_deref().unwrap_or_default() {
        "" => Ok(()),
        "DirectoryOrCreate" => {
            if meta.is_none() {
                fs::create_dir_all(path).map_err(|e| format!("mkdir {}: {e}", spec.path))?;
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(|e| e.to_string())?;
                return Ok(());
            }
            if check(fs::FileType::is_dir) { Ok(()) } else { wrong("a directory") }
        }
        "FileOrCreate" => {
            if meta.is_none() {
                fs::File::create(path).map_err(|e| format!("create {}: {e}", spec.path))?;
                return Ok(());
            }
            if check(fs::FileType::is_file) { Ok(()) } else { wrong("a file") }
        }
        "Directory" if !check(fs::FileType::is_dir) => wrong("a directory"),
        "File" if !check(fs::FileType::is_file) => wrong("a file"),
        "Socket" if !check(|t| t.is_socket()) => wrong("a socket file"),
        "CharDevice" if !check(|t| t.is_char_device()) => wrong("a character device"),
        "BlockDevice" if !check(|t| t.is_block_device()) => wrong("a block device"),
        _ => Ok(()),
    }
}

/// Mounts a network filesystem.
pub(super) fn nfs(volume: &Volume, dir: &Path, sys: &SharedSys) -> Result<(), String> {
    let Some(spec) = &volume.nfs else { return Ok(()) };
    if is_mounted(dir, sys)? {
        return Ok(());
    }
    plain(dir)?;
    // NFS needs a helper to negotiate versions and ports, so this goes through mount(8).
    let source = format!("{}:{}", spec.server, spec.path);
    let mut command = std::process::Command::new("mount");
    command.args(["-t", "nfs"]);
    if spec.read_only == Some(true) {
        command.args(["-o", "ro"]);
    }
    let output = command.arg(&source).arg(dir).output().map_err(|e| format!("mount failed: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("mount failed: {}\nOutput: {}", output.status, String::from_utf8_lossy(&output.stderr)))
}
