//! Creates beside etcd's own rate.

use crate::Bench;
use crate::load::{self, Request};
use crate::objects::{CONFIG_MAPS, config_map};
use crate::table::Table;
use anyhow::Result;
use std::time::Duration;

/// Etcd's rate and the server's are taken in turns, so that what else the machine does hits both.
const TURNS: usize = 3;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let raw_etcd = bench.etcd().await?;
    let mut raw = Vec::new();
    let mut creates = Vec::new();
    let mut stored = Duration::ZERO;
    // A folder each: the server's etcd must not be the raw one.
    let served = bench.beside("served")?;
    let (server, etcd) = served.server().await?;
    for turn in 0..TURNS {
        raw.push(raw_etcd.create_rate(bench.period).await?);
        let rate = load::run(&server, 32, bench.period, move |number, n| {
            let body = config_map(&format!("c-{turn}-{number}-{n}"));
            Request { method: "POST", path: CONFIG_MAPS.to_owned(), body, accept: Default::default() }
        });
        let before = etcd.process.cpu();
        let rate = rate.await?;
        stored += (etcd.process.cpu() - before).div_f64(rate.count as f64) / TURNS as u32;
        creates.push(rate);
    }
    let raw = raw.iter().sum::<f64>() / TURNS as f64;
    let rate = creates.iter().map(|rate| rate.per_second).sum::<f64>() / TURNS as f64;
    let cpu = creates.iter().map(|rate| rate.cpu).sum::<Duration>() / TURNS as u32;
    table.add("etcd's rate", "", format!("{raw:.0}/s"));
    table.add(
        "create ConfigMap, 32 connections",
        "≥ 0.65 × etcd's rate",
        format!(
            "{rate:.0}/s, {:.2} × etcd ({} µs of processor each, {} µs of etcd's)",
            rate / raw,
            cpu.as_micros(),
            stored.as_micros()
        ),
    );
    Ok(())
}
