//! A seeded fault test: writers, readers and watchers against two API servers over three members of etcd, while members
//! and servers are killed, stopped and cut off from each other. In the end the notes of all clients must agree with the
//! history that etcd has.
//!
//! `KEELSON_FAULT_SEED` repeats the faults of a run that failed; `KEELSON_FAULT_SECONDS` makes it longer.

mod clients;
mod cluster;
mod history;
mod proxy;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http::Method;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use clients::{Client, Notes, PATH, Selector, revision};
use cluster::{Cluster, MEMBERS, SERVERS};
use history::History;
use proxy::Mode;

const SECONDS: u64 = 25;
const WRITERS: usize = 3;
const READERS: usize = 2;
/// How long everything may take to be well again.
const RECOVERY: Duration = Duration::from_secs(90);

/// What goes wrong for a while.
#[derive(Debug)]
enum Fault {
    KillMember(usize),
    StopMember(usize),
    /// Two of three: no quorum.
    KillMembers(usize, usize),
    KillServer(usize),
    StopServer(usize),
    Cut(usize, usize, Mode),
    CutAll(usize, Mode),
}

impl Fault {
    fn choose(random: &mut StdRng) -> Self {
        let (member, server) = (random.random_range(0..MEMBERS), random.random_range(0..SERVERS));
        let mode = if random.random_range(0..2) == 0 { Mode::Closed } else { Mode::Silent };
        match random.random_range(0..10) {
            0 | 1 => Fault::KillMember(member),
            2 => Fault::StopMember(member),
            3 => Fault::KillMembers(member, (member + 1) % MEMBERS),
            4 | 5 => Fault::KillServer(server),
            6 => Fault::StopServer(server),
            7 => Fault::CutAll(server, mode),
            _ => Fault::Cut(server, member, mode),
        }
    }

    fn begin(&self, cluster: &mut Cluster) {
        match self {
            Fault::KillMember(i) => cluster.members[*i].kill(),
            Fault::StopMember(i) => cluster.members[*i].signal("STOP"),
            Fault::KillMembers(i, j) => [*i, *j].into_iter().for_each(|i| cluster.members[i].kill()),
            Fault::KillServer(i) => cluster.servers[*i].kill(),
            Fault::StopServer(i) => cluster.servers[*i].signal("STOP"),
            Fault::Cut(server, member, mode) => cluster.links[*server][*member].set(*mode),
            Fault::CutAll(server, mode) => cluster.links[*server].iter().for_each(|link| link.set(*mode)),
        }
    }

