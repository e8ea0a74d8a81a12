//! Watches and leader election against a server in this process that plays its part by script.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use component_base::client::{Client, Config, known};
use component_base::leader::{Elector, Options};
use component_base::serving::{self, Body, Handler, Router};
use component_base::tasks::Tasks;
use component_base::watch::{Change, Informers, Watch};
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use proto::meta::ObjectMeta;
use proto::status::Status;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Thing {
    metadata: ObjectMeta,
}
component_base::object!(Thing);

fn client(tasks: &Tasks, router: Router) -> Client {
    let address = serving::serve_plain(tasks, ([127, 0, 0, 1], 0).into(), router).unwrap();
    Client::new(Config { server: format!("http://{address}"), ..Config::default() }).unwrap()
}

fn thing(name: &str, revision: u32) -> Value {
    json!({ "metadata": { "name": name, "uid": name, "resourceVersion": revision.to_string() } })
}

fn stream(text: String) -> Response<Body> {
    Response::new(Full::from(text).map_err(|never| match never {}).boxed_unsync())
}

#[tokio::test]
async fn a_watch_resumes_from_bookmarks_and_lists_anew_when_its_revision_is_gone() {
    let list = |revision: &str, items: Value| {
        serving::json(
            StatusCode::OK,
            &json!({ "kind": "L", "metadata": { "resourceVersion": revision }, "items": items }),
        )
    };
    let events = |events: &[Value]| stream(events.iter().map(|event| format!("{event}\n")).collect());
    let gone = Status::expired("too old resource version: 9 (15)");
    // What must be asked, and the answer.
    let script = VecDeque::from([
        ("resourceVersion=0", list("5", json!([thing("a", 1), thing("b", 2)]))),
        (
            "resourceVersion=5",
            events(&[
                json!({ "type": "ADDED", "object": thing("c", 6) }),
                json!({ "type": "DELETED", "object": thing("c", 7) }),
                json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "9" } } }),
            ]),
        ),
        ("resourceVersion=9", events(&[json!({ "type": "MODIFIED", "object": thing("a", 10) })])),
        ("resourceVersion=10", events(&[json!({ "type": "ERROR", "object": gone })])),
        ("", list("20", json!([thing("a", 10), thing("d", 18)]))),
        ("resourceVersion=20", serving::json(StatusCode::GONE, &gone)),
        ("", list("30", json!([thing("d", 25)]))),
    ]);
    let script = Arc::new(Mutex::new(script));
    let faults: Arc<Mutex<Vec<String>>> = Arc::default();
    let (steps, wrong) = (script.clone(), faults.clone());
    let handler: Handler = Arc::new(move |request| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let step = steps.lock().pop_front();
        let wrong = wrong.clone();
        Box::pin(async move {
            // After the script the watch stays open.
            let Some((expected, answer)) = step else { return std::future::pending().await };
            let asked =
                query.split('&').find(|pair| pair.starts_with("resourceVersion=")).unwrap_or_default();
            if asked != expected {
                wrong.lock().push(format!("asked {query:?}, expected {expected:?}"));
            }
            answer
        })
    });
    let tasks = Tasks::new();
    let client = client(&tasks, Router::new().route("/api/v1/nodes", handler));
    let store = Informers::new(client, tasks.clone()).watch(Watch::<Thing>::new(known::NODES));
    let log: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = log.clone();
    store.subscribe(move |change: &Change<Thing>| {
        let sign = match (&change.old, &change.new) {
            (None, _) => '+',
            (_, None) => '-',
            _ => '~',
        };
        seen.lock().push(format!("{sign}{}", change.key()));
    });
    store.synced().await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while store.revision() != "30" {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the script ends");
    assert_eq!(faults.lock().join("\n"), "");
    assert_eq!(log.lock().join(" "), "+a +b +c -c ~a +d -b ~d -a");
    assert_eq!(store.list().len(), 1);
    assert!(store.is_connected());
}

