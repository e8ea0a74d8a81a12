//! The two forms of the kernel's interface.

use crate::sys::SharedSys;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Which interface the node has.
#[derive(Clone, Debug, PartialEq)]
pub enum Version {
    /// A tree per controller: its name and where it is mounted.
    V1(BTreeMap<String, PathBuf>),
    /// One tree.
    V2(PathBuf),
}

/// What a group is held to. `None` leaves a value as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Weight of the CPU controller.
    pub cpu_shares: Option<i64>,
    /// CPU time per period in microseconds; negative for no limit.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<i64>,
    /// Memory in bytes; negative for no limit.
    pub memory: Option<i64>,
    /// Number of processes.
    pub pids: Option<i64>,
}

/// The controllers the kubelet sets limits with; the rest only need the group to exist.
const V2_CONTROLLERS: &[&str] = &["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];
/// In a container's groups but not in a pod's.
const V1_IGNORED: &[&str] = &["name=systemd"];

/// Makes, limits and removes groups, named by paths such as `/kubepods/burstable`.
#[derive(Clone)]
pub struct Hierarchy {
    version: Version,
    sys: SharedSys,
}

impl Hierarchy {
    /// Works on a given interface.
    pub fn new(version: Version, sys: SharedSys) -> Hierarchy {
        Hierarchy { version, sys }
    }

    /// Finds the node's interface in its mount table. With both mounted, as on hybrid hosts, the one
    /// that has the controllers counts.
    pub fn detect(sys: SharedSys) -> io::Result<Hierarchy> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let version = from_mountinfo(&table)
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, "failed to find cgroup mounts"))?;
        Ok(Hierarchy::new(version, sys))
    }

    /// Whether this is the unified interface.
    pub fn is_v2(&self) -> bool {
        matches!(self.version, Version::V2(_))
    }

    /// The controllers there are.
    pub fn controllers(&self) -> BTreeSet<String> {
        match &self.version {
            Version::V1(mounts) => mounts.keys().cloned().collect(),
            Version::V2(root) => {
                let list = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
                list.split_whitespace().map(str::to_string).collect()
            }
        }
    }

    fn directories(&self, name: &str) -> Vec<PathBuf> {
        let relative = name.trim_start_matches('/');
        match &self.version {
            Version::V1(mounts) => {
                let mut dirs: Vec<_> = mounts.values().map(|m| m.join(relative)).collect();
                dirs.sort();
                dirs.dedup();
                dirs
            }
            Version::V2(root) => vec![root.join(relative)],
        }
    }

    fn directory(&self, controller: &str, name: &str) -> Option<PathBuf> {
        let relative = name.trim_start_matches('/');
        match &self.version {
            Version::V1(mounts) => Some(mounts.get(controller)?.join(relative)),
            Version::V2(root) => Some(root.join(relative)),
        }
    }

    /// Whether the group exists under every controller.
    pub fn exists(&self, name: &str) -> bool {
        self.directories(name).iter().all(|d| d.is_dir())
    }

    /// Makes a group and its parents.
    pub fn create(&self, name: &str) -> io::Result<()> {
        for dir in self.directories(name) {
            self.sys.make_group(&dir)?;
        }
        match &self.version {
            Version::V1(mounts) => {
                if let Some(root) = mounts.get("cpuset") {
                    self.inherit_cpuset(root, name)?;
                }
            }
            Version::V2(root) => self.enable_controllers(root, name)?,
        }
        Ok(())
    }

    /// A new v1 cpuset is empty, and no process can enter it then.
    fn inherit_cpuset(&self, root: &Path, name: &str) -> io::Result<()> {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let mut dir = root.to_path_buf();
            let mut value = fs::read_to_string(dir.join(file)).unwrap_or_default();
            for part in name.split('/').filter(|p| !p.is_empty()) {
                dir.push(part);
                let own = fs::read_to_string(dir.join(file)).unwrap_or_default();
                if own.trim().is_empty() && !value.trim().is_empty() {
                    self.sys.write_control(&dir.join(file), value.trim())?;
                } else {
                    value = own;
                }
            }
        }
        Ok(())
    }

    /// In v2 a parent says which controllers its children have.
    fn enable_controllers(&self, root: &Path, name: &str) -> io::Result<()> {
        let mut dir = root.to_path_buf();
        for part in name.split('/').filter(|p| !p.is_empty()) {
            let there = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
            let on = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
            let wanted = there.split_whitespace().filter(|c| V2_CONTROLLERS.contains(c));
            for controller in wanted.filter(|c| !on.split_whitespace().any(|o| o == *c)) {
                self.sys.write_control(&dir.join("cgroup.subtree_control"), &format!("+{controller}"))?;
            }
            dir.push(part);
        }
        Ok(())
    }

    /// Applies limits to a group.
    pub fn apply(&self, name: &str, limits: &Limits) -> io::Result<()> {
        for (controller, file, value) in self.files(limits) {
            let Some(dir) = self.directory(controller, name) else { continue };
            let path = dir.join(file);
            match self.sys.write_control(&path, &value) {
                Ok(()) => {}
                // Not every kernel has every controller.
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    tracing::debug!(path = %path.display(), "control file is missing");
                }
                Err(e) => {
                    return Err(io::Error::new(
                        e.kind(),
                        format!("write {value:?} to {}: {e}", path.display()),
                    ));
                }
            }
        }
        Ok(())
    }

    fn files(&self, limits: &Limits) -> Vec<(&'static str, &'static str, String)> {
        let mut files = Vec::new();
        let v2 = self.is_v2();
        if let Some(shares) = limits.cpu_shares {
            files.push(if v2 {
                ("cpu", "cpu.weight", weight(shares).to_string())
            } else {
                ("cpu", "cpu.shares", shares.to_string())
            });
        }
        match (limits.cpu_quota, limits.cpu_period) {
            (Some(quota), period) if v2 => {
                let max = if quota > 0 { quota.to_string() } else { "max".into() };
                files.push(("cpu", "cpu.max", format!("{max} {}", period.unwrap_or(100_000))));
            }
            (quota, period) => {
                files.extend(period.map(|p| ("cpu", "cpu.cfs_period_us", p.to_string())));
                files.extend(
                    quota.map(|q| ("cpu", "cpu.cfs_quota_us", if q > 0 { q } else { -1 }.to_string())),
                );
            }
        }
        if let Some(memory) = limits.memory {
            let unlimited = memory <= 0;
            files.push(match (v2, unlimited) {
                (true, true) => ("memory", "memory.max", "max".into()),
                (true, false) => ("memory", "memory.max", memory.to_string()),
                (false, true) => ("memory", "memory.limit_in_bytes", "-1".into()),
                (false, false) => ("memory", "memory.limit_in_bytes", memory.to_string()),
            });
        }
        if let Some(pids) = limits.pids {
            files.push(("pids", "pids.max", if pids > 0 { pids.to_string() } else { "max".into() }));
        }
        files
    }

    /// Removes a group with all below it, and kills what still runs there. A group whose last process
    /// is only just dying is busy for a moment: the caller tries again later.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        for dir in self.directories(name) {
            self.remove_tree(&dir)?;
        }
        Ok(())
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
            self.remove_tree(&entry.path())?;
        }
        for pid in processes(dir) {
            // It may be gone by now; the removal tells.
            self.sys.kill(pid).ok();
        }
        match self.sys.remove_group(dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// The names of the groups right below one, under any controller.
    pub fn children(&self, name: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for dir in self.directories(name) {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let dirs = entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            names.extend(dirs.filter_map(|e| e.file_name().into_string().ok()));
        }
        names
    }
}

