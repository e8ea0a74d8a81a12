//! Writers, readers and watchers, which note what they did and saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::common::connect;

/// Where everything happens.
pub(super) const PATH: &str = "/api/v1/namespaces/faults/configmaps";
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(6);
/// Objects of each writer.
const KEYS: usize = 4;

/// A client of one of several servers, chosen anew after each failure.
pub(super) struct Client {
    ports: Vec<u16>,
    connection: Option<SendRequest<Full<Bytes>>>,
    next: usize,
}

impl Client {
    pub(super) fn new(ports: &[u16]) -> Self {
        Client { ports: ports.to_vec(), connection: None, next: 0 }
    }

    /// Goes to another server.
    pub(super) fn turn(&mut self, to: usize) {
        self.next = to % self.ports.len();
        self.connection = None;
    }

    async fn send(&mut self, method: Method, path: &str, body: &Value) -> Option<hyper::Response<Incoming>> {
        let mut connection = match self.connection.take().filter(|c| !c.is_closed()) {
            Some(connection) => connection,
            None => connect(self.ports[self.next]).await?,
        };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("authorization", "Bearer secret")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(text)))
            .expect("a request");
        let response = connection.send_request(request).await.ok()?;
        self.connection = Some(connection);
        Some(response)
    }

    /// The code and the body; `None`: nobody knows what happened.
    pub(super) async fn request(&mut self, method: Method, path: &str, body: &Value) -> Option<(u16, Value)> {
        let answer = self.exchange(method, path, body).await;
        if answer.is_none() {
            self.turn(self.next + 1);
        }
        answer.map(|(code, bytes)| (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
    }

    async fn exchange(&mut self, method: Method, path: &str, body: &Value) -> Option<(u16, Bytes)> {
        let exchange = async {
            let response = self.send(method, path, body).await?;
            let code = response.status().as_u16();
            Some((code, response.into_body().collect().await.ok()?.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, exchange).await.ok().flatten()
    }

    /// The code and what was said, whatever its form.
    pub(super) async fn text(&mut self, path: &str) -> Option<(u16, String)> {
        let (code, bytes) = self.exchange(Method::GET, path, &Value::Null).await?;
        Some((code, String::from_utf8_lossy(&bytes).into_owned()))
    }

    pub(super) async fn get(&mut self, path: &str) -> Option<(u16, Value)> {
        self.request(Method::GET, path, &Value::Null).await
    }
}

pub(super) fn revision(object: &Value) -> i64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse().unwrap_or_default()
}

pub(super) fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn sequence(object: &Value) -> String {
    object["data"]["seq"].as_str().unwrap_or_default().to_owned()
}

/// A write that was acknowledged.
pub(super) struct Acknowledged {
    pub(super) key: String,
    /// What was written; `None`: the object was deleted.
    pub(super) sequence: Option<String>,
    /// The revision of the write; of a deletion, that of the version deleted.
    pub(super) revision: i64,
    /// The version it replaced (0: none).
    pub(super) base: i64,
}

/// A read that was answered.
pub(super) enum Seen {
    /// A list: its revision, what must have been in it at least, its objects.
    List { what: String, revision: i64, floor: i64, items: BTreeMap<String, i64> },
    /// One object: the revision read (`None`: not there), and that of an acknowledged write before.
    Object { key: String, revision: Option<i64>, floor: i64 },
}

/// A watch from one list to the next.
pub(super) struct Segment {
    pub(super) what: String,
    pub(super) selector: Selector,
    /// Where it begins, and the objects there were.
    pub(super) start: i64,
    pub(super) items: BTreeMap<String, i64>,
    /// (type, key, revision, sequence)
    pub(super) events: Vec<(String, String, i64, String)>,
    /// All up to here has been told.
    pub(super) reached: i64,
}

/// What a watcher selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Selector {
    All,
    Odd,
    Name(String),
}

impl Selector {
    fn query(&self) -> String {
        match self {
            Selector::All => String::new(),
            Selector::Odd => "&labelSelector=parity%3Dodd".to_owned(),
            Selector::Name(name) => format!("&fieldSelector=metadata.name%3D{name}"),
        }
    }

    pub(super) fn selects(&self, object: &Value) -> bool {
        match self {
            Selector::All => true,
            Selector::Odd => object["metadata"]["labels"]["parity"] == "odd",
            Selector::Name(wanted) => name(object) == *wanted,
        }
    }
}

/// What all clients note.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) stop: AtomicBool,
    /// The revision of the last object written; 0 until then.
    pub(super) end: AtomicI64,
    /// The highest revision that was acknowledged to anyone.
    pub(super) acknowledged: AtomicI64,
    pub(super) writes: Mutex<Vec<Acknowledged>>,
    pub(super) attempted: Mutex<Vec<String>>,
    pub(super) reads: Mutex<Vec<Seen>>,
    pub(super) segments: Mutex<Vec<Segment>>,
    /// The last acknowledged write of each object.
    last: Mutex<BTreeMap<String, i64>>,
}

