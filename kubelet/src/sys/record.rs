//! A kernel that only writes down what it was asked.

use super::{Mount, Space, Sys};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};

/// Records calls and remembers mounts.
#[derive(Debug, Default)]
pub struct Recorder {
    calls: Mutex<Vec<String>>,
    mounts: Mutex<Vec<PathBuf>>,
}

impl Recorder {
    /// The calls so far.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().clone()
    }

    fn note(&self, call: String) -> io::Result<()> {
        self.calls.lock().push(call);
        Ok(())
    }
}

impl Sys for Recorder {
    fn mount(&self, mount: &Mount, target: &Path) -> io::Result<()> {
        self.mounts.lock().push(target.to_path_buf());
        let kind = if mount.bind { "bind" } else { &mount.fstype };
        let ro = if mount.read_only { " ro" } else { "" };
        self.note(format!("mount {kind} {} {} [{}]{ro}", mount.source, target.display(), mount.data))
    }

    fn unmount(&self, target: &Path) -> io::Result<()> {
        self.mounts.lock().retain(|m| m != target);
        self.note(format!("unmount {}", target.display()))
    }

    fn mount_points(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self.mounts.lock().clone())
    }

    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let id = |id: Option<u32>| id.map_or("-".to_string(), |id| id.to_string());
        self.note(format!("chown {}:{} {}", id(uid), id(gid), path.display()))
    }

    fn write_control(&self, path: &Path, value: &str) -> io::Result<()> {
        self.note(format!("write {} {value}", path.display()))
    }

    fn make_group(&self, path: &Path) -> io::Result<()> {
        self.note(format!("group {}", path.display()))
    }

    fn remove_group(&self, path: &Path) -> io::Result<()> {
        self.note(format!("ungroup {}", path.display()))
    }

    fn kill(&self, pid: i32) -> io::Result<()> {
        self.note(format!("kill {pid}"))
    }

    fn bind_below(&self, root: &Path, relative: &Path, target: &Path) -> io::Result<()> {
        self.mounts.lock().push(target.to_path_buf());
        self.note(format!("bind {} {} {}", root.display(), relative.display(), target.display()))
    }

    fn make_below(&self, root: &Path, relative: &Path, mode: u32) -> io::Result<()> {
        self.note(format!("make {} {} {mode:o}", root.display(), relative.display()))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(Space { capacity: 100 << 30, available: 50 << 30, inodes: 1_000_000, inodes_free: 900_000 })
    }
}
