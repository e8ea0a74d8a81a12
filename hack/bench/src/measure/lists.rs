//! Large lists in every form, what they cost, and what memory they take.

use crate::Bench;
use crate::load::{self, Request};
use crate::objects::CONFIG_MAPS;
use crate::process::megabytes;
use crate::seed;
use crate::table::Table;
use crate::wire::Accept;
use anyhow::Result;

/// How many ConfigMaps are listed: 12 MB of JSON.
const OBJECTS: usize = 12_500;
/// As many as make 20 MB.
const MORE_OBJECTS: usize = 18_000;

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, etcd) = bench.server().await?;
    seed::config_maps(&server, &etcd, OBJECTS).await?;
    let plain = Accept::default();
    for (measure, budget, query, accept) in [
        (
            "LIST of 12,500 ConfigMaps, 4 connections: resourceVersion=0, JSON",
            "≥ 60/s",
            "?resourceVersion=0",
            plain,
        ),
        ("the same, consistent", "≥ 10 × upstream", "", plain),
        ("as protobuf", "≥ 10 × upstream", "", Accept { media: PROTOBUF, gzip: false }),
        ("as JSON, gzip", "≥ 10 × upstream", "", Accept { media: "", gzip: true }),
        ("as Table", "≥ 10 × upstream", "", Accept { media: TABLE, gzip: false }),
        ("the first 500 of them", "in proportion", "?limit=500", plain),
        ("one of them by label", "in proportion", "?labelSelector=app%3Dnone", plain),
    ] {
        let path = format!("{CONFIG_MAPS}{query}");
        let make = move |_, _| Request::get(path.clone(), accept);
        let rate = load::run(&server, 4, bench.period, make).await?;
        let (ms, mb) = (rate.cpu.as_secs_f64() * 1e3, rate.bytes / 1e6);
        table.add(
            measure,
            budget,
            format!("{:.1}/s, {mb:.0} MB/s ({ms:.2} ms of processor each)", rate.per_second),
        );
    }
    drop((server, etcd));

    let (server, etcd) = bench.server().await?;
    seed::config_maps(&server, &etcd, MORE_OBJECTS).await?;
    let idle = server.process.memory();
    server.process.reset_peak();
    let make = move |_, _| Request::get(CONFIG_MAPS, Accept::default());
    load::run(&server, 20, bench.period, make).await?;
    let (peak, after) = (server.process.peak_memory(), server.process.memory());
    table.add(
        "20 concurrent LISTs of 20 MB: memory above idle",
        "< 100 MB",
        format!(
            "{} at most, {} afterwards",
            megabytes(peak.saturating_sub(idle)),
            megabytes(after.saturating_sub(idle))
        ),
    );
    Ok(())
}
