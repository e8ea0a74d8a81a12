//! The phases of `init` and `join`, in order, each callable alone.

use crate::config::Config;
use crate::{addons, certs, cluster, control_plane, join, kubeconfig, kubelet, runtime, sysctl, token};
use anyhow::{Context, Result, bail};
use std::pin::Pin;

type Run = for<'a> fn(&'a Config) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A named step.
pub(crate) struct Phase {
    name: &'static str,
    what: &'static str,
    run: Run,
}

macro_rules! phase {
    ($name:literal, $what:literal, $run:path) => {
        Phase { name: $name, what: $what, run: |config| Box::pin(async move { $run(config).await }) }
    };
}

/// kubeadm's init phases, plus `runtime` (containerd is ours to start) and `sysctl`.
pub(crate) const INIT: &[Phase] = &[
    phase!("preflight", "Checking this machine", runtime::preflight),
    phase!("sysctl", "Setting the kernel's forwarding", sysctl::apply),
    phase!("certs", "Making certificates and keys", certs::run),
    phase!("kubeconfig", "Writing kubeconfig files", kubeconfig::run),
    phase!("etcd", "Writing the static pod of etcd", control_plane::etcd),
    phase!("control-plane", "Writing the static pods of the control plane", control_plane::run),
    phase!("runtime", "Starting containerd and importing images", runtime::start),
    phase!("kubelet-start", "Starting the kubelet", kubelet::start),
    phase!("wait-control-plane", "Waiting for the API server", cluster::wait),
    phase!("upload-config", "Storing the configuration in the cluster", cluster::upload_config),
    phase!("mark-control-plane", "Marking this node as control plane", cluster::mark_control_plane),
    phase!("bootstrap-token", "Making a bootstrap token and what joining needs", token::init),
    phase!("kubelet-finalize", "Letting the kubelet rotate its certificate", kubelet::finalize),
    phase!("addon", "Installing kube-proxy, cluster DNS and the node agent", addons::run),
    phase!("wait-ready", "Waiting until this node is Ready", cluster::wait_ready),
    phase!("wait-addons", "Waiting until the add-ons are Ready", addons::wait),
    phase!("show-join-command", "To add a node, run there", token::show_join_command),
];

/// kubeadm's join phases for a worker.
pub(crate) const JOIN: &[Phase] = &[
    phase!("preflight", "Checking this machine", runtime::preflight),
    phase!("sysctl", "Setting the kernel's forwarding", sysctl::apply),
    phase!("discovery", "Discovering and verifying the cluster", join::discover),
    phase!("runtime", "Starting containerd and importing images", runtime::start),
    phase!("kubelet-start", "Starting the kubelet with the bootstrap token", join::start_kubelet),
    phase!("wait-ready", "Waiting until this node is Ready", cluster::wait_ready),
];

/// Runs every phase but those of `--skip-phases`, or `only` one.
pub(crate) async fn run(verb: &str, phases: &[Phase], config: &Config, only: Option<String>) -> Result<()> {
    let known = |name: &str| phases.iter().any(|phase| phase.name == name);
    if let Some(unknown) = config.options.skip_phases.iter().find(|name| !known(name)) {
        bail!("--skip-phases: {verb} has no phase {unknown:?}");
    }
    if let Some(name) = only.as_deref() {
        if name.is_empty() {
            phases.iter().for_each(|phase| println!("{:<20} {}", phase.name, phase.what));
            return Ok(());
        }
        if !known(name) {
            bail!("{verb} has no phase {name:?}; `keelsonadm {verb} phase` lists them");
        }
    }
    for phase in phases {
        let wanted = match only.as_deref() {
            Some(name) => name == phase.name,
            None => !config.options.skip_phases.iter().any(|skipped| skipped == phase.name),
        };
        if wanted {
            println!("[{}] {}", phase.name, phase.what);
            (phase.run)(config).await.with_context(|| format!("phase {}", phase.name))?;
        }
    }
    Ok(())
}
