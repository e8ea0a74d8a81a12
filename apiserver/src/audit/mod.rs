//! The audit log: who asked for what, and what came of it.
//!
//! A policy says how much is recorded of which request. What is recorded of a request is its [`Record`], which grows while
//! the request is served and goes to the backends at each stage. Handlers reach the record of the request that they serve
//! through [`current`]; where nothing is audited there is none, and it costs nothing.

mod answer;
mod backend;
mod batch;
mod event;
mod log;
mod options;
mod policy;
mod record;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::Arc;

use component_base::metrics::Family;

pub use self::answer::read as read_answer;
pub use self::event::Subject;
pub use self::options::AuditOptions;
pub use self::record::{Completion, Record};

use self::backend::Backend;
use self::event::Event;
use self::policy::{Level, Policy};

static EVENTS: Family = Family::counter(
    "apiserver_audit_event_total",
    "Counter of audit events generated and sent to the audit backend.",
    &[],
);
static ERRORS: Family = Family::counter(
    "apiserver_audit_error_total",
    "Counter of audit events that failed to be audited properly. Plugin identifies the plugin affected by the error.",
    &["plugin"],
);
static LEVELS: Family = Family::counter(
    "apiserver_audit_level_total",
    "Counter of policy levels for audit events (1 per request).",
    &["level"],
);
static REFUSED: Family = Family::counter(
    "apiserver_audit_requests_rejected_total",
    "Counter of apiserver requests rejected due to an error in audit logging backend.",
    &[],
);

tokio::task_local! {
    static CURRENT: Arc<Record>;
}

/// The audit of all requests.
pub struct Audit {
    policy: Policy,
    backends: Vec<Arc<dyn Backend>>,
}

impl Audit {
    /// The record of a request, if the policy wants one.
    pub fn begin(self: &Arc<Self>, subject: &Subject) -> Option<Arc<Record>> {
        let rule = self.policy.evaluate(subject.user, subject.info);
        LEVELS.with(&[rule.level.as_str()]).inc();
        (rule.level != Level::None)
            .then(|| Arc::new(Record::new(self.clone(), rule, Event::new(rule.level, subject))))
    }

    /// Sends an event to the backends; whether all that insist on it have it.
    fn send(&self, event: &serde_json::Value) -> bool {
        EVENTS.with(&[]).inc();
        // Each of them gets it, also after one of them failed.
        self.backends.iter().filter(|backend| !backend.take(event)).count() == 0
    }

    /// Sends what is still buffered.
    pub async fn flush(&self) {
        for backend in &self.backends {
            backend.flush().await;
        }
    }
}

/// Serves a request under its record.
pub async fn under<T>(record: Option<Arc<Record>>, work: impl Future<Output = T>) -> T {
    match record {
        Some(record) => CURRENT.scope(record, work).await,
        None => work.await,
    }
}

/// Adds to the record of the request under way, if there is one.
pub fn current(add: impl FnOnce(&Record)) {
    // Outside of a request's task there is none.
    let _ = CURRENT.try_with(|record| add(record));
}
