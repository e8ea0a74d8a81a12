//! `make bench`: measures the daemons against etcd's own rate, and against upstream's where they are at hand, in one run on
//! one machine. It prints a table beside the budgets; it never asserts, because machines are noisy.

mod apart;
mod etcd;
mod load;
mod measure;
mod objects;
mod process;
mod seed;
mod server;
mod table;
mod wire;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use etcd::Etcd;
use process::Scratch;
use server::{Server, Setup};
use std::path::{Path, PathBuf};
use std::time::Duration;
use table::Table;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

#[derive(Parser)]
#[command(about = "Measures the daemons beside etcd's own rate and their budgets", after_help = measure::help())]
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
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
}

/// What the measures work with.
pub(crate) struct Bench {
    bin: PathBuf,
    etcd: PathBuf,
    scratch: Scratch,
    /// How long a load lasts.
    pub(crate) period: Duration,
    /// Becomes true when the run is to end early.
    stop: watch::Receiver<bool>,
}

impl Bench {
    /// A daemon's program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The same with a scratch folder of its own, for a second etcd beside the first.
    pub(crate) fn beside(&self, name: &str) -> Result<Bench> {
        let scratch = Scratch::below(self.scratch.folder(name)?);
        let (bin, etcd, stop) = (self.bin.clone(), self.etcd.clone(), self.stop.clone());
        Ok(Bench { bin, etcd, scratch, period: self.period, stop })
    }

    /// A folder that goes with the family.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf> {
        self.scratch.folder(name)
    }

    /// Does the work unless the run is stopped; then what was started for it goes too.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut stop = self.stop.clone();
        tokio::select! {
            result = work => result,
            Ok(_) = stop.wait_for(|stop| *stop) => bail!("stopped"),
        }
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
    let known = |name: &&String| measure::FAMILIES.iter().any(|family| family.name == *name);
    if let Some(unknown) = options.only.iter().find(|name| !known(name)) {
        bail!("--only: no family {unknown:?}; --help lists them");
    }
    let (stopped, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        stopped.send_replace(true);
        // Kept, so that waiting for the next change doesn't fail.
        std::future::pending::<()>().await;
    });
    let machine = process::machine();
    eprintln!("{machine}");
    let mut table = Table::default();
    let daemons: Vec<&Path> =
        std::iter::once(&options.bin).chain(&options.against).map(PathBuf::as_path).collect();
    let mut failed = Vec::new();
    for family in measure::FAMILIES {
        let named = options.only.iter().any(|wanted| wanted == family.name);
        if *stop.borrow() || !named && (family.asked_for || !options.only.is_empty()) {
            continue;
        }
        for (column, bin) in daemons.iter().enumerate().filter(|(n, _)| *n == 0 || family.comparable) {
            eprintln!("{}: {}", family.name, bin.display());
            table.column(column);
            let bench = Bench {
                bin: bin.to_path_buf(),
                etcd: options.etcd.clone(),
                scratch: Scratch::new()?,
                period: Duration::from_secs(options.seconds),
                stop: stop.clone(),
            };
            // One that fails doesn't keep the others from being measured.
            if let Err(error) = bench.unless_stopped((family.measure)(&bench, &mut table)).await {
                eprintln!("{} of {}: {error:#}", family.name, bin.display());
                failed.push(family.name);
            }
            if *stop.borrow() {
                break;
            }
        }
    }
    println!("{machine}\n");
    if options.markdown {
        table.print_markdown();
    } else {
        table.print();
    }
    ensure!(failed.is_empty(), "not all was measured: {} failed", failed.join(", "));
    Ok(())
}
