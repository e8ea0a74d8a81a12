//! Writes core/v1 events.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use proto::time::Time;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::correlator::{Correlator, Verdict};
use super::{Happening, namespace_of};
use crate::client::known::EVENTS;
use crate::client::{Client, Error, Patch};

/// How often a write is tried.
pub(super) const MAX_TRIES: u32 = 12;
/// The time between tries.
const PAUSE: Duration = Duration::from_secs(10);

/// Who records.
pub(super) struct Source {
    pub(super) component: String,
    pub(super) host: String,
}

pub(super) struct CoreWriter {
    client: Client,
    source: Arc<Source>,
    correlator: Correlator,
}

impl CoreWriter {
    pub(super) fn new(client: Client, source: Arc<Source>) -> Self {
        Self { client, source, correlator: Correlator::new() }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Happening>) -> anyhow::Result<()> {
        while let Some(event) = queue.recv().await {
            match self.correlator.judge(&event, Timestamp::now()) {
                Verdict::Drop => {}
                Verdict::Create { name, message } => {
                    let time = Time::from(event.at.0);
                    let object = self.object(&event, &name, &message, 1, time);
                    insist(|| self.create(&event, &object)).await;
                }
                Verdict::Count { name, message, count, first } => {
                    let object = self.object(&event, &name, &message, count, first);
                    insist(|| self.count(&event, &name, &object)).await;
                }
            }
        }
        Ok(())
    }

    fn object(&self, event: &Happening, name: &str, message: &str, count: i64, first: Time) -> Value {
        let mut source = json!({ "component": self.source.component });
        if !self.source.host.is_empty() {
            source["host"] = self.source.host.as_str().into();
        }
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": namespace_of(&event.about) },
            "involvedObject": event.about,
            "reason": event.reason,
            "message": message,
            "source": source,
            "firstTimestamp": first,
            "lastTimestamp": Time::from(event.at.0),
            "count": count,
            "type": event.kind.as_str(),
            "eventTime": null,
            "reportingComponent": self.source.component,
            "reportingInstance": self.source.host,
        })
    }

    async fn create(&self, event: &Happening, object: &Value) -> Result<(), Error> {
        self.client
            .create::<serde::de::IgnoredAny>(&EVENTS, namespace_of(&event.about), object)
            .await
            .map(drop)
    }

    async fn count(&self, event: &Happening, name: &str, object: &Value) -> Result<(), Error> {
        let patch = json!({
            "count": object["count"],
            "lastTimestamp": object["lastTimestamp"],
            "message": object["message"],
        });
        let namespace = namespace_of(&event.about);
        let outcome = self
            .client
            .patch::<serde::de::IgnoredAny>(&EVENTS, namespace, name, Patch::Strategic, &patch)
            .await;
        match outcome {
            // It has run out meanwhile.
            Err(error) if error.is_not_found() => self.create(event, object).await,
            other => other.map(drop),
        }
    }
}

/// Tries a write until the server answers, whatever it answers, or patience ends.
pub(super) async fn insist<F: Future<Output = Result<(), Error>>>(write: impl Fn() -> F) {
    for attempt in 1..=MAX_TRIES {
        let error = match write().await {
            Ok(()) => return,
            Err(error) => error,
        };
        if error.status().is_some() {
            if error.is_already_exists() || error.is_namespace_terminating() {
                tracing::debug!(err = %error, "Server rejected event (will not retry!)");
            } else {
                tracing::error!(err = %error, "Server rejected event (will not retry!)");
            }
            return;
        }
        tracing::error!(err = %error, "Unable to write event (may retry after sleeping)");
        // The first pause is random, so that many clients don't come back at once.
        let pause = if attempt == 1 { PAUSE.mul_f64(rand::rng().random_range(0.0..1.0)) } else { PAUSE };
        tokio::time::sleep(pause).await;
    }
    tracing::error!("Unable to write event (retry limit exceeded!)");
}