fn processes(dir: &Path) -> Vec<i32> {
    let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Version 2 counts weights from 1 to 10000 where version 1 had shares from 2 to 262144. The runtime
/// converts the same way.
fn weight(shares: i64) -> i64 {
    1 + (shares.max(2) - 2) * 9999 / 262_142
}

fn from_mountinfo(table: &str) -> Option<Version> {
    let (mut v1, mut v2) = (BTreeMap::new(), None);
    for line in table.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let point = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup2") => v2 = v2.or(Some(point)),
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                for option in options.split(',').filter(|o| !matches!(*o, "rw" | "ro")) {
                    if !V1_IGNORED.contains(&option) {
                        v1.entry(option.to_string()).or_insert_with(|| point.clone());
                    }
                }
            }
            _ => {}
        }
    }
    if v1.contains_key("memory") || v1.contains_key("cpu") {
        return Some(Version::V1(v1));
    }
    v2.map(Version::V2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Recorder;
    use std::sync::Arc;

    #[test]
    fn the_mount_table_tells_the_version() {
        let v1 = "30 20 0:5 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                  31 20 0:6 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                  32 20 0:7 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let cpu = PathBuf::from("/sys/fs/cgroup/cpu");
        let want = [("cpu".to_string(), cpu.clone()), ("cpuacct".to_string(), cpu)].into();
        assert_eq!(from_mountinfo(v1), Some(Version::V1(want)));
        let v2 = "30 20 0:5 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(from_mountinfo(v2), Some(Version::V2("/sys/fs/cgroup".into())));
    }

    fn written(version: Version) -> Vec<String> {
        let sys = Arc::new(Recorder::default());
        let limits = Limits {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory: Some(-1),
            pids: Some(10),
        };
        Hierarchy::new(version, sys.clone()).apply("/k/pod1", &limits).unwrap();
        sys.calls()
    }

    #[test]
    fn both_versions_get_their_files() {
        let v1 = ["cpu", "memory", "pids"].map(|c| (c.to_string(), PathBuf::from(format!("/c/{c}"))));
        assert_eq!(
            written(Version::V1(v1.into())),
            [
                "write /c/cpu/k/pod1/cpu.shares 512",
                "write /c/cpu/k/pod1/cpu.cfs_period_us 100000",
                "write /c/cpu/k/pod1/cpu.cfs_quota_us 50000",
                "write /c/memory/k/pod1/memory.limit_in_bytes -1",
                "write /c/pids/k/pod1/pids.max 10",
            ]
        );
        assert_eq!(
            written(Version::V2("/c".into())),
            [
                "write /c/k/pod1/cpu.weight 20",
                "write /c/k/pod1/cpu.max 50000 100000",
                "write /c/k/pod1/memory.max max",
                "write /c/k/pod1/pids.max 10",
            ]
        );
    }

    #[test]
    fn weights() {
        assert_eq!([weight(2), weight(1024), weight(262_144)], [1, 39, 10_000]);
    }
}
