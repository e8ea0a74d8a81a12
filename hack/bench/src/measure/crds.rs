//! Many custom resource definitions: when each is served, what it costs, and whether the documents show it.

use crate::Bench;
use crate::load::quantile;
use crate::table::Table;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

const COUNT: usize = 1000;
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

pub(super) async fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let (server, _etcd) = bench.server().await?;
    let mut wire = server.connect().await?;
    let idle = server.process.memory();
    let mut times = Vec::new();
    let cpu = server.process.cpu();
    for n in 0..COUNT {
        wire.count("POST", DEFINITIONS, &definition(n), Default::default()).await?;
        let began = Instant::now();
        let path = format!("/apis/g{}.bench.example/v1/namespaces/bench/widgets{n}", n % 50);
        while wire.count("GET", &path, &[], Default::default()).await.is_err() {
            ensure!(began.elapsed() < Duration::from_secs(60), "{path} is not served");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(began.elapsed().as_micros() as u64);
    }
    let cpu = (server.process.cpu() - cpu).as_secs_f64() * 1e3 / COUNT as f64;
    times.sort_unstable();
    let ms = |share| quantile(&times, share) as f64 / 1e3;
    table.add(
        "1,000 CRDs: from created to served",
        "≤ 100 ms",
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms ({cpu:.1} ms of processor each)",
            ms(0.5),
            ms(0.99),
            ms(1.0)
        ),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let each = server.process.memory().saturating_sub(idle) as f64 / COUNT as f64;
    table.add("memory per CRD", "≤ 0.3 MB", format!("{:.3} MB", each / 1e6));

    let began = Instant::now();
    let groups = wire.json("GET", "/apis", &[]).await?;
    let groups = groups["groups"].as_array().map_or(0, |groups| {
        groups.iter().filter(|g| g["name"].as_str().is_some_and(|n| n.ends_with(".bench.example"))).count()
    });
    let document = wire.json("GET", "/openapi/v2", &[]).await?;
    let kinds = document["definitions"].as_object().map_or(0, |definitions| {
        definitions
            .keys()
            .filter(|name| name.starts_with("example.bench.") && !name.ends_with("List"))
            .count()
    });
    table.add(
        "CRDs in discovery and OpenAPI",
        "50 groups, 1,000 kinds",
        format!("{groups} groups, {kinds} kinds, read in {:.2} s", began.elapsed().as_secs_f64()),
    );
    let peak = server.process.memory().saturating_sub(idle) as f64 / COUNT as f64;
    table.add("memory per CRD once OpenAPI was read", "≤ 0.3 MB", format!("{:.3} MB", peak / 1e6));
    Ok(())
}

fn definition(number: usize) -> Vec<u8> {
    let group = format!("g{}.bench.example", number % 50);
    let text = |name: &str| {
        format!(r#""{name}":{{"type":"string","description":"The {name} of the widget.","maxLength":253}}"#)
    };
    let texts = ["image", "command", "zone", "owner", "policy", "schedule"].map(text).join(",");
    format!(
        r#"{{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{{"name":"widgets{number}.{group}"}},
"spec":{{"group":"{group}","scope":"Namespaced","names":{{"plural":"widgets{number}","singular":"widget{number}","kind":"Widget{number}","listKind":"Widget{number}List"}},
"versions":[{{"name":"v1","served":true,"storage":true,"subresources":{{"status":{{}}}},
"additionalPrinterColumns":[{{"name":"Zone","type":"string","jsonPath":".spec.zone"}}],
"schema":{{"openAPIV3Schema":{{"type":"object","properties":{{
"spec":{{"type":"object","required":["image"],"properties":{{{texts},"replicas":{{"type":"integer","minimum":0,"default":1}},
"rules":{{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{{"type":"object","required":["name"],"properties":{{"name":{{"type":"string"}},{texts}}}}}}},
"labels":{{"type":"object","additionalProperties":{{"type":"string"}}}}}}}},
"status":{{"type":"object","properties":{{"phase":{{"type":"string","enum":["Pending","Running","Failed"]}},"observed":{{"type":"integer","format":"int64"}},
"conditions":{{"type":"array","items":{{"type":"object","properties":{{"type":{{"type":"string"}},"status":{{"type":"string"}},"reason":{{"type":"string"}},"message":{{"type":"string"}},"lastTransitionTime":{{"type":"string","format":"date-time"}}}}}}}}}}}}
}}}}}}}}]}}}}"#
    )
    .into_bytes()
}