    fn end(&self, cluster: &mut Cluster) {
        match self {
            Fault::KillMember(i) => cluster.members[*i].run(),
            Fault::StopMember(i) => cluster.members[*i].signal("CONT"),
            Fault::KillMembers(i, j) => [*i, *j].into_iter().for_each(|i| cluster.members[i].run()),
            Fault::KillServer(i) => cluster.servers[*i].run(),
            Fault::StopServer(i) => cluster.servers[*i].signal("CONT"),
            Fault::Cut(server, member, _) => cluster.links[*server][*member].set(Mode::Open),
            Fault::CutAll(server, _) => cluster.links[*server].iter().for_each(|link| link.set(Mode::Open)),
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_changes_history() {
    let seed = setting("KEELSON_FAULT_SEED").unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let seconds = setting("KEELSON_FAULT_SECONDS").unwrap_or(SECONDS);
    println!("KEELSON_FAULT_SEED={seed} KEELSON_FAULT_SECONDS={seconds}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start().await;
    println!("logs: {}", cluster.directory.display());
    let ports = cluster.ports.clone();
    let mut admin = Client::new(&ports);
    let namespace = json!({"metadata": {"name": "faults"}});
    let made = admin.request(Method::POST, "/api/v1/namespaces", &namespace).await;
    assert!(matches!(made, Some((201, _))), "{made:?}");

    let notes = Arc::new(Notes::default());
    let mut tasks = Vec::new();
    for id in 0..WRITERS {
        tasks.push(tokio::spawn(clients::write(notes.clone(), ports.clone(), id, random.random())));
    }
    for _ in 0..READERS {
        tasks.push(tokio::spawn(clients::read(notes.clone(), ports.clone(), random.random())));
    }
    let mut watchers = Vec::new();
    for selector in
        [Selector::All, Selector::All, Selector::Odd, Selector::Odd, Selector::Name("w0-1".to_owned())]
    {
        let (notes, ports) = (notes.clone(), ports.clone());
        watchers.push(tokio::spawn(clients::watch(notes, ports, selector, random.random())));
    }

    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
        let faults: Vec<Fault> = (0..random.random_range(1..3)).map(|_| Fault::choose(&mut random)).collect();
        let length = Duration::from_millis(random.random_range(300..4000));
        println!("{:>6.1?} {faults:?} for {length:?}", begin.elapsed());
        faults.iter().for_each(|f| f.begin(&mut cluster));
        tokio::time::sleep(length).await;
        faults.iter().for_each(|f| f.end(&mut cluster));
    }

    // All is well again: everybody must get to the end.
    let healed = Instant::now();
    let end = finish(&mut admin).await;
    notes.end.store(end, Ordering::SeqCst);
    for watcher in watchers {
        let left = RECOVERY.saturating_sub(healed.elapsed());
        let done = tokio::time::timeout(left, watcher).await;
        done.expect("every watcher gets to the end").expect("no watcher sees what can't be");
    }
    println!("well again after {:?}", healed.elapsed());
    notes.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.expect("no client sees what can't be");
    }
    cluster.ready().await;
    // Writers may have gone on after the end.
    let last = finish(&mut admin).await;
    let history = History::read(&cluster.urls, last).await;
    let (writes, reads) = (notes.writes.lock().len(), notes.reads.lock().len());
    let events: usize = notes.segments.lock().iter().map(|s| s.events.len()).sum();
    println!(
        "{} changes, {writes} acknowledged writes, {reads} reads, {} watches that saw {events} events",
        history.len(),
        notes.segments.lock().len()
    );
    let contradictions = history.contradictions(&notes);
    assert!(
        contradictions.is_empty(),
        "KEELSON_FAULT_SEED={seed}: {} contradictions:\n{}",
        contradictions.len(),
        contradictions.join("\n")
    );
    assert!(writes > 20 && reads > 20 && events > 100, "the clients got something done");
    let _ = std::fs::remove_dir_all(&cluster.directory);
}

/// A server that loses two of its three members without being told goes on with the third, soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_members_hold_nobody_up() {
    let cluster = Cluster::start().await;
    let (mut near, mut far) = (Client::new(&cluster.ports[..1]), Client::new(&cluster.ports[1..]));
    let namespace = json!({"metadata": {"name": "faults"}});
    create(&mut far, "/api/v1/namespaces", &namespace).await;
    for lost in 0..MEMBERS {
        for member in 0..MEMBERS {
            cluster.links[0][member].set(if member == lost { Mode::Open } else { Mode::Silent });
        }
        let name = format!("o{lost}");
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let revision = create(&mut far, PATH, &object).await;
        // What the far server has written, the near one reads; and what it watches comes to it.
        let begin = Instant::now();
        let caught_up = format!("{PATH}?resourceVersion={revision}&resourceVersionMatch=NotOlderThan");
        for path in [format!("{PATH}/{name}"), caught_up] {
            while !matches!(near.get(&path).await, Some((200, _))) {
                // By then the silent connections have been given up, whoever was asked before.
                assert!(begin.elapsed() < Duration::from_secs(30), "{path} works again");
            }
        }
        println!("only member {lost}: after {:?}", begin.elapsed());
    }
    let _ = std::fs::remove_dir_all(&cluster.directory);
}

/// Creates an object at a server that nothing ails, on a machine that may be slow to answer: its revision.
async fn create(client: &mut Client, collection: &str, object: &Value) -> i64 {
    let path = format!("{collection}/{}", object["metadata"]["name"].as_str().expect("a name"));
    let begin = Instant::now();
    loop {
        let answer = match client.request(Method::POST, collection, object).await {
            // An attempt that nobody heard the answer of had created it.
            Some((409, _)) => client.get(&path).await,
            other => other,
        };
        match answer {
            Some((200 | 201, object)) => return revision(&object),
            other => assert!(begin.elapsed() < RECOVERY, "{path} is created: {other:?}"),
        }
    }
}

/// Writes the object that ends the test: its revision.
async fn finish(admin: &mut Client) -> i64 {
    let begin = Instant::now();
    loop {
        let end = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "end", "labels": {"parity": "odd"}},
            "data": {"seq": format!("end-{:?}", begin.elapsed())},
        });
        let made = match admin.request(Method::PUT, &format!("{PATH}/end"), &end).await {
            Some((404, _)) => admin.request(Method::POST, PATH, &end).await,
            other => other,
        };
        match made {
            Some((200 | 201, object)) => return revision(&object),
            other => {
                assert!(
                    begin.elapsed() < RECOVERY,
                    "writes work again: {:?}",
                    other.map(|o: (u16, Value)| o.1)
                );
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
