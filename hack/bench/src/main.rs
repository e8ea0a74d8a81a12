//! `make bench`: measures the API server against etcd's own rate, and against upstream's daemon where one is at hand, in
//! one run on one machine. It prints a table beside the budgets; it never asserts, because machines are noisy.

mod etcd;
mod load;
mod process;
mod server;

use anyhow::Result;
use clap::Parser;
use process::Scratch;
use server::{Server, Setup};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
#[command(about = "Measures kube-apiserver against etcd's own rate")]
struct Options {
    /// The kube-apiserver to measure.
    #[arg(long)]
    apiserver: PathBuf,
    /// Another one, upstream's say, measured in the same way.
    #[arg(long)]
    against: Option<PathBuf>,
    /// The etcd program.
    #[arg(long)]
    etcd: PathBuf,
    /// How long each load lasts, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// How many ConfigMaps of about one kilobyte are listed.
    #[arg(long, default_value_t = 12_500)]
    objects: usize,
}

/// What was measured of one server.
struct Figures {
    ready: Duration,
    idle_memory: u64,
    creates: f64,
    gets: f64,
    lists: f64,
    lists_consistent: f64,
    full_memory: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let period = Duration::from_secs(options.seconds);
    let scratch = Scratch::new()?;
    println!("{}\n", process::machine());

    let raw = {
        let etcd = etcd::Etcd::start(&options.etcd, &scratch.folder("raw")?).await?;
        etcd::create_rate(&etcd, period).await?
    };
    println!("etcd: {raw:.0} create-if-absent transactions/s, 32 clients, one watch with previous values\n");

    let ours = measure(&options, &options.apiserver, &scratch.folder("ours")?, period).await?;
    let other = match &options.against {
        Some(program) => Some(measure(&options, program, &scratch.folder("other")?, period).await?),
        None => None,
    };
    print_table(raw, &ours, other.as_ref());
    Ok(())
}

async fn measure(
    options: &Options,
    program: &std::path::Path,
    folder: &std::path::Path,
    period: Duration,
) -> Result<Figures> {
    let etcd = etcd::Etcd::start(&options.etcd, &folder.join("etcd")).await?;
    let setup = Setup::new(folder)?;
    let mut server = Server::start(program, &setup, &etcd).await?;
    let ready = server.ready;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle_memory = server.memory();
    let clients = setup.clients(&server, 32).await?;
    let creates = load::creates(&clients, period).await?;
    load::fill(&clients, options.objects).await?;
    let gets = load::gets(&clients, period).await?;
    let lists = load::lists(&clients[..4], period, "?resourceVersion=0").await?;
    let lists_consistent = load::lists(&clients[..4], period, "").await?;
    let full_memory = server.memory();
    server.stop();
    Ok(Figures { ready, idle_memory, creates, gets, lists, lists_consistent, full_memory })
}

fn print_table(raw: f64, ours: &Figures, other: Option<&Figures>) {
    let line = |what: &str, show: &dyn Fn(&Figures) -> String, budget: &str| {
        println!("| {what} | {} | {} | {budget} |", show(ours), other.map_or("-".into(), show));
    };
    let megabytes = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    println!("| measure | Keelson | the other | budget |\n| --- | --- | --- | --- |");
    line("exec to ready", &|f| format!("{:.2} s", f.ready.as_secs_f64()), "≤ 0.15 s");
    line("idle memory", &|f| megabytes(f.idle_memory), "≤ 70 MB for five daemons");
    line(
        "create ConfigMap, 32 connections",
        &|f| format!("{:.0}/s, {:.2} × etcd", f.creates, f.creates / raw),
        "≥ 0.65 × etcd",
    );
    line("GET, consistent, 32 connections", &|f| format!("{:.0}/s", f.gets), "≥ 20,000/s");
    line(
        "LIST of all ConfigMaps, resourceVersion=0, 4 connections",
        &|f| format!("{:.1}/s", f.lists),
        "≥ 60/s",
    );
    line("the same, consistent", &|f| format!("{:.1}/s", f.lists_consistent), "≥ 10 × upstream");
    line("memory afterwards", &|f| megabytes(f.full_memory), "≤ 120 MB");
}
