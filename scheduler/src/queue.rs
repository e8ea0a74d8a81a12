//! The pods that wait: for their turn (active), for a pause to pass (backoff), for the cluster to change
//! (unschedulable), or for their gates to open (gated).
//!
//! Invariants:
//! * A pod is in one place; `active` and `backoff` hold exactly the keys of the entries that say so.
//! * An attempt is decided while the queue is locked, so no event is missed between popping a pod and
//!   putting it back.
//! * Time is passed in; nothing here reads a clock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::framework::cycle::Nominations;
use crate::model::{Pod, PodKey};

/// Where a pod waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To be tried next.
    Active,
    /// Until its pause is over.
    Backoff,
    /// Until something changes.
    Unschedulable,
    /// Until its gates open.
    Gated,
    /// Not at all: it is being bound.
    InFlight,
}

/// A waiting pod and its history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pod, as last seen.
    pub pod: Arc<Pod>,
    /// Where it waits.
    pub place: Place,
    /// When it was put there.
    pub since: Instant,
    /// Since when it waits in all.
    pub first_seen: Instant,
    /// How often it was tried.
    pub attempts: u32,
    /// How often no node would do.
    unschedulable: u32,
    /// How often in a row something went wrong.
    errors: u32,
    /// The plugins that turned it down last.
    pub plugins: BTreeSet<&'static str>,
    ready_at: Option<Instant>,
}

type ActiveKey = (Reverse<i32>, Instant, PodKey);

/// The queue.
#[derive(Debug)]
pub struct Queue {
    entries: HashMap<PodKey, Entry>,
    active: BTreeSet<ActiveKey>,
    backoff: BTreeSet<(Instant, PodKey)>,
    initial_backoff: Duration,
    max_backoff: Duration,
}

/// Pods that no event concerned for this long are tried again anyway.
pub const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);

impl Queue {
    /// An empty queue with these pauses between attempts.
    pub fn new(initial_backoff: Duration, max_backoff: Duration) -> Self {
        Queue {
            entries: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            initial_backoff,
            max_backoff,
        }
    }

    /// A pod's entry.
    pub fn get(&self, key: &PodKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// How many pods wait in a place.
    pub fn count(&self, place: Place) -> usize {
        match place {
            Place::Active => self.active.len(),
            Place::Backoff => self.backoff.len(),
            place => self.entries.values().filter(|e| e.place == place).count(),
        }
    }

    /// Puts a new pod somewhere.
    pub fn insert(&mut self, pod: Arc<Pod>, place: Place, now: Instant) {
        let key = pod.key.clone();
        let entry = Entry {
            pod,
            place: Place::InFlight,
            since: now,
            first_seen: now,
            attempts: 0,
            unschedulable: 0,
            errors: 0,
            plugins: BTreeSet::new(),
            ready_at: None,
        };
        self.remove(&key);
        self.entries.insert(key.clone(), entry);
        self.put(&key, place, now);
    }

    /// Takes over a pod's new state.
    pub fn update(&mut self, pod: Arc<Pod>) {
        let Some(entry) = self.entries.get_mut(&pod.key) else { return };
        let moved = entry.place == Place::Active && entry.pod.priority() != pod.priority();
        if moved {
            self.active.remove(&active_key(entry));
        }
        entry.pod = pod;
        if moved {
            self.active.insert(active_key(entry));
        }
    }

    /// Forgets a pod.
    pub fn remove(&mut self, key: &PodKey) -> Option<Entry> {
        self.take_out(key);
        self.entries.remove(key)
    }

    /// The next pod to try: the most important active one; if there is none, one whose pause isn't over but
    /// who didn't fail by an error, since there is nothing better to do.
    pub fn pop(&mut self, now: Instant) -> Option<Entry> {
        self.release(now);
        let key = match self.active.first() {
            Some((_, _, key)) => key.clone(),
            None => {
                let early = |key: &&PodKey| self.entries.get(*key).is_some_and(|e| e.errors == 0);
                self.backoff.iter().map(|(_, key)| key).find(early)?.clone()
            }
        };
        self.take_out(&key);
        let entry = self.entries.get_mut(&key)?;
        entry.place = Place::InFlight;
        entry.attempts += 1;
        Some(entry.clone())
    }

    /// The attempt found no node: the pod waits for an event that concerns these plugins.
    pub fn unschedulable(&mut self, key: &PodKey, plugins: BTreeSet<&'static str>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.plugins = plugins;
        entry.unschedulable += 1;
        entry.errors = 0;
        entry.ready_at = None;
        self.put(key, Place::Unschedulable, now);
    }

    /// The attempt failed: the pod is tried again after a pause.
    pub fn failed(&mut self, key: &PodKey, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.plugins.clear();
        entry.errors += 1;
        entry.ready_at = None;
        self.put(key, Place::Backoff, now);
    }

    /// Gives a pod another try: now, or when its pause is over.
    pub fn activate(&mut self, key: &PodKey, now: Instant) {
        let ready_at = self.ready_at(key);
        let place = if ready_at.is_some_and(|at| at > now) { Place::Backoff } else { Place::Active };
        self.put(key, place, now);
    }

    /// Keeps a pod out until its gates open.
    pub fn gate(&mut self, key: &PodKey, plugin: &'static str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.plugins = BTreeSet::from([plugin]);
        }
        self.put(key, Place::Gated, now);
    }

