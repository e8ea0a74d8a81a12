//! The kernel behind a small seam, so that the kubelet's logic is tested without root.
//!
//! Only what needs privilege or changes the node as a whole goes through here; plain files below the
//! kubelet's own directories are written directly, as tests can point those anywhere.

mod linux;
mod record;

pub use linux::Linux;
pub use record::Recorder;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a filesystem is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The device, directory or word in the first column of the mount table.
    pub source: String,
    /// The filesystem type; empty for bind mounts.
    pub fstype: String,
    /// Whether it shows an existing directory at a second place.
    pub bind: bool,
    /// Whether nothing can be written to it.
    pub read_only: bool,
    /// Options of the filesystem.
    pub data: String,
}

/// How full a filesystem is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Space {
    /// Bytes in all.
    pub capacity: u64,
    /// Bytes that unprivileged users could still write.
    pub available: u64,
    /// Inodes in all.
    pub inodes: u64,
    /// Inodes still free.
    pub inodes_free: u64,
}

/// The calls.
pub trait Sys: Send + Sync {
    /// Mounts a filesystem.
    fn mount(&self, mount: &Mount, target: &Path) -> io::Result<()>;
    /// Unmounts what was mounted last at `target`; lazily, so that users of it can't block.
    fn unmount(&self, target: &Path) -> io::Result<()>;
    /// Every mount point, in the order of mounting.
    fn mount_points(&self) -> io::Result<Vec<PathBuf>>;
    /// Changes the owner without following a symlink; `None` leaves user or group alone.
    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()>;
    /// Writes a control file of the kernel.
    fn write_control(&self, path: &Path, value: &str) -> io::Result<()>;
    /// Makes a control group.
    fn make_group(&self, path: &Path) -> io::Result<()>;
    /// Removes a control group that is empty.
    fn remove_group(&self, path: &Path) -> io::Result<()>;
    /// Sends SIGKILL.
    fn kill(&self, pid: i32) -> io::Result<()>;
    /// Shows `relative`, below `root`, at `target`. No symlink on the way is followed, so that who can
    /// write below `root` can't have anything else shown.
    fn bind_below(&self, root: &Path, relative: &Path, target: &Path) -> io::Result<()>;
    /// Makes directories below `root` without following symlinks.
    fn make_below(&self, root: &Path, relative: &Path, mode: u32) -> io::Result<()>;
    /// How full the filesystem of `path` is.
    fn space(&self, path: &Path) -> io::Result<Space>;
}

/// The seam as it is passed around.
pub type SharedSys = Arc<dyn Sys>;
