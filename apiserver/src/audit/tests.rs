//! Records of requests as the backends see them.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{HeaderMap, Method};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::backend::Backend;
use super::policy::Policy;
use super::{Audit, Completion, Subject, current, under};
use crate::auth::UserInfo;
use crate::server::query::Query;
use crate::server::request_info::RequestInfo;

#[derive(Default)]
struct Memory {
    events: Mutex<Vec<Value>>,
    refuses: bool,
}

impl Backend for Memory {
    fn take(&self, event: &Value) -> bool {
        self.events.lock().push(event.clone());
        !self.refuses
    }

    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

fn audit(rule: &str, refuses: bool) -> (Arc<Audit>, Arc<Memory>) {
    let text = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{rule}]}}");
    let memory = Arc::new(Memory { refuses, ..Memory::default() });
    let policy = Policy::parse(text.as_bytes()).expect("a policy");
    (Arc::new(Audit { policy, backends: vec![memory.clone()] }), memory)
}

fn record(audit: &Arc<Audit>, method: Method, path: &str) -> Option<Arc<super::Record>> {
    let user = UserInfo::new("alice", ["devs".to_owned()]);
    let info = RequestInfo::new(&method, path, &Query::parse(None)).expect("a path");
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", "kubectl".parse().expect("a value"));
    headers.insert("x-forwarded-for", "10.0.0.1, 10.0.0.2".parse().expect("a value"));
    audit.begin(&Subject {
        id: "id-1",
        user: &user,
        info: &info,
        uri: path,
        headers: &headers,
        peer: [127, 0, 0, 1].into(),
        received: Timestamp::UNIX_EPOCH,
    })
}

#[tokio::test]
async fn a_request_is_recorded_at_each_stage() {
    let (audit, memory) = audit("{level: RequestResponse, omitManagedFields: true}", false);
    let record = record(&audit, Method::POST, "/api/v1/namespaces/a/configmaps").expect("audited");
    record.received().expect("taken");
    let completion = Completion::new(record.clone(), false);
    let object = json!({"metadata": {"name": "c", "managedFields": [{}]}});
    under(Some(record.clone()), async {
        current(|record| record.request_object(&object));
        current(|record| record.annotate("authorization.k8s.io/decision", "allow"));
    })
    .await;
    completion.answered(201, Some(object));
    drop(completion);
    let events = memory.events.lock().clone();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["stage"], "RequestReceived");
    assert_eq!(events[0]["stageTimestamp"], "1970-01-01T00:00:00.000000Z");
    assert_eq!(events[0]["sourceIPs"], json!(["10.0.0.1", "10.0.0.2", "127.0.0.1"]));
    let last = &events[1];
    assert_eq!(last["stage"], "ResponseComplete");
    assert_eq!(last["user"], json!({"username": "alice", "groups": ["devs"]}));
    assert_eq!(
        last["objectRef"],
        json!({"resource": "configmaps", "namespace": "a", "name": "c", "apiVersion": "v1"})
    );
    assert_eq!(last["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(last["requestObject"], json!({"metadata": {"name": "c"}}));
    assert_eq!(last["responseObject"], json!({"metadata": {"name": "c"}}));
    assert_eq!(last["annotations"]["authorization.k8s.io/decision"], "allow");
    let line = String::from_utf8(super::event::line(last)).expect("text");
    assert!(line.starts_with("{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"RequestResponse\",\"auditID\":\"id-1\",\"stage\":\"ResponseComplete\",\"requestURI\":"), "{line}");
}

#[tokio::test]
async fn failures_and_lost_clients_are_told() {
    let (audit, memory) = audit("{level: Metadata, omitStages: [RequestReceived]}", false);
    let failed = record(&audit, Method::GET, "/api/v1/namespaces/a/pods/x").expect("audited");
    let completion = Completion::new(failed, false);
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "message": "gone", "code": 404});
    completion.answered(404, Some(status));
    drop(completion);
    let lost = record(&audit, Method::GET, "/api/v1/pods").expect("audited");
    drop(Completion::new(lost, true));
    let refused = record(&audit, Method::GET, "/api/v1/pods").expect("audited");
    refused.unauthenticated(&["bearer"]);
    let events = memory.events.lock().clone();
    let seen: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            let text = |path: &[&str]| proto::view::text_at(event, path);
            (text(&["stage"]), text(&["responseStatus", "message"]))
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("ResponseComplete", "gone"),
            ("ResponseStarted", "Connection closed early"),
            ("ResponseComplete", "Connection closed early"),
            ("ResponseStarted", "Authentication failed, attempted: bearer"),
        ]
    );
    assert!(events.iter().all(|event| event.get("responseObject").is_none()));
}

#[test]
fn what_must_be_recorded_is_refused_otherwise() {
    let (audit, _) = audit("{level: Metadata}", true);
    let record = record(&audit, Method::GET, "/api/v1/pods").expect("audited");
    assert_eq!(
        record.received().expect_err("refused").message,
        "Internal error occurred: failed to store audit event"
    );
    let (nothing, memory) = self::audit("{level: None}", false);
    assert!(self::record(&nothing, Method::GET, "/api/v1/pods").is_none());
    assert!(memory.events.lock().is_empty());
}
