//! `make bench`: measures the daemons against etcd's own rate, and against upstream's where they are at hand, in one run on
//! one machine. It prints a table beside the budgets; it never asserts, because machines are noisy.

mod etcd;
mod load;
mod measure;
mod objects;
mod process;
mod seed;
mod server;
mod table;
mod wire;

use anyhow::{Context, Result};
use clap::Parser;
use etcd::Etcd;
use process::Scratch;
use server::{Server, Setup};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;

#[derive(Parser)]
#[command(about = "Measures the daemons beside etcd's own rate")]
struct Options {
    /// The folder of the daemons to measure.
    #[arg(long)]
    bin: PathBuf,
    /// A folder with upstream's daemons of the same names, measured in the same way.
    #[arg(long)]
    against: Option<PathBuf>,
    /// The etcd program.
    #[arg(long)]
    etcd: PathBuf,
    /// How long each load lasts, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only these families of measures.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// What the measures work with.
pub(crate) struct Bench {
    bin: PathBuf,
    etcd: PathBuf,
    scratch: Scratch,
    /// How long a load lasts.
    pub(crate) period: Duration,
}

impl Bench {
    /// A daemon's program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The same with a scratch folder of its own, for a second etcd beside the first.
    pub(crate) fn beside(&self, name: &str) -> Result<Bench> {
        let scratch = Scratch::below(self.scratch.folder(name)?);
        Ok(Bench { bin: self.bin.clone(), etcd: self.etcd.clone(), scratch, period: self.period })
    }

    /// A fresh etcd.
    pub(crate) async fn etcd(&self) -> Result<Etcd> {
        Etcd::start(&self.etcd, &self.fresh("etcd")?).await
    }

    /// A server on a fresh etcd, ready for loads.
    pub(crate) async fn server(&self) -> Result<(Server, Etcd)> {
        let etcd = self.etcd().await?;
        let server = self.server_on(&etcd).await?;
        server.prepare().await?;
        Ok((server, etcd))
    }

    /// A server on an etcd.
    pub(crate) async fn server_on(&self, etcd: &Etcd) -> Result<Server> {
        let setup = Setup::new(&self.fresh("server")?)?;
        Server::start(&self.program("kube-apiserver"), &setup, etcd).await
    }

    fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch.folder(name)?;
        std::fs::remove_dir_all(&folder)?;
        self.scratch.folder(name)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let options = Options::parse();
    println!("{}\n", process::machine());
    let mut table = Table::default();
    let daemons: Vec<&Path> =
        std::iter::once(&options.bin).chain(&options.against).map(PathBuf::as_path).collect();
    for (name, family) in measure::FAMILIES {
        if !options.only.is_empty() && !options.only.iter().any(|wanted| wanted == name) {
            continue;
        }
        for (column, bin) in daemons.iter().enumerate() {
            eprintln!("{name}: {}", bin.display());
            table.column(column);
            let bench = Bench {
                bin: bin.to_path_buf(),
                etcd: options.etcd.clone(),
                scratch: Scratch::new()?,
                period: Duration::from_secs(options.seconds),
            };
            family(&bench, &mut table).await.with_context(|| format!("{name} of {}", bin.display()))?;
        }
    }
    table.print();
    Ok(())
}