/// Serves one Lease with optimistic concurrency.
fn lease_server() -> (Router, Arc<Mutex<Option<Value>>>) {
    let lease: Arc<Mutex<Option<Value>>> = Arc::default();
    let state = lease.clone();
    let handler: Handler = Arc::new(move |request| {
        let state = state.clone();
        Box::pin(async move {
            let method = request.method().clone();
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut state = state.lock();
            let revision = |lease: &Value| lease["metadata"]["resourceVersion"].as_str().map(str::to_owned);
            let (code, answer) = match (method, state.as_ref()) {
                (Method::GET, Some(lease)) => (200, lease.clone()),
                (Method::GET, None) => (404, json!(Status::not_found("", "leases", "l"))),
                (Method::POST, Some(_)) => (409, json!(Status::already_exists("", "leases", "l"))),
                (_, old) => {
                    let mut new: Value = serde_json::from_slice(&body).unwrap();
                    let next = old.and_then(revision).and_then(|r| r.parse::<u32>().ok()).unwrap_or(0) + 1;
                    if old.is_some_and(|old| revision(old) != revision(&new)) {
                        (409, json!(Status::conflict("", "leases", "l", "changed")))
                    } else {
                        new["metadata"]["resourceVersion"] = next.to_string().into();
                        *state = Some(new.clone());
                        (200, new)
                    }
                }
            };
            serving::json(StatusCode::from_u16(code).unwrap(), &answer)
        })
    });
    (Router::new().route("/apis/coordination.k8s.io/", handler), lease)
}

#[tokio::test]
async fn a_lease_has_one_holder_and_passes_on_when_released_or_run_out() {
    let (router, lease) = lease_server();
    let server = Tasks::new();
    let client = client(&server, router);
    let options = Options {
        lease_duration: Duration::from_secs(2),
        renew_deadline: Duration::from_secs(1),
        retry_period: Duration::from_millis(200),
        ..Options::new("l")
    };
    let elector = |name: &str| Elector::new(&client, options.clone(), name.into(), None).unwrap();
    let holder = || {
        lease
            .lock()
            .as_ref()
            .map(|lease| lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned())
    };

    let (first, first_tasks) = (elector("a"), Tasks::new());
    first.lead(&first_tasks).await.unwrap();
    assert!(first.is_leader() && first.check().is_ok());
    let (second, second_tasks) = (elector("b"), Tasks::new());
    let waits = tokio::time::timeout(Duration::from_millis(2500), second.lead(&second_tasks)).await;
    assert!(waits.is_err(), "a renewed lease isn't taken");
    assert_eq!((holder().as_deref(), second.leader().as_str()), (Some("a"), "a"));

    // An orderly stop gives it back at once.
    first_tasks.stop();
    first_tasks.run(Duration::ZERO).await.unwrap();
    assert_eq!(holder().as_deref(), Some(""));
    tokio::time::timeout(Duration::from_secs(1), second.lead(&second_tasks)).await.unwrap().unwrap();

    // Someone else's record ends the holder's process.
    {
        let mut lease = lease.lock();
        let lease = lease.as_mut().unwrap();
        lease["spec"]["holderIdentity"] = "thief".into();
        lease["spec"]["leaseDurationSeconds"] = 3.into();
        lease["metadata"]["resourceVersion"] = "1000".into();
    }
    let lost = tokio::time::timeout(Duration::from_secs(5), second_tasks.run(Duration::ZERO)).await.unwrap();
    assert!(lost.unwrap_err().to_string().contains("leaderelection lost"));

    // The thief never renews: its lease runs out.
    let (third, third_tasks) = (elector("c"), Tasks::new());
    tokio::time::timeout(Duration::from_secs(8), third.lead(&third_tasks)).await.unwrap().unwrap();
    assert_eq!(holder().as_deref(), Some("c"));
    assert_eq!(lease.lock().as_ref().unwrap()["spec"]["leaseTransitions"], 2);
}
