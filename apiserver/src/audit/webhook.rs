//! The webhook backend: batches of events, posted to a server that a kubeconfig names.

use std::time::Duration;

use bytes::Bytes;
use component_base::client::{Client, Config};
use futures::future::BoxFuture;
use http::Method;
use serde_json::{Value, json};

use super::backend::Sink;

/// How often a batch is tried (upstream's).
const ATTEMPTS: u32 = 5;
const FACTOR: f64 = 1.5;
const REQUEST: Duration = Duration::from_secs(30);

/// Posts events.
pub(super) struct Webhook {
    client: Client,
    backoff: Duration,
}

impl Webhook {
    /// The server of a kubeconfig; `backoff` passes before the second attempt.
    pub(super) fn new(kubeconfig: &std::path::Path, backoff: Duration) -> Result<Self, String> {
        let config = Config::from_file(kubeconfig).map_err(|error| error.to_string())?;
        let client = Client::new(config).map_err(|error| error.to_string())?;
        Ok(Webhook { client: client.unlimited().with_timeout(REQUEST), backoff })
    }
}

impl Sink for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn write<'a>(&'a self, events: &'a [Value]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let list = json!({
                "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": events,
            });
            let body = Bytes::from(list.to_string());
            let mut wait = self.backoff;
            let mut last = String::new();
            for attempt in 0..ATTEMPTS {
                if attempt > 0 {
                    tokio::time::sleep(wait).await;
                    wait = wait.mul_f64(FACTOR);
                }
                let sent = Some(("application/json", body.clone()));
                match self.client.request(Method::POST, "", sent).await {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error.to_string(),
                }
            }
            Err(last)
        })
    }
}
