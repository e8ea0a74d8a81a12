//! The record of one request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;
use parking_lot::Mutex;
use proto::status::Status;
use proto::view::{remove_at, set_at, text_at};
use serde_json::{Value, json};

use super::event::{self, Event};
use super::policy::{Level, Stage, Verdict};
use super::{Audit, REFUSED};
use crate::auth::UserInfo;

/// What is recorded of a request.
pub struct Record {
    audit: Arc<Audit>,
    rule: Verdict,
    event: Mutex<Event>,
}

impl Record {
    pub(super) fn new(audit: Arc<Audit>, rule: Verdict, event: Event) -> Self {
        Record { audit, rule, event: Mutex::new(event) }
    }

    /// Whether the answer's object is recorded.
    pub fn wants_response(&self) -> bool {
        self.rule.level == Level::RequestResponse
    }

    fn stage(&self, stage: Stage) -> bool {
        if self.rule.omitted.has(stage) {
            return true;
        }
        let event = self.event.lock().at(stage, Timestamp::now());
        self.audit.send(&event)
    }

    fn set(&self, path: &[&str], value: Value) {
        let mut event = self.event.lock();
        let mut whole = Value::Object(std::mem::take(&mut event.0));
        set_at(&mut whole, path, value);
        if let Value::Object(fields) = whole {
            event.0 = fields;
        }
    }

    /// The request is known: the first stage. An error if it can't be recorded and must be.
    pub fn received(&self) -> Result<(), Status> {
        if self.stage(Stage::RequestReceived) {
            return Ok(());
        }
        REFUSED.with(&[]).inc();
        Err(Status::internal("failed to store audit event"))
    }

    /// The request is another user's, as this verb of constrained impersonation permits, if it is not empty.
    pub fn impersonated(&self, user: &UserInfo, constraint: &str) {
        self.set(&["impersonatedUser"], event::user(user));
        if !constraint.is_empty() {
            self.set(&["authenticationMetadata", "impersonationConstraint"], json!(constraint));
        }
    }

    /// Something worth knowing; the first word counts.
    pub fn annotate(&self, key: &str, value: &str) {
        let known = self.event.lock().0.get("annotations").and_then(|all| all.get(key)).cloned();
        if let Some(known) = known {
            if known != value {
                tracing::warn!(key, %known, value, "an audit annotation is set twice");
            }
            return;
        }
        self.set(&["annotations", key], json!(value));
    }

    /// The object that was sent, as it was decoded.
    pub fn request_object(&self, object: &Value) {
        for (name, path) in [
            ("namespace", "namespace"),
            ("name", "name"),
            ("uid", "uid"),
            ("resourceVersion", "resourceVersion"),
        ] {
            let value = text_at(object, &["metadata", path]);
            let known = self.event.lock().0.get("objectRef").is_some_and(|own| own.get(name).is_some());
            if !value.is_empty() && !known {
                self.set(&["objectRef", name], json!(value));
            }
        }
        if self.rule.level >= Level::Request {
            self.set(&["requestObject"], self.shown(object.clone()));
        }
    }

    /// The patch that was sent: JSON, or YAML of an apply patch.
    pub fn request_patch(&self, patch: &[u8]) {
        if self.rule.level < Level::Request {
            return;
        }
        let read = serde_json::from_slice(patch).ok();
        let read = read.or_else(|| proto::yaml::to_value(patch).ok().map(|(value, _)| value));
        if let Some(patch) = read {
            self.set(&["requestObject"], patch);
        }
    }

    /// The answer: its code, and its object if that is known.
    pub fn response(&self, code: u16, object: Option<Value>) {
        let mut status = json!({"metadata": {}, "code": code});
        if let Some(object) = object {
            if object["kind"] == "Status" && object["apiVersion"] == "v1" {
                for field in ["status", "message", "reason", "details"] {
                    if !object[field].is_null() {
                        status[field] = object[field].clone();
                    }
                }
            }
            if self.wants_response() {
                self.set(&["responseObject"], self.shown(object));
            }
        }
        self.set(&["responseStatus"], status);
    }

    /// An object without managedFields, if the policy says so.
    fn shown(&self, mut object: Value) -> Value {
        if self.rule.omit_managed_fields {
            remove_at(&mut object, &["metadata", "managedFields"]);
            for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
                remove_at(item, &["metadata", "managedFields"]);
            }
            for row in object.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
                remove_at(row, &["object", "metadata", "managedFields"]);
            }
        }
        object
    }

    /// The request was refused for its credentials.
    pub fn unauthenticated(&self, attempted: &[&str]) {
        let message = match attempted {
            [] => "Authentication failed, no credentials provided".to_owned(),
            methods => format!("Authentication failed, attempted: {}", methods.join(", ")),
        };
        self.set(&["responseStatus"], json!({"metadata": {}, "message": message, "code": 401}));
        self.stage(Stage::ResponseStarted);
    }
}

/// Completes a record when it is dropped: the request is answered, its client went away, or its handler panicked.
pub struct Completion {
    record: Arc<Record>,
    is_long: bool,
    answered: AtomicBool,
}

impl Completion {
    /// To be kept until the answer is sent.
    pub fn new(record: Arc<Record>, is_long: bool) -> Self {
        Completion { record, is_long, answered: AtomicBool::new(false) }
    }

    /// The answer begins.
    pub fn answered(&self, code: u16, object: Option<Value>) {
        self.answered.store(true, Ordering::Relaxed);
        self.record.response(code, object);
        if self.is_long {
            self.record.stage(Stage::ResponseStarted);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        let status = |code: u16, status: &str, reason: Option<&str>, message: &str| {
            let mut value = json!({"metadata": {}, "code": code, "status": status, "message": message});
            if let Some(reason) = reason {
                value["reason"] = json!(reason);
            }
            self.record.set(&["responseStatus"], value);
        };
        if std::thread::panicking() {
            status(500, "Failure", Some("InternalError"), "APIServer panic'd");
            self.record.stage(Stage::Panic);
            return;
        }
        if !self.answered.load(Ordering::Relaxed) {
            status(200, "Success", None, "Connection closed early");
            if self.is_long {
                self.record.stage(Stage::ResponseStarted);
            }
        }
        self.record.stage(Stage::ResponseComplete);
    }
}
