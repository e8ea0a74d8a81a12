//! What is known of a request, in the shape of audit.k8s.io/v1 Event.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::USER_AGENT;
use jiff::Timestamp;
use proto::schema;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::auth::UserInfo;
use crate::server::request_info::RequestInfo;

const LONGEST_AGENT: usize = 1024;

/// What a request is about, and who makes it.
pub struct Subject<'a> {
    /// The Audit-ID.
    pub id: &'a str,
    /// Who.
    pub user: &'a UserInfo,
    /// What.
    pub info: &'a RequestInfo,
    /// Path and query.
    pub uri: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Address of the other end of the connection.
    pub peer: IpAddr,
    /// When it came.
    pub received: Timestamp,
}

/// An event under construction: its fields but for the stage.
pub(super) struct Event(pub(super) Map<String, Value>);

/// A time with microseconds.
pub(super) fn time(at: Timestamp) -> Value {
    Value::from(at.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
}

/// A user; what is empty is left out.
pub(super) fn user(user: &UserInfo) -> Value {
    let mut info = Map::new();
    for (name, value, is_empty) in [
        ("username", json!(user.name), user.name.is_empty()),
        ("uid", json!(user.uid), user.uid.is_empty()),
        ("groups", json!(user.groups), user.groups.is_empty()),
        ("extra", json!(user.extra), user.extra.is_empty()),
    ] {
        if !is_empty {
            info.insert(name.to_owned(), value);
        }
    }
    Value::Object(info)
}

impl Event {
    pub(super) fn new(level: Level, subject: &Subject) -> Self {
        let info = subject.info;
        let mut event = Map::new();
        let mut set = |name: &str, value: Value| drop(event.insert(name.to_owned(), value));
        set("kind", json!("Event"));
        set("apiVersion", json!("audit.k8s.io/v1"));
        set("level", json!(level.as_str()));
        set("auditID", json!(subject.id));
        set("requestURI", json!(subject.uri));
        set("verb", json!(info.verb));
        set("user", user(subject.user));
        let addresses: Vec<String> =
            source_addresses(subject.headers, subject.peer).iter().map(ToString::to_string).collect();
        set("sourceIPs", json!(addresses));
        let agent = subject.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
        match agent.get(..LONGEST_AGENT) {
            _ if agent.is_empty() => {}
            Some(begin) if agent.len() > LONGEST_AGENT => {
                set("userAgent", json!(format!("{begin}...TRUNCATED")))
            }
            _ => set("userAgent", json!(agent)),
        }
        if info.is_resource {
            let mut object = Map::new();
            for (name, value) in [
                ("resource", &info.resource),
                ("namespace", &info.namespace),
                ("name", &info.name),
                ("apiGroup", &info.group),
                ("apiVersion", &info.version),
                ("subresource", &info.subresource),
            ] {
                if !value.is_empty() {
                    object.insert(name.to_owned(), json!(value));
                }
            }
            set("objectRef", Value::Object(object));
        }
        set("requestReceivedTimestamp", time(subject.received));
        Event(event)
    }

    /// The event at a stage.
    pub(super) fn at(&self, stage: Stage, now: Timestamp) -> Value {
        let mut event = self.0.clone();
        let stamp = match stage {
            Stage::RequestReceived => event.get("requestReceivedTimestamp").cloned().unwrap_or_default(),
            _ => time(now),
        };
        event.insert("stage".to_owned(), json!(stage.as_str()));
        event.insert("stageTimestamp".to_owned(), stamp);
        Value::Object(event)
    }
}

/// An event as one line of JSON, its fields in upstream's order.
pub(super) fn line(event: &Value) -> Vec<u8> {
    let mut line = Vec::new();
    match schema::lookup("audit.k8s.io", "v1", "Event") {
        Some(ty) => proto::json::encode(event, ty, &mut line),
        None => proto::json::encode_any(event, &mut line),
    }
    line.push(b'\n');
    line
}

/// Where a request came from: what proxies say, then the connection.
fn source_addresses(headers: &HeaderMap, peer: IpAddr) -> Vec<IpAddr> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut all: Vec<IpAddr> =
        text("x-forwarded-for").split(',').filter_map(|part| part.trim().parse().ok()).collect();
    let real = text("x-real-ip").trim().parse().ok();
    for address in real.into_iter().chain([peer]) {
        if all.last() != Some(&address) {
            all.push(address);
        }
    }
    all
}
