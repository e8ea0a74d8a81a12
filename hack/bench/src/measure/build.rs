//! A release build from nothing: all programs and their dependencies, in a folder of its own.

use crate::Bench;
use crate::table::Table;
use anyhow::{Result, ensure};
use std::process::Command;
use std::time::Instant;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    // What the network takes is no part of it.
    let fetched = Command::new("cargo").args(["fetch", "--locked"]).current_dir(e2e::root()).status()?;
    ensure!(fetched.success(), "cargo fetch: {fetched}");
    let target = bench.scratch("target")?;
    let began = Instant::now();
    let built = Command::new("bash")
        .args(["-euc", ". hack/lib.sh; build_static . >&2"])
        .current_dir(e2e::root())
        .env("CARGO_TARGET_DIR", &target)
        .status()?;
    ensure!(built.success(), "the build: {built}");
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    table.add(
        "release build of everything, from nothing",
        "about 10 min on 2 cores",
        format!("{minutes:.1} min"),
    );
    Ok(())
}
