//! Writes events.k8s.io/v1 events, folding repetitions into series.
//!
//! The first event is written, the second turns it into a series, and later ones are only counted; the count
//! is written every half hour and when the series has been quiet for six minutes.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::sync::Arc;
use std::time::Duration;

use proto::time::MicroTime;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::sink::{Source, insist};
use super::{Happening, event_name, fingerprint, namespace_of};
use crate::client::known::EVENTS_V1;
use crate::client::{Client, Error, Patch};

/// A series this long quiet is over.
const FINISH: Duration = Duration::from_secs(360);
/// Sweeps between writes of running series.
const REFRESH_SWEEPS: u32 = 5;

struct Series {
    name: String,
    namespace: String,
    /// 1 until it repeats.
    count: i64,
    last: MicroTime,
    seen: Instant,
}

pub(super) struct SeriesWriter {
    client: Client,
    source: Arc<Source>,
    hasher: RandomState,
    running: HashMap<u64, Series>,
}

impl SeriesWriter {
    pub(super) fn new(client: Client, source: Arc<Source>) -> Self {
        Self { client, source, hasher: RandomState::new(), running: HashMap::new() }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Happening>) -> anyhow::Result<()> {
        let (mut sweep_at, mut sweeps) = (Instant::now() + FINISH, 0);
        loop {
            // Nothing wakes while no series runs.
            let event = tokio::select! {
                event = queue.recv() => event,
                () = tokio::time::sleep_until(sweep_at), if !self.running.is_empty() => {
                    sweeps += 1;
                    self.sweep(sweeps % REFRESH_SWEEPS == 0).await;
                    sweep_at = Instant::now() + FINISH;
                    continue;
                }
            };
            let Some(event) = event else { return Ok(()) };
            if self.running.is_empty() {
                sweep_at = Instant::now() + FINISH;
            }
            self.record(event).await;
        }
    }

    async fn record(&mut self, event: Happening) {
        let key = fingerprint(
            &self.hasher,
            (event.kind, &event.action, &event.reason, &event.about, &event.related),
        );
        match self.running.entry(key) {
            Entry::Occupied(mut entry) => {
                let series = entry.get_mut();
                series.count += 1;
                (series.last, series.seen) = (event.at, Instant::now());
                if series.count == 2 {
                    let (client, series) = (&self.client, entry.get());
                    insist(|| extend(client, series)).await;
                }
            }
            Entry::Vacant(entry) => {
                let name = event_name(&event.about.name, event.at.0.as_nanosecond());
                let namespace = namespace_of(&event.about).to_owned();
                let object = object(&self.source, &event, &name, &namespace);
                let client = &self.client;
                insist(|| async {
                    client.create::<serde::de::IgnoredAny>(&EVENTS_V1, &namespace, &object).await.map(drop)
                })
                .await;
                entry.insert(Series { name, namespace, count: 1, last: event.at, seen: Instant::now() });
            }
        }
    }

    async fn sweep(&mut self, refresh: bool) {
        for series in self.running.values() {
            if series.count > 2 && (refresh || series.seen.elapsed() >= FINISH) {
                insist(|| extend(&self.client, series)).await;
            }
        }
        self.running.retain(|_, series| series.seen.elapsed() < FINISH);
        self.running.shrink_to_fit();
    }
}

fn object(source: &Source, event: &Happening, name: &str, namespace: &str) -> Value {
    let mut object = json!({
        "apiVersion": EVENTS_V1.api_version(),
        "kind": "Event",
        "metadata": { "name": name, "namespace": namespace },
        "eventTime": event.at,
        "reportingController": source.component,
        "reportingInstance": source.host,
        "action": event.action,
        "reason": event.reason,
        "regarding": event.about,
        "note": event.message,
        "type": event.kind.as_str(),
    });
    if let Some(related) = &event.related {
        object["related"] = json!(related);
    }
    object
}

/// Writes a series' count into its event. One that has run out meanwhile isn't worth writing again.
async fn extend(client: &Client, series: &Series) -> Result<(), Error> {
    let patch = json!({ "series": { "count": series.count, "lastObservedTime": series.last } });
    let outcome = client
        .patch::<serde::de::IgnoredAny>(&EVENTS_V1, &series.namespace, &series.name, Patch::Strategic, &patch)
        .await;
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(drop),
    }
}
