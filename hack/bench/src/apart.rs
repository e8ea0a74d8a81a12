//! Work on a thread of its own, also in another network namespace: the rest of the program stays where it is. What the thread
//! starts or opens is in that namespace too.

use crate::Bench;
use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// Runs in a new namespace, which goes when nothing is left in it. Only its loopback is up.
pub(crate) fn in_new<T: Send>(bench: &Bench, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(
        bench,
        || Ok(unshare(CloneFlags::CLONE_NEWNET)?),
        async || {
            ip("link set lo up")?;
            work().await
        },
    )
}

/// Runs in the namespace that a file of `/proc` or `/run/netns` names.
pub(crate) fn inside<T: Send>(
    bench: &Bench,
    file: &Path,
    work: impl AsyncFnOnce() -> Result<T> + Send,
) -> Result<T> {
    let namespace = File::open(file).with_context(|| file.display().to_string())?;
    on_thread(bench, || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?), work)
}

/// Runs where the program is, but without waiting for what else it does: nothing else runs on the thread.
pub(crate) fn here<T: Send>(bench: &Bench, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    on_thread(bench, || Ok(()), work)
}

/// Runs `ip` with these arguments where the calling thread is.
pub(crate) fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("ip")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "ip {arguments}: {}", said.trim());
    Ok(())
}

fn on_thread<T: Send>(
    bench: &Bench,
    enter: impl FnOnce() -> Result<()> + Send,
    work: impl AsyncFnOnce() -> Result<T> + Send,
) -> Result<T> {
    let body = || {
        enter()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(bench.unless_stopped(work()))
    };
    std::thread::scope(|scope| scope.spawn(body).join()).map_err(|_| anyhow!("the thread panicked"))?
}
