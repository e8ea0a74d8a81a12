//! Where events go.

use futures::future::BoxFuture;
use serde_json::{Value, json};

use super::event::line;

/// Takes events.
pub(super) trait Backend: Send + Sync {
    /// Takes an event; false if the request must not go on without it.
    fn take(&self, event: &Value) -> bool;

    /// Waits until what was taken is written.
    fn flush(&self) -> BoxFuture<'_, ()>;
}

/// Writes events.
pub(super) trait Sink: Send + Sync {
    /// The name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Writes events now; whether it could.
    fn write<'a>(&'a self, events: &'a [Value]) -> BoxFuture<'a, Result<(), String>>;
}

/// Reports events that are lost.
pub(super) fn lost(plugin: &str, count: usize, why: &str) {
    super::ERRORS.with(&[plugin]).add(count as f64);
    tracing::error!(plugin, count, why, "audit events are lost");
}

/// Sizes beyond which events are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truncate {
    /// Of an event, in bytes.
    pub(super) event: usize,
    /// Of a batch.
    pub(super) batch: usize,
}

impl Truncate {
    /// The event, without its objects if it is too large with them; `None` if it is even so.
    pub(super) fn cut(&self, event: &Value) -> Option<Value> {
        let fits = |event: &Value| line(event).len() <= self.event;
        if fits(event) {
            return Some(event.clone());
        }
        let mut event = event.clone();
        if matches!(event["level"].as_str(), Some("Request" | "RequestResponse")) {
            for field in ["requestObject", "responseObject"] {
                proto::view::remove_at(&mut event, &[field]);
            }
            proto::view::set_at(&mut event, &["annotations", "audit.k8s.io/truncated"], json!("true"));
        }
        fits(&event).then_some(event)
    }

    /// The events in batches that are small enough.
    pub(super) fn batches(&self, events: Vec<Value>, plugin: &str) -> Vec<Vec<Value>> {
        let mut batches: Vec<Vec<Value>> = Vec::new();
        let (mut size, mut too_large) = (0, 0);
        for event in events {
            let Some(event) = self.cut(&event) else {
                too_large += 1;
                continue;
            };
            let own = line(&event).len();
            if batches.is_empty() || size + own > self.batch {
                batches.push(Vec::new());
                size = 0;
            }
            size += own;
            if let Some(batch) = batches.last_mut() {
                batch.push(event);
            }
        }
        if too_large > 0 {
            lost(plugin, too_large, "event is too large even after truncating");
        }
        batches
    }
}
