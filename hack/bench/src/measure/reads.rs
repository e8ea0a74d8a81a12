//! Consistent reads of one object.

use crate::Bench;
use crate::load::{self, Request};
use crate::objects::{CONFIG_MAPS, config_map};
use crate::table::Table;
use anyhow::Result;

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, _etcd) = bench.server().await?;
    let mut wire = server.connect().await?;
    wire.count("POST", CONFIG_MAPS, &config_map("one"), Default::default()).await?;
    for (measure, budget, query) in [
        ("GET, consistent, 32 connections", "≥ 20,000/s", ""),
        ("the same, resourceVersion=0", "", "?resourceVersion=0"),
    ] {
        let path = format!("{CONFIG_MAPS}/one{query}");
        let make = move |_, _| Request::get(path.clone(), Default::default());
        let rate = load::run(&server, 32, bench.period, make).await?;
        let cpu = rate.cpu.as_micros();
        table.add(measure, budget, format!("{:.0}/s ({cpu} µs of processor each)", rate.per_second));
    }
    Ok(())
}
