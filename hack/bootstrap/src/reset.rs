//! Takes everything off this machine that `init` or `join` put there, in the order that leaves nothing behind.

use crate::config::{Config, KUBERNETES, LOGS, RUN, STATE};
use crate::{kubelet, runtime, supervise, sysctl};
use anyhow::Result;
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Folders that are ours alone.
const FOLDERS: &[&str] = &[
    KUBERNETES,
    "/etc/keelson",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    STATE,
    LOGS,
    RUN,
];

/// Every step is tried, whatever happens to the ones before.
pub(crate) async fn run(config: &Config) -> Result<()> {
    let cgroup_root = kubelet::cgroup_root().unwrap_or_else(|| config.options.cgroup_root.clone());
    step("Stopping the kubelet", || supervise::stop("kubelet"));
    if config.options.cri_socket.is_none() {
        step("Removing pods", || remove_pods(config));
        step("Stopping containerd", || supervise::stop("containerd"));
    }
    step("Unmounting", || {
        unmount_below(&["/var/lib/kubelet", RUN, STATE, "/run/netns/cni-"]);
        Ok(())
    });
    step("Removing nftables tables and links", || {
        network(config);
        Ok(())
    });
    step("Removing cgroups", || {
        remove_cgroups(&cgroup_root);
        Ok(())
    });
    step("Restoring sysctls", || {
        sysctl::restore();
        Ok(())
    });
    step("Removing files", remove_files);
    Ok(())
}

fn step(what: &str, run: impl FnOnce() -> Result<()>) {
    println!("[reset] {what}");
    if let Err(error) = run() {
        println!("    warning: {error:#}");
    }
}

/// Kills every task and removes every container; the CNI plugins take their links down when the runtime stops a sandbox,
/// and what is left of them goes with the network namespaces.
fn remove_pods(config: &Config) -> Result<()> {
    if !runtime::running() {
        return Ok(());
    }
    let tasks = runtime::ctr(config, &["tasks", "list", "--quiet"])?;
    for task in tasks.lines() {
        let _ = runtime::ctr(config, &["tasks", "delete", "--force", task]);
    }
    for container in runtime::ctr(config, &["containers", "list", "--quiet"])?.lines() {
        let _ = runtime::ctr(config, &["containers", "delete", container]);
    }
    Ok(())
}

/// Unmounts what lies below the prefixes, the deepest first.
fn unmount_below(prefixes: &[&str]) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| {
            prefixes.iter().any(|prefix| {
                let below = point.strip_prefix(prefix);
                below.is_some_and(|rest| rest.starts_with('/') || (prefix.ends_with('-') && !rest.is_empty()))
            })
        })
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.len()));
    for point in points {
        let path = point.replace("\\040", " ");
        if let Err(error) = umount2(path.as_str(), MntFlags::MNT_DETACH) {
            println!("    warning: {path}: {error}");
        }
    }
    for name in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if name.file_name().to_string_lossy().starts_with("cni-") {
            let _ = std::fs::remove_file(name.path());
        }
    }
}

/// The daemons clean up after themselves; the bridge is the CNI plugin's, which never does.
fn network(config: &Config) {
    for (program, arguments) in
        [("kube-proxy", &["--cleanup"][..]), ("cloud-controller-manager", &["node-agent", "--cleanup"][..])]
    {
        let path = config.program(program);
        if path.exists() {
            quietly(Command::new(path).args(arguments));
        }
    }
    quietly(Command::new("ip").args(["link", "delete", "cni0"]));
    // Connections that the kernel still remembers would be taken for those of the next cluster, whose addresses are the same.
    for network in [config.options.pod_network_cidr, config.options.service_cidr] {
        for side in ["--orig-src", "--orig-dst"] {
            quietly(Command::new("conntrack").args(["-D", side, &network.to_string()]));
        }
    }
}

fn quietly(command: &mut Command) {
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Removes the pods' cgroups in every hierarchy: below our own root all of it, otherwise kubepods alone.
fn remove_cgroups(root: &str) {
    let relative = root.trim_matches('/');
    let kubepods =
        if relative.is_empty() { PathBuf::from("kubepods") } else { Path::new(relative).join("kubepods") };
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut fields = line.split(' ');
        let (Some(_), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if kind == "cgroup" || kind == "cgroup2" {
            remove_cgroup(&Path::new(point).join(&kubepods));
        }
    }
}

fn remove_cgroup(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

/// Removes our folders; one that is itself a mount point (a private bind, a disk of its own) is emptied and stays.
fn remove_files() -> Result<()> {
    // What others may use too: gone only when nothing of theirs is there.
    for folder in ["/run/containerd/s", "/run/containerd", "/etc/cni/net.d", "/etc/cni"] {
        let _ = std::fs::remove_dir(folder);
    }
    for folder in FOLDERS {
        let path = Path::new(folder);
        if !path.exists() {
            continue;
        }
        if std::fs::remove_dir_all(path).is_err() {
            for entry in std::fs::read_dir(path)?.flatten() {
                let _ = match entry.file_type()?.is_dir() {
                    true => std::fs::remove_dir_all(entry.path()),
                    false => std::fs::remove_file(entry.path()),
                };
            }
        }
    }
    Ok(())
}
