//! The `main` of every daemon.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::flags::{self, Group, Parsed};
use crate::tasks::Tasks;
use crate::{logs, metrics, version};

/// What a daemon is.
pub struct Spec {
    /// Its name, as upstream's.
    pub name: &'static str,
    /// What it does, for `--help`.
    pub about: &'static str,
    /// Its command line. [`LOGS`](flags::groups::LOGS) and [`GLOBAL`](flags::groups::GLOBAL) must be among the groups.
    pub groups: &'static [&'static Group],
    /// Sets it up: spawns its tasks and returns. The process then lives until one fails or a signal comes.
    pub run: fn(Context) -> BoxFuture<'static, anyhow::Result<()>>,
    /// How long graceful tasks have to finish.
    pub grace: Duration,
}

/// What a daemon is given.
#[derive(Clone)]
pub struct Context {
    /// Its parsed command line.
    pub flags: Arc<Parsed>,
    /// Where its tasks run.
    pub tasks: Tasks,
}

/// Runs a daemon with the process's arguments.
pub fn main(spec: &'static Spec) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    main_with(spec, &args)
}

/// Runs a daemon with these arguments.
pub fn main_with(spec: &'static Spec, args: &[String]) -> ExitCode {
    let flags = match flags::parse(spec.name, spec.about, spec.groups, args) {
        Ok(flags) => flags,
        Err(error) => {
            eprintln!("Error: {error}\nSee '{} --help' for usage.", spec.name);
            return ExitCode::FAILURE;
        }
    };
    if let Some(text) = flags.help() {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    if let Some(text) = version::requested(flags.str("version")) {
        println!("{text}");
        return ExitCode::SUCCESS;
    }
    if let Err(error) = logs::init(&flags) {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    flags.remarks().iter().for_each(|remark| tracing::warn!("{remark}"));
    if flags.knows("disabled-metrics") {
        metrics::disable(flags.list("disabled-metrics"));
    }
    raise_file_limit();
    // Two threads serve what these daemons do; more only cost memory.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("Error: starting threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(spec, flags));
    // Blocking work that hangs must not keep a process that is done.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            tracing::error!(err = reason, "command failed");
            ExitCode::FAILURE
        }
    }
}

/// Takes all the file descriptors that the process may have, as Go's runtime does: each client is one.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, hard, "The limit of open files can't be raised");
    }
}

async fn run(spec: &'static Spec, flags: Parsed) -> Result<(), String> {
    let tasks = Tasks::new();
    let context = Context { flags: Arc::new(flags), tasks: tasks.clone() };
    tracing::info!(version = version::GIT_VERSION, "Starting {}", spec.name);
    // Setting up may take long (waiting for a lease), and signals must work meanwhile.
    let set_up = (spec.run)(context);
    tasks.spawn(spec.name, set_up);
    tasks.run_until_signal(spec.grace).await.map_err(|failure| failure.to_string())
}

/// This host's name.
pub fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_lowercase()
}

/// A name for this process among its replicas: the host and a random part.
pub fn identity() -> String {
    format!("{}_{}", hostname(), uuid::Uuid::new_v4())
}
