//! How many watch what: a write that many see costs more than its own time.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::fields::Selector;

use crate::server::query::Query;
use crate::server::request_info::RequestInfo;

/// Counts of watches by what they see. Keys are hashes: a mistaken count costs nothing but a seat.
#[derive(Default)]
pub(super) struct Watches {
    hasher: ahash::RandomState,
    counts: Mutex<HashMap<u64, u32>>,
}

/// A watch under way.
pub struct Watching(Option<(Arc<Watches>, u64)>);

impl Watches {
    fn key(&self, info: &RequestInfo, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((&info.group, &info.resource, namespace, name))
    }

    /// Notes a watch.
    pub(super) fn add(watches: &Arc<Watches>, info: &RequestInfo, query: &Query) -> Watching {
        // Watches of one node's pods are many, and each sees few.
        if info.resource == "pods" {
            let selector = query.get("fieldSelector").and_then(|text| Selector::parse(text).ok());
            if selector.is_some_and(|selector| selector.requires_exact_match("spec.nodeName").is_some()) {
                return Watching(None);
            }
        }
        let key = watches.key(info, &info.namespace, &info.name);
        *watches.counts.lock().entry(key).or_default() += 1;
        Watching(Some((watches.clone(), key)))
    }

    /// How many see what this request changes.
    pub(super) fn interested(&self, info: &RequestInfo) -> usize {
        let mut keys = [Some(self.key(info, "", "")), None, None];
        if !info.namespace.is_empty() {
            keys[1] = Some(self.key(info, &info.namespace, ""));
        }
        if !info.name.is_empty() {
            keys[2] = Some(self.key(info, &info.namespace, &info.name));
        }
        let counts = self.counts.lock();
        keys.iter().flatten().filter_map(|key| counts.get(key)).map(|count| *count as usize).sum()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let Some((watches, key)) = self.0.take() else { return };
        let mut counts = watches.counts.lock();
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    #[test]
    fn watches_are_counted_where_they_see() {
        let watches = Arc::<Watches>::default();
        let request = |method: Method, target: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let query = Query::parse(Some(query));
            (RequestInfo::new(&method, path, &query).expect("a path"), query)
        };
        let watch = |target: &str| {
            let (info, query) = request(Method::GET, target);
            Watches::add(&watches, &info, &query)
        };
        let all = watch("/api/v1/pods?watch=1");
        let _some = watch("/api/v1/namespaces/a/pods?watch=1");
        let _one = watch("/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Dx");
        let _node = watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn");
        let count = |method: Method, target: &str| watches.interested(&request(method, target).0);
        assert_eq!(count(Method::POST, "/api/v1/namespaces/a/pods"), 2);
        assert_eq!(count(Method::PUT, "/api/v1/namespaces/a/pods/x"), 3);
        assert_eq!(count(Method::PUT, "/api/v1/namespaces/b/pods/x"), 1);
        drop(all);
        assert_eq!(count(Method::PUT, "/api/v1/namespaces/b/pods/x"), 0);
        assert_eq!(watches.counts.lock().len(), 2);
    }
}
