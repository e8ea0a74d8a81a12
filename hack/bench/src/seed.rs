//! Fills etcd with many objects as the server itself would have written them: one is made through the API, its bytes are
//! taken from etcd, and copies go in with their names and uids changed in place.

use crate::etcd::Etcd;
use crate::objects::{CONFIG_MAPS, PODS, config_map_of, node, pod, ready, running};
use crate::server::Server;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Bytes of data in a ConfigMap that is listed: with its metadata it is about one kilobyte of JSON.
const LISTED: usize = 530;

/// A name of the same length for every number.
fn name(number: usize) -> String {
    format!("object-{number:08}")
}

/// Stored bytes with places where names go.
struct Template {
    bytes: Vec<u8>,
    /// Where each text is, and what it is.
    places: Vec<(usize, Part)>,
}

#[derive(Clone, Copy)]
enum Part {
    Name,
    Uid,
    Node,
}

impl Template {
    fn new(bytes: Vec<u8>, uid: &str, node: Option<&str>) -> Result<Template> {
        let mut places = Vec::new();
        let texts = [(name(0), Part::Name), (uid.to_owned(), Part::Uid)].into_iter();
        for (text, part) in texts.chain(node.map(|node| (node.to_owned(), Part::Node))) {
            let found =
                bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes());
            let before = places.len();
            places.extend(found.map(|(at, _)| (at, part)));
            ensure!(places.len() > before, "{text} is not in what is stored");
        }
        Ok(Template { bytes, places })
    }

    fn copy(&self, number: usize, nodes: usize) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (at, part) in &self.places {
            let text = match part {
                Part::Name => name(number),
                Part::Uid => format!("{number:08}-0000-4000-8000-000000000000"),
                Part::Node => node_name(number % nodes.max(1)),
            };
            bytes[*at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        bytes
    }
}

/// The name of a node.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number:06}")
}

/// The present as the API prints it.
pub(crate) fn now() -> String {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    // Days to a civil date (Howard Hinnant's algorithm).
    let (days, rest) = ((seconds / 86_400) as i64 + 719_468, seconds % 86_400);
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// Brings the number of ConfigMaps to `count`.
pub(crate) async fn config_maps(server: &Server, etcd: &Etcd, count: usize) -> Result<()> {
    let mut wire = server.connect().await?;
    let made = wire.json("POST", CONFIG_MAPS, &config_map_of(&name(0), LISTED)).await?;
    let template = template(etcd, "/registry/configmaps/bench/", &made, None).await?;
    let copies = (1..count).map(|n| (format!("/registry/configmaps/bench/{}", name(n)), template.copy(n, 0)));
    etcd.write(copies).await?;
    seen(server, CONFIG_MAPS, count).await
}

/// Makes nodes that are ready.
pub(crate) async fn nodes(server: &Server, count: usize) -> Result<()> {
    let at = now();
    crate::load::each(server, 8, count, move |mut wire, n| {
        let at = at.clone();
        async move {
            let name = node_name(n);
            wire.count("POST", "/api/v1/nodes", &node(&name), Default::default()).await?;
            let path = format!("/api/v1/nodes/{name}/status");
            wire.count("PATCH", &path, &ready(&at), Default::default()).await?;
            // New nodes are tainted until a controller sees that they are ready; here is none.
            let path = format!("/api/v1/nodes/{name}");
            wire.count("PATCH", &path, br#"{"spec":{"taints":null}}"#, Default::default()).await?;
            Ok(wire)
        }
    })
    .await
}

/// Makes pods that run on these nodes.
pub(crate) async fn pods(server: &Server, etcd: &Etcd, count: usize, nodes: usize) -> Result<()> {
    let mut wire = server.connect().await?;
    let node = node_name(0);
    let made = wire.json("POST", PODS, &pod(&name(0), &node)).await?;
    let status = running(&name(0), &now());
    wire.count("PATCH", &format!("{PODS}/{}/status", name(0)), &status, Default::default()).await?;
    let template = template(etcd, "/registry/pods/bench/", &made, Some(&node)).await?;
    let copies = (1..count).map(|n| (format!("/registry/pods/bench/{}", name(n)), template.copy(n, nodes)));
    etcd.write(copies).await?;
    seen(server, PODS, count).await
}

async fn template(
    etcd: &Etcd,
    prefix: &str,
    made: &serde_json::Value,
    node: Option<&str>,
) -> Result<Template> {
    let uid = made["metadata"]["uid"].as_str().context("a uid")?;
    Template::new(etcd.only_value(&format!("{prefix}{}", name(0))).await?, uid, node)
}

/// Waits until the server shows that many.
async fn seen(server: &Server, path: &str, count: usize) -> Result<()> {
    let mut wire = server.connect().await?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let list = wire.json("GET", &format!("{path}?limit=1"), &[]).await?;
        let more = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default() as usize;
        if more + list["items"].as_array().map_or(0, Vec::len) >= count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the server does not see what is in etcd: {more}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