impl Notes {
    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Creates, updates and deletes objects of its own, one version after another.
pub(super) async fn write(notes: Arc<Notes>, ports: Vec<u16>, id: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = Client::new(&ports);
    let mut known: Vec<i64> = vec![0; KEYS];
    let mut count = 0;
    while !notes.stopping() {
        tokio::time::sleep(Duration::from_millis(random.random_range(5..40))).await;
        if random.random_range(0..20) == 0 {
            client.turn(random.random_range(0..ports.len()));
        }
        let slot = random.random_range(0..KEYS);
        let key = format!("w{id}-{slot}");
        let base = known[slot];
        count += 1;
        let written = format!("{id}-{count}");
        let parity = if random.random_range(0..2) == 0 { "odd" } else { "even" };
        let mut object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": key, "labels": {"parity": parity}}, "data": {"seq": written},
        });
        let (answer, deleted) = if base == 0 {
            notes.attempted.lock().push(written.clone());
            (client.request(Method::POST, PATH, &object).await, false)
        } else if random.random_range(0..4) == 0 {
            let only = json!({"preconditions": {"resourceVersion": base.to_string()}});
            (client.request(Method::DELETE, &format!("{PATH}/{key}"), &only).await, true)
        } else {
            notes.attempted.lock().push(written.clone());
            object["metadata"]["resourceVersion"] = base.to_string().into();
            (client.request(Method::PUT, &format!("{PATH}/{key}"), &object).await, false)
        };
        let acknowledged = match &answer {
            Some((200 | 201, _)) if deleted => Some((base, None)),
            Some((200 | 201, object)) => Some((revision(object), Some(written))),
            _ => None,
        };
        match acknowledged {
            Some((revision, sequence)) => {
                known[slot] = if deleted { 0 } else { revision };
                notes.acknowledged.fetch_max(revision, Ordering::SeqCst);
                notes.last.lock().insert(key.clone(), revision);
                notes.writes.lock().push(Acknowledged { key, sequence, revision, base });
            }
            // What became of it is read, from whoever answers.
            None => loop {
                match client.get(&format!("{PATH}/{key}")).await {
                    Some((200, object)) => break known[slot] = revision(&object),
                    Some((404, _)) => break known[slot] = 0,
                    _ if notes.stopping() => return,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            },
        }
    }
}

fn items_of(list: &Value) -> BTreeMap<String, i64> {
    list["items"].as_array().into_iter().flatten().map(|o| (name(o), revision(o))).collect()
}

/// Reads in every way there is.
pub(super) async fn read(notes: Arc<Notes>, ports: Vec<u16>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut client = Client::new(&ports);
    while !notes.stopping() {
        tokio::time::sleep(Duration::from_millis(random.random_range(10..80))).await;
        if random.random_range(0..10) == 0 {
            client.turn(random.random_range(0..ports.len()));
        }
        let floor = notes.acknowledged.load(Ordering::SeqCst);
        let (what, query, floor) = match random.random_range(0..6) {
            0 => ("consistent", String::new(), floor),
            1 => ("any", "?resourceVersion=0".to_owned(), 0),
            2 => ("not older", format!("?resourceVersion={floor}&resourceVersionMatch=NotOlderThan"), floor),
            3 if floor > 0 => {
                ("exact", format!("?resourceVersion={floor}&resourceVersionMatch=Exact"), floor)
            }
            4 => ("pages", "?limit=3".to_owned(), floor),
            _ => {
                let all: Vec<String> = notes.last.lock().keys().cloned().collect();
                if all.is_empty() {
                    continue;
                }
                let key = all[random.random_range(0..all.len())].clone();
                let floor = notes.last.lock().get(&key).copied().unwrap_or_default();
                let seen = match client.get(&format!("{PATH}/{key}")).await {
                    Some((200, object)) => Some(revision(&object)),
                    Some((404, _)) => None,
                    _ => continue,
                };
                notes.reads.lock().push(Seen::Object { key, revision: seen, floor });
                continue;
            }
        };
        let Some((200, mut list)) = client.get(&format!("{PATH}{query}")).await else { continue };
        let (at, mut items) = (revision(&list), items_of(&list));
        let mut whole = true;
        while let Some(token) = list["metadata"]["continue"].as_str().filter(|t| !t.is_empty()) {
            match client.get(&format!("{PATH}?limit=3&continue={token}")).await {
                Some((200, next)) if revision(&next) == at => {
                    items.extend(items_of(&next));
                    list = next;
                }
                // Pages of one list have one revision.
                Some((200, next)) => panic!("a page of {at} has the revision {}", revision(&next)),
                _ => {
                    whole = false;
                    break;
                }
            }
        }
        if whole {
            let what = what.to_owned();
            notes.reads.lock().push(Seen::List { what, revision: at, floor, items });
        }
    }
}

