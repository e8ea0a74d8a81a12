//! What a watch keeps: objects by key and by index, with ordered notification of changes.
//!
//! One writer, the watch's loop, changes a store. Subscribers are called by it, in order, after the
//! change is readable. They must be quick: put a key on a queue. They must not subscribe.

use std::borrow::Borrow;
use std::cmp::Ordering as Order;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use proto::meta::Key;
use tokio::sync::watch;

use super::Object;

/// A change of one object: created without `old`, deleted without `new`.
///
/// An object deleted and created anew between two looks is two changes, never one.
pub struct Change<T> {
    /// As it was.
    pub old: Option<Arc<T>>,
    /// As it is.
    pub new: Option<Arc<T>>,
}

impl<T> Change<T> {
    /// The object as last seen.
    pub fn latest(&self) -> &Arc<T> {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change has an object"),
        }
    }
}

impl<T: Object> Change<T> {
    /// Namespace and name.
    pub fn key(&self) -> Key {
        key(&**self.latest())
    }
}

pub(super) fn key<T: Object>(object: &T) -> Key {
    Key::new(object.namespace(), object.name())
}

type Subscriber<T> = Box<dyn Fn(&Change<T>) + Send + Sync>;
type IndexBy<T> = Box<dyn Fn(&T) -> Vec<String> + Send + Sync>;

/// The objects of one watch; clones share them.
pub struct Store<T>(Arc<Shared<T>>);

impl<T> Clone for Store<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Shared<T> {
    contents: RwLock<Contents<T>>,
    /// Held while a change is applied and told, so that subscribers see changes in order.
    subscribers: Mutex<Vec<Subscriber<T>>>,
    synced: watch::Sender<bool>,
    /// Whether the watch that feeds this store is open, as far as its connection tells.
    connected: AtomicBool,
}

/// What has a namespace and a name: an object that is kept, or a key that asks for one.
trait Named {
    fn parts(&self) -> (&str, &str);
}

impl Named for Key {
    fn parts(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> Order {
        self.parts().cmp(&other.parts())
    }
}

/// An object in its place: it is its own key, which spares a copy of its names.
struct Entry<T>(Arc<T>);

impl<T: Object> Named for Entry<T> {
    fn parts(&self) -> (&str, &str) {
        (self.0.namespace(), self.0.name())
    }
}

impl<T: Object> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl<T: Object> Eq for Entry<T> {}

impl<T: Object> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl<T: Object> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Order {
        self.parts().cmp(&other.parts())
    }
}

impl<'a, T: Object> Borrow<dyn Named + 'a> for Entry<T> {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

struct Contents<T> {
    objects: BTreeSet<Entry<T>>,
    indexes: HashMap<&'static str, Index<T>>,
    revision: String,
}

struct Index<T> {
    by: IndexBy<T>,
    entries: HashMap<Box<str>, Vec<Arc<T>>>,
}

impl<T> Index<T> {
    fn insert(&mut self, object: &Arc<T>) {
        for value in (self.by)(object) {
            self.entries.entry(value.into()).or_default().push(object.clone());
        }
    }

    fn remove(&mut self, object: &Arc<T>) {
        for value in (self.by)(object) {
            if let Some(entry) = self.entries.get_mut(&*value) {
                if let Some(at) = entry.iter().position(|other| Arc::ptr_eq(other, object)) {
                    entry.swap_remove(at);
                }
                if entry.is_empty() {
                    self.entries.remove(&*value);
                }
            }
        }
    }
}

impl<T: Object> Contents<T> {
    fn get(&self, key: &Key) -> Option<&Arc<T>> {
        self.objects.get(key as &dyn Named).map(|entry| &entry.0)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.iter().map(|entry| &entry.0)
    }

    fn replace(&mut self, key: &Key, new: Option<Arc<T>>) -> Option<Arc<T>> {
        let old = match &new {
            Some(object) => self.objects.replace(Entry(object.clone())),
            None => self.objects.take(key as &dyn Named),
        };
        let old = old.map(|entry| entry.0);
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(old);
            }
            if let Some(new) = &new {
                index.insert(new);
            }
        }
        old
    }
}

impl<T: Object> Default for Store<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Object> Store<T> {
    /// An empty store that nothing feeds: a watch, or a test, writes to it.
    pub fn new() -> Self {
        let contents =
            Contents { objects: BTreeSet::new(), indexes: HashMap::new(), revision: String::new() };
        Self(Arc::new(Shared {
            contents: RwLock::new(contents),
            subscribers: Mutex::default(),
            synced: watch::channel(false).0,
            connected: AtomicBool::new(false),
        }))
    }

