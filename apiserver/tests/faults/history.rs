//! What really happened, as etcd tells it, and whether that is what everybody saw.

use std::collections::{BTreeMap, HashSet};

use apiserver::storage::etcd::{Etcd, Servers};
use serde_json::Value;

use super::clients::{Acknowledged, Notes, Seen, Segment, Selector, name, sequence};

/// One change of one object.
struct Change {
    revision: i64,
    key: String,
    /// The object after it; null: it is gone.
    object: Value,
    /// The object before it, and its revision (0: there was none).
    previous: Value,
    base: i64,
}

/// All changes, in order.
pub(super) struct History {
    changes: Vec<Change>,
}

impl History {
    /// Reads the history of the objects from etcd, up to a revision.
    pub(super) async fn read(urls: &[String], end: i64) -> Self {
        let servers = Servers { urls: urls.to_vec(), ..Servers::default() };
        let etcd = Etcd::connect(&servers).await.expect("etcd is there");
        let prefix = "/registry/configmaps/faults/";
        let stream = etcd.watch(prefix, "/registry/configmaps/faults0", 1, false).await;
        let mut stream = stream.expect("a watch");
        let (mut changes, mut now) = (Vec::new(), BTreeMap::<String, (i64, Value)>::new());
        loop {
            let response = stream.message().await.expect("etcd answers").expect("the watch goes on");
            for event in response.events() {
                let kv = event.kv().expect("a key");
                let key = kv.key_str().expect("a name").strip_prefix(prefix).expect("ours").to_owned();
                let revision = kv.mod_revision();
                let mut object: Value = serde_json::from_slice(kv.value()).unwrap_or_default();
                let before = match object.is_null() {
                    true => now.remove(&key),
                    false => {
                        object["metadata"]["resourceVersion"] = revision.to_string().into();
                        now.insert(key.clone(), (revision, object.clone()))
                    }
                };
                let (base, previous) = before.unwrap_or_default();
                changes.push(Change { revision, key, object, previous, base });
                if revision >= end {
                    return History { changes };
                }
            }
        }
    }

    /// What the notes say that can't be.
    pub(super) fn contradictions(&self, notes: &Notes) -> Vec<String> {
        let mut found = Vec::new();
        let attempted: HashSet<String> = notes.attempted.lock().iter().cloned().collect();
        let mut written = HashSet::new();
        for change in self.changes.iter().filter(|c| !c.object.is_null() && c.key != "end") {
            let sequence = sequence(&change.object);
            if !attempted.contains(&sequence) {
                found.push(format!("{} of {} was never written", sequence, change.key));
            }
            if !written.insert(sequence.clone()) {
                found.push(format!("{sequence} was written twice, the second time at {}", change.revision));
            }
        }
        found.extend(notes.writes.lock().iter().filter_map(|write| self.lost(write)));
        found.extend(notes.reads.lock().iter().filter_map(|seen| self.misread(seen)));
        found.extend(notes.segments.lock().iter().filter_map(|segment| self.mistold(segment)));
        found
    }

    fn lost(&self, write: &Acknowledged) -> Option<String> {
        let Acknowledged { key, sequence: wrote, revision, base } = write;
        let of_key = || self.changes.iter().filter(|c| c.key == *key);
        let Some(wrote) = wrote else {
            let next = of_key().find(|c| c.revision > *revision);
            let gone = next.is_some_and(|c| c.object.is_null());
            return (!gone).then(|| format!("the deletion of {key} at {revision} is lost"));
        };
        let Some(change) = of_key().find(|c| c.revision == *revision) else {
            return Some(format!("the write {wrote} of {key} at {revision} is lost"));
        };
        let told = (sequence(&change.object), change.base);
        (told != (wrote.clone(), *base))
            .then(|| format!("{key} at {revision} is {told:?}, acknowledged was {:?}", (wrote, base)))
    }

    /// The objects that a selector selects, at a revision.
    fn state(&self, at: i64, selector: &Selector) -> BTreeMap<String, i64> {
        let mut state = BTreeMap::new();
        for change in self.changes.iter().take_while(|c| c.revision <= at) {
            if !change.object.is_null() && selector.selects(&change.object) {
                state.insert(change.key.clone(), change.revision);
            } else {
                state.remove(&change.key);
            }
        }
        state
    }

    fn misread(&self, seen: &Seen) -> Option<String> {
        match seen {
            Seen::List { what, revision, floor, items } => {
                if revision < floor {
                    return Some(format!("a list ({what}) at {revision} does not know of {floor}"));
                }
                let state = self.state(*revision, &Selector::All);
                (state != *items)
                    .then(|| format!("a list ({what}) at {revision} is {items:?}, should be {state:?}"))
            }
            Seen::Object { key, revision: Some(revision), floor } => {
                let there = self.changes.iter().any(|c| c.key == *key && c.revision == *revision);
                (revision < floor || !there)
                    .then(|| format!("{key} was read at {revision} after a write at {floor}"))
            }
            Seen::Object { key, revision: None, floor } => {
                let of_key = || self.changes.iter().filter(|c| c.key == *key);
                let gone = of_key().any(|c| c.revision > *floor && c.object.is_null());
                (!gone).then(|| format!("{key} was not there after a write at {floor}"))
            }
        }
    }

    fn mistold(&self, segment: &Segment) -> Option<String> {
        let Segment { what, selector, start, items, events, reached } = segment;
        let state = self.state(*start, selector);
        if state != *items {
            return Some(format!(
                "a watch ({what}, {selector:?}) from {start} begins with {items:?}, not {state:?}"
            ));
        }
        let should: Vec<_> = self
            .changes
            .iter()
            .filter(|c| c.revision > *start && c.revision <= *reached)
            .filter_map(|c| told(c, selector))
            .collect();
        if should == *events {
            return None;
        }
        let at =
            should.iter().zip(events).position(|(a, b)| a != b).unwrap_or(should.len().min(events.len()));
        Some(format!(
            "a watch ({what}, {selector:?}) of {start} to {reached} was told {} events, not {}; first difference: {:?}, not {:?}",
            events.len(),
            should.len(),
            events.get(at),
            should.get(at)
        ))
    }

    /// The last revision.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }
}

/// What a change is to a watcher.
fn told(change: &Change, selector: &Selector) -> Option<(String, String, i64, String)> {
    let sees = |object: &Value| !object.is_null() && selector.selects(object);
    let (kind, object) = match (sees(&change.previous), sees(&change.object)) {
        (false, false) => return None,
        (false, true) => ("ADDED", &change.object),
        (true, true) => ("MODIFIED", &change.object),
        (true, false) => ("DELETED", &change.previous),
    };
    Some((kind.to_owned(), name(object), change.revision, sequence(object)))
}