/// Watches, goes on where it was after every failure, and lists anew where the history is gone.
pub(super) async fn watch(notes: Arc<Notes>, ports: Vec<u16>, selector: Selector, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut segment: Option<Segment> = None;
    let over = |reached: i64| {
        let end = notes.end.load(Ordering::SeqCst);
        end > 0 && reached >= end
    };
    while !notes.stopping() && !segment.as_ref().is_some_and(|s| over(s.reached)) {
        let mut client = Client::new(&ports);
        client.turn(random.random_range(0..ports.len()));
        let streamed = random.random_range(0..2) == 0;
        if segment.is_none() && !streamed {
            let fresh = if random.random_range(0..2) == 0 { "?x=y" } else { "?resourceVersion=0" };
            let Some((200, list)) = client.get(&format!("{PATH}{fresh}{}", selector.query())).await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let start = revision(&list);
            segment = Some(Segment {
                what: format!("list {fresh}"),
                selector: selector.clone(),
                start,
                items: items_of(&list),
                events: Vec::new(),
                reached: start,
            });
        }
        let seconds = random.random_range(3..9);
        let from = match &segment {
            Some(segment) => format!("resourceVersion={}", segment.reached),
            None => "sendInitialEvents=true&resourceVersionMatch=NotOlderThan".to_owned(),
        };
        let path = format!(
            "{PATH}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&{from}{}",
            selector.query()
        );
        let Ok(Some(response)) =
            tokio::time::timeout(PATIENCE, client.send(Method::GET, &path, &Value::Null)).await
        else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if response.status() != 200 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let mut lines = Lines { body: response.into_body(), buffer: Vec::new() };
        let mut initial = BTreeMap::new();
        // A server that is stopped says nothing; the watch would have ended by now.
        let patience = Duration::from_secs(seconds + 4);
        while let Ok(Some(event)) = tokio::time::timeout(patience, lines.next()).await {
            let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
            let at = revision(object);
            match (kind, &mut segment) {
                ("ERROR", _) => {
                    if object["code"] == 410
                        && let Some(done) = segment.take()
                    {
                        notes.segments.lock().push(done);
                    }
                    break;
                }
                ("BOOKMARK", None) => {
                    let end = object["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true";
                    assert!(end, "the first bookmark ends the initial events");
                    segment = Some(Segment {
                        what: "streamed list".to_owned(),
                        selector: selector.clone(),
                        start: at,
                        items: std::mem::take(&mut initial),
                        events: Vec::new(),
                        reached: at,
                    });
                }
                ("BOOKMARK", Some(segment)) => {
                    assert!(at >= segment.reached, "a bookmark goes back from {} to {at}", segment.reached);
                    segment.reached = at;
                }
                (_, None) => {
                    initial.insert(name(object), at);
                }
                (kind, Some(segment)) => {
                    assert!(at > segment.reached, "{kind} of {at} comes after {}", segment.reached);
                    segment.events.push((kind.to_owned(), name(object), at, sequence(object)));
                    segment.reached = at;
                }
            }
            if segment.as_ref().is_some_and(|s| over(s.reached)) {
                break;
            }
        }
    }
    notes.segments.lock().extend(segment);
}

/// The lines of a stream.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event"));
            }
            let frame = self.body.frame().await?.ok()?;
            self.buffer.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}