    /// The pods in a place.
    pub fn in_place(&self, place: Place) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |e| e.place == place)
    }

    /// The unschedulable pods that waited too long.
    pub fn stale(&self, now: Instant) -> Vec<PodKey> {
        let old = |e: &&Entry| now.saturating_duration_since(e.since) > MAX_UNSCHEDULABLE;
        self.in_place(Place::Unschedulable).filter(old).map(|e| e.pod.key.clone()).collect()
    }

    /// When the next pause is over.
    pub fn next_release(&self) -> Option<Instant> {
        self.backoff.first().map(|(at, _)| *at)
    }

    fn release(&mut self, now: Instant) {
        while let Some((at, key)) = self.backoff.first().cloned() {
            if at > now {
                break;
            }
            self.put(&key, Place::Active, now);
        }
    }

    fn ready_at(&mut self, key: &PodKey) -> Option<Instant> {
        let (initial, max) = (self.initial_backoff, self.max_backoff);
        let entry = self.entries.get_mut(key)?;
        let count = if entry.errors > 0 { entry.errors } else { entry.unschedulable };
        if count == 0 || max.is_zero() {
            return None;
        }
        let doubled = 1u32.checked_shl(count - 1).and_then(|n| initial.checked_mul(n));
        let pause = doubled.map_or(max, |p| p.min(max));
        let since = entry.since;
        Some(*entry.ready_at.get_or_insert(since + pause))
    }

    fn put(&mut self, key: &PodKey, place: Place, now: Instant) {
        self.take_out(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.place = place;
            if !matches!(place, Place::Active | Place::Backoff) || entry.attempts == 0 || entry.errors > 0 {
                // A pod keeps its place in line while it is moved between waiting and being tried.
                entry.since = now;
            }
        }
        let ready_at = self.ready_at(key).unwrap_or(now);
        let Some(entry) = self.entries.get(key) else { return };
        match place {
            Place::Active => {
                self.active.insert(active_key(entry));
            }
            Place::Backoff => {
                self.backoff.insert((ready_at, key.clone()));
            }
            _ => {}
        }
    }

    fn take_out(&mut self, key: &PodKey) {
        let Some(entry) = self.entries.get(key) else { return };
        match entry.place {
            Place::Active => {
                self.active.remove(&active_key(entry));
            }
            Place::Backoff => self.backoff.retain(|(_, k)| k != key),
            _ => {}
        }
    }
}

