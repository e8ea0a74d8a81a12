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

use anyhow::{Result, bail};
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
    /// Set up the control plane on this machine; `init phase NAME` runs one phase alone, `init phase` lists them.
    Init {
        #[command(flatten)]
        options: Box<config::Options>,
        /// `phase`, or `phase NAME`.
        words: Vec<String>,
    },
    /// Add this machine to the cluster at HOST:PORT; `join HOST:PORT phase NAME` runs one phase alone.
    Join {
        #[command(flatten)]
        options: Box<config::Options>,
        /// The API server's host:port, then perhaps `phase`, or `phase NAME`.
        words: Vec<String>,
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

#[tokio::main(flavor = "current_thread")]
async fn main() {
    if let Err(error) = run(Cli::parse().command).await {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Init { options, words } => {
            let config = config::Config::for_init(*options)?;
            phases::run("init", phases::INIT, &config, only(&words)?).await
        }
        Command::Join { options, mut words } => {
            let endpoint = (!words.is_empty() && words[0] != "phase").then(|| words.remove(0));
            let only = only(&words)?;
            // Listing the phases needs no cluster.
            let listing = only.as_deref() == Some("");
            let endpoint = endpoint.or_else(|| listing.then(|| "localhost:6443".to_string()));
            phases::run("join", phases::JOIN, &config::Config::for_join(*options, endpoint)?, only).await
        }
        Command::Reset { options } => reset::run(&config::Config::for_init(*options)?).await,
        Command::Token { command, kubeconfig } => token::run(command, &kubeconfig).await,
        Command::Supervise(options) => supervise::run(options),
    }
}

/// Which phase alone is meant: `None`, every phase; `Some("")`, list them.
fn only(words: &[String]) -> Result<Option<String>> {
    match words {
        [] => Ok(None),
        [word] if word == "phase" => Ok(Some(String::new())),
        [word, name] if word == "phase" => Ok(Some(name.clone())),
        _ => bail!("unknown arguments {}: expected `phase NAME`", words.join(" ")),
    }
}
