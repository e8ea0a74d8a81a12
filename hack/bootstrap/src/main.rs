//! `keelsonadm`: brings a Keelson cluster up as kubeadm does, with its verbs, phases, file layout and RBAC objects.
//!
//! Each phase is a function of the same [`config::Config`], can be called alone (`keelsonadm init phase certs`), may be
//! run again, and prints what it does.

mod addons;
mod api;
mod certs;
mod cluster;
mod config;
mod control_plane;
mod join;
mod kubeconfig;
mod kubelet;
mod phases;
mod reset;
mod runtime;
mod supervise;
mod sysctl;
mod token;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(name = "keelsonadm", about = "Bootstraps Keelson clusters, with kubeadm's verbs and phases")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set up the control plane on this machine.
    Init {
        #[command(flatten)]
        options: Box<config::Options>,
        /// One phase alone: `phase NAME`.
        #[command(subcommand)]
        phase: Option<PhaseCommand>,
    },
    /// Add this machine to a cluster.
    Join {
        /// The API server's host:port.
        endpoint: Option<String>,
        #[command(flatten)]
        options: Box<config::Options>,
        #[command(subcommand)]
        phase: Option<PhaseCommand>,
    },
    /// Stop and remove everything that init or join set up on this machine.
    Reset {
        #[command(flatten)]
        options: Box<config::Options>,
    },
    /// Create, list, delete or generate bootstrap tokens.
    Token {
        #[command(subcommand)]
        command: token::Command,
        /// The kubeconfig to use.
        #[arg(long, global = true, default_value = "/etc/kubernetes/admin.conf")]
        kubeconfig: PathBuf,
    },
    /// Run a program in the background and start it again whenever it ends.
    #[command(hide = true)]
    Supervise(supervise::Options),
}

#[derive(Subcommand)]
enum PhaseCommand {
    /// Run one phase alone; without a name, list them.
    Phase { name: Option<String> },
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let Err(error) = run(Cli::parse().command).await {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Init { options, phase } => {
            let config = config::Config::for_init(*options)?;
            phases::run("init", phases::INIT, &config, only(phase)).await
        }
        Command::Join { endpoint, options, phase } => {
            let config = config::Config::for_join(*options, endpoint)?;
            phases::run("join", phases::JOIN, &config, only(phase)).await
        }
        Command::Reset { options } => reset::run(&config::Config::for_init(*options)?).await,
        Command::Token { command, kubeconfig } => token::run(command, &kubeconfig).await,
        Command::Supervise(options) => supervise::run(options),
    }
}

/// `None`: every phase. `Some("")`: list them.
fn only(phase: Option<PhaseCommand>) -> Option<String> {
    phase.map(|PhaseCommand::Phase { name }| name.unwrap_or_default())
}