fn active_key(entry: &Entry) -> ActiveKey {
    (Reverse(entry.pod.priority()), entry.since, entry.pod.key.clone())
}

/// Pods promised a node whose place isn't free yet.
#[derive(Debug, Default)]
pub struct Promises {
    by_node: HashMap<String, Vec<Arc<Pod>>>,
    node_of: HashMap<PodKey, String>,
}

impl Promises {
    /// Promises a node, or takes the promise back.
    pub fn set(&mut self, pod: &Arc<Pod>, node: Option<&str>) {
        if let Some(old) = self.node_of.remove(&pod.key)
            && let Some(pods) = self.by_node.get_mut(&old)
        {
            pods.retain(|p| p.key != pod.key);
            if pods.is_empty() {
                self.by_node.remove(&old);
            }
        }
        if let Some(node) = node {
            self.by_node.entry(node.to_owned()).or_default().push(pod.clone());
            self.node_of.insert(pod.key.clone(), node.to_owned());
        }
    }

    /// The node promised to a pod.
    pub fn get(&self, key: &PodKey) -> Option<&str> {
        self.node_of.get(key).map(String::as_str)
    }

    /// Pods promised a node, of less than this priority.
    pub fn below(&self, node: &str, priority: i32) -> Vec<Arc<Pod>> {
        let pods = self.by_node.get(node).map_or(&[][..], Vec::as_slice);
        pods.iter().filter(|p| p.priority() < priority).cloned().collect()
    }
}

impl Nominations for Promises {
    fn on(&self, node: &str, priority: i32, except: &PodKey) -> Vec<Arc<Pod>> {
        let pods = self.by_node.get(node).map_or(&[][..], Vec::as_slice);
        pods.iter().filter(|p| p.priority() >= priority && p.key != *except).cloned().collect()
    }

    fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Shapes;

    fn pod(name: &str, priority: i32) -> Arc<Pod> {
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": {"priority": priority}});
        Arc::new(Pod::from_value(pod, &Shapes::default()).unwrap())
    }

    fn popped(queue: &mut Queue, now: Instant) -> Option<String> {
        queue.pop(now).map(|e| e.pod.name.clone())
    }

    #[test]
    fn the_important_come_first_then_the_early() {
        let start = Instant::now();
        let mut queue = Queue::new(Duration::from_secs(1), Duration::from_secs(10));
        for (i, (name, priority)) in [("late", 0), ("high", 5), ("later", 0)].into_iter().enumerate() {
            queue.insert(pod(name, priority), Place::Active, start + Duration::from_millis(i as u64));
        }
        let order: Vec<_> = std::iter::from_fn(|| popped(&mut queue, start)).collect();
        assert_eq!(order, ["high", "late", "later"]);
    }

    #[test]
    fn errors_pause_twice_as_long_each_time() {
        let start = Instant::now();
        let mut queue = Queue::new(Duration::from_secs(1), Duration::from_secs(10));
        queue.insert(pod("p", 0), Place::Active, start);
        let mut now = start;
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert!(popped(&mut queue, now).is_some());
            queue.failed(&"p".into(), now);
            assert!(popped(&mut queue, now + Duration::from_millis(seconds * 1000 - 1)).is_none());
            now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn a_pod_without_an_error_need_not_wait_if_nothing_else_does() {
        let start = Instant::now();
        let mut queue = Queue::new(Duration::from_secs(1), Duration::from_secs(10));
        queue.insert(pod("p", 0), Place::Active, start);
        queue.pop(start);
        queue.unschedulable(&"p".into(), BTreeSet::from(["x"]), start);
        assert!(popped(&mut queue, start).is_none());
        queue.activate(&"p".into(), start);
        assert_eq!(queue.count(Place::Backoff), 1);
        assert_eq!(popped(&mut queue, start).as_deref(), Some("p"));
    }
}
