//! containerd: its configuration, its start, and the images it must already have.

use crate::config::{Config, RUN, STATE, write};
use crate::supervise;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SOCKET: &str = "/run/keelson/containerd/containerd.sock";

/// Finds what is missing before anything is changed.
pub(crate) async fn preflight(config: &Config) -> Result<()> {
    let mut problems = Vec::new();
    if !nix::unistd::Uid::effective().is_root() {
        problems.push("must run as root".to_string());
    }
    for name in ["kubelet", "keelsonadm"] {
        if !config.program(name).exists() {
            problems
                .push(format!("{} is missing: `make install` puts it there", config.program(name).display()));
        }
    }
    if config.options.cri_socket.is_none() {
        for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
            if !config.program(program).exists() {
                problems.push(format!("{} is missing", config.program(program).display()));
            }
        }
        if in_path("runc").is_none() {
            problems.push("runc is not in the PATH".into());
        }
    }
    for plugin in ["bridge", "host-local", "loopback", "portmap"] {
        if !config.options.cni_bin_dir.join(plugin).exists() {
            problems
                .push(format!("the CNI plugin {plugin} is not in {}", config.options.cni_bin_dir.display()));
        }
    }
    if !std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() <= 1) {
        println!("    warning: swap is on; the kubelet runs with failSwapOn: false");
    }
    if !problems.is_empty() {
        bail!("this machine is not ready:\n  - {}", problems.join("\n  - "));
    }
    Ok(())
}

/// Starts containerd (unless `--cri-socket` names a runtime of the user's) and imports the image archives.
pub(crate) async fn start(config: &Config) -> Result<()> {
    if config.options.cri_socket.is_some() {
        println!("    using {}", config.cri_endpoint());
        return Ok(());
    }
    if !running() {
        let file = PathBuf::from("/etc/keelson/containerd.toml");
        write(&file, configuration(config), 0o644)?;
        let command = [
            config.program("containerd").display().to_string(),
            "--config".into(),
            file.display().to_string(),
        ];
        supervise::start("containerd", &command, &[("PATH", path_with(&config.options.prefix.join("bin")))])?;
        wait_for_socket().await?;
    }
    import(config)
}

/// Whether our containerd answers.
pub(crate) fn running() -> bool {
    std::os::unix::net::UnixStream::connect(SOCKET).is_ok()
}

async fn wait_for_socket() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !running() {
        if Instant::now() > deadline {
            bail!("containerd did not open {SOCKET} within a minute: see /var/log/keelson/containerd.log");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn configuration(config: &Config) -> String {
    format!(
        r#"version = 2
root = "{STATE}/containerd"
state = "{RUN}/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "{SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{STATE}/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
  Root = "{RUN}/runc"
"#,
        pause = config.pause_image(),
        cni = config.options.cni_bin_dir.display(),
    )
}

/// Runs `ctr` against our containerd, in the namespace that the CRI uses.
pub(crate) fn ctr(config: &Config, arguments: &[&str]) -> Result<String> {
    let output = Command::new(config.program("ctr"))
        .args(["--address", SOCKET, "--namespace", "k8s.io"])
        .args(arguments)
        .output()
        .context("running ctr")?;
    if !output.status.success() {
        bail!("ctr {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn import(config: &Config) -> Result<()> {
    let folder = config.options.prefix.join("images");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("    no image archives in {}", folder.display());
        return Ok(());
    };
    let mut archives: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "tar"))
        .collect();
    archives.sort();
    for archive in &archives {
        ctr(config, &["images", "import", &archive.display().to_string()])?;
    }
    // Nobody could pull them again: a kubelet short of disk must not remove them.
    let mine = format!("name~=^{}/", config.options.image_repository.replace('.', "\\."));
    for image in ctr(config, &["images", "list", "--quiet", &mine])?.lines() {
        ctr(config, &["images", "label", image, "io.cri-containerd.pinned=pinned"])?;
    }
    println!("    {} images imported", archives.len());
    Ok(())
}

fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.exists())
}

/// The PATH with `folder` first.
pub(crate) fn path_with(folder: &Path) -> String {
    format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into())
    )
}