    /// The object of this name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<T>> {
        self.get_key(&Key::new(namespace, name))
    }

    /// The object of this key.
    pub fn get_key(&self, key: &Key) -> Option<Arc<T>> {
        self.0.contents.read().get(key).cloned()
    }

    /// All objects, in order of namespace and name.
    pub fn list(&self) -> Vec<Arc<T>> {
        self.0.contents.read().all().cloned().collect()
    }

    /// All objects of a namespace, in order of name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<T>> {
        let contents = self.0.contents.read();
        let first = Key::new(namespace, "");
        let from =
            contents.objects.range::<dyn Named, _>((Bound::Included(&first as &dyn Named), Bound::Unbounded));
        from.map(|entry| &entry.0).take_while(|object| object.namespace() == namespace).cloned().collect()
    }

    /// Looks at all objects without copying the list. The store is locked for writing meanwhile.
    pub fn for_each(&self, mut look: impl FnMut(&Arc<T>)) {
        self.0.contents.read().all().for_each(&mut look);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.contents.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index: the values under which an object is found. Adding one of the same name again changes nothing.
    pub fn add_index(&self, name: &'static str, by: impl Fn(&T) -> Vec<String> + Send + Sync + 'static) {
        let mut contents = self.0.contents.write();
        if contents.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { by: Box::new(by), entries: HashMap::new() };
        contents.all().for_each(|object| index.insert(object));
        contents.indexes.insert(name, index);
    }

    /// The objects that an index holds under a value, in no order. An index that wasn't added holds nothing.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<T>> {
        let contents = self.0.contents.read();
        debug_assert!(contents.indexes.contains_key(name), "no index {name}");
        contents.indexes.get(name).and_then(|index| index.entries.get(value)).cloned().unwrap_or_default()
    }

    /// Calls `tell` for every object there is, as if just created, and then for every change.
    pub fn subscribe(&self, tell: impl Fn(&Change<T>) + Send + Sync + 'static) {
        let mut subscribers = self.0.subscribers.lock();
        for object in self.list() {
            tell(&Change { old: None, new: Some(object) });
        }
        subscribers.push(Box::new(tell));
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Resolves when the first list is complete.
    pub async fn synced(&self) {
        // The sender lives in this very store.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// The revision up to which the store has seen changes.
    pub fn revision(&self) -> String {
        self.0.contents.read().revision.clone()
    }

    /// Puts an object in, in place of one of the same name. One that is there in the same revision stays.
    pub fn apply(&self, object: T) {
        let key = key(&object);
        let subscribers = self.0.subscribers.lock();
        let object = Arc::new(object);
        let old = {
            let mut contents = self.0.contents.write();
            match contents.get(&key) {
                Some(old)
                    if !object.resource_version().is_empty()
                        && old.resource_version() == object.resource_version()
                        && old.uid() == object.uid() =>
                {
                    return;
                }
                Some(old) if old.uid() != object.uid() => {
                    // Another object of the same name: the first one goes, visibly, before the other comes.
                    let old = contents.replace(&key, None);
                    drop(contents);
                    let gone = Change { old, new: None };
                    subscribers.iter().for_each(|tell| tell(&gone));
                    self.0.contents.write().replace(&key, Some(object.clone()))
                }
                _ => contents.replace(&key, Some(object.clone())),
            }
        };
        let change = Change { old, new: Some(object) };
        subscribers.iter().for_each(|tell| tell(&change));
    }

    /// Takes an object out.
    pub fn remove(&self, key: &Key) {
        let subscribers = self.0.subscribers.lock();
        let old = self.0.contents.write().replace(key, None);
        if old.is_some() {
            let change = Change { old, new: None };
            subscribers.iter().for_each(|tell| tell(&change));
        }
    }

    /// Takes out what `keep` refuses: the end of a list.
    pub(super) fn retain(&self, keep: impl Fn(&Key) -> bool) {
        let gone: Vec<Key> =
            self.0.contents.read().all().map(|object| key(&**object)).filter(|key| !keep(key)).collect();
        gone.iter().for_each(|key| self.remove(key));
    }

    /// Notes the revision seen.
    pub(super) fn set_revision(&self, revision: &str) {
        revision.clone_into(&mut self.0.contents.write().revision);
    }

    /// Whether the store follows the server now. A dead connection is noticed after 45 seconds at most.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    pub(super) fn set_connected(&self, connected: bool) {
        self.0.connected.store(connected, Ordering::Relaxed);
    }

    /// Notes that the first list is complete.
    pub fn mark_synced(&self) {
        self.0.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::meta::ObjectMeta;

    struct Thing {
        metadata: ObjectMeta,
        node: String,
    }
    crate::object!(Thing);

    fn thing(name: &str, uid: &str, revision: &str, node: &str) -> Thing {
        let metadata = ObjectMeta {
            name: name.into(),
            namespace: "ns".into(),
            uid: uid.into(),
            resource_version: revision.into(),
            ..Default::default()
        };
        Thing { metadata, node: node.into() }
    }

    #[test]
    fn changes_are_told_in_order_and_replayed() {
        let store = Store::new();
        store.add_index("node", |thing: &Thing| vec![thing.node.clone()]);
        store.apply(thing("a", "1", "1", "n1"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        store.subscribe(move |change: &Change<Thing>| {
            let revision = |object: &Option<Arc<Thing>>| {
                object.as_ref().map_or("-".to_owned(), |o| o.resource_version().to_owned())
            };
            seen.lock().push(format!("{} {}>{}", change.key(), revision(&change.old), revision(&change.new)));
        });
        store.apply(thing("a", "1", "1", "n1"));
        store.apply(thing("a", "1", "2", "n2"));
        store.apply(thing("a", "2", "3", "n2"));
        store.apply(thing("b", "3", "4", "n2"));
        store.retain(|key| &*key.name == "b");
        assert_eq!(*log.lock(), ["ns/a ->1", "ns/a 1>2", "ns/a 2>-", "ns/a ->3", "ns/b ->4", "ns/a 3>-"]);
        assert!(store.by_index("node", "n1").is_empty());
        assert_eq!(store.by_index("node", "n2").len(), 1);
        assert_eq!(store.list_namespace("ns").len(), 1);
        assert!(store.list_namespace("n").is_empty());
    }
}
